//! See `fuzzing::go_texts`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::go_texts(data));
