//! Parses and verifies CMS `SignedData`.
//!
//! It proves one thing: whoever made the message holds the private key of the certificate it returns. Whether that certificate
//! means anything (chain, stored fingerprint, revocation, dates) is judged elsewhere. The signed attributes are hashed from the
//! sender's own bytes, because a sender need not have sorted them. Unsigned attributes and revocation lists are skipped; the
//! size limit bounds them.
//!
//! Source: RFC 5652 sections 5 and 11.

mod error;

pub use error::{Blame, SignedError};

use der::asn1::ObjectIdentifier;

use crate::ber::{self, Limits};
use crate::civil::read_time;
use crate::der_io::{NotDer, Reader, Tlv, push_header, read_algorithm, single, tag};
use crate::key::{self, DigestAlgorithm, Scheme, VerifyError};
use crate::oid;
use crate::x509::CertificateParts;

/// Most certificates a message may carry.
pub const MAX_CERTIFICATES: usize = 10;
/// Most digest algorithms a message may list.
pub const MAX_DIGESTS: usize = 16;
/// Most signed attributes.
pub const MAX_ATTRIBUTES: usize = 32;

/// What a caller accepts beyond the common rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Accept SHA-1 as digest and in the signature.
    pub allow_sha1: bool,
    /// Accept RSA keys from 1024 bits on.
    pub allow_short_rsa: bool,
    /// Refuse messages without signed attributes.
    pub require_signed_attributes: bool,
    /// Largest message in bytes.
    pub max_bytes: usize,
}

impl Policy {
    /// SHA-256 or better, RSA from 2048 bits, up to 1 MiB.
    #[must_use]
    pub const fn strict() -> Self {
        Self {
            allow_sha1: false,
            allow_short_rsa: false,
            require_signed_attributes: false,
            max_bytes: 1024 * 1024,
        }
    }

    /// For the `Mdm-Signature` header, as devices send it: SHA-1 counts, attributes may be missing, up to 48 KiB.
    #[must_use]
    pub const fn mdm_signature() -> Self {
        Self {
            allow_sha1: true,
            max_bytes: 48 * 1024,
            ..Self::strict()
        }
    }

    /// For the signed machine information of Automated Device Enrollment: SHA-1 and short RSA keys count, up to 256 KiB.
    #[must_use]
    pub const fn machine_info() -> Self {
        Self {
            allow_sha1: true,
            allow_short_rsa: true,
            max_bytes: 256 * 1024,
            ..Self::strict()
        }
    }
}

/// One signed attribute: its identifier and the bytes of all its values, each a complete element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAttribute {
    /// What the attribute is.
    pub id: ObjectIdentifier,
    /// The members of its value set, one after the other, in DER.
    pub values: Vec<u8>,
}

/// A message whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The certificate whose key signed. A claim until its chain or fingerprint is judged.
    pub signer_certificate_der: Vec<u8>,
    /// All certificates in the message, the signer's included, in the sender's order.
    pub certificates_der: Vec<Vec<u8>>,
    /// The content, if the message carries it.
    pub content: Option<Vec<u8>>,
    /// What the content is said to be.
    pub content_type: ObjectIdentifier,
    /// The digest the signer used.
    pub digest: DigestAlgorithm,
    /// Unix seconds of the signing-time attribute; none if it is absent or not a time.
    pub signing_time: Option<i64>,
    /// The signed attributes; empty if the message has none.
    pub attributes: Vec<SignedAttribute>,
}

impl Verified {
    /// The one value of an attribute as a complete DER element; none if absent or not exactly one value.
    #[must_use]
    pub fn attribute(&self, id: &ObjectIdentifier) -> Option<&[u8]> {
        let found = self.attributes.iter().find(|item| item.id == *id)?;
        single(&found.values).ok().map(|value| value.raw)
    }
}

/// Verifies a detached signature over `content`.
///
/// # Errors
/// [`SignedError`]; also where the message carries content of its own or `content` is empty.
pub fn verify_detached(
    message: &[u8],
    content: &[u8],
    policy: &Policy,
) -> Result<Verified, SignedError> {
    let der = ber::normalize(message, Limits::for_bytes(policy.max_bytes))?;
    let parts = SignedParts::read(&der)?;
    if parts.content.is_some() {
        return Err(SignedError::ContentAttached);
    }
    if content.is_empty() {
        return Err(SignedError::ContentEmpty);
    }
    parts.verify(content, policy)
}

/// Verifies a message that carries its content.
///
/// # Errors
/// [`SignedError`]; also where the content is missing. Empty content is accepted: some status messages have none.
pub fn verify_attached(message: &[u8], policy: &Policy) -> Result<Verified, SignedError> {
    let der = ber::normalize(message, Limits::for_bytes(policy.max_bytes))?;
    let parts = SignedParts::read(&der)?;
    let content = parts.content.ok_or(SignedError::ContentMissing)?;
    parts.verify(content, policy)
}

/// A signed message taken apart, nothing verified yet.
pub(crate) struct SignedParts<'a> {
    pub(crate) content_type: ObjectIdentifier,
    pub(crate) content: Option<&'a [u8]>,
    pub(crate) attributes: Vec<(ObjectIdentifier, &'a [u8])>,
    digests: Vec<ObjectIdentifier>,
    certificates: Vec<Tlv<'a>>,
    signer: SignerParts<'a>,
}

struct SignerParts<'a> {
    id: SignerId<'a>,
    digest: ObjectIdentifier,
    /// The contents of the attribute set as the sender wrote them.
    signed_attributes: Option<&'a [u8]>,
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
}

enum SignerId<'a> {
    IssuerAndSerial { issuer: &'a [u8], serial: &'a [u8] },
    KeyId(&'a [u8]),
}

impl<'a> SignedParts<'a> {
    /// Takes normalised bytes apart.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, SignedError> {
        let mut body = content_info(der, oid::SIGNED_DATA)?.ok_or(SignedError::NotSignedData)?;
        if !matches!(body.small_integer()?, 1 | 3 | 4 | 5) {
            return Err(SignedError::Version);
        }
        let digests = read_digests(body.enter(tag::SET)?)?;
        let mut encapsulated = body.enter(tag::SEQUENCE)?;
        let content_type = encapsulated.oid()?;
        let content = match encapsulated.optional(tag::context_constructed(0))? {
            Some(wrapper) => Some(read_content(&wrapper)?),
            None => None,
        };
        encapsulated.finish()?;
        let certificates = match body.optional(tag::context_constructed(0))? {
            Some(set) => read_certificates(Reader::new(set.value))?,
            None => Vec::new(),
        };
        body.optional(tag::context_constructed(1))?;
        let mut signers = body.enter(tag::SET)?;
        body.finish()?;
        if digests.is_empty() {
            return Err(SignedError::NoDigest);
        }
        if signers.is_empty() {
            return Err(SignedError::NoSigner);
        }
        let signer = read_signer(signers.enter(tag::SEQUENCE)?)?;
        if !signers.is_empty() {
            return Err(SignedError::SeveralSigners);
        }
        let attributes = match signer.signed_attributes {
            Some(bytes) => read_attributes(Reader::new(bytes))?,
            None => Vec::new(),
        };
        Ok(Self {
            content_type,
            content,
            attributes,
            digests,
            certificates,
            signer,
        })
    }

    /// The one value of an attribute; none unless it occurs once and with exactly one value.
    pub(crate) fn attribute(&self, id: &ObjectIdentifier) -> Option<Tlv<'a>> {
        let mut found = self.attributes.iter().filter(|(known, _)| known == id);
        let (_, values) = found.next()?;
        if found.next().is_some() {
            return None;
        }
        single(values).ok()
    }

    pub(crate) fn has_attribute(&self, id: &ObjectIdentifier) -> bool {
        self.attributes.iter().any(|(known, _)| known == id)
    }

    /// The signer's digest, if it is one of ours.
    pub(crate) fn digest(&self) -> Option<DigestAlgorithm> {
        DigestAlgorithm::from_oid(&self.signer.digest)
    }

    fn has_duplicate_attribute(&self) -> bool {
        self.attributes.iter().enumerate().any(|(index, (id, _))| {
            self.attributes
                .iter()
                .skip(index + 1)
                .any(|(other, _)| other == id)
        })
    }

    /// Checks everything that the signature proves.
    pub(crate) fn verify(&self, content: &[u8], policy: &Policy) -> Result<Verified, SignedError> {
        let signer = &self.signer;
        if self.has_duplicate_attribute() {
            return Err(SignedError::DuplicateAttribute);
        }
        if !self.digests.contains(&signer.digest) {
            return Err(SignedError::DigestNotListed);
        }
        if self.certificates.is_empty() {
            return Err(SignedError::NoCertificates);
        }
        let digest =
            DigestAlgorithm::from_oid(&signer.digest).ok_or(SignedError::UnsupportedDigest)?;
        let scheme =
            Scheme::read(signer.signature_algorithm).ok_or(SignedError::UnsupportedSignature)?;
        if scheme.digest.is_some_and(|named| named != digest) {
            return Err(SignedError::UnsupportedSignature);
        }
        if digest == DigestAlgorithm::Sha1 && !policy.allow_sha1 {
            return Err(SignedError::Sha1Refused);
        }
        let (certificate, parts) = self.locate_signer()?;
        let signed = self.signed_bytes(content, digest, policy)?;
        key::verify(
            parts.public_key,
            scheme.rsa,
            digest,
            signed.as_deref().unwrap_or(content),
            signer.signature,
            policy.allow_short_rsa,
        )
        .map_err(|error| match error {
            VerifyError::Unsupported => SignedError::UnsupportedSignature,
            VerifyError::Key(error) => SignedError::Key(error),
            VerifyError::Invalid => SignedError::SignatureMismatch,
        })?;
        Ok(Verified {
            signer_certificate_der: certificate.to_vec(),
            certificates_der: self
                .certificates
                .iter()
                .map(|one| one.raw.to_vec())
                .collect(),
            content: self.content.map(<[u8]>::to_vec),
            content_type: self.content_type,
            digest,
            signing_time: self
                .attribute(&oid::SIGNING_TIME)
                .and_then(|time| read_time(&time).ok()),
            attributes: self
                .attributes
                .iter()
                .map(|(id, values)| SignedAttribute {
                    id: *id,
                    values: values.to_vec(),
                })
                .collect(),
        })
    }

    fn locate_signer(&self) -> Result<(&'a [u8], CertificateParts<'a>), SignedError> {
        let mut found: Option<(&'a [u8], CertificateParts<'a>)> = None;
        for certificate in &self.certificates {
            let Ok(parts) = CertificateParts::read(certificate.raw) else {
                continue;
            };
            let matches = match self.signer.id {
                SignerId::IssuerAndSerial { issuer, serial } => {
                    parts.issuer == issuer && parts.serial == serial
                }
                SignerId::KeyId(id) => parts.subject_key_id() == Some(id),
            };
            if !matches {
                continue;
            }
            match &found {
                Some((earlier, _)) if *earlier != certificate.raw => {
                    return Err(SignedError::AmbiguousSigner);
                }
                Some(_) => {}
                None => found = Some((certificate.raw, parts)),
            }
        }
        found.ok_or(SignedError::SignerNotFound)
    }

    /// Checks the mandatory attributes and returns what was signed; none when the content itself was.
    fn signed_bytes(
        &self,
        content: &[u8],
        digest: DigestAlgorithm,
        policy: &Policy,
    ) -> Result<Option<Vec<u8>>, SignedError> {
        let Some(bytes) = self.signer.signed_attributes else {
            // Without attributes the content is signed directly; content that is itself an attribute set could be taken from
            // another message's attributes, so a lone SET does not count.
            let is_set = single(content).is_ok_and(|value| value.tag == tag::SET);
            if policy.require_signed_attributes || self.content_type != oid::DATA || is_set {
                return Err(SignedError::AttributesMissing);
            }
            return Ok(None);
        };
        let named = self
            .attribute(&oid::CONTENT_TYPE)
            .ok_or(SignedError::ContentTypeMissing)?;
        if named.tag != tag::OID || named.value != self.content_type.as_bytes() {
            return Err(SignedError::ContentTypeDiffers);
        }
        let claimed = self
            .attribute(&oid::MESSAGE_DIGEST)
            .filter(|value| value.tag == tag::OCTET_STRING)
            .ok_or(SignedError::MessageDigestMissing)?;
        if claimed.value != digest.digest(content) {
            return Err(SignedError::DigestMismatch);
        }
        let mut signed = Vec::with_capacity(bytes.len() + 5);
        push_header(&mut signed, tag::SET, bytes.len());
        signed.extend_from_slice(bytes);
        Ok(Some(signed))
    }
}

/// Opens a `ContentInfo`; none if it is of another type.
pub(crate) fn content_info(
    der: &[u8],
    expected: ObjectIdentifier,
) -> Result<Option<Reader<'_>>, NotDer> {
    let outer = single(der)?;
    if outer.tag != tag::SEQUENCE {
        return Err(NotDer);
    }
    let mut info = Reader::new(outer.value);
    if info.oid()? != expected {
        return Ok(None);
    }
    let mut wrapper = info.enter(tag::context_constructed(0))?;
    info.finish()?;
    let body = wrapper.enter(tag::SEQUENCE)?;
    wrapper.finish()?;
    Ok(Some(body))
}

fn read_digests(mut set: Reader<'_>) -> Result<Vec<ObjectIdentifier>, SignedError> {
    let mut digests = Vec::new();
    while !set.is_empty() {
        if digests.len() == MAX_DIGESTS {
            return Err(SignedError::TooManyDigests);
        }
        let (id, _) = read_algorithm(set.value(tag::SEQUENCE)?)?;
        digests.push(id);
    }
    Ok(digests)
}

/// Content is an OCTET STRING in CMS; PKCS#7 wrote other types bare, which nobody we serve does.
fn read_content<'a>(wrapper: &Tlv<'a>) -> Result<&'a [u8], SignedError> {
    let mut reader = Reader::new(wrapper.value);
    let content = reader.value(tag::OCTET_STRING)?;
    reader.finish()?;
    Ok(content)
}

fn read_certificates(mut set: Reader<'_>) -> Result<Vec<Tlv<'_>>, SignedError> {
    let mut certificates = Vec::new();
    while !set.is_empty() {
        if certificates.len() == MAX_CERTIFICATES {
            return Err(SignedError::TooManyCertificates);
        }
        certificates.push(set.any()?);
    }
    Ok(certificates)
}

fn read_signer(mut info: Reader<'_>) -> Result<SignerParts<'_>, SignedError> {
    if !matches!(info.small_integer()?, 1 | 3) {
        return Err(SignedError::Version);
    }
    let id = info.any()?;
    let id = if id.tag == tag::SEQUENCE {
        let mut names = Reader::new(id.value);
        let issuer = names.tlv(tag::SEQUENCE)?.raw;
        let serial = names.integer()?;
        names.finish()?;
        SignerId::IssuerAndSerial { issuer, serial }
    } else if id.tag == tag::context(0) {
        SignerId::KeyId(id.value)
    } else {
        return Err(SignedError::Malformed);
    };
    let (digest, _) = read_algorithm(info.value(tag::SEQUENCE)?)?;
    let signed_attributes = info
        .optional(tag::context_constructed(0))?
        .map(|set| set.value);
    if matches!(info.peek(), Some(found) if found != tag::SEQUENCE) {
        return Err(SignedError::AttributesTag);
    }
    let signature_algorithm = info.value(tag::SEQUENCE)?;
    let signature = info.value(tag::OCTET_STRING)?;
    info.optional(tag::context_constructed(1))?;
    info.finish()?;
    Ok(SignerParts {
        id,
        digest,
        signed_attributes,
        signature_algorithm,
        signature,
    })
}

fn read_attributes(mut set: Reader<'_>) -> Result<Vec<(ObjectIdentifier, &[u8])>, SignedError> {
    let mut attributes: Vec<(ObjectIdentifier, &[u8])> = Vec::new();
    while !set.is_empty() {
        if attributes.len() == MAX_ATTRIBUTES {
            return Err(SignedError::TooManyAttributes);
        }
        let mut attribute = set.enter(tag::SEQUENCE)?;
        let id = attribute
            .oid()
            .map_err(|_| SignedError::AttributeMalformed)?;
        let values = attribute
            .value(tag::SET)
            .map_err(|_| SignedError::AttributeMalformed)?;
        attribute
            .finish()
            .map_err(|_| SignedError::AttributeMalformed)?;
        attributes.push((id, values));
    }
    Ok(attributes)
}
