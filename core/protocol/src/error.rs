//! Why a message was refused.
//!
//! Owns the one error of every decoder here, sorted by blame so that the HTTP layer can pick a status without reading text. It never
//! holds input: a refused body may carry tokens, and an error is logged. Stands at the end of each decoder.

use crate::guard::GuardError;

/// Who is to blame for a refusal; the HTTP layer maps it to a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The peer sent bytes that are not a message: 400.
    Malformed,
    /// The peer sent more bytes than this message may have: 413.
    TooLarge,
    /// The message is well formed, but may not be sent on this channel: 403.
    NotAllowed,
}

/// Why a message was refused. Holds names of keys and limits, never a value that the peer sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The body, or one part of it with its own bound, is longer than the limit.
    #[error("the body is longer than {limit_bytes} bytes")]
    TooLarge {
        /// The limit that was passed.
        limit_bytes: usize,
    },
    /// The bytes are not a property list that the guard lets through.
    #[error("not an acceptable property list: {0}")]
    Xml(#[from] GuardError),
    /// The guard let the bytes through and the property list reader did not.
    #[error("the property list reader refused the body")]
    Plist,
    /// The root of the property list is not a dictionary.
    #[error("the root is not a dictionary")]
    RootNotDictionary,
    /// A required key is absent.
    #[error("{key} is missing")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A key that this message must not have is present.
    #[error("{key} does not belong in this message")]
    Unexpected {
        /// The key.
        key: &'static str,
    },
    /// A value has another type than the key asks for.
    #[error("{key} has the wrong type")]
    WrongType {
        /// The key.
        key: &'static str,
    },
    /// A value that must not be empty is empty.
    #[error("{key} is empty")]
    EmptyValue {
        /// The key.
        key: &'static str,
    },
    /// A value is longer than its bound.
    #[error("{key} is too long")]
    TooLong {
        /// The key.
        key: &'static str,
    },
    /// A string holds a character that its key does not allow.
    #[error("{key} holds a character that is not allowed")]
    BadCharacter {
        /// The key.
        key: &'static str,
    },
    /// A value is none of those that the protocol lists.
    #[error("{key} has an unknown value")]
    UnknownValue {
        /// The key.
        key: &'static str,
    },
    /// A list has more entries than its bound.
    #[error("{key} has too many entries")]
    TooManyEntries {
        /// The key.
        key: &'static str,
    },
    /// The message names no enrollment: neither UDID nor EnrollmentID.
    #[error("neither UDID nor EnrollmentID is present")]
    NoIdentifier,
    /// The message names an enrollment twice over: UDID beside EnrollmentID, or the user key of the other kind.
    #[error("identifiers of two kinds are present")]
    MixedIdentifiers,
    /// The message may not be sent on the channel that its identifiers name.
    #[error("{message} may not be sent on this channel")]
    WrongChannel {
        /// The message type, or the key that made the channel wrong.
        message: &'static str,
    },
}

impl ParseError {
    /// Who is to blame.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::TooLarge { .. } => Blame::TooLarge,
            Self::WrongChannel { .. } => Blame::NotAllowed,
            _ => Blame::Malformed,
        }
    }

    /// Whether the answer is "too large" (413).
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.blame() == Blame::TooLarge
    }

    /// Whether the message is well formed but not allowed on its channel (403).
    #[must_use]
    pub fn is_wrong_channel(&self) -> bool {
        self.blame() == Blame::NotAllowed
    }

    /// A stable name of the refusal for logs, metrics and tests. It never changes its meaning.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "body.too_large",
            Self::Xml(error) => error.code(),
            Self::Plist => "plist.refused",
            Self::RootNotDictionary => "plist.root",
            Self::Missing { .. } => "field.missing",
            Self::Unexpected { .. } => "field.unexpected",
            Self::WrongType { .. } => "field.type",
            Self::EmptyValue { .. } => "field.empty",
            Self::TooLong { .. } => "field.too_long",
            Self::BadCharacter { .. } => "field.character",
            Self::UnknownValue { .. } => "field.unknown_value",
            Self::TooManyEntries { .. } => "field.too_many",
            Self::NoIdentifier => "ids.none",
            Self::MixedIdentifiers => "ids.mixed",
            Self::WrongChannel { .. } => "channel.wrong",
        }
    }

    /// The key that the refusal is about, where it is about one.
    #[must_use]
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Missing { key }
            | Self::Unexpected { key }
            | Self::WrongType { key }
            | Self::EmptyValue { key }
            | Self::TooLong { key }
            | Self::BadCharacter { key }
            | Self::UnknownValue { key }
            | Self::TooManyEntries { key } => Some(key),
            _ => None,
        }
    }
}
