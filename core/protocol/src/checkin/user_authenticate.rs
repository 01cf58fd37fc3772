//! `UserAuthenticate`: a user of a Mac asks to be managed.
//!
//! Owns the fields of this message. It comes twice where the server asks for a digest: first without, then with the response.
//! Source: Apple, Device Management, "User Authenticate".

use crate::fields::Fields;
use crate::{ParseError, Secret};

const MAX_DIGEST_BYTES: usize = 4 << 10;

/// A directory or mobile user has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAuthenticate {
    /// The answer to the server's challenge, in the second message. Present and empty is kept apart from absent.
    pub digest_response: Option<Secret<String>>,
}

impl UserAuthenticate {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, ParseError> {
        Ok(Self {
            digest_response: fields
                .any_text("DigestResponse", MAX_DIGEST_BYTES)?
                .map(Secret::new),
        })
    }
}
