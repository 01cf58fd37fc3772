//! Reads a configuration profile that somebody uploads.
//!
//! Owns: which bytes are a profile that may be kept and sent, what is said of those that are none, and what may be shown of one. The
//! bytes themselves are kept as they are. Never sends, never judges for a device (`judge`), never fills anything in (`variables`).
//!
//! Source: Apple, "TopLevel" and "CommonPayloadKeys" under Configuration profiles; RFC 5652 for signed ones.

use std::collections::BTreeSet;
use std::time::SystemTime;

use plist::{Dictionary, Value};
use pomona_cms::signed::{self, Policy};
use pomona_protocol::GuardLimits;
use pomona_protocol::guard;
use serde::{Deserialize, Serialize};

use super::{binary, variables};
use crate::error::{Error, Result};
use crate::identity::OWN_PREFIX;

/// Bytes of a profile, at most: what fits, as base64, into a command.
pub(crate) const MOST_BYTES: usize = 720 * 1024;
/// Payloads of a profile, at most.
const MOST_PAYLOADS: usize = 1_000;
/// Characters of an identifier, at most.
const MOST_IDENTIFIER: usize = 255;
/// The years 1 to 9999, in seconds since 1970.
const YEARS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;
/// The payload by which a device is managed.
const MDM: &str = "com.apple.mdm";

/// How a profile goes to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Byte for byte.
    AsItIs,
    /// With its variables filled in.
    Variables,
    /// Byte for byte, with the signature of somebody else.
    Signed,
}

impl Kind {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::AsItIs => 0,
            Self::Variables => 1,
            Self::Signed => 2,
        }
    }

    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Variables,
            2 => Self::Signed,
            _ => Self::AsItIs,
        }
    }
}

/// One payload, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct PayloadSummary {
    /// `PayloadType`.
    pub(crate) payload_type: String,
    /// `PayloadIdentifier`.
    pub(crate) identifier: String,
    /// `PayloadDisplayName`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) display_name: Option<String>,
}

/// What may be shown of a profile: no value of a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) display_name: Option<String>,
    pub(crate) payload_uuid: String,
    pub(crate) payloads: Vec<PayloadSummary>,
    pub(crate) variables: Vec<String>,
}

/// A profile that has been read.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) kind: Kind,
    pub(crate) identifier: String,
    /// For channels of users (`PayloadScope`).
    pub(crate) of_user: bool,
    pub(crate) dictionary: Dictionary,
    pub(crate) summary: Summary,
}

/// Reads a profile. With `literal`, what looks like a variable is none.
///
/// # Errors
/// [`Error::Invalid`] says what is wrong with it, and what to do.
pub(crate) fn read(bytes: &[u8], literal: bool) -> Result<Profile> {
    if bytes.is_empty() {
        return invalid("the profile is empty; upload a .mobileconfig file");
    }
    if bytes.len() > MOST_BYTES {
        return invalid(format!(
            "the profile has {} bytes; at most {MOST_BYTES} can be sent in a command",
            bytes.len()
        ));
    }
    let (dictionary, signed) = match bytes.first() {
        Some(0x30) => (xml(&content(bytes)?)?, true),
        _ if bytes.starts_with(b"bplist") => (binary(bytes)?, false),
        _ => (xml(bytes)?, false),
    };
    let mut profile = look(dictionary)?;
    let names = match literal {
        true => BTreeSet::new(),
        false => variables::names(&profile.dictionary)?,
    };
    if signed {
        if !names.is_empty() {
            return invalid(format!(
                "the profile is signed, so that nothing can be filled in for {}; upload it unsigned, or say that it is meant literally",
                listed(&names)
            ));
        }
        profile.kind = Kind::Signed;
    } else if !names.is_empty() {
        profile.kind = Kind::Variables;
    }
    profile.summary.variables = names.into_iter().collect();
    Ok(profile)
}

/// What is inside of a signature. Whether the device trusts the signer is for the device to say; it must be whole.
fn content(bytes: &[u8]) -> Result<Vec<u8>> {
    let policy = Policy {
        max_bytes: MOST_BYTES,
        ..Policy::strict()
    };
    let verified = signed::verify_attached(bytes, &policy).map_err(|error| {
        Error::Invalid(format!(
            "the signature of the profile does not hold ({error}); sign it once, with its content inside, by SHA-256"
        ))
    })?;
    match verified.content {
        Some(content) => Ok(content),
        None => invalid("the signature holds no profile; sign it with its content inside"),
    }
}

fn xml(bytes: &[u8]) -> Result<Dictionary> {
    let limits = GuardLimits {
        max_string_bytes: MOST_BYTES,
        ..GuardLimits::default()
    };
    let read = guard::check(bytes, &limits)
        .map_err(|error| error.to_string())
        .and_then(|guarded| guarded.dictionary().map_err(|error| error.to_string()));
    read.map_err(|error| {
        Error::Invalid(format!(
            "the profile cannot be read as a property list ({error}); upload a .mobileconfig file"
        ))
    })
}

fn binary(bytes: &[u8]) -> Result<Dictionary> {
    if !binary::fits(bytes) {
        return invalid(
            "the profile is no binary property list, or holds too many parts, or too deep in one another",
        );
    }
    let value = Value::from_reader(std::io::Cursor::new(bytes)).map_err(|error| {
        Error::Invalid(format!(
            "the profile cannot be read as a binary property list ({error})"
        ))
    })?;
    match value.into_dictionary() {
        Some(dictionary) => Ok(dictionary),
        None => invalid("a profile is a dictionary"),
    }
}

/// Whether every date is one that a property list in XML can hold.
fn dates_fit(value: &Value) -> bool {
    match value {
        Value::Date(date) => {
            let at = SystemTime::from(*date);
            let since = match at.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |n| -n),
            };
            YEARS.contains(&since)
        }
        Value::Array(items) => items.iter().all(dates_fit),
        Value::Dictionary(members) => members.values().all(dates_fit),
        _ => true,
    }
}

fn look(dictionary: Dictionary) -> Result<Profile> {
    let what = "the profile";
    if !dictionary.values().all(dates_fit) {
        return invalid("the profile holds a date that is not between the years 1 and 9999");
    }
    if text(&dictionary, "PayloadType", what)? != "Configuration" {
        return invalid("the PayloadType of a profile is Configuration");
    }
    version(&dictionary, what)?;
    let identifier = identifier(&dictionary, what)?;
    if identifier.to_ascii_lowercase().starts_with(OWN_PREFIX) {
        return invalid(format!(
            "identifiers that begin with {OWN_PREFIX} are those of enrollment profiles; choose another PayloadIdentifier"
        ));
    }
    let payload_uuid = uuid(&dictionary, what)?;
    for key in [
        "PayloadRemovalDisallowed",
        "HasRemovalPasscode",
        "IsEncrypted",
    ] {
        if dictionary
            .get(key)
            .is_some_and(|value| value.as_boolean().is_none())
        {
            return invalid(format!("{key} of the profile is true or false"));
        }
    }
    if dictionary.contains_key("EncryptedPayloadContent") {
        return invalid("the profile is encrypted to one device; upload it in the clear");
    }
    let of_user = match dictionary.get("PayloadScope").map(Value::as_string) {
        None | Some(Some("System")) => false,
        Some(Some("User")) => true,
        Some(_) => return invalid("the PayloadScope of a profile is System or User"),
    };
    let payloads = match dictionary.get("PayloadContent") {
        Some(Value::Array(payloads)) if payloads.is_empty() => {
            return invalid("the profile has no payload: its PayloadContent is empty");
        }
        Some(Value::Array(payloads)) if payloads.len() > MOST_PAYLOADS => {
            return invalid(format!("a profile has at most {MOST_PAYLOADS} payloads"));
        }
        Some(Value::Array(payloads)) => payloads,
        Some(_) => return invalid("the PayloadContent of a profile is a list of payloads"),
        None => return invalid("the profile has no PayloadContent"),
    };
    let mut known = BTreeSet::from([payload_uuid.to_ascii_lowercase()]);
    let mut summary = Summary {
        display_name: shown(&dictionary),
        payload_uuid,
        ..Summary::default()
    };
    for (at, payload) in payloads.iter().enumerate() {
        let what = format!("payload {}", at + 1);
        let Some(payload) = payload.as_dictionary() else {
            return invalid(format!("{what} is not a dictionary"));
        };
        let payload_type = text(payload, "PayloadType", &what)?.to_owned();
        if payload_type == MDM {
            return invalid(
                "the profile holds an MDM payload; devices get the one that manages them by enrolling, never by hand",
            );
        }
        version(payload, &what)?;
        if !known.insert(uuid(payload, &what)?.to_ascii_lowercase()) {
            return invalid(format!(
                "the PayloadUUID of {what} stands in the profile twice"
            ));
        }
        summary.payloads.push(PayloadSummary {
            payload_type,
            identifier: self::identifier(payload, &what)?,
            display_name: shown(payload),
        });
    }
    Ok(Profile {
        kind: Kind::AsItIs,
        identifier,
        of_user,
        dictionary,
        summary,
    })
}

fn shown(dictionary: &Dictionary) -> Option<String> {
    let name = dictionary.get("PayloadDisplayName")?.as_string()?;
    Some(name.chars().filter(|c| !c.is_control()).take(200).collect())
}

fn text<'a>(dictionary: &'a Dictionary, key: &str, what: &str) -> Result<&'a str> {
    match dictionary.get(key).map(Value::as_string) {
        Some(Some(text)) if !text.is_empty() => Ok(text),
        Some(_) => invalid(format!("{key} of {what} is a text")),
        None => invalid(format!("{what} has no {key}")),
    }
}

fn version(dictionary: &Dictionary, what: &str) -> Result<()> {
    match dictionary
        .get("PayloadVersion")
        .map(Value::as_signed_integer)
    {
        Some(Some(1)) => Ok(()),
        Some(_) => invalid(format!("PayloadVersion of {what} is the number 1")),
        None => invalid(format!("{what} has no PayloadVersion; it is 1")),
    }
}

fn identifier(dictionary: &Dictionary, what: &str) -> Result<String> {
    let text = text(dictionary, "PayloadIdentifier", what)?;
    let odd = |c: char| c.is_control() || matches!(c, '{' | '}' | '\u{fffe}' | '\u{ffff}');
    if text.chars().count() > MOST_IDENTIFIER || text.chars().any(odd) {
        return invalid(format!(
            "PayloadIdentifier of {what} has at most {MOST_IDENTIFIER} characters, none of which is a brace or a line break"
        ));
    }
    Ok(text.to_owned())
}

fn uuid(dictionary: &Dictionary, what: &str) -> Result<String> {
    let text = text(dictionary, "PayloadUUID", what)?;
    match uuid::Uuid::try_parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => invalid(format!(
            "PayloadUUID of {what} is no UUID; `uuidgen` makes one"
        )),
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().take(10).map(String::as_str).collect();
    names.join(", ")
}

fn invalid<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::Invalid(text.into()))
}
