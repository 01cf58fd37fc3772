//! Certificates for the push service: its own, and those of its customers.
//!
//! Owns a small authority for each of them. Never the real thing: a push certificate is issued
//! by Apple. Source: Apple, "Setting up push notifications for your MDM" (the topic is the UID
//! attribute of the subject).

use der::Decode;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use crate::apns::ApnsError;
use crate::clock::{civil, unix_seconds};

/// The user id attribute.
const UID: [u64; 7] = [0, 9, 2342, 19_200_300, 100, 1, 1];
const UID_DOTTED: &str = "0.9.2342.19200300.100.1.1";

/// A push certificate with its key, for import into the server under test.
#[derive(Clone)]
pub struct PushIdentity {
    /// The certificate.
    pub certificate_pem: String,
    /// Its key, PKCS#8.
    pub key_pem: String,
    /// Who issued it: what the push service must trust.
    pub ca_pem: String,
}

impl std::fmt::Debug for PushIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PushIdentity")
    }
}

impl PushIdentity {
    /// A certificate for a topic, from an authority made on the spot.
    ///
    /// # Errors
    /// [`ApnsError::Certificate`] when it cannot be made.
    pub fn generate(topic: &str) -> Result<Self, ApnsError> {
        let authority = Authority::generate("Simulated Push Authority")?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CustomDnType(UID.to_vec()), topic);
        name.push(DnType::CommonName, format!("APSP:{topic}"));
        let (certificate_pem, key_pem) =
            authority.issue(name, &[], ExtendedKeyUsagePurpose::ClientAuth)?;
        Ok(Self {
            certificate_pem,
            key_pem,
            ca_pem: authority.pem,
        })
    }
}

/// A certificate authority of the simulation.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn generate(name: &str) -> Result<Self, ApnsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        limit(&mut params);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// Certificate and key, PEM.
    pub(crate) fn issue(
        &self,
        subject: DistinguishedName,
        names: &[String],
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<(String, String), ApnsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = subject;
        limit(&mut params);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// A year from yesterday on, as Apple's push certificates have it, in whole days.
fn limit(params: &mut CertificateParams) {
    const DAY: i64 = 86_400;
    let day = |seconds: i64| {
        let (year, month, day, ..) = civil(seconds);
        let small = |value: i64| u8::try_from(value).unwrap_or(1);
        let year = i32::try_from(year).unwrap_or(2_100);
        rcgen::date_time_ymd(year, small(month), small(day))
    };
    let now = unix_seconds();
    params.not_before = day(now.saturating_sub(DAY));
    params.not_after = day(now.saturating_add(365 * DAY));
}

/// The topic of a push certificate.
pub(crate) fn topic(certificate: &[u8]) -> Option<String> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let subject = certificate.tbs_certificate().subject().clone();
    let attribute = subject.iter().find(|a| a.oid.to_string() == UID_DOTTED)?;
    String::from_utf8(attribute.value.value().to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn the_topic_stands_in_the_subject() {
        let identity = PushIdentity::generate("com.apple.mgmt.External.1").unwrap();
        let der = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap();
        assert_eq!(topic(&der).as_deref(), Some("com.apple.mgmt.External.1"));
        assert!(identity.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        let ca = CertificateDer::from_pem_slice(identity.ca_pem.as_bytes()).unwrap();
        assert_eq!(topic(&ca), None);
    }
}
