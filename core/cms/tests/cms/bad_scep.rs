//! SCEP messages that must not lead to a certificate, by name, each with the answer it must get.

use std::time::Duration;

use pomona_cms::enveloped::{ContentCipher, encrypt};
use pomona_cms::scep::{
    FailInfo, MessageType, ScepPolicy, open_request, parse_pki_message, reply_failure,
    signer_matches_request,
};
use pomona_cms::signed::{Policy, verify_attached};
use pomona_cms::{DigestAlgorithm, KeyPair, Signer, oid};

use crate::build::{
    Message, algorithm, attribute, certificate_with_key, challenge, extension_request, id, md5,
    modulus, octets, oid_of, printable, request, rsa_public_key, seq, set, tlv,
};
use crate::lab::{LAB, Party, fastest, named};

pub(crate) const NONCE: [u8; 16] = *b"sixteen bytes ok";
pub(crate) const TRANSACTION: &str = "ABCDEF-0123";

/// Changes something good in place.
type Change<'a, T> = dyn Fn(&mut T) + 'a;

/// A SCEP client: a good message unless told otherwise.
pub(crate) struct Client<'a> {
    pub(crate) party: &'a Party,
    pub(crate) message_type: String,
    pub(crate) cipher: ContentCipher,
    pub(crate) digest: DigestAlgorithm,
    /// What is encrypted; none for a request of the party's key with the password "secret".
    pub(crate) plain: Option<Vec<u8>>,
    /// The content; none for `plain`, encrypted.
    pub(crate) content: Option<Vec<u8>>,
    /// Changes the list of attributes.
    pub(crate) attributes: Box<Change<'a, Vec<Vec<u8>>>>,
    /// Changes the message before it is encoded.
    pub(crate) message: Box<Change<'a, Message>>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(party: &'a Party) -> Self {
        Self {
            party,
            message_type: "19".into(),
            cipher: ContentCipher::Aes256,
            digest: DigestAlgorithm::Sha256,
            plain: None,
            content: None,
            attributes: Box::new(|_| {}),
            message: Box::new(|_| {}),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let content = self.content.clone().unwrap_or_else(|| {
            let plain = self.plain.clone().unwrap_or_else(|| {
                request(&named("device"), &self.party.key, &[challenge("secret")])
            });
            encrypt(&plain, &LAB.ca.certificate, self.cipher).unwrap()
        });
        let mut list = vec![
            attribute(oid::CONTENT_TYPE, &[id(oid::DATA)]),
            attribute(
                oid::MESSAGE_DIGEST,
                &[octets(&self.digest.digest(&content))],
            ),
            attribute(oid::SCEP_MESSAGE_TYPE, &[printable(&self.message_type)]),
            attribute(oid::SCEP_TRANSACTION_ID, &[printable(TRANSACTION)]),
            attribute(oid::SCEP_SENDER_NONCE, &[octets(&NONCE)]),
        ];
        (self.attributes)(&mut list);
        let mut message = Message::new(&self.party.certificate, &content);
        message.attached = Some(content.clone());
        message.digests = vec![algorithm(self.digest.oid())];
        let signed = set(&list);
        let signer = message.signer();
        signer.digest = self.digest.oid();
        if self.digest != DigestAlgorithm::Sha256 {
            signer.signature_algorithm = algorithm(oid::RSA);
            signer.signature = Some(self.party.key.sign(self.digest, &signed).unwrap());
        }
        signer.attributes = Some(list);
        (self.message)(&mut message);
        message.encode(&content, &self.party.key)
    }
}

/// What the codec makes of a message: nothing to answer, an answer with a failure, or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Plain(&'static str),
    Failure(FailInfo, &'static str),
    Request,
}

fn outcome(bytes: &[u8], policy: &ScepPolicy) -> Outcome {
    let message = match parse_pki_message(bytes, policy) {
        Ok(message) => message,
        Err(error) => {
            return match error.fail_info() {
                Some(info) => Outcome::Failure(info, error.code()),
                None => Outcome::Plain(error.code()),
            };
        }
    };
    match open_request(&message, &LAB.ca.certificate, &LAB.ca.key, policy) {
        Ok(_) => Outcome::Request,
        Err(error) => Outcome::Failure(error.fail_info(), error.code()),
    }
}

fn client(change: impl FnOnce(&mut Client<'static>)) -> Vec<u8> {
    let mut client = Client::new(&LAB.own);
    change(&mut client);
    client.encode()
}

fn attributes(change: impl Fn(&mut Vec<Vec<u8>>) + 'static) -> Vec<u8> {
    client(|client| client.attributes = Box::new(change))
}

fn message(change: impl Fn(&mut Message) + 'static) -> Vec<u8> {
    client(|client| client.message = Box::new(change))
}

/// A message whose signer has this public key; its signature is worthless.
fn with_public_key(public_key: Vec<u8>) -> Vec<u8> {
    let subject = named("odd");
    message(move |message| {
        message.certificates = Some(vec![certificate_with_key(&subject, &public_key, 9)]);
        let signer = message.signer();
        signer.sid = seq(&[subject.der(), &tlv(2, &[&[9]])]);
        signer.signature = Some(vec![1; 256]);
    })
}

fn plain(bytes: Vec<u8>) -> Vec<u8> {
    client(|client| client.plain = Some(bytes))
}

fn own_request(attributes: &[Vec<u8>]) -> Vec<u8> {
    request(&named("device"), &LAB.own.key, attributes)
}

fn password(value: Vec<u8>) -> Vec<u8> {
    plain(own_request(&[attribute(oid::CHALLENGE_PASSWORD, &[value])]))
}

const MESSAGE_TYPE: usize = 2;
const TRANSACTION_ID: usize = 3;
const SENDER_NONCE: usize = 4;

#[test]
fn every_named_bad_message_gets_its_answer() {
    use FailInfo::{BadAlg, BadMessageCheck, BadRequest};
    use Outcome::{Failure, Plain, Request};
    let explicit_curve = seq(&[
        &seq(&[&id(oid::EC), &seq(&[&[2, 1, 1]])]),
        &tlv(3, &[&[0], &[4; 65]]),
    ]);
    let weak = rsa_public_key(&modulus(64), &[1, 0, 1]);
    let mut unsigned = own_request(&[challenge("secret")]);
    let last = unsigned.len() - 1;
    unsigned[last] ^= 1;
    let cases: Vec<(&str, Vec<u8>, Outcome)> = vec![
        ("good", client(|_| {}), Request),
        ("empty POST", vec![], Plain("ber_empty")),
        (
            "random bytes",
            b"\x17\x2a\x99 not asn.1".to_vec(),
            Plain("ber_truncated"),
        ),
        (
            "length field 2^32",
            vec![0x30, 0x85, 1, 0, 0, 0, 0],
            Plain("ber_truncated"),
        ),
        (
            "1,000 nested sequences",
            [0x30, 0x80].repeat(1_000),
            Plain("ber_too_deep"),
        ),
        (
            "no signer",
            message(|m| m.signers.clear()),
            Plain("cms_no_signer"),
        ),
        (
            "two signers",
            message(|m| m.signers.push(m.signers[0].clone())),
            Plain("cms_several_signers"),
        ),
        (
            "signer certificate absent",
            message(|m| m.certificates = None),
            Plain("cms_no_certificates"),
        ),
        (
            "signer is somebody else",
            message(|m| m.certificates = Some(vec![LAB.rsa.certificate.der().to_vec()])),
            Plain("cms_signer_not_found"),
        ),
        (
            "no attributes",
            message(|m| m.signer().attributes = None),
            Plain("scep_no_transaction_id"),
        ),
        (
            "not a signed message",
            client(|c| c.message = Box::new(|m| m.outer = oid::ENVELOPED_DATA)),
            Plain("cms_not_signed_data"),
        ),
        (
            "transaction id missing",
            attributes(|l| drop(l.remove(TRANSACTION_ID))),
            Plain("scep_no_transaction_id"),
        ),
        (
            "transaction id empty",
            attributes(|l| {
                l[TRANSACTION_ID] = attribute(oid::SCEP_TRANSACTION_ID, &[printable("")])
            }),
            Plain("scep_no_transaction_id"),
        ),
        (
            "transaction id twice",
            attributes(|l| l.push(l[TRANSACTION_ID].clone())),
            Plain("scep_no_transaction_id"),
        ),
        (
            "transaction id as integer",
            attributes(|l| {
                l[TRANSACTION_ID] = attribute(oid::SCEP_TRANSACTION_ID, &[tlv(2, &[&[1]])])
            }),
            Plain("scep_no_transaction_id"),
        ),
        (
            "transaction id with NUL",
            attributes(|l| {
                l[TRANSACTION_ID] = attribute(oid::SCEP_TRANSACTION_ID, &[printable("a\0b")])
            }),
            Plain("scep_no_transaction_id"),
        ),
        (
            "transaction id of 257 bytes",
            attributes(|l| {
                l[TRANSACTION_ID] =
                    attribute(oid::SCEP_TRANSACTION_ID, &[printable(&"x".repeat(257))])
            }),
            Plain("scep_too_large"),
        ),
        (
            "transaction id of 1 MiB",
            attributes(|l| {
                l[TRANSACTION_ID] =
                    attribute(oid::SCEP_TRANSACTION_ID, &[printable(&"x".repeat(1 << 20))])
            }),
            Plain("scep_too_large"),
        ),
        (
            "trailing bytes",
            [client(|_| {}), vec![0]].concat(),
            Plain("ber_trailing_bytes"),
        ),
        // badMessageCheck
        (
            "digest mismatch",
            message(|m| m.attached = Some(b"other".to_vec())),
            Failure(BadMessageCheck, "cms_digest_mismatch"),
        ),
        (
            "corrupt signature",
            message(|m| m.signer().signature = Some(vec![7; 256])),
            Failure(BadMessageCheck, "cms_signature_mismatch"),
        ),
        (
            "two messageType attributes",
            attributes(|l| l.push(l[MESSAGE_TYPE].clone())),
            Failure(BadMessageCheck, "cms_duplicate_attribute"),
        ),
        (
            "messageType as INTEGER",
            attributes(|l| {
                l[MESSAGE_TYPE] = attribute(oid::SCEP_MESSAGE_TYPE, &[tlv(2, &[&[19]])])
            }),
            Failure(BadMessageCheck, "scep_message_type_malformed"),
        ),
        (
            "messageType with two values",
            attributes(|l| {
                l[MESSAGE_TYPE] =
                    attribute(oid::SCEP_MESSAGE_TYPE, &[printable("19"), printable("17")])
            }),
            Failure(BadMessageCheck, "scep_message_type_malformed"),
        ),
        (
            "messageType in words",
            attributes(|l| {
                l[MESSAGE_TYPE] = attribute(oid::SCEP_MESSAGE_TYPE, &[printable("PKCSReq")])
            }),
            Failure(BadMessageCheck, "scep_message_type_malformed"),
        ),
        (
            "messageType with a sign",
            attributes(|l| {
                l[MESSAGE_TYPE] = attribute(oid::SCEP_MESSAGE_TYPE, &[printable("+19")])
            }),
            Failure(BadMessageCheck, "scep_message_type_malformed"),
        ),
        (
            "messageType of 40 digits",
            attributes(|l| {
                l[MESSAGE_TYPE] = attribute(oid::SCEP_MESSAGE_TYPE, &[printable(&"9".repeat(40))])
            }),
            Failure(BadMessageCheck, "scep_message_type_malformed"),
        ),
        (
            "content-type attribute missing",
            attributes(|l| drop(l.remove(0))),
            Failure(BadMessageCheck, "cms_content_type_missing"),
        ),
        (
            "message-digest attribute missing",
            attributes(|l| drop(l.remove(1))),
            Failure(BadMessageCheck, "cms_message_digest_missing"),
        ),
        (
            "senderNonce missing",
            attributes(|l| drop(l.remove(SENDER_NONCE))),
            Failure(BadMessageCheck, "scep_sender_nonce"),
        ),
        (
            "senderNonce of one byte",
            attributes(|l| l[SENDER_NONCE] = attribute(oid::SCEP_SENDER_NONCE, &[octets(b"x")])),
            Failure(BadMessageCheck, "scep_sender_nonce"),
        ),
        (
            "senderNonce of 17 bytes",
            attributes(|l| {
                l[SENDER_NONCE] = attribute(oid::SCEP_SENDER_NONCE, &[octets(&[0; 17])])
            }),
            Failure(BadMessageCheck, "scep_sender_nonce"),
        ),
        (
            "senderNonce as text",
            attributes(|l| {
                l[SENDER_NONCE] =
                    attribute(oid::SCEP_SENDER_NONCE, &[printable("sixteen letters!")])
            }),
            Failure(BadMessageCheck, "scep_sender_nonce"),
        ),
        // badAlg
        (
            "MD5",
            message(|m| {
                m.digests = vec![algorithm(md5())];
                m.signer().digest = md5();
            }),
            Failure(BadAlg, "cms_unsupported_digest"),
        ),
        (
            "SHA-1 where policy forbids",
            message(|m| {
                m.digests = vec![algorithm(oid::SHA1)];
                m.signer().digest = oid::SHA1;
                m.signer().signature_algorithm = algorithm(oid::RSA_SHA1);
            }),
            Failure(BadAlg, "cms_sha1_refused"),
        ),
        (
            "triple DES where policy forbids",
            client(|c| c.content = Some(renamed_cipher(oid::DES_EDE3_CBC, 8))),
            Failure(BadAlg, "scep_cipher"),
        ),
        (
            "DES",
            client(|c| c.content = Some(renamed_cipher(oid_of("1.3.14.3.2.7"), 8))),
            Failure(BadAlg, "scep_cipher"),
        ),
        (
            "RC2",
            client(|c| c.content = Some(renamed_cipher(oid_of("1.2.840.113549.3.2"), 8))),
            Failure(BadAlg, "scep_cipher"),
        ),
        (
            "RSA-512 key",
            with_public_key(weak),
            Failure(BadAlg, "key_too_short"),
        ),
        (
            "RSA-16384 key",
            with_public_key(rsa_public_key(&modulus(2_048), &[1, 0, 1])),
            Failure(BadAlg, "key_too_long"),
        ),
        (
            "RSA exponent 1",
            with_public_key(rsa_public_key(&modulus(256), &[1])),
            Failure(BadAlg, "key_exponent"),
        ),
        (
            "EC with explicit parameters",
            with_public_key(explicit_curve),
            Failure(BadAlg, "key_explicit_curve"),
        ),
        // one answer for everything unreadable
        (
            "encrypted to another recipient",
            client(|c| {
                c.content = Some(
                    encrypt(
                        &own_request(&[]),
                        &LAB.rsa.certificate,
                        ContentCipher::Aes256,
                    )
                    .unwrap(),
                )
            }),
            Failure(BadMessageCheck, "scep_unreadable"),
        ),
        (
            "content no envelope",
            client(|c| c.content = Some(b"hello".to_vec())),
            Failure(BadMessageCheck, "scep_unreadable"),
        ),
        (
            "content empty",
            client(|c| c.content = Some(vec![])),
            Failure(BadMessageCheck, "scep_unreadable"),
        ),
        (
            "content missing",
            client(|c| {
                c.content = Some(vec![]);
                c.message = Box::new(|m| m.attached = None);
            }),
            Failure(BadMessageCheck, "scep_unreadable"),
        ),
        (
            "bad block padding",
            client(|c| {
                let mut content = encrypt(
                    &own_request(&[]),
                    &LAB.ca.certificate,
                    ContentCipher::Aes256,
                )
                .unwrap();
                let at = content.len() - 17;
                content[at] ^= 0xFF;
                c.content = Some(content);
            }),
            Failure(BadMessageCheck, "scep_unreadable"),
        ),
        (
            "plaintext not a request",
            plain(b"hello".to_vec()),
            Failure(BadMessageCheck, "scep_unreadable"),
        ),
        (
            "plaintext empty",
            plain(vec![]),
            Failure(BadMessageCheck, "scep_unreadable"),
        ),
        (
            "plaintext a certificate",
            plain(LAB.own.certificate.der().to_vec()),
            Failure(BadMessageCheck, "scep_unreadable"),
        ),
        (
            "request with trailing bytes",
            plain([own_request(&[]), vec![0]].concat()),
            Failure(BadMessageCheck, "scep_unreadable"),
        ),
        (
            "bad request signature",
            plain(unsigned),
            Failure(BadMessageCheck, "scep_unreadable"),
        ),
        (
            "request with a refused foreign key",
            plain(foreign_weak_request()),
            Failure(BadMessageCheck, "scep_unreadable"),
        ),
        // badRequest
        (
            "message type missing",
            attributes(|l| drop(l.remove(MESSAGE_TYPE))),
            Failure(BadRequest, "scep_message_type_missing"),
        ),
        (
            "message type 99",
            client(|c| c.message_type = "99".into()),
            Failure(BadRequest, "scep_message_type"),
        ),
        (
            "CertRep sent to the server",
            client(|c| c.message_type = "3".into()),
            Failure(BadRequest, "scep_message_type"),
        ),
        (
            "challenge given twice",
            plain(own_request(&[challenge("a"), challenge("b")])),
            Failure(BadRequest, "request_challenge_twice"),
        ),
        (
            "challenge with two values",
            plain(own_request(&[attribute(
                oid::CHALLENGE_PASSWORD,
                &[printable("a"), printable("b")],
            )])),
            Failure(BadRequest, "request_challenge_twice"),
        ),
        (
            "challenge with NUL inside",
            password(printable("secret\0")),
            Failure(BadRequest, "request_challenge_malformed"),
        ),
        (
            "challenge as octets",
            password(octets(b"secret")),
            Failure(BadRequest, "request_challenge_malformed"),
        ),
        (
            "challenge of broken UTF-8",
            password(tlv(0x0C, &[&[0xFF, 0xFE]])),
            Failure(BadRequest, "request_challenge_malformed"),
        ),
        (
            "challenge of 2 KB",
            password(printable(&"x".repeat(2_048))),
            Failure(BadRequest, "request_challenge_malformed"),
        ),
        (
            "challenge without a value",
            plain(own_request(&[attribute(oid::CHALLENGE_PASSWORD, &[])])),
            Failure(BadRequest, "request_challenge_malformed"),
        ),
        (
            "extension twice",
            plain(own_request(&[extension_request(&[
                (oid::KEY_USAGE, false, vec![3, 2, 7, 0x80]),
                (oid::KEY_USAGE, false, vec![3, 2, 7, 0x80]),
            ])])),
            Failure(BadRequest, "request_extension"),
        ),
        (
            "extensions that are none",
            plain(own_request(&[attribute(
                oid::EXTENSION_REQUEST,
                &[octets(b"x")],
            )])),
            Failure(BadRequest, "request_extension"),
        ),
        // good again
        (
            "challenge as PrintableString",
            password(printable("secret")),
            Request,
        ),
        (
            "challenge as UTF8String",
            password(tlv(0x0C, &["g\u{e4}rtnerei".as_bytes()])),
            Request,
        ),
        ("no challenge", plain(own_request(&[])), Request),
        (
            "transaction id of 256 bytes",
            attributes(|l| {
                l[TRANSACTION_ID] =
                    attribute(oid::SCEP_TRANSACTION_ID, &[printable(&"x".repeat(256))])
            }),
            Request,
        ),
        (
            "UpdateReq",
            client(|c| c.message_type = "18".into()),
            Request,
        ),
    ];
    assert!(cases.len() >= 50);
    for (name, bytes, expected) in cases {
        assert_eq!(outcome(&bytes, &ScepPolicy::strict()), expected, "{name}");
    }
}

#[test]
fn enormous_keys_cost_no_time() {
    let bytes = with_public_key(rsa_public_key(&modulus(2_048), &[1, 0, 1]));
    let took = fastest(|| {
        outcome(&bytes, &ScepPolicy::strict());
    });
    assert!(took < Duration::from_millis(50), "{took:?}");
}

/// An envelope for the CA that names another content cipher.
fn renamed_cipher(cipher: pomona_cms::ObjectIdentifier, iv: usize) -> Vec<u8> {
    let recipient = seq(&[
        &[2, 1, 0],
        &crate::build::issuer_and_serial(&LAB.ca.certificate),
        &algorithm(oid::RSA),
        &octets(&[9; 256]),
    ]);
    let body = seq(&[
        &[2, 1, 0],
        &set(&[recipient]),
        &seq(&[
            &id(oid::DATA),
            &seq(&[&id(cipher), &octets(&vec![0; iv])]),
            &tlv(0x80, &[&[0; 64]]),
        ]),
    ]);
    seq(&[&id(oid::ENVELOPED_DATA), &tlv(0xA0, &[&body])])
}

/// A request for a key that is too short and not the signer's: answering "key too short" would tell a stranger what is inside.
fn foreign_weak_request() -> Vec<u8> {
    let body = seq(&[
        &[2, 1, 0],
        named("x").der(),
        &rsa_public_key(&modulus(64), &[1, 0, 1]),
        &tlv(0xA0, &[]),
    ]);
    seq(&[
        &body,
        &algorithm(oid::RSA_SHA256),
        &tlv(3, &[&[0], &[1; 64]]),
    ])
}

#[test]
fn a_request_for_another_key_than_the_signers_is_told() {
    let other = KeyPair::generate_rsa_2048().unwrap();
    let bytes = plain(request(&named("device"), &other, &[challenge("secret")]));
    let policy = ScepPolicy::strict();
    let message = parse_pki_message(&bytes, &policy).unwrap();
    let opened = open_request(&message, &LAB.ca.certificate, &LAB.ca.key, &policy).unwrap();
    assert!(!signer_matches_request(&message, &opened));
}

#[test]
fn what_a_request_asks_for_is_told_and_never_granted() {
    let policy = ScepPolicy::strict();
    let open = |extensions: &[(pomona_cms::ObjectIdentifier, bool, Vec<u8>)]| {
        let bytes = plain(own_request(&[extension_request(extensions)]));
        let message = parse_pki_message(&bytes, &policy).unwrap();
        open_request(&message, &LAB.ca.certificate, &LAB.ca.key, &policy).unwrap()
    };
    let ca = open(&[(oid::BASIC_CONSTRAINTS, true, vec![0x30, 3, 1, 1, 0xFF])]);
    assert!(ca.asks_for_ca());
    let signing = open(&[(oid::KEY_USAGE, true, vec![3, 2, 2, 0x04])]);
    assert!(signing.asks_for_ca());
    let server = open(&[(
        oid::EXTENDED_KEY_USAGE,
        false,
        seq(&[&id(oid::SERVER_AUTH)]),
    )]);
    assert_eq!(server.extended_key_usages(), vec![oid::SERVER_AUTH]);
    let odd = open(&[(oid_of("1.2.3.4"), true, vec![5, 0])]);
    assert_eq!(odd.unknown_critical_extension(), Some(oid_of("1.2.3.4")));
    assert!(!odd.asks_for_ca());
    let unreadable = open(&[(oid::BASIC_CONSTRAINTS, true, vec![0x30, 1, 9])]);
    assert!(
        unreadable.asks_for_ca(),
        "an unreadable constraint is the stricter reading"
    );
    let empty = request(
        &pomona_cms::Name::builder().build().unwrap(),
        &LAB.own.key,
        &[],
    );
    let message = parse_pki_message(&plain(empty), &policy).unwrap();
    let opened = open_request(&message, &LAB.ca.certificate, &LAB.ca.key, &policy).unwrap();
    assert!(opened.subject().is_empty());
}

/// Every message type, good in all other respects: only the three that carry a request yield one.
#[test]
fn only_three_message_types_yield_a_request() {
    for number in 0..40u32 {
        let bytes = client(|client| client.message_type = number.to_string());
        let expected = MessageType::from_number(number).carries_request();
        let found = outcome(&bytes, &ScepPolicy::strict()) == Outcome::Request;
        assert_eq!(found, expected, "{number}");
        assert_eq!(expected, matches!(number, 17..=19), "{number}");
    }
}

#[test]
fn damaged_session_keys_all_get_the_same_answer() {
    let content = encrypt(
        &own_request(&[]),
        &LAB.ca.certificate,
        ContentCipher::Aes128,
    )
    .unwrap();
    let at = content
        .windows(4)
        .position(|window| window == [4, 0x82, 1, 0])
        .unwrap()
        + 4;
    let expected = Outcome::Failure(FailInfo::BadMessageCheck, "scep_unreadable");
    for round in 0..1_000usize {
        let mut content = content.clone();
        content[at + round % 256] ^= (round / 256 + 1) as u8;
        let bytes = client(|client| client.content = Some(content));
        assert_eq!(outcome(&bytes, &ScepPolicy::strict()), expected, "{round}");
    }
}

#[test]
fn a_refused_message_can_be_answered_with_what_it_carried() {
    let nonceless = attributes(|list| drop(list.remove(SENDER_NONCE)));
    let Err(pomona_cms::scep::ScepParseError::Refused { reason, reply_to }) =
        parse_pki_message(&nonceless, &ScepPolicy::strict())
    else {
        panic!("refused with something to answer to");
    };
    let reply = reply_failure(&reply_to, reason.fail_info(), &LAB.ca.issuer(), [1; 16]).unwrap();
    let verified = verify_attached(&reply.der, &Policy::strict()).unwrap();
    assert_eq!(
        verified.attribute(&oid::SCEP_TRANSACTION_ID),
        Some(&printable(TRANSACTION)[..])
    );
    assert_eq!(verified.attribute(&oid::SCEP_RECIPIENT_NONCE), None);
}

#[test]
fn every_truncation_is_refused_without_a_panic() {
    let bytes = client(|_| {});
    for cut in 0..bytes.len() {
        assert!(
            matches!(
                outcome(&bytes[..cut], &ScepPolicy::compatible()),
                Outcome::Plain(_)
            ),
            "cut at {cut}"
        );
    }
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 0x40;
        let _ = outcome(&other, &ScepPolicy::compatible());
    }
}
