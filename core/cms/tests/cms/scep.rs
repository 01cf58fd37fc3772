//! A whole SCEP exchange, with a client written from the other side of the protocol.

use pomona_cms::enveloped::{ContentCipher, DecryptPolicy, decrypt};
use pomona_cms::scep::{
    FailInfo, MessageType, Reply, ScepPolicy, certificates_only, open_request, parse_pki_message,
    reply_failure, reply_pending, reply_success, signer_matches_request,
};
use pomona_cms::signed::{Policy, Verified, verify_attached};
use pomona_cms::{DigestAlgorithm, KeyPair, oid};

use crate::bad_scep::{Client, NONCE, TRANSACTION};
use crate::build::{octets, printable, request};
use crate::lab::{Bench, LAB, Party, identity, named, self_signed, years};

const OUR_NONCE: [u8; 16] = [0xB0; 16];

fn read_reply(reply: &Reply) -> Verified {
    let verified = verify_attached(&reply.der, &Policy::strict()).unwrap();
    assert_eq!(verified.signer_certificate_der, LAB.ca.certificate.der());
    assert_eq!(
        verified.attribute(&oid::SCEP_TRANSACTION_ID),
        Some(&printable(TRANSACTION)[..])
    );
    assert_eq!(
        verified.attribute(&oid::SCEP_MESSAGE_TYPE),
        Some(&printable("3")[..])
    );
    assert_eq!(
        verified.attribute(&oid::SCEP_SENDER_NONCE),
        Some(&octets(&OUR_NONCE)[..])
    );
    verified
}

fn status(verified: &Verified) -> Option<Vec<u8>> {
    verified
        .attribute(&oid::SCEP_PKI_STATUS)
        .map(<[u8]>::to_vec)
}

#[test]
fn a_first_request_gets_its_certificate() {
    for (cipher, answered) in [
        (ContentCipher::Aes128, ContentCipher::Aes128),
        (ContentCipher::Aes192, ContentCipher::Aes256),
        (ContentCipher::Aes256, ContentCipher::Aes256),
    ] {
        let client = Client {
            cipher,
            ..Client::new(&LAB.own)
        };
        let message = parse_pki_message(&client.encode(), &ScepPolicy::strict()).unwrap();
        assert_eq!(message.message_type, MessageType::PkcsReq);
        assert_eq!(message.transaction_id, TRANSACTION);
        assert_eq!(message.sender_nonce, NONCE);
        assert_eq!(message.signer.der(), LAB.own.certificate.der());
        assert_eq!(message.cipher, Some(cipher));

        let opened = open_request(
            &message,
            &LAB.ca.certificate,
            &LAB.ca.key,
            &ScepPolicy::strict(),
        )
        .unwrap();
        assert!(signer_matches_request(&message, &opened));
        let password = opened
            .challenge_password()
            .map(|password| password.expose());
        assert_eq!(password, Some("secret"));

        let issued = &LAB.rsa.certificate;
        let chain = [LAB.ca.certificate.clone()];
        let reply = reply_success(&message, issued, &chain, &LAB.ca.issuer(), OUR_NONCE).unwrap();
        assert_eq!(reply.cipher, Some(answered));
        assert_eq!(reply.digest, DigestAlgorithm::Sha256);
        let verified = read_reply(&reply);
        assert_eq!(status(&verified), Some(printable("0")));
        assert_eq!(
            verified.attribute(&oid::SCEP_RECIPIENT_NONCE),
            Some(&octets(&NONCE)[..])
        );
        let content = decrypt(
            &verified.content.unwrap(),
            &LAB.own.certificate,
            &LAB.own.key,
            &DecryptPolicy::strict(),
        )
        .unwrap();
        let bench = Bench::new();
        bench.write("certs", &*content);
        let listed = bench.openssl("pkcs7 -inform DER -in certs -print_certs");
        let listed = pomona_cms::x509::pem::certificates(&String::from_utf8(listed).unwrap());
        assert_eq!(
            listed.unwrap(),
            vec![issued.clone(), LAB.ca.certificate.clone()],
            "the issued certificate comes first"
        );
    }
}

#[test]
fn failures_and_waiting_are_answered_signed() {
    let message =
        parse_pki_message(&Client::new(&LAB.own).encode(), &ScepPolicy::strict()).unwrap();
    for (reason, number) in [
        (FailInfo::BadAlg, "0"),
        (FailInfo::BadMessageCheck, "1"),
        (FailInfo::BadRequest, "2"),
        (FailInfo::BadTime, "3"),
        (FailInfo::BadCertId, "4"),
    ] {
        let reply = reply_failure(&message.reply_to, reason, &LAB.ca.issuer(), OUR_NONCE).unwrap();
        let verified = read_reply(&reply);
        assert_eq!(status(&verified), Some(printable("2")));
        assert_eq!(
            verified.attribute(&oid::SCEP_FAIL_INFO),
            Some(&printable(number)[..])
        );
        assert_eq!(verified.content, Some(vec![]));
    }
    let reply = reply_pending(&message.reply_to, &LAB.ca.issuer(), OUR_NONCE).unwrap();
    let verified = read_reply(&reply);
    assert_eq!(status(&verified), Some(printable("3")));
    assert_eq!(verified.attribute(&oid::SCEP_FAIL_INFO), None);
}

#[test]
fn a_renewal_is_signed_by_the_certificate_in_force_for_another_key() {
    let fresh = KeyPair::generate_rsa_2048().unwrap();
    let client = Client {
        message_type: "17".into(),
        plain: Some(request(&named("rsa"), &fresh, &[])),
        ..Client::new(&LAB.rsa)
    };
    let message = parse_pki_message(&client.encode(), &ScepPolicy::strict()).unwrap();
    assert_eq!(message.message_type, MessageType::RenewalReq);
    let opened = open_request(
        &message,
        &LAB.ca.certificate,
        &LAB.ca.key,
        &ScepPolicy::strict(),
    )
    .unwrap();
    assert!(!signer_matches_request(&message, &opened));
    assert_eq!(opened.challenge_password(), None);
}

#[test]
fn the_answers_digest_follows_the_client() {
    let bench = Bench::new();
    bench.party("own", &LAB.own);
    for (digest, answered) in [
        ("sha256", DigestAlgorithm::Sha256),
        ("sha384", DigestAlgorithm::Sha384),
        ("sha512", DigestAlgorithm::Sha512),
    ] {
        let client = Client {
            digest: match digest {
                "sha384" => DigestAlgorithm::Sha384,
                "sha512" => DigestAlgorithm::Sha512,
                _ => DigestAlgorithm::Sha256,
            },
            ..Client::new(&LAB.own)
        };
        let message = parse_pki_message(&client.encode(), &ScepPolicy::strict()).unwrap();
        assert_eq!(message.digest, client.digest);
        let reply = reply_pending(&message.reply_to, &LAB.ca.issuer(), OUR_NONCE).unwrap();
        assert_eq!(reply.digest, answered, "{digest}");
        assert_eq!(read_reply(&reply).digest, answered);
    }
}

#[test]
fn curve_clients_are_refused_before_a_certificate_is_made_for_them() {
    let curve: Party = self_signed(KeyPair::generate_p256().unwrap(), "curve", 70);
    let message = parse_pki_message(&Client::new(&curve).encode(), &ScepPolicy::strict()).unwrap();
    let opened = open_request(
        &message,
        &LAB.ca.certificate,
        &LAB.ca.key,
        &ScepPolicy::strict(),
    );
    assert_eq!(
        opened.map(drop).map_err(|error| error.code()),
        Err("scep_signer_key")
    );
}

#[test]
fn openssl_reads_our_chain_message() {
    let bench = Bench::new();
    let chain = [LAB.ca.certificate.clone(), LAB.root.certificate.clone()];
    bench.write("chain", certificates_only(&chain));
    let listed = bench.openssl("pkcs7 -inform DER -in chain -print_certs");
    let listed = pomona_cms::x509::pem::certificates(&String::from_utf8(listed).unwrap()).unwrap();
    assert_eq!(listed, chain);
}

#[test]
fn a_general_decoder_reads_our_answers() {
    use der::Decode;
    let message =
        parse_pki_message(&Client::new(&LAB.own).encode(), &ScepPolicy::strict()).unwrap();
    let holder = identity(
        &LAB.ca,
        KeyPair::generate_rsa_2048().unwrap(),
        "new",
        71,
        years(1),
    );
    let reply = reply_success(
        &message,
        &holder.certificate,
        &[],
        &LAB.ca.issuer(),
        OUR_NONCE,
    )
    .unwrap();
    let info = cms::content_info::ContentInfo::from_der(&reply.der).unwrap();
    let signed = info
        .content
        .decode_as::<cms::signed_data::SignedData>()
        .unwrap();
    assert_eq!(signed.signer_infos.0.len(), 1);
    let content = signed.encap_content_info.econtent.unwrap();
    let inner = cms::content_info::ContentInfo::from_der(content.value()).unwrap();
    let enveloped = inner
        .content
        .decode_as::<cms::enveloped_data::EnvelopedData>()
        .unwrap();
    assert_eq!(enveloped.recip_infos.0.len(), 1);
}
