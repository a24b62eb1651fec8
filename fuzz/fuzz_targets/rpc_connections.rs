//! See `fuzzing::rpc_connections`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::rpc_connections(data));
