//! What stands before the first element: encoding, XML declaration, document type.
//!
//! Owns the decision that a body is UTF-8 text without control characters. Never looks at elements.
//! Sources: XML 1.0 sections 2.2, 2.8 and 4.3.3.

use quick_xml::events::BytesDecl;

use super::{GuardError, GuardLimits};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

const PUBLIC_IDS: [&str; 2] = [
    "-//Apple//DTD PLIST 1.0//EN",
    "-//Apple Computer//DTD PLIST 1.0//EN",
];

const SYSTEM_IDS: [&str; 2] = [
    "http://www.apple.com/DTDs/PropertyList-1.0.dtd",
    "https://www.apple.com/DTDs/PropertyList-1.0.dtd",
];

/// The four characters that XML counts as white space.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether text consists of XML's white space only.
pub(super) fn is_blank(text: &str) -> bool {
    text.bytes().all(is_space)
}

/// Whether a byte is a control character that XML 1.0 forbids.
pub(super) fn is_control(byte: u8) -> bool {
    byte < 0x20 && !is_space(byte)
}

/// The body as text, without a byte-order mark.
pub(super) fn text<'a>(body: &'a [u8], limits: &GuardLimits) -> Result<&'a str, GuardError> {
    if body.starts_with(b"\xFE\xFF") || body.starts_with(b"\xFF\xFE") {
        return Err(GuardError::Encoding);
    }
    let bytes = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let first = bytes.iter().copied().find(|&byte| !is_space(byte));
    match first {
        None => return Err(GuardError::Empty),
        Some(0) if bytes.get(1) == Some(&b'<') => return Err(GuardError::Encoding),
        Some(0) => return Err(GuardError::ControlCharacter),
        Some(b'<') if bytes.get(1) == Some(&0) => return Err(GuardError::Encoding),
        Some(b'<') => {}
        Some(_) if bytes.starts_with(b"bplist") => return Err(GuardError::Binary),
        Some(_) => return Err(GuardError::NotXml),
    }
    // No early exit: the compiler turns these loops into vector code.
    let forbidden = if limits.control_characters_in_strings {
        bytes.iter().fold(false, |found, &byte| found | (byte == 0))
    } else {
        bytes
            .iter()
            .fold(false, |found, &byte| found | is_control(byte))
    };
    if forbidden {
        return Err(GuardError::ControlCharacter);
    }
    std::str::from_utf8(bytes).map_err(|_| GuardError::Utf8)
}

/// Checks the XML declaration of `xml`.
pub(super) fn declaration(decl: &BytesDecl<'_>, xml: &str) -> Result<(), GuardError> {
    let version = decl.version().map_err(|_| GuardError::Declaration)?;
    if version != "1.0" {
        return Err(GuardError::Declaration);
    }
    match decl.encoding() {
        None => Ok(()),
        Some(Err(_)) => Err(GuardError::Declaration),
        Some(Ok(name)) if name.eq_ignore_ascii_case("utf-8") => Ok(()),
        Some(Ok(name)) if name.eq_ignore_ascii_case("us-ascii") && xml.is_ascii() => Ok(()),
        Some(Ok(_)) => Err(GuardError::Encoding),
    }
}

/// Checks the text of a document type: `plist PUBLIC "…" "…"` with Apple's two identifiers.
pub(super) fn doctype(text: &str) -> Result<(), GuardError> {
    let rest = word(text, "plist")?;
    let rest = word(rest, "PUBLIC")?;
    let (public, rest) = quoted(rest)?;
    let (system, rest) = quoted(rest)?;
    if PUBLIC_IDS.contains(&public) && SYSTEM_IDS.contains(&system) && is_blank(rest) {
        Ok(())
    } else {
        Err(GuardError::Doctype)
    }
}

/// Takes one word and the white space that must follow it.
fn word<'a>(text: &'a str, expected: &str) -> Result<&'a str, GuardError> {
    let rest = text.strip_prefix(expected).ok_or(GuardError::Doctype)?;
    let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
    if trimmed.len() == rest.len() {
        return Err(GuardError::Doctype);
    }
    Ok(trimmed)
}

/// Takes one quoted literal and any white space behind it.
fn quoted(text: &str) -> Result<(&str, &str), GuardError> {
    let (quote, rest) = match (text.strip_prefix('"'), text.strip_prefix('\'')) {
        (Some(rest), _) => ('"', rest),
        (None, Some(rest)) => ('\'', rest),
        (None, None) => return Err(GuardError::Doctype),
    };
    let (literal, rest) = rest.split_once(quote).ok_or(GuardError::Doctype)?;
    Ok((literal, rest.trim_start_matches([' ', '\t', '\n', '\r'])))
}
