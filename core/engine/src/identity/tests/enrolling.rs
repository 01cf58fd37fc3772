//! From a link to a certificate, and what a challenge is good for.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Request as HttpRequest;
use pomona_cms::Certificate;

use super::client::{Device, Envelope, Outcome, Request, device, open};
use super::*;
use crate::clock::MINUTE;

impl Site {
    pub(super) async fn ca(&self) -> Certificate {
        let der = self.issuer.ca_certificate(self.tenant).await.unwrap();
        Certificate::from_der(&der).unwrap()
    }

    pub(super) async fn ask(&self, message: Vec<u8>, asked: &Envelope<'_>) -> Outcome {
        let reply = self.post(message).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.header("content-type"), "application/x-pki-message");
        open(&reply.body, asked)
    }

    /// Asks for a certificate in the ordinary way.
    pub(super) async fn enroll_by(
        &self,
        grant: &(GrantId, String),
        signer: Device,
        transaction: &str,
    ) -> Outcome {
        let ca = self.ca().await;
        let envelope = Envelope::new(&ca, signer, transaction);
        let request = Request::of(grant.0).challenge(&grant.1).sign(signer.key);
        self.ask(envelope.seal(&request), &envelope).await
    }
}

fn refused(fail: &str) -> Outcome {
    Outcome::Refused(fail.into())
}

/// badRequest.
fn no() -> Outcome {
    refused("2")
}

async fn the_authority_is_told_as_one_certificate_and_its_capabilities_as_text(site: Site) {
    let base = format!("/scep/{}", site.tenant);
    let reply = site
        .get(&format!("{base}?operation=GetCACert&message=any"))
        .await;
    assert_eq!(reply.header("content-type"), "application/x-x509-ca-cert");
    let ca = Certificate::from_der(&reply.body).unwrap();
    assert!(ca.is_ca());
    let reply = site.get(&format!("{base}?operation=GetCACaps")).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("content-type"), "text/plain");
    let text = reply.text();
    for word in [
        "POSTPKIOperation",
        "SHA-256",
        "AES",
        "SCEPStandard",
        "Renewal",
    ] {
        assert!(text.lines().any(|line| line == word), "{word}");
    }
}

async fn a_link_leads_to_a_certificate_that_openssl_accepts(site: Site) {
    let link = site.link(1).await;
    let grant = site.profile(&link).await;
    assert_eq!(site.uses(&link).await, 0, "a profile uses nothing up");
    let certificate = site.enroll_by(&grant, device(0), "t1").await.certificate();
    assert_eq!(site.uses(&link).await, 1);
    assert_eq!(certificate.grant_id(), Some(grant.0.0));
    assert_eq!(certificate.not_before(), START / SECOND - 3_600);
    assert_eq!(certificate.not_after(), START / SECOND + 365 * 86_400);

    let authorities = list_authorities(&site.store, site.tenant).await.unwrap();
    let folder = site.folder.path();
    std::fs::write(folder.join("leaf.der"), certificate.der()).unwrap();
    for authority in &authorities {
        let name = match authority.kind {
            AuthorityKind::Root => "root.pem",
            AuthorityKind::Issuing => "issuing.pem",
            AuthorityKind::External => unreachable!(),
        };
        std::fs::write(folder.join(name), &authority.certificate_pem).unwrap();
    }
    let leaf = ["x509", "-inform", "der", "-in", "leaf.der"];
    openssl(folder, &[&leaf[..], &["-out", "leaf.pem"]].concat());
    let at = (START / SECOND).to_string();
    let verified = openssl(
        folder,
        &[
            "verify",
            "-x509_strict",
            "-attime",
            &at,
            "-purpose",
            "sslclient",
            "-CAfile",
            "root.pem",
            "-untrusted",
            "issuing.pem",
            "leaf.pem",
        ],
    );
    assert!(verified.contains("OK"));
    let text = openssl(folder, &[&leaf[..], &["-noout", "-text"]].concat());
    for expected in [
        "TLS Web Client Authentication",
        "CA:FALSE",
        "Digital Signature, Key Encipherment",
        &format!("URI:urn:uuid:{}", grant.0),
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(!text.contains("Server Authentication"));
}

async fn the_same_key_gets_the_same_certificate_again_and_no_other_key_gets_one(site: Site) {
    let link = site.link(5).await;
    let grant = site.profile(&link).await;
    let first = site.enroll_by(&grant, device(0), "t1").await;
    assert!(matches!(first, Outcome::Issued(_)));
    assert_eq!(site.enroll_by(&grant, device(0), "t1").await, first);
    assert_eq!(site.enroll_by(&grant, device(0), "t2").await, first);
    assert_eq!(site.enroll_by(&grant, device(1), "t3").await, no());
    assert_eq!(site.count("certificate").await, 1);
    assert_eq!(site.uses(&link).await, 1);
}

async fn a_message_may_come_by_get_in_either_alphabet(site: Site) {
    let ca = site.ca().await;
    let grant = site.grant().await;
    let envelope = Envelope::new(&ca, device(0), "t1");
    let request = Request::of(grant.0).challenge(&grant.1).sign(device(0).key);
    let message = envelope.seal(&request);
    let base = format!("/scep/{}?operation=PKIOperation&message=", site.tenant);
    let plain = STANDARD.encode(&message);
    let escaped = plain
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    let mut answers = Vec::new();
    for text in [plain.clone(), escaped, URL_SAFE_NO_PAD.encode(&message)] {
        let reply = site.get(&format!("{base}{text}")).await;
        assert_eq!(reply.status, StatusCode::OK);
        answers.push(open(&reply.body, &envelope));
    }
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Outcome::Issued(_)))
    );
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    let spaced = plain.replace('+', "%20");
    if spaced != plain {
        let reply = site.get(&format!("{base}{spaced}")).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    }
}

async fn a_challenge_works_for_its_tenant_its_time_and_an_open_link(site: Site) {
    let expired = site.grant().await;
    site.clock.advance(60 * MINUTE);
    assert_eq!(site.enroll_by(&expired, device(0), "t1").await, no());

    let link = site.link(1).await;
    let revoked = site.profile(&link).await;
    revoke_link(&site.store, site.tenant, Actor::SYSTEM, link.link.id)
        .await
        .unwrap();
    assert_eq!(site.enroll_by(&revoked, device(0), "t2").await, no());

    let foreign = site.grant().await;
    let other = site.tenant_with_authority("other", "Other").await;
    let der = site.issuer.ca_certificate(other).await.unwrap();
    let ca = Certificate::from_der(&der).unwrap();
    let envelope = Envelope::new(&ca, device(0), "t3");
    let request = Request::of(foreign.0)
        .challenge(&foreign.1)
        .sign(device(0).key);
    let reply = site
        .post_from(envelope.seal(&request), other, "192.0.2.2")
        .await;
    assert_eq!(open(&reply.body, &envelope), no());
    assert_eq!(site.count("certificate").await, 0);
}

async fn a_fresh_database_refuses_everything(site: Site) {
    let made_up = (
        GrantId(uuid::Uuid::from_u128(1)),
        challenge::fresh(site.store.random().as_ref()),
    );
    assert_eq!(site.enroll_by(&made_up, device(0), "t1").await, no());
    let bare = site.bare_tenant("bare", "Bare").await;
    let reply = site.get(&format!("/scep/{bare}?operation=GetCACert")).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    let reply = site.post_from(vec![0x30, 0], bare, "192.0.2.9").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

async fn the_same_request_many_times_at_once_issues_one_certificate(site: Site) {
    let link = site.link(5).await;
    let grant = site.profile(&link).await;
    let ca = site.ca().await;
    let envelope = Envelope::new(&ca, device(0), "t1");
    let request = Request::of(grant.0).challenge(&grant.1).sign(device(0).key);
    let message = envelope.seal(&request);
    let replies = futures_util::future::join_all((0..16).map(|_| site.post(message.clone()))).await;
    let outcomes: Vec<Outcome> = replies.iter().map(|r| open(&r.body, &envelope)).collect();
    assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(matches!(outcomes[0], Outcome::Issued(_)));
    assert_eq!(site.count("certificate").await, 1);
    assert_eq!(site.uses(&link).await, 1);
}

async fn a_link_is_never_used_more_often_than_it_may(site: Site) {
    let link = site.link(3).await;
    let ca = site.ca().await;
    let mut messages = Vec::new();
    for n in 0..12 {
        let grant = site.profile(&link).await;
        let name = format!("t{n}");
        let envelope = Envelope::new(&ca, device(n % 4), &name);
        let request = Request::of(grant.0)
            .challenge(&grant.1)
            .sign(device(n % 4).key);
        messages.push((envelope.seal(&request), n, name.clone(), envelope.nonce));
    }
    let posts = messages
        .iter()
        .map(|(message, ..)| site.post(message.clone()));
    let replies = futures_util::future::join_all(posts).await;
    let mut issued = 0;
    for (reply, (_, n, name, nonce)) in replies.iter().zip(&messages) {
        let mut envelope = Envelope::new(&ca, device(n % 4), name);
        envelope.nonce = *nonce;
        match open(&reply.body, &envelope) {
            Outcome::Issued(_) => issued += 1,
            refusal => assert_eq!(refusal, no()),
        }
    }
    assert_eq!(issued, 3);
    assert_eq!(site.uses(&link).await, 3);
    assert_eq!(site.count("certificate").await, 3);
}

#[tokio::test]
async fn only_refused_requests_cost_and_each_address_pays_for_itself() {
    let site = Site::new().await;
    let ca = site.ca().await;
    let grant = site.grant().await;
    for n in 0..70 {
        let outcome = site.enroll_by(&grant, device(0), &format!("good{n}")).await;
        assert!(matches!(outcome, Outcome::Issued(_)));
    }
    let envelope = Envelope::new(&ca, device(1), "guess");
    let guess = Request::of(grant.0).challenge("guess").sign(device(1).key);
    let guess = envelope.seal(&guess);
    let mut limited = 0;
    for _ in 0..80 {
        let reply = site.post(guess.clone()).await;
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            limited += 1;
            assert!(reply.header("retry-after").parse::<u32>().unwrap() >= 1);
        }
    }
    assert_eq!(limited, 20);
    let reply = site
        .post_from(guess.clone(), site.tenant, "192.0.2.77")
        .await;
    assert_eq!(open(&reply.body, &envelope), no());
    site.clock.advance(60 * SECOND);
    assert_eq!(open(&site.post(guess).await.body, &envelope), no());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let site = Site::new().await;
    let path = format!("/scep/{}?operation=PKIOperation", site.tenant);
    let reply = site.post(vec![0x30; 70_000]).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    let announced = HttpRequest::post(&path)
        .header("content-length", "99999999")
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        site.send(announced).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let chunks =
        futures_util::stream::iter((0..80).map(|_| Ok::<_, std::io::Error>(vec![0u8; 1024])));
    let streamed = HttpRequest::post(&path)
        .body(Body::from_stream(chunks))
        .unwrap();
    assert_eq!(
        site.send(streamed).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

on_both_engines! {
    the_authority_is_told_as_one_certificate_and_its_capabilities_as_text,
    a_link_leads_to_a_certificate_that_openssl_accepts,
    the_same_key_gets_the_same_certificate_again_and_no_other_key_gets_one,
    a_message_may_come_by_get_in_either_alphabet,
    a_challenge_works_for_its_tenant_its_time_and_an_open_link,
    a_fresh_database_refuses_everything,
    the_same_request_many_times_at_once_issues_one_certificate,
    a_link_is_never_used_more_often_than_it_may,
}
