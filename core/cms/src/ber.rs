//! Turns BER into DER, within bounds.
//!
//! Apple devices and streaming senders write indefinite lengths and strings in pieces; everything behind this module sees DER
//! lengths only. It owns the depth, size and count limits of the whole crate. It never interprets contents: it does not sort
//! sets, shorten integers or canonicalise booleans. Bytes that are DER already come back borrowed and unchanged.
//!
//! Source: X.690 sections 8.1, 8.7 and 10; RFC 5652 section 6.1 for the pieces of encrypted content.

use std::borrow::Cow;

use crate::der_io::{length_size, push_header};

/// Deepest nesting that is followed.
pub const MAX_DEPTH: usize = 24;
/// Most members of one SET; none of our formats comes near it.
pub const MAX_SET_MEMBERS: u32 = 64;

/// Bounds for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest input in bytes.
    pub bytes: usize,
    /// Largest number of elements, primitive and constructed together.
    pub elements: usize,
}

impl Limits {
    /// Bounds for a message of at most `bytes` bytes, with room for contents cut into pieces of 128 bytes on average.
    #[must_use]
    pub const fn for_bytes(bytes: usize) -> Self {
        Self {
            bytes,
            elements: 4096 + bytes / 128,
        }
    }
}

/// Why bytes are not acceptable BER. All of these are the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// No bytes at all.
    #[error("empty message")]
    Empty,
    /// More bytes than the limit allows.
    #[error("message larger than its limit")]
    TooLarge,
    /// An element ends after its container or the input.
    #[error("message cut off or a length too large")]
    Truncated,
    /// Bytes behind the outermost element.
    #[error("bytes after the end of the message")]
    TrailingBytes,
    /// Nesting beyond [`MAX_DEPTH`].
    #[error("nested too deeply")]
    TooDeep,
    /// More elements than the limit allows.
    #[error("too many elements")]
    TooManyElements,
    /// A SET with more than [`MAX_SET_MEMBERS`] members.
    #[error("too many members in one set")]
    TooManyMembers,
    /// A tag number above 30.
    #[error("tag of more than one byte")]
    MultiByteTag,
    /// A primitive element of indefinite length.
    #[error("primitive element without a length")]
    IndefinitePrimitive,
    /// A length written with more bytes than needed.
    #[error("length not in its shortest form")]
    NonMinimalLength,
    /// An end marker where none is due.
    #[error("end marker where none is due")]
    StrayEnd,
    /// A universal type in a form it may not have here.
    #[error("element in a form its type may not have")]
    WrongForm,
}

impl BerError {
    /// Stable short name for logs and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "ber_empty",
            Self::TooLarge => "ber_too_large",
            Self::Truncated => "ber_truncated",
            Self::TrailingBytes => "ber_trailing_bytes",
            Self::TooDeep => "ber_too_deep",
            Self::TooManyElements => "ber_too_many_elements",
            Self::TooManyMembers => "ber_too_many_members",
            Self::MultiByteTag => "ber_multi_byte_tag",
            Self::IndefinitePrimitive => "ber_indefinite_primitive",
            Self::NonMinimalLength => "ber_non_minimal_length",
            Self::StrayEnd => "ber_stray_end",
            Self::WrongForm => "ber_wrong_form",
        }
    }
}

/// Returns the message with definite, shortest lengths and whole strings; borrowed when there was nothing to change.
///
/// # Errors
/// [`BerError`] for anything outside the bounds or the encoding rules. Lengths longer than needed are refused although BER
/// allows them: no sender we know writes them, and they give two byte strings for one message.
pub fn normalize(input: &[u8], limits: Limits) -> Result<Cow<'_, [u8]>, BerError> {
    if !walk(input, limits, None)? {
        return Ok(Cow::Borrowed(input));
    }
    let mut nodes = Vec::new();
    walk(input, limits, Some(&mut nodes))?;
    Ok(Cow::Owned(emit(input, &nodes)))
}

/// Checks that the bytes are one element within the bounds that needs no normalising.
///
/// # Errors
/// As [`normalize`]; [`BerError::WrongForm`] where the bytes are BER but not DER in their lengths or strings.
pub fn require_definite(input: &[u8], limits: Limits) -> Result<(), BerError> {
    if walk(input, limits, None)? {
        return Err(BerError::WrongForm);
    }
    Ok(())
}

const CONSTRUCTED: u8 = 0x20;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT_0: u8 = 0xA0;

/// One element of the output plan, in document order.
struct Node {
    tag: u8,
    /// A piece of a joined string: only its body appears.
    hidden: bool,
    body: (usize, usize),
    content: usize,
}

#[derive(Clone, Copy)]
struct Frame {
    tag: u8,
    end: usize,
    indefinite: bool,
    members: u32,
    /// Members are string pieces that become one primitive.
    joined: bool,
    /// How far the members so far look like EncryptedContentInfo: 1 after the OID, 2 after the algorithm.
    encrypted_shape: u8,
    node: usize,
    content: usize,
}

/// Validates the whole input; fills `nodes` if given. Returns whether the output differs from the input.
fn walk(input: &[u8], limits: Limits, mut nodes: Option<&mut Vec<Node>>) -> Result<bool, BerError> {
    if input.is_empty() {
        return Err(BerError::Empty);
    }
    if input.len() > limits.bytes {
        return Err(BerError::TooLarge);
    }
    let mut stack: Vec<Frame> = Vec::with_capacity(MAX_DEPTH);
    let mut changed = false;
    let mut elements = 0usize;
    let mut pos = 0usize;
    loop {
        let limit = stack.last().map_or(input.len(), |frame| frame.end);
        let first = byte(input, pos, limit)?;
        let closes_indefinite = first == 0 && stack.last().is_some_and(|frame| frame.indefinite);
        if closes_indefinite {
            if byte(input, pos + 1, limit)? != 0 {
                return Err(BerError::StrayEnd);
            }
            pos += 2;
            close(&mut stack, nodes.as_deref_mut());
        } else {
            elements += 1;
            if elements > limits.elements {
                return Err(BerError::TooManyElements);
            }
            let (length, body) = header(input, pos, limit)?;
            let (hidden, joined) = admit(&mut stack, first)?;
            let end = match length {
                Some(length) => body
                    .checked_add(length)
                    .filter(|end| *end <= limit)
                    .ok_or(BerError::Truncated)?,
                None => limit,
            };
            changed |= length.is_none() || joined;
            let node = nodes.as_deref_mut().map_or(0, |nodes| {
                nodes.push(Node {
                    tag: if joined { first & !CONSTRUCTED } else { first },
                    hidden,
                    body: (body, body),
                    content: 0,
                });
                nodes.len() - 1
            });
            if first & CONSTRUCTED == 0 {
                pos = end;
                finish_primitive(&mut stack, nodes.as_deref_mut(), node, (body, end), hidden);
            } else {
                if stack.len() >= MAX_DEPTH {
                    return Err(BerError::TooDeep);
                }
                pos = body;
                stack.push(Frame {
                    tag: first,
                    end,
                    indefinite: length.is_none(),
                    members: 0,
                    joined,
                    encrypted_shape: 0,
                    node,
                    content: 0,
                });
            }
        }
        while stack
            .last()
            .is_some_and(|frame| !frame.indefinite && pos == frame.end)
        {
            close(&mut stack, nodes.as_deref_mut());
        }
        if stack.is_empty() {
            return if pos == input.len() {
                Ok(changed)
            } else {
                Err(BerError::TrailingBytes)
            };
        }
    }
}

fn byte(input: &[u8], at: usize, limit: usize) -> Result<u8, BerError> {
    if at >= limit {
        return Err(BerError::Truncated);
    }
    input.get(at).copied().ok_or(BerError::Truncated)
}

/// Reads tag form and length; returns the length (none for indefinite) and where the body starts.
fn header(input: &[u8], at: usize, limit: usize) -> Result<(Option<usize>, usize), BerError> {
    let tag = byte(input, at, limit)?;
    if tag == 0 {
        return Err(BerError::StrayEnd);
    }
    if tag & 0x1F == 0x1F {
        return Err(BerError::MultiByteTag);
    }
    check_form(tag)?;
    let first = byte(input, at + 1, limit)?;
    let mut body = at + 2;
    if first < 0x80 {
        return Ok((Some(usize::from(first)), body));
    }
    if first == 0x80 {
        return if tag & CONSTRUCTED == 0 {
            Err(BerError::IndefinitePrimitive)
        } else {
            Ok((None, body))
        };
    }
    let count = usize::from(first & 0x7F);
    let mut length = 0usize;
    for index in 0..count {
        let next = byte(input, body, limit)?;
        if index == 0 && next == 0 {
            return Err(BerError::NonMinimalLength);
        }
        // Four bytes cover every size we accept; a fifth can only mean a length beyond the input.
        if index == 4 {
            return Err(BerError::Truncated);
        }
        length = (length << 8) | usize::from(next);
        body += 1;
    }
    if length < 0x80 {
        return Err(BerError::NonMinimalLength);
    }
    Ok((Some(length), body))
}

/// Universal types have one form each here, octet strings both.
fn check_form(tag: u8) -> Result<(), BerError> {
    if tag & 0xC0 != 0 {
        return Ok(());
    }
    let constructed = tag & CONSTRUCTED != 0;
    let allowed = match tag & 0x1F {
        4 => true,
        8 | 11 | 16 | 17 => constructed,
        _ => !constructed,
    };
    if allowed {
        Ok(())
    } else {
        Err(BerError::WrongForm)
    }
}

/// Judges a new member of the innermost open element: is it hidden in a joined string, does it start one?
fn admit(stack: &mut [Frame], tag: u8) -> Result<(bool, bool), BerError> {
    let path_is_enveloped = stack.len() == 4
        && matches!(
            stack,
            [a, b, c, d]
                if a.tag == SEQUENCE && b.tag == CONTEXT_0 && c.tag == SEQUENCE && d.tag == SEQUENCE
        );
    let Some(parent) = stack.last_mut() else {
        return Ok((false, tag == OCTET_STRING | CONSTRUCTED));
    };
    parent.members += 1;
    if parent.tag == SET && parent.members > MAX_SET_MEMBERS {
        return Err(BerError::TooManyMembers);
    }
    if parent.joined {
        if tag & !CONSTRUCTED != OCTET_STRING {
            return Err(BerError::WrongForm);
        }
        return Ok((true, tag & CONSTRUCTED != 0));
    }
    let encrypted = path_is_enveloped && parent.encrypted_shape == 2 && tag == CONTEXT_0;
    parent.encrypted_shape = match (parent.members, parent.encrypted_shape, tag) {
        (1, _, 0x06) => 1,
        (2, 1, SEQUENCE) => 2,
        _ => 0,
    };
    Ok((false, encrypted || tag == OCTET_STRING | CONSTRUCTED))
}

fn finish_primitive(
    stack: &mut [Frame],
    nodes: Option<&mut Vec<Node>>,
    node: usize,
    body: (usize, usize),
    hidden: bool,
) {
    let length = body.1 - body.0;
    if let Some(planned) = nodes.and_then(|nodes| nodes.get_mut(node)) {
        planned.body = body;
        planned.content = length;
    }
    if let Some(parent) = stack.last_mut() {
        parent.content += outer_size(length, hidden);
    }
}

fn close(stack: &mut Vec<Frame>, nodes: Option<&mut Vec<Node>>) {
    let Some(frame) = stack.pop() else { return };
    let mut hidden = false;
    if let Some(planned) = nodes.and_then(|nodes| nodes.get_mut(frame.node)) {
        planned.content = frame.content;
        hidden = planned.hidden;
    }
    if let Some(parent) = stack.last_mut() {
        parent.content += outer_size(frame.content, hidden);
    }
}

fn outer_size(content: usize, hidden: bool) -> usize {
    if hidden {
        content
    } else {
        1 + length_size(content) + content
    }
}

fn emit(input: &[u8], nodes: &[Node]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len());
    for node in nodes {
        if !node.hidden {
            push_header(&mut out, node.tag, node.content);
        }
        out.extend_from_slice(input.get(node.body.0..node.body.1).unwrap_or_default());
    }
    out
}
