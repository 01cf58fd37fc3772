//! A zero-copy reader and a small writer of DER.
//!
//! The reader owns cursor arithmetic for the whole crate: nothing else slices peer bytes. It accepts definite, shortest lengths
//! and single-byte tags only, and never allocates. Source: X.690 sections 8.1 and 10.1.

use der::asn1::ObjectIdentifier;

pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0C;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const TELETEX_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const VISIBLE_STRING: u8 = 0x1A;
    pub(crate) const BMP_STRING: u8 = 0x1E;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    pub(crate) const fn context(number: u8) -> u8 {
        0x80 | number
    }
    pub(crate) const fn context_constructed(number: u8) -> u8 {
        0xA0 | number
    }
}

/// The bytes are not the expected structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotDer;

pub(crate) type Read<T> = Result<T, NotDer>;

/// One element: its tag, its contents, and all of its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: u8,
    pub(crate) value: &'a [u8],
    pub(crate) raw: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next element, whatever it is.
    pub(crate) fn any(&mut self) -> Read<Tlv<'a>> {
        let (&tag, after_tag) = self.rest.split_first().ok_or(NotDer)?;
        let (&first, mut body) = after_tag.split_first().ok_or(NotDer)?;
        if tag == 0 || tag & 0x1F == 0x1F {
            return Err(NotDer);
        }
        let mut length = usize::from(first);
        if first >= 0x80 {
            let count = usize::from(first & 0x7F);
            if count == 0 || count > 4 {
                return Err(NotDer);
            }
            let (digits, rest) = body.split_at_checked(count).ok_or(NotDer)?;
            body = rest;
            length = digits
                .iter()
                .fold(0, |sum, digit| (sum << 8) | usize::from(*digit));
            if digits.first() == Some(&0) || length < 0x80 {
                return Err(NotDer);
            }
        }
        let (value, rest) = body.split_at_checked(length).ok_or(NotDer)?;
        let raw_length = self.rest.len() - rest.len();
        let raw = self.rest.get(..raw_length).ok_or(NotDer)?;
        self.rest = rest;
        Ok(Tlv { tag, value, raw })
    }

    /// The next element, which must carry `tag`.
    pub(crate) fn tlv(&mut self, tag: u8) -> Read<Tlv<'a>> {
        if self.peek() != Some(tag) {
            return Err(NotDer);
        }
        self.any()
    }

    pub(crate) fn value(&mut self, tag: u8) -> Read<&'a [u8]> {
        Ok(self.tlv(tag)?.value)
    }

    /// A reader over the contents of the next element.
    pub(crate) fn enter(&mut self, tag: u8) -> Read<Reader<'a>> {
        Ok(Reader::new(self.value(tag)?))
    }

    pub(crate) fn optional(&mut self, tag: u8) -> Read<Option<Tlv<'a>>> {
        if self.peek() == Some(tag) {
            self.any().map(Some)
        } else {
            Ok(None)
        }
    }

    pub(crate) fn oid(&mut self) -> Read<ObjectIdentifier> {
        ObjectIdentifier::from_bytes(self.value(tag::OID)?).map_err(|_| NotDer)
    }

    /// The contents of an INTEGER, at least one byte, in shortest form.
    pub(crate) fn integer(&mut self) -> Read<&'a [u8]> {
        let value = self.value(tag::INTEGER)?;
        match value {
            [] => Err(NotDer),
            [0x00, next, ..] if *next < 0x80 => Err(NotDer),
            [0xFF, next, ..] if *next >= 0x80 => Err(NotDer),
            _ => Ok(value),
        }
    }

    /// A small non-negative INTEGER.
    pub(crate) fn small_integer(&mut self) -> Read<u8> {
        match self.integer()? {
            [value] if *value < 0x80 => Ok(*value),
            [0, value] => Ok(*value),
            _ => Err(NotDer),
        }
    }

    pub(crate) fn boolean(&mut self) -> Read<bool> {
        match self.value(tag::BOOLEAN)? {
            [0] => Ok(false),
            [0xFF] => Ok(true),
            _ => Err(NotDer),
        }
    }

    /// The contents of a BIT STRING without unused bits.
    pub(crate) fn bit_string(&mut self) -> Read<&'a [u8]> {
        match self.value(tag::BIT_STRING)?.split_first() {
            Some((0, bits)) => Ok(bits),
            _ => Err(NotDer),
        }
    }

    pub(crate) fn finish(self) -> Read<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(NotDer)
        }
    }
}

/// Reads exactly one element that fills the bytes.
pub(crate) fn single(bytes: &[u8]) -> Read<Tlv<'_>> {
    let mut reader = Reader::new(bytes);
    let tlv = reader.any()?;
    reader.finish()?;
    Ok(tlv)
}

/// How many bytes the length field takes.
pub(crate) fn length_size(length: usize) -> usize {
    if length < 0x80 {
        1
    } else {
        1 + significant_bytes(length)
    }
}

fn significant_bytes(length: usize) -> usize {
    size_of::<usize>() - (length.leading_zeros() / 8) as usize
}

pub(crate) fn push_header(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag);
    if length < 0x80 {
        // Below 128, so the cast keeps the value.
        out.push(length as u8);
        return;
    }
    let count = significant_bytes(length);
    out.push(0x80 | count as u8);
    out.extend(length.to_be_bytes().iter().skip(size_of::<usize>() - count));
}

/// One element whose contents are the given parts in order.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    push_header(&mut out, tag, length);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(tag::SEQUENCE, parts)
}

/// A SET OF, its members sorted as DER asks.
pub(crate) fn set_of(tag: u8, mut members: Vec<Vec<u8>>) -> Vec<u8> {
    members.sort();
    let parts: Vec<&[u8]> = members.iter().map(Vec::as_slice).collect();
    element(tag, &parts)
}

pub(crate) fn oid(id: &ObjectIdentifier) -> Vec<u8> {
    element(tag::OID, &[id.as_bytes()])
}

pub(crate) fn octet_string(value: &[u8]) -> Vec<u8> {
    element(tag::OCTET_STRING, &[value])
}

pub(crate) fn bit_string(value: &[u8]) -> Vec<u8> {
    element(tag::BIT_STRING, &[&[0], value])
}

pub(crate) fn small_integer(value: u8) -> Vec<u8> {
    if value < 0x80 {
        element(tag::INTEGER, &[&[value]])
    } else {
        element(tag::INTEGER, &[&[0, value]])
    }
}

/// `AlgorithmIdentifier` with NULL parameters.
pub(crate) fn algorithm_null(id: &ObjectIdentifier) -> Vec<u8> {
    sequence(&[&oid(id), &[tag::NULL, 0]])
}

/// `AlgorithmIdentifier` without parameters.
pub(crate) fn algorithm(id: &ObjectIdentifier) -> Vec<u8> {
    sequence(&[&oid(id)])
}

/// Reads an `AlgorithmIdentifier`: its identifier and all bytes of its parameters.
pub(crate) fn read_algorithm(bytes: &[u8]) -> Read<(ObjectIdentifier, &[u8])> {
    let mut reader = Reader::new(bytes);
    let id = reader.oid()?;
    let parameters = reader.rest;
    if !reader.is_empty() {
        reader.any()?;
    }
    reader.finish()?;
    Ok((id, parameters))
}
