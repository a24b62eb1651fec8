//! See `fuzzing::raft_messages`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::raft_messages(data));
