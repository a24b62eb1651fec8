//! See `fuzzing::gossip_machines`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::gossip_machines(data));
