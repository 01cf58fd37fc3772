//! Messages against the OpenSSL command line, both ways.

use pomona_cms::enveloped::{ContentCipher, DecryptPolicy, EnvelopedError, decrypt, encrypt};
use pomona_cms::sign::{SignRequest, sign_attached, sign_detached};
use pomona_cms::signed::{Policy, SignedError, verify_attached, verify_detached};

use crate::build::indefinite;
use crate::lab::{Bench, LAB, START};

fn body() -> Vec<u8> {
    (0..3_000u32).map(|index| (index % 251) as u8).collect()
}

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("body", body());
    bench.party("root", &LAB.root);
    bench.party("ca", &LAB.ca);
    bench.party("rsa", &LAB.rsa);
    bench.party("p256", &LAB.p256);
    bench
}

/// Every combination of key, shape and option that devices were seen to use.
#[test]
fn signatures_made_by_openssl_verify() {
    let bench = bench();
    for signer in ["rsa", "p256"] {
        for shape in ["", "-nodetach", "-nodetach -stream -indef"] {
            for option in [
                "-md sha256",
                "-md sha384",
                "-md sha512",
                "-md sha1",
                "-md sha256 -noattr",
                "-md sha1 -noattr",
                "-md sha256 -keyid",
                "-md sha256 -certfile ca.pem",
            ] {
                let arguments = format!(
                    "cms -sign -binary -in body -signer {signer}.pem -inkey {signer}.key -outform DER -out out {shape} {option}"
                );
                bench.openssl(&arguments);
                let message = bench.read("out");
                let policy = Policy::mdm_signature();
                if shape.is_empty() {
                    let rewritten = indefinite(&message);
                    assert!(rewritten.len() > message.len());
                    let verified = verify_detached(&rewritten, &body(), &policy);
                    assert!(verified.is_ok(), "indefinite: {arguments}");
                }
                let attached = shape.contains("nodetach");
                let verified = if attached {
                    verify_attached(&message, &policy)
                } else {
                    verify_detached(&message, &body(), &policy)
                }
                .unwrap_or_else(|error| panic!("{arguments}: {error}"));
                let party = if signer == "rsa" { &LAB.rsa } else { &LAB.p256 };
                assert_eq!(verified.signer_certificate_der, party.certificate.der());
                assert_eq!(verified.content, attached.then(body), "{arguments}");
                assert_eq!(
                    verified.signing_time.is_some(),
                    !option.contains("noattr"),
                    "{arguments}"
                );
                let expected = if option.contains("certfile") { 2 } else { 1 };
                assert_eq!(verified.certificates_der.len(), expected);

                let mut other = body();
                other[77] ^= 1;
                let tampered = verify_detached(&message, &other, &policy);
                let reason = match (attached, option.contains("noattr")) {
                    (true, _) => SignedError::ContentAttached,
                    (false, true) => SignedError::SignatureMismatch,
                    (false, false) => SignedError::DigestMismatch,
                };
                assert_eq!(tampered, Err(reason), "{arguments}");

                let strict = if attached {
                    verify_attached(&message, &Policy::strict())
                } else {
                    verify_detached(&message, &body(), &Policy::strict())
                };
                assert_eq!(
                    strict.err(),
                    option.contains("sha1").then_some(SignedError::Sha1Refused),
                    "{arguments}"
                );
            }
        }
    }
}

#[test]
fn md5_pss_and_short_keys_of_openssl_are_refused_by_name() {
    let bench = bench();
    let policy = Policy::mdm_signature();
    let sign = |options: &str| {
        bench.openssl(&format!(
            "cms -sign -binary -in body -outform DER -out out {options}"
        ));
        verify_detached(&bench.read("out"), &body(), &policy).map(drop)
    };
    assert_eq!(
        sign("-signer rsa.pem -inkey rsa.key -md md5"),
        Err(SignedError::UnsupportedDigest)
    );
    assert_eq!(
        sign("-signer rsa.pem -inkey rsa.key -md sha256 -keyopt rsa_padding_mode:pss"),
        Err(SignedError::UnsupportedSignature)
    );
    bench.openssl(
        "req -x509 -newkey rsa:1024 -nodes -keyout short.key -out short.pem -subj /CN=short",
    );
    assert_eq!(
        sign("-signer short.pem -inkey short.key -md sha256"),
        Err(SignedError::Key(pomona_cms::KeyError::TooShort))
    );
    let message = bench.read("out");
    assert!(
        verify_detached(&message, &body(), &Policy::machine_info()).is_ok(),
        "short keys count where the policy says so"
    );
    bench.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp521r1 -nodes -keyout p521.key -out p521.pem -subj /CN=p521");
    assert_eq!(
        sign("-signer p521.pem -inkey p521.key -md sha512"),
        Err(SignedError::Key(pomona_cms::KeyError::UnknownCurve))
    );
}

#[test]
fn two_signers_are_refused_even_if_both_are_good() {
    let bench = bench();
    bench.openssl("cms -sign -binary -in body -signer rsa.pem -inkey rsa.key -signer p256.pem -inkey p256.key -outform DER -out out");
    assert_eq!(
        verify_detached(&bench.read("out"), &body(), &Policy::strict()).map(drop),
        Err(SignedError::SeveralSigners)
    );
}

#[test]
fn p384_signers_verify() {
    let bench = bench();
    bench.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -nodes -keyout k -out c -subj /CN=p384");
    for digest in ["sha256", "sha384", "sha512"] {
        bench.openssl(&format!(
            "cms -sign -binary -in body -signer c -inkey k -md {digest} -outform DER -out out"
        ));
        verify_detached(&bench.read("out"), &body(), &Policy::strict()).unwrap();
    }
}

#[test]
fn openssl_verifies_what_we_sign() {
    let bench = bench();
    for party in [&LAB.rsa, &LAB.p256] {
        let chain = [LAB.ca.certificate.clone()];
        let request = SignRequest {
            chain: &chain,
            signing_time: Some(START),
            ..SignRequest::new(&party.key, &party.certificate)
        };
        bench.write("attached", sign_attached(&body(), &request).unwrap());
        bench.write("detached", sign_detached(&body(), &request).unwrap());
        let common = format!(
            "-binary -inform DER -CAfile root.pem -purpose any -attime {} -out back",
            START + 60
        );
        bench.openssl(&format!("cms -verify -in attached {common}"));
        assert_eq!(bench.read("back"), body());
        bench.openssl(&format!("cms -verify -in detached -content body {common}"));
        bench.write("body2", b"something else");
        assert!(
            bench
                .try_openssl(&format!("cms -verify -in detached -content body2 {common}"))
                .is_err()
        );
        let verified = verify_attached(&bench.read("attached"), &Policy::strict()).unwrap();
        assert_eq!(verified.signing_time, Some(START));
        assert_eq!(verified.content, Some(body()));
    }
}

#[test]
fn envelopes_made_by_openssl_open() {
    let bench = bench();
    let policy = DecryptPolicy {
        allow_triple_des: true,
        ..DecryptPolicy::strict()
    };
    for cipher in ["-aes128", "-aes192", "-aes256", "-des3"] {
        for shape in ["", "-stream -indef", "-keyid"] {
            let arguments = format!(
                "cms -encrypt -binary -in body {cipher} {shape} -outform DER -out out rsa.pem"
            );
            bench.openssl(&arguments);
            let message = bench.read("out");
            let open = |policy| decrypt(&message, &LAB.rsa.certificate, &LAB.rsa.key, policy);
            let plain = open(&policy).unwrap_or_else(|error| panic!("{arguments}: {error}"));
            assert_eq!(*plain, body());
            let strict = open(&DecryptPolicy::strict()).err();
            let expected = (cipher == "-des3").then_some(EnvelopedError::UnsupportedCipher);
            assert_eq!(strict, expected, "{arguments}");
            assert_eq!(
                decrypt(&message, &LAB.own.certificate, &LAB.own.key, &policy),
                Err(EnvelopedError::OtherRecipient)
            );
        }
    }
    for cipher in ["-des", "-rc2", "-camellia128"] {
        let made = bench.try_openssl(&format!(
            "cms -encrypt -binary -provider default -provider legacy -in body {cipher} -outform DER -out out rsa.pem"
        ));
        if made.is_ok() {
            assert_eq!(
                decrypt(
                    &bench.read("out"),
                    &LAB.rsa.certificate,
                    &LAB.rsa.key,
                    &policy
                ),
                Err(EnvelopedError::UnsupportedCipher),
                "{cipher}"
            );
        } else {
            assert_ne!(cipher, "-camellia128", "the last one is always there");
        }
    }
}

#[test]
fn openssl_opens_what_we_encrypt() {
    let bench = bench();
    for cipher in [
        ContentCipher::Aes128,
        ContentCipher::Aes192,
        ContentCipher::Aes256,
    ] {
        for length in [0, 1, 15, 16, 17, 3_000] {
            let content = &body()[..length];
            let message = encrypt(content, &LAB.rsa.certificate, cipher).unwrap();
            bench.write("in", &message);
            bench.openssl(
                "cms -decrypt -binary -inform DER -in in -recip rsa.pem -inkey rsa.key -out back",
            );
            assert_eq!(bench.read("back"), content);
            let plain = decrypt(
                &message,
                &LAB.rsa.certificate,
                &LAB.rsa.key,
                &DecryptPolicy::strict(),
            );
            assert_eq!(**plain.as_ref().unwrap(), *content);
        }
    }
    assert_eq!(
        encrypt(&body(), &LAB.rsa.certificate, ContentCipher::TripleDes),
        Err(EnvelopedError::UnsupportedCipher)
    );
    assert_eq!(
        encrypt(&body(), &LAB.p256.certificate, ContentCipher::Aes256),
        Err(EnvelopedError::RecipientKey)
    );
}

#[test]
fn several_recipients_are_told_apart_up_to_the_cap() {
    let bench = bench();
    bench.party("own", &LAB.own);
    bench.openssl(
        "cms -encrypt -binary -in body -aes256 -outform DER -out out own.pem ca.pem rsa.pem",
    );
    let message = bench.read("out");
    for party in [&LAB.own, &LAB.ca, &LAB.rsa] {
        let plain = decrypt(
            &message,
            &party.certificate,
            &party.key,
            &DecryptPolicy::strict(),
        );
        assert_eq!(*plain.unwrap(), body());
    }
    let many = "rsa.pem ".repeat(17);
    bench.openssl(&format!(
        "cms -encrypt -binary -in body -aes256 -outform DER -out out {many}"
    ));
    assert_eq!(
        decrypt(
            &bench.read("out"),
            &LAB.rsa.certificate,
            &LAB.rsa.key,
            &DecryptPolicy::strict()
        ),
        Err(EnvelopedError::TooManyRecipients)
    );
}
