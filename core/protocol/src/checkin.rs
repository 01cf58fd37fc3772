//! Check-in messages: what a device sends to `CheckInURL`.
//!
//! Owns the list of message types, their size limits and which channel may send them. One message a file below; the raw body and the
//! keys that no type knows are kept beside the typed fields. Decides nothing about state: whether a well-formed message may be obeyed
//! is the engine's question. Stands behind the guard and before the engine.
//!
//! Source: Apple, Device Management, "Check-in".

mod authenticate;
mod bootstrap_token;
mod check_out;
mod declarative_management;
mod get_token;
mod return_to_service;
mod token_update;
mod user_authenticate;

use std::fmt;

pub use authenticate::Authenticate;
pub use bootstrap_token::{GetBootstrapToken, SetBootstrapToken};
pub use check_out::CheckOut;
pub use declarative_management::{DeclarationKind, DeclarativeManagement, Endpoint};
pub use get_token::{GetToken, TokenServiceType};
pub use return_to_service::ReturnToService;
pub use token_update::TokenUpdate;
pub use user_authenticate::UserAuthenticate;

use crate::ParseError;
use crate::fields::{Fields, borrow_text};
use crate::guard::{self, GuardLimits};
use crate::ids::{self, Channel, EnrollmentIds};

/// Longest body of a `DeclarativeManagement` message, and of a message whose type is not known yet.
pub const MAX_CHECK_IN_BYTES: usize = 6 << 20;
/// Longest body of every other message.
pub const MAX_SMALL_CHECK_IN_BYTES: usize = 1 << 20;
/// Longest JSON document inside a `DeclarativeManagement` message.
pub const MAX_STATUS_REPORT_BYTES: usize = 4 << 20;

/// Longest topic, push magic and similar short strings in bytes.
const MAX_WORD_BYTES: usize = 256;

/// The check-in messages by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// A device asks to enroll.
    Authenticate,
    /// A channel tells how to push to it.
    TokenUpdate,
    /// A device leaves.
    CheckOut,
    /// A user of a Mac asks to be managed.
    UserAuthenticate,
    /// A device hands over its bootstrap token.
    SetBootstrapToken,
    /// A device asks for its bootstrap token.
    GetBootstrapToken,
    /// A channel asks for a token of some service.
    GetToken,
    /// A channel reads declarations or reports their status.
    DeclarativeManagement,
    /// An erased device asks how to come back.
    ReturnToService,
}

impl MessageType {
    /// All types, in the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::Authenticate,
        Self::TokenUpdate,
        Self::CheckOut,
        Self::UserAuthenticate,
        Self::SetBootstrapToken,
        Self::GetBootstrapToken,
        Self::GetToken,
        Self::DeclarativeManagement,
        Self::ReturnToService,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authenticate => "Authenticate",
            Self::TokenUpdate => "TokenUpdate",
            Self::CheckOut => "CheckOut",
            Self::UserAuthenticate => "UserAuthenticate",
            Self::SetBootstrapToken => "SetBootstrapToken",
            Self::GetBootstrapToken => "GetBootstrapToken",
            Self::GetToken => "GetToken",
            Self::DeclarativeManagement => "DeclarativeManagement",
            Self::ReturnToService => "ReturnToService",
        }
    }

    /// The type of that exact name.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Longest body of a message of this type in bytes.
    #[must_use]
    pub fn body_limit_bytes(self) -> usize {
        match self {
            Self::DeclarativeManagement => MAX_CHECK_IN_BYTES,
            _ => MAX_SMALL_CHECK_IN_BYTES,
        }
    }

    /// Whether that channel may send a message of this type.
    #[must_use]
    pub fn allowed_on(self, channel: &Channel) -> bool {
        match self {
            Self::TokenUpdate | Self::DeclarativeManagement | Self::GetToken => true,
            Self::UserAuthenticate => matches!(channel, Channel::User { .. }),
            Self::Authenticate
            | Self::CheckOut
            | Self::SetBootstrapToken
            | Self::GetBootstrapToken
            | Self::ReturnToService => channel.is_device(),
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One message with its fields.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "each variant is documented at the type it holds"
)]
pub enum CheckIn {
    Authenticate(Authenticate),
    TokenUpdate(TokenUpdate),
    CheckOut(CheckOut),
    UserAuthenticate(UserAuthenticate),
    SetBootstrapToken(SetBootstrapToken),
    GetBootstrapToken(GetBootstrapToken),
    GetToken(GetToken),
    DeclarativeManagement(DeclarativeManagement),
    ReturnToService(ReturnToService),
}

impl CheckIn {
    /// Which message it is.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        match self {
            Self::Authenticate(_) => MessageType::Authenticate,
            Self::TokenUpdate(_) => MessageType::TokenUpdate,
            Self::CheckOut(_) => MessageType::CheckOut,
            Self::UserAuthenticate(_) => MessageType::UserAuthenticate,
            Self::SetBootstrapToken(_) => MessageType::SetBootstrapToken,
            Self::GetBootstrapToken(_) => MessageType::GetBootstrapToken,
            Self::GetToken(_) => MessageType::GetToken,
            Self::DeclarativeManagement(_) => MessageType::DeclarativeManagement,
            Self::ReturnToService(_) => MessageType::ReturnToService,
        }
    }
}

/// A check-in message as it came. `Debug` shows neither the body nor unknown keys: both may hold secrets.
#[derive(Clone, PartialEq)]
pub struct CheckInMessage {
    /// Who says to have sent it.
    pub ids: EnrollmentIds,
    /// What it says.
    pub message: CheckIn,
    /// The keys that neither `ids` nor `message` knows, in no particular order.
    pub extra: plist::Dictionary,
    /// The body, byte for byte.
    pub raw: Vec<u8>,
}

impl fmt::Debug for CheckInMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckInMessage")
            .field("ids", &self.ids)
            .field("message", &self.message)
            .field("extra_keys", &self.extra.len())
            .field("raw_bytes", &self.raw.len())
            .finish()
    }
}

/// Decodes a check-in message of at most [`MAX_CHECK_IN_BYTES`].
///
/// # Errors
/// [`ParseError::TooLarge`] if the body is longer than its type allows, [`ParseError::Xml`] if the guard refuses it,
/// [`ParseError::WrongChannel`] if its channel may not send it, and otherwise the field at fault.
pub fn parse_check_in(body: &[u8], limits: &GuardLimits) -> Result<CheckInMessage, ParseError> {
    within(body, MAX_CHECK_IN_BYTES)?;
    let dictionary = guard::check(body, limits)?.dictionary()?;
    let message_type = message_type(&dictionary)?;
    within(body, message_type.body_limit_bytes())?;
    let ids = EnrollmentIds::from_dictionary(&dictionary)?;
    if !message_type.allowed_on(&ids.channel) {
        return Err(ParseError::WrongChannel {
            message: message_type.as_str(),
        });
    }
    let mut fields = Fields::new(dictionary);
    fields.discard(&ids::KEYS);
    fields.discard(&["MessageType"]);
    let message = match message_type {
        MessageType::Authenticate => CheckIn::Authenticate(Authenticate::read(&mut fields)?),
        MessageType::TokenUpdate => {
            CheckIn::TokenUpdate(TokenUpdate::read(&mut fields, &ids.channel)?)
        }
        MessageType::CheckOut => CheckIn::CheckOut(CheckOut::read(&mut fields)?),
        MessageType::UserAuthenticate => {
            CheckIn::UserAuthenticate(UserAuthenticate::read(&mut fields)?)
        }
        MessageType::SetBootstrapToken => {
            CheckIn::SetBootstrapToken(SetBootstrapToken::read(&mut fields)?)
        }
        MessageType::GetBootstrapToken => CheckIn::GetBootstrapToken(GetBootstrapToken),
        MessageType::GetToken => CheckIn::GetToken(GetToken::read(&mut fields)?),
        MessageType::DeclarativeManagement => {
            CheckIn::DeclarativeManagement(DeclarativeManagement::read(&mut fields)?)
        }
        MessageType::ReturnToService => CheckIn::ReturnToService(ReturnToService),
    };
    Ok(CheckInMessage {
        ids,
        message,
        extra: fields.into_rest(),
        raw: body.to_vec(),
    })
}

fn message_type(dictionary: &plist::Dictionary) -> Result<MessageType, ParseError> {
    let key = "MessageType";
    let name = borrow_text(dictionary, key, MAX_WORD_BYTES)?.ok_or(ParseError::Missing { key })?;
    MessageType::from_wire(name).ok_or(ParseError::UnknownValue { key })
}

fn within(body: &[u8], limit_bytes: usize) -> Result<(), ParseError> {
    if body.len() > limit_bytes {
        Err(ParseError::TooLarge { limit_bytes })
    } else {
        Ok(())
    }
}
