//! The batch writer: one transaction for many requests.
//!
//! Owns: the order in which requests reach the database. A group is what arrived while the previous group was
//! being flushed, up to a limit; a lone request does not wait. A group holds at most one request of a device
//! (all its channels) and at most one of a certificate. A request is answered only after its group is durable.
//! A group that fails is halved until the request that fails stands alone; its neighbours do not fail.
//!
//! In the flow: `http/mdm` parses, this writes and answers; hooks are asked in between by `engine`, with no
//! transaction open.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pomona_protocol::Status;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::clock::{Micros, Random};
use crate::enrollment::Refusal;
use crate::error::{Error, Result, Source};
use crate::event::Event;
use crate::hooks::HookTable;
use crate::identity::journal::{Journal, Revocation};
use crate::ids::{CommandId, DeviceId, EnrollmentId, TenantId};
use crate::inventory::Seen;
use crate::queue::{Verdict, Verdicts};
use crate::store::Store;
use crate::store::events;
use crate::store::fault;
use crate::store::hot::{self, Ask};
use crate::store::sql::{Batch, Tx};

mod checkins;
pub(crate) mod places;
mod refusals;
mod reports;
pub(crate) mod template;
pub(crate) mod transitions;
mod verdicts;

pub(crate) use checkins::{CheckInAnswer, CheckInJob, Decision};
pub(crate) use refusals::RecentRefusals;
use transitions::Aftermath;
pub(crate) use verdicts::{Allowed, AllowedUntil};

/// Requests that may wait for the writer; beyond that a request is told to come back.
const WAITING: usize = 4_096;
/// How often a group is tried again after a deadlock or a lost race.
const RETRIES: u32 = 4;

/// What the writer works with.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) hooks: HookTable,
    pub(crate) journal: Journal,
    pub(crate) bodies: moka::sync::Cache<(TenantId, Vec<u8>), Bytes>,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) max_sendings: i64,
    pub(crate) group_limit: usize,
    pub(crate) silence: Micros,
    pub(crate) health: Health,
    pub(crate) wake_push: Box<dyn Fn() + Send + Sync>,
    /// Counts what was committed, so that every observer looks.
    pub(crate) wake_observers: tokio::sync::watch::Sender<u64>,
    pub(crate) expired: Mutex<HashSet<EnrollmentId>>,
    pub(crate) refusals: RecentRefusals,
    pub(crate) allowed: AllowedUntil,
}

impl Shared {
    pub(crate) fn random(&self) -> &dyn Random {
        self.store.random().as_ref()
    }

    /// Remembers that an expired certificate acts, so that its renewal goes first.
    pub(crate) fn note_expired(&self, enrollment: EnrollmentId) {
        self.expired.lock().insert(enrollment);
    }

    /// Writes revocations to the journal, before the answer leaves. They are in the database already; should
    /// this fail, the next start writes them again.
    pub(crate) async fn journal_revocations(&self, revoked: &[Revocation]) {
        if revoked.is_empty() {
            return;
        }
        if let Err(error) = self.journal.append(revoked).await {
            tracing::error!(
                error = %error,
                cause = source_text(&error),
                "revocations could not be written to the journal; until a restart writes them, a restored backup would not know them"
            );
        }
    }

    /// Tells everybody in this process what has been committed.
    pub(crate) fn announce(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        for event in events {
            metrics::counter!("pomona_events_total", "kind" => event.kind.as_str()).increment(1);
            // Nobody listening is not an error.
            let _ = self.events.send(Arc::new(event));
        }
        if self.hooks.watched() {
            self.wake_observers.send_modify(|count| *count += 1);
        }
    }
}

/// Whether writing works.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failing_since: AtomicI64,
}

impl Health {
    /// Since when every write has failed, if it does.
    pub(crate) fn failing_since(&self) -> Option<Micros> {
        match self.failing_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(since),
        }
    }

    fn good(&self) {
        if self.failing_since.swap(0, Ordering::Relaxed) != 0 {
            tracing::info!("the database takes writes again");
        }
    }

    fn bad(&self, now: Micros, error: &Error) {
        let first = self
            .failing_since
            .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if first {
            tracing::error!(
                error = %error,
                cause = source_text(error),
                "the database takes no writes; devices are told to come back, nothing acknowledged is lost"
            );
        }
    }
}

fn source_text(error: &Error) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// One command report on its way to the writer.
#[derive(Clone, Debug)]
pub(crate) struct ReportJob {
    pub(crate) ask: Ask,
    pub(crate) status: Status,
    pub(crate) command_uuid: Option<String>,
    /// The error chain as JSON, codes and domains only.
    pub(crate) error_chain: Option<String>,
    /// Tells equal reports from different ones.
    pub(crate) digest: [u8; 32],
    pub(crate) raw: Bytes,
    /// What an acknowledged answer tells of its device.
    pub(crate) seen: Option<Arc<Seen>>,
    /// What the delivery hooks said in earlier rounds of this request.
    pub(crate) judged: Vec<Judged>,
    /// After this round nothing more is asked; without a verdict nothing is sent.
    pub(crate) last_round: bool,
}

impl ReportJob {
    /// The verdicts that were given for the device as it is now, by the hooks that are in force.
    fn verdicts(&self, device_revision: i64, judges: u64) -> Verdicts {
        let stands =
            |judged: &&Judged| (judged.device_revision, judged.judges) == (device_revision, judges);
        self.judged
            .iter()
            .filter(stands)
            .map(|judged| (judged.seq, judged.verdict.clone()))
            .collect()
    }
}

/// A verdict and what it rests on.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) seq: i64,
    pub(crate) device_revision: i64,
    /// The number of the hooks that gave it.
    pub(crate) judges: u64,
    pub(crate) verdict: Verdict,
}

/// A command that a delivery hook must see before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct JudgeRequest {
    pub(crate) tenant: TenantId,
    pub(crate) enrollment: EnrollmentId,
    pub(crate) seq: i64,
    pub(crate) command: CommandId,
    pub(crate) request_type: String,
    pub(crate) body_hash: Vec<u8>,
    /// It was judged by the catalogue on another footing of the device than the present one.
    pub(crate) moved: bool,
    /// What the device tells with this request counts.
    pub(crate) told: bool,
}

/// What the device is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// 200 with an empty body.
    Empty,
    /// 200 with this command.
    Command(Bytes),
    /// A check-in was taken.
    CheckIn(CheckInAnswer),
    /// 403; nothing was changed.
    Refused {
        refusal: Refusal,
        /// The certificate's device, if it has one.
        device: Option<DeviceId>,
    },
    /// A delivery hook must be asked first; nothing was changed.
    Judge(JudgeRequest),
    /// The enrollment hooks must be asked first; nothing was changed.
    Decide {
        /// Whether the engine itself would put the enrollment into quarantine.
        quarantine: bool,
    },
}

/// What is asked of the writer.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Report(Box<ReportJob>),
    CheckIn(Box<CheckInJob>),
}

impl Work {
    fn ask(&self) -> &Ask {
        match self {
            Self::Report(job) => &job.ask,
            Self::CheckIn(job) => &job.ask,
        }
    }
}

struct Job {
    work: Work,
    reply: oneshot::Sender<Result<Answer>>,
}

/// The way in.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the writer; it ends when every handle is gone and all waiting work is done, and then says so.
    ///
    /// It has a thread of its own: among the tasks of the runtime it would wait its turn behind the parsing of requests
    /// each time the database answers, with every device waiting for it.
    ///
    /// # Errors
    /// [`Error::Internal`] when the system gives no thread.
    pub(crate) fn start(shared: Arc<Shared>) -> Result<(Self, oneshot::Receiver<()>)> {
        let (queue, jobs) = mpsc::channel(WAITING);
        let (done, ended) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("batch-writer".into())
            .spawn(move || {
                runtime.block_on(run(shared, jobs));
                // Whoever would wait for it may be gone.
                let _ = done.send(());
            })
            .map_err(|source| Error::internal("starting the batch writer", source))?;
        Ok((Self { queue }, ended))
    }

    /// Hands work in and waits until it is durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too much is waiting, the server is stopping, or the database does not take it.
    pub(crate) async fn submit(&self, work: Work) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        self.queue
            .try_send(Job { work, reply })
            .map_err(|e| Error::Unavailable {
                message: "too many requests are waiting",
                source: Source::from(e.to_string()),
            })?;
        answer.await.map_err(|e| Error::Unavailable {
            message: "the server is stopping",
            source: Source::from(e),
        })?
    }
}

async fn run(shared: Arc<Shared>, mut jobs: mpsc::Receiver<Job>) {
    let mut waiting: VecDeque<Job> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match jobs.recv().await {
                Some(job) => waiting.push_back(job),
                None => return,
            }
        }
        while waiting.len() < WAITING {
            match jobs.try_recv() {
                Ok(job) => waiting.push_back(job),
                Err(_) => break,
            }
        }
        let group = take_group(&mut waiting, shared.group_limit);
        metrics::histogram!("pomona_group_size").record(group.len() as f64);
        commit(&shared, group).await;
    }
}

/// Takes the next group: at most one request of a device and of a certificate; what is passed over keeps its place.
fn take_group(waiting: &mut VecDeque<Job>, limit: usize) -> Vec<Job> {
    let mut devices = HashSet::new();
    let mut certificates = HashSet::new();
    let mut group = Vec::new();
    let mut rest = VecDeque::new();
    while let Some(job) = waiting.pop_front() {
        if group.len() >= limit {
            rest.push_back(job);
            break;
        }
        let ask = job.work.ask();
        let device = (ask.tenant, ask.ident_kind, ask.ident.clone());
        let certificate = (ask.tenant, ask.fingerprint);
        // A device or certificate that was passed over stays closed, so that its requests keep their order.
        let free = devices.insert(device) & certificates.insert(certificate);
        if free {
            group.push(job);
        } else {
            rest.push_back(job);
        }
    }
    rest.append(waiting);
    *waiting = rest;
    group
}

/// Commits a group, or its halves, and answers.
async fn commit(shared: &Shared, group: Vec<Job>) {
    let mut parts = vec![group];
    while let Some(part) = parts.pop() {
        match attempt(shared, &part).await {
            Ok((answers, written, revoked)) => {
                shared.health.good();
                shared.journal_revocations(&revoked).await;
                for (job, answer) in part.into_iter().zip(answers) {
                    // A device that has gone away will ask again.
                    let _ = job.reply.send(Ok(answer));
                }
                shared.announce(written);
            }
            Err(error) if part.len() > 1 && !fault::out_of_reach(&error) => {
                let mut first = part;
                let second = first.split_off(first.len() / 2);
                parts.push(second);
                parts.push(first);
            }
            Err(error) => {
                if fault::out_of_reach(&error) {
                    shared.health.bad(shared.store.clock().now(), &error);
                } else {
                    tracing::error!(error = %error, cause = source_text(&error), "a request could not be written");
                }
                for job in part {
                    let _ = job.reply.send(Err(Error::storage(error.to_string())));
                }
            }
        }
    }
}

/// What a committed group leaves: its answers, its events, and the certificates that it revoked.
type Committed = (Vec<Answer>, Vec<Event>, Vec<Revocation>);

async fn attempt(shared: &Shared, part: &[Job]) -> Result<Committed> {
    let mut tries = 0;
    loop {
        match once(shared, part).await {
            Err(error) if fault::lost_a_race(&error) && tries < RETRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(u64::from(tries) * 2)).await;
            }
            other => return other,
        }
    }
}

async fn once(shared: &Shared, part: &[Job]) -> Result<Committed> {
    for job in part {
        // Unwraps the tenant's keys before the transaction opens; later look-ups find them at hand.
        shared.store.keys(job.work.ask().tenant).await?;
    }
    let mut tx = shared.store.begin_group().await?;
    match within(shared, &mut tx, part).await {
        Ok((done, batch)) => {
            if !shared.store.commit_delay().is_zero() {
                tokio::time::sleep(shared.store.commit_delay()).await;
            }
            tx.finish(batch).await?;
            Ok(done)
        }
        Err(error) => {
            tx.give_up(&error).await;
            Err(error)
        }
    }
}

/// Decides about all of a group; what is left to write stands in the batch.
async fn within(shared: &Shared, tx: &mut Tx, part: &[Job]) -> Result<(Committed, Batch)> {
    let asks: Vec<Ask> = part.iter().map(|job| job.work.ask().clone()).collect();
    let reports: Vec<&ReportJob> = part
        .iter()
        .filter_map(|job| match &job.work {
            Work::Report(report) => Some(report.as_ref()),
            Work::CheckIn(_) => None,
        })
        .collect();
    let reporters: Vec<Ask> = reports.iter().map(|job| job.ask.clone()).collect();
    let (mut heads, found) = hot::lock_and_load(tx, &asks, &reporters).await?;
    let now = shared.store.clock().now();
    let mut out = Aftermath::default();
    let mut batch = Batch::default();
    let mut report_answers = if reports.is_empty() {
        VecDeque::new()
    } else {
        VecDeque::from(reports::run(shared, tx, now, &reports, found, &mut batch, &mut out).await?)
    };
    let mut answers = Vec::with_capacity(part.len());
    for job in part {
        answers.push(match &job.work {
            Work::Report(_) => report_answers.pop_front().unwrap_or(Answer::Empty),
            Work::CheckIn(check_in) => checkins::run(shared, tx, now, check_in, &mut out).await?,
        });
    }
    let written = events::append_to(&mut batch, now, &mut heads, out.events, &shared.hooks);
    Ok(((answers, written, out.revoked), batch))
}
