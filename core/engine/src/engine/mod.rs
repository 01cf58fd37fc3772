//! The engine: what the HTTP layer, plugins and the server call.
//!
//! Owns: the one handle through which state is changed, and the background work that keeps promises (expiry, renewal,
//! observers, push). Knows no HTTP. In the flow: `http` -> here -> the batch writer -> `store`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::admin::plugin_host::PluginHost;
use crate::clock::{DAY, HOUR, Micros};
use crate::error::Result;
use crate::event::Event;
use crate::hooks::HookTable;
use crate::identity::journal::Journal;
use crate::identity::{Issuer, IssuerOptions};
use crate::ids::{DeviceId, EnrollmentId, TenantId};
use crate::push::{ApnsTransport, PushOptions, Pusher, PusherHandle};
use crate::store::Store;
use crate::writer::{AllowedUntil, RecentRefusals, Shared, Writer};

mod assess;
mod background;
mod commands;
mod device;
mod effects;
mod enrollments;
mod holds;
mod jobs;
mod look;
mod observe;
mod pages;
mod rounds;
mod upkeep;

pub(crate) use assess::Answer;
pub use commands::{
    Approved, Cancelled, ChannelPreflight, CommandBody, Enqueue, Enqueued, PreflightFinding,
    TargetResult,
};
pub use device::{DeviceReply, Identity};
pub use effects::Difference;

/// What a `UserAuthenticate` is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserAuthenticatePolicy {
    /// 410: this user is not managed.
    #[default]
    Decline,
    /// An empty digest challenge, then 200: the user is managed without a password check.
    Digest,
}

/// How the engine behaves.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where devices reach this server, such as `https://mdm.example.org`. Goes into profiles for ever.
    pub public_url: Url,
    /// Whether profiles ask devices to sign their messages (`Mdm-Signature`) instead of relying on TLS.
    pub sign_message: bool,
    /// A device that was silent for this long counts as gone, so that it can enroll anew without a release.
    pub silence: Micros,
    /// An `Authenticate` whose `TokenUpdate` does not follow within this time is forgotten.
    pub pending_timeout: Micros,
    /// After so many unanswered sendings a command without an end is set aside.
    pub max_sendings: u32,
    /// Requests in one commit, at most.
    pub group_limit: usize,
    /// How `UserAuthenticate` is answered.
    pub user_authenticate: UserAuthenticatePolicy,
    /// The revocation journal.
    pub journal_path: PathBuf,
    /// How often background work looks for itself when nobody wakes it.
    pub poll_interval: Duration,
    /// How often channels are looked for on which profiles are to be kept up.
    pub upkeep_interval: Duration,
    /// How often devices are asked what they are; never when absent.
    pub inventory_every: Option<Micros>,
    /// How push behaves.
    pub push: PushOptions,
    /// Certificates that devices must trust to reach this server, DER; they go into enrollment profiles.
    pub trust_anchors: Vec<Vec<u8>>,
}

impl EngineOptions {
    /// Defaults for a server reached at `public_url`, with its journal at `journal_path`.
    pub fn new(public_url: Url, journal_path: PathBuf) -> Self {
        Self {
            public_url,
            sign_message: false,
            silence: 90 * DAY,
            pending_timeout: 24 * HOUR,
            max_sendings: 30,
            group_limit: 256,
            user_authenticate: UserAuthenticatePolicy::default(),
            journal_path,
            poll_interval: Duration::from_secs(5),
            upkeep_interval: Duration::from_secs(1),
            inventory_every: None,
            push: PushOptions::default(),
            trust_anchors: Vec::new(),
        }
    }
}

/// The running engine. Clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Option<Writer>>,
    options: EngineOptions,
    pusher: PusherHandle,
    issuer: Issuer,
    cancel: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    writer_ended: Mutex<Option<tokio::sync::oneshot::Receiver<()>>>,
    plugins: OnceLock<Arc<dyn PluginHost>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// How the engine is doing, for readiness.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Since when the database takes no writes, if it does not.
    pub writes_failing_since: Option<Micros>,
}

impl Engine {
    /// Starts the batch writer, the pusher and the background work.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the journal or the database cannot be read.
    pub async fn start(
        store: Store,
        options: EngineOptions,
        hooks: impl Into<HookTable>,
        transport: Arc<dyn ApnsTransport>,
    ) -> Result<Self> {
        let hooks: HookTable = hooks.into();
        // A clock that was set back while the server was down cannot revive what had expired (Q11).
        store.clock().raise(store.newest_time().await?);
        let journal = Journal::open(&options.journal_path)?;
        // After a restore the database may know of fewer revocations than the journal, after a crash of more (E7).
        crate::identity::reconcile(&store, &journal).await?;
        let (events, _) = broadcast::channel(4_096);
        let cancel = CancellationToken::new();
        let announced = events.clone();
        let pusher = Pusher::start(
            store.clone(),
            transport,
            PushOptions {
                readers: hooks.clone(),
                ..options.push.clone()
            },
            move |written: Vec<Event>| {
                for event in written {
                    // Nobody listening is not an error.
                    let _ = announced.send(Arc::new(event));
                }
            },
            cancel.clone(),
        );
        let issuer_events = events.clone();
        let issuer = Issuer::new(
            store.clone(),
            journal.clone(),
            IssuerOptions {
                sign_message: options.sign_message,
                trust_anchors: options.trust_anchors.clone(),
                readers: hooks.clone(),
                announce: Arc::new(move |written: Vec<Event>| {
                    for event in written {
                        // Nobody listening is not an error.
                        let _ = issuer_events.send(Arc::new(event));
                    }
                }),
                ..IssuerOptions::new(options.public_url.clone())
            },
        );
        let wake = pusher.clone();
        let shared = Arc::new(Shared {
            bodies: moka::sync::Cache::builder()
                .max_capacity(64 << 20)
                .weigher(|_, body: &bytes::Bytes| {
                    u32::try_from(body.len() + 128).unwrap_or(u32::MAX)
                })
                .build(),
            store,
            hooks,
            journal,
            events,
            max_sendings: i64::from(options.max_sendings),
            group_limit: options.group_limit.max(1),
            silence: options.silence,
            health: Default::default(),
            wake_push: Box::new(move || wake.wake()),
            wake_observers: watch::channel(0).0,
            expired: Mutex::default(),
            refusals: RecentRefusals::default(),
            allowed: AllowedUntil::default(),
        });
        let (writer, writer_ended) = Writer::start(shared.clone())?;
        let engine = Self(Arc::new(Inner {
            shared,
            writer: Mutex::new(Some(writer)),
            options,
            pusher,
            issuer,
            cancel,
            tasks: Mutex::default(),
            writer_ended: Mutex::new(Some(writer_ended)),
            plugins: OnceLock::new(),
        }));
        engine.start_background();
        Ok(engine)
    }

    /// Stops: no new work is taken, what was taken is finished, background work ends.
    pub async fn stop(&self) {
        self.0.cancel.cancel();
        drop(self.0.writer.lock().take());
        let writer = self.0.writer_ended.lock().take();
        if let Some(ended) = writer {
            // It ends by itself when the last handle is gone.
            let _ = ended.await;
        }
        let tasks: Vec<_> = self.0.tasks.lock().drain(..).collect();
        for task in tasks {
            let _ = task.await;
        }
        self.0.pusher.stopped().await;
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.shared.store
    }

    /// How this engine was started.
    pub fn options(&self) -> &EngineOptions {
        &self.0.options
    }

    /// The hooks in force.
    pub fn hooks(&self) -> &HookTable {
        &self.0.shared.hooks
    }

    /// Lets `host` run plugins; the first one stays.
    pub fn attach_plugins(&self, host: Arc<dyn PluginHost>) {
        // A second host would be a mistake of the program, and changes nothing.
        let _ = self.0.plugins.set(host);
    }

    /// What runs plugins, if anything does.
    pub(crate) fn plugin_host(&self) -> Option<&dyn PluginHost> {
        self.0.plugins.get().map(AsRef::as_ref)
    }

    /// What issues certificates and makes profiles.
    pub fn issuer(&self) -> &Issuer {
        &self.0.issuer
    }

    /// The pusher.
    pub fn push(&self) -> &PusherHandle {
        &self.0.pusher
    }

    /// Everything that happens from now on, after its commit, in all tenants; a reader filters by tenant. A reader
    /// that is too slow misses some and is told so; the events in the database are complete.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.shared.events.subscribe()
    }

    /// Tells listeners of events that another part of the engine has committed.
    pub fn announce(&self, events: Vec<Event>) {
        self.0.shared.announce(events);
    }

    /// How the engine is doing.
    pub fn condition(&self) -> Condition {
        Condition {
            writes_failing_since: self.0.shared.health.failing_since(),
        }
    }

    /// The enabled device channel of a device, if it has one.
    pub(crate) async fn device_channel(
        &self,
        tenant: TenantId,
        device: DeviceId,
    ) -> Result<Option<EnrollmentId>> {
        let mut tx = self.store().begin_read().await?;
        let found = crate::store::queue::enabled_channel(&mut tx, tenant, device, "").await?;
        tx.rollback().await?;
        Ok(found)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    fn now(&self) -> Micros {
        self.0.shared.store.clock().now()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.lock().push(tokio::spawn(task));
    }
}
