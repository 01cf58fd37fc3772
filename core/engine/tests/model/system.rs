//! The engine under the model: steps become requests and calls, and what is stored is read back.
//!
//! Owns: the translation from the model's numbers to real ids, the crash (the engine's runtime is thrown away with
//! everything in flight), and the comparison of answers.
//! What is stored is compared in `compare.rs`. In the flow: `model.rs` -> here -> the router. Longer than most files: one
//! arm for each step and each kind of answer.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pomona_engine::hooks::Hooks;
use pomona_engine::{
    Actor, Cause, CommandBody, CommandId, DeviceId, Engine, Enqueue, EnrollmentId, Error, TenantId,
};
use proptest_state_machine::StateMachineTest;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use crate::step::{Body, Model, Name, Order, Report, Step, Verb};
use crate::support::{self, Backend, Card, Sql, Stage, Tune, command_uuid, message, send_to};
use crate::world::{SILENCE, Said, World};

const UDIDS: [&str; 3] = [
    "00000000-0000-0000-0000-00000000000A",
    "00000000-0000-0000-0000-00000000000B",
    "00000000-0000-0000-0000-00000000000A",
];
const TOPICS: [&str; 3] = [
    support::TOPIC,
    "com.apple.mgmt.External.second",
    "com.apple.mgmt.External.nobody",
];
const USER: &str = "11111111-0000-0000-0000-000000000001";
/// What fills a blank, as it is handed in and as it stands in a property list.
const FILLS: [(&str, &str); 3] = [
    ("first", "first"),
    ("a < b & c", "a &lt; b &amp; c"),
    ("", ""),
];
/// Every so many steps all that is stored is compared.
const LOOK_EVERY: usize = 6;
const PATIENCE: Duration = Duration::from_secs(20);

/// A database that all cases of a test share; each case has tenants of its own.
pub(crate) struct Site {
    stage: Stage,
    base: Runtime,
    canary: Canary,
}

/// Rows that background work must deal with when a server starts. Once they are gone, its first round is over.
struct Canary {
    tenant: TenantId,
    device: Uuid,
}

thread_local! {
    static SITE: RefCell<Option<Rc<Site>>> = const { RefCell::new(None) };
}

pub(crate) struct System {
    pub(crate) site: Rc<Site>,
    runtime: Option<Runtime>,
    engine: Option<Engine>,
    tenants: Vec<TenantId>,
    pub(crate) cards: Vec<Card>,
    pub(crate) enrollments: Vec<EnrollmentId>,
    commands: Vec<Option<CommandId>>,
    uuids: Vec<String>,
    bodies: HashMap<(usize, Name), String>,
    began: i64,
    steps: usize,
}

impl Site {
    /// Sets the stage for the cases of this thread.
    pub(crate) fn set(backend: Backend) {
        let base = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let site = base.block_on(async {
            let stage = Stage::tuned(backend, Hooks::default(), tune(true, 1_000)).await;
            // Each case starts its own.
            stage.engine.stop().await;
            let canary = Canary { tenant: stage.add_tenant().await, device: Uuid::now_v7() };
            let sql = &stage.sql;
            let (tenant, device) = (sql.id(canary.tenant.0), sql.id(canary.device));
            sql.run(&format!("INSERT INTO device (id, tenant_id, ident_kind, ident, created_at, revision) VALUES ({device}, {tenant}, 0, 'canary', 0, 1)")).await;
            sql.run(&format!("INSERT INTO device_head (device_id, tenant_id, event_seq) VALUES ({device}, {tenant}, 0)")).await;
            (stage, canary)
        });
        let (stage, canary) = site;
        SITE.with(|cell| {
            *cell.borrow_mut() = Some(Rc::new(Site {
                stage,
                base,
                canary,
            }))
        });
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.base.block_on(self.stage.sql.number(sql))
    }

    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        self.base.block_on(self.stage.sql.texts(sql))
    }

    /// A column of bytes as hexadecimal digits, or a dash.
    pub(crate) fn bytes(&self, column: &str) -> String {
        match &self.stage.sql {
            Sql::Sqlite(_) => format!("coalesce(lower(nullif(hex({column}), '')), '-')"),
            Sql::Postgres(_) => format!("coalesce(encode({column}, 'hex'), '-')"),
        }
    }

    /// A UUID column as 32 hexadecimal digits.
    pub(crate) fn hex(&self, column: &str) -> String {
        match &self.stage.sql {
            Sql::Sqlite(_) => format!("lower(hex({column}))"),
            Sql::Postgres(_) => format!("replace(CAST({column} AS text), '-', '')"),
        }
    }

    fn release_canary(&self) -> Uuid {
        let sql = &self.stage.sql;
        let id = Uuid::now_v7();
        let (enrollment, tenant, device) = (
            sql.id(id),
            sql.id(self.canary.tenant.0),
            sql.id(self.canary.device),
        );
        self.base.block_on(async {
            let generation = sql.number(&format!("SELECT count(*) + 1 FROM enrollment WHERE device_id = {device}")).await;
            sql.run(&format!(
                "INSERT INTO enrollment (id, tenant_id, device_id, channel, user_key, generation, state, created_at)
                 VALUES ({enrollment}, {tenant}, {device}, 0, '', {generation}, 0, 0)"
            ))
            .await;
            let other = sql.id(self.canary.device);
            sql.run(&format!(
                "INSERT INTO delivery (enrollment_id, seq, tenant_id, device_id, command_id, command_uuid, request_type,
                    body_hash, priority, not_before, not_after, state, sends, notnow_count, notnow_poll, created_at)
                 VALUES ({other}, {generation}, {tenant}, {device}, {enrollment}, 'c{generation}', 'Canary', {other_bytes}, 0, 0, 1, 0, 0, 0, 0, 0)",
                other_bytes = match sql { Sql::Sqlite(_) => "x'00'", Sql::Postgres(_) => "'\\x00'::bytea" },
            ))
            .await;
        });
        id
    }

    fn await_canary(&self, id: Uuid) {
        let sql = &self.stage.sql;
        let (enrollment, device) = (sql.id(id), sql.id(self.canary.device));
        self.wait_for(&format!(
            "SELECT (SELECT count(*) FROM enrollment WHERE id = {enrollment} AND state = 0)
                  + (SELECT count(*) FROM delivery WHERE enrollment_id = {device})"
        ));
    }

    /// Waits until the query gives 0.
    fn wait_for(&self, sql: &str) {
        let end = std::time::Instant::now() + PATIENCE;
        while self.number(sql) != 0 {
            assert!(
                std::time::Instant::now() < end,
                "background work did not get to its end: {sql}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn tune(eager: bool, patience: u32) -> Tune {
    Arc::new(move |options| {
        options.poll_interval = if eager {
            Duration::from_millis(20)
        } else {
            Duration::from_secs(100_000)
        };
        options.silence = SILENCE;
        options.max_sendings = patience;
    })
}

impl Drop for System {
    fn drop(&mut self) {
        self.crash();
    }
}

impl StateMachineTest for System {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(world: &World) -> Self {
        let site = SITE
            .with(|cell| cell.borrow().clone())
            .expect("the stage was set");
        let tenants = site.base.block_on(async {
            let mut tenants = Vec::new();
            for _ in 0..2 {
                let tenant = site.stage.add_tenant().await;
                support::add_topic(&site.stage.sql, tenant, TOPICS[1]).await;
                tenants.push(tenant);
            }
            tenants
        });
        let began = site.stage.now();
        let mut system = Self {
            site,
            runtime: None,
            engine: None,
            tenants,
            cards: Vec::new(),
            enrollments: Vec::new(),
            commands: Vec::new(),
            uuids: Vec::new(),
            bodies: HashMap::new(),
            began,
            steps: 0,
        };
        system.boot(world);
        system
    }

    fn apply(mut system: Self, world: &World, step: Step) -> Self {
        system.steps += 1;
        system.take(world, &step);
        system.find_enrollments(world);
        if world.eager {
            system.settle();
        }
        if matches!(step, Step::Look)
            || system.steps.is_multiple_of(LOOK_EVERY) && system.nothing_due(world)
        {
            system.compare(world);
        }
        system
    }

    fn teardown(system: Self, mut world: World) {
        // Once more after a crash, when background work has had its turn.
        let mut system = system;
        world.take(&Step::Restart { crash: true });
        system.crash();
        system.boot(&world);
        system.compare(&world);
    }
}

impl System {
    // Starting and dying.

    fn boot(&mut self, world: &World) {
        let canary = self.site.release_canary();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let engine = runtime.block_on(self.site.stage.another(tune(world.eager, world.patience)));
        self.runtime = Some(runtime);
        self.engine = Some(engine);
        self.site.await_canary(canary);
        self.settle();
    }

    fn stop(&mut self) {
        if let (Some(runtime), Some(engine)) = (&self.runtime, &self.engine) {
            runtime.block_on(async {
                engine.stop().await;
                engine.store().close().await;
            });
        }
        self.crash();
    }

    /// Everything that runs is dropped where it stands.
    fn crash(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let _context = self.site.base.enter();
        drop(self.engine.take());
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the server runs")
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the server runs")
    }

    pub(crate) fn both(&self) -> String {
        let sql = &self.site.stage.sql;
        format!(
            "({}, {})",
            sql.id(self.tenants[0].0),
            sql.id(self.tenants[1].0)
        )
    }

    /// Waits until background work has nothing left to do for these tenants.
    fn settle(&self) {
        let now = self.site.stage.now();
        let stale = now - crate::world::COMPLETION;
        let tenants = self.both();
        self.site.wait_for(&format!(
            "SELECT (SELECT count(*) FROM delivery WHERE tenant_id IN {tenants} AND not_after <= {now})
                  + (SELECT count(*) FROM enrollment WHERE tenant_id IN {tenants} AND state = 0 AND created_at < {stale}
                       AND NOT EXISTS (SELECT 1 FROM event v WHERE v.device_id = enrollment.device_id
                           AND v.enrollment_id = enrollment.id AND v.kind = 'released' AND v.at >= {stale}))
                  + (SELECT count(*) FROM certificate c JOIN identity_grant g ON g.id = c.grant_id
                     WHERE c.tenant_id IN {tenants} AND c.state = 1 AND g.kind = 'renewal' AND g.consumed_at < {stale})"
        ));
    }

    fn nothing_due(&self, world: &World) -> bool {
        !world
            .enrollments
            .iter()
            .flat_map(|e| &e.entries)
            .any(|entry| entry.place.open() && entry.until.is_some_and(|until| until <= world.now))
    }

    // Steps.

    fn take(&mut self, world: &World, step: &Step) {
        match step {
            Step::Card {
                tenant,
                names,
                renews,
            } => {
                let kind = if renews.is_some() { "renewal" } else { "link" };
                let named = names.map(|device| UDIDS[device]);
                let renews = renews.map(|id| self.enrollments[id]);
                let card = self.site.base.block_on(self.site.stage.card_in(
                    self.tenants[*tenant],
                    kind,
                    named,
                    renews,
                ));
                self.cards.push(card);
            }
            Step::Authenticate {
                card,
                device,
                topic,
            } => {
                let body = message(&format!(
                    "<key>MessageType</key><string>Authenticate</string><key>Topic</key><string>{}</string>\
                     <key>UDID</key><string>{}</string><key>SerialNumber</key><string>S{device}</string>",
                    TOPICS[*topic], UDIDS[*device]
                ));
                self.check_in(world, *card, *device, body);
            }
            Step::Token {
                card,
                device,
                user,
                token,
                topic,
            } => {
                let user = user.map_or(String::new(), |_| {
                    format!("<key>UserID</key><string>{USER}</string>")
                });
                let body = message(&format!(
                    "<key>MessageType</key><string>TokenUpdate</string><key>Topic</key><string>{}</string>\
                     <key>UDID</key><string>{}</string>{user}<key>Token</key><data>{}</data>\
                     <key>PushMagic</key><string>magic {token}</string>",
                    TOPICS[*topic],
                    UDIDS[*device],
                    STANDARD.encode([*token as u8 + 1; 8])
                ));
                self.check_in(world, *card, *device, body);
            }
            Step::CheckOut { card, device } => self.check_in(
                world,
                *card,
                *device,
                support::simple_check_in("CheckOut", UDIDS[*device]),
            ),
            Step::SetBootstrap {
                card,
                device,
                value,
            } => {
                let token = value.map_or(String::new(), |value| {
                    format!("<key>BootstrapToken</key><data>{}</data>", bootstrap(value))
                });
                let body = message(&format!(
                    "<key>MessageType</key><string>SetBootstrapToken</string><key>UDID</key><string>{}</string>{token}",
                    UDIDS[*device]
                ));
                self.check_in(world, *card, *device, body);
            }
            Step::GetBootstrap { card, device } => {
                let body = message(&format!(
                    "<key>MessageType</key><string>GetBootstrapToken</string><key>UDID</key><string>{}</string>",
                    UDIDS[*device]
                ));
                self.check_in(world, *card, *device, body);
            }
            Step::Report(report) => {
                let body = self.report(report);
                let answer = self.send(report.card, report.device, false, body);
                self.judge(world, answer);
            }
            Step::Interrupted(report) => {
                let body = self.report(report);
                let (engine, tenant, shown) = (
                    self.engine().clone(),
                    self.tenant_of(world, report.device),
                    self.cards[report.card].clone(),
                );
                let first = body.clone();
                self.runtime()
                    .spawn(async move { send_to(&engine, tenant, &shown, false, first).await });
                self.die_and_come_back(world);
                let answer = self.send(report.card, report.device, false, body);
                self.judge(world, answer);
            }
            Step::Enqueue(order) => {
                let outcome = self.runtime().block_on(self.order(order, self.engine()));
                self.ordered(world, order, outcome, false);
            }
            Step::InterruptedEnqueue(order) => {
                let request = self.request(order);
                let (engine, tenant) = (self.engine().clone(), self.tenants[order.tenant]);
                self.runtime().spawn(async move {
                    drop(
                        engine
                            .enqueue(tenant, Actor::SYSTEM, Cause::default(), request)
                            .await,
                    )
                });
                self.die_and_come_back(world);
                let outcome = self.runtime().block_on(self.order(order, self.engine()));
                self.ordered(world, order, outcome, true);
            }
            Step::Cancel {
                tenant,
                command,
                only,
            } => self.cancel(world, *tenant, *command, only.as_deref()),
            Step::Release { tenant, enrollment } => {
                let done = self.runtime().block_on(self.engine().release(
                    self.tenants[*tenant],
                    Actor::SYSTEM,
                    self.enrollments[*enrollment],
                ));
                self.administered(world, done);
            }
            Step::Refuse { tenant, enrollment } => {
                let done = self.runtime().block_on(self.engine().refuse(
                    self.tenants[*tenant],
                    Actor::SYSTEM,
                    self.enrollments[*enrollment],
                ));
                self.administered(world, done);
            }
            Step::Remove { tenant, device } => {
                let id = self.device_id(world, *device);
                let done = self.runtime().block_on(self.engine().remove(
                    self.tenants[*tenant],
                    Actor::SYSTEM,
                    id,
                    "",
                ));
                self.administered(world, done);
            }
            Step::Wait { micros } => self.site.stage.clock.advance(*micros),
            Step::Restart { crash } => {
                if *crash {
                    self.crash();
                } else {
                    self.stop();
                }
                self.boot(world);
            }
            Step::Look => drop(self.runtime().block_on(self.engine().expire()).unwrap()),
        }
        assert_eq!(self.site.stage.now(), self.began + world.now);
    }

    /// Lets some microseconds pass, so that the death falls before, into or after the commit.
    fn die_and_come_back(&mut self, world: &World) {
        let dice = u64::from(Uuid::new_v4().as_bytes()[0]);
        std::thread::sleep(Duration::from_micros(dice * dice / 10));
        self.crash();
        self.boot(world);
    }

    fn tenant_of(&self, world: &World, device: usize) -> TenantId {
        self.tenants[world.devices[device].tenant]
    }

    fn device_id(&self, world: &World, device: usize) -> DeviceId {
        let sql = &self.site.stage.sql;
        let found = self.site.texts(&format!(
            "SELECT {} FROM device WHERE tenant_id = {} AND ident = '{}'",
            self.site.hex("id"),
            sql.id(self.tenant_of(world, device).0),
            UDIDS[device]
        ));
        DeviceId(
            found
                .first()
                .map_or(Uuid::nil(), |id| Uuid::parse_str(id).unwrap()),
        )
    }

    fn send(
        &self,
        card: usize,
        device: usize,
        check_in: bool,
        body: String,
    ) -> (StatusCode, String) {
        let tenant = self.tenants[usize::from(device == 2)];
        self.runtime().block_on(send_to(
            self.engine(),
            tenant,
            &self.cards[card],
            check_in,
            body,
        ))
    }

    fn check_in(&mut self, world: &World, card: usize, device: usize, body: String) {
        let answer = self.send(card, device, true, body);
        self.judge(world, answer);
    }

    pub(crate) fn uuid(&self, name: Name) -> String {
        let case = self.tenants[0].0.simple();
        match name {
            Name::Made(command) => self.uuids[command].clone(),
            Name::Raw(n) => format!("raw-{case}-{n}"),
            Name::Blank(n) => format!("blank-{case}-{n}"),
            Name::Unknown => format!("unknown-{case}"),
        }
    }

    fn report(&self, report: &Report) -> String {
        let Report {
            device,
            user,
            verb,
            name,
            variant,
            ..
        } = *report;
        let user = user.map_or(String::new(), |_| {
            format!("<key>UserID</key><string>{USER}</string>")
        });
        let status = match verb {
            Verb::Idle => {
                return message(&format!(
                    "<key>Status</key><string>Idle</string><key>UDID</key><string>{}</string>{user}",
                    UDIDS[device]
                ));
            }
            Verb::Acknowledged => "Acknowledged",
            Verb::Error => "Error",
            Verb::FormatError => "CommandFormatError",
            Verb::NotNow => "NotNow",
        };
        message(&format!(
            "<key>Status</key><string>{status}</string><key>UDID</key><string>{}</string>{user}\
             <key>CommandUUID</key><string>{}</string><key>Detail</key><integer>{variant}</integer>",
            UDIDS[device],
            self.uuid(name)
        ))
    }

    fn raw(&self, name: Name) -> String {
        let text = match name {
            Name::Blank(_) => "<key>Text</key><string>{{input:name}}</string>",
            _ => "",
        };
        message(&format!(
            "<key>Command</key><dict><key>RequestType</key><string>Settings</string>{text}</dict><key>CommandUUID</key><string>{}</string>",
            self.uuid(name)
        ))
    }

    fn request(&self, order: &Order) -> Enqueue {
        let body = match order.body {
            Body::Made(kind) => {
                let mut dictionary = plist::Dictionary::new();
                dictionary.insert("RequestType".into(), format!("Kind{kind}").into());
                CommandBody::Dictionary(dictionary)
            }
            Body::Raw(n) => CommandBody::Raw(self.raw(Name::Raw(n)).into_bytes()),
            Body::Blank(n, _) => CommandBody::Raw(self.raw(Name::Blank(n)).into_bytes()),
        };
        let targets: Vec<EnrollmentId> = order
            .targets
            .iter()
            .map(|id| self.enrollments[*id])
            .collect();
        let mut request = Enqueue::new(body, targets.clone());
        if let Body::Blank(_, Some(value)) = order.body {
            for target in targets {
                request.inputs.insert(
                    target,
                    BTreeMap::from([("name".to_owned(), FILLS[value].0.to_owned())]),
                );
            }
        }
        request.priority = order.rank;
        request.not_before = (order.from > 0).then_some(self.began + order.from);
        request.not_after = order.until.map(|until| self.began + until);
        request.after = order
            .after
            .map(|after| self.commands[after].unwrap_or(CommandId(Uuid::nil())));
        request.idempotency_key = order.key.map(|key| format!("key {key}"));
        request.push = order.rings;
        request
    }

    async fn order(
        &self,
        order: &Order,
        engine: &Engine,
    ) -> Result<pomona_engine::Enqueued, Error> {
        engine
            .enqueue(
                self.tenants[order.tenant],
                Actor::SYSTEM,
                Cause::default(),
                self.request(order),
            )
            .await
    }

    // Answers.

    fn judge(&mut self, world: &World, (status, body): (StatusCode, String)) {
        match &world.said {
            Said::Status(expected) => assert_eq!((status.as_u16(), body.as_str()), (*expected, "")),
            Said::Empty => assert_eq!((status, body.as_str()), (StatusCode::OK, "")),
            Said::Command { enrollment, name } => {
                assert_eq!(status, StatusCode::OK);
                assert_eq!(
                    command_uuid(&body),
                    Some(self.uuid(*name)),
                    "the next command"
                );
                let first = self
                    .bodies
                    .entry((*enrollment, *name))
                    .or_insert_with(|| body.clone())
                    .clone();
                assert_eq!(body, first, "sent again byte for byte");
                let entry = world.enrollments[*enrollment]
                    .entries
                    .iter()
                    .find(|entry| entry.name == *name)
                    .unwrap();
                match name {
                    Name::Raw(_) => assert_eq!(body, self.raw(*name)),
                    Name::Blank(_) => assert_eq!(
                        body,
                        self.raw(*name)
                            .replace("{{input:name}}", FILLS[entry.value.unwrap()].1)
                    ),
                    Name::Made(_) | Name::Unknown => assert!(body.contains("<string>Kind")),
                }
            }
            Said::Bootstrap(value) => {
                assert_eq!(status, StatusCode::OK);
                let data = body
                    .split("<data>")
                    .nth(1)
                    .unwrap()
                    .split("</data>")
                    .next()
                    .unwrap();
                assert_eq!(
                    data.split_whitespace().collect::<String>(),
                    value.map_or(String::new(), bootstrap)
                );
            }
            other => panic!("the model has no answer for a device here: {other:?}"),
        }
    }

    fn ordered(
        &mut self,
        world: &World,
        order: &Order,
        outcome: Result<pomona_engine::Enqueued, Error>,
        interrupted: bool,
    ) {
        let said = match outcome {
            Ok(done) => {
                let accepted: Vec<bool> =
                    done.targets.iter().map(|target| target.accepted).collect();
                let ids: Vec<EnrollmentId> = done
                    .targets
                    .iter()
                    .map(|target| target.enrollment_id)
                    .collect();
                assert_eq!(
                    ids,
                    order
                        .targets
                        .iter()
                        .map(|id| self.enrollments[*id])
                        .collect::<Vec<_>>()
                );
                let Said::Enqueued {
                    command, repeated, ..
                } = world.said
                else {
                    panic!("queued, where the model says {:?}", world.said);
                };
                if command == self.uuids.len() {
                    self.uuids.push(done.command_uuid.clone());
                    self.commands
                        .push(accepted.contains(&true).then_some(done.command_id));
                }
                assert_eq!(self.uuids[command], done.command_uuid);
                assert!(self.commands[command].is_none_or(|id| id == done.command_id));
                Said::Enqueued {
                    command,
                    accepted,
                    repeated: if interrupted { repeated } else { done.repeated },
                }
            }
            Err(Error::Invalid(_)) => Said::Invalid,
            Err(Error::NotFound(_)) => Said::Missing,
            Err(Error::Conflict(_)) => Said::Conflict,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(said, world.said);
    }

    fn cancel(&mut self, world: &World, tenant: usize, command: usize, only: Option<&[usize]>) {
        let only = only.map(|only| only.iter().map(|id| self.enrollments[*id]).collect());
        let id = self.commands[command].unwrap_or(CommandId(Uuid::nil()));
        let said = match self.runtime().block_on(self.engine().cancel(
            self.tenants[tenant],
            Actor::SYSTEM,
            id,
            only,
        )) {
            Ok(done) => Said::Cancelled(
                done.iter()
                    .map(|one| {
                        (
                            self.enrollments
                                .iter()
                                .position(|id| *id == one.enrollment_id)
                                .unwrap(),
                            one.disposition,
                        )
                    })
                    .collect(),
            ),
            Err(Error::NotFound(_)) => Said::Missing,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(said, world.said);
    }

    fn administered(&self, world: &World, done: Result<(), Error>) {
        let said = match done {
            Ok(()) => Said::Done,
            Err(Error::NotFound(_)) => Said::Missing,
            Err(Error::Conflict(_)) => Said::Conflict,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(said, world.said);
    }

    /// Learns the ids of enrollments that the model says have been opened.
    fn find_enrollments(&mut self, world: &World) {
        let site = self.site.clone();
        for e in &world.enrollments[self.enrollments.len()..] {
            let (channel, user) = if e.user.is_some() { (1, USER) } else { (0, "") };
            let found = site.texts(&format!(
                "SELECT {} FROM enrollment e JOIN device d ON d.id = e.device_id WHERE d.tenant_id = {} AND d.ident = '{}'
                 AND e.channel = {channel} AND upper(e.user_key) = upper('{user}') AND e.generation = {}",
                site.hex("e.id"),
                site.stage.sql.id(self.tenant_of(world, e.device).0),
                UDIDS[e.device],
                e.generation
            ));
            assert_eq!(found.len(), 1, "{e:?} was opened");
            self.enrollments
                .push(EnrollmentId(Uuid::parse_str(&found[0]).unwrap()));
        }
    }
}

fn bootstrap(value: usize) -> String {
    STANDARD.encode(format!("bootstrap {value}"))
}
