//! Secrets stay secret: not in logs, not in answers of refusal, not in the files of the database (S1), and a sealed value opens
//! in its own place alone (S2).
//!
//! Owns: one run through everything that a device's secrets pass, with a word in each that occurs nowhere else, and the search
//! for these words afterwards: as they are, in base64 at any of its three places, and in hex.
//!
//! Over 500 lines: one run, told in order.
//!
//! Where else a secret could lie is not searched: memory, core files, and what a proxy in front logs.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]
#![allow(
    unreachable_pub,
    reason = "the parts of one test see each other, nobody else does"
)]

mod support;

#[path = "corpus/signing.rs"]
mod signing;

use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use pomona_cms::x509::Certificate;
use pomona_engine::clock::SystemEntropy;
use pomona_engine::http::{IdentitySource, PeerAddress, device_router};
use pomona_engine::identity::{NewLink, create_authority, create_link};
use pomona_engine::{
    Actor, Cause, CommandBody, Enqueue, Keyring, Place, RootKey, TenantId, TenantKeys,
    UserAuthenticatePolicy,
};
use signing::{Request as Wanted, scep_message, self_signed};
use support::{Backend, Card, Stage, TOPIC, answer, authenticate, idle};
use tower::ServiceExt;
use tracing_subscriber::fmt::MakeWriter;

const UDID: &str = "00008103-00000000000000C0";

/// The words. Each stands in one secret.
const MAGIC: &str = "canary-push-magic-7Zq1";
const TOKEN: &str = "canary-push-token-8Yw2";
const UNLOCK: &str = "canary-unlock-token-9Xv3";
const BOOTSTRAP: &str = "canary-bootstrap-token-1Wu4";
const PIN: &str = "canary-pin-2Vt5";
const DIGEST: &str = "canary-digest-response-3Us6";
const ANSWER: &str = "canary-answer-4Tr7";
const STATUS: &str = "canary-status-report-5Sq8";
const DESCRIPTION: &str = "canary-error-text-6Rp9";
const BROKEN: &str = "canary-broken-body-7Qo1";
const HEADER: &str = "canary-header-8Pn2";
const GUESS: &str = "canary-guessed-challenge-9Om3";

/// Everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn text(key: &str, value: &str) -> String {
    format!("<key>{key}</key><string>{value}</string>")
}

fn data(key: &str, value: &str) -> String {
    format!("<key>{key}</key><data>{}</data>", STANDARD.encode(value))
}

fn plist(inner: &str) -> String {
    format!("<plist version=\"1.0\"><dict>{inner}</dict></plist>")
}

fn check_in(kind: &str, inner: &str) -> String {
    plist(&format!(
        "{}{}{}{inner}",
        text("MessageType", kind),
        text("Topic", TOPIC),
        text("UDID", UDID)
    ))
}

/// The server, and what it answered with something else than 200.
struct Site {
    stage: Stage,
    router: axum::Router,
    refusals: Vec<u8>,
}

impl Site {
    async fn new() -> Self {
        let tune = Arc::new(|options: &mut pomona_engine::EngineOptions| {
            options.user_authenticate = UserAuthenticatePolicy::Digest;
        });
        let stage = Stage::tuned(Backend::Sqlite, Default::default(), tune).await;
        let source = IdentitySource::Proxy {
            trusted: vec![IpAddr::from([127, 0, 0, 1])],
        };
        Self {
            router: device_router(stage.engine.clone(), source),
            stage,
            refusals: Vec::new(),
        }
    }

    async fn ask(&mut self, mut request: Request<Body>) -> (u16, Vec<u8>) {
        let peer = PeerAddress(IpAddr::from([127, 0, 0, 1]));
        request.extensions_mut().insert(peer);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let headers = format!("{:?}", response.headers());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        if status != 200 {
            self.refusals.extend_from_slice(headers.as_bytes());
            self.refusals.extend_from_slice(&body);
        }
        (status, body.to_vec())
    }

    async fn mdm(&mut self, card: &Card, kind: &str, body: String) -> (u16, Vec<u8>) {
        let request = Request::put(format!("/mdm/{}", self.stage.tenant))
            .header("content-type", kind)
            .header("client-cert", format!(":{}:", STANDARD.encode(&card.der)))
            .body(Body::from(body))
            .unwrap();
        self.ask(request).await
    }

    async fn check_in(&mut self, card: &Card, body: String) -> (u16, Vec<u8>) {
        let kind = "application/x-apple-aspen-mdm-checkin";
        self.mdm(card, kind, body).await
    }

    async fn report(&mut self, card: &Card, body: String) -> (u16, Vec<u8>) {
        self.mdm(card, "application/x-apple-aspen-mdm", body).await
    }

    async fn queue(&self, command: plist::Dictionary) -> String {
        let to = self.stage.enabled(UDID).await;
        let request = Enqueue::new(CommandBody::Dictionary(command), vec![to]);
        let engine = &self.stage.engine;
        let done = engine
            .enqueue(self.stage.tenant, Actor::SYSTEM, Cause::default(), request)
            .await
            .unwrap();
        assert!(done.targets[0].accepted, "{done:?}");
        done.command_uuid
    }
}

#[tokio::test]
async fn no_secret_is_found_in_logs_answers_or_files() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("trace")
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let mut site = Site::new().await;
    let mut secrets: Vec<(&str, String)> = [
        ("push magic", MAGIC),
        ("push token", TOKEN),
        ("unlock token", UNLOCK),
        ("bootstrap token", BOOTSTRAP),
        ("PIN in a command", PIN),
        ("digest response", DIGEST),
        ("answer to a command", ANSWER),
        ("status report", STATUS),
        ("text of an error", DESCRIPTION),
        ("body that cannot be read", BROKEN),
        ("header that cannot be read", HEADER),
        ("challenge that is wrong", GUESS),
    ]
    .map(|(name, secret)| (name, secret.to_owned()))
    .to_vec();
    secrets.extend(enroll(&mut site).await);
    let card = site.stage.card("link", Some(UDID), None).await;
    live(&mut site, &card).await;
    refuse(&mut site, &card).await;

    let path = site.stage.url.trim_start_matches("sqlite:").to_owned();
    let folder = std::path::Path::new(&path).parent().unwrap().to_owned();
    // Once while the server runs, with what stands in the write-ahead log, and once when it has ended.
    let mut places = files(&folder);
    site.stage.engine.stop().await;
    site.stage.engine.store().close().await;
    let all_of_it = "PRAGMA wal_checkpoint(TRUNCATE)";
    site.stage.sql.run(all_of_it).await;
    places.extend(files(&folder));
    places.push(("the log".into(), log.0.lock().unwrap().clone()));
    places.push(("refusals".into(), site.refusals.clone()));
    assert!(places.iter().any(|(name, _)| name.ends_with("-wal")));
    assert!(
        places
            .iter()
            .any(|(name, bytes)| name == "the log" && bytes.len() > 10_000)
    );
    for (what, secret) in &secrets {
        for (place, bytes) in &places {
            assert_eq!(found(bytes, secret), None, "{what} in {place}");
        }
    }
    // The search finds what is there: an identifier is no secret.
    let in_a = |end: &str, word: &str| {
        places
            .iter()
            .any(|(name, bytes)| name.ends_with(end) && found(bytes, word).is_some())
    };
    assert!(in_a(".db", UDID) && in_a("-wal", UDID));
    assert!(in_a("the log", "a request was refused"));
}

/// The files in a folder, with their names.
fn files(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect()
}

/// In which form a secret stands in some bytes.
fn found(bytes: &[u8], secret: &str) -> Option<&'static str> {
    // All forms are ASCII, and text is searched much faster than bytes are.
    let text = String::from_utf8_lossy(bytes);
    if text.contains(secret) {
        return Some("plain");
    }
    let hex = hex::encode(secret);
    if text.contains(&hex) || text.contains(&hex.to_uppercase()) {
        return Some("hex");
    }
    for skip in 0..3 {
        let shifted = [&[0; 2][..skip], secret.as_bytes()].concat();
        for engine in [
            base64::engine::general_purpose::STANDARD_NO_PAD,
            base64::engine::general_purpose::URL_SAFE_NO_PAD,
        ] {
            let encoded = engine.encode(&shifted);
            // The first and last characters depend on what stands beside it.
            if text.contains(&encoded[4..encoded.len() - 4]) {
                return Some("base64");
            }
        }
    }
    None
}

/// Through a link, a profile and SCEP; returns the secrets of that way.
async fn enroll(site: &mut Site) -> Vec<(&'static str, String)> {
    let (store, tenant) = (site.stage.engine.store().clone(), site.stage.tenant);
    create_authority(&store, tenant, "Lab").await.unwrap();
    let new = NewLink {
        name: "Room 4".into(),
        max_uses: 5,
        expires_in: 3_600_000_000,
        device_udid: None,
        device_serial: None,
    };
    let link = create_link(&store, tenant, Actor::SYSTEM, new)
        .await
        .unwrap();
    let request = |uri: String| Request::post(uri).body(Body::empty()).unwrap();
    let (status, profile) = site
        .ask(request(format!("/enroll/{}?plain=1", link.url_token)))
        .await;
    assert_eq!(status, 200);
    site.ask(request(format!("/enroll/{}", link.url_token)))
        .await;
    let profile = String::from_utf8(profile).unwrap();
    let after = |key: &str| {
        let rest = profile.split(&format!("<key>{key}</key>")).nth(1).unwrap();
        rest.split("<string>")
            .nth(1)
            .unwrap()
            .split('<')
            .next()
            .unwrap()
            .to_owned()
    };
    let challenge = after("Challenge");
    let grant = profile.split("<string>CN</string>").nth(1).unwrap();
    let grant = grant
        .split("<string>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap()
        .to_owned();

    let get = Request::get(format!("/scep/{tenant}?operation=GetCACert"))
        .body(Body::empty())
        .unwrap();
    let ca = Certificate::from_der(&site.ask(get).await.1).unwrap();
    let party = self_signed();
    let mut answers = Vec::new();
    for (n, word) in [GUESS, &challenge, &challenge].into_iter().enumerate() {
        let wanted = Wanted::named(&grant).challenge(word).sign(&party.key);
        let message = scep_message(&party, &ca, &wanted, "19", &format!("transaction {n}"));
        let uri = format!("/scep/{tenant}?operation=PKIOperation");
        let (status, answer) = site
            .ask(Request::post(uri).body(Body::from(message)).unwrap())
            .await;
        assert_eq!(status, 200);
        answers.push(answer.len());
    }
    assert!(
        answers[1] > answers[0],
        "the first is refused, the second is issued"
    );
    vec![
        ("challenge", challenge),
        ("token of the link", link.url_token),
    ]
}

/// What a device says and is told in the course of its life.
async fn live(site: &mut Site, card: &Card) {
    let tokens = data("Token", TOKEN) + &text("PushMagic", MAGIC) + &data("UnlockToken", UNLOCK);
    let user = text("UserID", "0A0B");
    for body in [
        authenticate(UDID),
        check_in("TokenUpdate", &tokens),
        check_in("SetBootstrapToken", &data("BootstrapToken", BOOTSTRAP)),
        check_in(
            "TokenUpdate",
            &(user.clone() + &data("Token", TOKEN) + &text("PushMagic", MAGIC)),
        ),
        check_in("UserAuthenticate", &user),
        check_in(
            "UserAuthenticate",
            &(user + &text("DigestResponse", DIGEST)),
        ),
        check_in(
            "DeclarativeManagement",
            &(text("Endpoint", "status") + &data("Data", &format!("{{\"a\":\"{STATUS}\"}}"))),
        ),
    ] {
        assert_eq!(site.check_in(card, body).await.0, 200);
    }
    let (_, told) = site.check_in(card, check_in("GetBootstrapToken", "")).await;
    assert!(found(&told, BOOTSTRAP).is_some(), "its owner gets it");

    let mut lock = support::dictionary("DeviceLock");
    lock.insert("PIN".into(), PIN.into());
    let uuid = site.queue(lock).await;
    let (_, sent) = site.report(card, idle(UDID)).await;
    assert!(found(&sent, PIN).is_some(), "the device gets it");
    site.report(card, answer(UDID, "NotNow", &uuid)).await;
    site.report(card, idle(UDID)).await;
    let answers = format!(
        "<key>QueryResponses</key><dict>{}</dict>",
        text("Secret", ANSWER)
    );
    let chain = format!(
        "<key>ErrorChain</key><array><dict>{}{}</dict></array>",
        text("ErrorDomain", "D"),
        text("LocalizedDescription", DESCRIPTION)
    );
    for (status, more) in [("Error", chain), ("Acknowledged", answers)] {
        let said = plist(
            &(text("Status", status) + &text("UDID", UDID) + &text("CommandUUID", &uuid) + &more),
        );
        assert_eq!(site.report(card, said).await.0, 200);
    }
    let orphan = plist(
        &(text("Status", "Acknowledged")
            + &text("UDID", UDID)
            + &text("CommandUUID", "nobody's")
            + &text("Secret", ANSWER)),
    );
    assert_eq!(site.report(card, orphan).await.0, 200);
}

/// The same secrets where something is wrong, since that is when one writes too much.
async fn refuse(site: &mut Site, card: &Card) {
    let tokens = data("Token", TOKEN) + &text("PushMagic", MAGIC) + &data("UnlockToken", UNLOCK);
    let good = check_in("TokenUpdate", &tokens);
    let other = check_in("TokenUpdate", &tokens).replace(UDID, "SOMEBODY-ELSE");
    let topic = good.replace(TOPIC, "com.apple.mgmt.External.other");
    let bodies = [
        other,
        topic,
        good[..good.len() - 30].to_owned(),
        good.replace("PushMagic", "Other"),
        check_in("TokenUpdate", &(tokens + &text("EnrollmentID", "E-1"))),
        check_in("SetBootstrapToken", &text("BootstrapToken", BOOTSTRAP)),
        check_in("UserAuthenticate", &text("DigestResponse", DIGEST)),
        check_in(BROKEN, ""),
        check_in("GetToken", &text("TokenServiceType", BROKEN)),
        plist(&text("UDID", &format!("{BROKEN}:"))),
        format!("<plist><{BROKEN}/></plist>"),
        format!("{BROKEN}{good}"),
    ];
    for body in bodies {
        let (status, _) = site.check_in(card, body.clone()).await;
        assert!([400, 403].contains(&status), "{status}");
        site.report(card, body).await;
    }
    for (name, value) in [
        ("client-cert", format!(":{HEADER}")),
        ("mdm-signature", HEADER.to_owned()),
        ("content-type", HEADER.to_owned()),
        ("authorization", format!("Bearer {HEADER}")),
    ] {
        let request = Request::put(format!("/mdm/{}", site.stage.tenant))
            .header(name, value)
            .body(Body::from(check_in("CheckOut", "")))
            .unwrap();
        assert_ne!(site.ask(request).await.0, 200);
    }
    for uri in [
        format!("/mdm/{BROKEN}"),
        format!("/enroll/{BROKEN}"),
        format!("/scep/{BROKEN}?operation=PKIOperation"),
        format!("/scep/{}?operation={BROKEN}", site.stage.tenant),
        format!("/{BROKEN}"),
    ] {
        let request = Request::post(uri).body(Body::empty()).unwrap();
        assert_ne!(site.ask(request).await.0, 200);
    }
}

fn keys(ring: &Keyring, tenant: u128) -> Arc<TenantKeys> {
    let tenant = TenantId(uuid::Uuid::from_u128(tenant));
    let sealed = ring.create(&SystemEntropy::default(), tenant).unwrap();
    ring.unwrap(tenant, &sealed).unwrap()
}

#[test]
fn a_sealed_value_opens_in_its_own_place_alone() {
    let random = SystemEntropy::default();
    let ring = Keyring::new(&RootKey::from_bytes(&[7; 32]).unwrap()).unwrap();
    let (one, two) = (keys(&ring, 1), keys(&ring, 2));
    let place = Place {
        table: "enrollment",
        column: "unlock_token_sealed",
        row: &[1; 16],
    };
    let sealed = one.seal(&random, place, UNLOCK.as_bytes()).unwrap();
    assert_eq!(one.open(place, &sealed).unwrap(), UNLOCK.as_bytes());
    assert_eq!(found(&sealed, UNLOCK), None);
    let moved = [
        (
            "row",
            Place {
                row: &[2; 16],
                ..place
            },
        ),
        (
            "shorter row",
            Place {
                row: &[1; 15],
                ..place
            },
        ),
        (
            "longer row",
            Place {
                row: &[1; 17],
                ..place
            },
        ),
        (
            "column",
            Place {
                column: "bootstrap_token_sealed",
                ..place
            },
        ),
        (
            "table",
            Place {
                table: "delivery",
                ..place
            },
        ),
        // The same text, cut in another place.
        (
            "border",
            Place {
                table: "enrollmentunlock",
                column: "_token_sealed",
                ..place
            },
        ),
    ];
    for (what, place) in moved {
        assert!(one.open(place, &sealed).is_err(), "another {what}");
    }
    assert!(two.open(place, &sealed).is_err(), "another tenant");
    assert!(
        ring.operator().open(place, &sealed).is_err(),
        "the operator's keys"
    );
    // The same tenant id under another root key, and another data key of the same tenant.
    let other = Keyring::new(&RootKey::from_bytes(&[8; 32]).unwrap()).unwrap();
    assert!(
        keys(&other, 1).open(place, &sealed).is_err(),
        "another root key"
    );
    assert!(
        keys(&ring, 1).open(place, &sealed).is_err(),
        "another data key"
    );
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(one.open(place, &changed).is_err(), "byte {at} changed");
        assert!(one.open(place, &sealed[..at]).is_err(), "cut at {at}");
    }
    let again = one.seal(&random, place, UNLOCK.as_bytes()).unwrap();
    assert_ne!(sealed, again, "sealed twice it looks different");
    let wrapped = ring
        .create(&random, TenantId(uuid::Uuid::from_u128(1)))
        .unwrap();
    assert!(
        ring.unwrap(TenantId(uuid::Uuid::from_u128(2)), &wrapped)
            .is_err(),
        "another tenant's data key"
    );
    assert_ne!(one.hash("a", b"x"), two.hash("a", b"x"));
    assert_ne!(one.hash("a", b"x"), one.hash("b", b"x"));
}

/// The same through the server: a bootstrap token that somebody with access to the database has moved is not handed out.
#[tokio::test]
async fn a_bootstrap_token_moved_in_the_database_is_not_told() {
    let mut site = Site::new().await;
    let mine = site.stage.card("link", Some(UDID), None).await;
    for body in [
        authenticate(UDID),
        check_in(
            "TokenUpdate",
            &(data("Token", TOKEN) + &text("PushMagic", MAGIC)),
        ),
        check_in("SetBootstrapToken", &data("BootstrapToken", BOOTSTRAP)),
    ] {
        assert_eq!(site.check_in(&mine, body).await.0, 200);
    }
    let (thief, enrollment) = site.stage.enroll("THIEF").await;
    let sql = &site.stage.sql;
    let from =
        "SELECT bootstrap_token_sealed FROM enrollment WHERE bootstrap_token_sealed IS NOT NULL";
    sql.run(&format!(
        "UPDATE enrollment SET bootstrap_token_sealed = ({from}) WHERE id = {}",
        sql.id(enrollment.0)
    ))
    .await;
    let ask = check_in("GetBootstrapToken", "");
    let (status, told) = site.check_in(&thief, ask.replace(UDID, "THIEF")).await;
    assert_ne!(status, 200);
    assert_eq!(found(&told, BOOTSTRAP), None);
    let (status, told) = site.check_in(&mine, ask).await;
    assert_eq!(status, 200);
    assert!(found(&told, BOOTSTRAP).is_some(), "its owner still gets it");
}
