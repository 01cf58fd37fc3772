//! See `pomona_fuzz::report`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pomona_fuzz::report(input));
