//! Who a message says it is from.
//!
//! Owns the five ways in which Apple's keys name an enrollment and the strict forms of each identifier. It only reads a claim: whether
//! the certificate behind the connection may make that claim is the engine's question. No identifier is ever built by joining strings.
//!
//! Source: Apple, Device Management, "Check-in" (UDID, EnrollmentID, UserID, EnrollmentUserID, UserShortName, UserLongName).

use std::fmt;
use std::hash::{Hash, Hasher};

use plist::Dictionary;

use crate::ParseError;
use crate::fields::borrow_text;

/// The keys that this module reads.
pub(crate) const KEYS: [&str; 6] = [
    "UDID",
    "EnrollmentID",
    "UserID",
    "EnrollmentUserID",
    "UserShortName",
    "UserLongName",
];

/// Longest identifier in bytes.
const MAX_ID_BYTES: usize = 128;
/// Longest short name in bytes.
const MAX_SHORT_NAME_BYTES: usize = 256;
/// Longest long name in bytes.
const MAX_LONG_NAME_BYTES: usize = 1024;

/// The user id that marks a user of a Shared iPad.
const SHARED_IPAD_USER: &str = "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF";

/// An identifier that is compared without regard to ASCII case.
///
/// Apple writes UUIDs and current UDIDs in upper case and the 40-digit UDIDs of older devices in lower case. A peer must not become
/// another enrollment by changing case, so the canonical form is upper case for all of them and alone decides equality.
#[derive(Clone)]
struct CaselessId {
    canonical: Box<str>,
    /// Present where it differs from the canonical form.
    as_sent: Option<Box<str>>,
}

impl CaselessId {
    fn new(text: &str) -> Self {
        let canonical = text.to_ascii_uppercase();
        let as_sent = (canonical != text).then(|| text.into());
        Self {
            canonical: canonical.into(),
            as_sent,
        }
    }

    fn as_sent(&self) -> &str {
        self.as_sent.as_deref().unwrap_or(&self.canonical)
    }
}

macro_rules! caseless_id {
    ($(#[$doc:meta])* $name:ident, $key:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(CaselessId);

        impl $name {
            /// Checks and wraps an identifier.
            ///
            /// # Errors
            /// [`ParseError::EmptyValue`], [`ParseError::TooLong`] or [`ParseError::BadCharacter`].
            pub fn parse(text: &str) -> Result<Self, ParseError> {
                let check: fn(char) -> bool = $check;
                check_id($key, text, check)?;
                Ok(Self(CaselessId::new(text)))
            }

            /// The upper-case form, the one to store and to compare.
            #[must_use]
            pub fn canonical(&self) -> &str {
                &self.0.canonical
            }

            /// The form in which the peer sent it.
            #[must_use]
            pub fn as_sent(&self) -> &str {
                self.0.as_sent()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.canonical() == other.canonical()
            }
        }

        impl Eq for $name {}

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.canonical().hash(state);
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.canonical()).finish()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.canonical())
            }
        }
    };
}

caseless_id! {
    /// The identifier of a device: 1 to 128 letters, digits and hyphens. Equality ignores case.
    Udid, "UDID", |character| character.is_ascii_alphanumeric() || character == '-'
}

caseless_id! {
    /// The identifier of one user enrollment, new with each: 1 to 128 letters, digits and hyphens. Equality ignores case.
    EnrollmentId, "EnrollmentID", |character| character.is_ascii_alphanumeric() || character == '-'
}

caseless_id! {
    /// The identifier of a user on a device: 1 to 128 bytes without control characters. Equality ignores ASCII case.
    UserId, "UserID", |character| !character.is_control()
}

/// What names the device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeviceId {
    /// A device enrollment.
    Udid(Udid),
    /// A user enrollment, which never tells the UDID.
    EnrollmentId(EnrollmentId),
}

impl DeviceId {
    /// The form to store and to compare, of either kind. Two kinds may share a form; keep the kind beside it.
    #[must_use]
    pub fn canonical(&self) -> &str {
        match self {
            Self::Udid(id) => id.canonical(),
            Self::EnrollmentId(id) => id.canonical(),
        }
    }
}

/// What of the device is talking.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The device itself.
    Device,
    /// A user of a Mac with a device enrollment.
    User {
        /// The user on that device.
        user_id: UserId,
    },
    /// A user of a Shared iPad, named by the Managed Apple Account.
    SharedIpadUser {
        /// Any printable text of 1 to 256 bytes; data, never part of a path or a query. Case is kept.
        short_name: String,
    },
    /// A user of a Mac with a user enrollment.
    EnrollmentUser {
        /// The user within that enrollment.
        user_id: UserId,
    },
}

impl Channel {
    /// Whether the device itself is talking.
    #[must_use]
    pub fn is_device(&self) -> bool {
        matches!(self, Self::Device)
    }
}

/// The enrollment that a message says it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrollmentIds {
    /// The device.
    pub device: DeviceId,
    /// The device itself or one of its users.
    pub channel: Channel,
    /// `UserShortName`, at most 256 bytes.
    pub user_short_name: Option<String>,
    /// `UserLongName`, at most 1024 bytes.
    pub user_long_name: Option<String>,
}

impl EnrollmentIds {
    /// Reads the identifiers of a message.
    ///
    /// # Errors
    /// [`ParseError::NoIdentifier`] and [`ParseError::MixedIdentifiers`] where the keys name no or two enrollments,
    /// [`ParseError::Missing`] where a user of a Shared iPad has no short name, and the field errors for each identifier.
    pub fn from_dictionary(dictionary: &Dictionary) -> Result<Self, ParseError> {
        let udid = id_text(dictionary, "UDID")?;
        let enrollment_id = id_text(dictionary, "EnrollmentID")?;
        let user_id = id_text(dictionary, "UserID")?;
        let enrollment_user_id = id_text(dictionary, "EnrollmentUserID")?;
        let short_name = borrow_text(dictionary, "UserShortName", MAX_SHORT_NAME_BYTES)?
            .filter(|name| !name.is_empty());
        let long_name = borrow_text(dictionary, "UserLongName", MAX_LONG_NAME_BYTES)?
            .filter(|name| !name.is_empty());

        let (device, channel) = match (udid, enrollment_id) {
            (Some(_), Some(_)) => return Err(ParseError::MixedIdentifiers),
            (None, None) => return Err(ParseError::NoIdentifier),
            (Some(udid), None) => {
                if enrollment_user_id.is_some() {
                    return Err(ParseError::MixedIdentifiers);
                }
                let channel = match user_id {
                    None => Channel::Device,
                    Some(id) if id.eq_ignore_ascii_case(SHARED_IPAD_USER) => {
                        let key = "UserShortName";
                        Channel::SharedIpadUser {
                            short_name: short_name.ok_or(ParseError::Missing { key })?.to_owned(),
                        }
                    }
                    Some(id) => Channel::User {
                        user_id: UserId::parse(id)?,
                    },
                };
                (DeviceId::Udid(Udid::parse(udid)?), channel)
            }
            (None, Some(enrollment_id)) => {
                if user_id.is_some() {
                    return Err(ParseError::MixedIdentifiers);
                }
                let channel = match enrollment_user_id {
                    None => Channel::Device,
                    Some(id) => Channel::EnrollmentUser {
                        user_id: UserId::parse(id)?,
                    },
                };
                (
                    DeviceId::EnrollmentId(EnrollmentId::parse(enrollment_id)?),
                    channel,
                )
            }
        };
        Ok(Self {
            device,
            channel,
            user_short_name: short_name.map(str::to_owned),
            user_long_name: long_name.map(str::to_owned),
        })
    }
}

/// A string for an identifier; the identifier's own type checks the rest.
fn id_text<'a>(
    dictionary: &'a Dictionary,
    key: &'static str,
) -> Result<Option<&'a str>, ParseError> {
    let Some(value) = dictionary.get(key) else {
        return Ok(None);
    };
    let text = value.as_string().ok_or(ParseError::WrongType { key })?;
    check_id(key, text, |character| !character.is_control())?;
    Ok(Some(text))
}

fn check_id(key: &'static str, text: &str, allowed: fn(char) -> bool) -> Result<(), ParseError> {
    if text.is_empty() {
        return Err(ParseError::EmptyValue { key });
    }
    if text.len() > MAX_ID_BYTES {
        return Err(ParseError::TooLong { key });
    }
    if !text.chars().all(allowed) {
        return Err(ParseError::BadCharacter { key });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
