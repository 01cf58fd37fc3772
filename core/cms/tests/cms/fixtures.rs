//! Kept messages in streaming BER form, made with OpenSSL 3.0 by `testdata/make.sh`.

use pomona_cms::enveloped::{DecryptPolicy, decrypt};
use pomona_cms::signed::{Policy, verify_attached};
use pomona_cms::x509::pem;

const BODY: &[u8] = include_bytes!("../../testdata/body.plist");
const CERTIFICATES: &str = include_str!("../../testdata/certificates.pem");
const RSA_KEY: &str = include_str!("../../testdata/rsa-for-tests.key");

#[test]
fn kept_streaming_messages_still_verify_and_open() {
    let certificates = pem::certificates(CERTIFICATES).unwrap();
    let [rsa, curve] = &certificates[..] else {
        panic!("two certificates");
    };
    let policy = Policy::mdm_signature();
    let attached: &[u8] = include_bytes!("../../testdata/signed-attached-p256.ber");
    let verified = verify_attached(attached, &policy).unwrap();
    assert_eq!(verified.content.as_deref(), Some(BODY));
    assert_eq!(verified.signer_certificate_der, curve.der());

    let bare: &[u8] = include_bytes!("../../testdata/signed-attached-rsa-sha1-noattr.ber");
    let verified = verify_attached(bare, &policy).unwrap();
    assert_eq!(verified.content.as_deref(), Some(BODY));
    assert_eq!(verified.signer_certificate_der, rsa.der());
    assert!(verified.attributes.is_empty());

    let enveloped: &[u8] = include_bytes!("../../testdata/enveloped-aes128.ber");
    let key = pem::private_key(RSA_KEY).unwrap();
    let plain = decrypt(enveloped, rsa, &key, &DecryptPolicy::strict()).unwrap();
    assert_eq!(&plain[..], BODY);

    for message in [attached, bare, enveloped] {
        assert!(message.starts_with(&[0x30, 0x80]), "indefinite length");
    }
}

#[test]
fn kept_messages_refuse_every_truncation() {
    let policy = Policy::mdm_signature();
    let attached: &[u8] = include_bytes!("../../testdata/signed-attached-p256.ber");
    for cut in 0..attached.len() {
        assert!(verify_attached(&attached[..cut], &policy).is_err(), "{cut}");
    }
}
