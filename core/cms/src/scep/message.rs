//! Reads a `pkiMessage`: the signed outside, whose contents are an encrypted request.
//!
//! The message must be signed by the certificate it carries; whether that certificate is self-signed, ours or expired is not
//! looked at here. A refusal keeps what is needed to answer it. Source: RFC 8894 section 3.2.

use super::{FailInfo, MAX_TRANSACTION_ID_BYTES, MessageType, ScepPolicy};
use crate::ber::{self, BerError, Limits};
use crate::der_io::tag;
use crate::enveloped::{self, ContentCipher, DecryptPolicy};
use crate::key::DigestAlgorithm;
use crate::oid;
use crate::signed::{Policy, SignedError, SignedParts};
use crate::x509::Certificate;

/// What an answer must echo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The transaction id as the client encoded it, a complete element.
    pub(super) transaction_id: Vec<u8>,
    /// The client's nonce; none where the message had no usable one.
    pub(super) sender_nonce: Option<[u8; 16]>,
    /// The digest the client used.
    pub(super) digest: Option<DigestAlgorithm>,
}

/// A message whose signature holds.
#[derive(Clone, Debug)]
pub struct PkiMessage {
    /// The kind of message.
    pub message_type: MessageType,
    /// The transaction id as text.
    pub transaction_id: String,
    /// The client's nonce.
    pub sender_nonce: [u8; 16],
    /// The certificate that signed: self-signed on a first request, the one in force on a renewal.
    pub signer: Certificate,
    /// The encrypted contents; empty if there are none.
    pub enveloped: Vec<u8>,
    /// The digest the client used.
    pub digest: DigestAlgorithm,
    /// The content cipher the client used, if it is one of ours.
    pub cipher: Option<ContentCipher>,
    /// Unix seconds of the signing time, if the message has one.
    pub signing_time: Option<i64>,
    /// What an answer must echo.
    pub reply_to: ReplyTo,
}

/// Why a readable message is refused with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScepRefusal {
    /// The signature or an attribute that CMS itself asks for does not hold.
    #[error("{0}")]
    Signed(SignedError),
    /// messageType is missing.
    #[error("message type missing")]
    MessageTypeMissing,
    /// messageType is not a PrintableString with a number.
    #[error("message type malformed")]
    MessageTypeMalformed,
    /// senderNonce is missing or does not have 16 bytes.
    #[error("sender nonce missing or not of 16 bytes")]
    SenderNonce,
}

impl ScepRefusal {
    /// The failure the answer names.
    #[must_use]
    pub const fn fail_info(self) -> FailInfo {
        match self {
            Self::Signed(
                SignedError::UnsupportedDigest
                | SignedError::UnsupportedSignature
                | SignedError::Sha1Refused
                | SignedError::Key(_),
            ) => FailInfo::BadAlg,
            Self::Signed(_) | Self::MessageTypeMalformed | Self::SenderNonce => {
                FailInfo::BadMessageCheck
            }
            Self::MessageTypeMissing => FailInfo::BadRequest,
        }
    }

    /// Stable short name for logs and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Signed(error) => error.code(),
            Self::MessageTypeMissing => "scep_message_type_missing",
            Self::MessageTypeMalformed => "scep_message_type_malformed",
            Self::SenderNonce => "scep_sender_nonce",
        }
    }
}

/// Why bytes do not yield a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScepParseError {
    /// Nothing in the message can be relied on or echoed: answer 400.
    #[error("not a SCEP message: {0}")]
    Malformed(SignedError),
    /// There is no usable transaction id to echo: answer 400.
    #[error("transaction id missing")]
    NoTransactionId,
    /// The message or its transaction id is too long: answer 413.
    #[error("message too large")]
    TooLarge,
    /// A readable message that does not count: answer a CertRep failure.
    #[error("message refused: {reason}")]
    Refused {
        /// Why.
        reason: ScepRefusal,
        /// What the answer echoes.
        reply_to: ReplyTo,
    },
}

impl ScepParseError {
    /// Stable short name for logs and tests.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(error) => error.code(),
            Self::NoTransactionId => "scep_no_transaction_id",
            Self::TooLarge => "scep_too_large",
            Self::Refused { reason, .. } => reason.code(),
        }
    }

    /// The failure to answer with; none where the answer is a plain HTTP error.
    #[must_use]
    pub const fn fail_info(&self) -> Option<FailInfo> {
        match self {
            Self::Refused { reason, .. } => Some(reason.fail_info()),
            _ => None,
        }
    }
}

/// Reads a message and verifies its signature with the certificate it carries.
///
/// # Errors
/// [`ScepParseError`] says whether there is something to answer to.
pub fn parse_pki_message(bytes: &[u8], policy: &ScepPolicy) -> Result<PkiMessage, ScepParseError> {
    let der =
        ber::normalize(bytes, Limits::for_bytes(policy.max_bytes)).map_err(
            |error| match error {
                BerError::TooLarge => ScepParseError::TooLarge,
                other => ScepParseError::Malformed(SignedError::Ber(other)),
            },
        )?;
    let parts = SignedParts::read(&der).map_err(ScepParseError::Malformed)?;
    let (transaction_id, reply_to) = read_reply_to(&parts)?;
    let refuse = |reason| ScepParseError::Refused {
        reason,
        reply_to: reply_to.clone(),
    };

    let signed_policy = Policy {
        allow_sha1: policy.allow_sha1,
        allow_short_rsa: false,
        require_signed_attributes: true,
        max_bytes: policy.max_bytes,
    };
    let content = parts.content.unwrap_or_default();
    let verified = parts
        .verify(content, &signed_policy)
        .map_err(|error| match error {
            SignedError::NoCertificates
            | SignedError::SignerNotFound
            | SignedError::AmbiguousSigner
            | SignedError::DigestNotListed => ScepParseError::Malformed(error),
            other => refuse(ScepRefusal::Signed(other)),
        })?;
    let signer = Certificate::from_der(&verified.signer_certificate_der)
        .map_err(|_| ScepParseError::Malformed(SignedError::Malformed))?;
    let sender_nonce = reply_to
        .sender_nonce
        .ok_or_else(|| refuse(ScepRefusal::SenderNonce))?;
    let message_type = read_message_type(&parts).map_err(refuse)?;
    let decrypt_policy = DecryptPolicy {
        allow_triple_des: true,
        max_bytes: policy.max_bytes,
    };
    Ok(PkiMessage {
        message_type,
        transaction_id,
        sender_nonce,
        signer,
        enveloped: content.to_vec(),
        digest: verified.digest,
        cipher: enveloped::content_cipher(content, &decrypt_policy).ok(),
        signing_time: verified.signing_time,
        reply_to,
    })
}

fn read_reply_to(parts: &SignedParts<'_>) -> Result<(String, ReplyTo), ScepParseError> {
    let id = parts
        .attribute(&oid::SCEP_TRANSACTION_ID)
        .filter(|id| matches!(id.tag, tag::PRINTABLE_STRING | tag::UTF8_STRING))
        .filter(|id| !id.value.is_empty())
        .ok_or(ScepParseError::NoTransactionId)?;
    if id.value.len() > MAX_TRANSACTION_ID_BYTES {
        return Err(ScepParseError::TooLarge);
    }
    let text = std::str::from_utf8(id.value)
        .ok()
        .filter(|text| !text.chars().any(char::is_control))
        .ok_or(ScepParseError::NoTransactionId)?;
    let sender_nonce = parts
        .attribute(&oid::SCEP_SENDER_NONCE)
        .filter(|nonce| nonce.tag == tag::OCTET_STRING)
        .and_then(|nonce| <[u8; 16]>::try_from(nonce.value).ok());
    let reply_to = ReplyTo {
        transaction_id: id.raw.to_vec(),
        sender_nonce,
        digest: parts.digest(),
    };
    Ok((text.to_owned(), reply_to))
}

fn read_message_type(parts: &SignedParts<'_>) -> Result<MessageType, ScepRefusal> {
    if !parts.has_attribute(&oid::SCEP_MESSAGE_TYPE) {
        return Err(ScepRefusal::MessageTypeMissing);
    }
    parts
        .attribute(&oid::SCEP_MESSAGE_TYPE)
        .filter(|kind| kind.tag == tag::PRINTABLE_STRING)
        .filter(|kind| kind.value.iter().all(u8::is_ascii_digit))
        .and_then(|kind| std::str::from_utf8(kind.value).ok())
        .and_then(|text| text.parse().ok())
        .map(MessageType::from_number)
        .ok_or(ScepRefusal::MessageTypeMalformed)
}
