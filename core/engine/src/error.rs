//! What can go wrong in the engine, by blame.
//!
//! Owns: the error that every public operation returns. The message is safe to show to the caller; the
//! source is for the log. Never holds a body, a token or a key. `http/error.rs` alone turns it into a status.

use std::error::Error as StdError;

use thiserror::Error;

/// A boxed cause, for the log only.
pub type Source = Box<dyn StdError + Send + Sync + 'static>;

/// The result of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The caller sent something that cannot be meant; says what to change.
    #[error("{0}")]
    Invalid(String),
    /// The named thing does not exist, or is not the caller's to see.
    #[error("{0} was not found")]
    NotFound(&'static str),
    /// The request contradicts what is stored.
    #[error("{0}")]
    Conflict(String),
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// A device or its identity was refused; the word is a stable code.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// We cannot do it now; trying again later may help.
    #[error("{message}")]
    Unavailable {
        /// What the caller may know.
        message: &'static str,
        /// What went wrong.
        #[source]
        source: Source,
    },
    /// We failed; trying again will not help.
    #[error("{step} failed")]
    Internal {
        /// The step that failed.
        step: &'static str,
        /// What went wrong.
        #[source]
        source: Source,
    },
}

impl Error {
    /// We failed at `step`.
    pub fn internal(step: &'static str, source: impl Into<Source>) -> Self {
        Self::Internal {
            step,
            source: source.into(),
        }
    }

    /// The database did not answer.
    pub fn storage(source: impl Into<Source>) -> Self {
        Self::Unavailable {
            message: "the database did not answer",
            source: source.into(),
        }
    }
}
