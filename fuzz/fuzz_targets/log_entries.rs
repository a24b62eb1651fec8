//! See `fuzzing::log_entries`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::log_entries(data));
