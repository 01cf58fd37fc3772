//! Distinguished names.
//!
//! A name is kept as the bytes it came in, so that comparing and copying never re-encode it. Text is decoded on demand.
//! Source: RFC 5280 section 4.1.2.4, RFC 4514 for the printed form.

use std::fmt;

use der::asn1::ObjectIdentifier;

use crate::der_io::{
    NotDer, Read, Reader, element, oid as write_oid, sequence, set_of, single, tag,
};
use crate::oid;

/// Most attributes in one name.
const MAX_ATTRIBUTES: usize = 64;
/// Longest attribute value that is written, in bytes.
const MAX_VALUE_BYTES: usize = 256;

/// Why a name cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A value is empty or longer than 256 bytes.
    #[error("name attribute empty or too long")]
    Length,
    /// A value holds control characters.
    #[error("name attribute with control characters")]
    Character,
    /// The bytes are not a name.
    #[error("name malformed")]
    Malformed,
}

/// A distinguished name. Two names are equal if their bytes are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    der: Vec<u8>,
}

impl Name {
    /// Starts an empty name.
    #[must_use]
    pub fn builder() -> NameBuilder {
        NameBuilder::default()
    }

    /// Reads a name in DER.
    ///
    /// # Errors
    /// [`NameError::Malformed`].
    pub fn from_der(der: &[u8]) -> Result<Self, NameError> {
        Self::read(der).map_err(|_| NameError::Malformed)
    }

    pub(crate) fn read(der: &[u8]) -> Read<Self> {
        let mut count = 0usize;
        visit(der, |_, _| {
            count += 1;
            if count > MAX_ATTRIBUTES {
                return Err(NotDer);
            }
            Ok(())
        })?;
        Ok(Self { der: der.to_vec() })
    }

    /// The name's bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether the name has no attribute.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.der.len() <= 2
    }

    /// All attributes in order; values in a string type we do not read appear as empty text.
    #[must_use]
    pub fn attributes(&self) -> Vec<(ObjectIdentifier, String)> {
        let mut attributes = Vec::new();
        // The bytes were walked when the name was made, so the walk cannot fail half-way.
        let _ = visit(&self.der, |id, value| {
            attributes.push((id, value.unwrap_or_default()));
            Ok(())
        });
        attributes
    }

    /// The first value of an attribute.
    #[must_use]
    pub fn first(&self, id: &ObjectIdentifier) -> Option<String> {
        self.attributes()
            .into_iter()
            .find(|(known, _)| known == id)
            .map(|(_, value)| value)
    }

    /// The first common name.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        self.first(&oid::COMMON_NAME)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (id, value)) in self.attributes().iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match label(id) {
                Some(label) => f.write_str(label)?,
                None => write!(f, "{id}")?,
            }
            f.write_str("=")?;
            for letter in value.chars() {
                match letter {
                    ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => write!(f, "\\{letter}")?,
                    _ if letter.is_control() => write!(f, "{}", letter.escape_default())?,
                    _ => write!(f, "{letter}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// Collects attributes for a new name; each becomes its own relative name, in UTF-8.
#[derive(Clone, Debug, Default)]
pub struct NameBuilder {
    attributes: Vec<(ObjectIdentifier, String)>,
}

impl NameBuilder {
    /// Appends any attribute.
    #[must_use]
    pub fn attribute(mut self, id: ObjectIdentifier, value: &str) -> Self {
        self.attributes.push((id, value.to_owned()));
        self
    }

    /// Appends a common name.
    #[must_use]
    pub fn common_name(self, value: &str) -> Self {
        self.attribute(oid::COMMON_NAME, value)
    }

    /// Appends an organization.
    #[must_use]
    pub fn organization(self, value: &str) -> Self {
        self.attribute(oid::ORGANIZATION, value)
    }

    /// Finishes the name. A name without attributes is allowed.
    ///
    /// # Errors
    /// [`NameError`] where a value is empty, longer than 256 bytes or holds control characters.
    pub fn build(self) -> Result<Name, NameError> {
        let mut members = Vec::new();
        for (id, value) in &self.attributes {
            if value.is_empty() || value.len() > MAX_VALUE_BYTES {
                return Err(NameError::Length);
            }
            if value.chars().any(char::is_control) {
                return Err(NameError::Character);
            }
            let text = element(tag::UTF8_STRING, &[value.as_bytes()]);
            let attribute = sequence(&[&write_oid(id), &text]);
            members.push(set_of(tag::SET, vec![attribute]));
        }
        let parts: Vec<&[u8]> = members.iter().map(Vec::as_slice).collect();
        Ok(Name {
            der: sequence(&parts),
        })
    }
}

fn visit(
    der: &[u8],
    mut each: impl FnMut(ObjectIdentifier, Option<String>) -> Read<()>,
) -> Read<()> {
    let outer = single(der)?;
    if outer.tag != tag::SEQUENCE {
        return Err(NotDer);
    }
    let mut relative_names = Reader::new(outer.value);
    while !relative_names.is_empty() {
        let mut set = relative_names.enter(tag::SET)?;
        while !set.is_empty() {
            let mut attribute = set.enter(tag::SEQUENCE)?;
            let id = attribute.oid()?;
            let value = attribute.any()?;
            attribute.finish()?;
            each(id, text(value.tag, value.value))?;
        }
    }
    Ok(())
}

/// Decodes the string types met in names; none for anything else.
pub(crate) fn text(form: u8, value: &[u8]) -> Option<String> {
    match form {
        tag::UTF8_STRING => std::str::from_utf8(value).ok().map(str::to_owned),
        tag::PRINTABLE_STRING | tag::IA5_STRING | tag::VISIBLE_STRING => std::str::from_utf8(value)
            .ok()
            .filter(|text| text.is_ascii())
            .map(str::to_owned),
        tag::TELETEX_STRING => Some(value.iter().map(|byte| char::from(*byte)).collect()),
        tag::BMP_STRING if value.len().is_multiple_of(2) => {
            let units = value.as_chunks::<2>().0.iter().copied();
            char::decode_utf16(units.map(u16::from_be_bytes))
                .collect::<Result<String, _>>()
                .ok()
        }
        _ => None,
    }
}

fn label(id: &ObjectIdentifier) -> Option<&'static str> {
    let table = [
        (oid::COMMON_NAME, "CN"),
        (oid::SERIAL_NUMBER, "serialNumber"),
        (oid::COUNTRY, "C"),
        (oid::LOCALITY, "L"),
        (oid::STATE, "ST"),
        (oid::ORGANIZATION, "O"),
        (oid::ORGANIZATIONAL_UNIT, "OU"),
        (oid::USER_ID, "UID"),
    ];
    table
        .iter()
        .find(|(known, _)| known == id)
        .map(|(_, label)| *label)
}
