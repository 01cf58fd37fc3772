//! Certificates, requests and keys against the OpenSSL command line and a general decoder.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use der::Decode;
use pomona_cms::x509::pem::{self, PemError};
use pomona_cms::x509::{
    CertificationRequest, IssueError, RequestError, SubjectAltName, TlsServer, Validity,
    issuing_ca, tls_server,
};
use pomona_cms::{KeyError, KeyKind, KeyPair, Signer, oid};

use crate::lab::{Bench, GRANT, LAB, START, YEAR, named, serial, years};

#[test]
fn openssl_trusts_our_chain_and_reads_our_fields() {
    let bench = Bench::new();
    bench.party("root", &LAB.root);
    bench.party("ca", &LAB.ca);
    bench.party("rsa", &LAB.rsa);
    let when = START + 60;
    bench.openssl(&format!(
        "verify -x509_strict -purpose sslclient -attime {when} -CAfile root.pem -untrusted ca.pem rsa.pem"
    ));
    let late = bench.try_openssl(&format!(
        "verify -attime {} -CAfile root.pem -untrusted ca.pem rsa.pem",
        START + 2 * YEAR
    ));
    assert!(late.unwrap_err().contains("expired"));
    let text = String::from_utf8(bench.openssl("x509 -in rsa.pem -noout -text")).unwrap();
    for expected in [
        "TLS Web Client Authentication",
        "Digital Signature, Key Encipherment",
        "CA:FALSE",
        "URI:urn:uuid:01912345-6789-7abc-8def-0123456789ab",
        "Not Before: Jan  1 00:00:00 2026 GMT",
        "Not After : Jan  1 00:00:00 2027 GMT",
        "O = Lab, CN = rsa",
    ] {
        assert!(text.contains(expected), "{expected} not in {text}");
    }
}

#[test]
fn a_general_decoder_reads_every_certificate_we_write() {
    for party in [&LAB.root, &LAB.ca, &LAB.rsa, &LAB.p256, &LAB.own] {
        let decoded = x509_cert::Certificate::from_der(party.certificate.der()).unwrap();
        let body = decoded.tbs_certificate();
        assert_eq!(
            body.serial_number().as_bytes(),
            party.certificate.serial(),
            "{:?}",
            party.certificate
        );
        assert_eq!(
            body.subject().to_string().split(',').count(),
            party.certificate.subject().attributes().len()
        );
    }
}

#[test]
fn our_reader_finds_what_we_wrote() {
    let certificate = &LAB.rsa.certificate;
    assert_eq!(certificate.subject().common_name().as_deref(), Some("rsa"));
    assert_eq!(certificate.subject().to_string(), "O=Lab,CN=rsa");
    assert_eq!(certificate.issuer(), LAB.ca.certificate.subject());
    assert_eq!(certificate.not_before(), START);
    assert_eq!(certificate.not_after(), START + YEAR);
    assert_eq!(certificate.serial(), serial(3).bytes());
    assert_eq!(certificate.grant_id(), Some(GRANT));
    assert_eq!(
        certificate.extended_key_usages(),
        Some(vec![oid::CLIENT_AUTH])
    );
    assert!(!certificate.is_ca());
    assert!(LAB.ca.certificate.is_ca());
    assert_eq!(LAB.ca.certificate.path_length(), Some(0));
    assert_eq!(
        certificate.authority_key_id(),
        LAB.ca.certificate.subject_key_id()
    );
    assert_eq!(certificate.key_kind(), Ok(KeyKind::Rsa { bits: 2048 }));
    assert_eq!(LAB.p256.certificate.key_kind(), Ok(KeyKind::P256));
}

#[test]
fn the_authority_key_id_is_the_issuers_own_even_if_foreign() {
    let bench = Bench::new();
    bench.write(
        "cnf",
        "[req]\ndistinguished_name=dn\n[dn]\n[ext]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\nsubjectKeyIdentifier=0102030405\n",
    );
    bench.openssl("req -x509 -config cnf -extensions ext -newkey rsa:2048 -nodes -keyout k -out c -subj /CN=Foreign -days 9000");
    let certificate = pem::certificates(&bench.text("c")).unwrap().remove(0);
    let key = pem::private_key(&bench.text("k")).unwrap();
    let foreign = crate::lab::Party { key, certificate };
    let validity = Validity {
        not_before: foreign.certificate.not_before(),
        not_after: foreign.certificate.not_before() + YEAR,
    };
    let leaf = crate::lab::identity(
        &foreign,
        KeyPair::generate_p256().unwrap(),
        "x",
        9,
        validity,
    );
    assert_eq!(
        leaf.certificate.authority_key_id(),
        Some(&[1u8, 2, 3, 4, 5][..])
    );
    bench.write("leaf", pem::write_certificate(&leaf.certificate));
    bench.openssl("verify -CAfile c leaf");
}

#[test]
fn server_certificates_name_hosts_and_addresses() {
    let bench = Bench::new();
    bench.party("root", &LAB.root);
    let key = KeyPair::generate_p256().unwrap();
    let subject = named("server");
    let ips = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    let server = TlsServer {
        subject: &subject,
        public_key_der: key.public_key_der(),
        serial: serial(7),
        validity: years(1),
        dns: &["mdm.example", "*.mdm.example"],
        ips: &ips,
    };
    let certificate = tls_server(&LAB.root.issuer(), &server).unwrap();
    bench.write("server", pem::write_certificate(&certificate));
    let when = START + 60;
    for name in [
        "-verify_hostname mdm.example",
        "-verify_hostname a.mdm.example",
        "-verify_ip 127.0.0.1",
        "-verify_ip ::1",
    ] {
        bench.openssl(&format!(
            "verify -x509_strict -purpose sslserver -attime {when} -CAfile root.pem {name} server"
        ));
    }
    assert_eq!(
        certificate.subject_alt_names().get(2),
        Some(&SubjectAltName::Ip(ips[0]))
    );
    let nameless = TlsServer {
        dns: &[],
        ips: &[],
        ..server
    };
    assert_eq!(
        tls_server(&LAB.root.issuer(), &nameless),
        Err(IssueError::AltName)
    );
    let odd = TlsServer {
        dns: &["mdm.example\0.evil"],
        ..server
    };
    assert_eq!(
        tls_server(&LAB.root.issuer(), &odd),
        Err(IssueError::AltName)
    );
}

#[test]
fn impossible_certificates_are_not_issued() {
    let subject = named("x");
    let key = LAB.p256.key.public_key_der();
    let issue =
        |validity| issuing_ca(&LAB.root.issuer(), &subject, key, serial(8), validity).map(drop);
    let backwards = Validity {
        not_before: START,
        not_after: START,
    };
    assert_eq!(issue(backwards), Err(IssueError::Validity));
    assert_eq!(issue(years(21)), Err(IssueError::OutlivesIssuer));
    let endless = Validity {
        not_before: i64::MIN,
        not_after: START + 1,
    };
    assert_eq!(issue(endless), Err(IssueError::Validity));
    assert_eq!(
        issuing_ca(&LAB.ca.issuer(), &subject, key, serial(8), years(1)).map(drop),
        Err(IssueError::IssuerNotCa),
        "no CA below the issuing CA"
    );
    assert_eq!(
        issuing_ca(&LAB.rsa.issuer(), &subject, key, serial(8), years(1)).map(drop),
        Err(IssueError::IssuerNotCa)
    );
    let mixed = pomona_cms::x509::Issuer {
        certificate: &LAB.root.certificate,
        key: &LAB.ca.key,
    };
    assert_eq!(
        issuing_ca(&mixed, &subject, key, serial(8), years(1)).map(drop),
        Err(IssueError::IssuerKey)
    );
    let small = crate::build::rsa_public_key(&crate::build::modulus(64), &[1, 0, 1]);
    assert_eq!(
        issuing_ca(&LAB.root.issuer(), &subject, &small, serial(8), years(1)).map(drop),
        Err(IssueError::Key(KeyError::TooShort))
    );
}

#[test]
fn requests_made_by_openssl_are_read() {
    let bench = Bench::new();
    bench.write(
        "cnf",
        "[req]\ndistinguished_name=dn\nattributes=attr\nprompt=no\nreq_extensions=ext\nstring_mask=MASK\n[dn]\nCN=device\nO=Lab\n[attr]\nchallengePassword=secret 123\n[ext]\nsubjectAltName=DNS:a.example,URI:urn:x\nextendedKeyUsage=clientAuth\nkeyUsage=digitalSignature\n",
    );
    for (key, kind) in [
        ("-newkey rsa:2048", KeyKind::Rsa { bits: 2048 }),
        ("-newkey rsa:4096", KeyKind::Rsa { bits: 4096 }),
        (
            "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1",
            KeyKind::P256,
        ),
        (
            "-newkey ec -pkeyopt ec_paramgen_curve:secp384r1",
            KeyKind::P384,
        ),
    ] {
        for mask in ["utf8only", "default"] {
            let config = bench.text("cnf").replace("MASK", mask);
            bench.write("cnf2", config);
            bench.openssl(&format!(
                "req -new -config cnf2 {key} -nodes -keyout k -outform DER -out out"
            ));
            let der = bench.read("out");
            let request = CertificationRequest::from_der(&der, false).unwrap();
            assert_eq!(request.key_kind(), kind);
            assert_eq!(request.subject().common_name().as_deref(), Some("device"));
            let password = request.challenge_password().unwrap();
            assert_eq!(password.expose(), "secret 123");
            assert!(!format!("{request:?}").contains("secret"));
            assert_eq!(request.extended_key_usages(), vec![oid::CLIENT_AUTH]);
            assert_eq!(
                request.subject_alt_names(),
                vec![
                    SubjectAltName::Dns("a.example".into()),
                    SubjectAltName::Uri("urn:x".into())
                ]
            );
            assert!(!request.asks_for_ca());
            for cut in 0..der.len() {
                assert!(CertificationRequest::from_der(&der[..cut], true).is_err());
            }
            let mut other = der.clone();
            let last = other.len() - 1;
            other[last] ^= 1;
            assert!(CertificationRequest::from_der(&other, true).is_err());
        }
    }
    bench.openssl(
        "req -new -config cnf2 -newkey rsa:2048 -nodes -sha1 -keyout k -outform DER -out out",
    );
    let der = bench.read("out");
    assert_eq!(
        CertificationRequest::from_der(&der, false).map(drop),
        Err(RequestError::UnsupportedSignature)
    );
    assert!(CertificationRequest::from_der(&der, true).is_ok());
    bench.openssl("req -new -config cnf2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -pkeyopt ec_param_enc:explicit -nodes -keyout k -outform DER -out out");
    assert_eq!(
        CertificationRequest::from_der(&bench.read("out"), true).map(drop),
        Err(RequestError::Key(KeyError::ExplicitCurve))
    );
    bench.openssl("req -new -config cnf2 -newkey rsa:1024 -nodes -keyout k -outform DER -out out");
    assert_eq!(
        CertificationRequest::from_der(&bench.read("out"), true).map(drop),
        Err(RequestError::Key(KeyError::TooShort))
    );
}

#[test]
fn private_keys_are_read_in_every_form_and_encrypted_ones_refused_by_name() {
    let bench = Bench::new();
    bench.openssl("genrsa -out rsa.p8 2048");
    bench.openssl("rsa -in rsa.p8 -traditional -out rsa.p1");
    bench.openssl("ecparam -genkey -name prime256v1 -out ec.sec1");
    bench.openssl("pkcs8 -topk8 -nocrypt -in ec.sec1 -out ec.p8");
    bench.openssl("pkcs8 -topk8 -in ec.sec1 -passout pass:abcd -out ec.enc");
    bench.openssl("rsa -in rsa.p8 -traditional -aes128 -passout pass:abcd -out rsa.enc");
    for (one, two) in [("rsa.p8", "rsa.p1"), ("ec.sec1", "ec.p8")] {
        let one = pem::private_key(&bench.text(one)).unwrap();
        let two = pem::private_key(&bench.text(two)).unwrap();
        assert_eq!(one.public_key_der(), two.public_key_der());
        let again = pem::private_key(&pem::write_private_key(&one)).unwrap();
        assert_eq!(again.public_key_der(), one.public_key_der());
        assert!(!format!("{one:?}").contains("pkcs8"));
    }
    for name in ["ec.enc", "rsa.enc"] {
        assert_eq!(
            pem::private_key(&bench.text(name)).map(drop),
            Err(PemError::EncryptedKey)
        );
    }
    let both = bench.text("rsa.p8") + &bench.text("ec.p8");
    assert_eq!(
        pem::private_key(&both).map(drop),
        Err(PemError::SeveralKeys)
    );
    assert_eq!(pem::private_key("nothing").map(drop), Err(PemError::NoKey));
}

#[test]
fn pem_blocks_run_together_are_taken_apart() {
    let text = pem::write_certificate(&LAB.ca.certificate)
        + &pem::write_certificate(&LAB.root.certificate);
    let expected = vec![LAB.ca.certificate.clone(), LAB.root.certificate.clone()];
    for variant in [
        text.clone(),
        text.replace('\n', ""),
        text.replace('\n', " "),
        text.replace('\n', "\r\n"),
        format!("subject=x\n{text}trailing"),
    ] {
        assert_eq!(pem::certificates(&variant).unwrap(), expected);
    }
    for (bad, error) in [
        (String::new(), PemError::NoCertificate),
        (text.replace("-----END", "-----"), PemError::Unclosed),
        (
            text.replace("END CERTIFICATE", "END SOMETHING"),
            PemError::Unclosed,
        ),
        (text.replace("MII", "M*I"), PemError::Base64),
        ("x".repeat(2 * 1024 * 1024), PemError::TooLong),
        (
            "-----BEGIN X----------END X-----".repeat(100),
            PemError::TooLong,
        ),
    ] {
        assert_eq!(pem::certificates(&bad).map(drop), Err(error));
    }
}

#[test]
fn the_push_topic_is_the_user_id_of_the_subject() {
    let bench = Bench::new();
    bench.openssl("req -x509 -newkey rsa:2048 -nodes -keyout k -out c -subj /UID=com.apple.mgmt.External.abc/CN=APSP/C=US");
    let certificate = pem::certificates(&bench.text("c")).unwrap().remove(0);
    assert_eq!(
        certificate.push_topic().as_deref(),
        Some("com.apple.mgmt.External.abc")
    );
    assert_eq!(LAB.rsa.certificate.push_topic(), None);
}
