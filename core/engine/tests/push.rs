//! The line to APNs against an HTTP/2 server with TLS and client certificates: what goes over the wire, and what each
//! fault of the other side leads to.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod apns_server;

use std::sync::Arc;
use std::time::Duration;

use apns_server::{Answer, Authority, Behaviour, Server, Tls};
use futures_util::future::join_all;
use pomona_engine::TenantId;
use pomona_engine::clock::{ManualClock, SECOND};
use pomona_engine::push::{
    Accepted, ApnsClient, ApnsOptions, ApnsRoots, ApnsTransport, Notification, PushCertificate,
    PushFailure, Refusal,
};
use uuid::Uuid;

const TOPIC: &str = "com.apple.mgmt.External.11111111-2222-3333-4444-555555555555";
const NOW: i64 = 1_800_000_000;

fn options(server: &Server) -> ApnsOptions {
    ApnsOptions {
        base_url: server.url(),
        roots: ApnsRoots::Pem(server.root_pem().into_bytes()),
        connections: 1,
        timeout: Duration::from_secs(20),
        ..ApnsOptions::default()
    }
}

fn client(options: ApnsOptions) -> ApnsClient {
    ApnsClient::new(options, Arc::new(ManualClock::at(NOW * SECOND))).unwrap()
}

fn certificate(authority: &Authority, id: u128) -> PushCertificate {
    let (certificate_pem, key_der) = authority.issue(&format!("push {id}"));
    PushCertificate {
        id: Uuid::from_u128(id),
        tenant: TenantId(Uuid::from_u128(1)),
        topic: TOPIC.to_owned(),
        certificate_pem,
        key_der: key_der.into(),
        not_after: i64::MAX,
    }
}

fn note(n: u32) -> Notification {
    let mut token = vec![0xAB; 28];
    token.extend(n.to_be_bytes());
    Notification::new(
        token,
        format!("MAGIC-{n}"),
        TOPIC.to_owned(),
        (NOW + 604_800) * SECOND,
    )
}

async fn refusal_of(answer: Answer) -> Refusal {
    let server = Server::start(Tls::Both, move |_| Behaviour::Answer(answer.clone())).await;
    let certificate = certificate(server.clients(), 1);
    match client(options(&server)).send(&certificate, note(0)).await {
        Err(PushFailure::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_request_is_exact_to_the_byte() {
    let server = Server::start(Tls::Both, |_| Behaviour::accept()).await;
    let certificate = certificate(server.clients(), 1);
    let accepted = client(options(&server))
        .send(&certificate, note(7))
        .await
        .unwrap();
    let apns_id = Some("00000000-0000-0000-0000-000000000001".to_owned());
    assert_eq!(accepted, Accepted { apns_id });
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!(request.method, "POST");
    let token = format!("{}00000007", "ab".repeat(28));
    assert_eq!(request.path, format!("/3/device/{token}"));
    assert_eq!(request.body, br#"{"mdm":"MAGIC-7"}"#);
    assert_eq!(
        request.headers,
        [
            "apns-expiration: 1800604800",
            "apns-priority: 10",
            "apns-push-type: mdm",
            "apns-topic: com.apple.mgmt.External.11111111-2222-3333-4444-555555555555",
            "content-length: 17",
            "content-type: application/json",
        ]
    );
    assert_eq!(request.peer, "push 1");
}

#[tokio::test]
async fn a_dead_token_comes_with_the_time_of_its_death() {
    let body = r#"{"reason":"Unregistered","timestamp":1799990000123}"#;
    let refusal = refusal_of(Answer::new(410, body)).await;
    assert_eq!(refusal.status, 410);
    assert_eq!(refusal.reason.as_deref(), Some("Unregistered"));
    assert_eq!(refusal.dead_since, Some(1_799_990_000_123_000));
}

#[tokio::test]
async fn retry_after_is_heard() {
    let answer = Answer::new(429, r#"{"reason":"TooManyRequests"}"#).with("retry-after", "120");
    let refusal = refusal_of(answer).await;
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(120)));
}

#[tokio::test]
async fn reasons_are_kept_as_they_are_spelled_and_bodies_are_bounded() {
    for (status, body, reason) in [
        (
            403,
            r#"{"reason":"BadCertificate"}"#.to_owned(),
            Some("BadCertificate"),
        ),
        (
            400,
            r#"{"reason":"Unheard-of"}"#.to_owned(),
            Some("Unheard-of"),
        ),
        (500, "<html>oops</html>".to_owned(), None),
        (503, String::new(), None),
        (
            400,
            format!(r#"{{"reason":"x","pad":"{}"}}"#, "y".repeat(1_000_000)),
            None,
        ),
    ] {
        let refusal = refusal_of(Answer::new(status, &body)).await;
        assert_eq!(refusal.status, status);
        assert_eq!(refusal.reason.as_deref(), reason);
    }
}

#[tokio::test]
async fn a_server_that_never_answers_costs_one_timeout_and_gets_a_new_connection() {
    let server = Server::start(Tls::Both, |seen| match seen.connection {
        0 => Behaviour::Silence,
        _ => Behaviour::accept(),
    })
    .await;
    let certificate = certificate(server.clients(), 1);
    let client = client(ApnsOptions {
        timeout: Duration::from_millis(300),
        ..options(&server)
    });
    let first = client.send(&certificate, note(0)).await;
    assert_eq!(first, Err(PushFailure::Timeout));
    assert!(client.send(&certificate, note(1)).await.is_ok());
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_dropped_connection_is_made_again_for_the_same_push() {
    let server = Server::start(Tls::Both, |seen| match seen.connection {
        0 => Behaviour::Drop,
        _ => Behaviour::accept(),
    })
    .await;
    let certificate = certificate(server.clients(), 1);
    let client = client(options(&server));
    assert!(client.send(&certificate, note(0)).await.is_ok());
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_server_that_drops_every_connection_is_a_broken_line() {
    let server = Server::start(Tls::Both, |_| Behaviour::Drop).await;
    let certificate = certificate(server.clients(), 1);
    let result = client(options(&server)).send(&certificate, note(0)).await;
    assert!(matches!(result, Err(PushFailure::Broken(_))), "{result:?}");
}

#[tokio::test]
async fn no_push_is_lost_when_the_server_says_goaway_again_and_again() {
    let server = Server::start(Tls::Both, |seen| {
        if seen.on_connection % 50 == 49 {
            Behaviour::AnswerAndGoAway(Answer::accept())
        } else {
            Behaviour::accept()
        }
    })
    .await;
    let certificate = certificate(server.clients(), 1);
    let client = client(options(&server));
    for round in 0..10 {
        let sends = (0..40).map(|n| client.send(&certificate, note(round * 40 + n)));
        for result in join_all(sends).await {
            assert!(result.is_ok(), "{result:?}");
        }
    }
    assert!(server.connections() > 3, "{}", server.connections());
}

#[tokio::test]
async fn a_connection_that_went_dead_is_found_by_its_pings() {
    let server = Server::start(Tls::Both, |seen| match seen.connection {
        0 => Behaviour::AnswerAndFreeze(Answer::accept()),
        _ => Behaviour::accept(),
    })
    .await;
    let certificate = certificate(server.clients(), 1);
    let client = client(ApnsOptions {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(200),
        timeout: Duration::from_secs(60),
        ..options(&server)
    });
    assert!(client.send(&certificate, note(0)).await.is_ok());
    assert!(client.send(&certificate, note(1)).await.is_ok());
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn another_certificate_is_used_from_the_next_push_on() {
    let server = Server::start(Tls::Both, |_| Behaviour::accept()).await;
    let client = client(options(&server));
    let (old, new) = (
        certificate(server.clients(), 1),
        certificate(server.clients(), 2),
    );
    for certificate in [&old, &old, &new] {
        client.send(certificate, note(0)).await.unwrap();
    }
    let peers: Vec<_> = server.requests().into_iter().map(|r| r.peer).collect();
    assert_eq!(peers, ["push 1", "push 1", "push 2"]);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn pushes_are_spread_over_the_connections() {
    let server = Server::start(Tls::Both, |_| Behaviour::accept()).await;
    let certificate = certificate(server.clients(), 1);
    let client = client(ApnsOptions {
        connections: 3,
        ..options(&server)
    });
    for n in 0..9 {
        client.send(&certificate, note(n)).await.unwrap();
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn many_first_pushes_share_the_connections() {
    let server = Server::start(Tls::Both, |_| Behaviour::accept()).await;
    let certificate = certificate(server.clients(), 1);
    let client = client(ApnsOptions {
        connections: 2,
        ..options(&server)
    });
    let sends = (0..200).map(|n| client.send(&certificate, note(n)));
    assert!(join_all(sends).await.iter().all(Result::is_ok));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_certificate_that_apns_does_not_accept_is_told_apart_from_a_bad_line() {
    for tls in [Tls::Only13, Tls::Only12] {
        let server = Server::start(tls, |_| Behaviour::accept()).await;
        let stranger = certificate(&Authority::new("someone else"), 1);
        let client = client(options(&server));
        let result = client.send(&stranger, note(0)).await;
        assert!(
            matches!(result, Err(PushFailure::CertificateRejected(_))),
            "{tls:?}: {result:?}"
        );
        let known = certificate(server.clients(), 2);
        assert!(client.send(&known, note(1)).await.is_ok(), "{tls:?}");
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_no_push() {
    let server = Server::start(Tls::Both, |_| Behaviour::accept()).await;
    let certificate = certificate(server.clients(), 1);
    for roots in [
        ApnsRoots::Web,
        ApnsRoots::Pem(Authority::new("unrelated").pem().into_bytes()),
    ] {
        let client = client(ApnsOptions {
            roots,
            ..options(&server)
        });
        let result = client.send(&certificate, note(0)).await;
        let Err(PushFailure::Connect(why)) = result else {
            panic!("{result:?}");
        };
        assert!(why.contains("certificate"), "{why}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn nobody_listening_is_no_connection() {
    let server = Server::start(Tls::Both, |_| Behaviour::accept()).await;
    let (options, certificate) = (options(&server), certificate(server.clients(), 1));
    drop(server);
    let result = client(options).send(&certificate, note(0)).await;
    assert!(matches!(result, Err(PushFailure::Connect(_))), "{result:?}");
}

#[tokio::test]
async fn a_key_that_is_not_the_certificates_is_told_before_any_connection() {
    let server = Server::start(Tls::Both, |_| Behaviour::accept()).await;
    let mut certificate = certificate(server.clients(), 1);
    certificate.key_der = b"not a key".to_vec().into();
    let result = client(options(&server)).send(&certificate, note(0)).await;
    assert!(
        matches!(result, Err(PushFailure::CertificateRejected(_))),
        "{result:?}"
    );
    assert_eq!(server.connections(), 0);
}

#[test]
fn nothing_that_is_printed_shows_token_magic_or_key() {
    let authority = Authority::new("any");
    let certificate = certificate(&authority, 1);
    let printed = format!("{:?} {:?}", note(7), certificate);
    assert!(!printed.contains("MAGIC"), "{printed}");
    assert!(!printed.to_lowercase().contains("abab"), "{printed}");
    assert!(!printed.contains("171"), "{printed}");
}
