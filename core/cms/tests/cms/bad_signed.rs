//! Signed and encrypted messages that must not count, by name, each with the reason it must be refused for.

use std::time::Duration;

use pomona_cms::ber::BerError;
use pomona_cms::enveloped::{ContentCipher, DecryptPolicy, EnvelopedError, decrypt, encrypt};
use pomona_cms::signed::{Blame, Policy, SignedError, verify_attached, verify_detached};
use pomona_cms::{DigestAlgorithm, KeyError, KeyPair, ObjectIdentifier, Signer, oid};

use crate::build::{
    Message, SignerInfo, algorithm, attribute, certificate_with_key, cube_root_forgery, id,
    issuer_and_serial, md5, modulus, octets, rsa_public_key, seq, set, standard_attributes, tlv,
};
use crate::lab::{LAB, Party, fastest, named, self_signed};

const BODY: &[u8] = b"<?xml version=\"1.0\"?><plist/>";

fn good() -> Message {
    Message::new(&LAB.p256.certificate, BODY)
}

fn encode(message: &Message) -> Vec<u8> {
    message.encode(BODY, &LAB.p256.key)
}

/// A good message with one thing changed.
fn with(change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = good();
    change(&mut message);
    encode(&message)
}

fn signer(change: impl FnOnce(&mut SignerInfo)) -> Vec<u8> {
    with(|message| change(message.signer()))
}

fn verify(message: &[u8]) -> Result<(), SignedError> {
    let policy = Policy {
        max_bytes: 4 * 1024 * 1024,
        ..Policy::mdm_signature()
    };
    verify_detached(message, BODY, &policy).map(drop)
}

fn key_id(certificate: &pomona_cms::Certificate) -> Vec<u8> {
    tlv(0x80, &[certificate.subject_key_id().unwrap()])
}

/// A message signed by a certificate with this public key; the signature is worthless.
fn with_public_key(public_key: &[u8], signature: ObjectIdentifier) -> Vec<u8> {
    let subject = named("odd");
    with(|message| {
        message.certificates = Some(vec![certificate_with_key(&subject, public_key, 9)]);
        let signer = message.signer();
        signer.sid = seq(&[subject.der(), &tlv(2, &[&[9]])]);
        signer.signature_algorithm = algorithm(signature);
        signer.signature = Some(vec![1; 256]);
    })
}

/// A signature for exponent 3 whose cube begins like a padded digest and goes on with rubbish.
fn low_exponent_forgery() -> Vec<u8> {
    const DIGEST_INFO: [u8; 19] = [
        0x30, 0x31, 0x30, 0x0D, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20,
    ];
    let digest = DigestAlgorithm::Sha256.digest(&set(&standard_attributes(BODY)));
    let padding = [0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0];
    let prefix = [&padding[..], &DIGEST_INFO, &digest].concat();
    let subject = named("odd");
    with(|message| {
        let key = rsa_public_key(&modulus(256), &[3]);
        message.certificates = Some(vec![certificate_with_key(&subject, &key, 9)]);
        let signer = message.signer();
        signer.sid = seq(&[subject.der(), &tlv(2, &[&[9]])]);
        signer.signature_algorithm = algorithm(oid::RSA_SHA256);
        signer.signature = Some(cube_root_forgery(&prefix));
    })
}

/// Certificates of other holders under the name and serial number of the signer.
fn namesake() -> Party {
    self_signed(KeyPair::generate_p256().unwrap(), "twin", 44)
}

#[test]
fn the_unchanged_message_counts() {
    assert_eq!(verify(&encode(&good())), Ok(()));
    let by_key_id = signer(|signer| {
        signer.version = 3;
        signer.sid = key_id(&LAB.p256.certificate);
    });
    assert_eq!(verify(&by_key_id), Ok(()));
    assert_eq!(verify(&signer(|signer| signer.attributes = None)), Ok(()));
}

#[test]
fn every_named_bad_message_is_refused_for_its_own_reason() {
    let twins = [namesake(), namesake()];
    let other = &LAB.rsa;
    let nested = |depth: usize| {
        let mut bytes = Vec::new();
        for _ in 0..depth {
            bytes = seq(&[&bytes]);
        }
        bytes
    };
    let huge_set = || {
        let members = [5u8, 0].repeat(1_000_000);
        seq(&[&id(oid::SIGNED_DATA), &tlv(0x31, &[&members])])
    };
    let mut zero_ecdsa = vec![0x30, 6];
    zero_ecdsa.extend([2, 1, 0, 2, 1, 0]);
    use SignedError as E;
    let cases: Vec<(&str, Vec<u8>, SignedError)> = vec![
        ("empty", vec![], E::Ber(BerError::Empty)),
        (
            "not base64 decoded",
            b"MIIB".to_vec(),
            E::Ber(BerError::Truncated),
        ),
        (
            "random bytes",
            vec![0x9F, 3, 1, 4, 1, 5],
            E::Ber(BerError::MultiByteTag),
        ),
        (
            "trailing bytes",
            [encode(&good()), vec![0]].concat(),
            E::Ber(BerError::TrailingBytes),
        ),
        (
            "length 2^63",
            vec![0x30, 0x88, 0x80, 0, 0, 0, 0, 0, 0, 0],
            E::Ber(BerError::Truncated),
        ),
        (
            "length 2^32",
            vec![0x30, 0x85, 1, 0, 0, 0, 0],
            E::Ber(BerError::Truncated),
        ),
        (
            "length not shortest",
            vec![0x30, 0x81, 0x02, 5, 0],
            E::Ber(BerError::NonMinimalLength),
        ),
        ("depth 1,000", nested(1_000), E::Ber(BerError::TooDeep)),
        (
            "depth 10,000 without ends",
            [0x30, 0x80].repeat(10_000),
            E::Ber(BerError::TooDeep),
        ),
        (
            "set of a million",
            huge_set(),
            E::Ber(BerError::TooManyMembers),
        ),
        (
            "larger than the limit",
            vec![0x30; 5 << 20],
            E::Ber(BerError::TooLarge),
        ),
        ("no content info", seq(&[]), E::Malformed),
        (
            "wrong content type",
            with(|m| m.outer = oid::ENVELOPED_DATA),
            E::NotSignedData,
        ),
        (
            "unknown content type",
            with(|m| m.outer = oid::RSA),
            E::NotSignedData,
        ),
        ("version 99", with(|m| m.version = 99), E::Version),
        ("signer version 99", signer(|s| s.version = 99), E::Version),
        ("no digest list", with(|m| m.digests.clear()), E::NoDigest),
        (
            "17 digests",
            with(|m| m.digests = vec![algorithm(oid::SHA256); 17]),
            E::TooManyDigests,
        ),
        (
            "1,000 digests",
            with(|m| m.digests = vec![algorithm(oid::SHA256); 1_000]),
            E::Ber(BerError::TooManyMembers),
        ),
        (
            "signer's digest not listed",
            with(|m| m.digests = vec![algorithm(oid::SHA512)]),
            E::DigestNotListed,
        ),
        ("no signers", with(|m| m.signers.clear()), E::NoSigner),
        (
            "two good signers",
            with(|m| m.signers.push(SignerInfo::new(&LAB.p256.certificate, BODY))),
            E::SeveralSigners,
        ),
        (
            "one good and one bad signer",
            with(|m| {
                let mut bad = SignerInfo::new(&LAB.p256.certificate, BODY);
                bad.signature = Some(vec![0; 70]);
                m.signers.push(bad);
            }),
            E::SeveralSigners,
        ),
        (
            "60 signers",
            with(|m| m.signers = vec![m.signers[0].clone(); 60]),
            E::SeveralSigners,
        ),
        (
            "100 signers",
            with(|m| m.signers = vec![m.signers[0].clone(); 100]),
            E::Ber(BerError::TooManyMembers),
        ),
        (
            "no certificates",
            with(|m| m.certificates = None),
            E::NoCertificates,
        ),
        (
            "empty certificate set",
            with(|m| m.certificates = Some(vec![])),
            E::NoCertificates,
        ),
        (
            "11 certificates",
            with(|m| {
                m.certificates = Some(vec![LAB.p256.certificate.der().to_vec(); 11]);
            }),
            E::TooManyCertificates,
        ),
        (
            "2,000 certificates",
            with(|m| {
                m.certificates = Some(vec![LAB.p256.certificate.der().to_vec(); 2_000]);
            }),
            E::Ber(BerError::TooManyElements),
        ),
        (
            "signer absent",
            with(|m| {
                m.certificates = Some(vec![other.certificate.der().to_vec()]);
            }),
            E::SignerNotFound,
        ),
        (
            "certificate is garbage",
            with(|m| m.certificates = Some(vec![seq(&[&octets(b"x")])])),
            E::SignerNotFound,
        ),
        (
            "two certificates with one serial",
            with(|m| {
                m.certificates = Some(
                    twins
                        .iter()
                        .map(|twin| twin.certificate.der().to_vec())
                        .collect(),
                );
                m.signer().sid = issuer_and_serial(&twins[0].certificate);
            }),
            E::AmbiguousSigner,
        ),
        (
            "key id pointing to the wrong one",
            with(|m| {
                m.certificates = Some(vec![
                    LAB.p256.certificate.der().to_vec(),
                    LAB.ca.certificate.der().to_vec(),
                ]);
                m.signer().sid = key_id(&LAB.ca.certificate);
            }),
            E::UnsupportedSignature,
        ),
        (
            "key id of nobody",
            signer(|s| s.sid = tlv(0x80, &[b"nobody"])),
            E::SignerNotFound,
        ),
        (
            "signer named by neither form",
            signer(|s| s.sid = octets(b"me")),
            E::Malformed,
        ),
        (
            "attributes without a digest",
            signer(|s| {
                s.attributes.as_mut().unwrap().pop();
            }),
            E::MessageDigestMissing,
        ),
        (
            "attributes without a content type",
            signer(|s| {
                s.attributes.as_mut().unwrap().remove(0);
            }),
            E::ContentTypeMissing,
        ),
        (
            "empty attributes",
            signer(|s| s.attributes = Some(vec![])),
            E::ContentTypeMissing,
        ),
        (
            "33 attributes",
            signer(|s| {
                let extra = attribute(oid::SIGNING_TIME, &[octets(b"x")]);
                s.attributes.as_mut().unwrap().extend(vec![extra; 31]);
            }),
            E::TooManyAttributes,
        ),
        (
            "attribute that is none",
            signer(|s| s.attributes.as_mut().unwrap().push(seq(&[&octets(b"x")]))),
            E::AttributeMalformed,
        ),
        (
            "digest wrong",
            signer(|s| s.attributes = Some(standard_attributes(b"other"))),
            E::DigestMismatch,
        ),
        (
            "digest twice, second right",
            signer(|s| {
                let right = standard_attributes(BODY).pop().unwrap();
                let mut list = standard_attributes(b"other");
                list.push(right);
                s.attributes = Some(list);
            }),
            E::DuplicateAttribute,
        ),
        (
            "digest with two values",
            signer(|s| {
                let list = s.attributes.as_mut().unwrap();
                list[1] = attribute(oid::MESSAGE_DIGEST, &[octets(&[0; 32]), octets(&[1; 32])]);
            }),
            E::MessageDigestMissing,
        ),
        (
            "digest as integer",
            signer(|s| {
                s.attributes.as_mut().unwrap()[1] =
                    attribute(oid::MESSAGE_DIGEST, &[tlv(2, &[&[1]])]);
            }),
            E::MessageDigestMissing,
        ),
        (
            "content-type attribute differs",
            signer(|s| {
                s.attributes.as_mut().unwrap()[0] =
                    attribute(oid::CONTENT_TYPE, &[id(oid::SIGNED_DATA)]);
            }),
            E::ContentTypeDiffers,
        ),
        (
            "other content type without attributes",
            with(|m| {
                m.content_type = oid::ENVELOPED_DATA;
                m.signer().attributes = None;
            }),
            E::AttributesMissing,
        ),
        (
            "attributes with the wrong tag",
            signer(|s| s.attributes_tag = 0x31),
            E::AttributesTag,
        ),
        (
            "signature empty",
            signer(|s| s.signature = Some(vec![])),
            E::SignatureMismatch,
        ),
        (
            "signature of 1 MiB",
            signer(|s| s.signature = Some(vec![7; 1 << 20])),
            E::SignatureMismatch,
        ),
        (
            "ECDSA zero",
            signer(|s| s.signature = Some(zero_ecdsa.clone())),
            E::SignatureMismatch,
        ),
        (
            "ECDSA zero without attributes",
            signer(|s| {
                s.attributes = None;
                s.signature = Some(zero_ecdsa.clone());
            }),
            E::SignatureMismatch,
        ),
        (
            "attributes put in another order after signing",
            signer(|s| {
                let signed = set(&standard_attributes(BODY));
                s.signature = Some(LAB.p256.key.sign(DigestAlgorithm::Sha256, &signed).unwrap());
                s.attributes.as_mut().unwrap().reverse();
            }),
            E::SignatureMismatch,
        ),
        (
            "MD5",
            with(|m| {
                m.digests = vec![algorithm(md5())];
                m.signer().digest = md5();
            }),
            E::UnsupportedDigest,
        ),
        (
            "MD5 with RSA as signature",
            signer(|s| {
                s.signature_algorithm = algorithm(crate::build::oid_of("1.2.840.113549.1.1.4"));
            }),
            E::UnsupportedSignature,
        ),
        (
            "odd PSS parameters",
            signer(|s| {
                let pss = crate::build::oid_of("1.2.840.113549.1.1.10");
                s.signature_algorithm = seq(&[&id(pss), &seq(&[&tlv(0xA2, &[&[2, 1, 1]])])]);
            }),
            E::UnsupportedSignature,
        ),
        (
            "signature names another digest",
            signer(|s| s.signature_algorithm = algorithm(oid::ECDSA_SHA384)),
            E::UnsupportedSignature,
        ),
        (
            "RSA algorithm with a curve key",
            signer(|s| s.signature_algorithm = algorithm(oid::RSA_SHA256)),
            E::UnsupportedSignature,
        ),
        (
            "unknown key type",
            with_public_key(
                &seq(&[
                    &algorithm(crate::build::oid_of("1.3.101.112")),
                    &tlv(3, &[&[0], &[1; 32]]),
                ]),
                oid::ECDSA_SHA256,
            ),
            E::Key(KeyError::UnknownType),
        ),
        (
            "point off any known curve form",
            with_public_key(
                &seq(&[
                    &seq(&[&id(oid::EC), &id(oid::P256)]),
                    &tlv(3, &[&[0], &[2; 33]]),
                ]),
                oid::ECDSA_SHA256,
            ),
            E::Key(KeyError::Point),
        ),
        (
            "RSA-512 key",
            with_public_key(&rsa_public_key(&modulus(64), &[1, 0, 1]), oid::RSA_SHA256),
            E::Key(KeyError::TooShort),
        ),
        (
            "RSA exponent 1",
            with_public_key(&rsa_public_key(&modulus(256), &[1]), oid::RSA_SHA256),
            E::Key(KeyError::Exponent),
        ),
        (
            "RSA exponent even",
            with_public_key(&rsa_public_key(&modulus(256), &[1, 0, 0]), oid::RSA_SHA256),
            E::Key(KeyError::Exponent),
        ),
        (
            "RSA modulus even",
            with_public_key(&rsa_public_key(&[0xC2; 256], &[1, 0, 1]), oid::RSA_SHA256),
            E::Key(KeyError::EvenModulus),
        ),
        (
            "low-exponent forgery",
            low_exponent_forgery(),
            E::SignatureMismatch,
        ),
        (
            "attached where detached is due",
            with(|m| m.attached = Some(BODY.to_vec())),
            E::ContentAttached,
        ),
        (
            "attached content unlike the body",
            with(|m| m.attached = Some(b"other".to_vec())),
            E::ContentAttached,
        ),
    ];
    assert!(cases.len() >= 50);
    for (name, bytes, reason) in cases {
        assert_eq!(verify(&bytes), Err(reason), "{name}");
    }
}

#[test]
fn unsorted_attributes_count_if_they_were_signed_so() {
    let unsorted = signer(|signer| signer.attributes.as_mut().unwrap().reverse());
    assert_eq!(verify(&unsorted), Ok(()));
}

#[test]
fn odd_but_harmless_parts_are_passed_over() {
    let odd_time = signer(|signer| {
        let list = signer.attributes.as_mut().unwrap();
        list.push(attribute(oid::SIGNING_TIME, &[octets(b"yesterday")]));
    });
    let verified = verify_detached(&odd_time, BODY, &Policy::strict()).unwrap();
    assert_eq!(verified.signing_time, None);
    assert!(verified.attribute(&oid::SIGNING_TIME).is_some());
    let unsigned = signer(|signer| signer.unsigned = tlv(0xA1, &[&[0x30, 0]]));
    assert_eq!(verify(&unsigned), Ok(()));
    let twice = with(|message| {
        message.certificates = Some(vec![LAB.p256.certificate.der().to_vec(); 2]);
    });
    assert_eq!(
        verify(&twice),
        Ok(()),
        "the same certificate twice is no ambiguity"
    );
}

#[test]
fn attributes_cannot_be_passed_off_as_content() {
    let attributes = set(&standard_attributes(BODY));
    let message = with(|message| {
        let signer = message.signer();
        signer.attributes = None;
        signer.signature = Some(
            LAB.p256
                .key
                .sign(DigestAlgorithm::Sha256, &attributes)
                .unwrap(),
        );
    });
    assert_eq!(
        verify_detached(&message, &attributes, &Policy::strict()).map(drop),
        Err(SignedError::AttributesMissing)
    );
}

#[test]
fn empty_bodies_and_missing_contents_are_told_apart() {
    let empty = Message::new(&LAB.p256.certificate, b"").encode(b"", &LAB.p256.key);
    assert_eq!(
        verify_detached(&empty, b"", &Policy::strict()).map(drop),
        Err(SignedError::ContentEmpty)
    );
    assert_eq!(
        verify_attached(&empty, &Policy::strict()).map(drop),
        Err(SignedError::ContentMissing)
    );
}

#[test]
fn blame_separates_unreadable_from_untrusted() {
    assert_eq!(
        SignedError::Ber(BerError::Truncated).blame(),
        Blame::Malformed
    );
    assert_eq!(SignedError::SignerNotFound.blame(), Blame::Malformed);
    assert_eq!(SignedError::DigestMismatch.blame(), Blame::Forbidden);
    assert_eq!(
        SignedError::Key(KeyError::TooShort).blame(),
        Blame::Forbidden
    );
}

#[test]
fn enormous_keys_are_refused_before_any_arithmetic() {
    let message = with_public_key(
        &rsa_public_key(&modulus(2_048), &[1, 0, 1]),
        oid::RSA_SHA256,
    );
    let took = fastest(|| {
        assert_eq!(verify(&message), Err(SignedError::Key(KeyError::TooLong)));
    });
    assert!(took < Duration::from_millis(50), "{took:?}");
}

#[test]
fn every_truncation_and_every_flipped_byte_is_refused_without_a_panic() {
    let message = encode(&good());
    for cut in 0..message.len() {
        assert!(verify(&message[..cut]).is_err(), "cut at {cut}");
    }
    let mut counted = 0;
    for at in 0..message.len() {
        for flip in [0x01, 0x20, 0x80, 0xFF] {
            let mut other = message.clone();
            other[at] ^= flip;
            counted += usize::from(verify(&other).is_ok());
        }
    }
    // The extension flags and names inside the certificate's own signature are not looked at by possession checks, so some
    // flips there leave the message valid. Flips outside of the certificate never do.
    assert!(counted < message.len() * 4 / 2, "{counted} flips counted");
    let certificate = LAB.p256.certificate.der();
    let start = message
        .windows(certificate.len())
        .position(|window| window == certificate)
        .unwrap();
    for at in (0..start).chain(start + certificate.len()..message.len()) {
        let mut other = message.clone();
        other[at] ^= 0xFF;
        assert!(verify(&other).is_err(), "flip at {at}");
    }
}

fn open(message: &[u8]) -> Result<Vec<u8>, EnvelopedError> {
    let policy = DecryptPolicy {
        allow_triple_des: true,
        ..DecryptPolicy::strict()
    };
    decrypt(message, &LAB.rsa.certificate, &LAB.rsa.key, &policy).map(|plain| plain.to_vec())
}

/// Where the RSA-encrypted session key starts in a message for the lab's RSA holder.
fn wrapped_key_at(message: &[u8]) -> usize {
    let marker = [0x04, 0x82, 0x01, 0x00];
    message
        .windows(4)
        .position(|window| window == marker)
        .unwrap()
        + 4
}

#[test]
fn everything_wrong_behind_the_recipient_looks_the_same() {
    let good = encrypt(BODY, &LAB.rsa.certificate, ContentCipher::Aes256).unwrap();
    assert_eq!(open(&good).as_deref(), Ok(BODY));
    let at = wrapped_key_at(&good);
    let mut opened = 0;
    for round in 0..1_000usize {
        let mut bad = good.clone();
        bad[at + round % 256] ^= (round / 256 + 1) as u8;
        match open(&bad) {
            Err(error) => assert_eq!(error, EnvelopedError::Undecryptable, "{round}"),
            Ok(plain) => {
                assert_ne!(plain, BODY);
                opened += 1;
            }
        }
    }
    // The random session key leaves a well-formed padding once in about 256 times, whatever was wrong.
    assert!(opened < 30, "{opened} of 1,000 came out as rubbish");
    let mut padding = good.clone();
    let last = padding.len() - 1;
    padding[last] ^= 1;
    // One damaged ciphertext in 256 or fewer keeps a well-formed padding; then the plaintext differs.
    assert_ne!(open(&padding).as_deref(), Ok(BODY));
    for cut in 0..good.len() {
        assert!(open(&good[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn every_named_bad_envelope_is_refused() {
    let envelope = |change: fn(&mut Vec<Vec<u8>>)| {
        let recipient = seq(&[
            &[2, 1, 0],
            &issuer_and_serial(&LAB.rsa.certificate),
            &algorithm(oid::RSA),
            &octets(&[9; 256]),
        ]);
        let mut parts = vec![
            vec![2, 1, 0],
            set(&[recipient]),
            content(oid::AES256_CBC, &[0; 16], &[0; 32]),
        ];
        change(&mut parts);
        let body = seq(&[&parts.concat()]);
        seq(&[&id(oid::ENVELOPED_DATA), &tlv(0xA0, &[&body])])
    };
    fn content(cipher: ObjectIdentifier, iv: &[u8], body: &[u8]) -> Vec<u8> {
        seq(&[
            &id(oid::DATA),
            &seq(&[&id(cipher), &octets(iv)]),
            &tlv(0x80, &[body]),
        ])
    }
    use EnvelopedError as E;
    type Change = fn(&mut Vec<Vec<u8>>);
    let cases: [(&str, Change, EnvelopedError); 9] = [
        ("worthless session key", |_| {}, E::Undecryptable),
        (
            "ciphertext not whole blocks",
            |p| p[2] = content(oid::AES256_CBC, &[0; 16], &[0; 33]),
            E::Undecryptable,
        ),
        (
            "ciphertext empty",
            |p| p[2] = content(oid::AES256_CBC, &[0; 16], &[]),
            E::Undecryptable,
        ),
        (
            "triple DES with a worthless key",
            |p| p[2] = content(oid::DES_EDE3_CBC, &[0; 8], &[0; 32]),
            E::Undecryptable,
        ),
        (
            "short initial vector",
            |p| p[2] = content(oid::AES256_CBC, &[0; 15], &[0; 32]),
            E::Malformed,
        ),
        (
            "DES",
            |p| p[2] = content(crate::build::oid_of("1.3.14.3.2.7"), &[0; 8], &[0; 32]),
            E::UnsupportedCipher,
        ),
        (
            "RC2",
            |p| {
                p[2] = content(
                    crate::build::oid_of("1.2.840.113549.3.2"),
                    &[0; 8],
                    &[0; 32],
                )
            },
            E::UnsupportedCipher,
        ),
        ("no recipients", |p| p[1] = set(&[]), E::Malformed),
        ("version 99", |p| p[0] = vec![2, 1, 99], E::Malformed),
    ];
    for (name, change, reason) in cases {
        assert_eq!(open(&envelope(change)), Err(reason), "{name}");
    }
    assert_eq!(open(&encode(&good())), Err(E::NotEnvelopedData));
    let curve = decrypt(
        &encrypt(BODY, &LAB.rsa.certificate, ContentCipher::Aes128).unwrap(),
        &LAB.rsa.certificate,
        &LAB.p256.key,
        &DecryptPolicy::strict(),
    );
    assert_eq!(
        curve.map(drop),
        Err(E::Undecryptable),
        "a key that cannot decrypt"
    );
}
