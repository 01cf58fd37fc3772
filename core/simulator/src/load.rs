//! A load generator: devices that are enrolled already, driven as fast as the server answers.
//!
//! Owns the loops Idle, command, report on kept-alive connections, the counting for a later
//! check, and the figures. Never parses: of a reply it reads the status, the length and the
//! CommandUUID; requests are put together before the start. For everything that a real device
//! would do, use a fleet instead.

mod connection;
mod histogram;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::client::Trust;
use crate::cms::{Identity, SignatureStyle, detached_signature};
use crate::keys::{DeviceKey, KeyError};
use crate::{ClientError, CmsError, xml};
use connection::Connection;
use histogram::Histogram;

/// Why a load run does not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No devices.
    #[error("there are no devices to put load with")]
    NoDevices,
    /// Signing and mutual TLS need the devices' keys.
    #[error("the device {0} has no key, which this mode needs")]
    NoKey(String),
    /// The address or the trust is no good.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A certificate is no good.
    #[error(transparent)]
    Cms(#[from] CmsError),
    /// A key is no good.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// An enrolled device, as far as the load generator needs it. As JSON, bytes are base64.
#[derive(Clone, Serialize, Deserialize)]
pub struct LoadDevice {
    /// The device.
    pub udid: String,
    /// Its identity certificate, DER.
    #[serde(with = "base64_bytes")]
    pub certificate: Vec<u8>,
    /// Its key, PKCS#8; only for signed messages and mutual TLS.
    #[serde(with = "base64_bytes", default, skip_serializing_if = "Vec::is_empty")]
    pub pkcs8: Vec<u8>,
}

impl std::fmt::Debug for LoadDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadDevice")
            .field("udid", &self.udid)
            .finish_non_exhaustive()
    }
}

/// How the devices prove who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoadMode {
    /// The `Client-Cert` header of a proxy. Costs the client next to nothing.
    ProxyHeader,
    /// `Mdm-Signature`, made for each message: about 0.2 ms of computing each.
    Signed,
    /// A connection with mutual TLS for each device.
    MutualTls,
}

/// A load run.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where reports go: the MDM URL at the listener that is to be loaded.
    pub url: Url,
    /// Proof of identity.
    pub mode: LoadMode,
    /// The devices; each is driven by one worker only.
    pub devices: Vec<LoadDevice>,
    /// Workers, and in the first two modes connections.
    pub connections: usize,
    /// The end of the run; without it the run ends when every device was told once that there
    /// is nothing more.
    pub duration: Option<Duration>,
    /// Roots for TLS, PEM.
    pub trust_pem: String,
    /// Further keys of every report, as property list XML; for reports of a realistic size.
    pub report_keys: String,
    /// The limit for one request.
    pub timeout: Duration,
}

impl LoadOptions {
    /// Through a proxy's listener, 64 connections, until the queues are empty.
    #[must_use]
    pub fn new(url: Url, devices: Vec<LoadDevice>) -> Self {
        Self {
            url,
            mode: LoadMode::ProxyHeader,
            devices,
            connections: 64,
            duration: None,
            trust_pem: String::new(),
            report_keys: String::new(),
            timeout: Duration::from_secs(30),
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoadReport {
    /// Commands that were reported and confirmed with 200.
    pub round_trips: u64,
    /// All requests.
    pub requests: u64,
    /// Wall time.
    pub seconds: f64,
    /// Median time of a request, milliseconds; accurate to 6 %, like the others.
    pub p50_ms: f64,
    /// 90 % are faster.
    pub p90_ms: f64,
    /// 99 % are faster.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Broken connections, time-outs, and statuses other than 200 and 503.
    pub errors: u64,
    /// Answers of 503 and 429.
    pub shed: u64,
    /// The devices one by one.
    pub devices: Vec<DeviceLoad>,
}

/// What one device counted.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct DeviceLoad {
    /// The device.
    pub udid: String,
    /// Commands received.
    pub received: u64,
    /// Commands received again after their report was confirmed: a fault.
    pub doubled: u64,
    /// Reports confirmed with 200.
    pub acknowledged: u64,
}

/// Runs until its end or until `stop` is cancelled.
///
/// # Errors
/// [`LoadError`] when the options make no run. What fails on the way is counted, not returned.
pub async fn run(options: LoadOptions, stop: CancellationToken) -> Result<LoadReport, LoadError> {
    if options.devices.is_empty() {
        return Err(LoadError::NoDevices);
    }
    let trust = Trust::from_pem(&options.trust_pem)?;
    let workers = match options.mode {
        LoadMode::MutualTls => options.connections,
        _ => options.connections.min(options.devices.len()),
    };
    let mut shares: Vec<Vec<Member>> = Vec::new();
    shares.resize_with(workers.clamp(1, options.devices.len()), Vec::new);
    let count = shares.len();
    for (index, device) in options.devices.iter().enumerate() {
        let member = Member::new(device, &options, &trust)?;
        if let Some(share) = shares.get_mut(index % count) {
            share.push(member);
        }
    }
    let started = Instant::now();
    let end = options.duration.map(|duration| started + duration);
    let options = Arc::new(options);
    let mut tasks = JoinSet::new();
    for members in shares {
        let worker = Worker {
            options: Arc::clone(&options),
            tls: trust.plain(),
            members,
            connection: None,
            tally: Tally::default(),
        };
        tasks.spawn(worker.run(end, stop.clone()));
    }
    let mut report = LoadReport::default();
    let mut histogram = Histogram::default();
    while let Some(finished) = tasks.join_next().await {
        let Ok((tally, members)) = finished else {
            report.errors = report.errors.saturating_add(1);
            continue;
        };
        report.requests = report.requests.saturating_add(tally.requests);
        report.round_trips = report.round_trips.saturating_add(tally.round_trips);
        report.errors = report.errors.saturating_add(tally.errors);
        report.shed = report.shed.saturating_add(tally.shed);
        histogram.merge(&tally.histogram);
        report
            .devices
            .extend(members.into_iter().map(|member| member.load));
    }
    report.seconds = started.elapsed().as_secs_f64();
    report.p50_ms = histogram.quantile_ms(0.5);
    report.p90_ms = histogram.quantile_ms(0.9);
    report.p99_ms = histogram.quantile_ms(0.99);
    report.max_ms = histogram.max_ms();
    Ok(report)
}

/// A device in a run: its requests, ready to be sent.
struct Member {
    load: DeviceLoad,
    identity: Option<Identity>,
    tls: Option<Arc<ClientConfig>>,
    connection: Option<Connection>,
    /// Request line and headers up to the value of Content-Length.
    head: String,
    idle: String,
    /// The report around the CommandUUID.
    report: (String, String),
    confirmed: HashSet<u64>,
}

impl Member {
    fn new(device: &LoadDevice, options: &LoadOptions, trust: &Trust) -> Result<Self, LoadError> {
        let url = &options.url;
        let (host, port, _) = crate::client::origin(url)?;
        let query = url
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let path = url.path();
        let mut head = format!(
            "PUT {path}{query} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: MDM/1.0\r\n\
             Content-Type: application/x-apple-aspen-mdm\r\n"
        );
        let mut identity = None;
        let mut tls = None;
        if options.mode == LoadMode::ProxyHeader {
            let certificate = STANDARD.encode(&device.certificate);
            head.push_str(&format!("Client-Cert: :{certificate}:\r\n"));
        } else {
            if device.pkcs8.is_empty() {
                return Err(LoadError::NoKey(device.udid.clone()));
            }
            let key = Arc::new(DeviceKey::from_pkcs8(&device.pkcs8)?);
            let own = Identity::new(key, device.certificate.clone())?;
            if options.mode == LoadMode::MutualTls {
                tls = Some(trust.with_identity(&own)?);
            } else {
                identity = Some(own);
            }
        }
        head.push_str("Content-Length: ");
        let udid = xml::string("UDID", &device.udid);
        let idle = xml::document(&[xml::string("Status", "Idle"), udid.clone()].concat());
        let report = [
            xml::string("Status", "Acknowledged"),
            udid,
            options.report_keys.clone(),
            xml::string("CommandUUID", "\u{fffc}"),
        ];
        let report = xml::document(&report.concat());
        let (before, after) = report.split_once('\u{fffc}').unwrap_or((&report, ""));
        Ok(Self {
            load: DeviceLoad {
                udid: device.udid.clone(),
                ..DeviceLoad::default()
            },
            identity,
            tls,
            connection: None,
            head,
            idle,
            report: (before.to_owned(), after.to_owned()),
            confirmed: HashSet::new(),
        })
    }

    /// Puts a request together; `uuid` makes it a report, else it is Idle.
    fn write(&self, buffer: &mut Vec<u8>, uuid: Option<&[u8]>) -> Result<(), CmsError> {
        buffer.clear();
        let parts: [&[u8]; 3] = match uuid {
            None => [self.idle.as_bytes(), &[], &[]],
            Some(uuid) => [self.report.0.as_bytes(), uuid, self.report.1.as_bytes()],
        };
        let length: usize = parts.iter().map(|part| part.len()).sum();
        buffer.extend_from_slice(self.head.as_bytes());
        buffer.extend_from_slice(length.to_string().as_bytes());
        if let Some(identity) = &self.identity {
            let body = parts.concat();
            let signature = detached_signature(identity, SignatureStyle::CURRENT, &body)?;
            buffer.extend_from_slice(b"\r\nMdm-Signature: ");
            buffer.extend_from_slice(STANDARD.encode(signature).as_bytes());
        }
        buffer.extend_from_slice(b"\r\n\r\n");
        for part in parts {
            buffer.extend_from_slice(part);
        }
        Ok(())
    }
}

#[derive(Default)]
struct Tally {
    requests: u64,
    round_trips: u64,
    errors: u64,
    shed: u64,
    histogram: Histogram,
}

struct Worker {
    options: Arc<LoadOptions>,
    tls: Arc<ClientConfig>,
    members: Vec<Member>,
    connection: Option<Connection>,
    tally: Tally,
}

impl Worker {
    async fn run(mut self, end: Option<Instant>, stop: CancellationToken) -> (Tally, Vec<Member>) {
        let mut buffer = Vec::new();
        let mut members = std::mem::take(&mut self.members);
        let over = || stop.is_cancelled() || end.is_some_and(|end| Instant::now() >= end);
        loop {
            for member in &mut members {
                if over() {
                    return (self.tally, members);
                }
                self.drive(member, &mut buffer, &over).await;
            }
            if end.is_none() {
                return (self.tally, members);
            }
        }
    }

    /// Idle, then reports, until there is nothing more for this device.
    async fn drive(&mut self, member: &mut Member, buffer: &mut Vec<u8>, over: &impl Fn() -> bool) {
        let mut uuid: Option<Vec<u8>> = None;
        let mut failures = 0_u32;
        loop {
            let outcome = self.exchange(member, buffer, uuid.as_deref()).await;
            match outcome {
                Some(Reply { status: 200, next }) => {
                    if let Some(uuid) = &uuid {
                        self.tally.round_trips = self.tally.round_trips.saturating_add(1);
                        member.load.acknowledged = member.load.acknowledged.saturating_add(1);
                        member.confirmed.insert(fingerprint(uuid));
                    }
                    if next.is_empty() {
                        return;
                    }
                    member.load.received = member.load.received.saturating_add(1);
                    if member.confirmed.contains(&fingerprint(&next)) {
                        member.load.doubled = member.load.doubled.saturating_add(1);
                    }
                    uuid = Some(next);
                }
                Some(Reply { status, .. }) => {
                    match status {
                        429 | 503 => self.tally.shed = self.tally.shed.saturating_add(1),
                        _ => self.tally.errors = self.tally.errors.saturating_add(1),
                    }
                    failures += 1;
                }
                None => {
                    self.tally.errors = self.tally.errors.saturating_add(1);
                    // Whether the report arrived is not known; Idle will tell.
                    uuid = None;
                    failures += 1;
                }
            }
            if over() || failures > 5 {
                return;
            }
            if failures > 0 {
                tokio::time::sleep(Duration::from_millis(100 << failures.min(5))).await;
            }
        }
    }

    async fn exchange(
        &mut self,
        member: &mut Member,
        buffer: &mut Vec<u8>,
        uuid: Option<&[u8]>,
    ) -> Option<Reply> {
        member.write(buffer, uuid).ok()?;
        let tls = member.tls.as_ref().unwrap_or(&self.tls);
        let slot = match member.tls {
            Some(_) => &mut member.connection,
            None => &mut self.connection,
        };
        let timeout = self.options.timeout;
        let started = Instant::now();
        self.tally.requests = self.tally.requests.saturating_add(1);
        let outcome = tokio::time::timeout(timeout, async {
            if slot.is_none() {
                *slot = Some(Connection::open(&self.options.url, tls).await.ok()?);
            }
            slot.as_mut()?.exchange(buffer).await.ok()
        });
        let outcome = outcome.await.ok().flatten();
        match outcome {
            Some((reply, keep)) => {
                self.tally.histogram.record(started.elapsed());
                if !keep {
                    *slot = None;
                }
                Some(reply)
            }
            None => {
                *slot = None;
                None
            }
        }
    }
}

/// What the load generator reads of a reply.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The CommandUUID in the body; empty when there is none.
    pub(crate) next: Vec<u8>,
}

fn fingerprint(uuid: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    uuid.hash(&mut hasher);
    hasher.finish()
}

/// Bytes as base64 text in JSON.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
