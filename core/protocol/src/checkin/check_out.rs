//! `CheckOut`: a device leaves.
//!
//! Owns the fields of this message. It is best effort: a device may leave without it.
//! Source: Apple, Device Management, "Check Out".

use super::MAX_WORD_BYTES;
use crate::ParseError;
use crate::fields::Fields;

/// The MDM profile was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckOut {
    /// The push topic that the profile named.
    pub topic: String,
}

impl CheckOut {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, ParseError> {
        Ok(Self {
            topic: fields.text("Topic", MAX_WORD_BYTES)?,
        })
    }
}
