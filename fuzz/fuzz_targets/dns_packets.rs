//! See `fuzzing::dns_packets`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::dns_packets(data));
