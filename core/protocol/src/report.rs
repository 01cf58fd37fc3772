//! Command reports: what a device sends to `ServerURL`.
//!
//! Owns the fields that every report shares; the answer itself stays a dictionary, since each command has its own. The most frequent
//! message of all, so it is read once and copied once. Never decides whether the command existed. Stands behind the guard and before
//! the queue.
//!
//! Source: Apple, Device Management, "Implementing the Device Management Protocol"; the response of each command.

use std::fmt;

use plist::{Dictionary, Value};

use crate::ParseError;
use crate::fields::{boolean, borrow_text};
use crate::guard::{self, GuardLimits};
use crate::ids::EnrollmentIds;

/// Longest body of a report.
pub const MAX_REPORT_BYTES: usize = 16 << 20;
/// Longest `CommandUUID` in bytes.
pub const MAX_COMMAND_UUID_BYTES: usize = 128;
/// Most entries of an error chain that are kept.
pub const MAX_ERROR_CHAIN_KEPT: usize = 64;
/// Most entries of an error chain in an accepted report.
pub const MAX_ERROR_CHAIN_ENTRIES: usize = 10_000;
/// Longest text of a kept error in bytes; the rest is cut, and stays in the raw body.
pub const MAX_ERROR_TEXT_BYTES: usize = 2 << 10;

const MAX_REQUEST_TYPE_BYTES: usize = 256;

/// What a device says about a command, or that it has nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// No report; ready for a command.
    Idle,
    /// The command was carried out.
    Acknowledged,
    /// The command failed.
    Error,
    /// The command was not understood. The same bytes will never succeed.
    CommandFormatError,
    /// Not at the moment; the device forgets the command and asks again.
    NotNow,
}

impl Status {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Acknowledged => "Acknowledged",
            Self::Error => "Error",
            Self::CommandFormatError => "CommandFormatError",
            Self::NotNow => "NotNow",
        }
    }

    /// The status of that exact name.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        Some(match name {
            "Idle" => Self::Idle,
            "Acknowledged" => Self::Acknowledged,
            "Error" => Self::Error,
            "CommandFormatError" => Self::CommandFormatError,
            "NotNow" => Self::NotNow,
            _ => return None,
        })
    }

    /// Whether the command is over: neither [`Status::Idle`] nor [`Status::NotNow`].
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Acknowledged | Self::Error | Self::CommandFormatError
        )
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One link of an error chain. Texts come from the device: data, to be escaped wherever they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorChainItem {
    /// `ErrorCode`, also read from a string of digits.
    pub error_code: Option<i64>,
    /// `ErrorDomain`.
    pub error_domain: Option<String>,
    /// `LocalizedDescription`.
    pub localized_description: Option<String>,
    /// `USEnglishDescription`.
    pub us_english_description: Option<String>,
}

/// A command report as it came. `Debug` shows neither the body nor the answer: both may hold secrets.
#[derive(Clone, PartialEq)]
pub struct Report {
    /// Who says to have sent it.
    pub ids: EnrollmentIds,
    /// What became of the command.
    pub status: Status,
    /// Which command; `None` for [`Status::Idle`] alone, whatever the device sent there.
    pub command_uuid: Option<String>,
    /// `RequestType`, which some answers repeat.
    pub request_type: Option<String>,
    /// The first [`MAX_ERROR_CHAIN_KEPT`] links of the error chain.
    pub error_chain: Vec<ErrorChainItem>,
    /// How many links the error chain had.
    pub error_chain_entries: usize,
    /// Whether the user is logged in without being at the console.
    pub not_on_console: Option<bool>,
    /// All keys, the ones above included, in the order of the body.
    pub dictionary: Dictionary,
    /// The body, byte for byte.
    pub raw: Vec<u8>,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("ids", &self.ids)
            .field("status", &self.status)
            .field("command_uuid", &self.command_uuid)
            .field("request_type", &self.request_type)
            .field("error_chain_entries", &self.error_chain_entries)
            .field("keys", &self.dictionary.len())
            .field("raw_bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// Decodes a command report of at most [`MAX_REPORT_BYTES`].
///
/// Control characters inside strings are let through whatever `limits` say: an application's name must not keep a device from
/// reporting for ever. They stay refused in keys, identifiers and `CommandUUID`.
///
/// # Errors
/// [`ParseError::TooLarge`] if the body is too long, [`ParseError::Xml`] if the guard refuses it, and otherwise the field at fault.
pub fn parse_report(body: &[u8], limits: &GuardLimits) -> Result<Report, ParseError> {
    if body.len() > MAX_REPORT_BYTES {
        return Err(ParseError::TooLarge {
            limit_bytes: MAX_REPORT_BYTES,
        });
    }
    let limits = GuardLimits {
        control_characters_in_strings: true,
        ..*limits
    };
    let dictionary = guard::check(body, &limits)?.dictionary()?;
    let status = status(&dictionary)?;
    let command_uuid = match status {
        Status::Idle => None,
        _ => Some(command_uuid(&dictionary)?),
    };
    let ids = EnrollmentIds::from_dictionary(&dictionary)?;
    let request_type = borrow_text(&dictionary, "RequestType", MAX_REQUEST_TYPE_BYTES)?
        .filter(|text| !text.is_empty())
        .map(str::to_owned);
    let key = "NotOnConsole";
    let not_on_console = dictionary
        .get(key)
        .map(|value| boolean(key, value))
        .transpose()?;
    let key = "QueryResponses";
    if dictionary
        .get(key)
        .is_some_and(|value| value.as_dictionary().is_none())
    {
        return Err(ParseError::WrongType { key });
    }
    let (error_chain, error_chain_entries) = error_chain(&dictionary)?;
    Ok(Report {
        ids,
        status,
        command_uuid,
        request_type,
        error_chain,
        error_chain_entries,
        not_on_console,
        dictionary,
        raw: body.to_vec(),
    })
}

fn status(dictionary: &Dictionary) -> Result<Status, ParseError> {
    let key = "Status";
    let value = dictionary.get(key).ok_or(ParseError::Missing { key })?;
    let name = value.as_string().ok_or(ParseError::WrongType { key })?;
    Status::from_wire(name).ok_or(ParseError::UnknownValue { key })
}

fn command_uuid(dictionary: &Dictionary) -> Result<String, ParseError> {
    let key = "CommandUUID";
    match borrow_text(dictionary, key, MAX_COMMAND_UUID_BYTES)? {
        None => Err(ParseError::Missing { key }),
        Some("") => Err(ParseError::EmptyValue { key }),
        Some(text) => Ok(text.to_owned()),
    }
}

fn error_chain(dictionary: &Dictionary) -> Result<(Vec<ErrorChainItem>, usize), ParseError> {
    let key = "ErrorChain";
    let Some(value) = dictionary.get(key) else {
        return Ok((Vec::new(), 0));
    };
    let entries = value.as_array().ok_or(ParseError::WrongType { key })?;
    if entries.len() > MAX_ERROR_CHAIN_ENTRIES {
        return Err(ParseError::TooManyEntries { key });
    }
    let kept = entries
        .iter()
        .take(MAX_ERROR_CHAIN_KEPT)
        .map(|entry| {
            let entry = entry.as_dictionary().ok_or(ParseError::WrongType { key })?;
            Ok(ErrorChainItem::read(entry))
        })
        .collect::<Result<_, ParseError>>()?;
    Ok((kept, entries.len()))
}

impl ErrorChainItem {
    /// Takes what has the expected type: a failed command must be reported as failed even if its explanation is odd.
    fn read(entry: &Dictionary) -> Self {
        let text = |key| entry.get(key).and_then(Value::as_string).map(bounded);
        let error_code = entry.get("ErrorCode").and_then(|value| {
            value
                .as_signed_integer()
                .or_else(|| value.as_string()?.trim().parse().ok())
        });
        Self {
            error_code,
            error_domain: text("ErrorDomain"),
            localized_description: text("LocalizedDescription"),
            us_english_description: text("USEnglishDescription"),
        }
    }
}

fn bounded(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_ERROR_TEXT_BYTES);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
