//! The walk over the elements.
//!
//! Owns the grammar of property lists as a small state machine with an explicit stack. Never recurses and never copies text, except
//! for a key that is written with references. Tags that match are the XML reader's business; it is the same reader, with the same
//! settings, as in the property list reader behind the guard, so both see the same elements.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::keys::Keys;
use super::{GuardError, GuardLimits, prolog, scalar};

/// The deepest nesting that the reader behind the guard is trusted with.
const DEPTH_CEILING: usize = 256;

/// Walks the whole text; gives the place of the one value and the number of elements.
pub(super) fn walk(xml: &str, limits: &GuardLimits) -> Result<(Range<usize>, usize), GuardError> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().check_end_names = true;
    let mut walk = Walk::new(limits);
    let mut at = 0;
    loop {
        let event = reader.read_event().map_err(|error| match error {
            quick_xml::Error::Syntax(_) => GuardError::Incomplete,
            _ => GuardError::Malformed,
        })?;
        let end = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let here = at..end;
        match event {
            Event::Start(start) => walk.start(&start, &here)?,
            Event::Empty(start) => {
                walk.start(&start, &here)?;
                walk.end(&here)?;
            }
            Event::End(_) => walk.end(&here)?,
            Event::Text(text) => walk.text(text.into_inner())?,
            Event::GeneralRef(name) => walk.reference(name.as_ref())?,
            Event::Comment(text) => walk.comment(text.as_ref())?,
            Event::Decl(decl) => {
                if at != 0 {
                    return Err(GuardError::Declaration);
                }
                prolog::declaration(&decl, xml)?;
            }
            Event::DocType(text) => walk.doctype(text.as_ref())?,
            Event::PI(_) => return Err(GuardError::ProcessingInstruction),
            Event::CData(_) => return Err(GuardError::CData),
            Event::Eof => return walk.finish(),
        }
        at = end;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scalar {
    Key,
    String,
    Data,
    Date,
    Integer,
    Real,
    Boolean,
}

enum Element {
    Plist,
    Dictionary,
    Array,
    Scalar(Scalar),
}

impl Element {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "key" => Self::Scalar(Scalar::Key),
            "string" => Self::Scalar(Scalar::String),
            "dict" => Self::Dictionary,
            "array" => Self::Array,
            "data" => Self::Scalar(Scalar::Data),
            "date" => Self::Scalar(Scalar::Date),
            "integer" => Self::Scalar(Scalar::Integer),
            "real" => Self::Scalar(Scalar::Real),
            "true" | "false" => Self::Scalar(Scalar::Boolean),
            "plist" => Self::Plist,
            _ => return None,
        })
    }
}

/// Where the walk stands relative to `plist`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Inside,
    After,
}

/// An open array or dictionary.
enum Container {
    Array,
    /// `awaits_value` is true between a key and its value.
    Dictionary {
        awaits_value: bool,
    },
}

struct Walk<'a, 'l> {
    limits: &'l GuardLimits,
    max_depth: usize,
    place: Place,
    doctype: bool,
    elements: usize,
    open: Vec<Container>,
    /// One entry for each level that ever held a dictionary; reused by later dictionaries of that level.
    keys: Vec<Keys<'a>>,
    scalar: Option<Scalar>,
    text: Cow<'a, str>,
    root: Option<Range<usize>>,
}

impl<'a, 'l> Walk<'a, 'l> {
    fn new(limits: &'l GuardLimits) -> Self {
        Self {
            limits,
            max_depth: limits.max_depth.min(DEPTH_CEILING),
            place: Place::Before,
            doctype: false,
            elements: 0,
            open: Vec::with_capacity(8),
            keys: Vec::with_capacity(8),
            scalar: None,
            text: Cow::Borrowed(""),
            root: None,
        }
    }

    fn start(&mut self, start: &BytesStart<'_>, here: &Range<usize>) -> Result<(), GuardError> {
        let name = start.name();
        let element = Element::from_name(name.as_ref());
        match self.place {
            Place::After => return Err(GuardError::TrailingContent),
            Place::Before if !matches!(element, Some(Element::Plist)) => {
                return Err(GuardError::NoPlist);
            }
            _ => {}
        }
        let element = element.ok_or(GuardError::UnknownElement)?;
        self.elements += 1;
        if self.elements > self.limits.max_elements {
            return Err(GuardError::TooManyElements);
        }
        if let Element::Plist = element {
            return self.start_plist(start);
        }
        if !prolog::is_blank(start.attributes_raw()) {
            return Err(GuardError::Attribute);
        }
        if self.scalar.is_some() {
            return Err(GuardError::MisplacedElement);
        }
        if let Element::Scalar(Scalar::Key) = element {
            self.expect_key()?;
        } else {
            self.expect_value(here)?;
        }
        match element {
            Element::Scalar(scalar) => {
                self.scalar = Some(scalar);
                self.text = Cow::Borrowed("");
            }
            Element::Array => self.open_container(Container::Array)?,
            _ => self.open_container(Container::Dictionary {
                awaits_value: false,
            })?,
        }
        Ok(())
    }

    fn start_plist(&mut self, start: &BytesStart<'_>) -> Result<(), GuardError> {
        if self.place != Place::Before {
            return Err(GuardError::MisplacedElement);
        }
        // Counted before the reader compares each with all others.
        let raw = start.attributes_raw();
        if raw.bytes().filter(|&byte| byte == b'=').count() > self.limits.max_attributes {
            return Err(GuardError::Attribute);
        }
        for attribute in start.attributes() {
            attribute.map_err(|_| GuardError::Attribute)?;
        }
        if raw.bytes().any(prolog::is_control) {
            return Err(GuardError::ControlCharacter);
        }
        self.place = Place::Inside;
        Ok(())
    }

    fn expect_key(&mut self) -> Result<(), GuardError> {
        match self.open.last() {
            Some(Container::Dictionary {
                awaits_value: false,
            }) => Ok(()),
            Some(Container::Dictionary { awaits_value: true }) => Err(GuardError::KeyWithoutValue),
            _ => Err(GuardError::MisplacedElement),
        }
    }

    fn expect_value(&mut self, here: &Range<usize>) -> Result<(), GuardError> {
        match self.open.last_mut() {
            Some(Container::Array) => Ok(()),
            Some(Container::Dictionary { awaits_value }) => {
                if std::mem::replace(awaits_value, false) {
                    Ok(())
                } else {
                    Err(GuardError::ValueWithoutKey)
                }
            }
            None if self.root.is_some() => Err(GuardError::TwoRoots),
            None => {
                self.root = Some(here.clone());
                Ok(())
            }
        }
    }

    fn open_container(&mut self, container: Container) -> Result<(), GuardError> {
        if self.open.len() >= self.max_depth {
            return Err(GuardError::TooDeep);
        }
        self.open.push(container);
        if self.keys.len() < self.open.len() {
            self.keys.push(Keys::default());
        }
        Ok(())
    }

    fn end(&mut self, here: &Range<usize>) -> Result<(), GuardError> {
        if let Some(scalar) = self.scalar.take() {
            let text = std::mem::replace(&mut self.text, Cow::Borrowed(""));
            self.end_scalar(scalar, text)?;
        } else if let Some(container) = self.open.pop() {
            if let Container::Dictionary { awaits_value } = container {
                if awaits_value {
                    return Err(GuardError::KeyWithoutValue);
                }
                if let Some(keys) = self.keys.get_mut(self.open.len()) {
                    keys.clear();
                }
            }
        } else {
            // The reader gives no end tag without its start tag: this one is `</plist>`.
            if self.root.is_none() {
                return Err(GuardError::NoRoot);
            }
            self.place = Place::After;
            return Ok(());
        }
        if self.open.is_empty()
            && let Some(root) = &mut self.root
        {
            root.end = here.end;
        }
        Ok(())
    }

    fn end_scalar(&mut self, scalar: Scalar, text: Cow<'a, str>) -> Result<(), GuardError> {
        match scalar {
            Scalar::Key => {
                if text.bytes().any(prolog::is_control) {
                    return Err(GuardError::ControlCharacter);
                }
                let level = self.open.len().wrapping_sub(1);
                let (Some(Container::Dictionary { awaits_value }), Some(keys)) =
                    (self.open.last_mut(), self.keys.get_mut(level))
                else {
                    return Err(GuardError::MisplacedElement);
                };
                if !keys.insert(text) {
                    return Err(GuardError::DuplicateKey);
                }
                *awaits_value = true;
                Ok(())
            }
            Scalar::String => Ok(()),
            Scalar::Data => scalar::data(&text),
            Scalar::Date => scalar::date(&text),
            Scalar::Integer => scalar::integer(&text),
            Scalar::Real => scalar::real(&text),
            Scalar::Boolean if text.is_empty() => Ok(()),
            Scalar::Boolean => Err(GuardError::Boolean),
        }
    }

    fn text(&mut self, text: Cow<'a, str>) -> Result<(), GuardError> {
        if self.scalar.is_some() {
            return self.append(text);
        }
        if prolog::is_blank(&text) {
            return Ok(());
        }
        Err(match self.place {
            Place::Before => GuardError::NoPlist,
            Place::Inside => GuardError::StrayText,
            Place::After => GuardError::TrailingContent,
        })
    }

    fn reference(&mut self, name: &str) -> Result<(), GuardError> {
        let character = match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => self.character(name)?,
        };
        match self.scalar {
            Some(Scalar::Key | Scalar::String) => {
                self.text.to_mut().push(character);
                self.check_length()
            }
            Some(Scalar::Data) => Err(GuardError::Data),
            Some(Scalar::Date) => Err(GuardError::Date),
            Some(Scalar::Integer) => Err(GuardError::Integer),
            Some(Scalar::Real) => Err(GuardError::Real),
            Some(Scalar::Boolean) => Err(GuardError::Boolean),
            None if self.place == Place::After => Err(GuardError::TrailingContent),
            None => Err(GuardError::StrayText),
        }
    }

    /// The character of `#65` or `#x41`.
    fn character(&self, name: &str) -> Result<char, GuardError> {
        let number = name.strip_prefix('#').ok_or(GuardError::Entity)?;
        let (digits, radix) = match number.strip_prefix('x') {
            Some(hexadecimal) => (hexadecimal, 16),
            None => (number, 10),
        };
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(GuardError::Entity);
        }
        let code = u32::from_str_radix(digits, radix).map_err(|_| GuardError::Entity)?;
        let character = char::from_u32(code).ok_or(GuardError::Entity)?;
        let free = self.limits.control_characters_in_strings
            && self.scalar == Some(Scalar::String)
            && character != '\0';
        let control = u8::try_from(code).is_ok_and(prolog::is_control);
        if (control && !free) || matches!(character, '\u{FFFE}' | '\u{FFFF}') {
            return Err(GuardError::ControlCharacter);
        }
        Ok(character)
    }

    /// Adds text to the open scalar.
    fn append(&mut self, text: Cow<'a, str>) -> Result<(), GuardError> {
        if self.text.is_empty() {
            self.text = text;
        } else {
            self.text.to_mut().push_str(&text);
        }
        self.check_length()
    }

    fn check_length(&self) -> Result<(), GuardError> {
        let length = self.text.len();
        match self.scalar {
            Some(Scalar::Data) => Ok(()),
            Some(Scalar::Key) if length > self.limits.max_key_bytes => Err(GuardError::KeyTooLong),
            Some(Scalar::Key) => Ok(()),
            _ if length > self.limits.max_string_bytes => Err(GuardError::ValueTooLong),
            _ => Ok(()),
        }
    }

    fn comment(&mut self, text: &str) -> Result<(), GuardError> {
        if self.scalar.is_some() {
            Err(GuardError::Comment)
        } else if self.place == Place::After {
            Err(GuardError::TrailingContent)
        } else if text.bytes().any(prolog::is_control) {
            Err(GuardError::ControlCharacter)
        } else {
            Ok(())
        }
    }

    fn doctype(&mut self, text: &str) -> Result<(), GuardError> {
        if self.place != Place::Before || std::mem::replace(&mut self.doctype, true) {
            return Err(GuardError::Doctype);
        }
        prolog::doctype(text)
    }

    fn finish(self) -> Result<(Range<usize>, usize), GuardError> {
        match (self.place, self.root) {
            (Place::After, Some(root)) => Ok((root, self.elements)),
            (Place::Before, _) if self.elements == 0 && !self.doctype => Err(GuardError::NoPlist),
            _ => Err(GuardError::Incomplete),
        }
    }
}
