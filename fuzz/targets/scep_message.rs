//! See `pomona_fuzz::scep_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pomona_fuzz::scep_message(input));
