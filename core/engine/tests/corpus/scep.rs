//! SCEP messages that are not as they should be (section 4.3).
//!
//! Owns: how each case of the table is made, with a client of a few lines. Each case has a link, a challenge, a transaction
//! and an address of its own. Over 500 lines: a few for each case.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pomona_cms::enveloped::{ContentCipher, encrypt};
use pomona_cms::x509::Certificate;
use pomona_cms::{KeyPair, Policy, oid, signed};
use pomona_engine::http::scep_router;
use pomona_engine::identity::{
    CreatedLink, Issuer, IssuerOptions, Journal, NewLink, create_authority, create_link,
    revoke_link,
};
use pomona_engine::{Actor, TenantId};

use crate::signing::{
    Message, Party, Request, START, YEAR, algorithm, attribute, certificate_with_key, id, modulus,
    named, octets, oid_of, rsa_public_key, seq, serial, set, tlv, valid,
};
use crate::support::{Card, authenticate, simple_check_in, token_update};
use crate::world::{CHECK_IN, Door, Run, Score, Shot, World, table};

const HOUR: i64 = 3_600_000_000;

/// Devices with the certificates that they made for the moment.
static DEVICES: LazyLock<[Party; 3]> = LazyLock::new(|| {
    [1, 2, 3].map(|number| self_signed(KeyPair::generate_rsa_2048().unwrap(), number, YEAR))
});

fn self_signed(key: KeyPair, number: u8, life: i64) -> Party {
    let validity = valid(START - 86_400, START + life);
    let certificate =
        pomona_cms::x509::root_ca(&key, &named("moment"), serial(number), validity).unwrap();
    Party { key, certificate }
}

struct Cast {
    world: World,
    ca: Certificate,
    folder: tempfile::TempDir,
    next: AtomicU32,
}

/// A grant as a profile carries it.
#[derive(Clone)]
struct Grant {
    id: String,
    challenge: String,
    link: pomona_engine::LinkId,
}

/// The word of the table for an answer.
fn word(status: u16, body: &[u8]) -> String {
    let Ok(answer) = signed::verify_attached(body, &Policy::strict()) else {
        return status.to_string();
    };
    let text = |id| {
        answer
            .attribute(id)
            .map(|value| String::from_utf8_lossy(&value[2..]).into_owned())
    };
    match text(&oid::SCEP_PKI_STATUS).as_deref() {
        Some("0") => "issued".into(),
        _ => format!("fail {}", text(&oid::SCEP_FAIL_INFO).unwrap_or_default()),
    }
}

#[tokio::test]
async fn every_bad_scep_message_gets_its_answer() {
    if std::env::var_os("SHOW").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter("pomona_engine=info")
            .init();
    }
    let mut cast = Cast::new().await;
    let mut score = Score::new("4.3");
    for line in table("4.3") {
        if std::env::var_os("SHOW").is_some() {
            eprintln!("== {}", line.name);
        }
        let run = Box::pin(cast.play(line.name)).await;
        score.add(&line, cast.world.judge(&line, run).await);
    }
    score.finish(75);
}

/// What goes around a request.
struct Envelope {
    kind: &'static str,
    transaction: String,
    nonce: Vec<u8>,
}

impl Envelope {
    fn attributes(&self) -> Vec<Vec<u8>> {
        vec![
            attribute(
                oid::SCEP_MESSAGE_TYPE,
                &[tlv(0x13, &[self.kind.as_bytes()])],
            ),
            attribute(
                oid::SCEP_TRANSACTION_ID,
                &[tlv(0x13, &[self.transaction.as_bytes()])],
            ),
            attribute(oid::SCEP_SENDER_NONCE, &[octets(&self.nonce)]),
        ]
    }

    /// The message around these contents, not signed yet.
    fn around(&self, content: &[u8], certificate: &Certificate) -> Message {
        let mut message = Message::new(certificate, content);
        message.attached = Some(content.to_vec());
        let attributes = message.signer().attributes.as_mut().unwrap();
        attributes.extend(self.attributes());
        message
    }

    fn sign(&self, content: &[u8], party: &Party) -> Vec<u8> {
        self.around(content, &party.certificate)
            .encode(content, &party.key)
    }
}

impl Cast {
    async fn new() -> Self {
        let mut world = World::new().await;
        world.word = word;
        let store = world.stage.engine.store().clone();
        create_authority(&store, world.stage.tenant, "Lab")
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal")).unwrap();
        let mut options = IssuerOptions::new("https://mdm.example.test".parse().unwrap());
        options.legacy_scep = false;
        world.extra = Some(scep_router(Issuer::new(store, journal, options)));
        let shot = Shot::to(
            Door::Proxy,
            format!("/scep/{}?operation=GetCACert", world.stage.tenant),
            Vec::new(),
        );
        let der = world.pass(&shot.method(Method::GET), 200).await;
        Self {
            ca: Certificate::from_der(&der).unwrap(),
            next: AtomicU32::new(1),
            folder,
            world,
        }
    }

    fn tenant(&self) -> TenantId {
        self.world.stage.tenant
    }

    fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    async fn grant(&self) -> Grant {
        self.grant_in(self.tenant()).await
    }

    async fn grant_in(&self, tenant: TenantId) -> Grant {
        let new = NewLink {
            name: "Room 4".into(),
            max_uses: 1,
            expires_in: 24 * HOUR,
            device_udid: None,
            device_serial: None,
        };
        let store = self.world.stage.engine.store();
        let CreatedLink {
            link, url_token, ..
        } = create_link(store, tenant, Actor::SYSTEM, new)
            .await
            .unwrap();
        let shot = Shot::to(
            Door::Tls,
            format!("/enroll/{url_token}?plain=1"),
            Vec::new(),
        );
        let profile = self.world.pass(&shot.method(Method::POST), 200).await;
        let (id, challenge) = scep_values(&profile);
        Grant {
            id,
            challenge,
            link: link.id,
        }
    }

    fn envelope(&self) -> Envelope {
        let number = self.number();
        Envelope {
            kind: "19",
            transaction: format!("transaction {number}"),
            nonce: [number.to_be_bytes(); 4].concat(),
        }
    }

    /// A peer that was not there before.
    fn peer(&self) -> [u8; 4] {
        let [_, a, b, c] = self.number().to_be_bytes();
        [10, a, b, c]
    }

    fn post(&self, message: Vec<u8>) -> Shot {
        self.post_to(self.tenant(), message)
    }

    fn post_to(&self, tenant: TenantId, message: Vec<u8>) -> Shot {
        let uri = format!("/scep/{tenant}?operation=PKIOperation");
        Shot::to(Door::Proxy, uri, message)
            .method(Method::POST)
            .header("content-type", "application/x-pki-message")
            .from(self.peer())
    }

    fn get(&self, query: &str) -> Shot {
        let uri = format!("/scep/{}{query}", self.tenant());
        Shot::to(Door::Proxy, uri, Vec::new())
            .method(Method::GET)
            .from(self.peer())
    }

    fn sealed(&self, request: &[u8]) -> Vec<u8> {
        encrypt(request, &self.ca, ContentCipher::Aes256).unwrap()
    }

    /// A whole message of the first device with this request.
    fn message(&self, request: &Request) -> Vec<u8> {
        let content = self.sealed(&request.sign(&DEVICES[0].key));
        self.envelope().sign(&content, &DEVICES[0])
    }

    async fn fire(&self, message: Vec<u8>) -> Run {
        self.world.fire(vec![self.post(message)]).await
    }

    async fn play(&mut self, name: &str) -> Run {
        if let Some(shots) = self.operations(name) {
            return self.world.fire(shots).await;
        }
        let grant = self.grant().await;
        let good = Request::named(&grant.id).challenge(&grant.challenge);
        if let Some(request) = wants_too_much(name, &grant.id, &grant.challenge) {
            return self.fire(self.message(&request)).await;
        }
        if let Some(message) = self.outside(name, &good) {
            return self.fire(message).await;
        }
        if let Some(content) = self.inside(name, &good.sign(&DEVICES[0].key)) {
            return self.fire(self.envelope().sign(&content, &DEVICES[0])).await;
        }
        if let Some(run) = self.renewals(name, &good).await {
            return run;
        }
        if let Some(run) = self.challenges(name, &grant).await {
            return run;
        }
        self.others(name, &grant, &good).await
    }

    fn operations(&self, name: &str) -> Option<Vec<Shot>> {
        let good = self.message(&Request::named("x"));
        let text = STANDARD.encode(&good);
        let none = TenantId(uuid::Uuid::from_u128(5));
        Some(vec![match name {
            "no operation" => self.get(""),
            "unknown operation" => self.get("?operation=Nothing"),
            "wrong-case operation" => self.get("?operation=getcacert"),
            "operation twice" => self.get("?operation=GetCACert&operation=GetCACert"),
            "GetNextCACert" => self.get("?operation=GetNextCACert"),
            "GetCACert with a message of 60 KiB" => self.get(&format!(
                "?operation=GetCACert&message={}",
                "x".repeat(60 << 10)
            )),
            "GetCACaps by POST" => self.get("?operation=GetCACaps").method(Method::POST),
            "PUT" => self.get("?operation=PKIOperation").method(Method::PUT),
            "message not base64" => self.get("?operation=PKIOperation&message=!!!!"),
            "plus signs decoded to spaces" => {
                assert!(text.contains('+'));
                self.get(&format!(
                    "?operation=PKIOperation&message={}",
                    text.replace('+', "%20")
                ))
            }
            "tenant that does not exist" => self.post_to(none, good),
            "tenant without an authority" => self.post_to(self.world.other, good),
            "empty POST" => self.post(Vec::new()),
            "random bytes" => self.post(vec![0xA5; 4_000]),
            "length field 2^32" => self.post(vec![0x30, 0x85, 1, 0, 0, 0, 0]),
            "1,000 nested sequences" => self.post([0x30, 0x80].repeat(1_000)),
            "truncation sweep" => {
                return Some(
                    (0..good.len())
                        .map(|cut| self.post(good[..cut].to_vec()))
                        .collect(),
                );
            }
            _ => return None,
        }])
    }

    /// Cases about the signed outside of a message.
    fn outside(&self, name: &str, good: &Request) -> Option<Vec<u8>> {
        let device = &DEVICES[0];
        let envelope = self.envelope();
        let content = self.sealed(&good.sign(&device.key));
        let mut message = envelope.around(&content, &device.certificate);
        let kind = oid::SCEP_MESSAGE_TYPE;
        let is = |one: &[u8], id: pomona_cms::ObjectIdentifier| {
            one.windows(id.as_bytes().len()).any(|w| w == id.as_bytes())
        };
        let md5 = oid_of("1.2.840.113549.2.5");
        let signer = message.signer();
        let attributes = signer.attributes.as_mut().unwrap();
        match name {
            "no signer" => message.signers.clear(),
            "two signers" => message.signers.push(message.signers[0].clone()),
            "signer certificate absent" => {
                message.certificates = Some(vec![DEVICES[1].certificate.der().to_vec()])
            }
            "transaction id missing" => attributes.retain(|one| !is(one, oid::SCEP_TRANSACTION_ID)),
            "digest mismatch" => {
                attributes.retain(|one| !is(one, oid::MESSAGE_DIGEST));
                attributes.push(attribute(oid::MESSAGE_DIGEST, &[octets(&[7; 32])]));
            }
            "corrupt signature" => signer.signature = Some(vec![7; 256]),
            "two messageType attributes" => {
                attributes.push(attribute(kind, &[tlv(0x13, &[b"17"])]))
            }
            "messageType as INTEGER" => {
                attributes.retain(|one| !is(one, kind));
                attributes.push(attribute(kind, &[vec![2, 1, 19]]));
            }
            "message type missing" => attributes.retain(|one| !is(one, kind)),
            "content-type attribute missing" => {
                attributes.remove(0);
            }
            "senderNonce missing" => attributes.retain(|one| !is(one, oid::SCEP_SENDER_NONCE)),
            "senderNonce of one byte" => {
                attributes.retain(|one| !is(one, oid::SCEP_SENDER_NONCE));
                attributes.push(attribute(oid::SCEP_SENDER_NONCE, &[octets(&[1])]));
            }
            "MD5" => {
                signer.digest = md5;
                message.digests = vec![algorithm(md5)];
            }
            "RSA-512 request key" => {
                odd_key(&mut message, &rsa_public_key(&modulus(64), &[1, 0, 1]))
            }
            "RSA-16384 key" => odd_key(&mut message, &rsa_public_key(&modulus(2_048), &[1, 0, 1])),
            "RSA exponent 1" => odd_key(&mut message, &rsa_public_key(&modulus(256), &[1])),
            "known weak key" => odd_key(&mut message, &rsa_public_key(&weak_modulus(), &[1, 0, 1])),
            "EC with explicit parameters" => {
                let how = seq(&[&id(oid::EC), &seq(&[&[2, 1, 1]])]);
                odd_key(&mut message, &seq(&[&how, &tlv(3, &[&[0], &[4; 65]])]));
            }
            _ => return None,
        }
        Some(message.encode(&content, &device.key))
    }

    /// Cases about what is inside of a well signed message.
    fn inside(&self, name: &str, request: &[u8]) -> Option<Vec<u8>> {
        let other = || {
            let mut damaged = request.to_vec();
            *damaged.last_mut().unwrap() ^= 1;
            damaged
        };
        let by_hand = |cipher, iv: &[u8], body: &[u8]| {
            envelope_by_hand(&[recipient(&self.ca)], cipher, iv, body)
        };
        let mut good = self.sealed(request);
        let last = good.len() - 1;
        Some(match name {
            "other recipient" => {
                encrypt(request, &DEVICES[1].certificate, ContentCipher::Aes256).unwrap()
            }
            "bad block padding" => {
                good[last] ^= 1;
                good
            }
            "ciphertext not whole blocks" => by_hand(oid::AES256_CBC, &[0; 16], &[0; 33]),
            "plaintext not a request" => self.sealed(b"hello"),
            "bad request signature" => self.sealed(&other()),
            "content not encrypted" => request.to_vec(),
            "zero-length initial vector" => by_hand(oid::AES256_CBC, &[], &[0; 32]),
            "DES" => by_hand(oid_of("1.3.14.3.2.7"), &[0; 8], &[0; 32]),
            "RC2" => by_hand(oid_of("1.2.840.113549.3.2"), &[0; 8], &[0; 32]),
            "300 recipients" => {
                let short = seq(&[&[2, 1, 0]]);
                envelope_by_hand(&vec![short; 300], oid::AES256_CBC, &[0; 16], &[0; 32])
            }
            "10,000 recipients" => {
                let all = vec![recipient(&DEVICES[1].certificate); 10_000];
                envelope_by_hand(&all, oid::AES256_CBC, &[0; 16], &[0; 32])
            }
            _ => return None,
        })
    }

    async fn renewals(&self, name: &str, good: &Request) -> Option<Run> {
        let kind = match name {
            "UpdateReq without authentication" => "18",
            "CertRep sent to the server" => "3",
            "message type 99" => "99",
            "CertPoll for an unknown id" => "20",
            "GetCert for another's serial" => "21",
            "GetCRL" => "22",
            name if name.starts_with("RenewalReq") => "17",
            _ => return None,
        };
        let envelope = Envelope {
            kind,
            ..self.envelope()
        };
        let device = &DEVICES[0];
        let content = self.sealed(&good.sign(&device.key));
        if kind != "17" || name.ends_with("a self-signed key") {
            return Some(self.fire(envelope.sign(&content, device)).await);
        }
        let (grant, party, card) = self
            .enrolled(name != "RenewalReq from an unused certificate")
            .await;
        let now = self.world.stage.now();
        let sql = &self.world.stage.sql;
        // A year and a half of its life have passed.
        let began = now - 13_000 * HOUR;
        let ends = |at: i64| {
            format!(
                "UPDATE certificate SET not_before = {began}, not_after = {at} WHERE id = (SELECT id FROM certificate WHERE der = x'{}')",
                hex::encode(&card.der)
            )
        };
        let mut subject = grant.id.clone();
        match name {
            "RenewalReq from another device's certificate" => {
                subject = self.enrolled(true).await.0.id
            }
            "RenewalReq from a revoked certificate" => {
                let bye = simple_check_in("CheckOut", &card.udid);
                self.world
                    .pass(&self.world.shot(&card.card(), CHECK_IN, bye), 200)
                    .await;
            }
            "RenewalReq from an expired certificate" => sql.run(&ends(now - 1)).await,
            "RenewalReq when it is due" => sql.run(&ends(now + 720 * HOUR)).await,
            _ => {}
        }
        let request = Request::named(&subject).sign(&party.key);
        let content = self.sealed(&request);
        Some(self.fire(envelope.sign(&content, &party)).await)
    }

    /// A device with a certificate of our authority, and its enrollment if it has one.
    async fn enrolled(&self, used: bool) -> (Grant, Party, Issued) {
        let grant = self.grant().await;
        let key = KeyPair::generate_rsa_2048().unwrap();
        let moment = self_signed(key, 9, YEAR);
        let request = Request::named(&grant.id).challenge(&grant.challenge);
        let content = self.sealed(&request.sign(&moment.key));
        let answer = self
            .world
            .pass(&self.post(self.envelope().sign(&content, &moment)), 200)
            .await;
        let der = issued(&answer, &moment);
        let card = Issued {
            udid: self.world.fresh_udid(),
            der: der.clone(),
        };
        if used {
            for body in [authenticate(&card.udid), token_update(&card.udid, "01")] {
                self.world
                    .pass(&self.world.shot(&card.card(), CHECK_IN, body), 200)
                    .await;
            }
        }
        let party = Party {
            key: moment.key,
            certificate: Certificate::from_der(&der).unwrap(),
        };
        (grant, party, card)
    }

    async fn challenges(&self, name: &str, grant: &Grant) -> Option<Run> {
        let bare = || Request::named(&grant.id);
        let right = grant.challenge.as_str();
        let mut nearly = right.to_owned();
        nearly.pop();
        nearly.push(if right.ends_with('A') { 'Q' } else { 'A' });
        let request = match name {
            "challenge missing" => bare(),
            "challenge wrong" => bare().challenge("guess"),
            "challenge given twice" => bare().challenge(right).challenge(right),
            "challenge with NUL inside" => bare().challenge(&format!("{right}\0")),
            "challenge right but for the end" => bare().challenge(&nearly),
            "challenge as PrintableString" => bare().challenge_as(0x13, right),
            "challenge as UTF8String" => bare().challenge_as(0x0C, right),
            "challenge expired" => {
                self.world.stage.clock.advance(2 * HOUR);
                bare().challenge(right)
            }
            "challenge of a revoked link" => {
                let store = self.world.stage.engine.store();
                revoke_link(store, self.tenant(), Actor::SYSTEM, grant.link)
                    .await
                    .unwrap();
                bare().challenge(right)
            }
            "challenge of another tenant" => {
                let store = self.world.stage.engine.store();
                let foreign = self.world.stage.add_tenant().await;
                create_authority(store, foreign, "Other").await.unwrap();
                let other = self.grant_in(foreign).await;
                Request::named(&other.id).challenge(&other.challenge)
            }
            "challenge used by another key" => {
                let first = bare().challenge(right).sign(&DEVICES[1].key);
                let message = self.envelope().sign(&self.sealed(&first), &DEVICES[1]);
                assert_eq!(
                    word(200, &self.world.pass(&self.post(message), 200).await),
                    "issued"
                );
                bare().challenge(right)
            }
            "challenge used by the same key" => {
                let again = bare().challenge(right);
                let first = self.world.pass(&self.post(self.message(&again)), 200).await;
                let run = self.fire(self.message(&again)).await;
                let same = issued(&first, &DEVICES[0]) == issued(&run.bodies[0], &DEVICES[0]);
                assert!(same, "the same certificate again");
                return Some(run);
            }
            _ => return None,
        };
        Some(self.fire(self.message(&request)).await)
    }

    async fn others(&self, name: &str, grant: &Grant, good: &Request) -> Run {
        let device = &DEVICES[0];
        let content = self.sealed(&good.sign(&device.key));
        let envelope = self.envelope();
        match name {
            "signer key unlike the request's key" => {
                let content = self.sealed(&good.sign(&DEVICES[1].key));
                self.fire(envelope.sign(&content, device)).await
            }
            "SHA-1 where policy forbids" => {
                let mut message = envelope.around(&content, &device.certificate);
                message.digests = vec![algorithm(oid::SHA1)];
                message.signer().digest = oid::SHA1;
                message.signer().algorithm = seq(&[&id(oid::RSA_SHA1), &[5, 0]]);
                self.strict(message.encode(&content, &device.key)).await
            }
            "triple DES where policy forbids" => {
                let body =
                    envelope_by_hand(&[recipient(&self.ca)], oid::DES_EDE3_CBC, &[0; 8], &[0; 32]);
                self.strict(envelope.sign(&body, device)).await
            }
            "EC key" => {
                let party = self_signed(KeyPair::generate_p256().unwrap(), 8, YEAR);
                let content = self.sealed(&good.sign(&party.key));
                self.fire(envelope.sign(&content, &party)).await
            }
            "100-year validity" => {
                let key = KeyPair::from_pkcs8(device.key.pkcs8()).unwrap();
                let party = self_signed(key, 7, 100 * YEAR);
                self.fire(envelope.sign(&content, &party)).await
            }
            "bad RSA padding" => {
                let at = content
                    .windows(4)
                    .position(|w| w == [4, 0x82, 1, 0])
                    .unwrap()
                    + 4;
                let shots = (0..200usize).map(|n| {
                    let mut changed = content.clone();
                    changed[at + 1 + (n * 5) % 250] ^= 1 << (n % 8);
                    self.post(self.envelope().sign(&changed, device))
                });
                let run = self.world.fire(shots.collect()).await;
                // The transaction id is echoed; beside it the answers have one length.
                let lengths: std::collections::BTreeSet<usize> =
                    run.bodies.iter().map(|body| body.len() / 8).collect();
                assert!(lengths.len() <= 2, "{lengths:?}");
                run
            }
            "transaction id of 1 MiB" | "transaction id of 30,000 bytes" => {
                let length = if name.contains("MiB") {
                    1 << 20
                } else {
                    30_000
                };
                let envelope = Envelope {
                    transaction: "x".repeat(length),
                    ..envelope
                };
                self.fire(envelope.sign(&content, device)).await
            }
            "transaction id reused by another key" => {
                self.world
                    .pass(&self.post(envelope.sign(&content, device)), 200)
                    .await;
                let second = self.grant().await;
                let request = Request::named(&second.id).challenge(&second.challenge);
                let content = self.sealed(&request.sign(&DEVICES[1].key));
                let envelope = Envelope {
                    nonce: self.envelope().nonce,
                    ..envelope
                };
                self.fire(envelope.sign(&content, &DEVICES[1])).await
            }
            "nonce replay" => {
                self.world
                    .pass(&self.post(envelope.sign(&content, device)), 200)
                    .await;
                let second = self.grant().await;
                let request = Request::named(&second.id).challenge(&second.challenge);
                let content = self.sealed(&request.sign(&DEVICES[1].key));
                let envelope = Envelope {
                    transaction: self.envelope().transaction,
                    ..envelope
                };
                self.fire(envelope.sign(&content, &DEVICES[1])).await
            }
            "indefinite-length BER" => {
                let message = envelope.sign(&content, device);
                // The header has a tag and three bytes of length.
                let open = [&[0x30, 0x80], &message[4..], &[0, 0]].concat();
                assert_eq!(message[1], 0x82);
                self.fire(open).await
            }
            "URL-safe base64" => {
                let text = URL_SAFE_NO_PAD.encode(envelope.sign(&content, device));
                let shot = self.get(&format!("?operation=PKIOperation&message={text}"));
                self.world.fire(vec![shot]).await
            }
            "1,000 guesses a second" => {
                let peer = self.peer();
                let guess = || {
                    let request = Request::named(&grant.id).challenge("guess");
                    self.post(self.message(&request)).from(peer)
                };
                for _ in 0..60 {
                    self.world.pass(&guess(), 200).await;
                }
                let shots = (0..40).map(|_| guess()).collect();
                self.world.fire_at_once(shots).await
            }
            "same request twice at once" => {
                let first = envelope.sign(&content, device);
                let second = Envelope {
                    nonce: self.envelope().nonce,
                    kind: "19",
                    transaction: envelope.transaction.clone(),
                };
                let second = second.sign(&content, device);
                let run = self
                    .world
                    .together(vec![self.post(first), self.post(second)])
                    .await;
                assert_eq!(
                    run.after.minus(&run.before, "certificate").len(),
                    1,
                    "one certificate"
                );
                run
            }
            other => panic!(
                "the table names a case that nobody makes: {other} in {:?}",
                self.folder
            ),
        }
    }

    /// Sends to a server that takes nothing old.
    async fn strict(&self, message: Vec<u8>) -> Run {
        let mut shot = self.post(message);
        shot.door = Door::Extra;
        self.world.fire(vec![shot]).await
    }
}

struct Issued {
    udid: String,
    der: Vec<u8>,
}

impl Issued {
    fn card(&self) -> Card {
        Card {
            der: self.der.clone(),
            id: uuid::Uuid::nil(),
        }
    }
}

/// The certificate in an answer.
fn issued(answer: &[u8], party: &Party) -> Vec<u8> {
    let verified = signed::verify_attached(answer, &Policy::strict()).unwrap();
    let plain = pomona_cms::enveloped::decrypt(
        &verified.content.unwrap(),
        &party.certificate,
        &party.key,
        &pomona_cms::DecryptPolicy::strict(),
    )
    .unwrap();
    let info = <cms::content_info::ContentInfo as der::Decode>::from_der(&plain).unwrap();
    let data: cms::signed_data::SignedData = info.content.decode_as().unwrap();
    let Some(cms::cert::CertificateChoices::Certificate(one)) =
        data.certificates.unwrap().0.iter().next().cloned()
    else {
        panic!("no certificate");
    };
    der::Encode::to_der(&one).unwrap()
}

/// The grant and the challenge in the SCEP payload of a plain profile.
fn scep_values(profile: &[u8]) -> (String, String) {
    let profile: plist::Value = plist::from_bytes(profile).unwrap();
    let payloads = profile.as_dictionary().unwrap()["PayloadContent"]
        .as_array()
        .unwrap()
        .clone();
    let scep = payloads
        .iter()
        .filter_map(plist::Value::as_dictionary)
        .find(|one| one["PayloadType"].as_string() == Some("com.apple.security.scep"))
        .unwrap();
    let content = scep["PayloadContent"].as_dictionary().unwrap();
    let subject = content["Subject"].as_array().unwrap()[0]
        .as_array()
        .unwrap()[0]
        .as_array()
        .unwrap();
    let text = |value: &plist::Value| value.as_string().unwrap().to_owned();
    (text(&subject[1]), text(&content["Challenge"]))
}

/// Puts a certificate with this key in place of the signer's; nobody can sign with it.
fn odd_key(message: &mut Message, public_key: &[u8]) {
    let subject = named("odd");
    message.certificates = Some(vec![certificate_with_key(&subject, public_key, 9)]);
    let signer = message.signer();
    signer.sid = seq(&[subject.der(), &tlv(2, &[&[9]])]);
    signer.signature = Some(vec![1; 256]);
    if !public_key.windows(9).any(|w| w == oid::RSA.as_bytes()) {
        signer.algorithm = algorithm(oid::ECDSA_SHA256);
    }
}

/// A modulus with the mark of a generator whose keys can be factored: one more than a multiple of many small primes.
fn weak_modulus() -> Vec<u8> {
    let mut digits = vec![1u8];
    for prime in (3..=251u32).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0)) {
        let mut carry = 0u32;
        for digit in &mut digits {
            let product = u32::from(*digit) * prime + carry;
            *digit = (product & 0xFF) as u8;
            carry = product >> 8;
        }
        while carry > 0 {
            digits.push((carry & 0xFF) as u8);
            carry >>= 8;
        }
    }
    // So many zeros behind it that there are 256 bytes, and the top bit set.
    let top = digits.last().unwrap().leading_zeros();
    let mut out = vec![0u8; 256 - digits.len()];
    let mut carry = 0u16;
    for digit in digits {
        let shifted = (u16::from(digit) << top) | carry;
        out.push((shifted & 0xFF) as u8);
        carry = shifted >> 8;
    }
    out[0] = 1;
    out.reverse();
    out
}

fn recipient(certificate: &Certificate) -> Vec<u8> {
    seq(&[
        &[2, 1, 0],
        &crate::signing::issuer_and_serial(certificate),
        &seq(&[&id(oid::RSA), &[5, 0]]),
        &octets(&[9; 256]),
    ])
}

fn envelope_by_hand(
    recipients: &[Vec<u8>],
    cipher: pomona_cms::ObjectIdentifier,
    iv: &[u8],
    body: &[u8],
) -> Vec<u8> {
    let content = seq(&[
        &id(oid::DATA),
        &seq(&[&id(cipher), &octets(iv)]),
        &tlv(0x80, &[body]),
    ]);
    let inner = seq(&[&[2, 1, 0], &set(recipients), &content]);
    seq(&[&id(oid::ENVELOPED_DATA), &tlv(0xA0, &[&inner])])
}

fn wants_too_much(name: &str, grant: &str, challenge: &str) -> Option<Request> {
    let good = || Request::named(grant).challenge(challenge);
    let named = |name: &str| Request::named(name).challenge(challenge);
    Some(match name {
        "subject of another device" => named(&uuid::Uuid::from_u128(1).to_string()),
        "empty subject" => named(""),
        "wildcard name" => named("*.example.org"),
        "CA true" => good().wants(oid::BASIC_CONSTRAINTS, true, &seq(&[&[1, 1, 0xFF]])),
        "server-authentication usage" => good().wants(
            oid::EXTENDED_KEY_USAGE,
            false,
            &seq(&[&id(oid::SERVER_AUTH)]),
        ),
        "certificate-signing usage" => good().wants(oid::KEY_USAGE, true, &[3, 2, 2, 4]),
        "unknown critical extension" => good().wants(oid_of("1.2.3.4"), true, &[5, 0]),
        _ => return None,
    })
}
