//! CMS as devices write and read it: signatures over messages, envelopes for SCEP.
//!
//! Owns the building of SignedData (DER, and the streaming BER form that Apple's encoder
//! emits) and the reading of what a server sends back; `envelope` has the envelopes. Never decides about
//! trust: a device trusts its enrollment. Source: RFC 5652; RFC 8894 for the use in SCEP.

mod envelope;

use std::sync::Arc;

use aws_lc_rs::signature;
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerInfo};
use der::asn1::OctetString;
use der::{Decode, Encode};
use x509_cert::Certificate;

pub(crate) use envelope::{Cipher, envelope, open_envelope};

use crate::asn1::{self, tag};
use crate::keys::{DeviceKey, Digest, KeyError};

const DATA: &str = "1.2.840.113549.1.7.1";
const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
const SIGNING_TIME: &str = "1.2.840.113549.1.9.5";
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";

/// A CMS message that could not be made or understood.
#[derive(Debug, thiserror::Error)]
pub enum CmsError {
    /// The server's bytes are no such structure.
    #[error("the server sent a malformed {0}")]
    Malformed(&'static str),
    /// The server's signature does not fit its content or its certificate.
    #[error("the server's signature does not verify: {0}")]
    Signature(&'static str),
    /// The server used an algorithm that a device does not know.
    #[error("the server used the unknown algorithm {0}")]
    Algorithm(String),
    /// The crypto library refused.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A certificate with its private key: who a device is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The private key.
    pub key: Arc<DeviceKey>,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    issuer_and_serial: Vec<u8>,
}

impl Identity {
    /// Joins a certificate and its key.
    ///
    /// # Errors
    /// [`CmsError::Malformed`] when the bytes are no certificate.
    pub fn new(key: Arc<DeviceKey>, certificate: Vec<u8>) -> Result<Self, CmsError> {
        let issuer_and_serial = issuer_and_serial(&certificate)?;
        Ok(Self {
            key,
            certificate,
            issuer_and_serial,
        })
    }
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SignatureStyle {
    /// The hash.
    pub digest: Digest,
    /// With signed attributes (content type, digest, time), or straight over the content.
    pub attributes: bool,
    /// In the streaming form with indefinite lengths.
    pub indefinite: bool,
}

impl SignatureStyle {
    /// What current systems send: SHA-256 with signed attributes, DER.
    pub const CURRENT: Self = Self {
        digest: Digest::Sha256,
        attributes: true,
        indefinite: false,
    };
    /// What older systems send: SHA-1 over the content itself.
    pub const OLDER: Self = Self {
        digest: Digest::Sha1,
        attributes: false,
        indefinite: false,
    };
    /// The current signature in the streaming form.
    pub const STREAMED: Self = Self {
        digest: Digest::Sha256,
        attributes: true,
        indefinite: true,
    };
}

/// A detached signature over `body`: the value of `Mdm-Signature` before base64.
///
/// # Errors
/// [`CmsError::Key`] when the crypto library refuses.
pub fn detached_signature(
    identity: &Identity,
    style: SignatureStyle,
    body: &[u8],
) -> Result<Vec<u8>, CmsError> {
    signed_data(identity, style, body, false, Vec::new())
}

/// SignedData with the content inside and further signed attributes (SCEP).
pub(crate) fn attached_signature(
    identity: &Identity,
    style: SignatureStyle,
    content: &[u8],
    attributes: Vec<Vec<u8>>,
) -> Result<Vec<u8>, CmsError> {
    signed_data(identity, style, content, true, attributes)
}

/// One signed attribute with one value.
pub(crate) fn attribute(oid: &str, value: &[u8]) -> Vec<u8> {
    asn1::seq(&[&asn1::oid(oid), &asn1::tlv(tag::SET, value)])
}

fn signed_data(
    identity: &Identity,
    style: SignatureStyle,
    content: &[u8],
    attach: bool,
    mut attributes: Vec<Vec<u8>>,
) -> Result<Vec<u8>, CmsError> {
    let wrap = if style.indefinite {
        asn1::indefinite
    } else {
        asn1::tlv
    };
    let digest_algorithm = asn1::algorithm(style.digest.oid());
    let (implicit_attributes, signature) = if style.attributes {
        attributes.push(attribute(CONTENT_TYPE, &asn1::oid(DATA)));
        let time = asn1::utc_time(crate::clock::unix_seconds());
        attributes.push(attribute(SIGNING_TIME, &time));
        let digest = asn1::tlv(tag::OCTET_STRING, &style.digest.of(content));
        attributes.push(attribute(MESSAGE_DIGEST, &digest));
        let set = asn1::set_of(attributes);
        let signature = identity.key.sign(style.digest, &set)?;
        let mut implicit = set;
        if let Some(first) = implicit.first_mut() {
            *first = tag::CONTEXT_0;
        }
        (implicit, signature)
    } else {
        (Vec::new(), identity.key.sign(style.digest, content)?)
    };
    let signer = asn1::seq(&[
        &asn1::unsigned(&[1]),
        &identity.issuer_and_serial,
        &digest_algorithm,
        &implicit_attributes,
        &asn1::algorithm(RSA_ENCRYPTION),
        &asn1::tlv(tag::OCTET_STRING, &signature),
    ]);
    let mut encapsulated = asn1::oid(DATA);
    if attach {
        let octets = if style.indefinite {
            asn1::indefinite(0x24, &chunks(content))
        } else {
            asn1::tlv(tag::OCTET_STRING, content)
        };
        encapsulated.extend(wrap(tag::CONTEXT_0, &octets));
    }
    let signed = [
        asn1::unsigned(&[1]),
        asn1::tlv(tag::SET, &digest_algorithm),
        wrap(tag::SEQUENCE, &encapsulated),
        wrap(tag::CONTEXT_0, &identity.certificate),
        asn1::tlv(tag::SET, &signer),
    ]
    .concat();
    let content = wrap(tag::CONTEXT_0, &wrap(tag::SEQUENCE, &signed));
    let info = [asn1::oid(SIGNED_DATA), content].concat();
    Ok(wrap(tag::SEQUENCE, &info))
}

/// Octets cut into pieces, as a streaming encoder does.
fn chunks(content: &[u8]) -> Vec<u8> {
    content
        .chunks(1024)
        .flat_map(|piece| asn1::tlv(tag::OCTET_STRING, piece))
        .collect()
}

/// A SignedData message taken apart.
pub(crate) struct Signed {
    signed: SignedData,
    /// The content inside, empty when there is none.
    pub(crate) content: Vec<u8>,
}

impl Signed {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, CmsError> {
        let malformed = |_| CmsError::Malformed("signed message");
        let info = ContentInfo::from_der(der).map_err(malformed)?;
        let signed: SignedData = info.content.decode_as().map_err(malformed)?;
        let content = match &signed.encap_content_info.econtent {
            Some(any) => any
                .decode_as::<OctetString>()
                .map_err(malformed)?
                .into_bytes()
                .to_vec(),
            None => Vec::new(),
        };
        Ok(Self { signed, content })
    }

    /// The certificates inside, DER.
    pub(crate) fn certificates(&self) -> Vec<Vec<u8>> {
        let set = self.signed.certificates.as_ref();
        set.map_or_else(Vec::new, |set| {
            let certificates = set.0.iter().filter_map(|choice| match choice {
                CertificateChoices::Certificate(certificate) => certificate.to_der().ok(),
                CertificateChoices::Other(_) => None,
            });
            certificates.collect()
        })
    }

    /// A signed attribute's value: the content of its one element.
    pub(crate) fn attribute(&self, oid: &str) -> Option<Vec<u8>> {
        let attributes = self.signer().ok()?.signed_attrs.as_ref()?;
        let attribute = attributes.iter().find(|a| a.oid.to_string() == oid)?;
        attribute
            .values
            .iter()
            .next()
            .map(|any| any.value().to_vec())
    }

    /// Checks the signature with the key of a certificate that the device has from GetCACert.
    pub(crate) fn verify(&self, certificate: &[u8]) -> Result<(), CmsError> {
        let signer = self.signer()?;
        let digest = match signer.digest_alg.oid.to_string().as_str() {
            oid if oid == Digest::Sha1.oid() => Digest::Sha1,
            oid if oid == Digest::Sha256.oid() => Digest::Sha256,
            other => return Err(CmsError::Algorithm(other.to_owned())),
        };
        let message = match &signer.signed_attrs {
            Some(attributes) => {
                if self.attribute(MESSAGE_DIGEST) != Some(digest.of(&self.content)) {
                    return Err(CmsError::Signature("the digest is of other content"));
                }
                attributes
                    .to_der()
                    .map_err(|_| CmsError::Malformed("signed attributes"))?
            }
            None => self.content.clone(),
        };
        let algorithm = match digest {
            Digest::Sha1 => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Digest::Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        };
        let certificate = parse_certificate(certificate)?;
        let spki = certificate.tbs_certificate().subject_public_key_info();
        signature::UnparsedPublicKey::new(algorithm, spki.subject_public_key.raw_bytes())
            .verify(&message, signer.signature.as_bytes())
            .map_err(|_| CmsError::Signature("wrong key or changed content"))
    }

    fn signer(&self) -> Result<&SignerInfo, CmsError> {
        let signer = self.signed.signer_infos.0.iter().next();
        signer.ok_or(CmsError::Malformed("signed message (no signer)"))
    }
}

pub(crate) fn parse_certificate(der: &[u8]) -> Result<Certificate, CmsError> {
    Certificate::from_der(der).map_err(|_| CmsError::Malformed("certificate"))
}

fn issuer_and_serial(certificate: &[u8]) -> Result<Vec<u8>, CmsError> {
    let malformed = |_| CmsError::Malformed("certificate");
    let certificate = parse_certificate(certificate)?;
    let tbs = certificate.tbs_certificate();
    let issuer = tbs.issuer().to_der().map_err(malformed)?;
    let serial = tbs.serial_number().to_der().map_err(malformed)?;
    Ok(asn1::seq(&[&issuer, &serial]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scep::self_signed;

    pub(super) fn identity(index: usize) -> Identity {
        let key = crate::fake::test_key(index);
        let name = asn1::seq(&[]);
        let certificate = self_signed(&key, &name).unwrap();
        Identity::new(key, certificate).unwrap()
    }

    #[test]
    fn signed_messages_verify_and_give_their_content_back() {
        let me = identity(0);
        let extra = attribute("2.16.840.1.113733.1.9.2", &asn1::text("19"));
        let style = SignatureStyle::CURRENT;
        let message = attached_signature(&me, style, b"content", vec![extra]).unwrap();
        let signed = Signed::parse(&message).unwrap();
        assert_eq!(signed.content, b"content");
        assert_eq!(signed.certificates(), std::slice::from_ref(&me.certificate));
        let kind = signed.attribute("2.16.840.1.113733.1.9.2");
        assert_eq!(kind.as_deref(), Some(&b"19"[..]));
        signed.verify(&me.certificate).unwrap();
        assert!(signed.verify(&identity(1).certificate).is_err());
    }

    /// Definite lengths for indefinite ones; constructed octet strings joined.
    fn definite(ber: &[u8]) -> (Vec<u8>, &[u8]) {
        let (tag, first, mut rest) = (ber[0], ber[1], &ber[2..]);
        if first != 0x80 {
            let long = usize::from(first & 0x7f) * usize::from(first >> 7);
            let len = match long {
                0 => usize::from(first),
                _ => rest[..long]
                    .iter()
                    .fold(0, |len, byte| len << 8 | usize::from(*byte)),
            };
            let (head, tail) = ber.split_at(2 + long + len);
            return (head.to_vec(), tail);
        }
        let mut inner = Vec::new();
        while rest[..2] != [0, 0] {
            let (element, tail) = definite(rest);
            if tag == 0x24 {
                let octets = OctetString::from_der(&element).unwrap();
                inner.extend_from_slice(octets.as_bytes());
            } else {
                inner.extend_from_slice(&element);
            }
            rest = tail;
        }
        let tag = if tag == 0x24 { tag::OCTET_STRING } else { tag };
        (asn1::tlv(tag, &inner), &rest[2..])
    }

    #[test]
    fn a_streamed_message_is_the_same_message_with_indefinite_lengths() {
        let me = identity(0);
        let content = [7; 3_000];
        let streamed = signed_data(&me, SignatureStyle::STREAMED, &content, true, vec![]).unwrap();
        assert_eq!(streamed.get(..2), Some(&[0x30, 0x80][..]));
        let (der, rest) = definite(&streamed);
        assert!(rest.is_empty());
        let signed = Signed::parse(&der).unwrap();
        assert_eq!(signed.content, content);
        signed.verify(&me.certificate).unwrap();
    }
}
