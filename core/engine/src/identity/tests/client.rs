//! A SCEP client of few lines, that can also make the mistakes that real ones make.

use std::sync::OnceLock;

use pomona_cms::enveloped::{self, ContentCipher, DecryptPolicy};
use pomona_cms::sign::{Attribute, SignRequest, sign_attached};
use pomona_cms::signed::{Policy, verify_attached};
use pomona_cms::x509::{self, Serial, Validity};
use pomona_cms::{Certificate, DigestAlgorithm, KeyPair, Name, Signer, oid};

use super::{SECOND, START};
use crate::ids::GrantId;

/// One element: a tag and what is in it.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![tag];
    match body.len() {
        length @ 0..128 => out.push(length as u8),
        length @ 128..256 => out.extend([0x81, length as u8]),
        length => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(body);
    out
}

pub(super) fn object(id: &pomona_cms::ObjectIdentifier) -> Vec<u8> {
    tlv(6, &[id.as_bytes()])
}

/// A device with its key and the certificate that it made for itself.
#[derive(Clone, Copy)]
pub(super) struct Device {
    pub(super) key: &'static KeyPair,
    pub(super) certificate: &'static Certificate,
}

/// Devices that differ; making a key takes long, so they are made once.
pub(super) fn device(n: usize) -> Device {
    static DEVICES: [OnceLock<(KeyPair, Certificate)>; 4] = [const { OnceLock::new() }; 4];
    let (key, certificate) = DEVICES[n].get_or_init(|| {
        let key = KeyPair::generate_rsa_2048().unwrap();
        let certificate = self_signed(&key, 365);
        (key, certificate)
    });
    Device { key, certificate }
}

pub(super) fn self_signed(key: &KeyPair, days: i64) -> Certificate {
    let name = Name::builder()
        .common_name("made for the moment")
        .build()
        .unwrap();
    let validity = Validity {
        not_before: START / SECOND - 86_400,
        not_after: START / SECOND + (days - 1) * 86_400,
    };
    x509::root_ca(key, &name, Serial::from_random([9; 16]), validity).unwrap()
}

/// A certificate request.
pub(super) struct Request {
    pub(super) subject: Name,
    pub(super) attributes: Vec<Vec<u8>>,
}

impl Request {
    pub(super) fn named(name: &str) -> Self {
        let builder = Name::builder();
        let builder = match name {
            "" => builder,
            name => builder.common_name(name),
        };
        Self {
            subject: builder.build().unwrap(),
            attributes: Vec::new(),
        }
    }

    pub(super) fn of(grant: GrantId) -> Self {
        Self::named(&grant.to_string())
    }

    pub(super) fn challenge(self, text: &str) -> Self {
        self.challenge_as(0x0c, text)
    }

    pub(super) fn challenge_as(mut self, tag: u8, text: &str) -> Self {
        let value = tlv(0x31, &[&tlv(tag, &[text.as_bytes()])]);
        self.attributes
            .push(tlv(0x30, &[&object(&oid::CHALLENGE_PASSWORD), &value]));
        self
    }

    /// Asks for extensions, each an identifier, whether it is critical, and a value.
    pub(super) fn extensions(
        mut self,
        list: &[(pomona_cms::ObjectIdentifier, bool, Vec<u8>)],
    ) -> Self {
        let members: Vec<Vec<u8>> = list
            .iter()
            .map(|(id, critical, value)| {
                let critical: &[u8] = if *critical { &[1, 1, 0xff] } else { &[] };
                tlv(0x30, &[&object(id), critical, &tlv(4, &[value])])
            })
            .collect();
        let value = tlv(0x31, &[&tlv(0x30, &[&members.concat()])]);
        self.attributes
            .push(tlv(0x30, &[&object(&oid::EXTENSION_REQUEST), &value]));
        self
    }

    pub(super) fn sign(&self, key: &dyn Signer) -> Vec<u8> {
        let mut attributes = self.attributes.clone();
        attributes.sort();
        let body = tlv(
            0x30,
            &[
                &[2, 1, 0],
                self.subject.der(),
                key.public_key_der(),
                &tlv(0xa0, &[&attributes.concat()]),
            ],
        );
        let signature = key.sign(DigestAlgorithm::Sha256, &body).unwrap();
        let algorithm = match key.key_kind() {
            pomona_cms::KeyKind::Rsa { .. } => tlv(0x30, &[&object(&oid::RSA_SHA256), &[5, 0]]),
            _ => tlv(0x30, &[&object(&oid::ECDSA_SHA256)]),
        };
        tlv(0x30, &[&body, &algorithm, &tlv(3, &[&[0], &signature])])
    }
}

/// What goes around a request.
pub(super) struct Envelope<'a> {
    pub(super) ca: &'a Certificate,
    pub(super) signer: Device,
    pub(super) kind: &'a str,
    pub(super) transaction: &'a str,
    pub(super) nonce: [u8; 16],
}

impl<'a> Envelope<'a> {
    pub(super) fn new(ca: &'a Certificate, signer: Device, transaction: &'a str) -> Self {
        let mut nonce = [0u8; 16];
        aws_lc_rs::rand::fill(&mut nonce).unwrap();
        Self {
            ca,
            signer,
            kind: "19",
            transaction,
            nonce,
        }
    }

    pub(super) fn attributes(&self) -> Vec<Attribute> {
        let text = |id, text: &str| Attribute {
            id,
            value: tlv(0x13, &[text.as_bytes()]),
        };
        vec![
            text(oid::SCEP_MESSAGE_TYPE, self.kind),
            text(oid::SCEP_TRANSACTION_ID, self.transaction),
            Attribute {
                id: oid::SCEP_SENDER_NONCE,
                value: tlv(4, &[&self.nonce]),
            },
        ]
    }

    pub(super) fn seal(&self, request: &[u8]) -> Vec<u8> {
        let content = enveloped::encrypt(request, self.ca, ContentCipher::Aes256).unwrap();
        self.sign(&content, &self.attributes())
    }

    pub(super) fn sign(&self, content: &[u8], attributes: &[Attribute]) -> Vec<u8> {
        let request = SignRequest {
            attributes,
            ..SignRequest::new(self.signer.key, self.signer.certificate)
        };
        sign_attached(content, &request).unwrap()
    }
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Issued(Vec<u8>),
    Refused(String),
}

impl Outcome {
    pub(super) fn certificate(self) -> Certificate {
        match self {
            Self::Issued(der) => Certificate::from_der(&der).unwrap(),
            Self::Refused(why) => panic!("refused: {why}"),
        }
    }
}

/// Reads an answer as the device that asked, and checks what every answer has to hold.
pub(super) fn open(answer: &[u8], asked: &Envelope<'_>) -> Outcome {
    let verified = verify_attached(answer, &Policy::strict()).unwrap();
    assert_eq!(verified.signer_certificate_der, asked.ca.der());
    let text = |id| {
        verified
            .attribute(id)
            .map(|value| String::from_utf8(value[2..].to_vec()).unwrap())
    };
    assert_eq!(text(&oid::SCEP_MESSAGE_TYPE).as_deref(), Some("3"));
    assert_eq!(
        text(&oid::SCEP_TRANSACTION_ID).as_deref(),
        Some(asked.transaction)
    );
    assert_eq!(
        verified.attribute(&oid::SCEP_RECIPIENT_NONCE).unwrap()[2..],
        asked.nonce
    );
    match text(&oid::SCEP_PKI_STATUS).unwrap().as_str() {
        "0" => {
            let content = verified.content.unwrap();
            let plain = enveloped::decrypt(
                &content,
                asked.signer.certificate,
                asked.signer.key,
                &DecryptPolicy::strict(),
            )
            .unwrap();
            let der = <cms::content_info::ContentInfo as der::Decode>::from_der(&plain)
                .unwrap()
                .content
                .decode_as::<cms::signed_data::SignedData>()
                .unwrap()
                .certificates
                .unwrap()
                .0
                .iter()
                .map(|choice| match choice {
                    cms::cert::CertificateChoices::Certificate(one) => {
                        der::Encode::to_der(one).unwrap()
                    }
                    cms::cert::CertificateChoices::Other(_) => panic!("no certificate"),
                })
                .next()
                .unwrap();
            Outcome::Issued(der)
        }
        "2" => Outcome::Refused(text(&oid::SCEP_FAIL_INFO).unwrap()),
        other => panic!("status {other}"),
    }
}
