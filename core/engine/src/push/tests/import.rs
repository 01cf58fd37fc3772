//! Which certificates are believed.

use super::*;
use crate::Error;
use crate::push::{current_topic, show_certificates};

async fn import(
    world: &World,
    pem: &str,
    accept: bool,
) -> Result<super::super::PushCertificateView, Error> {
    import_certificate(
        &world.store,
        world.tenant,
        Actor::SYSTEM,
        pem.as_bytes(),
        accept,
    )
    .await
}

fn good() -> Made {
    made(Some(TOPIC), START - DAY, START + 365 * DAY)
}

/// Writes DER as PEM under any label.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// The key inside PKCS#8: the last OCTET STRING of the sequence, which is PKCS#1 or SEC1.
fn inner_key(pkcs8: &[u8]) -> Vec<u8> {
    fn split(der: &[u8]) -> (u8, &[u8], &[u8]) {
        let (length, header) = match der[1] {
            0x81 => (usize::from(der[2]), 3),
            0x82 => (usize::from(der[2]) * 256 + usize::from(der[3]), 4),
            short => (usize::from(short), 2),
        };
        (
            der[0],
            &der[header..header + length],
            &der[header + length..],
        )
    }
    let (_, mut rest, _) = split(pkcs8);
    loop {
        let (tag, value, after) = split(rest);
        if tag == 0x04 {
            return value.to_vec();
        }
        rest = after;
    }
}

#[test]
fn certificate_and_key_are_read_in_any_order_and_form() {
    on_both(|world| async move {
        let made = good();
        let pkcs8 = made.key.serialize_pem();
        let sec1 = pem("EC PRIVATE KEY", &inner_key(made.key.serialized_der()));
        let other = super::made(Some("unrelated"), START, START + DAY).certificate;
        for text in [
            format!("{}{pkcs8}", made.certificate),
            format!("{pkcs8}{}", made.certificate),
            format!("{}{sec1}", made.certificate),
            format!(
                "Bag Attributes\n  friendlyName: x\n{other}{}{pkcs8}",
                made.certificate
            ),
            format!("{0}{pkcs8}{0}", made.certificate),
        ] {
            let view = import(&world, &text, false).await.unwrap();
            assert_eq!(view.topic, TOPIC);
            assert_eq!(view.not_before, START - DAY);
            assert_eq!(view.not_after, START + 365 * DAY);
            assert!(view.current && view.stopped_at.is_none());
            assert!(view.subject.contains("APSP:test"), "{}", view.subject);
        }
        assert_eq!(
            show_certificates(&world.store, world.tenant)
                .await
                .unwrap()
                .len(),
            1
        );
    });
}

#[test]
fn an_rsa_key_in_its_older_form_is_taken() {
    on_both(|world| async move {
        let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.not_before = OffsetDateTime::from_unix_timestamp(START / SECOND - 10).unwrap();
        let uid = DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]);
        params.distinguished_name.push(uid, TOPIC);
        let certificate = params.self_signed(&key).unwrap().pem();
        let pkcs1 = pem("RSA PRIVATE KEY", &inner_key(key.serialized_der()));
        let view = import(&world, &format!("{pkcs1}{certificate}"), false)
            .await
            .unwrap();
        assert_eq!(view.topic, TOPIC);
    });
}

#[test]
fn what_is_not_a_good_push_certificate_is_refused_with_the_reason() {
    on_both(|world| async move {
        let made = good();
        let key = made.key.serialize_pem();
        let other_key = KeyPair::generate().unwrap().serialize_pem();
        let with = |topic, from, to| {
            let made = super::made(topic, from, to);
            format!("{}{}", made.certificate, made.key.serialize_pem())
        };
        let year = START + 365 * DAY;
        for (text, reason) in [
            (String::new(), "no private key"),
            (made.certificate.clone(), "no private key"),
            (key.clone(), "no certificate"),
            (
                format!("{}{other_key}", made.certificate),
                "does not belong",
            ),
            (
                format!("{}{key}{other_key}", made.certificate),
                "more than one",
            ),
            (
                format!("{}{}", made.certificate, pem("ENCRYPTED PRIVATE KEY", b"x")),
                "encrypted",
            ),
            (
                format!("{}{}", made.certificate, pem("PRIVATE KEY", b"x")),
                "cannot be used",
            ),
            (with(None, START - DAY, year), "not a push certificate"),
            (
                with(Some("com.example.app"), START - DAY, year),
                "not a push certificate",
            ),
            (
                with(Some("com.apple.mgmt."), START - DAY, year),
                "not a push certificate",
            ),
            (
                with(Some("com.apple.mgmt.a b"), START - DAY, year),
                "not a topic",
            ),
            (with(Some(TOPIC), START - 2 * DAY, START - DAY), "expired"),
            (with(Some(TOPIC), START + DAY, year), "not valid yet"),
            ("x".repeat(70_000), "larger than"),
        ] {
            match import(&world, &text, true).await {
                Err(Error::Invalid(said)) => assert!(said.contains(reason), "{said} / {reason}"),
                other => panic!("{reason}: {other:?}"),
            }
        }
        assert_eq!(
            show_certificates(&world.store, world.tenant).await.unwrap(),
            []
        );
    });
}

#[test]
fn another_topic_is_refused_until_it_is_accepted() {
    on_both(|world| async move {
        assert_eq!(
            current_topic(&world.store, world.tenant).await.unwrap(),
            None
        );
        world.import(TOPIC).await;
        let other = push_pem(OTHER_TOPIC);
        match import(&world, &other, false).await {
            Err(Error::Conflict(said)) => {
                assert!(said.contains(TOPIC) && said.contains(OTHER_TOPIC), "{said}");
                assert!(said.contains("enrolled again"), "{said}");
            }
            other => panic!("{other:?}"),
        }
        let current = async || current_topic(&world.store, world.tenant).await.unwrap();
        assert_eq!(current().await.as_deref(), Some(TOPIC));
        world.pass(SECOND);
        assert!(import(&world, &other, true).await.unwrap().current);
        assert_eq!(current().await.as_deref(), Some(OTHER_TOPIC));
        // The former topic can still be renewed for its devices, and new ones keep getting the other.
        world.pass(SECOND);
        world.import(TOPIC).await;
        assert_eq!(current().await.as_deref(), Some(OTHER_TOPIC));
        let views = show_certificates(&world.store, world.tenant).await.unwrap();
        let topics: Vec<_> = views
            .iter()
            .map(|view| (view.topic.as_str(), view.current))
            .collect();
        assert_eq!(topics, [(OTHER_TOPIC, true), (TOPIC, false)]);
    });
}

#[test]
fn the_key_is_sealed_for_its_tenant_and_topic_and_never_shown() {
    on_both(|world| async move {
        let made = good();
        let text = format!("{}{}", made.certificate, made.key.serialize_pem());
        let view = import(&world, &text, false).await.unwrap();
        let mut tx = world.store.begin_read().await.unwrap();
        let row = rows::certificates(&mut tx, world.tenant)
            .await
            .unwrap()
            .remove(0);
        tx.rollback().await.unwrap();
        let der = made.key.serialized_der();
        assert!(
            !row.key_sealed
                .windows(16)
                .any(|part| der.windows(16).any(|key| key == part))
        );
        let keys = world.store.keys(world.tenant).await.unwrap();
        let opened = super::super::certificate::open_certificate(&keys, &row).unwrap();
        assert_eq!(&opened.key_der[..], der);
        let moved = rows::CertificateRow {
            topic: OTHER_TOPIC.to_owned(),
            ..row
        };
        assert!(super::super::certificate::open_certificate(&keys, &moved).is_err());
        let printed = format!("{opened:?} {view:?}");
        assert!(!printed.contains("PRIVATE"), "{printed}");
    });
}

#[test]
fn an_unknown_tenant_has_no_certificate() {
    on_both(|world| async move {
        let nobody = TenantId(Uuid::nil());
        let result = import_certificate(
            &world.store,
            nobody,
            Actor::SYSTEM,
            push_pem(TOPIC).as_bytes(),
            false,
        )
        .await;
        assert!(matches!(result, Err(Error::NotFound(_))), "{result:?}");
    });
}
