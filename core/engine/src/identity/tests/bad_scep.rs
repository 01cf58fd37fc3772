//! The named bad inputs of SCEP: each gets its answer, and none changes anything.

use axum::body::Body;
use http::Request as HttpRequest;
use pomona_cms::enveloped::{self, ContentCipher};
use pomona_cms::sign::{Attribute, SignError, SignRequest, sign_attached};
use pomona_cms::{Certificate, DigestAlgorithm, KeyKind, KeyPair, Name, Signer, oid, x509};

use super::client::{Device, Envelope, Outcome, Request, device, object, open, self_signed, tlv};
use super::*;

const BAD_ALG: &str = "0";
const BAD_MESSAGE: &str = "1";
const BAD_REQUEST: &str = "2";
const BAD_CERT_ID: &str = "4";

/// A site, an unspent grant, and the means to see that nothing was issued.
struct Case {
    site: Site,
    ca: Certificate,
    grant: (GrantId, String),
}

impl Case {
    async fn new() -> Self {
        let site = Site::new().await;
        Self {
            ca: site.ca().await,
            grant: site.grant().await,
            site,
        }
    }

    fn good(&self) -> Request {
        Request::of(self.grant.0).challenge(&self.grant.1)
    }

    /// Posts from an address of its own, so that no case pays for another.
    async fn post(&self, message: Vec<u8>, n: usize) -> Reply {
        let peer = format!("10.{}.{}.1", n / 250, n % 250);
        self.site.post_from(message, self.site.tenant, &peer).await
    }

    async fn refused(&self, message: Vec<u8>, asked: &Envelope<'_>, fail: &str, what: &str) {
        let reply = self
            .site
            .post_from(message, self.site.tenant, "192.0.2.1")
            .await;
        assert_eq!(reply.status, StatusCode::OK, "{what}");
        assert_eq!(
            open(&reply.body, asked),
            Outcome::Refused(fail.into()),
            "{what}"
        );
        self.site.clock.advance(2 * SECOND);
        assert_eq!(self.site.count("certificate").await, 0, "{what}");
    }

    /// The grant is as good as before.
    async fn still_good(self) {
        let outcome = self.site.enroll_by(&self.grant, device(0), "last").await;
        assert!(matches!(outcome, Outcome::Issued(_)));
    }
}

#[tokio::test]
async fn operations_that_are_not_ours_are_400() {
    let case = Case::new().await;
    let base = format!("/scep/{}", case.site.tenant);
    let long = "x".repeat(2_000);
    for query in [
        "",
        "?operation=",
        "?operation=getcacert",
        "?operation=GETCACERT",
        "?operation=GetNextCACert",
        "?operation=Nothing",
        "?operation=GetCACert&operation=GetCACert",
        "?operation=PKIOperation",
        "?operation=PKIOperation&message=",
        "?operation=PKIOperation&message=%%%",
        "?operation=PKIOperation&message=!!!!",
        "?operation=PKIOperation&message=AAAA",
        "?operation=PKIOperation&message=AAAA&message=AAAA",
        "?message=AAAA",
        &format!("?operation=GetCACert&message={long}"),
    ] {
        let reply = case.site.get(&format!("{base}{query}")).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{query}");
    }
    for query in ["?operation=GetCACaps", "?operation=GetCACert", ""] {
        let request = HttpRequest::post(format!("{base}{query}"))
            .body(Body::empty())
            .unwrap();
        assert_eq!(
            case.site.send(request).await.status,
            StatusCode::BAD_REQUEST
        );
    }
    let request = HttpRequest::put(&base).body(Body::empty()).unwrap();
    assert_eq!(
        case.site.send(request).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    for tenant in ["x", "00000000-0000-0000-0000-000000000009", "%ff"] {
        let reply = case
            .site
            .get(&format!("/scep/{tenant}?operation=GetCACert"))
            .await;
        assert!(matches!(
            reply.status,
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST
        ));
    }
    case.still_good().await;
}

#[tokio::test]
async fn bytes_that_are_no_message_are_400_at_every_length() {
    let case = Case::new().await;
    let envelope = Envelope::new(&case.ca, device(0), "t1");
    let message = envelope.seal(&case.good().sign(device(0).key));
    let mut peer = 0;
    for cut in (0..message.len())
        .step_by(7)
        .chain(message.len() - 40..message.len())
    {
        peer += 1;
        let reply = case.post(message[..cut].to_vec(), peer).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "cut at {cut}");
    }
    let nested: Vec<u8> = std::iter::repeat_n([0x30, 0x80], 1_000).flatten().collect();
    for bad in [
        vec![],
        vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        nested,
        vec![0xa5; 4_000],
        [&message[..], b"more"].concat(),
    ] {
        peer += 1;
        assert_eq!(case.post(bad, peer).await.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(case.site.count("certificate").await, 0);
    case.still_good().await;
}

#[tokio::test]
async fn a_changed_byte_anywhere_gets_an_orderly_answer() {
    let case = Case::new().await;
    let envelope = Envelope::new(&case.ca, device(0), "t1");
    let message = envelope.seal(&case.good().challenge("x").sign(device(0).key));
    for (peer, at) in (0..message.len()).step_by(11).enumerate() {
        let mut changed = message.clone();
        changed[at] ^= 0x41;
        let reply = case.post(changed, peer).await;
        assert!(matches!(
            reply.status,
            StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE
        ));
    }
    assert_eq!(case.site.count("certificate").await, 0);
    case.still_good().await;
}

#[tokio::test]
async fn attributes_that_do_not_fit_are_bad_message_checks() {
    let case = Case::new().await;
    let request = case.good().sign(device(0).key);
    let envelope = Envelope::new(&case.ca, device(0), "t1");
    let content = enveloped::encrypt(&request, &case.ca, ContentCipher::Aes256).unwrap();
    let of = |id, value| Attribute { id, value };
    let good = envelope.attributes();
    let without =
        |id| -> Vec<Attribute> { good.iter().filter(|one| one.id != id).cloned().collect() };
    let with = |mut list: Vec<Attribute>, one| {
        list.push(one);
        list
    };
    let kind = oid::SCEP_MESSAGE_TYPE;
    let again = of(kind, tlv(0x13, &[b"17"]));
    let twice = envelope.sign(&content, &with(good.clone(), again));
    let number = of(kind, vec![2, 1, 19]);
    let as_number = envelope.sign(&content, &with(without(kind), number));
    case.refused(twice, &envelope, BAD_MESSAGE, "two message types")
        .await;
    case.refused(
        as_number,
        &envelope,
        BAD_MESSAGE,
        "message type as a number",
    )
    .await;
    let missing = envelope.sign(&content, &without(kind));
    case.refused(missing, &envelope, BAD_REQUEST, "no message type")
        .await;

    // Without a usable nonce there is none to echo; the answer is checked by hand.
    let nonce = oid::SCEP_SENDER_NONCE;
    for list in [
        without(nonce),
        with(without(nonce), of(nonce, tlv(4, &[&[1]]))),
    ] {
        let reply = case.site.post(envelope.sign(&content, &list)).await;
        assert_eq!(reply.status, StatusCode::OK);
        let policy = pomona_cms::Policy::strict();
        let answer = pomona_cms::signed::verify_attached(&reply.body, &policy).unwrap();
        assert_eq!(answer.attribute(&oid::SCEP_PKI_STATUS).unwrap()[2..], *b"2");
        assert_eq!(answer.attribute(&oid::SCEP_FAIL_INFO).unwrap()[2..], *b"1");
    }
    let id = oid::SCEP_TRANSACTION_ID;
    let reply = case.site.post(envelope.sign(&content, &without(id))).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let long = of(id, tlv(0x13, &["x".repeat(30_000).as_bytes()]));
    let reply = case
        .site
        .post(envelope.sign(&content, &with(without(id), long)))
        .await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    case.still_good().await;
}

#[tokio::test]
async fn other_message_types_issue_nothing() {
    let case = Case::new().await;
    let request = case.good().sign(device(0).key);
    for (kind, fail) in [
        ("3", BAD_REQUEST),
        ("17", BAD_REQUEST),
        ("18", BAD_REQUEST),
        ("20", BAD_CERT_ID),
        ("21", BAD_CERT_ID),
        ("22", BAD_REQUEST),
        ("99", BAD_REQUEST),
        ("0", BAD_REQUEST),
    ] {
        let envelope = Envelope {
            kind,
            ..Envelope::new(&case.ca, device(0), "t1")
        };
        case.refused(envelope.seal(&request), &envelope, fail, kind)
            .await;
    }
    case.still_good().await;
}

#[tokio::test]
async fn what_cannot_be_opened_looks_alike_whatever_the_reason() {
    let case = Case::new().await;
    let request = case.good().sign(device(0).key);
    let envelope = Envelope::new(&case.ca, device(0), "t1");
    let sealed = |bytes: &[u8], to: &Certificate| {
        enveloped::encrypt(bytes, to, ContentCipher::Aes128).unwrap()
    };
    let mut damaged = sealed(&request, &case.ca);
    let end = damaged.len() - 1;
    damaged[end] ^= 1;
    let mut wrong_signature = request.clone();
    let end = wrong_signature.len() - 1;
    wrong_signature[end] ^= 1;
    let other_key = {
        // Signed by one key, for another.
        let mut other = case.good();
        other.attributes.clear();
        let mut bytes = other.sign(device(1).key);
        let end = bytes.len() - 1;
        bytes[end] ^= 1;
        bytes
    };
    let plain = sealed(&request, &case.ca);
    for (what, content) in [
        ("other recipient", sealed(&request, device(1).certificate)),
        ("bad padding", damaged),
        ("not a request", sealed(b"hello", &case.ca)),
        ("empty", sealed(b"", &case.ca)),
        ("bad request signature", sealed(&wrong_signature, &case.ca)),
        (
            "bad request signature of another key",
            sealed(&other_key, &case.ca),
        ),
        ("no envelope", Vec::new()),
        ("not encrypted", request.clone()),
        ("truncated", plain[..plain.len() - 20].to_vec()),
    ] {
        let message = envelope.sign(&content, &envelope.attributes());
        case.refused(message, &envelope, BAD_MESSAGE, what).await;
    }
    case.still_good().await;
}

#[tokio::test]
async fn wrapped_keys_with_bad_padding_all_look_alike() {
    let case = Case::new().await;
    let request = case.good().sign(device(0).key);
    let envelope = Envelope::new(&case.ca, device(0), "t1");
    let content = enveloped::encrypt(&request, &case.ca, ContentCipher::Aes128).unwrap();
    // The wrapped session key is the only string of 256 bytes.
    let at = content
        .windows(4)
        .position(|w| w == [0x04, 0x82, 0x01, 0x00])
        .unwrap()
        + 4;
    for n in 0..60usize {
        let mut changed = content.clone();
        changed[at + 1 + (n * 4) % 250] ^= 1 << (n % 8);
        let message = envelope.sign(&changed, &envelope.attributes());
        case.refused(message, &envelope, BAD_MESSAGE, "bad RSA padding")
            .await;
    }
    case.still_good().await;
}

#[tokio::test]
async fn challenges_that_are_not_right_issue_nothing() {
    let case = Case::new().await;
    let bare = || Request::of(case.grant.0);
    let right = case.grant.1.clone();
    let mut nearly = right.clone();
    nearly.pop();
    nearly.push(if right.ends_with('A') { 'Q' } else { 'A' });
    let with_nul = format!("{right}\0");
    let two_values = {
        let values = [tlv(0x0c, &[right.as_bytes()]), tlv(0x0c, &[b"z"])].concat();
        let mut request = bare();
        request.attributes.push(tlv(
            0x30,
            &[&object(&oid::CHALLENGE_PASSWORD), &tlv(0x31, &[&values])],
        ));
        request
    };
    for (what, request) in [
        ("missing", bare()),
        ("wrong", bare().challenge("guess")),
        ("empty", bare().challenge("")),
        ("right but for the end", bare().challenge(&nearly)),
        ("a part of it", bare().challenge(&right[..20])),
        ("with NUL", bare().challenge(&with_nul)),
        ("twice", bare().challenge(&right).challenge(&right)),
        ("two", bare().challenge(&right).challenge("other")),
        ("two values", two_values),
        ("other string type", bare().challenge_as(0x16, &right)),
        ("in octets", bare().challenge_as(0x04, &right)),
    ] {
        let envelope = Envelope::new(&case.ca, device(0), "t1");
        let message = envelope.seal(&request.sign(device(0).key));
        case.refused(message, &envelope, BAD_REQUEST, what).await;
    }
    let printable = bare().challenge_as(0x13, &right);
    // A printable string holds no underscore, but clients do not care, and neither do we.
    let envelope = Envelope::new(&case.ca, device(0), "t1");
    let message = envelope.seal(&printable.sign(device(0).key));
    assert!(matches!(
        case.site.ask(message, &envelope).await,
        Outcome::Issued(_)
    ));
}

#[tokio::test]
async fn requests_that_want_more_than_they_get_are_refused() {
    let case = Case::new().await;
    let id = case.grant.0.to_string();
    let named = |name: &str| Request::named(name).challenge(&case.grant.1);
    let wants = |oid, critical, value: Vec<u8>| case.good().extensions(&[(oid, critical, value)]);
    let sequence = |parts: &[u8]| tlv(0x30, &[parts]);
    let uri = |text: &str| sequence(&tlv(0x86, &[text.as_bytes()]));
    let purposes = |list: &[pomona_cms::ObjectIdentifier]| {
        sequence(&list.iter().flat_map(object).collect::<Vec<u8>>())
    };
    let other = uuid::Uuid::from_u128(1).to_string();
    let unknown = pomona_cms::ObjectIdentifier::new_unwrap("1.2.3.4");
    for (what, request) in [
        ("subject of another", named(&other)),
        ("empty subject", named("")),
        ("wildcard", named("*.example.org")),
        ("more than the id", named(&format!("{id} "))),
        (
            "CA",
            wants(oid::BASIC_CONSTRAINTS, true, sequence(&[1, 1, 0xff])),
        ),
        (
            "broken constraints",
            wants(oid::BASIC_CONSTRAINTS, false, vec![1]),
        ),
        (
            "certificate signing",
            wants(oid::KEY_USAGE, true, vec![3, 2, 2, 0x04]),
        ),
        (
            "list signing",
            wants(oid::KEY_USAGE, true, vec![3, 2, 1, 0x02]),
        ),
        (
            "server",
            wants(
                oid::EXTENDED_KEY_USAGE,
                false,
                purposes(&[oid::SERVER_AUTH]),
            ),
        ),
        (
            "client and server",
            wants(
                oid::EXTENDED_KEY_USAGE,
                false,
                purposes(&[oid::CLIENT_AUTH, oid::SERVER_AUTH]),
            ),
        ),
        (
            "any purpose",
            wants(
                oid::EXTENDED_KEY_USAGE,
                false,
                purposes(&[oid::ANY_PURPOSE]),
            ),
        ),
        (
            "broken purposes",
            wants(oid::EXTENDED_KEY_USAGE, false, vec![4]),
        ),
        (
            "a host",
            wants(
                oid::SUBJECT_ALT_NAME,
                false,
                sequence(&tlv(0x82, &[b"a.example"])),
            ),
        ),
        (
            "another grant",
            wants(
                oid::SUBJECT_ALT_NAME,
                false,
                uri(&format!("urn:uuid:{other}")),
            ),
        ),
        ("broken names", wants(oid::SUBJECT_ALT_NAME, false, vec![9])),
        (
            "no names",
            wants(oid::SUBJECT_ALT_NAME, false, vec![0x30, 0]),
        ),
        ("unknown and critical", wants(unknown, true, vec![5, 0])),
    ] {
        let envelope = Envelope::new(&case.ca, device(0), "t1");
        let message = envelope.seal(&request.sign(device(0).key));
        case.refused(message, &envelope, BAD_REQUEST, what).await;
    }
    // What a modest client asks for is what it gets anyway.
    let modest = case.good().extensions(&[
        (oid::KEY_USAGE, true, vec![3, 2, 5, 0xa0]),
        (
            oid::EXTENDED_KEY_USAGE,
            false,
            purposes(&[oid::CLIENT_AUTH]),
        ),
        (oid::SUBJECT_ALT_NAME, false, uri(&format!("urn:uuid:{id}"))),
        (unknown, false, vec![5, 0]),
    ]);
    let envelope = Envelope::new(&case.ca, device(0), "t1");
    let message = envelope.seal(&modest.sign(device(0).key));
    assert!(matches!(
        case.site.ask(message, &envelope).await,
        Outcome::Issued(_)
    ));
}

#[tokio::test]
async fn keys_and_signers_that_do_not_fit_are_refused() {
    let case = Case::new().await;
    let envelope = Envelope::new(&case.ca, device(0), "t1");
    let other = case.good().sign(device(1).key);
    case.refused(
        envelope.seal(&other),
        &envelope,
        BAD_MESSAGE,
        "another key's request",
    )
    .await;

    let curve: &'static KeyPair = Box::leak(Box::new(KeyPair::generate_p256().unwrap()));
    let signer = Device {
        key: curve,
        certificate: Box::leak(Box::new(self_signed(curve, 365))),
    };
    let by_curve = Envelope::new(&case.ca, signer, "t2");
    let request = case.good().sign(curve);
    case.refused(by_curve.seal(&request), &by_curve, BAD_ALG, "a curve")
        .await;

    let long_lived = Device {
        certificate: Box::leak(Box::new(self_signed(device(0).key, 36_500))),
        ..device(0)
    };
    let lasting = Envelope::new(&case.ca, long_lived, "t3");
    let request = case.good().sign(device(0).key);
    case.refused(
        lasting.seal(&request),
        &lasting,
        BAD_REQUEST,
        "good for 100 years",
    )
    .await;
    case.still_good().await;
}

/// Claims a key that it does not have, and signs with noise.
struct Pretender {
    public_key: Vec<u8>,
    kind: KeyKind,
}

impl Signer for Pretender {
    fn public_key_der(&self) -> &[u8] {
        &self.public_key
    }

    fn key_kind(&self) -> KeyKind {
        self.kind
    }

    fn sign(&self, _: DigestAlgorithm, _: &[u8]) -> std::result::Result<Vec<u8>, SignError> {
        Ok(vec![0x5a; 256])
    }
}

/// An RSA key of so many bytes with this exponent.
fn claimed_rsa(bytes: usize, last: u8, exponent: &[u8]) -> Pretender {
    let mut modulus = vec![0xc5; bytes];
    modulus[bytes - 1] = last;
    let key = tlv(0x30, &[&tlv(2, &[&[0], &modulus]), &tlv(2, &[exponent])]);
    let algorithm = tlv(0x30, &[&object(&oid::RSA), &[5, 0]]);
    Pretender {
        public_key: tlv(0x30, &[&algorithm, &tlv(3, &[&[0], &key])]),
        kind: KeyKind::Rsa { bits: 2048 },
    }
}

#[tokio::test]
async fn keys_that_nobody_should_use_are_bad_algorithms() {
    let case = Case::new().await;
    for (what, pretender) in [
        ("512 bits", claimed_rsa(64, 0xc5, &[1, 0, 1])),
        ("1024 bits", claimed_rsa(128, 0xc5, &[1, 0, 1])),
        ("16384 bits", claimed_rsa(2048, 0xc5, &[1, 0, 1])),
        ("exponent 1", claimed_rsa(256, 0xc5, &[1])),
        ("even exponent", claimed_rsa(256, 0xc5, &[1, 0, 0])),
        ("even modulus", claimed_rsa(256, 0xc4, &[1, 0, 1])),
    ] {
        let envelope = Envelope::new(&case.ca, device(0), "t1");
        let name = Name::builder().common_name("x").build().unwrap();
        let validity = x509::Validity {
            not_before: 1_700_000_000,
            not_after: 1_900_000_000,
        };
        let serial = x509::Serial::from_random([3; 16]);
        let certificate = x509::root_ca(&pretender, &name, serial, validity).unwrap();
        let attributes = envelope.attributes();
        let request = SignRequest {
            attributes: &attributes,
            ..SignRequest::new(&pretender, &certificate)
        };
        let message = sign_attached(b"anything", &request).unwrap();
        case.refused(message, &envelope, BAD_ALG, what).await;
    }
    case.still_good().await;
}

#[tokio::test]
async fn ciphers_and_signatures_that_do_not_fit_are_refused() {
    let case = Case::new().await;
    let request = case.good().sign(device(0).key);
    let envelope = Envelope::new(&case.ca, device(0), "t1");
    let mut content = enveloped::encrypt(&request, &case.ca, ContentCipher::Aes256).unwrap();
    let aes = oid::AES256_CBC;
    let at = content
        .windows(aes.as_bytes().len())
        .position(|window| window == aes.as_bytes())
        .unwrap();
    // The same identifier but for its last number: another mode of the cipher.
    content[at + aes.as_bytes().len() - 1] = 0x29;
    let message = envelope.sign(&content, &envelope.attributes());
    case.refused(message, &envelope, BAD_ALG, "unknown cipher")
        .await;

    let good = envelope.seal(&request);
    let mut corrupt = good.clone();
    let end = corrupt.len() - 1;
    corrupt[end] ^= 1;
    case.refused(corrupt, &envelope, BAD_MESSAGE, "corrupt signature")
        .await;
    let mut changed = good;
    changed[200] ^= 1;
    case.refused(changed, &envelope, BAD_MESSAGE, "changed content")
        .await;
    case.still_good().await;
}

#[tokio::test]
async fn transaction_ids_and_nonces_belong_to_one_key() {
    let site = Site::new().await;
    let ca = site.ca().await;
    let (one, two) = (site.grant().await, site.grant().await);
    assert!(matches!(
        site.enroll_by(&one, device(0), "t1").await,
        Outcome::Issued(_)
    ));
    let refused = Outcome::Refused(BAD_REQUEST.into());
    assert_eq!(site.enroll_by(&two, device(1), "t1").await, refused);

    let first = Envelope::new(&ca, device(1), "t2");
    let request = Request::of(two.0).challenge(&two.1).sign(device(1).key);
    let mut replayed = Envelope::new(&ca, device(2), "t3");
    replayed.nonce = first.nonce;
    assert!(matches!(
        site.ask(first.seal(&request), &first).await,
        Outcome::Issued(_)
    ));
    let third = site.grant().await;
    let request = Request::of(third.0).challenge(&third.1).sign(device(2).key);
    assert_eq!(site.ask(replayed.seal(&request), &replayed).await, refused);
    assert_eq!(site.count("certificate").await, 2);
}

#[tokio::test]
async fn a_poll_is_answered_to_the_key_that_was_given_the_certificate() {
    let site = Site::new().await;
    let ca = site.ca().await;
    let grant = site.grant().await;
    let issued = site.enroll_by(&grant, device(0), "t1").await;
    let poll = |n, transaction| Envelope {
        kind: "20",
        ..Envelope::new(&ca, device(n), transaction)
    };
    for (n, transaction, expected) in [
        (0, "t1", issued),
        (1, "t1", Outcome::Refused(BAD_CERT_ID.into())),
        (0, "t2", Outcome::Refused(BAD_CERT_ID.into())),
    ] {
        let envelope = poll(n, transaction);
        assert_eq!(site.ask(envelope.seal(b"names"), &envelope).await, expected);
    }
}
