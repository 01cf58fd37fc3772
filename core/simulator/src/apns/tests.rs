//! The push service seen from a server, and from a device at the same time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use crate::apns::{ApnsFaults, ApnsHandle, ApnsOptions, PushIdentity, Reaction, Reason};

const TOPIC: &str = "com.apple.mgmt.External.test";
const TOKEN: [u8; 32] = [0xab; 32];
const PUSH: &[u8] = br#"{"mdm":"magic"}"#;

/// Token, headers, body; status and reason that are expected.
type Case<'a> = (
    &'a str,
    &'a [(&'a str, &'a str)],
    &'static [u8],
    u16,
    &'a str,
);
type Sender = SendRequest<Full<Bytes>>;

async fn start() -> (ApnsHandle, PushIdentity) {
    let identity = PushIdentity::generate(TOPIC).unwrap();
    let service = ApnsHandle::start(ApnsOptions::new(&identity.ca_pem))
        .await
        .unwrap();
    (service, identity)
}

async fn connect(service: &ApnsHandle, identity: Option<&PushIdentity>) -> Option<Sender> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(service.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let certificate = identity.certificate_pem.as_bytes();
            let chain = vec![CertificateDer::from_pem_slice(certificate).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(service.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .ok()?;
    let io = TokioIo::new(stream);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

/// Status and reason.
async fn push(
    sender: &mut Sender,
    token: &str,
    headers: &[(&str, &str)],
    body: &'static [u8],
) -> Option<(u16, serde_json::Value)> {
    let mut request = Request::post(format!("https://localhost/3/device/{token}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from_static(body))).unwrap();
    sender.ready().await.ok()?;
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, serde_json::from_slice(&body).unwrap_or_default()))
}

const GOOD: [(&str, &str); 4] = [
    ("apns-topic", TOPIC),
    ("apns-push-type", "mdm"),
    ("apns-priority", "10"),
    ("apns-expiration", "4000000000"),
];

#[tokio::test]
async fn a_good_push_wakes_its_device() {
    let (service, identity) = start().await;
    let waker = Arc::new(Notify::new());
    let device = service.register(TOKEN, TOPIC, Arc::clone(&waker));
    let mut sender = connect(&service, Some(&identity)).await.unwrap();
    let answer = push(&mut sender, &hex::encode(TOKEN), &GOOD, PUSH)
        .await
        .unwrap();
    assert_eq!(answer.0, 200);
    waker.notified().await;
    assert_eq!(device.take().unwrap().magic, "magic");
    let figures = service.figures();
    assert_eq!((figures.requests, figures.delivered), (1, 1));
    assert_eq!(figures.violations, Vec::<String>::new());
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate_of_the_right_authority() {
    let (service, _) = start().await;
    let foreign = PushIdentity::generate(TOPIC).unwrap();
    for identity in [None, Some(&foreign)] {
        // With TLS 1.3 the refusal may arrive after the client's handshake.
        if let Some(mut sender) = connect(&service, identity).await {
            assert_eq!(
                push(&mut sender, &hex::encode(TOKEN), &GOOD, PUSH).await,
                None
            );
        }
    }
    service.trust_client_ca(&foreign.ca_pem).unwrap();
    let mut sender = connect(&service, Some(&foreign)).await.unwrap();
    let answer = push(&mut sender, &hex::encode(TOKEN), &GOOD, PUSH)
        .await
        .unwrap();
    assert_eq!(answer.1["reason"], "BadDeviceToken");
}

#[tokio::test]
async fn bad_requests_get_the_reasons_that_apple_documents() {
    let (service, identity) = start().await;
    let _device = service.register(TOKEN, TOPIC, Arc::new(Notify::new()));
    let _other = service.register([1; 32], "com.apple.mgmt.other", Arc::new(Notify::new()));
    drop(service.register([2; 32], TOPIC, Arc::new(Notify::new())));
    let mut sender = connect(&service, Some(&identity)).await.unwrap();
    let good = hex::encode(TOKEN);
    let type_only = [("apns-push-type", "mdm")];
    let with = |name: &'static str, value: &'static str| [type_only[0], (name, value)];
    let elsewhere = with("apns-topic", "com.apple.mgmt.other");
    let nonsense = with("apns-topic", "com.example.app");
    let priority = with("apns-priority", "11");
    let expiration = with("apns-expiration", "soon");
    let id = with("apns-id", "1");
    let twice = with("apns-push-type", "mdm");
    let cases: [Case<'_>; 14] = [
        (&good, &[], PUSH, 400, "InvalidPushType"),
        (
            &good,
            &[("apns-push-type", "alert")],
            PUSH,
            400,
            "InvalidPushType",
        ),
        (&good, &elsewhere, PUSH, 400, "TopicDisallowed"),
        (&good, &nonsense, PUSH, 400, "BadTopic"),
        (&good, &priority, PUSH, 400, "BadPriority"),
        (&good, &expiration, PUSH, 400, "BadExpirationDate"),
        (&good, &id, PUSH, 400, "BadMessageId"),
        (&good, &twice, PUSH, 400, "DuplicateHeaders"),
        (&good, &type_only, b"", 400, "PayloadEmpty"),
        (&good, &type_only, b"{}", 400, "NotAnMdmPayload"),
        ("", &type_only, PUSH, 400, "MissingDeviceToken"),
        ("xyz", &type_only, PUSH, 400, "BadDeviceToken"),
        (
            &hex::encode([1; 32]),
            &type_only,
            PUSH,
            400,
            "DeviceTokenNotForTopic",
        ),
        (&hex::encode([2; 32]), &type_only, PUSH, 410, "Unregistered"),
    ];
    for (token, headers, body, status, reason) in cases {
        let answer = push(&mut sender, token, headers, body).await.unwrap();
        assert_eq!(
            (answer.0, answer.1["reason"].as_str()),
            (status, Some(reason))
        );
        assert_eq!(answer.1["timestamp"].is_i64(), reason == "Unregistered");
    }
}

#[tokio::test]
async fn mischief_follows_the_script() {
    let (service, identity) = start().await;
    let device = service.register(TOKEN, TOPIC, Arc::new(Notify::new()));
    let token = hex::encode(TOKEN);
    let mut sender = connect(&service, Some(&identity)).await.unwrap();
    service.script([
        Reaction::Answer(Reason::TooManyRequests),
        Reaction::Slow(Duration::from_millis(1)),
        Reaction::Drop,
    ]);
    let answer = push(&mut sender, &token, &GOOD, PUSH).await.unwrap();
    assert_eq!(answer.0, 429);
    assert_eq!(device.take(), None);
    assert_eq!(push(&mut sender, &token, &GOOD, PUSH).await.unwrap().0, 200);
    assert_eq!(
        push(&mut sender, &token, &GOOD, PUSH).await,
        None,
        "the connection is cut"
    );
    let mut sender = connect(&service, Some(&identity)).await.unwrap();
    service.set_faults(ApnsFaults {
        go_away_after: Some(2),
        ..ApnsFaults::default()
    });
    assert_eq!(push(&mut sender, &token, &GOOD, PUSH).await.unwrap().0, 200);
    assert_eq!(push(&mut sender, &token, &GOOD, PUSH).await.unwrap().0, 200);
    assert_eq!(
        push(&mut sender, &token, &GOOD, PUSH).await,
        None,
        "the client was sent away"
    );
}

#[tokio::test]
async fn a_stopped_service_closes_its_connections() {
    let (service, identity) = start().await;
    let mut sender = connect(&service, Some(&identity)).await.unwrap();
    service.stop();
    assert_eq!(
        push(&mut sender, &hex::encode(TOKEN), &GOOD, PUSH).await,
        None
    );
}
