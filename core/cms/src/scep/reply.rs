//! Writes the CA's answers.
//!
//! Every answer is a signed `CertRep` that echoes the transaction id byte for byte and the client's nonce. The digest follows
//! the client where it is SHA-256 or better, the cipher where it is AES; older ones are answered with SHA-256 and AES-128.
//! Source: RFC 8894 sections 3.2 and 3.3.2.

use super::{FailInfo, MessageType, PkiMessage, ReplyTo};
use crate::der_io::{element, octet_string, tag};
use crate::enveloped::{self, ContentCipher, EnvelopedError};
use crate::key::{DigestAlgorithm, KeyKind};
use crate::oid;
use crate::sign::{Attribute, SignError, SignRequest, certificates_only, sign_attached};
use crate::x509::{Certificate, Issuer};

/// An answer ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The message, to be sent as `application/x-pki-message`.
    pub der: Vec<u8>,
    /// The digest it is signed with.
    pub digest: DigestAlgorithm,
    /// The cipher of its contents; none for answers without.
    pub cipher: Option<ContentCipher>,
}

/// Why an answer could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The certificate could not be encrypted to the client.
    #[error("answer not encrypted: {0}")]
    Encrypt(#[from] EnvelopedError),
    /// The answer could not be signed.
    #[error("answer not signed: {0}")]
    Sign(#[from] SignError),
}

/// Answers with the issued certificate, and with `chain` behind it, encrypted to the signer of the request.
///
/// # Errors
/// [`ReplyError`]; [`EnvelopedError::RecipientKey`] inside it where the signer's key is not RSA.
pub fn reply_success(
    message: &PkiMessage,
    issued: &Certificate,
    chain: &[Certificate],
    ca: &Issuer<'_>,
    nonce: [u8; 16],
) -> Result<Reply, ReplyError> {
    let cipher = match message.cipher {
        Some(ContentCipher::Aes192 | ContentCipher::Aes256) => ContentCipher::Aes256,
        _ => ContentCipher::Aes128,
    };
    let mut certificates = vec![issued.clone()];
    certificates.extend_from_slice(chain);
    let content = enveloped::encrypt(&certificates_only(&certificates), &message.signer, cipher)?;
    let reply = build(&message.reply_to, Status::Success, &content, ca, nonce)?;
    Ok(Reply {
        cipher: Some(cipher),
        ..reply
    })
}

/// Answers that nothing was issued.
///
/// # Errors
/// [`ReplyError::Sign`].
pub fn reply_failure(
    to: &ReplyTo,
    reason: FailInfo,
    ca: &Issuer<'_>,
    nonce: [u8; 16],
) -> Result<Reply, ReplyError> {
    build(to, Status::Failure(reason), &[], ca, nonce)
}

/// Answers that the request waits for a decision.
///
/// # Errors
/// [`ReplyError::Sign`].
pub fn reply_pending(to: &ReplyTo, ca: &Issuer<'_>, nonce: [u8; 16]) -> Result<Reply, ReplyError> {
    build(to, Status::Pending, &[], ca, nonce)
}

#[derive(Clone, Copy)]
enum Status {
    Success,
    Failure(FailInfo),
    Pending,
}

fn build(
    to: &ReplyTo,
    status: Status,
    content: &[u8],
    ca: &Issuer<'_>,
    nonce: [u8; 16],
) -> Result<Reply, ReplyError> {
    let text = |id, text: &str| Attribute {
        id,
        value: element(tag::PRINTABLE_STRING, &[text.as_bytes()]),
    };
    let bytes = |id, value: &[u8]| Attribute {
        id,
        value: octet_string(value),
    };
    let number = match status {
        Status::Success => "0",
        Status::Failure(_) => "2",
        Status::Pending => "3",
    };
    let kind = MessageType::CertRep.number().to_string();
    let mut attributes = vec![
        Attribute {
            id: oid::SCEP_TRANSACTION_ID,
            value: to.transaction_id.clone(),
        },
        text(oid::SCEP_MESSAGE_TYPE, &kind),
        text(oid::SCEP_PKI_STATUS, number),
        bytes(oid::SCEP_SENDER_NONCE, &nonce),
    ];
    if let Some(theirs) = &to.sender_nonce {
        attributes.push(bytes(oid::SCEP_RECIPIENT_NONCE, theirs));
    }
    if let Status::Failure(reason) = status {
        attributes.push(text(oid::SCEP_FAIL_INFO, &reason.number().to_string()));
    }
    let digest = match (ca.key.key_kind(), to.digest) {
        (KeyKind::Rsa { .. }, Some(DigestAlgorithm::Sha512)) => DigestAlgorithm::Sha512,
        (KeyKind::Rsa { .. }, Some(DigestAlgorithm::Sha384)) => DigestAlgorithm::Sha384,
        _ => ca.key.default_digest(),
    };
    let request = SignRequest {
        attributes: &attributes,
        digest: Some(digest),
        ..SignRequest::new(ca.key, ca.certificate)
    };
    Ok(Reply {
        der: sign_attached(content, &request)?,
        digest,
        cipher: None,
    })
}
