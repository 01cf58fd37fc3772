//! Known ways into servers of this kind, each tried by name: T4, T6, T9 and T13 of the list of threats.
//!
//! Owns: the four tests, and what they need to send. Over 500 lines, for the lists of identifiers and of slots.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use pomona_cms::x509::Certificate;
use pomona_engine::http::{IdentitySource, PeerAddress, TlsPeer, admin_router, device_router};
use pomona_engine::identity::{NewLink, create_authority, create_link};
use pomona_engine::{Actor, Engine};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::cast::{MESSAGES, Names, message};
use crate::signing::{Request as Wanted, scep_message, self_signed};
use crate::snapshot::{BESIDE, Reader, STATE};
use crate::support::{
    Backend, Card, Sql, Stage, authenticate, backends, idle, simple_check_in, token_update,
};

const A: &str = "00008103-00000000000000AA";
const B: &str = "00008103-00000000000000BB";

fn called(stage: &Stage, udid: &str) -> Names {
    Names {
        name: "device",
        tenant: stage.tenant,
        udid: udid.into(),
        user: String::new(),
        device: None,
        command: "any".into(),
    }
}

/// Every type of message under this certificate is refused, and changes nothing.
async fn is_dead(stage: &Stage, card: &Card, udid: &str, why: &str) {
    let reader = Reader::new(&stage.sql).await;
    let before = reader.read(&stage.sql).await;
    for kind in MESSAGES {
        let (check_in, body) = message(kind, &called(stage, udid));
        let (status, body) = stage.send(card, check_in, body).await;
        assert_eq!((status.as_u16(), body.as_str()), (403, ""), "{kind} {why}");
    }
    let after = reader.read(&stage.sql).await;
    assert_eq!(before.difference(&after, &STATE), None, "{why}");
}

#[tokio::test]
async fn t4_a_certificate_whose_enrollment_is_over_never_acts_again() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let again = async |udid: &str| {
            let card = stage.card("link", Some(udid), None).await;
            for body in [authenticate(udid), token_update(udid, "09")] {
                assert_eq!(stage.send(&card, true, body).await.0, 200);
            }
            card
        };
        let (old, _) = stage.enroll(A).await;
        let new = again(A).await;
        is_dead(&stage, &old, A, "after the device enrolled anew").await;

        let bye = simple_check_in("CheckOut", A);
        assert_eq!(stage.send(&new, true, bye).await.0, 200);
        is_dead(&stage, &new, A, "after its CheckOut").await;
        is_dead(&stage, &old, A, "after two ends").await;

        let (removed, _) = stage.enroll(B).await;
        let device = pomona_engine::DeviceId(device_id(&stage, B).await);
        stage
            .engine
            .remove(stage.tenant, Actor::SYSTEM, device, "lost")
            .await
            .unwrap();
        is_dead(&stage, &removed, B, "after an administrator removed it").await;

        // An erase is confirmed by the device's coming back.
        let (erased, enrollment) = stage.enroll("ERASED").await;
        let command = crate::support::dictionary("EraseDevice");
        let request = pomona_engine::Enqueue::new(
            pomona_engine::CommandBody::Dictionary(command),
            vec![enrollment],
        );
        let engine = &stage.engine;
        let uuid = engine
            .enqueue(stage.tenant, Actor::SYSTEM, Default::default(), request)
            .await
            .unwrap()
            .command_uuid;
        stage.send(&erased, false, idle("ERASED")).await;
        let done = crate::support::answer("ERASED", "Acknowledged", &uuid);
        assert_eq!(stage.send(&erased, false, done).await.0, 200);
        assert_eq!(
            stage.send(&erased, false, idle("ERASED")).await.0,
            200,
            "an acknowledgement is no proof"
        );
        again("ERASED").await;
        is_dead(&stage, &erased, "ERASED", "after the erase").await;
    }
}

async fn device_id(stage: &Stage, udid: &str) -> uuid::Uuid {
    let sql = sqlx::AssertSqlSafe(format!("SELECT id FROM device WHERE ident = '{udid}'"));
    match &stage.sql {
        Sql::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
        Sql::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
    }
}

#[tokio::test]
async fn t6_a_grant_for_one_device_takes_nothing_from_another() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let (card, enrollment) = stage.enroll(A).await;
        let boot = simple_check_in("SetBootstrapToken", A).replacen(
            "</dict>",
            "<key>BootstrapToken</key><data>c2VjcmV0</data></dict>",
            1,
        );
        assert_eq!(stage.send(&card, true, boot).await.0, 200);
        let command = crate::support::dictionary("SecurityInfo");
        let request = pomona_engine::Enqueue::new(
            pomona_engine::CommandBody::Dictionary(command),
            vec![enrollment],
        );
        let engine = &stage.engine;
        engine
            .enqueue(stage.tenant, Actor::SYSTEM, Default::default(), request)
            .await
            .unwrap();
        let reader = Reader::new(&stage.sql).await;
        let before = reader.read(&stage.sql).await;

        let others = stage.card("link", Some(B), None).await;
        let shown = reader.read(&stage.sql).await;
        assert_eq!(stage.send(&others, true, authenticate(A)).await.0, 403);
        let after = reader.read(&stage.sql).await;
        let all: Vec<&str> = STATE.iter().chain(&BESIDE).copied().collect();
        assert_eq!(
            shown.difference(&after, &all),
            None,
            "a grant that names another device"
        );

        let unbound = stage.card("link", None, None).await;
        assert_eq!(stage.send(&unbound, true, authenticate(A)).await.0, 200);
        assert_eq!(
            stage.send(&unbound, true, token_update(A, "66")).await.0,
            200
        );
        let (_, answer) = stage
            .send(&unbound, true, simple_check_in("GetBootstrapToken", A))
            .await;
        assert!(
            !answer.contains("c2VjcmV0"),
            "quarantine hands out no token"
        );
        let (_, answer) = stage.send(&unbound, false, idle(A)).await;
        assert_eq!(answer, "", "quarantine hands out no command");
        let after = reader.read(&stage.sql).await;
        for table in ["enrollment", "delivery", "delivery_history", "device"] {
            assert_eq!(
                before.minus(&after, table),
                Vec::<&String>::new(),
                "{table}"
            );
        }
        assert_eq!(stage.enabled(A).await, enrollment);
    }
}

/// Sends a request to a router, from this address and with this TLS certificate.
async fn ask(
    router: axum::Router,
    mut request: Request<Body>,
    peer: [u8; 4],
    tls: Option<&[u8]>,
) -> (u16, Vec<u8>) {
    request
        .extensions_mut()
        .insert(PeerAddress(IpAddr::from(peer)));
    request
        .extensions_mut()
        .insert(TlsPeer(tls.map(<[u8]>::to_vec)));
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, body.to_vec())
}

fn report(stage: &Stage, udid: &str, headers: &[(&str, String)]) -> Request<Body> {
    let mut request = Request::put(format!("/mdm/{}", stage.tenant))
        .header("content-type", "application/x-apple-aspen-mdm");
    for (name, value) in headers {
        request = request.header(*name, value.as_str());
    }
    request.body(Body::from(idle(udid))).unwrap()
}

fn router(engine: &Engine, trusted: Option<[u8; 4]>) -> axum::Router {
    let source = match trusted {
        Some(peer) => IdentitySource::Proxy {
            trusted: vec![IpAddr::from(peer)],
        },
        None => IdentitySource::Tls,
    };
    device_router(engine.clone(), source)
}

#[tokio::test]
async fn t13_a_certificate_in_a_header_counts_from_the_proxy_alone_and_once() {
    let stage = Stage::new(Backend::Sqlite).await;
    let (a, _) = stage.enroll(A).await;
    let (b, _) = stage.enroll(B).await;
    let shown = |card: &Card| ("client-cert", format!(":{}:", STANDARD.encode(&card.der)));
    let proxy = [10, 0, 0, 1];
    let other_spellings = [
        "x-client-cert",
        "x-ssl-client-cert",
        "ssl-client-cert",
        "x-forwarded-client-cert",
        "x-amzn-mtls-clientcert",
        "client-cert-chain",
    ];
    type Case<'a> = (
        &'a str,
        Option<[u8; 4]>,
        Vec<(&'a str, String)>,
        [u8; 4],
        Option<&'a [u8]>,
        &'a str,
        u16,
    );
    let mut cases: Vec<Case<'_>> = vec![
        (
            "from the proxy",
            Some(proxy),
            vec![shown(&a)],
            proxy,
            None,
            A,
            200,
        ),
        (
            "from somebody else",
            Some(proxy),
            vec![shown(&a)],
            [10, 0, 0, 2],
            None,
            A,
            403,
        ),
        (
            "twice",
            Some(proxy),
            vec![shown(&a), shown(&a)],
            proxy,
            None,
            A,
            400,
        ),
        (
            "two of them",
            Some(proxy),
            vec![shown(&a), shown(&b)],
            proxy,
            None,
            A,
            400,
        ),
        (
            "where TLS ends here",
            None,
            vec![shown(&a)],
            proxy,
            None,
            A,
            403,
        ),
        (
            "beside TLS of another",
            None,
            vec![shown(&a)],
            proxy,
            Some(&b.der),
            A,
            403,
        ),
        (
            "beside TLS of another, which acts for itself",
            None,
            vec![shown(&a)],
            proxy,
            Some(&b.der),
            B,
            200,
        ),
        (
            "TLS on the proxy's listener",
            Some(proxy),
            vec![],
            proxy,
            Some(&a.der),
            A,
            403,
        ),
        ("nothing", Some(proxy), vec![], proxy, None, A, 403),
    ];
    for name in other_spellings {
        cases.push((
            name,
            Some(proxy),
            vec![(name, shown(&a).1)],
            proxy,
            None,
            A,
            403,
        ));
    }
    for (name, trusted, headers, peer, tls, udid, expected) in cases {
        let router = router(&stage.engine, trusted);
        let (status, _) = ask(router, report(&stage, udid, &headers), peer, tls).await;
        assert_eq!(status, expected, "{name}");
    }
    let admin = admin_router(stage.engine.clone(), CancellationToken::new());
    let request = Request::get(format!("/api/v1/tenants/{}/devices", stage.tenant))
        .header("client-cert", shown(&a).1)
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        ask(admin, request, proxy, Some(&a.der)).await.0,
        401,
        "the admin API"
    );
}

#[tokio::test]
async fn t9_no_identifier_opens_anything() {
    let stage = Stage::new(Backend::Sqlite).await;
    let store = stage.engine.store();
    create_authority(store, stage.tenant, "Lab").await.unwrap();
    let new = NewLink {
        name: "Room 4".into(),
        max_uses: 5,
        expires_in: 3_600_000_000,
        device_udid: None,
        device_serial: None,
    };
    let link = create_link(store, stage.tenant, Actor::SYSTEM, new)
        .await
        .unwrap();
    let fetch = Request::post(format!("/enroll/{}?plain=1", link.url_token))
        .body(Body::empty())
        .unwrap();
    let device = router(&stage.engine, Some([127, 0, 0, 1]));
    assert_eq!(ask(device.clone(), fetch, [10, 0, 0, 1], None).await.0, 200);
    let (card, enrollment) = stage.enroll(A).await;

    let identifiers = identifiers(&stage, &card, enrollment, &link.link.id.to_string()).await;
    assert!(identifiers.len() >= 20, "{}", identifiers.len());
    let party = self_signed();
    let get = Request::get(format!("/scep/{}?operation=GetCACert", stage.tenant))
        .body(Body::empty())
        .unwrap();
    let (_, ca) = ask(device.clone(), get, [10, 0, 0, 1], None).await;
    let ca = Certificate::from_der(&ca).unwrap();
    let grant = identifiers
        .iter()
        .find(|(name, _)| *name == "grant id")
        .unwrap()
        .1
        .clone();
    let reader = Reader::new(&stage.sql).await;
    let before = reader.read(&stage.sql).await;
    let admin = admin_router(stage.engine.clone(), CancellationToken::new());
    let tenant = stage.tenant;
    for (n, (name, value)) in identifiers.iter().enumerate() {
        // Every slot, from an address of its own.
        let peer = [10, 1, 0, u8::try_from(n).unwrap()];
        let escaped: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        for path in [
            "/api/v1/tenants/TENANT/devices",
            "/api/v1/me",
            "/api/v1/tenants",
        ] {
            for scheme in ["Bearer ", "bearer ", "Basic ", ""] {
                let request = Request::get(path.replace("TENANT", &tenant.to_string()))
                    .header("authorization", format!("{scheme}{value}"))
                    .body(Body::empty())
                    .unwrap();
                assert_eq!(
                    ask(admin.clone(), request, peer, None).await.0,
                    401,
                    "{name} at {path}"
                );
            }
            let path = format!(
                "{}?token={escaped}&access_token={escaped}",
                path.replace("TENANT", &tenant.to_string())
            );
            let request = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(
                ask(admin.clone(), request, peer, None).await.0,
                401,
                "{name} in a query"
            );
        }
        for method in [Method::GET, Method::POST] {
            let request = Request::builder()
                .method(method)
                .uri(format!("/enroll/{escaped}"))
                .body(Body::empty())
                .unwrap();
            assert_eq!(
                ask(device.clone(), request, peer, None).await.0,
                404,
                "{name} as a link"
            );
        }
        let wanted = Wanted::named(&grant).challenge(value).sign(&party.key);
        let scep = scep_message(&party, &ca, &wanted, "19", &format!("transaction {n}"));
        let request = Request::post(format!("/scep/{tenant}?operation=PKIOperation"))
            .body(Body::from(scep))
            .unwrap();
        let (status, body) = ask(device.clone(), request, peer, None).await;
        assert_eq!(status, 200, "{name} as a challenge");
        let answer =
            pomona_cms::signed::verify_attached(&body, &pomona_cms::Policy::strict()).unwrap();
        let told = answer
            .attribute(&pomona_cms::oid::SCEP_PKI_STATUS)
            .map(|value| value[2..].to_vec());
        assert_eq!(told.as_deref(), Some(&b"2"[..]), "{name} as a challenge");
        for header in ["client-cert", "mdm-signature"] {
            for text in [
                format!(":{}:", STANDARD.encode(value)),
                STANDARD.encode(value),
                value.clone(),
            ] {
                let (status, _) = ask(
                    device.clone(),
                    report(&stage, A, &[(header, text)]),
                    [127, 0, 0, 1],
                    None,
                )
                .await;
                assert!([400, 403].contains(&status), "{name} as {header}: {status}");
            }
        }
    }
    let after = reader.read(&stage.sql).await;
    let all: Vec<&str> = STATE.iter().chain(&BESIDE).copied().collect();
    assert_eq!(before.difference(&after, &all), None);
}

/// What is not a secret: it stands in answers, logs, profiles or on the device's back.
async fn identifiers(
    stage: &Stage,
    card: &Card,
    enrollment: pomona_engine::EnrollmentId,
    link: &str,
) -> Vec<(&'static str, String)> {
    let text = async |sql: &str| -> String {
        let Sql::Sqlite(pool) = &stage.sql else {
            panic!("SQLite alone");
        };
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
    };
    let uuid = async |sql: &str| {
        let hex = text(&format!(
            "SELECT lower(hex({})) FROM {}",
            sql.split_once(" of ").unwrap().0,
            sql.split_once(" of ").unwrap().1
        ))
        .await;
        uuid::Uuid::parse_str(&hex).unwrap().to_string()
    };
    let fingerprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &card.der);
    let link_hash = text("SELECT hex(token_hash) FROM enrollment_link").await;
    let challenge_hash =
        text("SELECT hex(challenge_hash) FROM identity_grant WHERE challenge_hash IS NOT NULL")
            .await;
    vec![
        ("tenant id", stage.tenant.to_string()),
        ("tenant slug", text("SELECT slug FROM tenant").await),
        ("tenant name", text("SELECT name FROM tenant").await),
        ("device id", uuid("id of device").await),
        ("enrollment id", enrollment.to_string()),
        ("UDID", A.to_owned()),
        ("UDID in lower case", A.to_lowercase()),
        ("serial number", format!("S{A}")),
        ("model", "iPad13,18".into()),
        ("topic", crate::support::TOPIC.into()),
        ("push magic", format!("magic-{A}")),
        ("push token", "01".into()),
        ("link id", link.to_owned()),
        ("link name", "Room 4".into()),
        ("hash of the link's token", link_hash),
        ("hash of the challenge", challenge_hash),
        (
            "grant id",
            uuid("id of identity_grant WHERE challenge_hash IS NOT NULL").await,
        ),
        (
            "authority id",
            uuid("id of ca WHERE kind = 'issuing'").await,
        ),
        ("certificate id", card.id.to_string()),
        ("certificate fingerprint", hex::encode(fingerprint)),
        ("certificate subject", "CN=test".into()),
        ("the nil id", uuid::Uuid::nil().to_string()),
        ("nothing", String::new()),
    ]
}
