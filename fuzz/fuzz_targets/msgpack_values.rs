//! See `fuzzing::msgpack_values`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::msgpack_values(data));
