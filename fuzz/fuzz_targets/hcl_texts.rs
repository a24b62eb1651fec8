//! See `fuzzing::hcl_texts`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::hcl_texts(data));
