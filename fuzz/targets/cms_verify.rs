//! See `pomona_fuzz::cms_verify`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pomona_fuzz::cms_verify(input));
