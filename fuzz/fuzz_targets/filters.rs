//! See `fuzzing::filters`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::filters(data));
