//! A few lines that write DER: what certificates requests, SCEP and CMS messages are made of.
//!
//! Owns the byte layout of tags and lengths. Never reads anything: parsing is left to the
//! `cms` and `x509-cert` crates, so that what the simulator sends and what it understands come
//! from different code. Source: ITU-T X.690.

/// UNIVERSAL tags and the context tags that CMS uses.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    pub(crate) const CONTEXT_0: u8 = 0xa0;
    pub(crate) const CONTEXT_3: u8 = 0xa3;
    pub(crate) const CONTEXT_0_PRIMITIVE: u8 = 0x80;
}

/// One element: tag, definite length, content.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len().saturating_add(6));
    out.push(tag);
    let len = content.len();
    if len < 0x80 {
        out.push(u8::try_from(len).unwrap_or(0x7f));
    } else {
        let bytes = len.to_be_bytes();
        let first = bytes.iter().position(|b| *b != 0).unwrap_or(0);
        let tail = bytes.get(first..).unwrap_or_default();
        out.push(0x80 | u8::try_from(tail.len()).unwrap_or(8));
        out.extend_from_slice(tail);
    }
    out.extend_from_slice(content);
    out
}

/// One constructed element of indefinite length, as Apple's streaming encoder writes it.
pub(crate) fn indefinite(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len().saturating_add(4));
    out.push(tag);
    out.push(0x80);
    out.extend_from_slice(content);
    out.extend_from_slice(&[0, 0]);
    out
}

/// A constructed element of several parts.
pub(crate) fn join(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    tlv(tag, &parts.concat())
}

/// A SEQUENCE of parts.
pub(crate) fn seq(parts: &[&[u8]]) -> Vec<u8> {
    join(tag::SEQUENCE, parts)
}

/// A SET OF parts in DER order.
pub(crate) fn set_of(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.sort();
    tlv(tag::SET, &parts.concat())
}

/// A non-negative INTEGER from big-endian bytes.
pub(crate) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
    let tail = bytes.get(first..).unwrap_or_default();
    match tail.first() {
        None => tlv(tag::INTEGER, &[0]),
        Some(high) if *high >= 0x80 => tlv(tag::INTEGER, &[&[0], tail].concat()),
        Some(_) => tlv(tag::INTEGER, tail),
    }
}

/// A BIT STRING without unused bits.
pub(crate) fn bits(content: &[u8]) -> Vec<u8> {
    tlv(tag::BIT_STRING, &[&[0], content].concat())
}

/// An OBJECT IDENTIFIER from dotted text; text that is none becomes an empty element, which a
/// reader refuses.
pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    match const_oid::ObjectIdentifier::new(dotted) {
        Ok(value) => tlv(tag::OID, value.as_bytes()),
        Err(_) => tlv(tag::OID, &[]),
    }
}

/// A PrintableString where the text allows it, else a UTF8String.
pub(crate) fn text(value: &str) -> Vec<u8> {
    let printable = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c);
    if value.chars().all(printable) {
        tlv(tag::PRINTABLE_STRING, value.as_bytes())
    } else {
        tlv(tag::UTF8_STRING, value.as_bytes())
    }
}

/// An AlgorithmIdentifier with NULL parameters.
pub(crate) fn algorithm(dotted: &str) -> Vec<u8> {
    seq(&[&oid(dotted), &tlv(tag::NULL, &[])])
}

/// A UTCTime from seconds since 1970 (valid for 1970 to 2049).
pub(crate) fn utc_time(unix_seconds: i64) -> Vec<u8> {
    let (year, month, day, hour, minute, second) = crate::clock::civil(unix_seconds);
    let year = year.rem_euclid(100);
    let text = format!("{year:02}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    tlv(tag::UTC_TIME, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_short_and_the_long_form() {
        assert_eq!(tlv(4, &[7; 3]), [4, 3, 7, 7, 7]);
        assert_eq!(tlv(4, &[0; 128]).get(..3), Some(&[4, 0x81, 128][..]));
        assert_eq!(tlv(4, &[0; 300]).get(..4), Some(&[4, 0x82, 1, 44][..]));
    }

    #[test]
    fn unsigned_integers_stay_positive_and_minimal() {
        assert_eq!(unsigned(&[0, 0]), [2, 1, 0]);
        assert_eq!(unsigned(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[1, 2]), [2, 2, 1, 2]);
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(
            utc_time(1_700_000_000).get(2..),
            Some(&b"231114221320Z"[..])
        );
    }
}
