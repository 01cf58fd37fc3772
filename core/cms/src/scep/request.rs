//! Opens the certificate request inside a message.
//!
//! Up to the point where the request's own signature holds, everything that fails looks the same from outside, so that nobody
//! can learn about another client's request by sending altered copies of it. The one exception is a request with the very key
//! that signed the message: its sender knows it already. Source: RFC 8894 sections 3.3.1 and 8.

use super::{FailInfo, PkiMessage, ScepPolicy};
use crate::enveloped::{self, DecryptPolicy, EnvelopedError};
use crate::key::{KeyError, KeyKind};
use crate::sign::KeyPair;
use crate::x509::{Certificate, CertificationRequest, RequestError, UnverifiedRequest};

/// Why a message holds no request to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The message type carries no request.
    #[error("message type carries no request")]
    MessageType,
    /// The content cipher is unknown or not accepted.
    #[error("content cipher not accepted")]
    Cipher,
    /// The signer's key is not RSA, so no answer could be encrypted to it.
    #[error("signer's key cannot receive an encrypted answer")]
    SignerKey,
    /// The request's key, which is also the signer's, is not accepted.
    #[error("request key not accepted: {0}")]
    Key(KeyError),
    /// The request is signed with an algorithm that is not accepted.
    #[error("signature algorithm of the request not accepted")]
    Algorithm,
    /// It cannot be opened, is no request, or is not signed by its key. There is deliberately no further reason.
    #[error("no readable request inside")]
    Unreadable,
    /// A well signed request with malformed attributes.
    #[error("{0}")]
    Request(RequestError),
}

impl OpenError {
    /// The failure the answer names.
    #[must_use]
    pub const fn fail_info(self) -> FailInfo {
        match self {
            Self::MessageType | Self::Request(_) => FailInfo::BadRequest,
            Self::Cipher | Self::SignerKey | Self::Key(_) | Self::Algorithm => FailInfo::BadAlg,
            Self::Unreadable => FailInfo::BadMessageCheck,
        }
    }

    /// Stable short name for logs and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::MessageType => "scep_message_type",
            Self::Cipher => "scep_cipher",
            Self::SignerKey => "scep_signer_key",
            Self::Key(error) => error.code(),
            Self::Algorithm => "scep_request_algorithm",
            Self::Unreadable => "scep_unreadable",
            Self::Request(error) => error.code(),
        }
    }
}

/// Decrypts and checks the request in a PKCSReq, RenewalReq or UpdateReq.
///
/// It does not compare the request's key with the signer's: that differs between first request and renewal, see
/// [`signer_matches_request`].
///
/// # Errors
/// [`OpenError`].
pub fn open_request(
    message: &PkiMessage,
    ca_certificate: &Certificate,
    ca_key: &KeyPair,
    policy: &ScepPolicy,
) -> Result<CertificationRequest, OpenError> {
    if !message.message_type.carries_request() {
        return Err(OpenError::MessageType);
    }
    if !matches!(message.signer.key_kind(), Ok(KeyKind::Rsa { .. }) | Err(_)) {
        return Err(OpenError::SignerKey);
    }
    let decrypt_policy = DecryptPolicy {
        allow_triple_des: policy.allow_triple_des,
        max_bytes: policy.max_bytes,
    };
    let plain = enveloped::decrypt(&message.enveloped, ca_certificate, ca_key, &decrypt_policy)
        .map_err(|error| match error {
            EnvelopedError::UnsupportedCipher => OpenError::Cipher,
            _ => OpenError::Unreadable,
        })?;
    let request = UnverifiedRequest::read(&plain).map_err(|_| OpenError::Unreadable)?;
    let own_key = request.public_key == message.signer.public_key_der();
    let kind = request.check_key().map_err(|error| match error {
        RequestError::Key(error) if own_key => OpenError::Key(error),
        _ => OpenError::Unreadable,
    })?;
    request
        .check_signature(policy.allow_sha1)
        .map_err(|error| match error {
            RequestError::UnsupportedSignature if own_key => OpenError::Algorithm,
            _ => OpenError::Unreadable,
        })?;
    request.finish(kind).map_err(OpenError::Request)
}

/// Whether the message was signed with the key that the request asks a certificate for, as a first request must be.
#[must_use]
pub fn signer_matches_request(message: &PkiMessage, request: &CertificationRequest) -> bool {
    message.signer.public_key_der() == request.public_key_der()
}
