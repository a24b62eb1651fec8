//! See `fuzzing::snapshot_archives`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::snapshot_archives(data));
