//! Reads certificates.
//!
//! `CertificateParts` borrows and costs no allocation, for the hot path of signature checks; `Certificate` owns its bytes and
//! answers questions. Neither verifies anything. Source: RFC 5280 section 4.1.

use uuid::Uuid;

use super::extension::{self, Extension, KeyUsage, SubjectAltName};
use super::name::Name;
use crate::ber::{self, BerError, Limits};
use crate::civil::read_time;
use crate::der_io::{NotDer, Read, Reader, single, tag};
use crate::key::{self, KeyError, KeyKind};
use crate::oid;

/// Largest certificate that is read, in bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// Why a certificate cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The bytes break the encoding rules or a bound.
    #[error("not acceptable DER: {0}")]
    Encoding(#[from] BerError),
    /// The structure is not that of a certificate.
    #[error("certificate malformed")]
    Malformed,
    /// A time is not in one of the two DER forms.
    #[error("certificate with a malformed time")]
    Time,
    /// An extension is malformed, occurs twice, or there are too many.
    #[error("certificate with a malformed extension")]
    Extension,
}

impl CertificateError {
    /// Stable short name for logs and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Encoding(error) => error.code(),
            Self::Malformed => "certificate_malformed",
            Self::Time => "certificate_time",
            Self::Extension => "certificate_extension",
        }
    }
}

impl From<NotDer> for CertificateError {
    fn from(_: NotDer) -> Self {
        Self::Malformed
    }
}

/// A certificate taken apart without copying.
#[derive(Clone, Copy)]
pub(crate) struct CertificateParts<'a> {
    /// The signed bytes.
    pub(crate) signed: &'a [u8],
    /// The contents of the serial INTEGER.
    pub(crate) serial: &'a [u8],
    /// The whole issuer name.
    pub(crate) issuer: &'a [u8],
    pub(crate) validity: Reader<'a>,
    /// The whole subject name.
    pub(crate) subject: &'a [u8],
    /// The whole `SubjectPublicKeyInfo`.
    pub(crate) public_key: &'a [u8],
    /// The contents of the extension list, empty without one.
    pub(crate) extensions: &'a [u8],
    /// The contents of the outer signature algorithm.
    pub(crate) algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
}

impl<'a> CertificateParts<'a> {
    pub(crate) fn read(der: &'a [u8]) -> Read<Self> {
        let outer = single(der)?;
        if outer.tag != tag::SEQUENCE {
            return Err(NotDer);
        }
        let mut certificate = Reader::new(outer.value);
        let signed = certificate.tlv(tag::SEQUENCE)?;
        let algorithm = certificate.value(tag::SEQUENCE)?;
        let signature = certificate.bit_string()?;
        certificate.finish()?;

        let mut body = Reader::new(signed.value);
        if let Some(version) = body.optional(tag::context_constructed(0))? {
            let mut version = Reader::new(version.value);
            if version.small_integer()? > 2 {
                return Err(NotDer);
            }
            version.finish()?;
        }
        let serial = body.integer()?;
        if body.value(tag::SEQUENCE)? != algorithm {
            return Err(NotDer);
        }
        let issuer = body.tlv(tag::SEQUENCE)?.raw;
        let validity = body.enter(tag::SEQUENCE)?;
        let subject = body.tlv(tag::SEQUENCE)?.raw;
        let public_key = body.tlv(tag::SEQUENCE)?.raw;
        body.optional(tag::context(1))?;
        body.optional(tag::context(2))?;
        let extensions = match body.optional(tag::context_constructed(3))? {
            Some(wrapper) => {
                let mut wrapper = Reader::new(wrapper.value);
                let list = wrapper.value(tag::SEQUENCE)?;
                wrapper.finish()?;
                list
            }
            None => &[],
        };
        body.finish()?;
        Ok(Self {
            signed: signed.raw,
            serial,
            issuer,
            validity,
            subject,
            public_key,
            extensions,
            algorithm,
            signature,
        })
    }

    /// The key identifier the certificate gives itself.
    pub(crate) fn subject_key_id(&self) -> Option<&'a [u8]> {
        let mut list = Reader::new(self.extensions);
        while !list.is_empty() {
            let mut item = list.enter(tag::SEQUENCE).ok()?;
            let id = item.oid().ok()?;
            item.optional(tag::BOOLEAN).ok()?;
            if id == oid::SUBJECT_KEY_ID {
                let inner = single(item.value(tag::OCTET_STRING).ok()?).ok()?;
                return (inner.tag == tag::OCTET_STRING).then_some(inner.value);
            }
        }
        None
    }
}

/// A certificate that has been read. Reading proves nothing about who signed it.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    serial: Vec<u8>,
    issuer: Name,
    subject: Name,
    not_before: i64,
    not_after: i64,
    public_key: Vec<u8>,
    extensions: Vec<Extension>,
}

impl Certificate {
    /// Reads one certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError`]; also for BER that is not DER, bytes behind the end, and more than [`MAX_CERTIFICATE_BYTES`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        ber::require_definite(der, Limits::for_bytes(MAX_CERTIFICATE_BYTES))?;
        let parts = CertificateParts::read(der)?;
        let mut validity = parts.validity;
        let mut time = || -> Result<i64, CertificateError> {
            let element = validity.any()?;
            read_time(&element).map_err(|_| CertificateError::Time)
        };
        let (not_before, not_after) = (time()?, time()?);
        validity.finish()?;
        Ok(Self {
            serial: parts.serial.to_vec(),
            issuer: Name::read(parts.issuer)?,
            subject: Name::read(parts.subject)?,
            not_before,
            not_after,
            public_key: parts.public_key.to_vec(),
            extensions: extension::read_list(parts.extensions)
                .map_err(|_| CertificateError::Extension)?,
            der: der.to_vec(),
        })
    }

    /// All bytes of the certificate.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 over [`Self::der`].
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        key::sha256(&self.der)
    }

    /// The name of the holder.
    #[must_use]
    pub fn subject(&self) -> &Name {
        &self.subject
    }

    /// The name of the signer.
    #[must_use]
    pub fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// The serial number as a big-endian two's complement integer, as in the certificate.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The serial number in lower-case hex.
    #[must_use]
    pub fn serial_hex(&self) -> String {
        self.serial
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// First valid second, unix seconds.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Last valid second, unix seconds.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The public key as `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key
    }

    /// The kind of public key, judged by the default rules.
    ///
    /// # Errors
    /// [`KeyError`] for a key we would not accept.
    pub fn key_kind(&self) -> Result<KeyKind, KeyError> {
        key::key_kind(&self.public_key)
    }

    /// All extensions in the certificate's order.
    #[must_use]
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// The raw value of one extension.
    #[must_use]
    pub fn extension(&self, id: &der::asn1::ObjectIdentifier) -> Option<&[u8]> {
        extension::find(&self.extensions, id)
    }

    /// The key identifier the certificate gives itself.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        let inner = single(self.extension(&oid::SUBJECT_KEY_ID)?).ok()?;
        (inner.tag == tag::OCTET_STRING).then_some(inner.value)
    }

    /// The key identifier the certificate gives for its issuer.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        let outer = single(self.extension(&oid::AUTHORITY_KEY_ID)?).ok()?;
        let id = Reader::new(outer.value)
            .optional(tag::context(0))
            .ok()
            .flatten();
        id.map(|id| id.value)
    }

    /// Whether basicConstraints says CA. An unreadable extension counts as a CA, the stricter reading for a leaf.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.extension(&oid::BASIC_CONSTRAINTS)
            .is_some_and(|value| extension::basic_constraints(value).is_none_or(|(ca, _)| ca))
    }

    /// How many CA certificates may stand below this CA; none for no limit.
    #[must_use]
    pub fn path_length(&self) -> Option<u8> {
        extension::basic_constraints(self.extension(&oid::BASIC_CONSTRAINTS)?)?.1
    }

    /// The key usages; none without the extension.
    #[must_use]
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.extension(&oid::KEY_USAGE)
            .map(|value| extension::key_usage(value).unwrap_or_default())
    }

    /// The key purposes; none without the extension.
    #[must_use]
    pub fn extended_key_usages(&self) -> Option<Vec<der::asn1::ObjectIdentifier>> {
        self.extension(&oid::EXTENDED_KEY_USAGE)
            .map(|value| extension::purposes(value).unwrap_or_default())
    }

    /// The alternative names; empty without the extension.
    #[must_use]
    pub fn subject_alt_names(&self) -> Vec<SubjectAltName> {
        self.extension(&oid::SUBJECT_ALT_NAME)
            .and_then(extension::alt_names)
            .unwrap_or_default()
    }

    /// The grant this certificate was issued for: its only `urn:uuid:` alternative name.
    #[must_use]
    pub fn grant_id(&self) -> Option<Uuid> {
        let mut grants = self.subject_alt_names().into_iter().filter_map(|name| {
            let SubjectAltName::Uri(uri) = name else {
                return None;
            };
            uri.strip_prefix("urn:uuid:")
                .and_then(|text| Uuid::try_parse(text).ok())
        });
        let first = grants.next()?;
        grants.next().is_none().then_some(first)
    }

    /// The push topic in an Apple push certificate: the user-id attribute of its subject.
    #[must_use]
    pub fn push_topic(&self) -> Option<String> {
        self.subject.first(&oid::USER_ID)
    }

    /// Whether subject and issuer are the same name. It says nothing about the signature.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    pub(crate) fn parts(&self) -> Read<CertificateParts<'_>> {
        CertificateParts::read(&self.der)
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject)
            .field("serial", &self.serial_hex())
            .finish_non_exhaustive()
    }
}
