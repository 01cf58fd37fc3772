//! What a push certificate says about itself.
//!
//! Owns: the few facts that the engine keeps or shows, taken from the certificate. Never judges them.
//!
//! Source: RFC 5280; RFC 4519, 2.39 (the attribute UID, in which Apple writes the topic).

use pomona_cms::x509::Certificate;
use rustls::pki_types::CertificateDer;

use crate::clock::{Micros, SECOND};
use crate::error::{Error, Result};

/// The facts of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The attribute UID of the subject; empty when there is none.
    pub(super) topic: String,
    pub(super) subject: String,
    pub(super) issuer: String,
    /// In hexadecimal.
    pub(super) serial_number: String,
    pub(super) not_before: Micros,
    pub(super) not_after: Micros,
}

/// Reads a certificate.
///
/// # Errors
/// [`Error::Invalid`] when it is not one.
pub(super) fn leaf(der: &CertificateDer<'_>) -> Result<Leaf> {
    let certificate = Certificate::from_der(der)
        .map_err(|_| Error::Invalid("the push certificate cannot be read".into()))?;
    Ok(Leaf {
        topic: certificate.push_topic().unwrap_or_default(),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial_number: certificate.serial_hex(),
        not_before: certificate.not_before().saturating_mul(SECOND),
        not_after: certificate.not_after().saturating_mul(SECOND),
    })
}
