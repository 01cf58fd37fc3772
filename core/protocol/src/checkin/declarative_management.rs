//! `DeclarativeManagement`: a channel reads declarations or reports their status.
//!
//! Owns the fields of this message and the forms of `Endpoint`. Never reads the JSON inside `Data`.
//! Source: Apple, Device Management, "Declarative Management" (check-in).

use super::MAX_STATUS_REPORT_BYTES;
use crate::fields::Fields;
use crate::{ParseError, Secret};

const MAX_ENDPOINT_BYTES: usize = 512;
/// Apple allows 64 octets; what longer identifiers an old server handed out is still answered by "not found".
const MAX_IDENTIFIER_BYTES: usize = 256;

const ENDPOINT: &str = "Endpoint";
const DATA: &str = "Data";

/// A channel reads declarations or reports their status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclarativeManagement {
    /// What it asks for.
    pub endpoint: Endpoint,
    /// The status report, JSON of at most [`MAX_STATUS_REPORT_BYTES`]. Present for [`Endpoint::Status`] and for nothing else.
    pub data: Option<Secret<Vec<u8>>>,
}

/// The things to ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `tokens`: has anything changed?
    Tokens,
    /// `declaration-items`: which declarations are there?
    DeclarationItems,
    /// `declaration/{kind}/{identifier}`: one declaration.
    Declaration {
        /// Which of the four kinds.
        kind: DeclarationKind,
        /// Its identifier: 1 to 256 bytes without control characters and slashes, not a dot segment. As sent, never decoded.
        identifier: String,
    },
    /// `status`: a status report.
    Status,
}

/// The four kinds of declarations, as an endpoint names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeclarationKind {
    /// `activation`
    Activation,
    /// `asset`
    Asset,
    /// `configuration`
    Configuration,
    /// `management`
    Management,
}

impl DeclarationKind {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::Asset => "asset",
            Self::Configuration => "configuration",
            Self::Management => "management",
        }
    }

    fn from_wire(name: &str) -> Option<Self> {
        [
            Self::Activation,
            Self::Asset,
            Self::Configuration,
            Self::Management,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == name)
    }
}

impl Endpoint {
    /// Reads an endpoint.
    ///
    /// # Errors
    /// [`ParseError::UnknownValue`] if it has none of the four forms; [`ParseError::EmptyValue`], [`ParseError::TooLong`] or
    /// [`ParseError::BadCharacter`] if its identifier is at fault.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        match text {
            "tokens" => return Ok(Self::Tokens),
            "declaration-items" => return Ok(Self::DeclarationItems),
            "status" => return Ok(Self::Status),
            _ => {}
        }
        let unknown = ParseError::UnknownValue { key: ENDPOINT };
        let Some((kind, identifier)) = text
            .strip_prefix("declaration/")
            .and_then(|rest| rest.split_once('/'))
        else {
            return Err(unknown);
        };
        let kind = DeclarationKind::from_wire(kind).ok_or(unknown)?;
        if identifier.is_empty() {
            return Err(ParseError::EmptyValue { key: ENDPOINT });
        }
        if identifier.len() > MAX_IDENTIFIER_BYTES {
            return Err(ParseError::TooLong { key: ENDPOINT });
        }
        // An identifier is data here, but may become part of a path in somebody's hook.
        if matches!(identifier, "." | "..")
            || identifier.contains(['/', '\\'])
            || identifier.contains("%00")
            || identifier.chars().any(char::is_control)
        {
            return Err(ParseError::BadCharacter { key: ENDPOINT });
        }
        Ok(Self::Declaration {
            kind,
            identifier: identifier.to_owned(),
        })
    }
}

impl DeclarativeManagement {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, ParseError> {
        let endpoint = Endpoint::parse(&fields.text(ENDPOINT, MAX_ENDPOINT_BYTES)?)?;
        let data = if endpoint == Endpoint::Status {
            let data = fields
                .optional_data(DATA)?
                .ok_or(ParseError::Missing { key: DATA })?;
            if data.expose().len() > MAX_STATUS_REPORT_BYTES {
                return Err(ParseError::TooLarge {
                    limit_bytes: MAX_STATUS_REPORT_BYTES,
                });
            }
            Some(data)
        } else {
            fields.forbid(DATA)?;
            None
        };
        Ok(Self { endpoint, data })
    }
}

#[cfg(test)]
mod tests {
    use super::{DeclarationKind, Endpoint};

    #[test]
    fn the_four_forms_are_read() {
        assert_eq!(Endpoint::parse("tokens"), Ok(Endpoint::Tokens));
        assert_eq!(
            Endpoint::parse("declaration-items"),
            Ok(Endpoint::DeclarationItems)
        );
        assert_eq!(Endpoint::parse("status"), Ok(Endpoint::Status));
        for name in ["activation", "asset", "configuration", "management"] {
            let endpoint = Endpoint::parse(&format!("declaration/{name}/com.example.a b"));
            let kind = DeclarationKind::from_wire(name).unwrap();
            let identifier = "com.example.a b".to_owned();
            assert_eq!(endpoint, Ok(Endpoint::Declaration { kind, identifier }));
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        let long = format!("declaration/asset/{}", "a".repeat(257));
        let table = [
            ("", "field.unknown_value"),
            ("Tokens", "field.unknown_value"),
            ("tokens/", "field.unknown_value"),
            ("declaration", "field.unknown_value"),
            ("declaration/asset", "field.unknown_value"),
            ("declaration/assets/a", "field.unknown_value"),
            ("declaration/../status", "field.unknown_value"),
            ("declaration/asset/", "field.empty"),
            (long.as_str(), "field.too_long"),
            ("declaration/asset/..", "field.character"),
            ("declaration/asset/.", "field.character"),
            ("declaration/asset/a/b", "field.character"),
            ("declaration/asset/a%00", "field.character"),
            ("declaration/asset/a\u{7f}", "field.character"),
        ];
        for (text, code) in table {
            assert_eq!(Endpoint::parse(text).unwrap_err().code(), code, "{text}");
        }
    }
}
