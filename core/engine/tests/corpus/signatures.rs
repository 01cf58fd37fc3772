//! Signed messages that are not as they should be (section 4.10), as `Mdm-Signature` where TLS ends at the server.
//!
//! Owns: how each case of the table is made. Cases about external authorities sign an `Authenticate`, all others a report of
//! an enrolled device.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pomona_cms::x509::{Extension, TlsServer, issuing_ca, pem, tls_server};
use pomona_cms::{KeyPair, ObjectIdentifier, Signer, oid};
use pomona_engine::Actor;
use pomona_engine::identity::{ExternalPolicy, add_external};

use crate::reports::{real_card, signing_device, with_signature};
use crate::signing::{
    LAB, Message, Party, START, SignerInfo, YEAR, algorithm, attribute, authority,
    certificate_with_key, id, identity, identity_in, modulus, named, octets, oid_of,
    rsa_public_key, seq, serial, set, signature, standard_attributes, tlv, valid,
};
use crate::support::{Card, TOPIC, authenticate, idle, simple_check_in, token_update};
use crate::world::{CHECK_IN, Run, Score, Shot, World, table};

struct Cast {
    world: World,
    udid: String,
    rsa_udid: String,
    body: Vec<u8>,
}

#[tokio::test]
async fn every_bad_signature_gets_its_answer() {
    let cast = Cast::new().await;
    let mut score = Score::new("4.10");
    for line in table("4.10") {
        let run = Box::pin(cast.play(line.name)).await;
        score.add(&line, cast.world.judge(&line, run).await);
    }
    score.finish(60);
}

impl Cast {
    async fn new() -> Self {
        let world = World::new().await;
        let (udid, _, _) = signing_device(&world, &LAB.p256).await;
        let (rsa_udid, _, _) = signing_device(&world, &LAB.rsa).await;
        let store = world.stage.engine.store();
        add_external(
            store,
            world.stage.tenant,
            Actor::SYSTEM,
            "Another authority",
            &pem::write_certificate(&LAB.root.certificate),
            ExternalPolicy::Any,
        )
        .await
        .unwrap();
        Self {
            body: idle(&udid).into_bytes(),
            udid,
            rsa_udid,
            world,
        }
    }

    fn shot(&self, signature: &[u8]) -> Shot {
        with_signature(&self.world, self.body.clone(), signature)
    }

    async fn play(&self, name: &str) -> Run {
        if name == "truncation sweep" {
            let whole = signature(&LAB.p256, &self.body);
            let shots = (0..whole.len())
                .map(|cut| self.shot(&whole[..cut]))
                .collect();
            return self.world.fire(shots).await;
        }
        let shot = match self.raw(name).or_else(|| self.built(name)) {
            Some(message) => self.shot(&message),
            None => match external(name) {
                Some(party) => self.external(name, &party),
                None => self.others(name).await,
            },
        };
        self.world.fire(vec![shot]).await
    }

    /// Bytes that are no message.
    fn raw(&self, name: &str) -> Option<Vec<u8>> {
        let good = || signature(&LAB.p256, &self.body);
        Some(match name {
            "empty" => Vec::new(),
            "PEM armour in base64" => format!(
                "-----BEGIN PKCS7-----\n{}\n-----END PKCS7-----\n",
                STANDARD.encode(good())
            )
            .into_bytes(),
            "trailing bytes" => [good(), vec![0]].concat(),
            "length 2^63" => vec![0x30, 0x88, 0x80, 0, 0, 0, 0, 0, 0, 0],
            "length 2^32" => vec![0x30, 0x85, 1, 0, 0, 0, 0],
            "non-minimal lengths" => {
                let good = good();
                assert_eq!(good[1], 0x82);
                [&[0x30, 0x83, 0][..], &good[2..]].concat()
            }
            "depth 10,000" => [0x30, 0x80].repeat(10_000),
            "set of 10,000" => seq(&[
                &id(oid::SIGNED_DATA),
                &tlv(0x31, &[&[5u8, 0].repeat(10_000)]),
            ]),
            "set of ten million" => seq(&[
                &id(oid::SIGNED_DATA),
                &tlv(0x31, &[&[5u8, 0].repeat(10_000_000)]),
            ]),
            "indefinite length" => {
                let good = good();
                [&[0x30, 0x80], &good[4..], &[0, 0]].concat()
            }
            _ => return None,
        })
    }

    /// A good message with one thing changed.
    fn built(&self, name: &str) -> Option<Vec<u8>> {
        let body = &self.body;
        let mut m = Message::new(&LAB.p256.certificate, body);
        let good = m.signers[0].clone();
        let own = LAB.p256.certificate.der().to_vec();
        let md5 = oid_of("1.2.840.113549.2.5");
        let key_id = |party: &Party| tlv(0x80, &[party.certificate.subject_key_id().unwrap()]);
        match name {
            "wrong content type" => m.outer = oid::ENVELOPED_DATA,
            "compressed data" => m.outer = oid_of("1.2.840.113549.1.9.16.1.9"),
            "unknown OID" => m.outer = oid_of("1.2.3.4.5"),
            "version 99" => m.version = 99,
            "signer version 99" => m.signer().version = 99,
            "no digest list" => m.digests.clear(),
            "1,000 digests" => m.digests = vec![algorithm(oid::SHA256); 1_000],
            "signer's digest not listed" => m.digests = vec![algorithm(oid::SHA512)],
            "no signers" => m.signers.clear(),
            "100 signers" => m.signers = vec![good; 100],
            "two good signers" => m.signers.push(good),
            "one good and one bad signer" => m.signers.push(SignerInfo {
                signature: Some(vec![0; 70]),
                ..good
            }),
            "no certificates" => m.certificates = None,
            "60 certificates" => m.certificates = Some(vec![own; 60]),
            "10,000 certificates" => m.certificates = Some(vec![own; 10_000]),
            "signer absent" => m.certificates = Some(vec![LAB.other.certificate.der().to_vec()]),
            "two certificates with one serial" => {
                let twin = identity(&LAB.root, KeyPair::generate_p256().unwrap(), "twin", 3, &[]);
                m.certificates = Some(vec![own, twin.certificate.der().to_vec()]);
            }
            "key id pointing to the wrong one" => {
                m.certificates = Some(vec![own, LAB.other.certificate.der().to_vec()]);
                m.signer().sid = key_id(&LAB.other);
            }
            "key id instead of the serial" => {
                m.signer().version = 3;
                m.signer().sid = key_id(&LAB.p256);
            }
            "signed attributes without a digest" => {
                m.signer().attributes.as_mut().unwrap().pop();
            }
            "digest wrong" => m.signer().attributes = Some(standard_attributes(b"other")),
            "digest twice" => {
                let mut list = standard_attributes(b"other");
                list.extend(standard_attributes(body).pop());
                m.signer().attributes = Some(list);
            }
            "content-type attribute differs" => {
                m.signer().attributes.as_mut().unwrap()[0] =
                    attribute(oid::CONTENT_TYPE, &[id(oid::SIGNED_DATA)]);
            }
            "signature empty" => m.signer().signature = Some(Vec::new()),
            "signature of 10 KiB" => m.signer().signature = Some(vec![7; 10 << 10]),
            "signature of 1 MiB" => m.signer().signature = Some(vec![7; 1 << 20]),
            "ECDSA zero" => m.signer().signature = Some(vec![0x30, 6, 2, 1, 0, 2, 1, 0]),
            "MD5" => {
                m.digests = vec![algorithm(md5)];
                m.signer().digest = md5;
            }
            "odd PSS parameters" => {
                m.signer().algorithm = seq(&[
                    &id(oid_of("1.2.840.113549.1.1.10")),
                    &seq(&[&tlv(0xA2, &[&[2, 1, 1]])]),
                ]);
            }
            "RSA exponent 3 and a worthless signature" => {
                odd_key(
                    &mut m,
                    &rsa_public_key(&modulus(256), &[3]),
                    oid::RSA_SHA256,
                );
            }
            "unknown key type" => {
                let key = seq(&[
                    &algorithm(oid_of("1.3.101.112")),
                    &tlv(3, &[&[0], &[1; 32]]),
                ]);
                odd_key(&mut m, &key, oid::ECDSA_SHA256);
            }
            "attached where detached is due" => m.attached = Some(body.clone()),
            "attached content unlike the body" => m.attached = Some(b"other".to_vec()),
            "attributes with the wrong tag" => m.signer().attributes_tag = 0x31,
            "no signed attributes" => m.signer().attributes = None,
            "odd signing time" => {
                let odd = attribute(oid::SIGNING_TIME, &[octets(b"yesterday")]);
                m.signer().attributes.as_mut().unwrap().push(odd);
            }
            "unsorted attributes" => m.signer().attributes.as_mut().unwrap().reverse(),
            "20 KiB of unsigned attributes" => m.signer().unsigned = bomb(20 << 10),
            "countersignature bomb" => m.signer().unsigned = bomb(100 << 10),
            "high-S ECDSA" => {
                let signed = m.signers[0].signed(body);
                let low = LAB
                    .p256
                    .key
                    .sign(pomona_cms::DigestAlgorithm::Sha256, &signed)
                    .unwrap();
                m.signer().signature = Some(other_s(&low));
            }
            "certificate loop" => {
                let (one, two) = (authority("one", 11), authority("two", 12));
                let cross = |by: &Party, of: &Party, name: &str, number| {
                    let certificate = issuing_ca(
                        &by.issuer(),
                        &named(name),
                        of.key.public_key_der(),
                        serial(number),
                        years(),
                    );
                    certificate.unwrap().der().to_vec()
                };
                m.certificates = Some(vec![
                    own,
                    cross(&one, &two, "two", 13),
                    cross(&two, &one, "one", 14),
                ]);
            }
            "exponential path" => {
                let same =
                    (0..9).map(|number| authority("Lab", 20 + number).certificate.der().to_vec());
                m.certificates = Some(std::iter::once(own).chain(same).collect());
            }
            _ => return None,
        }
        Some(m.encode(body, &LAB.p256.key))
    }

    fn external(&self, name: &str, party: &Party) -> Shot {
        let udid = self.world.fresh_udid();
        let (kind, body) = match name {
            "external: not an Authenticate" => (CHECK_IN, token_update(&udid, "01")),
            "external: foreign Topic" => {
                let foreign = authenticate(&udid).replace(TOPIC, "com.apple.mgmt.External.other");
                (CHECK_IN, foreign)
            }
            _ => (CHECK_IN, authenticate(&udid)),
        };
        let signature = signature(party, body.as_bytes());
        with_signature(&self.world, body.into_bytes(), &signature).header("content-type", kind)
    }

    async fn others(&self, name: &str) -> Shot {
        let world = &self.world;
        match name {
            "not base64" => self.shot(b"").header("mdm-signature", "no base64!"),
            "PEM armour in the header" => {
                let text = STANDARD.encode(signature(&LAB.p256, &self.body));
                let armour = format!("-----BEGIN PKCS7-----{text}-----END PKCS7-----");
                self.shot(b"").header("mdm-signature", armour)
            }
            "detached with empty body" => {
                let message = Message::new(&LAB.p256.certificate, b"").encode(b"", &LAB.p256.key);
                with_signature(world, Vec::new(), &message)
            }
            "good signature of another request" => {
                let other = simple_check_in("CheckOut", &self.udid).into_bytes();
                with_signature(world, other, &signature(&LAB.p256, &self.body))
                    .header("content-type", CHECK_IN)
            }
            "good signer, UDID of another device" => {
                let body = idle(&self.rsa_udid).into_bytes();
                let message = signature(&LAB.p256, &body);
                with_signature(world, body, &message)
            }
            "revoked" => {
                let (udid, _, _) = signing_device(world, &LAB.spare).await;
                let bye = simple_check_in("CheckOut", &udid).into_bytes();
                let message = signature(&LAB.spare, &bye);
                let shot = with_signature(world, bye, &message).header("content-type", CHECK_IN);
                world.pass(&shot, 200).await;
                let body = idle(&udid).into_bytes();
                let message = signature(&LAB.spare, &body);
                with_signature(world, body, &message)
            }
            "another tenant's CA" => {
                let party = identity(
                    &LAB.stranger_root,
                    KeyPair::generate_p256().unwrap(),
                    "elsewhere",
                    31,
                    &[],
                );
                real_card(world, world.other, party.certificate.der()).await;
                let body = authenticate(&world.fresh_udid()).into_bytes();
                let message = signature(&party, &body);
                with_signature(world, body, &message).header("content-type", CHECK_IN)
            }
            "expired and still the active one" => {
                let (udid, card, _): (String, Card, _) = signing_device(world, &LAB.other).await;
                world
                    .stage
                    .sql
                    .run(&format!(
                        "UPDATE certificate SET not_after = 1 WHERE id = {}",
                        world.stage.sql.id(card.id)
                    ))
                    .await;
                let body = idle(&udid).into_bytes();
                let message = signature(&LAB.other, &body);
                with_signature(world, body, &message)
            }
            "SHA-1" => {
                let body = idle(&self.rsa_udid).into_bytes();
                let message = by_openssl(&LAB.rsa, &body);
                with_signature(world, body, &message)
            }
            other => panic!("the table names a case that nobody makes: {other}"),
        }
    }
}

fn years() -> pomona_cms::x509::Validity {
    valid(START - YEAR, START + 5 * YEAR)
}

/// The holder of a certificate that an external authority issued, or so it says.
fn external(name: &str) -> Option<Party> {
    let case = name.strip_prefix("external: ")?;
    let key = || KeyPair::generate_p256().unwrap();
    let critical = Extension {
        id: oid_of("1.2.3.4"),
        critical: true,
        value: vec![5, 0],
    };
    let root = &LAB.root;
    Some(match case {
        "not yet valid" => identity_in(
            root,
            key(),
            "a",
            41,
            &[],
            valid(START + YEAR, START + 2 * YEAR),
        ),
        "expired at first sight" => identity_in(
            root,
            key(),
            "b",
            42,
            &[],
            valid(START - 2 * YEAR, START - YEAR),
        ),
        "unknown critical extension" => identity(root, key(), "c", 43, &[critical]),
        "foreign Topic" => identity(root, key(), "h", 51, &[]),
        "another authority of the same name" => identity(&LAB.stranger_root, key(), "d", 44, &[]),
        "constraint violated" => {
            let key_of_ca = key();
            let certificate = issuing_ca(
                &root.issuer(),
                &named("below"),
                key_of_ca.public_key_der(),
                serial(45),
                years(),
            )
            .unwrap();
            let below = Party {
                key: key_of_ca,
                certificate,
            };
            identity_in(&below, key(), "e", 46, &[], years())
        }
        "no client usage" => {
            let key = key();
            let server = TlsServer {
                subject: &named("f"),
                public_key_der: key.public_key_der(),
                serial: serial(47),
                validity: years(),
                dns: &["a.example"],
                ips: &[],
            };
            let certificate = tls_server(&root.issuer(), &server).unwrap();
            Party { key, certificate }
        }
        "CA certificate as signer" => {
            let key = key();
            let certificate = issuing_ca(
                &root.issuer(),
                &named("g"),
                key.public_key_der(),
                serial(48),
                years(),
            )
            .unwrap();
            Party { key, certificate }
        }
        "not an Authenticate" | "good" => identity(root, key(), "h", 49, &[]),
        _ => return None,
    })
}

/// Puts a certificate with this key in place of the signer's; nobody can sign with it.
fn odd_key(message: &mut Message, public_key: &[u8], how: ObjectIdentifier) {
    let subject = named("odd");
    message.certificates = Some(vec![certificate_with_key(&subject, public_key, 9)]);
    let signer = message.signer();
    signer.sid = seq(&[subject.der(), &tlv(2, &[&[9]])]);
    signer.algorithm = algorithm(how);
    signer.signature = Some(vec![1; 256]);
}

/// Unsigned attributes of about so many bytes.
fn bomb(bytes: usize) -> Vec<u8> {
    let counter = oid_of("1.2.840.113549.1.9.6");
    tlv(
        0xA1,
        &[&seq(&[&id(counter), &set(&[octets(&vec![7; bytes])])])],
    )
}

/// The same ECDSA signature with the other of its two values of s.
fn other_s(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC,
        0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
    ];
    let r_length = usize::from(signature[3]);
    let r = &signature[2..4 + r_length];
    let s = &signature[6 + r_length..];
    let mut number = [0u8; 32];
    let digits: Vec<u8> = s.iter().copied().skip_while(|byte| *byte == 0).collect();
    number[32 - digits.len()..].copy_from_slice(&digits);
    let mut borrow = 0i16;
    let mut out = [0u8; 32];
    for at in (0..32).rev() {
        let difference = i16::from(ORDER[at]) - i16::from(number[at]) - borrow;
        borrow = i16::from(difference < 0);
        out[at] = difference.rem_euclid(256) as u8;
    }
    let digits: Vec<u8> = out.into_iter().skip_while(|byte| *byte == 0).collect();
    let sign: &[u8] = if digits[0] >= 0x80 { &[0] } else { &[] };
    seq(&[r, &tlv(2, &[sign, &digits])])
}

/// A signature with SHA-1, which we do not write.
fn by_openssl(party: &Party, body: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("body"), body).unwrap();
    std::fs::write(path("one.pem"), pem::write_certificate(&party.certificate)).unwrap();
    std::fs::write(
        path("one.key"),
        pem::write_private_key(&party.key).as_bytes(),
    )
    .unwrap();
    let done = std::process::Command::new("openssl")
        .current_dir(folder.path())
        .args("cms -sign -binary -md sha1 -in body -signer one.pem -inkey one.key -outform DER -out out".split(' '))
        .output()
        .expect("this test needs the openssl command line");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let out = std::fs::read(path("out")).unwrap();
    assert!(out.windows(5).any(|w| w == oid::SHA1.as_bytes()));
    out
}
