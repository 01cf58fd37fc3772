//! The SCEP message codec.
//!
//! Reads `pkiMessage`s, opens the request inside, and writes the CA's answers. It never decides whether a certificate is
//! issued: challenges, grants, renewals and revocation are judged by the caller between `open_request` and a reply.
//!
//! Flow: bytes -> `parse_pki_message` -> `open_request` -> (caller) -> `reply_success`, `reply_failure` or `reply_pending`.
//!
//! What a failure becomes on the wire:
//!
//! | failure | answer |
//! | --- | --- |
//! | not BER, not a signed message, no signer, signer's certificate absent, no transaction id | plain 400, nothing can be echoed |
//! | message or transaction id too long | plain 413 |
//! | digest or signature algorithm unknown or refused, signer's key refused, cipher refused | CertRep badAlg |
//! | digest or signature wrong, attribute twice or missing, messageType not a PrintableString, senderNonce not 16 bytes | CertRep badMessageCheck |
//! | cannot be decrypted, for whatever reason; the plaintext is no request; the request is not signed by its key | CertRep badMessageCheck, all alike |
//! | message type missing or not one that carries a request; challenge or extensions malformed | CertRep badRequest |
//!
//! Source: RFC 8894.

mod message;
mod reply;
mod request;

pub use message::{PkiMessage, ReplyTo, ScepParseError, ScepRefusal, parse_pki_message};
pub use reply::{Reply, ReplyError, reply_failure, reply_pending, reply_success};
pub use request::{OpenError, open_request, signer_matches_request};

pub use crate::sign::certificates_only;

/// Longest transaction id, in bytes.
pub const MAX_TRANSACTION_ID_BYTES: usize = 256;

/// What a SCEP server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScepPolicy {
    /// Accept SHA-1 in messages and requests.
    pub allow_sha1: bool,
    /// Accept triple DES.
    pub allow_triple_des: bool,
    /// Largest message in bytes.
    pub max_bytes: usize,
}

impl ScepPolicy {
    /// SHA-256 and AES only, up to 64 KiB.
    #[must_use]
    pub const fn strict() -> Self {
        Self {
            allow_sha1: false,
            allow_triple_des: false,
            max_bytes: 64 * 1024,
        }
    }

    /// Also SHA-1 and triple DES, for clients that did not read the capabilities.
    #[must_use]
    pub const fn compatible() -> Self {
        Self {
            allow_sha1: true,
            allow_triple_des: true,
            ..Self::strict()
        }
    }
}

/// The kind of a message, RFC 8894 section 3.2.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// The CA's answer.
    CertRep,
    /// Renewal, signed with the certificate in force.
    RenewalReq,
    /// Renewal with another CA's certificate; withdrawn from the protocol, named here to be refused.
    UpdateReq,
    /// First request.
    PkcsReq,
    /// Question about a pending request.
    CertPoll,
    /// Question for a certificate.
    GetCert,
    /// Question for a revocation list.
    GetCrl,
    /// Anything else.
    Other(u32),
}

impl MessageType {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::CertRep => 3,
            Self::RenewalReq => 17,
            Self::UpdateReq => 18,
            Self::PkcsReq => 19,
            Self::CertPoll => 20,
            Self::GetCert => 21,
            Self::GetCrl => 22,
            Self::Other(number) => number,
        }
    }

    /// The type with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        [
            Self::CertRep,
            Self::RenewalReq,
            Self::UpdateReq,
            Self::PkcsReq,
            Self::CertPoll,
            Self::GetCert,
            Self::GetCrl,
        ]
        .into_iter()
        .find(|kind| kind.number() == number)
        .unwrap_or(Self::Other(number))
    }

    /// Whether the message carries a certificate request.
    #[must_use]
    pub const fn carries_request(self) -> bool {
        matches!(self, Self::PkcsReq | Self::RenewalReq | Self::UpdateReq)
    }
}

/// Why the CA refused, RFC 8894 section 3.2.1.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailInfo {
    /// Algorithm not supported or not accepted.
    BadAlg,
    /// Integrity check failed.
    BadMessageCheck,
    /// Not permitted or not supported.
    BadRequest,
    /// Time of signing not acceptable.
    BadTime,
    /// No such certificate.
    BadCertId,
}

impl FailInfo {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::BadAlg => 0,
            Self::BadMessageCheck => 1,
            Self::BadRequest => 2,
            Self::BadTime => 3,
            Self::BadCertId => 4,
        }
    }
}
