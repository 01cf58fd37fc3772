//! The identities of the matrix: who holds which certificate, and how each stands.
//!
//! Owns: the stage with all of them on it, and the messages that they send. Whose is whose stands in `matrix.rs`, written by
//! hand, and is not known here.

use pomona_cms::KeyPair;
use pomona_cms::x509::pem;
use pomona_engine::identity::{ExternalPolicy, PermittedDevices, add_external};
use pomona_engine::{Actor, Cause, CommandBody, DeviceId, Enqueue, EnrollmentId, TenantId};
use uuid::Uuid;

use crate::signing::{LAB, identity};
use crate::snapshot::{BESIDE, MOVING, Reader, Rows, STATE};
use crate::support::{Backend, Card, Sql, Stage, TOPIC, authenticate, idle, token_update};

/// The types of message, in the order of the rules.
pub const MESSAGES: [&str; 12] = [
    "Authenticate",
    "TokenUpdate",
    "CheckOut",
    "UserAuthenticate",
    "SetBootstrapToken",
    "GetBootstrapToken",
    "GetToken",
    "DeclarativeManagement",
    "ReturnToService",
    "Idle",
    "Acknowledged",
    "NotNow",
];

/// A certificate.
#[derive(Clone)]
pub struct Holder {
    pub name: &'static str,
    pub tenant: TenantId,
    pub card: Card,
}

/// What a body calls itself.
#[derive(Clone)]
pub struct Names {
    pub name: &'static str,
    pub tenant: TenantId,
    pub udid: String,
    /// The keys that name a user.
    pub user: String,
    pub device: Option<DeviceId>,
    /// A command that waits for it.
    pub command: String,
}

pub struct Cast {
    pub stage: Stage,
    pub other: TenantId,
    pub holders: Vec<Holder>,
    pub names: Vec<Names>,
    reader: Reader,
    pub rows: Rows,
    pub revoked: i64,
}

const SHARED_USER: &str = "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF";

pub fn udid(name: &str) -> String {
    format!("00008103-{}", hex::encode(name).to_uppercase())
}

fn text(key: &str, value: &str) -> String {
    format!("<key>{key}</key><string>{value}</string>")
}

fn data(key: &str, value: &[u8]) -> String {
    use base64::Engine as _;
    let value = base64::engine::general_purpose::STANDARD.encode(value);
    format!("<key>{key}</key><data>{value}</data>")
}

fn plist(inner: &str) -> String {
    format!("<plist version=\"1.0\"><dict>{inner}</dict></plist>")
}

/// A word that stands in the secrets and commands of one identity alone.
pub fn canary(name: &str) -> String {
    format!("canary-{name}-canary")
}

/// A message of this type that says to come from there; whether it is a check-in.
pub fn message(kind: &str, names: &Names) -> (bool, String) {
    let who = text("UDID", &names.udid) + &names.user;
    let check_in = |inner: &str| {
        let head = text("MessageType", kind) + &text("Topic", TOPIC);
        (true, plist(&format!("{head}{who}{inner}")))
    };
    match kind {
        "Idle" => (false, plist(&(text("Status", kind) + &who))),
        "Acknowledged" | "NotNow" => {
            let about = text("CommandUUID", &names.command);
            (false, plist(&(text("Status", kind) + &who + &about)))
        }
        "TokenUpdate" => {
            check_in(&(data("Token", b"another token") + &text("PushMagic", "another magic")))
        }
        "SetBootstrapToken" => check_in(&data("BootstrapToken", b"another bootstrap token")),
        "GetToken" => check_in(&text("TokenServiceType", "com.apple.maid")),
        "DeclarativeManagement" => check_in(&text("Endpoint", "tokens")),
        _ => check_in(""),
    }
}

impl Cast {
    pub async fn new(backend: Backend) -> Self {
        let stage = Stage::new(backend).await;
        let other = stage.add_tenant().await;
        let mut cast = Self {
            reader: Reader::new(&stage.sql).await,
            rows: Rows::default(),
            revoked: 0,
            holders: Vec::new(),
            names: Vec::new(),
            other,
            stage,
        };
        cast.enrolled().await;
        cast.between().await;
        cast.external().await;
        cast.known().await;
        cast.keep().await;
        cast
    }

    fn hold(&mut self, name: &'static str, tenant: TenantId, card: Card) {
        self.holders.push(Holder { name, tenant, card });
    }

    fn call(&mut self, name: &'static str, tenant: TenantId, udid: String, user: String) {
        self.names.push(Names {
            name,
            tenant,
            udid,
            user,
            device: None,
            command: "no such command".into(),
        });
    }

    pub async fn send(
        &self,
        tenant: TenantId,
        card: &Card,
        check_in: bool,
        body: String,
    ) -> (u16, String) {
        let engine = &self.stage.engine;
        let (status, body) = crate::support::send_to(engine, tenant, card, check_in, body).await;
        (status.as_u16(), body)
    }

    async fn pass(&self, tenant: TenantId, card: &Card, check_in: bool, body: String) {
        let got = self.send(tenant, card, check_in, body).await;
        assert_eq!(got.0, 200, "{}", got.1);
    }

    async fn enroll(&self, tenant: TenantId, card: &Card, udid: &str) {
        self.pass(tenant, card, true, authenticate(udid)).await;
        self.pass(tenant, card, true, token_update(udid, "01"))
            .await;
    }

    /// Those that stand as most devices do.
    async fn enrolled(&mut self) {
        let (one, two) = (self.stage.tenant, self.other);
        for (name, tenant, called) in [
            ("alpha", one, "alpha"),
            ("beta", one, "beta"),
            // Of another tenant, under the same identifier.
            ("twin", two, "alpha"),
            ("mac", one, "mac"),
            ("shared", one, "shared"),
        ] {
            let card = self.stage.card_in(tenant, "link", None, None).await;
            let udid = udid(called);
            self.enroll(tenant, &card, &udid).await;
            self.pass(tenant, &card, false, idle(&udid)).await;
            self.hold(name, tenant, card);
            self.call(name, tenant, udid, String::new());
        }
        let users = [
            ("mac user", "mac", text("UserID", "0A0B0C0D")),
            (
                "shared user",
                "shared",
                text("UserID", SHARED_USER) + &text("UserShortName", "ann@example.test"),
            ),
        ];
        for (name, device, user) in users {
            self.call(name, one, udid(device), user);
            let card = self.holder(device).card.clone();
            let (_, body) = message("TokenUpdate", self.names.last().unwrap());
            self.pass(one, &card, true, body).await;
        }
    }

    /// Those that are on their way in, out, or to another certificate.
    async fn between(&mut self) {
        let one = self.stage.tenant;
        let link = async |stage: &Stage, named: Option<&str>| stage.card("link", named, None).await;

        let again = udid("again");
        let old = link(&self.stage, None).await;
        self.enroll(one, &old, &again).await;
        let new = link(&self.stage, Some(&again)).await;
        self.enroll(one, &new, &again).await;
        self.pass(one, &new, false, idle(&again)).await;
        self.hold("again, old", one, old);
        self.hold("again, new", one, new);
        self.call("again", one, again, String::new());

        let renew = udid("renew");
        let old = link(&self.stage, None).await;
        self.enroll(one, &old, &renew).await;
        self.pass(one, &old, false, idle(&renew)).await;
        let enrollment = self.stage.enabled(&renew).await;
        let new = self
            .stage
            .card("renewal", Some(&renew), Some(enrollment))
            .await;
        self.pass(one, &new, true, authenticate(&renew)).await;
        self.pass(one, &new, true, token_update(&renew, "02")).await;
        self.hold("renew, old", one, old);
        self.hold("renew, new", one, new);
        self.call("renew", one, renew, String::new());

        let left = udid("left");
        let card = link(&self.stage, None).await;
        self.enroll(one, &card, &left).await;
        self.call("left", one, left, String::new());
        let (_, bye) = message("CheckOut", self.names.last().unwrap());
        self.pass(one, &card, true, bye).await;
        self.hold("left", one, card);

        let card = link(&self.stage, None).await;
        self.enroll(one, &card, &udid("beta")).await;
        self.hold("beta, quarantined", one, card);

        let pending = udid("pending");
        let card = link(&self.stage, None).await;
        self.pass(one, &card, true, authenticate(&pending)).await;
        self.hold("pending", one, card);
        self.call("pending", one, pending, String::new());

        let card = link(&self.stage, None).await;
        self.hold("unused", one, card);
        let named = udid("named");
        let card = link(&self.stage, Some(&named)).await;
        self.hold("named", one, card);
        self.call("named", one, named, String::new());
    }

    /// Those whose certificates another authority issued.
    async fn external(&mut self) {
        let one = self.stage.tenant;
        let listed = PermittedDevices {
            udids: vec![udid("external"), udid("unseen")],
            serials: Vec::new(),
        };
        let text = pem::write_certificate(&LAB.root.certificate);
        let policy = ExternalPolicy::Listed(listed);
        let store = self.stage.engine.store();
        add_external(store, one, Actor::SYSTEM, "Elsewhere", &text, policy)
            .await
            .unwrap();
        for (number, name) in [(61, "external"), (62, "unseen")] {
            let udid = udid(name);
            let party = identity(
                &LAB.root,
                KeyPair::generate_p256().unwrap(),
                &udid,
                number,
                &[],
            );
            let card = Card {
                der: party.certificate.der().to_vec(),
                id: Uuid::nil(),
            };
            if name == "external" {
                self.enroll(one, &card, &udid).await;
                self.pass(one, &card, false, idle(&udid)).await;
            }
            self.hold(name, one, card);
            self.call(name, one, udid, String::new());
        }
    }

    /// Looks everybody up, gives each a secret and a command of its own.
    async fn known(&mut self) {
        for at in 0..self.names.len() {
            let names = self.names[at].clone();
            let channel = match names.name {
                "mac user" => 1,
                "shared user" => 2,
                _ => 0,
            };
            let found = self.enabled(&names, channel).await;
            let Some((device, enrollment)) = found else {
                continue;
            };
            self.names[at].device = Some(device);
            let mut command = crate::support::dictionary("DeviceInformation");
            let asked = vec![plist::Value::String(canary(names.name))];
            command.insert("Queries".into(), plist::Value::Array(asked));
            let request = Enqueue::new(CommandBody::Dictionary(command), vec![enrollment]);
            let engine = &self.stage.engine;
            let done = engine
                .enqueue(names.tenant, Actor::SYSTEM, Cause::default(), request)
                .await
                .unwrap();
            assert!(done.targets[0].accepted, "{done:?}");
            self.names[at].command = done.command_uuid;
            if channel == 0 {
                let holder = self.owner(&names);
                let token = data("BootstrapToken", canary(names.name).as_bytes());
                let head = text("MessageType", "SetBootstrapToken") + &text("UDID", &names.udid);
                let body = plist(&(head + &text("Topic", TOPIC) + &token));
                self.pass(names.tenant, &holder.card, true, body).await;
            }
        }
        for at in 0..self.names.len() {
            if self.names[at].device.is_none() {
                self.names[at].device = self.device(&self.names[at]).await;
            }
        }
    }

    pub fn holder(&self, name: &str) -> &Holder {
        self.holders.iter().find(|one| one.name == name).unwrap()
    }

    /// Who hands in the bootstrap token.
    fn owner(&self, names: &Names) -> &Holder {
        match names.name {
            "again" => self.holder("again, new"),
            // A report of the new one would end the old one.
            "renew" => self.holder("renew, old"),
            name => self.holder(name),
        }
    }

    async fn enabled(&self, names: &Names, channel: i64) -> Option<(DeviceId, EnrollmentId)> {
        let sql = format!(
            "SELECT e.device_id, e.id FROM enrollment e JOIN device d ON d.id = e.device_id
             WHERE d.ident = '{}' AND d.tenant_id = {} AND e.state = 2 AND e.channel = {channel}",
            names.udid,
            self.stage.sql.id(names.tenant.0)
        );
        let sql = sqlx::AssertSqlSafe(sql);
        let row: Option<(Uuid, Uuid)> = match &self.stage.sql {
            Sql::Sqlite(pool) => sqlx::query_as(sql).fetch_optional(pool).await.unwrap(),
            Sql::Postgres(pool) => sqlx::query_as(sql).fetch_optional(pool).await.unwrap(),
        };
        row.map(|(device, enrollment)| (DeviceId(device), EnrollmentId(enrollment)))
    }

    async fn device(&self, names: &Names) -> Option<DeviceId> {
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT id FROM device WHERE ident = '{}' AND tenant_id = {}",
            names.udid,
            self.stage.sql.id(names.tenant.0)
        ));
        let id: Option<Uuid> = match &self.stage.sql {
            Sql::Sqlite(pool) => sqlx::query_scalar(sql).fetch_optional(pool).await.unwrap(),
            Sql::Postgres(pool) => sqlx::query_scalar(sql).fetch_optional(pool).await.unwrap(),
        };
        id.map(DeviceId)
    }

    pub async fn read(&self) -> Rows {
        self.reader.read(&self.stage.sql).await
    }

    pub async fn count_revoked(&self) -> i64 {
        let sql = "SELECT count(*) FROM certificate WHERE state = 4";
        self.stage.sql.number(sql).await
    }

    /// Copies every table, to come back to this moment.
    async fn keep(&mut self) {
        for table in tables() {
            let sql = format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}");
            self.stage.sql.run(&sql).await;
        }
        self.rows = self.read().await;
        self.revoked = self.count_revoked().await;
    }

    /// Back to the beginning. What was revoked cannot be brought back like this: the journal remembers it.
    pub async fn restore(&self) {
        let begin = match self.stage.sql {
            Sql::Sqlite(_) => "BEGIN IMMEDIATE;",
            Sql::Postgres(_) => "BEGIN;",
        };
        let each: String = tables()
            .map(|table| {
                format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table};")
            })
            .collect();
        self.stage.sql.run(&format!("{begin}{each}COMMIT;")).await;
    }
}

fn tables() -> impl Iterator<Item = &'static str> {
    let all = STATE.iter().chain(&BESIDE).chain(&MOVING).copied();
    all.chain(["push_state"])
}
