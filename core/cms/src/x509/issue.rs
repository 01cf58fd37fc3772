//! Issues certificates: root CA, issuing CA, device identity, TLS server.
//!
//! The caller decides subject, serial, validity and names; the profile (usages, constraints) is fixed here per kind. Nothing is
//! copied from a request but its public key. The authority key id is the issuer's own subject key id, byte for byte:
//! computing it anew would differ from what another tool wrote into the issuer, and OpenSSL refuses such a chain.
//!
//! Source: RFC 5280 sections 4.1 and 4.2.

use std::net::IpAddr;

use uuid::Uuid;

use super::certificate::{Certificate, CertificateError};
use super::extension::{Extension, KeyUsage, SubjectAltName};
use super::name::Name;
use crate::civil::write_time;
use crate::der_io::{bit_string, element, sequence, tag};
use crate::key::{DigestAlgorithm, KeyError, PublicKey, key_kind};
use crate::oid;
use crate::sign::{SignError, Signer, signature_algorithm};

/// Why a certificate was not issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The holder's public key is not accepted.
    #[error("public key not accepted: {0}")]
    Key(#[from] KeyError),
    /// The end does not lie after the start, or a time has no form in DER.
    #[error("validity not possible")]
    Validity,
    /// The certificate would outlive its issuer.
    #[error("validity ends after the issuer's")]
    OutlivesIssuer,
    /// The issuer's key does not belong to the issuer's certificate.
    #[error("issuer key and issuer certificate differ")]
    IssuerKey,
    /// The issuer is not a CA, or may not have another CA below it.
    #[error("issuer may not issue this")]
    IssuerNotCa,
    /// A name is empty, not ASCII or too long.
    #[error("alternative name not acceptable")]
    AltName,
    /// Signing failed.
    #[error("signing failed: {0}")]
    Sign(#[from] SignError),
    /// The finished certificate could not be read back.
    #[error("issued certificate unreadable: {0}")]
    Unreadable(#[from] CertificateError),
}

/// A serial number of 16 bytes, positive and never shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Serial([u8; 16]);

impl Serial {
    /// Makes a serial number from random bytes; 126 of the 128 bits stay random.
    #[must_use]
    pub const fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[0] = (bytes[0] & 0x7F) | 0x40;
        Self(bytes)
    }

    /// Its bytes, as [`Certificate::serial`] will show them.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// First and last valid second, unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First valid second.
    pub not_before: i64,
    /// Last valid second.
    pub not_after: i64,
}

/// A CA that can sign: its certificate and its key.
#[derive(Clone, Copy)]
pub struct Issuer<'a> {
    /// The CA's certificate.
    pub certificate: &'a Certificate,
    /// The CA's key, here or in a key service.
    pub key: &'a dyn Signer,
}

/// What a device identity certificate says.
#[derive(Clone, Copy, Debug)]
pub struct ClientIdentity<'a> {
    /// The name, chosen by the caller.
    pub subject: &'a Name,
    /// The holder's key as `SubjectPublicKeyInfo` in DER.
    pub public_key_der: &'a [u8],
    /// The serial number.
    pub serial: Serial,
    /// The validity.
    pub validity: Validity,
    /// The grant it was issued for; written as a `urn:uuid:` alternative name.
    pub grant: Option<Uuid>,
    /// Further extensions, written after ours.
    pub extensions: &'a [Extension],
}

/// What a TLS server certificate says.
#[derive(Clone, Copy, Debug)]
pub struct TlsServer<'a> {
    /// The name, chosen by the caller.
    pub subject: &'a Name,
    /// The server's key as `SubjectPublicKeyInfo` in DER.
    pub public_key_der: &'a [u8],
    /// The serial number.
    pub serial: Serial,
    /// The validity.
    pub validity: Validity,
    /// DNS names.
    pub dns: &'a [&'a str],
    /// IP addresses.
    pub ips: &'a [IpAddr],
}

/// Issues a self-signed root CA.
///
/// # Errors
/// [`IssueError`].
pub fn root_ca(
    key: &dyn Signer,
    subject: &Name,
    serial: Serial,
    validity: Validity,
) -> Result<Certificate, IssueError> {
    let id = key_id(key.public_key_der())?;
    let extensions = [
        Extension::basic_constraints(true, None),
        Extension::key_usage(KeyUsage::KEY_CERT_SIGN.and(KeyUsage::CRL_SIGN)),
        Extension::subject_key_id(&id),
    ];
    let body = Body {
        issuer: subject,
        subject,
        public_key_der: key.public_key_der(),
        serial,
        validity,
        extensions: &extensions,
    };
    body.sign(key)
}

/// Issues a CA certificate for device identities, with no CA allowed below it. It may also sign messages and receive
/// encrypted ones, as a SCEP server needs; that takes an RSA key.
///
/// # Errors
/// [`IssueError`].
pub fn issuing_ca(
    issuer: &Issuer<'_>,
    subject: &Name,
    public_key_der: &[u8],
    serial: Serial,
    validity: Validity,
) -> Result<Certificate, IssueError> {
    if issuer.certificate.path_length() == Some(0) {
        return Err(IssueError::IssuerNotCa);
    }
    let usage = KeyUsage::KEY_CERT_SIGN
        .and(KeyUsage::DIGITAL_SIGNATURE)
        .and(KeyUsage::KEY_ENCIPHERMENT);
    let extensions = [
        Extension::basic_constraints(true, Some(0)),
        Extension::key_usage(usage),
        Extension::subject_key_id(&key_id(public_key_der)?),
    ];
    issuer.issue(subject, public_key_der, serial, validity, &extensions)
}

/// Issues a device identity: TLS client only, never a CA.
///
/// # Errors
/// [`IssueError`].
pub fn client_identity(
    issuer: &Issuer<'_>,
    identity: &ClientIdentity<'_>,
) -> Result<Certificate, IssueError> {
    let mut extensions = vec![
        Extension::basic_constraints(false, None),
        Extension::key_usage(KeyUsage::DIGITAL_SIGNATURE.and(KeyUsage::KEY_ENCIPHERMENT)),
        Extension::purpose(&oid::CLIENT_AUTH),
        Extension::subject_key_id(&key_id(identity.public_key_der)?),
    ];
    if let Some(grant) = identity.grant {
        let uri = SubjectAltName::Uri(grant.urn().to_string());
        extensions.push(Extension::subject_alt_names(&[uri]));
    }
    extensions.extend_from_slice(identity.extensions);
    issuer.issue(
        identity.subject,
        identity.public_key_der,
        identity.serial,
        identity.validity,
        &extensions,
    )
}

/// Issues a TLS server certificate.
///
/// # Errors
/// [`IssueError`]; [`IssueError::AltName`] also where neither a DNS name nor an address is given.
pub fn tls_server(issuer: &Issuer<'_>, server: &TlsServer<'_>) -> Result<Certificate, IssueError> {
    let extensions = server_extensions(server)?;
    issuer.issue(
        server.subject,
        server.public_key_der,
        server.serial,
        server.validity,
        &extensions,
    )
}

/// Issues a TLS server certificate signed by its own key, for the first start before a real one is there.
/// `server.public_key_der` must be the key's own.
///
/// # Errors
/// [`IssueError`].
pub fn self_signed_tls_server(
    key: &dyn Signer,
    server: &TlsServer<'_>,
) -> Result<Certificate, IssueError> {
    if key.public_key_der() != server.public_key_der {
        return Err(IssueError::IssuerKey);
    }
    let extensions = server_extensions(server)?;
    let body = Body {
        issuer: server.subject,
        subject: server.subject,
        public_key_der: server.public_key_der,
        serial: server.serial,
        validity: server.validity,
        extensions: &extensions,
    };
    body.sign(key)
}

fn server_extensions(server: &TlsServer<'_>) -> Result<Vec<Extension>, IssueError> {
    let mut names = Vec::new();
    for dns in server.dns {
        let good = !dns.is_empty()
            && dns.len() <= 253
            && dns
                .bytes()
                .all(|letter| letter.is_ascii_alphanumeric() || b".-*_".contains(&letter));
        if !good {
            return Err(IssueError::AltName);
        }
        names.push(SubjectAltName::Dns((*dns).to_owned()));
    }
    names.extend(server.ips.iter().map(|ip| SubjectAltName::Ip(*ip)));
    if names.is_empty() {
        return Err(IssueError::AltName);
    }
    Ok(vec![
        Extension::basic_constraints(false, None),
        Extension::key_usage(KeyUsage::DIGITAL_SIGNATURE.and(KeyUsage::KEY_ENCIPHERMENT)),
        Extension::purpose(&oid::SERVER_AUTH),
        Extension::subject_key_id(&key_id(server.public_key_der)?),
        Extension::subject_alt_names(&names),
    ])
}

impl Issuer<'_> {
    fn issue(
        &self,
        subject: &Name,
        public_key_der: &[u8],
        serial: Serial,
        validity: Validity,
        extensions: &[Extension],
    ) -> Result<Certificate, IssueError> {
        if self.key.public_key_der() != self.certificate.public_key_der() {
            return Err(IssueError::IssuerKey);
        }
        if !self.certificate.is_ca() {
            return Err(IssueError::IssuerNotCa);
        }
        if validity.not_after > self.certificate.not_after() {
            return Err(IssueError::OutlivesIssuer);
        }
        key_kind(public_key_der)?;
        let mut extensions = extensions.to_vec();
        if let Some(id) = self.certificate.subject_key_id() {
            extensions.push(Extension::authority_key_id(id));
        }
        let body = Body {
            issuer: self.certificate.subject(),
            subject,
            public_key_der,
            serial,
            validity,
            extensions: &extensions,
        };
        body.sign(self.key)
    }
}

/// The signed part of a certificate about to be made.
struct Body<'a> {
    issuer: &'a Name,
    subject: &'a Name,
    public_key_der: &'a [u8],
    serial: Serial,
    validity: Validity,
    extensions: &'a [Extension],
}

impl Body<'_> {
    fn sign(&self, key: &dyn Signer) -> Result<Certificate, IssueError> {
        if self.validity.not_after <= self.validity.not_before {
            return Err(IssueError::Validity);
        }
        let digest = key.default_digest();
        let algorithm = signature_algorithm(key.key_kind(), digest)?;
        let times = [
            write_time(self.validity.not_before).ok_or(IssueError::Validity)?,
            write_time(self.validity.not_after).ok_or(IssueError::Validity)?,
        ];
        let members: Vec<Vec<u8>> = self.extensions.iter().map(Extension::encode).collect();
        let parts: Vec<&[u8]> = members.iter().map(Vec::as_slice).collect();
        let [not_before, not_after] = &times;
        let body = sequence(&[
            // [0] { INTEGER 2 }: version 3
            &[tag::context_constructed(0), 3, tag::INTEGER, 1, 2],
            &element(tag::INTEGER, &[self.serial.bytes()]),
            &algorithm,
            self.issuer.der(),
            &sequence(&[not_before, not_after]),
            self.subject.der(),
            self.public_key_der,
            &element(tag::context_constructed(3), &[&sequence(&parts)]),
        ]);
        let signature = key.sign(digest, &body)?;
        let der = sequence(&[&body, &algorithm, &bit_string(&signature)]);
        Ok(Certificate::from_der(&der)?)
    }
}

/// The key identifier of method 1: SHA-1 of the key bits. A name, not a security feature.
fn key_id(public_key_der: &[u8]) -> Result<Vec<u8>, KeyError> {
    Ok(DigestAlgorithm::Sha1.digest(PublicKey::read(public_key_der)?.bits()))
}
