//! See `fuzzing::json_bodies`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::json_bodies(data));
