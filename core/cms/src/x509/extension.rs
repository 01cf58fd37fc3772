//! Certificate extensions: the few that are interpreted, read and written.
//!
//! It keeps every other extension as bytes. Source: RFC 5280 section 4.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use der::asn1::ObjectIdentifier;

use crate::der_io::{
    NotDer, Read, Reader, element, octet_string, oid as write_oid, sequence, single, small_integer,
    tag,
};
use crate::oid;

/// Most extensions of one certificate or request.
const MAX_EXTENSIONS: usize = 64;
/// Most alternative names that are read.
const MAX_ALT_NAMES: usize = 128;

/// One extension as it stands in a certificate or request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// What it is.
    pub id: ObjectIdentifier,
    /// Whether a reader that does not know it must refuse the certificate.
    pub critical: bool,
    /// Its value in DER.
    pub value: Vec<u8>,
}

/// A name in subjectAltName.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectAltName {
    /// A DNS name.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// A URI.
    Uri(String),
    /// A mail address.
    Mail(String),
    /// Any other form.
    Other,
}

/// The key usage bits we read or write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUsage {
    bits: u8,
}

impl KeyUsage {
    /// digitalSignature.
    pub const DIGITAL_SIGNATURE: Self = Self { bits: 0x80 };
    /// keyEncipherment.
    pub const KEY_ENCIPHERMENT: Self = Self { bits: 0x20 };
    /// keyCertSign.
    pub const KEY_CERT_SIGN: Self = Self { bits: 0x04 };
    /// cRLSign.
    pub const CRL_SIGN: Self = Self { bits: 0x02 };

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            bits: self.bits | other.bits,
        }
    }

    /// Whether all of `other` is in here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.bits & other.bits == other.bits
    }
}

/// Reads the members of an extension list; refuses duplicates.
pub(crate) fn read_list(bytes: &[u8]) -> Read<Vec<Extension>> {
    let mut list = Reader::new(bytes);
    let mut extensions: Vec<Extension> = Vec::new();
    while !list.is_empty() {
        let mut item = list.enter(tag::SEQUENCE)?;
        let id = item.oid()?;
        let critical = item.peek() == Some(tag::BOOLEAN) && item.boolean()?;
        let value = item.value(tag::OCTET_STRING)?.to_vec();
        item.finish()?;
        if extensions.len() == MAX_EXTENSIONS || extensions.iter().any(|known| known.id == id) {
            return Err(NotDer);
        }
        extensions.push(Extension {
            id,
            critical,
            value,
        });
    }
    Ok(extensions)
}

pub(crate) fn find<'a>(extensions: &'a [Extension], id: &ObjectIdentifier) -> Option<&'a [u8]> {
    extensions
        .iter()
        .find(|extension| extension.id == *id)
        .map(|extension| extension.value.as_slice())
}

/// CA flag and path length.
pub(crate) fn basic_constraints(value: &[u8]) -> Option<(bool, Option<u8>)> {
    let outer = single(value).ok().filter(|one| one.tag == tag::SEQUENCE)?;
    let mut reader = Reader::new(outer.value);
    let ca = reader.peek() == Some(tag::BOOLEAN) && reader.boolean().ok()?;
    let path = if reader.is_empty() {
        None
    } else {
        Some(reader.small_integer().ok()?)
    };
    reader.finish().ok()?;
    Some((ca, path))
}

pub(crate) fn key_usage(value: &[u8]) -> Option<KeyUsage> {
    let outer = single(value)
        .ok()
        .filter(|one| one.tag == tag::BIT_STRING)?;
    let (unused, bits) = outer.value.split_first()?;
    if *unused > 7 || bits.len() > 2 {
        return None;
    }
    Some(KeyUsage {
        bits: bits.first().copied().unwrap_or(0),
    })
}

pub(crate) fn purposes(value: &[u8]) -> Option<Vec<ObjectIdentifier>> {
    let outer = single(value).ok().filter(|one| one.tag == tag::SEQUENCE)?;
    let mut reader = Reader::new(outer.value);
    let mut purposes = Vec::new();
    while !reader.is_empty() {
        if purposes.len() == MAX_EXTENSIONS {
            return None;
        }
        purposes.push(reader.oid().ok()?);
    }
    Some(purposes)
}

pub(crate) fn alt_names(value: &[u8]) -> Option<Vec<SubjectAltName>> {
    let outer = single(value).ok().filter(|one| one.tag == tag::SEQUENCE)?;
    let mut reader = Reader::new(outer.value);
    let mut names = Vec::new();
    while !reader.is_empty() {
        if names.len() == MAX_ALT_NAMES {
            return None;
        }
        let name = reader.any().ok()?;
        let text = || -> Option<String> {
            let text = std::str::from_utf8(name.value).ok()?;
            text.is_ascii().then(|| text.to_owned())
        };
        names.push(match name.tag {
            0x81 => SubjectAltName::Mail(text()?),
            0x82 => SubjectAltName::Dns(text()?),
            0x86 => SubjectAltName::Uri(text()?),
            0x87 => SubjectAltName::Ip(address(name.value)?),
            _ => SubjectAltName::Other,
        });
    }
    Some(names)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|v6| IpAddr::V6(Ipv6Addr::from(v6)))
}

impl Extension {
    /// Its DER as a member of an extension list.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let critical: &[u8] = if self.critical {
            &[tag::BOOLEAN, 1, 0xFF]
        } else {
            &[]
        };
        sequence(&[&write_oid(&self.id), critical, &octet_string(&self.value)])
    }

    pub(crate) fn basic_constraints(ca: bool, path_length: Option<u8>) -> Self {
        let flag: &[u8] = if ca { &[tag::BOOLEAN, 1, 0xFF] } else { &[] };
        let path = path_length.map(small_integer).unwrap_or_default();
        Self {
            id: oid::BASIC_CONSTRAINTS,
            critical: true,
            value: sequence(&[flag, &path]),
        }
    }

    pub(crate) fn key_usage(usage: KeyUsage) -> Self {
        // DER counts the unused bits of a named-bit string.
        let unused = (usage.bits.trailing_zeros() as u8).min(7);
        Self {
            id: oid::KEY_USAGE,
            critical: true,
            value: element(tag::BIT_STRING, &[&[unused, usage.bits]]),
        }
    }

    pub(crate) fn purpose(purpose: &ObjectIdentifier) -> Self {
        Self {
            id: oid::EXTENDED_KEY_USAGE,
            critical: false,
            value: sequence(&[&write_oid(purpose)]),
        }
    }

    pub(crate) fn subject_key_id(id: &[u8]) -> Self {
        Self {
            id: oid::SUBJECT_KEY_ID,
            critical: false,
            value: octet_string(id),
        }
    }

    pub(crate) fn authority_key_id(id: &[u8]) -> Self {
        Self {
            id: oid::AUTHORITY_KEY_ID,
            critical: false,
            value: sequence(&[&element(tag::context(0), &[id])]),
        }
    }

    pub(crate) fn subject_alt_names(names: &[SubjectAltName]) -> Self {
        let members: Vec<Vec<u8>> = names
            .iter()
            .filter_map(|name| match name {
                SubjectAltName::Mail(text) => Some(element(0x81, &[text.as_bytes()])),
                SubjectAltName::Dns(text) => Some(element(0x82, &[text.as_bytes()])),
                SubjectAltName::Uri(text) => Some(element(0x86, &[text.as_bytes()])),
                SubjectAltName::Ip(IpAddr::V4(ip)) => Some(element(0x87, &[&ip.octets()])),
                SubjectAltName::Ip(IpAddr::V6(ip)) => Some(element(0x87, &[&ip.octets()])),
                SubjectAltName::Other => None,
            })
            .collect();
        let parts: Vec<&[u8]> = members.iter().map(Vec::as_slice).collect();
        Self {
            id: oid::SUBJECT_ALT_NAME,
            critical: false,
            value: sequence(&parts),
        }
    }
}
