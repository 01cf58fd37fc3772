//! Where the cases are played: a server with some devices, requests through its routers, and the table of answers.
//!
//! Owns: how a case is judged. A case sends its requests, and each of them must get the answer that the table names;
//! the rows before and after must differ as the table says and not otherwise.
//!
//! Over 500 lines, since what a case sends, what it may leave and how it is judged belong together.
//!
//! Time: an answer has to come within 250 ms, in debug builds within four times as much (the code there is not
//! optimised, and tests run beside each other), and for each MiB that is sent the same again. What takes longer and
//! changes nothing is tried twice more before it counts, since a busy machine is not a slow server.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use pomona_engine::http::{IdentitySource, PeerAddress, TlsPeer, device_router};
use pomona_engine::{
    Actor, Cause, CommandBody, Engine, EngineOptions, Enqueue, EnrollmentId, TenantId,
};
use tower::ServiceExt;

use crate::snapshot::{BESIDE, EVENT, MOVING, Reader, Rows, STATE};
use crate::support::{Backend, Card, Stage, TOPIC};

const TABLE: &str = include_str!("table.txt");
const SECOND: i64 = 1_000_000;
pub const CHECK_IN: &str = "application/x-apple-aspen-mdm-checkin";
pub const REPORT: &str = "application/x-apple-aspen-mdm";
/// The statuses that a device may ever be sent (410 only declines a user).
const ALLOWED: [u16; 14] = [
    200, 400, 403, 404, 405, 408, 410, 413, 415, 416, 429, 431, 500, 503,
];

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    pub section: &'static str,
    pub name: &'static str,
    pub answer: &'static str,
    pub effect: Effect,
}

/// What a case leaves in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// No row anywhere.
    Nothing,
    /// An event that tells of the refusal, and nothing else.
    Event,
    /// The channel's counters and the events of a session.
    Seen,
    /// As seen, with the report kept aside and an event that tells so.
    Flagged,
    /// As seen, with an event that tells of a contradiction.
    Conflict,
    /// What an accepted request leaves.
    Stored,
}

/// The lines of one section.
pub fn table(section: &str) -> Vec<Line> {
    let lines = TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let [section, name, answer, effect, ..] = parts[..] else {
                panic!("not a line of the table: {line}");
            };
            let effect = match effect {
                "nothing" => Effect::Nothing,
                "event" => Effect::Event,
                "seen" => Effect::Seen,
                "flagged" => Effect::Flagged,
                "conflict" => Effect::Conflict,
                "stored" => Effect::Stored,
                other => panic!("no such effect: {other}"),
            };
            Line {
                section,
                name,
                answer,
                effect,
            }
        })
        .filter(|line| line.section == section)
        .collect()
}

/// Which router a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Behind a proxy at 127.0.0.1.
    Proxy,
    /// TLS ends here.
    Tls,
    /// What the section has set up beside these two.
    Extra,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Shot {
    pub door: Door,
    pub method: Method,
    pub uri: String,
    pub headers: Vec<(&'static str, Vec<u8>)>,
    pub body: Vec<u8>,
    pub peer: IpAddr,
    pub tls: Option<Vec<u8>>,
}

impl Shot {
    pub fn to(door: Door, uri: String, body: Vec<u8>) -> Self {
        Self {
            door,
            method: Method::PUT,
            uri,
            headers: Vec::new(),
            body,
            peer: IpAddr::from([127, 0, 0, 1]),
            tls: None,
        }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub fn from(mut self, peer: [u8; 4]) -> Self {
        self.peer = IpAddr::from(peer);
        self
    }
}

/// What came of the requests of a case.
#[derive(Debug)]
pub struct Run {
    pub answers: Vec<String>,
    pub bodies: Vec<Vec<u8>>,
    pub before: Rows,
    pub after: Rows,
    pub slow: Option<String>,
}

impl Run {
    pub fn begun(before: Rows) -> Self {
        Self {
            answers: Vec::new(),
            bodies: Vec::new(),
            before,
            after: Rows::default(),
            slow: None,
        }
    }
}

/// The server with its devices.
pub struct World {
    pub stage: Stage,
    pub other: TenantId,
    proxy: Router,
    tls: Router,
    pub extra: Option<Router>,
    reader: Reader,
    /// Turns a response into the word of the table.
    pub word: fn(u16, &[u8]) -> String,
    serial: AtomicUsize,
}

fn status_word(status: u16, _: &[u8]) -> String {
    status.to_string()
}

fn routers(engine: &Engine) -> (Router, Router) {
    let trusted = vec![IpAddr::from([127, 0, 0, 1])];
    (
        device_router(engine.clone(), IdentitySource::Proxy { trusted }),
        device_router(engine.clone(), IdentitySource::Tls),
    )
}

impl World {
    pub async fn new() -> Self {
        Self::tuned(|_| {}).await
    }

    pub async fn tuned(tune: impl Fn(&mut EngineOptions) + Send + Sync + 'static) -> Self {
        let stage = Stage::tuned(
            Backend::Sqlite,
            Default::default(),
            std::sync::Arc::new(tune),
        )
        .await;
        let other = stage.add_tenant().await;
        let (proxy, tls) = routers(&stage.engine);
        let reader = Reader::new(&stage.sql).await;
        Self {
            stage,
            other,
            proxy,
            tls,
            extra: None,
            reader,
            word: status_word,
            serial: AtomicUsize::new(0),
        }
    }

    pub async fn restart(&mut self) {
        self.stage.restart().await;
        (self.proxy, self.tls) = routers(&self.stage.engine);
    }

    pub fn router(&self, door: Door) -> Router {
        match door {
            Door::Proxy => self.proxy.clone(),
            Door::Tls => self.tls.clone(),
            Door::Extra => self.extra.clone().unwrap(),
        }
    }

    pub async fn rows(&self) -> Rows {
        self.reader.read(&self.stage.sql).await
    }

    /// A device that nobody else uses, enrolled, after its first report.
    pub async fn device(&self) -> (String, Card, EnrollmentId) {
        let udid = self.fresh_udid();
        let (card, enrollment) = self.stage.enroll(&udid).await;
        let first = crate::support::idle(&udid);
        self.pass(&self.shot(&card, REPORT, first), 200).await;
        (udid, card, enrollment)
    }

    pub fn fresh_udid(&self) -> String {
        let number = self.serial.fetch_add(1, Ordering::Relaxed);
        format!("00008103-{number:016X}")
    }

    /// As the proxy would send it.
    pub fn shot(&self, card: &Card, kind: &str, body: impl Into<Vec<u8>>) -> Shot {
        self.shot_in(self.stage.tenant, card, kind, body)
    }

    pub fn shot_in(
        &self,
        tenant: TenantId,
        card: &Card,
        kind: &str,
        body: impl Into<Vec<u8>>,
    ) -> Shot {
        Shot::to(Door::Proxy, format!("/mdm/{tenant}"), body.into())
            .header("content-type", kind)
            .header("client-cert", format!(":{}:", STANDARD.encode(&card.der)))
    }

    /// Queues a command; returns its `CommandUUID`.
    pub async fn queue(&self, request_type: &str, to: EnrollmentId) -> String {
        self.queue_at(request_type, to, None).await
    }

    pub async fn queue_at(
        &self,
        request_type: &str,
        to: EnrollmentId,
        not_before: Option<i64>,
    ) -> String {
        self.queue_in(self.stage.tenant, request_type, to, not_before)
            .await
    }

    pub async fn queue_in(
        &self,
        tenant: TenantId,
        request_type: &str,
        to: EnrollmentId,
        not_before: Option<i64>,
    ) -> String {
        let command = crate::support::dictionary(request_type);
        let mut request = Enqueue::new(CommandBody::Dictionary(command), vec![to]);
        request.not_before = not_before;
        let done = self
            .stage
            .engine
            .enqueue(tenant, Actor::SYSTEM, Cause::default(), request)
            .await
            .unwrap();
        assert!(done.targets[0].accepted, "{done:?}");
        done.command_uuid
    }

    /// Sends a command to a device and leaves it unanswered.
    pub async fn sent(
        &self,
        request_type: &str,
        udid: &str,
        card: &Card,
        to: EnrollmentId,
    ) -> String {
        let uuid = self.queue(request_type, to).await;
        let (_, body) = self
            .stage
            .send(card, false, crate::support::idle(udid))
            .await;
        assert_eq!(
            crate::support::command_uuid(&body).as_deref(),
            Some(uuid.as_str())
        );
        uuid
    }

    async fn once(&self, shot: &Shot) -> (u16, Vec<u8>, Duration) {
        let mut request = Request::builder()
            .method(shot.method.clone())
            .uri(shot.uri.as_str())
            .extension(PeerAddress(shot.peer))
            .extension(TlsPeer(shot.tls.clone()));
        let headers = request.headers_mut().unwrap();
        for (name, value) in &shot.headers {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        let request = request.body(Body::from(shot.body.clone())).unwrap();
        let begin = Instant::now();
        let response = self.router(shot.door).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, body.to_vec(), begin.elapsed())
    }

    /// Sends one request outside of any case; it must get this status.
    pub async fn pass(&self, shot: &Shot, status: u16) -> Vec<u8> {
        let (got, body, _) = self.once(shot).await;
        assert_eq!(got, status, "{}", String::from_utf8_lossy(&body));
        body
    }

    /// Sends the requests one after the other.
    pub async fn fire(&self, shots: Vec<Shot>) -> Run {
        // Each case has a minute of its own, so that no limit on events or requests carries over.
        self.stage.clock.advance(120 * SECOND);
        self.fire_at_once(shots).await
    }

    /// As [`fire`](Self::fire), in the same moment as what was before.
    pub async fn fire_at_once(&self, shots: Vec<Shot>) -> Run {
        let mut run = Run::begun(self.rows().await);
        for (n, shot) in shots.iter().enumerate() {
            let (status, body, took) = self.once(shot).await;
            let mut took = took;
            let refused = status != 200;
            for _ in 0..2 {
                if took > limit(shot) && refused {
                    took = self.once(shot).await.2;
                }
            }
            if took > limit(shot) && run.slow.is_none() {
                run.slow = Some(format!("request {n} took {took:?}"));
            }
            self.note(&mut run, status, body, shot);
            if shots.len() > 100 {
                self.stage.clock.advance(SECOND);
            }
        }
        self.done(run).await
    }

    /// Sends the requests at the same time.
    pub async fn together(&self, shots: Vec<Shot>) -> Run {
        self.stage.clock.advance(120 * SECOND);
        let mut run = Run::begun(self.rows().await);
        let all = futures_util::future::join_all(shots.iter().map(|shot| self.once(shot))).await;
        for ((status, body, _), shot) in all.into_iter().zip(&shots) {
            self.note(&mut run, status, body, shot);
        }
        self.done(run).await
    }

    fn note(&self, run: &mut Run, status: u16, body: Vec<u8>, shot: &Shot) {
        assert!(
            ALLOWED.contains(&status) && status != 500,
            "status {status}"
        );
        if status >= 400 && shot.uri.starts_with("/mdm/") {
            assert!(body.len() <= 64, "an answer that says too much");
        }
        run.answers.push((self.word)(status, &body));
        run.bodies.push(body);
    }

    /// Reads the rows again, once the events that are written beside a request are there.
    pub async fn done(&self, mut run: Run) -> Run {
        run.after = self.rows().await;
        run
    }

    /// Judges a run by its line.
    pub async fn judge(&self, line: &Line, mut run: Run) -> Result<(), String> {
        if let Some(odd) = run.answers.iter().find(|answer| *answer != line.answer) {
            return Err(format!(
                "answered {odd} instead of {} ({} requests)",
                line.answer,
                run.answers.len()
            ));
        }
        if line.effect == Effect::Event {
            // The event is written beside the answer.
            for _ in 0..500 {
                if !run.after.minus(&run.before, EVENT).is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                run.after = self.rows().await;
            }
        }
        if let Some(slow) = run.slow {
            return Err(slow);
        }
        effect(line.effect, &run.before, &run.after)
    }
}

/// Whether what changed is what may change.
fn effect(effect: Effect, before: &Rows, after: &Rows) -> Result<(), String> {
    let same = |tables: &[&str]| before.difference(after, tables).map_or(Ok(()), Err);
    let gained = after.minus(before, EVENT);
    let has = |kind: &str| gained.iter().any(|row| row.contains(kind));
    match effect {
        Effect::Nothing => {
            same(&STATE)?;
            same(&BESIDE)?;
            same(&MOVING)?;
            same(&[EVENT])
        }
        Effect::Event => {
            same(&STATE)?;
            same(&BESIDE)?;
            same(&MOVING)?;
            match gained.iter().all(|row| row.contains("identity_refused")) {
                true if !gained.is_empty() => Ok(()),
                _ => Err(format!("events: {gained:?}")),
            }
        }
        Effect::Seen => {
            same(&STATE)?;
            same(&BESIDE)
        }
        Effect::Flagged => {
            same(&STATE)?;
            let kept = after.minus(before, "orphan_report").len();
            match (kept, has("report_orphaned")) {
                (1, true) => Ok(()),
                other => Err(format!("kept aside and told: {other:?}")),
            }
        }
        Effect::Conflict => {
            same(&STATE)?;
            same(&BESIDE)?;
            match has("report_conflict") {
                true => Ok(()),
                false => Err(format!("events: {gained:?}")),
            }
        }
        Effect::Stored => match (same(&STATE), same(&BESIDE)) {
            (Ok(()), Ok(())) => Err("nothing was stored".into()),
            _ => Ok(()),
        },
    }
}

fn limit(shot: &Shot) -> Duration {
    let times = if cfg!(debug_assertions) { 4 } else { 1 };
    let mebibytes = u32::try_from(shot.body.len() >> 20).unwrap_or(0);
    Duration::from_millis(250) * times * (1 + mebibytes)
}

/// Plays all lines of a section and tells of every one that went wrong.
pub struct Score {
    section: &'static str,
    played: usize,
    wrong: Vec<String>,
}

impl Score {
    pub fn new(section: &'static str) -> Self {
        Self {
            section,
            played: 0,
            wrong: Vec::new(),
        }
    }

    pub fn add(&mut self, line: &Line, outcome: Result<(), String>) {
        self.played += 1;
        if let Err(why) = outcome {
            let why: String = why.chars().take(1_500).collect();
            self.wrong.push(format!("{}: {why}", line.name));
        }
    }

    /// Fails unless all went right and there were at least so many.
    pub fn finish(self, least: usize) {
        assert!(
            self.wrong.is_empty(),
            "{} of {} cases of {} went wrong:\n{}",
            self.wrong.len(),
            self.played,
            self.section,
            self.wrong.join("\n")
        );
        assert!(self.played >= least, "only {} cases", self.played);
    }
}

/// A property list with this in its dictionary.
pub fn dict(inner: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\"><dict>{inner}</dict></plist>"
    )
    .into_bytes()
}

/// A key with a string.
pub fn text(key: &str, value: &str) -> String {
    format!("<key>{key}</key><string>{value}</string>")
}

/// A key with data.
pub fn data(key: &str, value: &[u8]) -> String {
    format!("<key>{key}</key><data>{}</data>", STANDARD.encode(value))
}

/// A check-in message of the device channel.
pub fn check_in(kind: &str, udid: &str, inner: &str) -> Vec<u8> {
    dict(&format!(
        "{}{}{}{inner}",
        text("MessageType", kind),
        text("UDID", udid),
        text("Topic", TOPIC)
    ))
}

/// A report.
pub fn report(status: &str, udid: &str, inner: &str) -> Vec<u8> {
    dict(&format!(
        "{}{}{inner}",
        text("Status", status),
        text("UDID", udid)
    ))
}
