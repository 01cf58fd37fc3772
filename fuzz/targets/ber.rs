//! See `pomona_fuzz::ber`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pomona_fuzz::ber(input));
