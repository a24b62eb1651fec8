//! See `fuzzing::gossip_keyrings`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::gossip_keyrings(data));
