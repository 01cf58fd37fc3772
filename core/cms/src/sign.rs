//! Private keys, and `SignedData` made with them.
//!
//! Signing goes through the `Signer` trait, so that a key may live in a key service. Only SHA-256 and better is written. The
//! time of signing is a parameter. Sources: RFC 5652 section 5, RFC 5958 (PKCS#8), RFC 5915 (SEC1 keys).

mod key_pair;

pub use key_pair::KeyPair;

use der::asn1::ObjectIdentifier;

use crate::civil::write_time;
use crate::der_io::{
    algorithm, algorithm_null, element, octet_string, oid as write_oid, sequence, set_of,
    small_integer, tag,
};
use crate::key::{DigestAlgorithm, KeyKind};
use crate::oid;
use crate::x509::Certificate;

/// Why something could not be signed, or a key not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The private key cannot be read or is of a kind we do not use.
    #[error("private key not usable")]
    KeyUnusable,
    /// Random bytes or key generation failed.
    #[error("key generation failed")]
    Generation,
    /// This key cannot sign with this digest.
    #[error("digest not possible with this key")]
    DigestNotPossible,
    /// The key does not belong to the certificate.
    #[error("key and certificate differ")]
    KeyMismatch,
    /// A time has no form in DER.
    #[error("signing time not possible")]
    Time,
    /// The signing operation itself failed.
    #[error("signing failed")]
    Failed,
}

/// A private key that signs, here or elsewhere.
pub trait Signer: Send + Sync {
    /// The public key as `SubjectPublicKeyInfo` in DER.
    fn public_key_der(&self) -> &[u8];

    /// The kind of key.
    fn key_kind(&self) -> KeyKind;

    /// Signs a message: PKCS#1 v1.5 for RSA, DER for ECDSA.
    ///
    /// # Errors
    /// [`SignError::DigestNotPossible`] or [`SignError::Failed`].
    fn sign(&self, digest: DigestAlgorithm, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// The digest that goes with this kind of key.
    fn default_digest(&self) -> DigestAlgorithm {
        match self.key_kind() {
            KeyKind::Rsa { .. } | KeyKind::P256 => DigestAlgorithm::Sha256,
            KeyKind::P384 => DigestAlgorithm::Sha384,
        }
    }
}

/// The `AlgorithmIdentifier` of a signature.
pub(crate) fn signature_algorithm(
    kind: KeyKind,
    digest: DigestAlgorithm,
) -> Result<Vec<u8>, SignError> {
    use DigestAlgorithm::{Sha256, Sha384, Sha512};
    Ok(match (kind, digest) {
        (KeyKind::Rsa { .. }, Sha256) => algorithm_null(&oid::RSA_SHA256),
        (KeyKind::Rsa { .. }, Sha384) => algorithm_null(&oid::RSA_SHA384),
        (KeyKind::Rsa { .. }, Sha512) => algorithm_null(&oid::RSA_SHA512),
        (KeyKind::P256, Sha256) => algorithm(&oid::ECDSA_SHA256),
        (KeyKind::P384, Sha384) => algorithm(&oid::ECDSA_SHA384),
        _ => return Err(SignError::DigestNotPossible),
    })
}

/// One attribute to sign: its identifier and its one value in DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// What it is.
    pub id: ObjectIdentifier,
    /// A complete DER element.
    pub value: Vec<u8>,
}

/// How to sign a message.
#[derive(Clone, Copy)]
pub struct SignRequest<'a> {
    /// The key.
    pub signer: &'a dyn Signer,
    /// The certificate of the key, always included.
    pub certificate: &'a Certificate,
    /// Further certificates to include, in any order.
    pub chain: &'a [Certificate],
    /// Unix seconds for the signing-time attribute; none leaves it out.
    pub signing_time: Option<i64>,
    /// Attributes to sign beside content-type and message-digest.
    pub attributes: &'a [Attribute],
    /// The digest; none for the key's own.
    pub digest: Option<DigestAlgorithm>,
}

impl<'a> SignRequest<'a> {
    /// Signs with the key's own digest and no further attributes.
    #[must_use]
    pub const fn new(signer: &'a dyn Signer, certificate: &'a Certificate) -> Self {
        Self {
            signer,
            certificate,
            chain: &[],
            signing_time: None,
            attributes: &[],
            digest: None,
        }
    }
}

/// Signs `content` and carries it in the message, as for configuration profiles.
///
/// # Errors
/// [`SignError`].
pub fn sign_attached(content: &[u8], request: &SignRequest<'_>) -> Result<Vec<u8>, SignError> {
    let wrapped = element(tag::context_constructed(0), &[&octet_string(content)]);
    build(content, &wrapped, request)
}

/// Signs `content` without carrying it.
///
/// # Errors
/// [`SignError`].
pub fn sign_detached(content: &[u8], request: &SignRequest<'_>) -> Result<Vec<u8>, SignError> {
    build(content, &[], request)
}

/// A message without signer or content that only carries certificates, as SCEP answers with. The certificates keep their
/// order, because clients take the first for the one they asked for; DER would sort them.
#[must_use]
pub fn certificates_only(certificates: &[Certificate]) -> Vec<u8> {
    let members: Vec<&[u8]> = certificates.iter().map(Certificate::der).collect();
    let body = sequence(&[
        &small_integer(1),
        &set_of(tag::SET, Vec::new()),
        &sequence(&[&write_oid(&oid::DATA)]),
        &element(tag::context_constructed(0), &members),
        // An empty list of revocations: older clients expect the field.
        &element(tag::context_constructed(1), &[]),
        &set_of(tag::SET, Vec::new()),
    ]);
    content_info(&oid::SIGNED_DATA, &body)
}

pub(crate) fn content_info(id: &ObjectIdentifier, body: &[u8]) -> Vec<u8> {
    sequence(&[
        &write_oid(id),
        &element(tag::context_constructed(0), &[body]),
    ])
}

/// Issuer and serial number, by which CMS names a certificate.
pub(crate) fn issuer_and_serial(certificate: &Certificate) -> Vec<u8> {
    sequence(&[
        certificate.issuer().der(),
        &element(tag::INTEGER, &[certificate.serial()]),
    ])
}

fn certificate_set<'a>(certificates: impl Iterator<Item = &'a Certificate>) -> Vec<u8> {
    let mut members: Vec<Vec<u8>> = certificates.map(|one| one.der().to_vec()).collect();
    members.sort();
    members.dedup();
    set_of(tag::context_constructed(0), members)
}

fn build(content: &[u8], wrapped: &[u8], request: &SignRequest<'_>) -> Result<Vec<u8>, SignError> {
    let signer = request.signer;
    if signer.public_key_der() != request.certificate.public_key_der() {
        return Err(SignError::KeyMismatch);
    }
    let digest = request.digest.unwrap_or_else(|| signer.default_digest());
    let signature_algorithm = signature_algorithm(signer.key_kind(), digest)?;
    let digest_algorithm = algorithm(&digest.oid());

    let mut attributes = vec![
        attribute(&oid::CONTENT_TYPE, &write_oid(&oid::DATA)),
        attribute(&oid::MESSAGE_DIGEST, &octet_string(&digest.digest(content))),
    ];
    if let Some(unix) = request.signing_time {
        let time = write_time(unix).ok_or(SignError::Time)?;
        attributes.push(attribute(&oid::SIGNING_TIME, &time));
    }
    for extra in request.attributes {
        attributes.push(attribute(&extra.id, &extra.value));
    }
    // The set is signed under its own tag and sent under [0].
    let signed = set_of(tag::SET, attributes);
    let signature = signer.sign(digest, &signed)?;
    let mut sent = signed;
    if let Some(first) = sent.first_mut() {
        *first = tag::context_constructed(0);
    }

    let info = sequence(&[
        &small_integer(1),
        &issuer_and_serial(request.certificate),
        &digest_algorithm,
        &sent,
        &signature_algorithm,
        &octet_string(&signature),
    ]);
    let certificates =
        certificate_set(std::iter::once(request.certificate).chain(request.chain.iter()));
    let body = sequence(&[
        &small_integer(1),
        &set_of(tag::SET, vec![digest_algorithm.clone()]),
        &sequence(&[&write_oid(&oid::DATA), wrapped]),
        &certificates,
        &set_of(tag::SET, vec![info]),
    ]);
    Ok(content_info(&oid::SIGNED_DATA, &body))
}

fn attribute(id: &ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    sequence(&[&write_oid(id), &set_of(tag::SET, vec![value.to_vec()])])
}
