//! Chains and certificates that must not be trusted, and the ones that must.

use std::time::Duration;

use pomona_cms::key::key_kind;
use pomona_cms::x509::{
    Certificate, CertificateError, ChainError, ClientIdentity, Extension, IssueError, Purpose,
    SubjectAltName, Validity, client_identity, root_ca, verify_chain,
};
use pomona_cms::{KeyError, KeyPair, Signer, oid};

use crate::build::{
    bare_ca, certificate_with_key, modulus, multiply, oid_of, rsa_public_key, seq, tlv,
};
use crate::lab::{
    Bench, DAY, GRANT, LAB, Party, START, YEAR, fastest, identity, named, serial, years,
};

const NOW: i64 = START + DAY;

/// Name, leaf, intermediates, roots, reason.
type Case<'a> = (
    &'a str,
    &'a Certificate,
    Vec<Certificate>,
    Vec<Certificate>,
    ChainError,
);

fn judge(
    leaf: &Certificate,
    between: &[Certificate],
    roots: &[Certificate],
) -> Result<(), ChainError> {
    verify_chain(leaf, between, roots, NOW, Purpose::ClientIdentity).map(drop)
}

fn between() -> Vec<Certificate> {
    vec![LAB.ca.certificate.clone()]
}

fn roots() -> Vec<Certificate> {
    vec![LAB.root.certificate.clone()]
}

fn with_extensions(extensions: &[Extension]) -> Certificate {
    client_identity(
        &LAB.ca.issuer(),
        &ClientIdentity {
            subject: &named("odd"),
            public_key_der: LAB.p256.key.public_key_der(),
            serial: serial(50),
            validity: years(1),
            grant: None,
            extensions,
        },
    )
    .unwrap()
}

#[test]
fn a_good_chain_is_trusted_directly_and_over_an_intermediate() {
    for leaf in [&LAB.rsa.certificate, &LAB.p256.certificate] {
        assert_eq!(judge(leaf, &between(), &roots()), Ok(()));
        assert_eq!(judge(leaf, &[], &between()), Ok(()));
    }
    let known = verify_chain(
        &LAB.own.certificate,
        &[],
        std::slice::from_ref(&LAB.own.certificate),
        NOW,
        Purpose::TlsServer,
    );
    assert_eq!(known.map(Certificate::der), Ok(LAB.own.certificate.der()));
}

#[test]
fn an_expired_chain_is_told_apart_from_an_untrusted_one() {
    let at = |when, roots: &[Certificate]| {
        verify_chain(
            &LAB.rsa.certificate,
            &between(),
            roots,
            when,
            Purpose::ClientIdentity,
        )
        .map(drop)
    };
    let not_after = START + YEAR;
    assert_eq!(at(not_after, &roots()), Ok(()));
    assert_eq!(
        at(not_after + 1, &roots()),
        Err(ChainError::Expired { not_after })
    );
    assert_eq!(
        at(START - 1, &roots()),
        Err(ChainError::NotYetValid { not_before: START })
    );
    let strangers = [LAB.stranger.certificate.clone()];
    assert_eq!(at(not_after + 1, &strangers), Err(ChainError::Untrusted));
}

#[test]
fn every_named_bad_chain_is_refused_for_its_own_reason() {
    let odd = |id, critical| Extension {
        id,
        critical,
        value: vec![5, 0],
    };
    let bench = Bench::new();
    bench.party("ca", &LAB.ca);
    bench.party("rsa", &LAB.rsa);
    // A leaf that calls itself the issuer of another leaf.
    bench.openssl("req -new -key rsa.key -subj /CN=below -out below.csr");
    bench.openssl("x509 -req -in below.csr -CA rsa.pem -CAkey rsa.key -days 1 -out below.pem");
    let below = pomona_cms::x509::pem::certificates(&bench.text("below.pem"))
        .unwrap()
        .remove(0);
    let below_path = [LAB.rsa.certificate.clone(), LAB.ca.certificate.clone()];
    let server = bench_leaf("extendedKeyUsage=serverAuth");
    let no_signing = bench_leaf("keyUsage=keyEncipherment");
    let constrained = bench_leaf("nameConstraints=critical,permitted;DNS:.example");
    let sha1 = bench_signed("-sha1");

    let cases: Vec<Case<'_>> = vec![
        (
            "unknown root of the same name",
            &LAB.rsa.certificate,
            between(),
            vec![LAB.stranger.certificate.clone()],
            ChainError::Untrusted,
        ),
        (
            "intermediate missing",
            &LAB.rsa.certificate,
            vec![],
            roots(),
            ChainError::Untrusted,
        ),
        (
            "no roots at all",
            &LAB.rsa.certificate,
            between(),
            vec![],
            ChainError::Untrusted,
        ),
        (
            "self-signed stranger",
            &LAB.own.certificate,
            between(),
            roots(),
            ChainError::Purpose,
        ),
        (
            "CA certificate as leaf",
            &LAB.ca.certificate,
            vec![],
            roots(),
            ChainError::LeafIsCa,
        ),
        (
            "issued by a leaf",
            &below,
            below_path.to_vec(),
            roots(),
            ChainError::Untrusted,
        ),
        (
            "server usage only",
            &server,
            between(),
            roots(),
            ChainError::Purpose,
        ),
        (
            "no signing usage",
            &no_signing,
            between(),
            roots(),
            ChainError::Purpose,
        ),
        (
            "names constrained critically",
            &constrained,
            between(),
            roots(),
            ChainError::CriticalExtension,
        ),
        (
            "signed with SHA-1",
            &sha1,
            between(),
            roots(),
            ChainError::Untrusted,
        ),
    ];
    for (name, leaf, between, roots, reason) in &cases {
        assert_eq!(judge(leaf, between, roots), Err(*reason), "{name}");
    }
    let critical = with_extensions(&[odd(oid_of("1.2.3.4"), true)]);
    assert_eq!(
        judge(&critical, &between(), &roots()),
        Err(ChainError::CriticalExtension)
    );
    let harmless = with_extensions(&[odd(oid_of("1.2.3.4"), false)]);
    assert_eq!(judge(&harmless, &between(), &roots()), Ok(()));
    let (between, roots) = (between(), roots());
    let old = verify_chain(
        &sha1,
        &between,
        &roots,
        sha1.not_before() + 1,
        Purpose::MachineInfo,
    );
    assert!(old.is_ok(), "SHA-1 counts for machine information only");
}

/// A leaf of the issuing CA made by OpenSSL with this one extension.
fn bench_leaf(extension: &str) -> Certificate {
    openssl_leaf(extension, "-sha256")
}

fn bench_signed(digest: &str) -> Certificate {
    openssl_leaf("basicConstraints=CA:FALSE", digest)
}

fn openssl_leaf(extension: &str, digest: &str) -> Certificate {
    let bench = Bench::new();
    bench.party("ca", &LAB.ca);
    bench.write("ext", format!("{extension}\n"));
    bench.openssl("req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout k -subj /CN=leaf -out csr");
    // OpenSSL starts certificates now, whenever that is: callers judge what does not depend on it.
    bench.openssl(&format!(
        "x509 -req -in csr -CA ca.pem -CAkey ca.key {digest} -extfile ext -days 3000 -out leaf"
    ));
    let text = String::from_utf8(bench.read("leaf")).unwrap();
    pomona_cms::x509::pem::certificates(&text)
        .unwrap()
        .remove(0)
}

#[test]
fn a_ca_below_a_ca_without_room_is_refused() {
    // The issuing CA has path length 0; a CA that its key signs anyway does not count.
    let bench = Bench::new();
    bench.party("ca", &LAB.ca);
    bench.write(
        "ext",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n",
    );
    bench.openssl("req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout k -subj /CN=sub -out csr");
    bench.openssl("x509 -req -in csr -CA ca.pem -CAkey ca.key -extfile ext -days 3000 -out sub");
    let sub = Party {
        key: pomona_cms::x509::pem::private_key(&bench.text("k")).unwrap(),
        certificate: pomona_cms::x509::pem::certificates(&bench.text("sub"))
            .unwrap()
            .remove(0),
    };
    let start = sub.certificate.not_before();
    let validity = Validity {
        not_before: start,
        not_after: start + YEAR,
    };
    let leaf = identity(&sub, KeyPair::generate_p256().unwrap(), "x", 51, validity);
    let between = [sub.certificate, LAB.ca.certificate.clone()];
    let roots = roots();
    let judged = verify_chain(
        &leaf.certificate,
        &between,
        &roots,
        start + 1,
        Purpose::ClientIdentity,
    );
    assert_eq!(judged.map(drop), Err(ChainError::Untrusted));
}

#[test]
fn loops_and_many_possible_paths_end_soon() {
    // Twelve CAs of one name and key, all issuing each other: every order of them is a possible path.
    let key = KeyPair::generate_p256().unwrap();
    let other = KeyPair::generate_p256().unwrap();
    let name = named("Ring");
    let ring: Vec<Certificate> = (0..12u8)
        .map(|number| {
            let keys = [&key, &other];
            root_ca(
                keys[usize::from(number % 2)],
                &name,
                serial(60 + number),
                years(10),
            )
            .unwrap()
        })
        .collect();
    let party = Party {
        certificate: ring[0].clone(),
        key,
    };
    let leaf = identity(&party, KeyPair::generate_p256().unwrap(), "x", 80, years(1));
    let took = fastest(|| {
        assert_eq!(
            judge(&leaf.certificate, &ring, &roots()),
            Err(ChainError::Untrusted)
        );
    });
    assert!(took < Duration::from_millis(50), "{took:?}");
}

/// A full mesh of CAs: each of four keys a level is certified by each key of the level above, and none leads to a root.
#[test]
fn exponential_meshes_are_given_up() {
    let keys: Vec<KeyPair> = (0..4).map(|_| KeyPair::generate_p256().unwrap()).collect();
    let level_name = |level: usize| named(&format!("Level {level}"));
    let mut mesh = Vec::new();
    for level in 0..4 {
        for issuer in &keys {
            for holder in &keys {
                let der = bare_ca(
                    &level_name(level),
                    issuer,
                    &level_name(level + 1),
                    holder.public_key_der(),
                );
                mesh.push(Certificate::from_der(&der).unwrap());
            }
        }
    }
    let issuer = Party {
        certificate: mesh[mesh.len() - 4].clone(),
        key: KeyPair::from_pkcs8(keys[0].pkcs8()).unwrap(),
    };
    let leaf = identity(
        &issuer,
        KeyPair::generate_p256().unwrap(),
        "x",
        92,
        years(1),
    );
    let took = fastest(|| {
        assert_eq!(
            judge(&leaf.certificate, &mesh, &roots()),
            Err(ChainError::TooComplex)
        );
    });
    assert!(took < Duration::from_millis(50), "{took:?}");
}

#[test]
fn a_second_grant_hides_both() {
    let two = Extension {
        id: oid::SUBJECT_ALT_NAME,
        critical: false,
        value: seq(&[
            &tlv(0x86, &[GRANT.urn().to_string().as_bytes()]),
            &tlv(0x86, &[b"urn:uuid:00000000-0000-0000-0000-000000000001"]),
        ]),
    };
    let certificate = with_extensions(&[two]);
    assert_eq!(certificate.subject_alt_names().len(), 2);
    assert!(matches!(
        certificate.subject_alt_names()[0],
        SubjectAltName::Uri(_)
    ));
    assert_eq!(certificate.grant_id(), None);
}

#[test]
fn every_named_bad_certificate_is_refused() {
    let good = LAB.p256.certificate.der();
    let subject = named("x");
    let key = LAB.p256.key.public_key_der();
    let odd = certificate_with_key(&subject, key, 9);
    assert!(Certificate::from_der(&odd).is_ok());
    let change = |from: &[u8], to: &[u8]| {
        let at = odd
            .windows(from.len())
            .position(|part| part == from)
            .unwrap();
        let mut out = odd.clone();
        out.splice(at..at + from.len(), to.iter().copied());
        out
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("trailing byte", [good, &[0]].concat()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("indefinite", [&[0x30, 0x80], &good[4..], &[0, 0]].concat()),
        (
            "version 4",
            change(&[0xA0, 3, 2, 1, 2], &[0xA0, 3, 2, 1, 3]),
        ),
        ("month 13", change(b"260101000000Z", b"261301000000Z")),
        (
            "time with letters",
            change(b"260101000000Z", b"2601010000ooZ"),
        ),
        (
            "time with a zone",
            change(b"360101000000Z", b"3601010000+00"),
        ),
        ("inner and outer algorithm differ", {
            let mut out = odd.clone();
            let at = out
                .windows(8)
                .rposition(|part| part == oid::ECDSA_SHA256.as_bytes())
                .unwrap();
            out[at + 7] = 3;
            out
        }),
        ("70 KB", {
            let mut out = vec![0x30, 0x83, 1, 0x11, 0x70];
            out.resize(70_005, 5);
            out
        }),
    ];
    for (name, bytes) in cases {
        assert!(Certificate::from_der(&bytes).is_err(), "{name}");
    }
    let twice = vec![
        Extension {
            id: oid::SUBJECT_ALT_NAME,
            critical: false,
            value: vec![0x30, 0],
        };
        2
    ];
    let made = client_identity(
        &LAB.ca.issuer(),
        &ClientIdentity {
            subject: &subject,
            public_key_der: key,
            serial: serial(50),
            validity: years(1),
            grant: None,
            extensions: &twice,
        },
    );
    let unreadable = IssueError::Unreadable(CertificateError::Extension);
    assert_eq!(made.map(drop), Err(unreadable), "nor do we issue one");
    for cut in 0..good.len() {
        assert!(matches!(
            Certificate::from_der(&good[..cut]),
            Err(CertificateError::Encoding(_))
        ));
    }
}

#[test]
fn public_keys_are_judged_by_rule() {
    let key = |bytes, exponent: &[u8]| key_kind(&rsa_public_key(&modulus(bytes), exponent));
    assert!(key(256, &[1, 0, 1]).is_ok());
    assert!(key(1_024, &[1, 0, 1]).is_ok());
    assert!(key(256, &[3]).is_ok());
    assert_eq!(key(64, &[1, 0, 1]), Err(KeyError::TooShort));
    assert_eq!(key(128, &[1, 0, 1]), Err(KeyError::TooShort));
    let took = fastest(|| {
        assert_eq!(key(2_048, &[1, 0, 1]), Err(KeyError::TooLong));
        assert_eq!(key(30_000, &[1, 0, 1]), Err(KeyError::TooLong));
    });
    assert!(took < Duration::from_millis(50), "{took:?}");
    assert_eq!(key(256, &[1]), Err(KeyError::Exponent));
    assert_eq!(key(256, &[4]), Err(KeyError::Exponent));
    assert_eq!(key(256, &[1, 0, 0, 0, 1]), Err(KeyError::Exponent));
    assert_eq!(key(256, &[0]), Err(KeyError::Malformed));
    // A power of 65537 is one modulo every prime too: the mark of the weak generator.
    let power = (1..128).fold(vec![1, 0, 1], |power, _| multiply(&power, &[1, 0, 1]));
    let power: Vec<u8> = power.into_iter().skip_while(|byte| *byte == 0).collect();
    assert_eq!(
        key_kind(&rsa_public_key(&power, &[1, 0, 1])),
        Err(KeyError::KnownWeak)
    );
}
