//! The identity module against a database and over HTTP, with a SCEP client of the tests' own.

/// Makes each of the named checks a test on SQLite and a test on PostgreSQL, where that is installed.
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(Site::new().await).await;
                }
            )+
        }
        mod on_postgres {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(site) = Site::on_postgres().await {
                        super::$name(site).await;
                    }
                }
            )+
        }
    };
}

mod bad_scep;
mod client;
mod enrolling;
mod links;
mod renewing;
mod revoking;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use uuid::Uuid;

use super::*;
use crate::actor::Actor;
use crate::clock::{Clock, HOUR, ManualClock, SECOND, SystemEntropy};
use crate::http::{PeerAddress, enroll_router, scep_router};
use crate::ids::{DeviceId, EnrollmentId, GrantId};
use crate::seal::{Keyring, RootKey};
use crate::store::StoreOptions;
use crate::store::sql::args;

/// 2027-01-15.
const START: Micros = 1_800_000_000 * SECOND;

/// A server with one tenant that has an authority and a push certificate.
struct Site {
    store: Store,
    clock: Arc<ManualClock>,
    issuer: Issuer,
    journal: Journal,
    app: Router,
    tenant: TenantId,
    folder: tempfile::TempDir,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("db").display());
        Self::on(url, folder).await
    }

    async fn on_postgres() -> Option<Self> {
        if pomona_tests::postgres_missing().is_some() {
            return None;
        }
        let database = tokio::task::spawn_blocking(pomona_tests::shared_postgres)
            .await
            .unwrap()
            .unwrap();
        Some(Self::on(database.url, tempfile::tempdir().unwrap()).await)
    }

    async fn on(url: String, folder: tempfile::TempDir) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let random = Arc::new(SystemEntropy::default());
        let keyring = Keyring::new(&RootKey::from_bytes(&[7; 32]).unwrap()).unwrap();
        let options = StoreOptions {
            url,
            connections: 4,
            commit_delay: Duration::ZERO,
        };
        let store = Store::connect(&options, Arc::new(keyring), clock.clone(), random)
            .await
            .unwrap();
        let journal = Journal::open(&folder.path().join("revoked")).unwrap();
        let url = Url::parse("https://mdm.example.org").unwrap();
        let issuer = Issuer::new(store.clone(), journal.clone(), IssuerOptions::new(url));
        let app = scep_router(issuer.clone()).merge(enroll_router(issuer.clone()));
        let mut site = Self {
            store,
            clock,
            issuer,
            journal,
            app,
            tenant: TenantId(Uuid::nil()),
            folder,
        };
        site.tenant = site
            .tenant_with_authority("orchard", "Orchard <School>")
            .await;
        site
    }

    async fn tenant_with_authority(&self, slug: &str, name: &str) -> TenantId {
        let tenant = self.bare_tenant(slug, name).await;
        create_authority(&self.store, tenant, name).await.unwrap();
        let mut tx = self.store.begin().await.unwrap();
        tx.execute(
            "INSERT INTO push_certificate (tenant_id, topic, id, certificate_pem, key_sealed, not_after, created_at)
             VALUES (?, ?, ?, '', ?, ?, ?)",
            args![
                tenant,
                "com.apple.mgmt.External.test",
                Uuid::from_u128(5),
                vec![0u8],
                i64::MAX,
                START
            ],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        tenant
    }

    async fn bare_tenant(&self, slug: &str, name: &str) -> TenantId {
        let tenant = TenantId(self.store.random().uuid(self.now()));
        let random = self.store.random();
        let key = self
            .store
            .keyring()
            .create(random.as_ref(), tenant)
            .unwrap();
        let mut tx = self.store.begin().await.unwrap();
        tx.execute(
            "INSERT INTO tenant (id, slug, name, created_at, data_key, settings) VALUES (?, ?, ?, ?, ?, '{}')",
            args![tenant, slug, name, START, key],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        tenant
    }

    fn now(&self) -> Micros {
        self.clock.now()
    }

    async fn link(&self, max_uses: u32) -> CreatedLink {
        let new = NewLink {
            name: "Room 4".into(),
            max_uses,
            expires_in: 24 * HOUR,
            device_udid: None,
            device_serial: None,
        };
        create_link(&self.store, self.tenant, Actor::SYSTEM, new)
            .await
            .unwrap()
    }

    /// Fetches a profile and returns the grant and the challenge in it.
    async fn profile(&self, link: &CreatedLink) -> (GrantId, String) {
        let path = format!("/enroll/{}?plain=1", link.url_token);
        let reply = self
            .send(Request::post(path).body(Body::empty()).unwrap())
            .await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        scep_values(&reply.body)
    }

    async fn grant(&self) -> (GrantId, String) {
        let link = self.link(1).await;
        self.profile(&link).await
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let allowed = [
            200, 400, 403, 404, 405, 408, 413, 415, 416, 429, 431, 500, 503,
        ];
        assert!(allowed.contains(&parts.status.as_u16()), "{}", parts.status);
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    async fn post(&self, message: Vec<u8>) -> Reply {
        self.post_from(message, self.tenant, "192.0.2.1").await
    }

    async fn post_from(&self, message: Vec<u8>, tenant: TenantId, peer: &str) -> Reply {
        let request = Request::post(format!("/scep/{tenant}?operation=PKIOperation"))
            .header("content-type", "application/x-pki-message")
            .extension(PeerAddress(peer.parse().unwrap()))
            .body(Body::from(message))
            .unwrap();
        self.send(request).await
    }

    async fn count(&self, table: &str) -> i64 {
        let mut tx = self.store.begin_read().await.unwrap();
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let row = tx.query_one(&sql, args![]).await.unwrap().unwrap();
        row.int(0).unwrap()
    }

    async fn uses(&self, link: &CreatedLink) -> i64 {
        super::link(&self.store, self.tenant, link.link.id)
            .await
            .unwrap()
            .uses
    }

    /// An enabled enrollment whose active certificate has this DER.
    async fn enroll(&self, der: &[u8]) -> EnrollmentId {
        let now = self.now();
        let device = DeviceId(self.store.random().uuid(now));
        let enrollment = EnrollmentId(self.store.random().uuid(now));
        let mut tx = self.store.begin().await.unwrap();
        tx.execute(
            "INSERT INTO device (id, tenant_id, ident_kind, ident, serial_number, created_at, revision)
             VALUES (?, ?, 0, ?, 'C02X', ?, 0)",
            args![device, self.tenant, device.to_string(), now],
        )
        .await
        .unwrap();
        tx.execute(
            "INSERT INTO device_head (device_id, tenant_id, event_seq) VALUES (?, ?, 0)",
            args![device, self.tenant],
        )
        .await
        .unwrap();
        tx.execute(
            "INSERT INTO enrollment (id, tenant_id, device_id, channel, user_key, generation, state, topic,
                                     created_at)
             VALUES (?, ?, ?, 0, '', 1, 2, 'com.apple.mgmt.External.test', ?)",
            args![enrollment, self.tenant, device, now],
        )
        .await
        .unwrap();
        let changed = tx
            .execute(
                "UPDATE certificate SET state = 2, device_id = ?, enrollment_id = ? WHERE der = ?",
                args![device, enrollment, der],
            )
            .await
            .unwrap();
        assert_eq!(changed, 1);
        tx.commit().await.unwrap();
        enrollment
    }
}

/// The grant and the challenge in the SCEP payload of a plain profile.
fn scep_values(profile: &[u8]) -> (GrantId, String) {
    let profile: plist::Value = plist::from_bytes(profile).unwrap();
    let payloads = profile
        .as_dictionary()
        .unwrap()
        .get("PayloadContent")
        .unwrap();
    let scep = payloads
        .as_array()
        .unwrap()
        .iter()
        .filter_map(plist::Value::as_dictionary)
        .find(|p| p.get("PayloadType").unwrap().as_string() == Some("com.apple.security.scep"))
        .unwrap();
    let content = scep.get("PayloadContent").unwrap().as_dictionary().unwrap();
    let challenge = content.get("Challenge").unwrap().as_string().unwrap();
    let subject = content.get("Subject").unwrap().as_array().unwrap();
    let name = subject[0].as_array().unwrap()[0].as_array().unwrap();
    assert_eq!(name[0].as_string(), Some("CN"));
    let grant = name[1].as_string().unwrap().parse().unwrap();
    (grant, challenge.to_owned())
}

/// Runs `openssl` and returns what it printed.
fn openssl(folder: &std::path::Path, arguments: &[&str]) -> String {
    let output = std::process::Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}{errors}");
    text
}
