//! See `pomona_fuzz::header_certificate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pomona_fuzz::header_certificate(input));
