//! `TokenUpdate`: a channel tells how to push to it.
//!
//! Owns the fields of this message. The first one on the device channel completes the enrollment; later ones replace what they carry
//! and leave alone what they do not: an absent `UnlockToken` never erases a stored one.
//! Source: Apple, Device Management, "Token Update".

use super::MAX_WORD_BYTES;
use crate::fields::Fields;
use crate::ids::Channel;
use crate::{ParseError, Secret};

/// Apple gives no length for push tokens and asks not to assume one.
const MAX_PUSH_TOKEN_BYTES: usize = 1024;

/// A channel tells its push token, and a device its unlock token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUpdate {
    /// The push topic that the profile named.
    pub topic: String,
    /// The push token, 1 to 1024 bytes.
    pub token: Secret<Vec<u8>>,
    /// The word that a push must carry.
    pub push_magic: Secret<String>,
    /// What `ClearPasscode` needs. `None` means unchanged. Device channel only.
    pub unlock_token: Option<Secret<Vec<u8>>>,
    /// Whether the channel waits in Setup Assistant. `None` means unchanged.
    pub awaiting_configuration: Option<bool>,
    /// Whether the user is logged in without being at the console.
    pub not_on_console: Option<bool>,
}

impl TokenUpdate {
    pub(super) fn read(fields: &mut Fields, channel: &Channel) -> Result<Self, ParseError> {
        let message = Self {
            topic: fields.text("Topic", MAX_WORD_BYTES)?,
            token: fields.data("Token", MAX_PUSH_TOKEN_BYTES)?,
            push_magic: Secret::new(fields.text("PushMagic", MAX_WORD_BYTES)?),
            unlock_token: fields.optional_data("UnlockToken")?,
            awaiting_configuration: fields.optional_boolean("AwaitingConfiguration")?,
            not_on_console: fields.optional_boolean("NotOnConsole")?,
        };
        if message.unlock_token.is_some() && !channel.is_device() {
            return Err(ParseError::WrongChannel {
                message: "UnlockToken",
            });
        }
        Ok(message)
    }
}
