//! Builds messages by hand, right or wrong in any one place.

use pomona_cms::x509::{Certificate, Name};
use pomona_cms::{DigestAlgorithm, KeyKind, ObjectIdentifier, Signer, oid};

pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let digits = bytes.iter().skip_while(|byte| **byte == 0);
        out.push(0x80 | digits.clone().count() as u8);
        out.extend(digits);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// Rewrites DER with indefinite lengths in every place that allows them; a sender that streams writes this.
pub(crate) fn indefinite(der: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = der;
    while let [tag, first, ..] = *rest {
        let digits = if first < 0x80 {
            0
        } else {
            usize::from(first & 0x7F)
        };
        let length = match digits {
            0 => usize::from(first),
            _ => rest[2..2 + digits]
                .iter()
                .fold(0, |sum, digit| sum << 8 | usize::from(*digit)),
        };
        let (element, after) = rest.split_at(2 + digits + length);
        if tag & 0x20 == 0 {
            out.extend_from_slice(element);
        } else {
            out.extend([tag, 0x80]);
            out.extend(indefinite(&element[2 + digits..]));
            out.extend([0, 0]);
        }
        rest = after;
    }
    out
}

pub(crate) fn seq(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

pub(crate) fn set(members: &[Vec<u8>]) -> Vec<u8> {
    let parts: Vec<&[u8]> = members.iter().map(Vec::as_slice).collect();
    tlv(0x31, &parts)
}

pub(crate) fn id(value: ObjectIdentifier) -> Vec<u8> {
    tlv(6, &[value.as_bytes()])
}

pub(crate) fn octets(value: &[u8]) -> Vec<u8> {
    tlv(4, &[value])
}

pub(crate) fn printable(text: &str) -> Vec<u8> {
    tlv(0x13, &[text.as_bytes()])
}

pub(crate) fn integer(value: u8) -> Vec<u8> {
    tlv(2, &[&[value]])
}

pub(crate) fn algorithm(value: ObjectIdentifier) -> Vec<u8> {
    seq(&[&id(value)])
}

pub(crate) fn attribute(kind: ObjectIdentifier, values: &[Vec<u8>]) -> Vec<u8> {
    seq(&[&id(kind), &set(values)])
}

pub(crate) fn oid_of(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new(text).unwrap()
}

pub(crate) fn md5() -> ObjectIdentifier {
    oid_of("1.2.840.113549.2.5")
}

pub(crate) fn signature_oid(kind: KeyKind) -> ObjectIdentifier {
    match kind {
        KeyKind::Rsa { .. } => oid::RSA_SHA256,
        KeyKind::P256 => oid::ECDSA_SHA256,
        KeyKind::P384 => oid::ECDSA_SHA384,
    }
}

/// One signer of a message. `None` fields follow from the content.
#[derive(Clone)]
pub(crate) struct SignerInfo {
    pub(crate) version: u8,
    pub(crate) sid: Vec<u8>,
    pub(crate) digest: ObjectIdentifier,
    /// The attribute elements in the order they are sent; none for a signature over the content.
    pub(crate) attributes: Option<Vec<Vec<u8>>>,
    pub(crate) attributes_tag: u8,
    pub(crate) signature_algorithm: Vec<u8>,
    pub(crate) signature: Option<Vec<u8>>,
    pub(crate) unsigned: Vec<u8>,
}

/// A signed message.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) outer: ObjectIdentifier,
    pub(crate) version: u8,
    pub(crate) digests: Vec<Vec<u8>>,
    pub(crate) content_type: ObjectIdentifier,
    pub(crate) attached: Option<Vec<u8>>,
    pub(crate) certificates: Option<Vec<Vec<u8>>>,
    pub(crate) signers: Vec<SignerInfo>,
}

pub(crate) fn issuer_and_serial(certificate: &Certificate) -> Vec<u8> {
    seq(&[certificate.issuer().der(), &tlv(2, &[certificate.serial()])])
}

pub(crate) fn standard_attributes(content: &[u8]) -> Vec<Vec<u8>> {
    vec![
        attribute(oid::CONTENT_TYPE, &[id(oid::DATA)]),
        attribute(
            oid::MESSAGE_DIGEST,
            &[octets(&DigestAlgorithm::Sha256.digest(content))],
        ),
    ]
}

impl SignerInfo {
    pub(crate) fn new(certificate: &Certificate, content: &[u8]) -> Self {
        Self {
            version: 1,
            sid: issuer_and_serial(certificate),
            digest: oid::SHA256,
            attributes: Some(standard_attributes(content)),
            attributes_tag: 0xA0,
            signature_algorithm: algorithm(signature_oid(
                certificate.key_kind().unwrap_or(KeyKind::P256),
            )),
            signature: None,
            unsigned: Vec::new(),
        }
    }

    fn encode(&self, content: &[u8], signer: &dyn Signer) -> Vec<u8> {
        let members = self.attributes.clone().map(|list| list.concat());
        let signature = self.signature.clone().unwrap_or_else(|| {
            let signed = match &members {
                Some(members) => tlv(0x31, &[members]),
                None => content.to_vec(),
            };
            signer.sign(signer.default_digest(), &signed).unwrap()
        });
        let attributes = members
            .map(|members| tlv(self.attributes_tag, &[&members]))
            .unwrap_or_default();
        seq(&[
            &integer(self.version),
            &self.sid,
            &algorithm(self.digest),
            &attributes,
            &self.signature_algorithm,
            &octets(&signature),
            &self.unsigned,
        ])
    }
}

impl Message {
    /// A good detached message.
    pub(crate) fn new(certificate: &Certificate, content: &[u8]) -> Self {
        Self {
            outer: oid::SIGNED_DATA,
            version: 1,
            digests: vec![algorithm(oid::SHA256)],
            content_type: oid::DATA,
            attached: None,
            certificates: Some(vec![certificate.der().to_vec()]),
            signers: vec![SignerInfo::new(certificate, content)],
        }
    }

    pub(crate) fn signer(&mut self) -> &mut SignerInfo {
        &mut self.signers[0]
    }

    pub(crate) fn encode(&self, content: &[u8], signer: &dyn Signer) -> Vec<u8> {
        let wrapped = self
            .attached
            .as_ref()
            .map(|content| tlv(0xA0, &[&octets(content)]))
            .unwrap_or_default();
        let certificates = self
            .certificates
            .as_ref()
            .map(|list| tlv(0xA0, &[&list.concat()]))
            .unwrap_or_default();
        let signers: Vec<Vec<u8>> = self
            .signers
            .iter()
            .map(|one| one.encode(content, signer))
            .collect();
        let body = seq(&[
            &integer(self.version),
            &set(&self.digests),
            &seq(&[&id(self.content_type), &wrapped]),
            &certificates,
            &set(&signers),
        ]);
        seq(&[&id(self.outer), &tlv(0xA0, &[&body])])
    }
}

/// A certificate with any public key and a worthless signature.
pub(crate) fn certificate_with_key(subject: &Name, public_key: &[u8], serial: u8) -> Vec<u8> {
    let times = seq(&[
        &tlv(0x17, &[b"260101000000Z"]),
        &tlv(0x17, &[b"360101000000Z"]),
    ]);
    let signature_algorithm = algorithm(oid::ECDSA_SHA256);
    let body = seq(&[
        &tlv(0xA0, &[&integer(2)]),
        &integer(serial),
        &signature_algorithm,
        subject.der(),
        &times,
        subject.der(),
        public_key,
    ]);
    seq(&[&body, &signature_algorithm, &tlv(3, &[&[0], &[0x30, 0]])])
}

pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if modulus[0] < 0x80 { &[] } else { &[0] };
    let key = seq(&[&tlv(2, &[sign, modulus]), &tlv(2, &[exponent])]);
    seq(&[&seq(&[&id(oid::RSA), &[5, 0]]), &tlv(3, &[&[0], &key])])
}

/// A CA certificate without key ids or a path length, signed by a curve key.
pub(crate) fn bare_ca(issuer: &Name, key: &dyn Signer, subject: &Name, holder: &[u8]) -> Vec<u8> {
    let times = seq(&[
        &tlv(0x17, &[b"260101000000Z"]),
        &tlv(0x17, &[b"360101000000Z"]),
    ]);
    let ca = seq(&[&id(oid::BASIC_CONSTRAINTS), &octets(&[0x30, 3, 1, 1, 0xFF])]);
    let signature_algorithm = algorithm(oid::ECDSA_SHA256);
    let body = seq(&[
        &tlv(0xA0, &[&integer(2)]),
        &integer(7),
        &signature_algorithm,
        issuer.der(),
        &times,
        subject.der(),
        holder,
        &tlv(0xA3, &[&seq(&[&ca])]),
    ]);
    let signature = key.sign(DigestAlgorithm::Sha256, &body).unwrap();
    seq(&[&body, &signature_algorithm, &tlv(3, &[&[0], &signature])])
}

/// An odd number of so many bytes with its top bit set.
pub(crate) fn modulus(bytes: usize) -> Vec<u8> {
    let mut out = vec![0xC3; bytes];
    out[bytes - 1] = 0x01;
    out
}

/// A certification request signed by its key, with these attributes.
pub(crate) fn request(subject: &Name, key: &dyn Signer, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = seq(&[
        &integer(0),
        subject.der(),
        key.public_key_der(),
        &tlv(0xA0, &[&attributes.concat()]),
    ]);
    let signature = key.sign(key.default_digest(), &body).unwrap();
    seq(&[
        &body,
        &algorithm(signature_oid(key.key_kind())),
        &tlv(3, &[&[0], &signature]),
    ])
}

pub(crate) fn challenge(text: &str) -> Vec<u8> {
    attribute(oid::CHALLENGE_PASSWORD, &[printable(text)])
}

/// The attribute that asks for extensions; each is identifier, critical, value.
pub(crate) fn extension_request(extensions: &[(ObjectIdentifier, bool, Vec<u8>)]) -> Vec<u8> {
    let list: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, critical, value)| {
            let flag: &[u8] = if *critical { &[1, 1, 0xFF] } else { &[] };
            seq(&[&id(*kind), flag, &octets(value)])
        })
        .collect();
    attribute(oid::EXTENSION_REQUEST, &[seq(&[&list])])
}

/// The whole number whose cube starts with `prefix` in a field of 256 bytes: a signature that lazy verifiers took for good
/// with exponent 3.
pub(crate) fn cube_root_forgery(prefix: &[u8]) -> Vec<u8> {
    let mut target = [0xFFu8; 256];
    target[..prefix.len()].copy_from_slice(prefix);
    // The cube root of a number of 2048 bits has at most 683; set them from the top while the cube stays below the target.
    let mut root = [0u8; 86];
    for bit in (0..683).rev() {
        let at = root.len() - 1 - bit / 8;
        root[at] |= 1 << (bit % 8);
        if cube(&root)[..] > [&[0, 0][..], &target].concat()[..] {
            root[at] &= !(1 << (bit % 8));
        }
    }
    assert!(cube(&root)[2..].starts_with(prefix));
    [vec![0; 170], root.to_vec()].concat()
}

/// The cube of 86 big-endian bytes, as 258 bytes.
fn cube(root: &[u8]) -> Vec<u8> {
    let square = multiply(root, root);
    multiply(&square, root)
}

pub(crate) fn multiply(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut columns = vec![0u64; left.len() + right.len()];
    for (i, a) in left.iter().rev().enumerate() {
        for (j, b) in right.iter().rev().enumerate() {
            columns[i + j] += u64::from(*a) * u64::from(*b);
        }
    }
    let mut carry = 0;
    let mut out: Vec<u8> = columns
        .iter()
        .map(|column| {
            carry += column;
            let digit = (carry & 0xFF) as u8;
            carry >>= 8;
            digit
        })
        .collect();
    out.reverse();
    out
}
