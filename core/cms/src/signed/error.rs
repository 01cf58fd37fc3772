//! Why a signed message does not count, by blame.
//!
//! Each reason has a stable code; the blame decides between "unreadable" and "not allowed" in an answer.

use crate::ber::BerError;
use crate::der_io::NotDer;
use crate::key::KeyError;

/// Whose fault an error is, and so which answer it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The bytes are not a message of this kind.
    Malformed,
    /// A readable message that does not count.
    Forbidden,
}

/// Why a signed message does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// The bytes break the encoding rules or a bound.
    #[error("not acceptable BER: {0}")]
    Ber(#[from] BerError),
    /// Not a signed message.
    #[error("not a signed message")]
    NotSignedData,
    /// Signed message malformed.
    #[error("signed message malformed")]
    Malformed,
    /// Version not known.
    #[error("version not known")]
    Version,
    /// No digest algorithm listed.
    #[error("no digest algorithm listed")]
    NoDigest,
    /// Too many digest algorithms listed.
    #[error("too many digest algorithms listed")]
    TooManyDigests,
    /// The signer's digest algorithm is not listed.
    #[error("the signer's digest algorithm is not listed")]
    DigestNotListed,
    /// No signer.
    #[error("no signer")]
    NoSigner,
    /// More than one signer.
    #[error("more than one signer")]
    SeveralSigners,
    /// No certificates.
    #[error("no certificates")]
    NoCertificates,
    /// Too many certificates.
    #[error("too many certificates")]
    TooManyCertificates,
    /// The signer's certificate is absent.
    #[error("the signer's certificate is absent")]
    SignerNotFound,
    /// Two different certificates answer to the signer's name.
    #[error("two different certificates answer to the signer's name")]
    AmbiguousSigner,
    /// Too many signed attributes.
    #[error("too many signed attributes")]
    TooManyAttributes,
    /// Signed attribute malformed.
    #[error("signed attribute malformed")]
    AttributeMalformed,
    /// Signed attributes carry the wrong tag.
    #[error("signed attributes carry the wrong tag")]
    AttributesTag,
    /// A signed attribute occurs twice.
    #[error("a signed attribute occurs twice")]
    DuplicateAttribute,
    /// Signed attributes are missing.
    #[error("signed attributes are missing")]
    AttributesMissing,
    /// Content-type attribute missing.
    #[error("content-type attribute missing")]
    ContentTypeMissing,
    /// Content-type attribute differs from the content.
    #[error("content-type attribute differs from the content")]
    ContentTypeDiffers,
    /// Message-digest attribute missing.
    #[error("message-digest attribute missing")]
    MessageDigestMissing,
    /// Digest algorithm not supported.
    #[error("digest algorithm not supported")]
    UnsupportedDigest,
    /// Signature algorithm not supported.
    #[error("signature algorithm not supported")]
    UnsupportedSignature,
    /// SHA-1 not accepted here.
    #[error("SHA-1 not accepted here")]
    Sha1Refused,
    /// The signer's key is not accepted.
    #[error("signer's key not accepted: {0}")]
    Key(KeyError),
    /// Digest does not match the content.
    #[error("digest does not match the content")]
    DigestMismatch,
    /// Signature does not match.
    #[error("signature does not match")]
    SignatureMismatch,
    /// Content attached where it must be detached.
    #[error("content attached where it must be detached")]
    ContentAttached,
    /// Content missing.
    #[error("content missing")]
    ContentMissing,
    /// Content empty.
    #[error("content empty")]
    ContentEmpty,
}

impl SignedError {
    /// Whose fault it is.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Ber(_)
            | Self::NotSignedData
            | Self::Malformed
            | Self::Version
            | Self::NoDigest
            | Self::TooManyDigests
            | Self::DigestNotListed
            | Self::NoSigner
            | Self::NoCertificates
            | Self::TooManyCertificates
            | Self::SignerNotFound
            | Self::AmbiguousSigner
            | Self::TooManyAttributes
            | Self::AttributeMalformed
            | Self::MessageDigestMissing
            | Self::ContentTypeMissing
            | Self::ContentMissing => Blame::Malformed,
            Self::SeveralSigners
            | Self::AttributesTag
            | Self::DuplicateAttribute
            | Self::AttributesMissing
            | Self::ContentTypeDiffers
            | Self::UnsupportedDigest
            | Self::UnsupportedSignature
            | Self::Sha1Refused
            | Self::Key(_)
            | Self::DigestMismatch
            | Self::SignatureMismatch
            | Self::ContentAttached
            | Self::ContentEmpty => Blame::Forbidden,
        }
    }

    /// Stable short name for logs and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ber(error) => error.code(),
            Self::NotSignedData => "cms_not_signed_data",
            Self::Malformed => "cms_malformed",
            Self::Version => "cms_version",
            Self::NoDigest => "cms_no_digest",
            Self::TooManyDigests => "cms_too_many_digests",
            Self::DigestNotListed => "cms_digest_not_listed",
            Self::NoSigner => "cms_no_signer",
            Self::SeveralSigners => "cms_several_signers",
            Self::NoCertificates => "cms_no_certificates",
            Self::TooManyCertificates => "cms_too_many_certificates",
            Self::SignerNotFound => "cms_signer_not_found",
            Self::AmbiguousSigner => "cms_ambiguous_signer",
            Self::TooManyAttributes => "cms_too_many_attributes",
            Self::AttributeMalformed => "cms_attribute_malformed",
            Self::AttributesTag => "cms_attributes_tag",
            Self::DuplicateAttribute => "cms_duplicate_attribute",
            Self::AttributesMissing => "cms_attributes_missing",
            Self::ContentTypeMissing => "cms_content_type_missing",
            Self::ContentTypeDiffers => "cms_content_type_differs",
            Self::MessageDigestMissing => "cms_message_digest_missing",
            Self::UnsupportedDigest => "cms_unsupported_digest",
            Self::UnsupportedSignature => "cms_unsupported_signature",
            Self::Sha1Refused => "cms_sha1_refused",
            Self::Key(error) => error.code(),
            Self::DigestMismatch => "cms_digest_mismatch",
            Self::SignatureMismatch => "cms_signature_mismatch",
            Self::ContentAttached => "cms_content_attached",
            Self::ContentMissing => "cms_content_missing",
            Self::ContentEmpty => "cms_content_empty",
        }
    }
}

impl From<NotDer> for SignedError {
    fn from(_: NotDer) -> Self {
        Self::Malformed
    }
}
