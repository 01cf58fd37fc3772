//! Tests of the crate from outside: against OpenSSL, against general decoders, and with named bad inputs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing helper fails its test"
)]

mod bad_certificates;
mod bad_scep;
mod bad_signed;
mod build;
mod fixtures;
mod lab;
mod openssl;
mod openssl_ca;
mod scep;
mod shapes;
