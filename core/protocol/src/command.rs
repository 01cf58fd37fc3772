//! Commands: what the server sends to a device.
//!
//! Owns the envelope (`CommandUUID` beside `Command`) and nothing of what is inside. Bytes that somebody else wrote are checked and
//! then sent as they are: re-writing them could lose what the writer does not know. What a command may contain is the catalogue's
//! question.
//!
//! Source: Apple, Device Management, "Commands and Queries".

use plist::{Dictionary, Value};

use crate::ParseError;
use crate::fields::borrow_text;
use crate::guard::{self, GuardLimits};
use crate::report::MAX_COMMAND_UUID_BYTES;

/// Longest command in bytes; bigger things are served by URL.
pub const MAX_COMMAND_BYTES: usize = 1 << 20;
/// Longest `RequestType` in bytes.
pub const MAX_REQUEST_TYPE_BYTES: usize = 128;

const COMMAND: &str = "Command";
const COMMAND_UUID: &str = "CommandUUID";
const REQUEST_TYPE: &str = "RequestType";

const HEAD: &str = concat!(
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
    "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n",
    "<plist version=\"1.0\">\n",
);

/// What the queue has to know of a command; the bytes stay with the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandEnvelope {
    /// `CommandUUID`: 1 to 128 bytes without control characters.
    pub command_uuid: String,
    /// `Command.RequestType`: 1 to 128 ASCII letters and digits.
    pub request_type: String,
}

impl CommandEnvelope {
    /// Reads the two strings of a whole command of at most [`MAX_COMMAND_BYTES`].
    ///
    /// # Errors
    /// [`ParseError::TooLarge`], [`ParseError::Xml`], or the field at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let (_, envelope) = read(bytes)?;
        let command_uuid = borrow_text(&envelope, COMMAND_UUID, MAX_COMMAND_UUID_BYTES)?
            .ok_or(ParseError::Missing { key: COMMAND_UUID })?
            .to_owned();
        if command_uuid.is_empty() {
            return Err(ParseError::EmptyValue { key: COMMAND_UUID });
        }
        let command = envelope
            .get(COMMAND)
            .ok_or(ParseError::Missing { key: COMMAND })?
            .as_dictionary()
            .ok_or(ParseError::WrongType { key: COMMAND })?;
        Ok(Self {
            command_uuid,
            request_type: request_type(command)?,
        })
    }
}

/// A command without its `CommandUUID`, built key by key.
#[derive(Clone, PartialEq)]
pub struct RawCommand {
    request_type: String,
    dictionary: Dictionary,
}

impl RawCommand {
    /// Begins a command.
    ///
    /// # Errors
    /// A field error if `request_type` is not 1 to 128 ASCII letters and digits.
    pub fn new(request_type: &str) -> Result<Self, ParseError> {
        let mut dictionary = Dictionary::new();
        dictionary.insert(REQUEST_TYPE.to_owned(), Value::from(request_type));
        Self::from_dictionary(dictionary)
    }

    /// Takes the inner dictionary of a command, `RequestType` included.
    ///
    /// # Errors
    /// A field error if `RequestType` is absent, no string, or not 1 to 128 ASCII letters and digits.
    pub fn from_dictionary(dictionary: Dictionary) -> Result<Self, ParseError> {
        Ok(Self {
            request_type: request_type(&dictionary)?,
            dictionary,
        })
    }

    /// Sets a key; `RequestType` stays what it was.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        if key != REQUEST_TYPE {
            self.dictionary.insert(key.to_owned(), value.into());
        }
        self
    }

    /// The kind of command.
    #[must_use]
    pub fn request_type(&self) -> &str {
        &self.request_type
    }

    /// The inner dictionary.
    #[must_use]
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// As [`compose`].
    pub fn compose(&self, command_uuid: &str) -> Result<Vec<u8>, ParseError> {
        compose(command_uuid, &self.dictionary)
    }
}

impl std::fmt::Debug for RawCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawCommand")
            .field("request_type", &self.request_type)
            .finish_non_exhaustive()
    }
}

/// Writes a command and checks that a strict reader takes it.
///
/// # Errors
/// [`ParseError::Plist`] if a value has no XML form (UID), and otherwise what [`CommandEnvelope::parse`] says of the result: XML
/// cannot say control characters, a device does not take NaN.
pub fn compose(command_uuid: &str, command: &Dictionary) -> Result<Vec<u8>, ParseError> {
    let mut envelope = Dictionary::new();
    envelope.insert(COMMAND.to_owned(), Value::Dictionary(command.clone()));
    envelope.insert(COMMAND_UUID.to_owned(), Value::from(command_uuid));
    let mut bytes = Vec::with_capacity(1024);
    Value::Dictionary(envelope)
        .to_writer_xml(&mut bytes)
        .map_err(|_| ParseError::Plist)?;
    CommandEnvelope::parse(&bytes)?;
    Ok(bytes)
}

/// Puts an envelope around the property list of a bare inner dictionary; its text is kept byte for byte.
///
/// # Errors
/// [`ParseError::Unexpected`] if it has an envelope already, and otherwise what [`CommandEnvelope::parse`] says of the result.
pub fn with_command_uuid(command_uuid: &str, bare: &[u8]) -> Result<Vec<u8>, ParseError> {
    let (root, command) = read(bare)?;
    if command.contains_key(COMMAND) {
        return Err(ParseError::Unexpected { key: COMMAND });
    }
    request_type(&command)?;
    let mut xml = String::with_capacity(HEAD.len() + root.len() + command_uuid.len() + 128);
    xml.push_str(HEAD);
    xml.push_str("<dict>\n<key>Command</key>\n");
    xml.push_str(root);
    xml.push_str("\n<key>CommandUUID</key>\n<string>");
    for character in command_uuid.chars() {
        match character {
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '&' => xml.push_str("&amp;"),
            other => xml.push(other),
        }
    }
    xml.push_str("</string>\n</dict>\n</plist>\n");
    let bytes = xml.into_bytes();
    CommandEnvelope::parse(&bytes)?;
    Ok(bytes)
}

/// The dictionary at the root, and its text.
fn read(bytes: &[u8]) -> Result<(&str, Dictionary), ParseError> {
    if bytes.len() > MAX_COMMAND_BYTES {
        return Err(ParseError::TooLarge {
            limit_bytes: MAX_COMMAND_BYTES,
        });
    }
    let limits = GuardLimits {
        max_string_bytes: MAX_COMMAND_BYTES,
        ..GuardLimits::default()
    };
    let guarded = guard::check(bytes, &limits)?;
    Ok((guarded.root(), guarded.dictionary()?))
}

fn request_type(command: &Dictionary) -> Result<String, ParseError> {
    let key = REQUEST_TYPE;
    let text =
        borrow_text(command, key, MAX_REQUEST_TYPE_BYTES)?.ok_or(ParseError::Missing { key })?;
    if text.is_empty() {
        return Err(ParseError::EmptyValue { key });
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(ParseError::BadCharacter { key });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
