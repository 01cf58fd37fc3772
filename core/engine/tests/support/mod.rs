//! A small stage for tests of the engine: a store, a tenant, devices with certificates, requests through the router.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test uses its part of the stage"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use pomona_engine::clock::{Clock, ManualClock, SystemEntropy};
use pomona_engine::hooks::Hooks;
use pomona_engine::http::{IdentitySource, PeerAddress, device_router};
use pomona_engine::push::{Accepted, ApnsTransport, Notification, PushCertificate, PushFailure};
use pomona_engine::{
    Engine, EngineOptions, EnrollmentId, Keyring, RootKey, Store, StoreOptions, TenantId,
};
use tower::ServiceExt;
use uuid::Uuid;

/// 2026-01-01, in microseconds.
pub const NEW_YEAR: i64 = 1_767_225_600_000_000;
pub const TOPIC: &str = "com.apple.mgmt.External.test";

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// The backends of this run: SQLite always, PostgreSQL where `POMONA_TEST_POSTGRES` names a server.
pub fn backends() -> Vec<Backend> {
    let mut all = vec![Backend::Sqlite];
    if std::env::var_os("POMONA_TEST_POSTGRES").is_some() {
        all.push(Backend::Postgres);
    }
    all
}

/// Takes no pushes: nobody is rung in these tests.
#[derive(Debug)]
struct NoPush;

#[async_trait::async_trait]
impl ApnsTransport for NoPush {
    async fn send(
        &self,
        _certificate: &PushCertificate,
        _note: Notification,
    ) -> Result<Accepted, PushFailure> {
        std::future::pending().await
    }
}

/// What a test changes in the engine's options.
pub type Tune = Arc<dyn Fn(&mut EngineOptions) + Send + Sync>;

pub struct Stage {
    pub engine: Engine,
    pub clock: Arc<ManualClock>,
    pub tenant: TenantId,
    pub sql: Sql,
    pub hooks: Hooks,
    pub url: String,
    tune: Tune,
    _folder: tempfile::TempDir,
}

/// The database behind the engine's back, for setting the stage and for looking.
#[derive(Clone)]
pub enum Sql {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

impl Sql {
    pub async fn run(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
            Self::Postgres(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
        }
    }

    pub async fn number(&self, sql: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
            Self::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
        }
    }

    /// The first column of every row, which is text.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
            Self::Postgres(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
        }
    }

    /// A blob literal.
    pub fn blob(&self, bytes: &[u8]) -> String {
        match self {
            Self::Sqlite(_) => format!("x'{}'", hex::encode(bytes)),
            Self::Postgres(_) => format!("'\\x{}'::bytea", hex::encode(bytes)),
        }
    }

    pub fn id(&self, id: Uuid) -> String {
        match self {
            Self::Sqlite(_) => format!("x'{}'", id.simple()),
            Self::Postgres(_) => format!("'{id}'::uuid"),
        }
    }
}

/// A certificate on this stage: any bytes, known to the engine by their hash.
#[derive(Clone, Debug)]
pub struct Card {
    pub der: Vec<u8>,
    pub id: Uuid,
}

impl Stage {
    pub async fn new(backend: Backend) -> Self {
        Self::with_hooks(backend, Hooks::default()).await
    }

    pub async fn with_hooks(backend: Backend, hooks: Hooks) -> Self {
        Self::tuned(backend, hooks, Arc::new(|_| {})).await
    }

    pub async fn tuned(backend: Backend, hooks: Hooks, tune: Tune) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match backend {
            Backend::Sqlite => format!("sqlite:{}", folder.path().join("pomona.db").display()),
            Backend::Postgres => fresh_database().await,
        };
        let clock = Arc::new(ManualClock::at(NEW_YEAR));
        let engine = start(&url, &folder, clock.clone(), hooks.clone(), &tune).await;
        let sql = match backend {
            Backend::Sqlite => {
                let path = url.trim_start_matches("sqlite:");
                let options = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(path)
                    .busy_timeout(Duration::from_secs(10));
                Sql::Sqlite(sqlx::SqlitePool::connect_with(options).await.unwrap())
            }
            Backend::Postgres => Sql::Postgres(sqlx::PgPool::connect(&url).await.unwrap()),
        };
        let tenant = new_tenant(&sql).await;
        Self {
            engine,
            clock,
            tenant,
            sql,
            hooks,
            url,
            tune,
            _folder: folder,
        }
    }

    /// Another tenant of the same installation.
    pub async fn add_tenant(&self) -> TenantId {
        new_tenant(&self.sql).await
    }

    /// Stops the engine and starts another on the same database.
    pub async fn restart(&mut self) {
        self.engine.stop().await;
        self.engine.store().close().await;
        self.engine = start(
            &self.url,
            &self._folder,
            self.clock.clone(),
            self.hooks.clone(),
            &self.tune,
        )
        .await;
    }

    /// A second engine on the same database.
    pub async fn second(&self) -> Engine {
        start(
            &self.url,
            &self._folder,
            self.clock.clone(),
            self.hooks.clone(),
            &self.tune,
        )
        .await
    }

    /// As [`second`](Self::second), with hooks of its own.
    pub async fn with_other_hooks(&self, hooks: Hooks) -> Engine {
        start(
            &self.url,
            &self._folder,
            self.clock.clone(),
            hooks,
            &self.tune,
        )
        .await
    }

    /// As [`second`](Self::second), with other options.
    pub async fn another(&self, tune: Tune) -> Engine {
        start(
            &self.url,
            &self._folder,
            self.clock.clone(),
            self.hooks.clone(),
            &tune,
        )
        .await
    }

    /// A certificate under a grant of this kind, as if it had just been issued. `ident` names its device.
    pub async fn card(
        &self,
        kind: &str,
        ident: Option<&str>,
        renews: Option<EnrollmentId>,
    ) -> Card {
        self.card_in(self.tenant, kind, ident, renews).await
    }

    /// As [`card`](Self::card), of one of several tenants; good for ten years, its grant for one.
    pub async fn card_in(
        &self,
        tenant: TenantId,
        kind: &str,
        ident: Option<&str>,
        renews: Option<EnrollmentId>,
    ) -> Card {
        let now = self.clock.now();
        let id = Uuid::now_v7();
        let grant = Uuid::now_v7();
        let der = [b"card ".as_slice(), id.as_bytes()].concat();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
        let named = ident.map_or("NULL".into(), |ident| format!("'{ident}'"));
        let renews = renews.map_or("NULL".into(), |id| self.sql.id(id.0));
        let end = now + 365 * 86_400_000_000;
        let last = now + 10 * 365 * 86_400_000_000;
        self.sql
            .run(&format!(
                "INSERT INTO identity_grant (id, tenant_id, kind, device_ident, enrollment_id, created_at, expires_at,
                    issued_at) VALUES ({}, {}, '{kind}', {named}, {renews}, {now}, {end}, {now})",
                self.sql.id(grant),
                self.sql.id(tenant.0),
            ))
            .await;
        self.sql
            .run(&format!(
                "INSERT INTO certificate (id, tenant_id, fingerprint, grant_id, state, subject, not_before, not_after, der,
                    created_at) VALUES ({}, {}, {}, {}, 0, 'CN=test', 0, {last}, {}, {now})",
                self.sql.id(id),
                self.sql.id(tenant.0),
                self.sql.blob(hash.as_ref()),
                self.sql.id(grant),
                self.sql.blob(&der)
            ))
            .await;
        Card { der, id }
    }

    /// Sends one request as the proxy would.
    pub async fn send(&self, card: &Card, check_in: bool, body: String) -> (StatusCode, String) {
        send_to(&self.engine, self.tenant, card, check_in, body).await
    }

    /// Enrolls a device; returns its card and enrollment.
    pub async fn enroll(&self, udid: &str) -> (Card, EnrollmentId) {
        let card = self.card("link", None, None).await;
        assert_eq!(
            self.send(&card, true, authenticate(udid)).await.0,
            StatusCode::OK
        );
        assert_eq!(
            self.send(&card, true, token_update(udid, "01")).await.0,
            StatusCode::OK
        );
        (card, self.enabled(udid).await)
    }

    /// The enabled device-channel enrollment of a device.
    pub async fn enabled(&self, udid: &str) -> EnrollmentId {
        self.in_state(udid, 2).await
    }

    /// The one device-channel enrollment of a device that is in this state: 0 pending, 1 quarantined, 2 enabled.
    pub async fn in_state(&self, udid: &str, state: i64) -> EnrollmentId {
        let sql = format!(
            "SELECT e.id FROM enrollment e JOIN device d ON d.id = e.device_id
             WHERE d.ident = '{udid}' AND e.state = {state} AND e.channel = 0"
        );
        let sql = sqlx::AssertSqlSafe(sql);
        EnrollmentId(match &self.sql {
            Sql::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
            Sql::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
        })
    }

    pub fn now(&self) -> i64 {
        self.clock.now()
    }
}

pub async fn send_to(
    engine: &Engine,
    tenant: TenantId,
    card: &Card,
    check_in: bool,
    body: String,
) -> (StatusCode, String) {
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let router = device_router(
        engine.clone(),
        IdentitySource::Proxy {
            trusted: vec![peer],
        },
    );
    let kind = if check_in {
        "application/x-apple-aspen-mdm-checkin"
    } else {
        "application/x-apple-aspen-mdm"
    };
    let request = Request::put(format!("/mdm/{tenant}"))
        .header("content-type", kind)
        .header("client-cert", format!(":{}:", STANDARD.encode(&card.der)))
        .extension(PeerAddress(peer))
        .body(Body::from(body))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

/// A tenant with one push topic.
async fn new_tenant(sql: &Sql) -> TenantId {
    let tenant = TenantId(Uuid::now_v7());
    let ring = Keyring::new(&root()).unwrap();
    let data_key = ring.create(&SystemEntropy::default(), tenant).unwrap();
    sql.run(&format!(
        "INSERT INTO tenant (id, slug, name, created_at, data_key, settings)
         VALUES ({}, 't{}', 'Test', 0, {}, '{{}}')",
        sql.id(tenant.0),
        tenant.0.simple(),
        sql.blob(&data_key)
    ))
    .await;
    add_topic(sql, tenant, TOPIC).await;
    tenant
}

/// A push topic whose certificate is stopped: nobody is rung.
pub async fn add_topic(sql: &Sql, tenant: TenantId, topic: &str) {
    sql.run(&format!(
        "INSERT INTO push_certificate (tenant_id, topic, id, certificate_pem, key_sealed, not_after, created_at,
            stopped_at, stopped_reason) VALUES ({}, '{topic}', {}, '', {}, 0, 0, 1, 'test')",
        sql.id(tenant.0),
        sql.id(Uuid::now_v7()),
        sql.blob(&[0])
    ))
    .await;
}

fn root() -> RootKey {
    RootKey::from_bytes(&[7; 32]).unwrap()
}

async fn start(
    url: &str,
    folder: &tempfile::TempDir,
    clock: Arc<ManualClock>,
    hooks: Hooks,
    tune: &Tune,
) -> Engine {
    let options = StoreOptions {
        url: url.to_owned(),
        connections: 4,
        commit_delay: Duration::ZERO,
    };
    let keys = Arc::new(Keyring::new(&root()).unwrap());
    let store = Store::connect(&options, keys, clock, Arc::new(SystemEntropy::default()))
        .await
        .unwrap();
    let mut options = EngineOptions::new(
        "https://mdm.example.test".parse().unwrap(),
        folder.path().join("revocations"),
    );
    options.poll_interval = Duration::from_millis(20);
    // Profiles are kept up when a test says so.
    options.upkeep_interval = Duration::from_secs(100_000);
    tune(&mut options);
    Engine::start(store, options, hooks, Arc::new(NoPush))
        .await
        .unwrap()
}

async fn fresh_database() -> String {
    let server = std::env::var("POMONA_TEST_POSTGRES").unwrap();
    let name = format!("pomona_{}", Uuid::now_v7().simple());
    let pool = sqlx::PgPool::connect(&server).await.unwrap();
    let sql = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    let mut url: url::Url = server.parse().unwrap();
    url.set_path(&name);
    url.to_string()
}

pub fn message(keys: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\"><dict>{keys}</dict></plist>"
    )
}

pub fn authenticate(udid: &str) -> String {
    message(&format!(
        "<key>MessageType</key><string>Authenticate</string><key>Topic</key><string>{TOPIC}</string>\
         <key>UDID</key><string>{udid}</string><key>SerialNumber</key><string>S{udid}</string>\
         <key>OSVersion</key><string>27.0</string><key>ProductName</key><string>iPad13,18</string>"
    ))
}

pub fn token_update(udid: &str, token: &str) -> String {
    let token = STANDARD.encode(hex::decode(token).unwrap());
    message(&format!(
        "<key>MessageType</key><string>TokenUpdate</string><key>Topic</key><string>{TOPIC}</string>\
         <key>UDID</key><string>{udid}</string><key>Token</key><data>{token}</data>\
         <key>PushMagic</key><string>magic-{udid}</string>"
    ))
}

pub fn simple_check_in(kind: &str, udid: &str) -> String {
    message(&format!(
        "<key>MessageType</key><string>{kind}</string><key>Topic</key><string>{TOPIC}</string>\
         <key>UDID</key><string>{udid}</string>"
    ))
}

pub fn idle(udid: &str) -> String {
    message(&format!(
        "<key>Status</key><string>Idle</string><key>UDID</key><string>{udid}</string>"
    ))
}

pub fn answer(udid: &str, status: &str, command_uuid: &str) -> String {
    message(&format!(
        "<key>Status</key><string>{status}</string><key>UDID</key><string>{udid}</string>\
         <key>CommandUUID</key><string>{command_uuid}</string>"
    ))
}

/// The `Command` dictionary of a command that the devices here take: with the keys that it cannot be without.
pub fn dictionary(request_type: &str) -> plist::Dictionary {
    let mut dictionary = plist::Dictionary::new();
    dictionary.insert("RequestType".into(), request_type.into());
    let required: Option<(&str, plist::Value)> = match request_type {
        "DeviceInformation" => Some(("Queries", plist::Value::Array(vec!["OSVersion".into()]))),
        "Settings" => Some(("Settings", plist::Value::Array(Vec::new()))),
        "InstallProfile" => Some(("Payload", plist::Value::Data(b"profile".to_vec()))),
        _ => None,
    };
    dictionary.extend(required.map(|(key, value)| (key.to_owned(), value)));
    dictionary
}

/// The `CommandUUID` of a command, or none for an empty body.
pub fn command_uuid(body: &str) -> Option<String> {
    let after = body.split("<key>CommandUUID</key>").nth(1)?;
    let text = after.split("<string>").nth(1)?;
    Some(text.split("</string>").next()?.to_owned())
}
