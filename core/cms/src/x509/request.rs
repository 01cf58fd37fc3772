//! Certificate signing requests.
//!
//! A request is taken apart, its key judged and its own signature checked, in this order, before anything in its attributes is
//! looked at. What it asks for is data for the caller to judge: nothing of it is copied into certificates here.
//!
//! Source: RFC 2986, RFC 2985 sections 5.4.1 and 5.4.2.

use std::fmt;

use der::asn1::ObjectIdentifier;
use zeroize::Zeroizing;

use super::extension::{self, Extension, KeyUsage, SubjectAltName};
use super::name::Name;
use crate::ber::{self, BerError, Limits};
use crate::der_io::{NotDer, Reader, Tlv, single, tag};
use crate::key::{self, KeyError, KeyKind, Scheme, VerifyError};
use crate::oid;

/// Largest request that is read, in bytes.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Longest challenge password, in bytes.
const MAX_CHALLENGE_BYTES: usize = 1024;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The bytes break the encoding rules or a bound.
    #[error("not acceptable DER: {0}")]
    Encoding(#[from] BerError),
    /// The structure is not that of a request.
    #[error("request malformed")]
    Malformed,
    /// The public key is not accepted.
    #[error("request key not accepted: {0}")]
    Key(KeyError),
    /// The signature algorithm is not accepted.
    #[error("signature algorithm of the request not supported")]
    UnsupportedSignature,
    /// The request is not signed by its own key.
    #[error("request signature does not match")]
    SignatureMismatch,
    /// More than one challenge password.
    #[error("challenge password given twice")]
    ChallengeTwice,
    /// A challenge password of another string type, too long, or with control characters.
    #[error("challenge password malformed")]
    ChallengeMalformed,
    /// The requested extensions cannot be read.
    #[error("requested extensions malformed")]
    Extension,
}

impl RequestError {
    /// Stable short name for logs and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Encoding(error) => error.code(),
            Self::Malformed => "request_malformed",
            Self::Key(error) => error.code(),
            Self::UnsupportedSignature => "request_unsupported_signature",
            Self::SignatureMismatch => "request_signature_mismatch",
            Self::ChallengeTwice => "request_challenge_twice",
            Self::ChallengeMalformed => "request_challenge_malformed",
            Self::Extension => "request_extension",
        }
    }
}

impl From<NotDer> for RequestError {
    fn from(_: NotDer) -> Self {
        Self::Malformed
    }
}

/// A challenge password. It does not print, and it is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct ChallengePassword(Zeroizing<String>);

impl ChallengePassword {
    /// The password itself, for the one comparison it is meant for.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ChallengePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengePassword(..)")
    }
}

/// A request whose key is acceptable and whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificationRequest {
    subject: Name,
    public_key: Vec<u8>,
    kind: KeyKind,
    challenge: Option<ChallengePassword>,
    extensions: Vec<Extension>,
}

impl CertificationRequest {
    /// Reads a request and checks its key and signature. SHA-1 signatures are refused unless `allow_sha1`.
    ///
    /// # Errors
    /// [`RequestError`]; key and signature are judged before the attributes, so an attribute error is always about a request
    /// that its key really signed.
    pub fn from_der(der: &[u8], allow_sha1: bool) -> Result<Self, RequestError> {
        let unverified = UnverifiedRequest::read(der)?;
        let kind = unverified.check_key()?;
        unverified.check_signature(allow_sha1)?;
        unverified.finish(kind)
    }

    /// The name asked for.
    #[must_use]
    pub fn subject(&self) -> &Name {
        &self.subject
    }

    /// The public key as `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key
    }

    /// SHA-256 over [`Self::public_key_der`].
    #[must_use]
    pub fn public_key_fingerprint(&self) -> [u8; 32] {
        key::sha256(&self.public_key)
    }

    /// The kind of key.
    #[must_use]
    pub fn key_kind(&self) -> KeyKind {
        self.kind
    }

    /// The challenge password, if one was given.
    #[must_use]
    pub fn challenge_password(&self) -> Option<&ChallengePassword> {
        self.challenge.as_ref()
    }

    /// The extensions asked for.
    #[must_use]
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// Whether it asks to become a CA.
    #[must_use]
    pub fn asks_for_ca(&self) -> bool {
        extension::find(&self.extensions, &oid::BASIC_CONSTRAINTS)
            .is_some_and(|value| extension::basic_constraints(value).is_none_or(|(ca, _)| ca))
            || self
                .key_usage()
                .is_some_and(|usage| usage.contains(KeyUsage::KEY_CERT_SIGN))
    }

    /// The key usages asked for; none without the extension.
    #[must_use]
    pub fn key_usage(&self) -> Option<KeyUsage> {
        extension::find(&self.extensions, &oid::KEY_USAGE)
            .map(|value| extension::key_usage(value).unwrap_or_default())
    }

    /// The key purposes asked for; empty without the extension.
    #[must_use]
    pub fn extended_key_usages(&self) -> Vec<ObjectIdentifier> {
        extension::find(&self.extensions, &oid::EXTENDED_KEY_USAGE)
            .and_then(extension::purposes)
            .unwrap_or_default()
    }

    /// The alternative names asked for; empty without the extension.
    #[must_use]
    pub fn subject_alt_names(&self) -> Vec<SubjectAltName> {
        extension::find(&self.extensions, &oid::SUBJECT_ALT_NAME)
            .and_then(extension::alt_names)
            .unwrap_or_default()
    }

    /// The first critical extension that this crate does not interpret.
    #[must_use]
    pub fn unknown_critical_extension(&self) -> Option<ObjectIdentifier> {
        let known = [
            oid::BASIC_CONSTRAINTS,
            oid::KEY_USAGE,
            oid::EXTENDED_KEY_USAGE,
            oid::SUBJECT_ALT_NAME,
            oid::SUBJECT_KEY_ID,
        ];
        self.extensions
            .iter()
            .find(|one| one.critical && !known.contains(&one.id))
            .map(|one| one.id)
    }
}

/// A request taken apart, nothing judged yet.
pub(crate) struct UnverifiedRequest<'a> {
    signed: &'a [u8],
    subject: &'a [u8],
    pub(crate) public_key: &'a [u8],
    attributes: Option<&'a [u8]>,
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> UnverifiedRequest<'a> {
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, RequestError> {
        ber::require_definite(der, Limits::for_bytes(MAX_REQUEST_BYTES))?;
        let outer = single(der)?;
        if outer.tag != tag::SEQUENCE {
            return Err(RequestError::Malformed);
        }
        let mut request = Reader::new(outer.value);
        let signed = request.tlv(tag::SEQUENCE)?;
        let algorithm = request.value(tag::SEQUENCE)?;
        let signature = request.bit_string()?;
        request.finish()?;
        let mut body = Reader::new(signed.value);
        if body.small_integer()? != 0 {
            return Err(RequestError::Malformed);
        }
        let subject = body.tlv(tag::SEQUENCE)?.raw;
        let public_key = body.tlv(tag::SEQUENCE)?.raw;
        let attributes = body
            .optional(tag::context_constructed(0))?
            .map(|set| set.value);
        body.finish()?;
        Ok(Self {
            signed: signed.raw,
            subject,
            public_key,
            attributes,
            algorithm,
            signature,
        })
    }

    pub(crate) fn check_key(&self) -> Result<KeyKind, RequestError> {
        key::key_kind(self.public_key).map_err(RequestError::Key)
    }

    pub(crate) fn check_signature(&self, allow_sha1: bool) -> Result<(), RequestError> {
        let scheme = Scheme::read(self.algorithm).ok_or(RequestError::UnsupportedSignature)?;
        let digest = scheme.digest.ok_or(RequestError::UnsupportedSignature)?;
        if digest == key::DigestAlgorithm::Sha1 && !allow_sha1 {
            return Err(RequestError::UnsupportedSignature);
        }
        key::verify(
            self.public_key,
            scheme.rsa,
            digest,
            self.signed,
            self.signature,
            false,
        )
        .map_err(|error| match error {
            VerifyError::Unsupported => RequestError::UnsupportedSignature,
            VerifyError::Key(error) => RequestError::Key(error),
            VerifyError::Invalid => RequestError::SignatureMismatch,
        })
    }

    pub(crate) fn finish(self, kind: KeyKind) -> Result<CertificationRequest, RequestError> {
        let mut request = CertificationRequest {
            subject: Name::read(self.subject)?,
            public_key: self.public_key.to_vec(),
            kind,
            challenge: None,
            extensions: Vec::new(),
        };
        let mut attributes = Reader::new(self.attributes.unwrap_or_default());
        let mut extensions_seen = false;
        while !attributes.is_empty() {
            let mut attribute = attributes.enter(tag::SEQUENCE)?;
            let id = attribute.oid()?;
            let values = attribute.value(tag::SET)?;
            attribute.finish()?;
            if id == oid::CHALLENGE_PASSWORD {
                if request.challenge.is_some() {
                    return Err(RequestError::ChallengeTwice);
                }
                request.challenge = Some(read_challenge(values)?);
            } else if id == oid::EXTENSION_REQUEST {
                if extensions_seen {
                    return Err(RequestError::Extension);
                }
                extensions_seen = true;
                let list = single(values).map_err(|_| RequestError::Extension)?;
                if list.tag != tag::SEQUENCE {
                    return Err(RequestError::Extension);
                }
                request.extensions =
                    extension::read_list(list.value).map_err(|_| RequestError::Extension)?;
            }
        }
        Ok(request)
    }
}

fn read_challenge(values: &[u8]) -> Result<ChallengePassword, RequestError> {
    let mut reader = Reader::new(values);
    let Tlv {
        tag: form, value, ..
    } = reader.any().map_err(|_| RequestError::ChallengeMalformed)?;
    if !reader.is_empty() {
        return Err(RequestError::ChallengeTwice);
    }
    if value.len() > MAX_CHALLENGE_BYTES
        || !matches!(form, tag::UTF8_STRING | tag::PRINTABLE_STRING)
    {
        return Err(RequestError::ChallengeMalformed);
    }
    super::name::text(form, value)
        .filter(|text| !text.chars().any(char::is_control))
        .map(|text| ChallengePassword(Zeroizing::new(text)))
        .ok_or(RequestError::ChallengeMalformed)
}
