//! See `fuzzing::gossip_snapshots`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::gossip_snapshots(data));
