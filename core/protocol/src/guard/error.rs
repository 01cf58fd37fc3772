//! Why the guard refused some bytes.
//!
//! Owns one variant for each rule of the guard. Holds no input and no position: neither may reach a log.

/// The rule of the guard that a body broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// There are no bytes, or only white space.
    #[error("the body is empty")]
    Empty,
    /// A binary property list.
    #[error("binary property lists are not accepted")]
    Binary,
    /// Not XML at all: an old text property list, JSON, or anything else that does not begin with `<`.
    #[error("the body is not XML")]
    NotXml,
    /// UTF-16, UTF-32, or a declared encoding other than UTF-8 and US-ASCII.
    #[error("the encoding is not UTF-8")]
    Encoding,
    /// Bytes that are not UTF-8.
    #[error("broken UTF-8")]
    Utf8,
    /// A control character other than tab, line feed and carriage return, raw or as a reference.
    #[error("control character")]
    ControlCharacter,
    /// Tags that do not match, an unclosed construct, and other breaches of XML's grammar.
    #[error("broken XML")]
    Malformed,
    /// The body ends before `</plist>`.
    #[error("the body ends early")]
    Incomplete,
    /// An XML declaration in the wrong place, or one that is not version 1.0.
    #[error("bad XML declaration")]
    Declaration,
    /// A document type other than Apple's public one, one with an internal subset, or one in the wrong place.
    #[error("bad document type")]
    Doctype,
    /// A reference to an entity other than XML's five.
    #[error("unknown entity")]
    Entity,
    /// A processing instruction.
    #[error("processing instruction")]
    ProcessingInstruction,
    /// A CDATA section; the reader behind the guard would lose its text.
    #[error("CDATA section")]
    CData,
    /// A comment inside a key or a scalar.
    #[error("comment inside a value")]
    Comment,
    /// An element that property lists do not have.
    #[error("unknown element")]
    UnknownElement,
    /// An element where none of its kind may stand.
    #[error("misplaced element")]
    MisplacedElement,
    /// An attribute on another element than `plist`, more than the limit, or a broken one.
    #[error("attribute not accepted")]
    Attribute,
    /// Nested deeper than the limit.
    #[error("nested too deep")]
    TooDeep,
    /// More elements than the limit.
    #[error("too many elements")]
    TooManyElements,
    /// A key longer than the limit.
    #[error("a key is too long")]
    KeyTooLong,
    /// A string or another scalar longer than the limit.
    #[error("a value is too long")]
    ValueTooLong,
    /// The same key twice in one dictionary.
    #[error("duplicate key")]
    DuplicateKey,
    /// A key that no value follows.
    #[error("a key has no value")]
    KeyWithoutValue,
    /// A value in a dictionary that no key precedes.
    #[error("a value has no key")]
    ValueWithoutKey,
    /// Text where only elements may stand.
    #[error("stray text")]
    StrayText,
    /// Something after `</plist>`.
    #[error("content after the end")]
    TrailingContent,
    /// The outermost element is not `plist`.
    #[error("the outermost element is not plist")]
    NoPlist,
    /// `plist` holds no value.
    #[error("the property list holds no value")]
    NoRoot,
    /// `plist` holds more than one value.
    #[error("the property list holds two values")]
    TwoRoots,
    /// Not a decimal integer of 64 bits.
    #[error("bad integer")]
    Integer,
    /// Not a finite number.
    #[error("bad real")]
    Real,
    /// Not a date of the form `2026-01-31T12:00:00Z`.
    #[error("bad date")]
    Date,
    /// Not base64.
    #[error("bad data")]
    Data,
    /// `true` or `false` with content.
    #[error("bad boolean")]
    Boolean,
}

impl GuardError {
    /// A stable name of the rule.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "xml.empty",
            Self::Binary => "xml.binary",
            Self::NotXml => "xml.not_xml",
            Self::Encoding => "xml.encoding",
            Self::Utf8 => "xml.utf8",
            Self::ControlCharacter => "xml.control_character",
            Self::Malformed => "xml.malformed",
            Self::Incomplete => "xml.incomplete",
            Self::Declaration => "xml.declaration",
            Self::Doctype => "xml.doctype",
            Self::Entity => "xml.entity",
            Self::ProcessingInstruction => "xml.processing_instruction",
            Self::CData => "xml.cdata",
            Self::Comment => "xml.comment",
            Self::UnknownElement => "xml.unknown_element",
            Self::MisplacedElement => "xml.misplaced_element",
            Self::Attribute => "xml.attribute",
            Self::TooDeep => "xml.too_deep",
            Self::TooManyElements => "xml.too_many_elements",
            Self::KeyTooLong => "xml.key_too_long",
            Self::ValueTooLong => "xml.value_too_long",
            Self::DuplicateKey => "xml.duplicate_key",
            Self::KeyWithoutValue => "xml.key_without_value",
            Self::ValueWithoutKey => "xml.value_without_key",
            Self::StrayText => "xml.stray_text",
            Self::TrailingContent => "xml.trailing_content",
            Self::NoPlist => "xml.no_plist",
            Self::NoRoot => "xml.no_root",
            Self::TwoRoots => "xml.two_roots",
            Self::Integer => "xml.integer",
            Self::Real => "xml.real",
            Self::Date => "xml.date",
            Self::Data => "xml.data",
            Self::Boolean => "xml.boolean",
        }
    }
}
