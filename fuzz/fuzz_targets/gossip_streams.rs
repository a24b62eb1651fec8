//! See `fuzzing::gossip_streams`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::gossip_streams(data));
