//! See `fuzzing::gossip_packets`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::gossip_packets(data));
