//! Keys, certificates and signed messages, right or wrong in any one place.
//!
//! Owns: a small authority of the tests' own, and a builder of CMS messages by hand.
#![allow(dead_code, reason = "each section uses its part")]

use std::sync::LazyLock;

use pomona_cms::x509::{
    Certificate, ClientIdentity, Extension, Issuer, Name, Serial, Validity, client_identity,
    root_ca,
};
use pomona_cms::{DigestAlgorithm, KeyKind, KeyPair, ObjectIdentifier, Signer, oid};

/// 2026-01-01, the time of the stage.
pub const START: i64 = 1_767_225_600;
pub const YEAR: i64 = 365 * 86_400;

/// A key with its certificate.
pub struct Party {
    pub key: KeyPair,
    pub certificate: Certificate,
}

/// An authority and some holders, made once.
pub struct Lab {
    pub root: Party,
    pub p256: Party,
    pub other: Party,
    pub rsa: Party,
    pub spare: Party,
    /// Issued by an authority that nobody knows, though its name is the same.
    pub stranger: Party,
    pub stranger_root: Party,
}

pub static LAB: LazyLock<Lab> = LazyLock::new(|| {
    let root = authority("Lab", 1);
    let foreign = authority("Lab", 2);
    let p256 = || KeyPair::generate_p256().unwrap();
    Lab {
        p256: identity(&root, p256(), "one", 3, &[]),
        other: identity(&root, p256(), "two", 4, &[]),
        rsa: identity(&root, KeyPair::generate_rsa_2048().unwrap(), "rsa", 5, &[]),
        spare: identity(&root, p256(), "three", 6, &[]),
        stranger: identity(&foreign, p256(), "one", 3, &[]),
        stranger_root: foreign,
        root,
    }
});

pub fn named(name: &str) -> Name {
    Name::builder().common_name(name).build().unwrap()
}

pub fn serial(number: u8) -> Serial {
    Serial::from_random([number; 16])
}

pub fn valid(from: i64, to: i64) -> Validity {
    Validity {
        not_before: from,
        not_after: to,
    }
}

pub fn authority(name: &str, number: u8) -> Party {
    let key = KeyPair::generate_p256().unwrap();
    let validity = valid(START - 5 * YEAR, START + 20 * YEAR);
    Party {
        certificate: root_ca(&key, &named(name), serial(number), validity).unwrap(),
        key,
    }
}

impl Party {
    pub fn issuer(&self) -> Issuer<'_> {
        Issuer {
            certificate: &self.certificate,
            key: &self.key,
        }
    }
}

pub fn identity(
    ca: &Party,
    key: KeyPair,
    name: &str,
    number: u8,
    extensions: &[Extension],
) -> Party {
    identity_in(
        ca,
        key,
        name,
        number,
        extensions,
        valid(START - YEAR, START + 10 * YEAR),
    )
}

pub fn identity_in(
    ca: &Party,
    key: KeyPair,
    name: &str,
    number: u8,
    extensions: &[Extension],
    validity: Validity,
) -> Party {
    let certificate = client_identity(
        &ca.issuer(),
        &ClientIdentity {
            subject: &named(name),
            public_key_der: key.public_key_der(),
            serial: serial(number),
            validity,
            grant: None,
            extensions,
        },
    )
    .unwrap();
    Party { key, certificate }
}

pub fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let digits: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
        out.push(0x80 | digits.len() as u8);
        out.extend(digits);
    }
    out.extend(parts.concat());
    out
}

pub fn seq(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

pub fn set(members: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &[&members.concat()])
}

pub fn id(value: ObjectIdentifier) -> Vec<u8> {
    tlv(6, &[value.as_bytes()])
}

pub fn octets(value: &[u8]) -> Vec<u8> {
    tlv(4, &[value])
}

pub fn algorithm(value: ObjectIdentifier) -> Vec<u8> {
    seq(&[&id(value)])
}

pub fn attribute(kind: ObjectIdentifier, values: &[Vec<u8>]) -> Vec<u8> {
    seq(&[&id(kind), &set(values)])
}

pub fn oid_of(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new(text).unwrap()
}

pub fn issuer_and_serial(certificate: &Certificate) -> Vec<u8> {
    seq(&[certificate.issuer().der(), &tlv(2, &[certificate.serial()])])
}

/// One signer of a message.
#[derive(Clone)]
pub struct SignerInfo {
    pub version: u8,
    pub sid: Vec<u8>,
    pub digest: ObjectIdentifier,
    /// The attributes in the order they are sent; none for a signature over the content.
    pub attributes: Option<Vec<Vec<u8>>>,
    pub attributes_tag: u8,
    pub algorithm: Vec<u8>,
    /// The signature, where it is not the right one.
    pub signature: Option<Vec<u8>>,
    pub unsigned: Vec<u8>,
}

/// A signed message.
#[derive(Clone)]
pub struct Message {
    pub outer: ObjectIdentifier,
    pub version: u8,
    pub digests: Vec<Vec<u8>>,
    pub content_type: ObjectIdentifier,
    pub attached: Option<Vec<u8>>,
    pub certificates: Option<Vec<Vec<u8>>>,
    pub signers: Vec<SignerInfo>,
}

pub fn standard_attributes(content: &[u8]) -> Vec<Vec<u8>> {
    vec![
        attribute(oid::CONTENT_TYPE, &[id(oid::DATA)]),
        attribute(
            oid::MESSAGE_DIGEST,
            &[octets(&DigestAlgorithm::Sha256.digest(content))],
        ),
    ]
}

impl SignerInfo {
    pub fn new(certificate: &Certificate, content: &[u8]) -> Self {
        let algorithm = match certificate.key_kind() {
            Ok(KeyKind::Rsa { .. }) => seq(&[&id(oid::RSA_SHA256), &[5, 0]]),
            _ => algorithm(oid::ECDSA_SHA256),
        };
        Self {
            version: 1,
            sid: issuer_and_serial(certificate),
            digest: oid::SHA256,
            attributes: Some(standard_attributes(content)),
            attributes_tag: 0xA0,
            algorithm,
            signature: None,
            unsigned: Vec::new(),
        }
    }

    /// What is signed.
    pub fn signed(&self, content: &[u8]) -> Vec<u8> {
        match &self.attributes {
            Some(members) => set(members),
            None => content.to_vec(),
        }
    }

    fn encode(&self, content: &[u8], signer: &dyn Signer) -> Vec<u8> {
        let signature = self.signature.clone().unwrap_or_else(|| {
            signer
                .sign(DigestAlgorithm::Sha256, &self.signed(content))
                .unwrap()
        });
        let attributes = match &self.attributes {
            Some(members) => tlv(self.attributes_tag, &[&members.concat()]),
            None => Vec::new(),
        };
        seq(&[
            &[2, 1, self.version],
            &self.sid,
            &algorithm(self.digest),
            &attributes,
            &self.algorithm,
            &octets(&signature),
            &self.unsigned,
        ])
    }
}

impl Message {
    /// A good detached message.
    pub fn new(certificate: &Certificate, content: &[u8]) -> Self {
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

    pub fn signer(&mut self) -> &mut SignerInfo {
        &mut self.signers[0]
    }

    pub fn encode(&self, content: &[u8], signer: &dyn Signer) -> Vec<u8> {
        let wrapped = match &self.attached {
            Some(content) => tlv(0xA0, &[&octets(content)]),
            None => Vec::new(),
        };
        let certificates = match &self.certificates {
            Some(list) => tlv(0xA0, &[&list.concat()]),
            None => Vec::new(),
        };
        let signers: Vec<Vec<u8>> = self
            .signers
            .iter()
            .map(|one| one.encode(content, signer))
            .collect();
        let body = seq(&[
            &[2, 1, self.version],
            &set(&self.digests),
            &seq(&[&id(self.content_type), &wrapped]),
            &certificates,
            &set(&signers),
        ]);
        seq(&[&id(self.outer), &tlv(0xA0, &[&body])])
    }
}

/// A good signature of a body.
pub fn signature(party: &Party, body: &[u8]) -> Vec<u8> {
    Message::new(&party.certificate, body).encode(body, &party.key)
}

/// A certificate with any public key and a worthless signature.
pub fn certificate_with_key(subject: &Name, public_key: &[u8], number: u8) -> Vec<u8> {
    let times = seq(&[
        &tlv(0x17, &[b"250101000000Z"]),
        &tlv(0x17, &[b"360101000000Z"]),
    ]);
    let how = algorithm(oid::ECDSA_SHA256);
    let body = seq(&[
        &tlv(0xA0, &[&[2, 1, 2]]),
        &[2, 1, number],
        &how,
        subject.der(),
        &times,
        subject.der(),
        public_key,
    ]);
    seq(&[&body, &how, &tlv(3, &[&[0], &[0x30, 0]])])
}

pub fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = seq(&[&tlv(2, &[&[0], modulus]), &tlv(2, &[exponent])]);
    seq(&[&seq(&[&id(oid::RSA), &[5, 0]]), &tlv(3, &[&[0], &key])])
}

/// An odd number of so many bytes with its top bit set.
pub fn modulus(bytes: usize) -> Vec<u8> {
    let mut out = vec![0xC3; bytes];
    out[bytes - 1] = 0x01;
    out
}

/// A request for a certificate, signed by its key.
pub struct Request {
    pub subject: Name,
    pub attributes: Vec<Vec<u8>>,
    /// Another public key than the signer's.
    pub public_key: Option<Vec<u8>>,
}

impl Request {
    pub fn named(name: &str) -> Self {
        let subject = match name {
            "" => Name::builder().build().unwrap(),
            name => named(name),
        };
        Self {
            subject,
            attributes: Vec::new(),
            public_key: None,
        }
    }

    pub fn challenge(self, text: &str) -> Self {
        self.challenge_as(0x0C, text)
    }

    pub fn challenge_as(mut self, tag: u8, text: &str) -> Self {
        let value = tlv(tag, &[text.as_bytes()]);
        self.attributes
            .push(attribute(oid::CHALLENGE_PASSWORD, &[value]));
        self
    }

    /// Asks for one extension.
    pub fn wants(mut self, kind: ObjectIdentifier, critical: bool, value: &[u8]) -> Self {
        let flag: &[u8] = if critical { &[1, 1, 0xFF] } else { &[] };
        let list = seq(&[&seq(&[&id(kind), flag, &octets(value)])]);
        self.attributes
            .push(attribute(oid::EXTENSION_REQUEST, &[list]));
        self
    }

    pub fn sign(&self, key: &KeyPair) -> Vec<u8> {
        let mut attributes = self.attributes.clone();
        attributes.sort();
        let public_key = self.public_key.as_deref().unwrap_or(key.public_key_der());
        let body = seq(&[
            &[2, 1, 0],
            self.subject.der(),
            public_key,
            &tlv(0xA0, &[&attributes.concat()]),
        ]);
        let signature = key.sign(DigestAlgorithm::Sha256, &body).unwrap();
        let how = match key.key_kind() {
            KeyKind::Rsa { .. } => seq(&[&id(oid::RSA_SHA256), &[5, 0]]),
            _ => algorithm(oid::ECDSA_SHA256),
        };
        seq(&[&body, &how, &tlv(3, &[&[0], &signature])])
    }
}

/// A SCEP message around a request.
pub fn scep_message(
    party: &Party,
    ca: &Certificate,
    request: &[u8],
    kind: &str,
    transaction: &str,
) -> Vec<u8> {
    let content =
        pomona_cms::enveloped::encrypt(request, ca, pomona_cms::ContentCipher::Aes256).unwrap();
    let mut message = Message::new(&party.certificate, &content);
    message.attached = Some(content.clone());
    let nonce = DigestAlgorithm::Sha256.digest(transaction.as_bytes());
    message.signer().attributes.as_mut().unwrap().extend([
        attribute(oid::SCEP_MESSAGE_TYPE, &[tlv(0x13, &[kind.as_bytes()])]),
        attribute(
            oid::SCEP_TRANSACTION_ID,
            &[tlv(0x13, &[transaction.as_bytes()])],
        ),
        attribute(oid::SCEP_SENDER_NONCE, &[octets(&nonce[..16])]),
    ]);
    message.encode(&content, &party.key)
}

/// A key with the certificate that a device makes for the moment.
pub fn self_signed() -> Party {
    let key = KeyPair::generate_rsa_2048().unwrap();
    let validity = valid(START - 86_400, START + YEAR);
    let certificate = root_ca(&key, &named("moment"), serial(9), validity).unwrap();
    Party { key, certificate }
}
