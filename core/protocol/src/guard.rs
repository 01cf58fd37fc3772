//! The guard: one pass over raw bytes before any property list is built.
//!
//! Owns the rules on size, depth, encoding and grammar. The reader behind it would otherwise run out of stack on deep nesting, lose
//! CDATA and unknown entities without a word, let the last of two equal keys win, and take NaN for a number. The guard never builds a
//! tree, never recurses, and costs time linear in the body. Stands first in the way of every body from a peer.
//!
//! Sources: XML 1.0 (W3C), Apple's `PropertyList-1.0.dtd`.

mod error;
mod keys;
mod prolog;
mod scalar;
mod walk;

use std::ops::Range;

pub use error::GuardError;

use crate::ParseError;

/// The bounds of one pass. The body's own length is bounded by each decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardLimits {
    /// Deepest nesting of arrays and dictionaries. Values above 256 are read as 256: the reader behind the guard recurses.
    pub max_depth: usize,
    /// Most elements in the body, keys included.
    pub max_elements: usize,
    /// Most attributes on the `plist` element; no other element may have any.
    pub max_attributes: usize,
    /// Longest key in bytes.
    pub max_key_bytes: usize,
    /// Longest string in bytes. Data is bounded by the body alone.
    pub max_string_bytes: usize,
    /// Whether control characters other than NUL may stand inside strings. Apple's writer does not escape them, and a report must not
    /// be lost because an application has one in its name. They stay refused in keys and between elements.
    pub control_characters_in_strings: bool,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            max_depth: 64,
            max_elements: 200_000,
            max_attributes: 4,
            max_key_bytes: 4 << 10,
            max_string_bytes: 256 << 10,
            control_characters_in_strings: false,
        }
    }
}

/// A body that passed the guard.
#[derive(Clone, Debug)]
pub struct Guarded<'a> {
    xml: &'a str,
    root: Range<usize>,
    elements: usize,
}

impl<'a> Guarded<'a> {
    /// The body without its byte-order mark.
    #[must_use]
    pub fn xml(&self) -> &'a str {
        self.xml
    }

    /// The text of the one value inside `plist`, from its start tag to its end tag.
    #[must_use]
    pub fn root(&self) -> &'a str {
        self.xml.get(self.root.clone()).unwrap_or_default()
    }

    /// How many elements the body has, `plist` and keys included.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Builds the property list.
    ///
    /// # Errors
    /// [`ParseError::Plist`] if the reader refuses what the guard let through, which would be a fault of ours.
    pub fn value(&self) -> Result<plist::Value, ParseError> {
        // The reader needs no prolog and no `plist` element, and is spared both.
        plist::Value::from_reader_xml(self.root().as_bytes()).map_err(|_| ParseError::Plist)
    }

    /// Builds the property list and asks for a dictionary at its root.
    ///
    /// # Errors
    /// As [`Guarded::value`], and [`ParseError::RootNotDictionary`].
    pub fn dictionary(&self) -> Result<plist::Dictionary, ParseError> {
        self.value()?
            .into_dictionary()
            .ok_or(ParseError::RootNotDictionary)
    }
}

/// Checks `body` against the grammar of XML property lists and against `limits`.
///
/// # Errors
/// The first rule that the body breaks.
pub fn check<'a>(body: &'a [u8], limits: &GuardLimits) -> Result<Guarded<'a>, GuardError> {
    let xml = prolog::text(body, limits)?;
    let (root, elements) = walk::walk(xml, limits)?;
    Ok(Guarded {
        xml,
        root,
        elements,
    })
}

#[cfg(test)]
mod tests;
