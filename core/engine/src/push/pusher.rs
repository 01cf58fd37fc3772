//! The worker that rings every channel that is due.
//!
//! Owns: the loop (a signal, a timer, rounds), and what it tells of itself. What one round does is in `round`.
//! Reads and writes nothing but rows: a process that dies in the middle leaves channels that are still due, under a
//! lease of seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lines::{Lines, TopicStatus};
use super::transport::ApnsTransport;
use crate::clock::Micros;
use crate::error::Result;
use crate::event::Event;
use crate::hooks::HookTable;
use crate::ids::TenantId;
use crate::store::Store;
use crate::store::push::Rung;

/// How fast and how often devices are woken.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// Pushes a second for each tenant, 1 and more. What matters is what the server can bear when the devices come.
    pub per_second: u32,
    /// How many of them may go at once after a quiet time, 1 and more.
    pub burst: u32,
    /// Pushes under way for each topic, 1 and more.
    pub in_flight: usize,
    /// For how long an accepted push also stands for what is queued after it.
    pub coalesce: Duration,
    /// How long APNs keeps a push for a device that it cannot reach.
    pub expiration: Duration,
    /// How often the table is looked at when no signal comes.
    pub poll: Duration,
    /// Who must handle each event that is written (`store::events`).
    pub readers: HookTable,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            per_second: 500,
            burst: 250,
            in_flight: 512,
            coalesce: Duration::from_secs(10),
            expiration: Duration::from_secs(7 * 86_400),
            poll: Duration::from_secs(1),
            readers: HookTable::default(),
        }
    }
}

/// How it stands with pushing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PusherStatus {
    /// Since when APNs has not been reachable for some topic; none: all is well.
    pub outage_since: Option<Micros>,
    /// Channels that were due and could be rung at the last look.
    pub due: u64,
    /// Each topic with its certificate.
    pub topics: Vec<TopicStatus>,
}

/// The shortest time between two rounds while channels wait for the pace or for room.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(100);
/// The shortest time between two looks at the whole table, however short a look is.
pub(super) const BETWEEN_CENSUSES: Duration = Duration::from_millis(10);
/// Results that are written in one transaction at most.
const GROUP: usize = 256;

pub(super) type Announce = Box<dyn Fn(Vec<Event>) + Send + Sync>;

/// Rings every channel that is due.
pub struct Pusher {
    pub(super) store: Store,
    pub(super) transport: Arc<dyn ApnsTransport>,
    pub(super) options: PushOptions,
    pub(super) announce: Announce,
    pub(super) lines: Mutex<Lines>,
    pub(super) agenda: Mutex<Agenda>,
    pub(super) due: AtomicU64,
    wake: Notify,
}

/// What was found at the last look, so that not every round looks again.
#[derive(Default)]
pub(super) struct Agenda {
    /// Channels due by tenant, less those claimed since.
    pub(super) backlog: BTreeMap<TenantId, u64>,
    pub(super) next_census: Option<tokio::time::Instant>,
    /// The last round did without a look that it wanted.
    pub(super) census_owed: bool,
    /// When refusals under former certificates are looked for, until when.
    pub(super) forget_at: Micros,
    pub(super) forget_until: Micros,
    pub(super) warn_at: Micros,
    /// The database failed at the last round; logged once.
    storage_out: bool,
}

impl std::fmt::Debug for Pusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pusher")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A running [`Pusher`].
#[derive(Clone, Debug)]
pub struct PusherHandle {
    pusher: Arc<Pusher>,
    task: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
}

impl PusherHandle {
    /// Something became due: rings it now instead of at the next look.
    pub fn wake(&self) {
        self.pusher.wake.notify_one();
    }

    /// Tells whether devices are answered in time; the pace halves when not and grows back slowly.
    pub fn pressure(&self, in_time: bool) {
        self.pusher.lines.lock().pressure(in_time);
    }

    /// How it stands with pushing.
    pub fn status(&self) -> PusherStatus {
        self.pusher.status()
    }

    /// Waits until the worker has ended, after its token was cancelled: pushes under way are answered or time
    /// out, and what became of them is written.
    pub async fn stopped(&self) {
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the pusher ended badly");
        }
    }
}

impl Pusher {
    /// A pusher that does not run yet. `announce` is handed the events that were written, after the commit.
    pub fn new(
        store: Store,
        transport: Arc<dyn ApnsTransport>,
        options: PushOptions,
        announce: impl Fn(Vec<Event>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            store,
            transport,
            options,
            announce: Box::new(announce),
            lines: Mutex::default(),
            agenda: Mutex::default(),
            due: AtomicU64::new(0),
            wake: Notify::new(),
        }
    }

    /// Starts the worker on the present runtime; it ends when `cancel` is cancelled.
    pub fn start(
        store: Store,
        transport: Arc<dyn ApnsTransport>,
        options: PushOptions,
        announce: impl Fn(Vec<Event>) + Send + Sync + 'static,
        cancel: CancellationToken,
    ) -> PusherHandle {
        let pusher = Arc::new(Self::new(store, transport, options, announce));
        let task = tokio::spawn(pusher.clone().run(cancel));
        PusherHandle {
            pusher,
            task: Arc::new(tokio::sync::Mutex::new(Some(task))),
        }
    }

    /// One round, to its end: rings what is due and may be rung, writes what became of it, and says how many
    /// channels were rung.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) when the database does not answer.
    pub async fn run_once(&self) -> Result<usize> {
        self.agenda.lock().next_census = None;
        let rings = self.claim().await?;
        let rung: Vec<Rung> = join_all(rings.into_iter().map(|ring| self.ring(ring))).await;
        let count = rung.len();
        self.write(rung).await?;
        Ok(count)
    }

    /// How it stands with pushing.
    pub fn status(&self) -> PusherStatus {
        let topics = self.lines.lock().status();
        PusherStatus {
            outage_since: topics.iter().filter_map(|topic| topic.outage_since).min(),
            due: self.due.load(Ordering::Relaxed),
            topics,
        }
    }

    async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let (results, written) = mpsc::channel(GROUP);
        let recorder = tokio::spawn(self.clone().write_all(written));
        let rings = TaskTracker::new();
        while !cancel.is_cancelled() {
            match self.claim().await {
                Ok(claimed) => {
                    self.storage_is(true, None);
                    for ring in claimed {
                        let (pusher, results) = (self.clone(), results.clone());
                        rings.spawn(async move {
                            let rung = pusher.ring(ring).await;
                            // The recorder ends after the last sender.
                            let _ = results.send(rung).await;
                        });
                    }
                }
                Err(error) => self.storage_is(false, Some(&error)),
            }
            let pause = self.pause();
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        drop(results);
        rings.close();
        rings.wait().await;
        if let Err(error) = recorder.await {
            tracing::error!(%error, "the recorder of pushes ended badly");
        }
    }

    /// Writes results in groups: what came while the last group was being written is the next one.
    async fn write_all(self: Arc<Self>, mut results: mpsc::Receiver<Rung>) {
        let mut group = Vec::new();
        while results.recv_many(&mut group, GROUP).await > 0 {
            if let Err(error) = self.write(std::mem::take(&mut group)).await {
                // The channels are still due and are rung again when their lease has ended.
                self.storage_is(false, Some(&error));
            }
        }
    }

    fn storage_is(&self, good: bool, error: Option<&crate::Error>) {
        let mut agenda = self.agenda.lock();
        if agenda.storage_out == good {
            agenda.storage_out = !good;
            match error {
                Some(error) => tracing::warn!(
                    error = %error, source = ?std::error::Error::source(error),
                    "the pusher cannot reach the database and keeps trying"
                ),
                None => tracing::info!("the pusher reaches the database again"),
            }
        }
    }

    /// How long to sleep, if no signal comes.
    fn pause(&self) -> Duration {
        let now = self.store.clock().now();
        let lines = self.lines.lock();
        let agenda = self.agenda.lock();
        if lines.want(&agenda.backlog) {
            return BETWEEN_ROUNDS;
        }
        let until = |at: Micros| Duration::from_micros(u64::try_from(at - now).unwrap_or(0));
        let next_try = lines
            .next_try()
            .map(|at| until(at).max(BETWEEN_ROUNDS))
            .unwrap_or(self.options.poll);
        let owed = if agenda.census_owed {
            BETWEEN_CENSUSES
        } else {
            self.options.poll
        };
        next_try.min(owed).min(self.options.poll)
    }
}
