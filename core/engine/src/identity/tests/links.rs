//! Links: what the page says, what the profile holds, and how a link ends.

use axum::body::Body;
use http::Request as HttpRequest;

use super::*;
use crate::clock::DAY;
use crate::error::Error;

impl Site {
    async fn page(&self, link: &CreatedLink) -> Reply {
        self.get(&format!("/enroll/{}", link.url_token)).await
    }

    async fn named_link(
        &self,
        name: &str,
        max_uses: u32,
        expires_in: Micros,
    ) -> Result<CreatedLink> {
        let new = NewLink {
            name: name.into(),
            max_uses,
            expires_in,
            device_udid: None,
            device_serial: None,
        };
        create_link(&self.store, self.tenant, Actor::SYSTEM, new).await
    }
}

async fn the_page_says_who_manages_and_needs_nothing_from_elsewhere(site: Site) {
    let link = site.link(3).await;
    let reply = site.page(&link).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("referrer-policy"), "no-referrer");
    let policy = reply.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
    let text = reply.text();
    assert!(text.contains("Orchard &lt;School&gt;"));
    assert!(!text.contains("<School>"));
    assert!(text.contains("It enrolls 3 more devices."));
    assert!(text.contains("It ends on 16 January 2027"));
    for outside in ["http:", "https:", "src=", "href=", "<script", "url("] {
        assert!(!text.contains(outside), "{outside}");
    }
    assert!(text.contains("<html lang=\"en\">"));
    assert!(text.contains("<form method=\"post\">"));
}

#[tokio::test]
async fn the_style_in_the_page_is_the_one_that_the_policy_allows() {
    let site = Site::new().await;
    let reply = site.page(&site.link(1).await).await;
    let text = reply.text();
    let style = text
        .split("<style>")
        .nth(1)
        .unwrap()
        .split("</style>")
        .next()
        .unwrap();
    std::fs::write(site.folder.path().join("style"), style).unwrap();
    let hash = openssl(site.folder.path(), &["dgst", "-sha256", "-hex", "style"]);
    let hash = hash.trim().rsplit(' ').next().unwrap();
    use base64::Engine as _;
    let hash = base64::engine::general_purpose::STANDARD.encode(hex::decode(hash).unwrap());
    assert!(reply.header("content-security-policy").contains(&hash));
}

async fn a_profile_is_signed_by_the_authority_unless_asked_for_plain(site: Site) {
    let link = site.link(3).await;
    let path = format!("/enroll/{}", link.url_token);
    let reply = site
        .send(HttpRequest::post(&path).body(Body::empty()).unwrap())
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(
        reply.header("content-type"),
        "application/x-apple-aspen-config"
    );
    assert!(
        !reply
            .header("content-disposition")
            .contains(&link.url_token)
    );

    let folder = site.folder.path();
    std::fs::write(folder.join("signed"), &reply.body).unwrap();
    let authorities = list_authorities(&site.store, site.tenant).await.unwrap();
    let root = authorities
        .iter()
        .find(|one| one.kind == AuthorityKind::Root)
        .unwrap();
    std::fs::write(folder.join("root.pem"), &root.certificate_pem).unwrap();
    let at = (START / SECOND).to_string();
    openssl(
        folder,
        &[
            "cms", "-verify", "-inform", "der", "-in", "signed", "-CAfile", "root.pem", "-attime",
            &at, "-purpose", "any", "-out", "plain",
        ],
    );
    let (grant, _) = scep_values(&std::fs::read(folder.join("plain")).unwrap());

    let request = HttpRequest::post(&path)
        .header("accept", "application/xml")
        .body(Body::empty())
        .unwrap();
    let reply = site.send(request).await;
    assert_eq!(reply.header("content-type"), "application/xml");
    assert_ne!(
        scep_values(&reply.body).0,
        grant,
        "each profile has its own grant"
    );
    assert_eq!(site.uses(&link).await, 0);
}

async fn links_that_cannot_be_used_are_404_with_a_page_that_says_why(site: Site) {
    let (expired, revoked, used) = (site.link(1).await, site.link(1).await, site.link(1).await);
    let device = super::client::device(0);
    let grant = site.profile(&used).await;
    site.enroll_by(&grant, device, "t1").await.certificate();
    revoke_link(&site.store, site.tenant, Actor::SYSTEM, revoked.link.id)
        .await
        .unwrap();
    for (link, words) in [(&revoked, "taken back"), (&used, "as many devices")] {
        let reply = site.page(link).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        assert!(reply.text().contains(words), "{}", reply.text());
    }
    site.clock.advance(DAY);
    let reply = site.page(&expired).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(reply.text().contains("Its time is over"));
    for token in ["x", "..%2f..", &"A".repeat(43), &"<b>".repeat(9)] {
        let reply = site
            .get(&format!(
                "/enroll/{}",
                token.replace('<', "%3C").replace('>', "%3E")
            ))
            .await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{token}");
        assert!(!reply.text().contains("<b>"));
    }
    let post = HttpRequest::post(format!("/enroll/{}", expired.url_token));
    let reply = site.send(post.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(
        site.count("identity_grant").await,
        1,
        "no grant without a profile"
    );
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down() {
    let site = Site::new().await;
    let mut statuses = Vec::new();
    for n in 0..61 {
        statuses.push(site.get(&format!("/enroll/guess{n}")).await.status);
    }
    assert_eq!(statuses[59], StatusCode::NOT_FOUND);
    assert_eq!(statuses[60], StatusCode::TOO_MANY_REQUESTS);
}

async fn without_a_push_certificate_there_is_no_profile_and_the_page_says_so(site: Site) {
    let link = site.link(1).await;
    let mut tx = site.store.begin().await.unwrap();
    tx.execute("DELETE FROM push_certificate", args![])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let post = HttpRequest::post(format!("/enroll/{}", link.url_token));
    let reply = site.send(post.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(reply.text().contains("import a push certificate first"));
    assert_eq!(site.count("identity_grant").await, 0);
}

async fn a_link_for_one_device_gives_grants_for_that_device(site: Site) {
    let new = NewLink {
        name: "Ada's".into(),
        max_uses: 1,
        expires_in: DAY,
        device_udid: Some("00008030-abc".into()),
        device_serial: Some("c02x".into()),
    };
    let link = create_link(&site.store, site.tenant, Actor::SYSTEM, new)
        .await
        .unwrap();
    assert!(site.page(&link).await.text().contains("C02X"));
    site.profile(&link).await;
    let mut tx = site.store.begin_read().await.unwrap();
    let row = tx
        .query_one(
            "SELECT device_ident, device_serial, expires_at, kind FROM identity_grant",
            args![],
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.text(0).unwrap(), "00008030-ABC");
    assert_eq!(row.text(1).unwrap(), "C02X");
    assert_eq!(
        row.int(2).unwrap(),
        START + HOUR,
        "a challenge lives an hour"
    );
    assert_eq!(row.text(3).unwrap(), "link");
}

async fn links_are_bounded_listed_and_leave_a_trace(site: Site) {
    for (name, uses, life) in [
        ("", 1, DAY),
        ("a\u{202e}b", 1, DAY),
        ("ok", 0, DAY),
        ("ok", 1_000_001, DAY),
        ("ok", 1, SECOND),
        ("ok", 1, 400 * DAY),
    ] {
        let made = site.named_link(name, uses, life).await;
        assert!(
            matches!(made, Err(Error::Invalid(_))),
            "{name} {uses} {life}"
        );
    }
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(site.named_link(&format!("link {n}"), 1, DAY).await.unwrap());
        site.clock.advance(SECOND);
    }
    let first = list_links(&site.store, site.tenant, None, 3).await.unwrap();
    let rest = list_links(&site.store, site.tenant, Some(first[2].id), 3)
        .await
        .unwrap();
    let names: Vec<String> = first.iter().chain(&rest).map(|l| l.name.clone()).collect();
    assert_eq!(names, ["link 0", "link 1", "link 2", "link 3", "link 4"]);
    let other = site.bare_tenant("other", "Other").await;
    assert!(
        list_links(&site.store, other, None, 9)
            .await
            .unwrap()
            .is_empty()
    );
    let foreign = revoke_link(&site.store, other, Actor::SYSTEM, made[0].link.id).await;
    assert!(matches!(foreign, Err(Error::NotFound(_))));
    assert_eq!(site.store.verify_audit(Some(site.tenant)).await.unwrap(), 5);
    assert!(!format!("{:?}", made[0]).contains(&made[0].url_token));
    let shown = serde_json::to_value(&made[0].link).unwrap();
    assert_eq!(shown["state"], "open");
    assert_eq!(shown["expires_at"], "2027-01-16T08:00:00Z");
}

on_both_engines! {
    the_page_says_who_manages_and_needs_nothing_from_elsewhere,
    a_profile_is_signed_by_the_authority_unless_asked_for_plain,
    links_that_cannot_be_used_are_404_with_a_page_that_says_why,
    without_a_push_certificate_there_is_no_profile_and_the_page_says_so,
    a_link_for_one_device_gives_grants_for_that_device,
    links_are_bounded_listed_and_leave_a_trace,
}
