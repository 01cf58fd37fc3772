//! See `pomona_fuzz::check_in`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pomona_fuzz::check_in(input));
