//! See `pomona_fuzz::command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pomona_fuzz::command(input));
