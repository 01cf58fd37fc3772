//! Signed and encrypted messages and certificates, as pure functions.
//!
//! This crate turns bytes from devices into judged values and back: BER normalising, CMS `SignedData` and `EnvelopedData`,
//! X.509 certificates and requests, the SCEP message codec, and the text forms that headers carry.
//! It never does I/O, never reads a clock and keeps no state:
//! times, nonces and serial numbers are parameters.
//!
//! Structures are read by a small bounded reader instead of a general decoder, for three reasons: the original bytes of signed
//! attributes and names must survive (a sender need not sort its sets), every count has its cap before work is spent on it,
//! and a set of many members must not cost quadratic time. The general decoders `cms` and `x509-cert` serve the tests as
//! independent readers of what this crate writes.
//!
//! Sources: RFC 5652 (CMS), RFC 5280 (certificates), RFC 2986 (requests), RFC 8894 (SCEP), X.690 (BER and DER).
#![forbid(unsafe_code)]

pub mod ber;
mod civil;
mod der_io;
pub mod enveloped;
pub mod header;
pub mod key;
pub mod oid;
pub mod scep;
pub mod sign;
pub mod signed;
pub mod x509;

pub use der::asn1::ObjectIdentifier;
pub use enveloped::{ContentCipher, DecryptPolicy, EnvelopedError};
pub use key::{DigestAlgorithm, KeyError, KeyKind};
pub use sign::{KeyPair, SignError, Signer};
pub use signed::{Blame, Policy, SignedError, Verified};
pub use x509::{Certificate, CertificationRequest, Name};
