//! See `pomona_fuzz::csr`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pomona_fuzz::csr(input));
