//! Measures what one signed or encrypted message costs, in microseconds of one core.
//!
//! Where Linux tells it, time is what this thread really computed, so that a busy machine does not spoil the figures; elsewhere
//! it is the clock on the wall.
//!
//! Run with `cargo run --release -p pomona-cms --example cms_speed`.
#![allow(clippy::expect_used, reason = "an example may stop")]

use std::hint::black_box;
use std::time::Instant;

use pomona_cms::enveloped::{ContentCipher, DecryptPolicy, decrypt, encrypt};
use pomona_cms::sign::{SignRequest, sign_attached, sign_detached};
use pomona_cms::signed::{Policy, verify_detached};
use pomona_cms::x509::{
    Certificate, ClientIdentity, Issuer, Name, Purpose, Serial, Validity, client_identity, root_ca,
    verify_chain,
};
use pomona_cms::{KeyPair, Signer};

fn measure(name: &str, rounds: u32, mut work: impl FnMut()) {
    for _ in 0..rounds / 10 {
        work();
    }
    let (start, computed) = (Instant::now(), computed_ns());
    for _ in 0..rounds {
        work();
    }
    let wall = start.elapsed().as_secs_f64() * 1e9;
    let spent = match (computed, computed_ns()) {
        (Some(before), Some(after)) => after - before,
        _ => wall,
    };
    let each = spent / 1e3 / f64::from(rounds);
    println!("{name:<42} {each:>9.1} µs");
}

/// Nanoseconds this thread has computed so far.
fn computed_ns() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn main() {
    let validity = Validity {
        not_before: 1_767_225_600,
        not_after: 2_082_758_400,
    };
    let name = Name::builder()
        .common_name("speed")
        .build()
        .expect("a good name");
    let ca_key = KeyPair::generate_p256().expect("a key");
    let serial = |number| Serial::from_random([number; 16]);
    let ca = root_ca(&ca_key, &name, serial(1), validity).expect("a CA");
    let issue = |key: &KeyPair| -> Certificate {
        let issuer = Issuer {
            certificate: &ca,
            key: &ca_key,
        };
        let identity = ClientIdentity {
            subject: &name,
            public_key_der: key.public_key_der(),
            serial: serial(2),
            validity,
            grant: None,
            extensions: &[],
        };
        client_identity(&issuer, &identity).expect("a certificate")
    };
    let body = vec![b'x'; 1_400];
    let policy = Policy::mdm_signature();
    let rsa = KeyPair::generate_rsa_2048().expect("a key");
    let p256 = KeyPair::generate_p256().expect("a key");
    for (kind, key) in [("RSA-2048", &rsa), ("P-256", &p256)] {
        let certificate = issue(key);
        let request = SignRequest {
            signing_time: Some(1_795_000_000),
            ..SignRequest::new(key, &certificate)
        };
        let message = sign_detached(&body, &request).expect("a message");
        measure(&format!("{kind}: verify a detached message"), 5_000, || {
            black_box(verify_detached(&message, &body, &policy)).expect("a good message");
        });
        measure(&format!("{kind}: sign an attached message"), 1_000, || {
            black_box(sign_attached(&body, &request)).expect("a message");
        });
        measure(&format!("{kind}: read the certificate"), 5_000, || {
            black_box(Certificate::from_der(certificate.der())).expect("a certificate");
        });
        measure(&format!("{kind}: judge the chain"), 5_000, || {
            let roots = std::slice::from_ref(&ca);
            let purpose = Purpose::ClientIdentity;
            black_box(verify_chain(
                &certificate,
                &[],
                roots,
                1_795_000_000,
                purpose,
            ))
            .expect("a good chain");
        });
    }
    let certificate = issue(&rsa);
    let message = encrypt(&body, &certificate, ContentCipher::Aes256).expect("a message");
    measure("RSA-2048: encrypt", 5_000, || {
        black_box(encrypt(&body, &certificate, ContentCipher::Aes256)).expect("a message");
    });
    measure("RSA-2048: decrypt", 1_000, || {
        let strict = DecryptPolicy::strict();
        black_box(decrypt(&message, &certificate, &rsa, &strict)).expect("a body");
    });
    measure("P-256: issue a device certificate", 2_000, || {
        black_box(issue(&p256));
    });
}
