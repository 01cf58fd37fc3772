//! The pusher against a real database of either engine, a clock moved by hand, and a line to APNs that answers as told.

mod import;
mod rounds;
mod trouble;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rcgen::{CertificateParams, DnType, KeyPair};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Accepted, ApnsTransport, Notification, PushCertificate, PushFailure, PushOptions, Pusher,
    Refusal, import_certificate,
};
use crate::actor::Actor;
use crate::clock::{Clock, DAY, HOUR, ManualClock, Micros, SECOND, SystemEntropy};
use crate::event::Event;
use crate::ids::{DeviceId, EnrollmentId, TenantId};
use crate::seal::{Keyring, Place, RootKey};
use crate::store::push as rows;
use crate::store::sql::{Row, args};
use crate::store::{Store, StoreOptions};

/// 2027-01-15 08:00 UTC.
const START: Micros = 1_800_000_000 * SECOND;
const TOPIC: &str = "com.apple.mgmt.External.11111111-2222-3333-4444-555555555555";
const OTHER_TOPIC: &str = "com.apple.mgmt.External.99999999-2222-3333-4444-555555555555";
const ENABLED: i64 = 2;

/// Runs `test` on SQLite, and on PostgreSQL where that is installed.
fn on_both<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite:{}", folder.path().join("push.db").display());
    runtime.block_on(async { test(World::new(&sqlite).await).await });
    if pomona_tests::postgres_missing().is_none() {
        let database = pomona_tests::shared_postgres().unwrap();
        runtime.block_on(async { test(World::new(&database.url).await).await });
    }
}

struct World {
    store: Store,
    clock: Arc<ManualClock>,
    tenant: TenantId,
    apns: Arc<FakeApns>,
    events: Arc<Mutex<Vec<Event>>>,
    pusher: Pusher,
}

impl World {
    async fn new(url: &str) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let root = RootKey::from_bytes(&[7; 32]).unwrap();
        let options = StoreOptions {
            url: url.to_owned(),
            connections: 4,
            commit_delay: Duration::ZERO,
        };
        let store = Store::connect(
            &options,
            Arc::new(Keyring::new(&root).unwrap()),
            clock.clone(),
            Arc::new(SystemEntropy::default()),
        )
        .await
        .unwrap();
        let tenant = tenant(&store, "school").await;
        let apns = Arc::new(FakeApns::default());
        let events = Arc::new(Mutex::new(Vec::new()));
        let pusher = pusher(&store, &apns, &events, PushOptions::default());
        Self {
            store,
            clock,
            tenant,
            apns,
            events,
            pusher,
        }
    }

    /// As [`new`](Self::new), with a push certificate and one enrolled device.
    async fn with_device(self) -> (Self, EnrollmentId) {
        self.import(TOPIC).await;
        let device = self.enroll(b"a token", "a magic").await;
        (self, device)
    }

    fn another_pusher(&self, options: PushOptions) -> Pusher {
        pusher(&self.store, &self.apns, &self.events, options)
    }

    async fn import(&self, topic: &str) -> Uuid {
        let pem = push_pem(topic);
        import_certificate(
            &self.store,
            self.tenant,
            Actor::SYSTEM,
            pem.as_bytes(),
            false,
        )
        .await
        .unwrap()
        .id
    }

    async fn enroll(&self, token: &[u8], magic: &str) -> EnrollmentId {
        enroll(&self.store, self.tenant, token, magic).await
    }

    async fn ring(&self) -> usize {
        self.pusher.run_once().await.unwrap()
    }

    fn pass(&self, time: Micros) {
        self.clock.advance(time);
    }

    fn now(&self) -> Micros {
        self.clock.now()
    }

    async fn due(&self, enrollments: &[EnrollmentId]) {
        let mut tx = self.store.begin().await.unwrap();
        rows::mark_due(&mut tx, self.now(), enrollments)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    async fn came(&self, enrollment: EnrollmentId) {
        let mut tx = self.store.begin().await.unwrap();
        rows::clear_due(&mut tx, &[enrollment]).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn postponed(&self, enrollment: EnrollmentId) {
        let mut tx = self.store.begin().await.unwrap();
        let mut batch = crate::store::sql::Batch::default();
        super::postpone_due(&mut batch, self.now(), &[enrollment]);
        tx.run(batch).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn sql(&self, sql: &str, args: Vec<crate::store::sql::Arg>) {
        let mut tx = self.store.begin().await.unwrap();
        tx.execute(sql, args).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn row(&self, enrollment: EnrollmentId) -> State {
        let mut tx = self.store.begin_read().await.unwrap();
        let row = tx
            .query_one(
                "SELECT due_at, attempts, last_at, last_status, last_reason, last_apns_id, leased_until
                 FROM push_state WHERE enrollment_id = ?",
                args![enrollment],
            )
            .await
            .unwrap()
            .unwrap();
        tx.rollback().await.unwrap();
        State::read(&row)
    }
}

#[derive(Debug, PartialEq)]
struct State {
    due_at: Option<Micros>,
    attempts: i64,
    last_at: Option<Micros>,
    last_status: Option<i64>,
    last_reason: Option<String>,
    last_apns_id: Option<String>,
    leased_until: Micros,
}

impl State {
    fn read(row: &Row) -> Self {
        Self {
            due_at: row.opt_int(0).unwrap(),
            attempts: row.int(1).unwrap(),
            last_at: row.opt_int(2).unwrap(),
            last_status: row.opt_int(3).unwrap(),
            last_reason: row.opt_text(4).unwrap(),
            last_apns_id: row.opt_text(5).unwrap(),
            leased_until: row.int(6).unwrap(),
        }
    }
}

fn pusher(
    store: &Store,
    apns: &Arc<FakeApns>,
    events: &Arc<Mutex<Vec<Event>>>,
    options: PushOptions,
) -> Pusher {
    let events = events.clone();
    Pusher::new(store.clone(), apns.clone(), options, move |written| {
        events.lock().extend(written);
    })
}

async fn tenant(store: &Store, slug: &str) -> TenantId {
    let id = TenantId(Uuid::now_v7());
    let key = store.keyring().create(&**store.random(), id).unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.execute(
        "INSERT INTO tenant (id, slug, name, created_at, data_key, settings) VALUES (?, ?, ?, ?, ?, ?)",
        args![id, slug, slug, START, key, "{}"],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    id
}

/// A device with its enabled device channel, enrolled a day ago and seen an hour ago.
async fn enroll(store: &Store, tenant: TenantId, token: &[u8], magic: &str) -> EnrollmentId {
    let device = DeviceId(Uuid::now_v7());
    let id = EnrollmentId(Uuid::now_v7());
    let now = store.clock().now();
    let keys = store.keys(tenant).await.unwrap();
    let seal = |column, plain: &[u8]| {
        let place = Place {
            table: "enrollment",
            column,
            row: id.0.as_bytes(),
        };
        keys.seal(&**store.random(), place, plain).unwrap()
    };
    let mut tx = store.begin().await.unwrap();
    tx.execute(
        "INSERT INTO device (id, tenant_id, ident_kind, ident, created_at, revision) VALUES (?, ?, 0, ?, ?, 1)",
        args![device, tenant, device.to_string(), now - DAY],
    )
    .await
    .unwrap();
    tx.execute(
        "INSERT INTO device_head (device_id, tenant_id, event_seq) VALUES (?, ?, 0)",
        args![device, tenant],
    )
    .await
    .unwrap();
    tx.execute(
        "INSERT INTO enrollment (id, tenant_id, device_id, channel, user_key, generation, state, topic,
             push_token_sealed, push_magic_sealed, push_token_hash, created_at, enabled_at, token_updated_at)
         VALUES (?, ?, ?, 0, '', 1, ?, ?, ?, ?, ?, ?, ?, ?)",
        args![
            id,
            tenant,
            device,
            ENABLED,
            TOPIC,
            seal("push_token_sealed", token),
            seal("push_magic_sealed", magic.as_bytes()),
            keys.hash("push_token", token),
            now - DAY,
            now - DAY,
            now - DAY
        ],
    )
    .await
    .unwrap();
    tx.execute(
        "INSERT INTO channel (enrollment_id, device_id, tenant_id, next_seq, poll, sent_seq, last_seen_at,
             session_started_at, session_requests, session_commands, session_not_now)
         VALUES (?, ?, ?, 1, 0, 0, ?, 0, 0, 0, 0)",
        args![id, device, tenant, now - HOUR],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    id
}

/// A wake-up as it arrived at APNs.
#[derive(Clone, Debug, PartialEq)]
struct Heard {
    certificate: Uuid,
    token: Vec<u8>,
    magic: String,
    topic: String,
    expires_at: Micros,
}

/// Answers with what it was told to, in order, and takes everything after that.
#[derive(Default)]
struct FakeApns {
    script: Mutex<VecDeque<Result<Accepted, PushFailure>>>,
    /// What is answered when the script has ended, if not that the push is taken.
    always: Mutex<Option<PushFailure>>,
    heard: Mutex<Vec<Heard>>,
    arrived: tokio::sync::Notify,
}

impl FakeApns {
    fn answer(&self, failure: PushFailure) {
        self.script.lock().push_back(Err(failure));
    }

    fn always(&self, failure: Option<PushFailure>) {
        *self.always.lock() = failure;
    }

    fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock())
    }
}

#[async_trait]
impl ApnsTransport for FakeApns {
    async fn send(
        &self,
        certificate: &PushCertificate,
        note: Notification,
    ) -> Result<Accepted, PushFailure> {
        let n = {
            let mut heard = self.heard.lock();
            heard.push(Heard {
                certificate: certificate.id,
                token: note.token().to_vec(),
                magic: note.push_magic().to_owned(),
                topic: note.topic.clone(),
                expires_at: note.expires_at,
            });
            heard.len()
        };
        self.arrived.notify_one();
        if let Some(answer) = self.script.lock().pop_front() {
            return answer;
        }
        match &*self.always.lock() {
            Some(failure) => Err(failure.clone()),
            None => Ok(Accepted {
                apns_id: Some(format!("id-{n}")),
            }),
        }
    }
}

fn refused(status: u16, reason: &str) -> Refusal {
    Refusal {
        status,
        reason: Some(reason.to_owned()),
        ..Refusal::default()
    }
}

fn refusal(status: u16, reason: &str) -> PushFailure {
    PushFailure::Refused(refused(status, reason))
}

/// A push certificate and its key in PEM.
struct Made {
    certificate: String,
    key: KeyPair,
}

fn made(topic: Option<&str>, from: Micros, to: Micros) -> Made {
    let at = |micros: Micros| OffsetDateTime::from_unix_timestamp(micros / SECOND).unwrap();
    let mut params = CertificateParams::default();
    params.not_before = at(from);
    params.not_after = at(to);
    params
        .distinguished_name
        .push(DnType::CommonName, "APSP:test");
    if let Some(topic) = topic {
        let uid = DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]);
        params.distinguished_name.push(uid, topic);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    Made { certificate, key }
}

fn push_pem(topic: &str) -> String {
    let made = made(Some(topic), START - DAY, START + 365 * DAY);
    format!("{}{}", made.certificate, made.key.serialize_pem())
}
