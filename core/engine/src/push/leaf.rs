//! What a push certificate says about itself.
//!
//! Owns: reading topic, validity and names out of the certificate.
//!
//! Source: RFC 5280; RFC 4519, 2.39 (the attribute UID, in which Apple writes the topic).

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;

use crate::clock::{Micros, SECOND};
use crate::error::{Error, Result};

const UID: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1");

/// The facts of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The first attribute UID of the subject; empty when there is none.
    pub(super) topic: String,
    pub(super) subject: String,
    pub(super) issuer: String,
    /// In hexadecimal.
    pub(super) serial_number: String,
    pub(super) not_before: Micros,
    pub(super) not_after: Micros,
}

pub(super) fn leaf(der: &CertificateDer<'_>) -> Result<Leaf> {
    let unreadable = |_| Error::Invalid("the push certificate cannot be read".into());
    let certificate = Certificate::from_der(der).map_err(unreadable)?;
    let tbs = certificate.tbs_certificate();
    let topic = tbs
        .subject()
        .iter_rdn()
        .flat_map(|rdn| rdn.iter())
        .find(|attribute| attribute.oid == UID)
        .map(|attribute| String::from_utf8_lossy(attribute.value.value()).into_owned())
        .unwrap_or_default();
    let micros = |time: x509_cert::time::Time| {
        Micros::try_from(time.to_unix_duration().as_secs()).unwrap_or(Micros::MAX / SECOND) * SECOND
    };
    Ok(Leaf {
        topic,
        subject: tbs.subject().to_string(),
        issuer: tbs.issuer().to_string(),
        serial_number: hex::encode(tbs.serial_number().as_bytes()),
        not_before: micros(tbs.validity().not_before),
        not_after: micros(tbs.validity().not_after),
    })
}
