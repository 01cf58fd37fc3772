//! `SetBootstrapToken` and `GetBootstrapToken`: the server keeps a key that only the device can use.
//!
//! Owns the fields of both messages. Source: Apple, Device Management, "Set Bootstrap Token" and "Get Bootstrap Token".

use crate::fields::Fields;
use crate::{ParseError, Secret};

/// A device hands over its bootstrap token, or takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetBootstrapToken {
    /// The token; `None`, which is absent or empty on the wire, deletes the stored one.
    pub bootstrap_token: Option<Secret<Vec<u8>>>,
    /// Whether the device waits in Setup Assistant.
    pub awaiting_configuration: Option<bool>,
}

impl SetBootstrapToken {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, ParseError> {
        Ok(Self {
            bootstrap_token: fields.optional_data("BootstrapToken")?,
            awaiting_configuration: fields.optional_boolean("AwaitingConfiguration")?,
        })
    }
}

/// A device asks for the token it handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetBootstrapToken;
