//! Where others have their say: the engine's hooks as Rust traits.
//!
//! Owns: the traits, the order in which hooks run, their budgets and what happens when one fails. A hook never
//! sees a transaction and never writes: it returns decisions and effects, and the engine commits them. Without
//! hooks nothing is paid: a hook is asked only about commands of which it says that it wants to see their request type.
//!
//! Lifelines are never put before a hook: `CheckOut`, `TokenUpdate`, bootstrap tokens, certificate renewal, the engine's
//! own declarative sync, and commands sent with break-glass. Hooks are told of them afterwards, by events.

mod commands;
mod pages;
mod posture;
mod table;
mod work;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::actor::ActorKind;
use crate::clock::Micros;
use crate::event::{Event, EventKind};
use crate::ids::{DeviceId, EnrollmentId, TenantId};
use crate::inventory::Marks;

pub(crate) use commands::Amendment;
pub use pages::{PageReply, PageRequest, PanelHook, PanelInfo, RouteHook};
#[cfg(test)]
pub(crate) use posture::MAX_ANSWERS;
pub use posture::{
    ComplianceHook, Declaration, DeclarationHook, Finding, Question, Remedy, RuleInfo, RuleVerdict,
    Severity, check_declarations, check_findings,
};
pub use table::HookTable;
pub(crate) use table::{Watching, lost_judge};
pub use work::{JobHook, JobInfo, JobStep};

/// All hooks of one call share this much time; those that judge a command at the same time have it each.
const CHAIN_BUDGET: Duration = Duration::from_millis(400);
/// One call of an enrollment hook.
const ENROLLMENT_BUDGET: Duration = Duration::from_millis(250);
/// One call of a command hook.
const COMMAND_BUDGET: Duration = Duration::from_millis(100);
/// One call of an observer.
pub(crate) const OBSERVER_BUDGET: Duration = Duration::from_secs(5);

/// Why a hook gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HookError {
    /// Trying again may help.
    #[error("retryable: {0}")]
    Retryable(String),
    /// Trying again will not help.
    #[error("{0}")]
    Permanent(String),
    /// It took longer than its budget.
    #[error("it took longer than its budget")]
    Budget,
}

/// Facts that a snapshot carries at most.
pub const MOST_FACTS: u32 = 500;

/// One thing that is known of a device or its user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KnownFact {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Who said so.
    pub source: String,
    /// When it was observed.
    pub observed_at: Micros,
}

/// What a hook is told of a device: small, and frozen at `revision`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceSnapshot {
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The device, unless it is only about to enroll.
    pub device: Option<DeviceId>,
    /// The channel that is concerned.
    pub enrollment: Option<EnrollmentId>,
    /// Empty for the device channel, else the user.
    pub user_key: String,
    /// UDID or EnrollmentID.
    pub ident: String,
    /// It names itself by an EnrollmentID: a user enrollment.
    #[serde(default)]
    pub user_enrollment: bool,
    /// Serial number, where one may be known.
    pub serial_number: Option<String>,
    /// `ProductName`, such as `iPad13,18`.
    pub product_name: Option<String>,
    /// `OSVersion`.
    pub os_version: Option<String>,
    /// What is known besides, by name: the first [`MOST_FACTS`].
    pub facts: Vec<KnownFact>,
    /// The groups it is in, sorted.
    pub groups: Vec<String>,
    /// When it last spoke to the server; 0 if never.
    pub seen_at: Micros,
    /// Raised with every change of the device or its facts.
    pub revision: i64,
    /// What it has told of itself that judging depends on.
    #[serde(default)]
    pub marks: Marks,
}

/// An enrollment that asks to be let in.
#[derive(Clone, Debug)]
pub struct EnrollmentRequest {
    /// The device, as it describes itself.
    pub device: DeviceSnapshot,
    /// Whether the engine itself would put it into quarantine.
    pub quarantine: bool,
    /// The present time.
    pub now: Micros,
}

/// What an enrollment hook says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrollmentDecision {
    /// Let it in.
    Allow,
    /// Let it in, into quarantine, with a reason.
    Hold(String),
    /// Refuse it, with a reason.
    Deny(String),
}

/// Decides about new enrollments. Never asked about a renewal. On error, time-out or absence: into quarantine.
#[async_trait]
pub trait EnrollmentHook: Send + Sync {
    /// Who it is, for logs and events.
    fn name(&self) -> &str;
    /// Decides.
    async fn decide(&self, request: &EnrollmentRequest) -> Result<EnrollmentDecision, HookError>;
}

/// A kind of device and channel, as the catalogue tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceKind {
    /// What decides what it takes.
    pub target: pomona_catalogue::Target,
    /// Whether it is an iPad, which the catalogue counts among the devices with iOS.
    pub ipad: bool,
}

/// Kinds of devices that are told of a command, at most.
pub const MOST_KINDS: usize = 64;

/// A command as a hook sees it.
#[derive(Clone, Debug)]
pub struct CommandDraft {
    /// `RequestType`.
    pub request_type: String,
    /// The `Command` dictionary.
    pub command: plist::Dictionary,
    /// What kind of actor sends it.
    pub actor: ActorKind,
    /// For amending hooks: the kinds of devices that it is for, each once. None where there are more than [`MOST_KINDS`] or one has not
    /// said what it is, and where a hook is asked about one device.
    pub kinds: Option<Vec<DeviceKind>>,
}

/// One change of a command's dictionary.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Sets a key of the `Command` dictionary. `RequestType` cannot be set.
    Set(String, plist::Value),
    /// Removes a key.
    Remove(String),
}

impl Change {
    /// Carries it out and tells which key it changed; none where it was not allowed to. What is not there is removed already.
    pub fn apply(self, command: &mut plist::Dictionary) -> Option<String> {
        let (Self::Set(key, _) | Self::Remove(key)) = &self;
        if key == "RequestType" {
            return None;
        }
        let key = key.clone();
        match self {
            Self::Set(key, value) => drop(command.insert(key, value)),
            Self::Remove(key) => drop(command.remove(&key)),
        }
        Some(key)
    }
}

/// Changes commands as they are queued. On error, time-out or absence: its changes are left out.
#[async_trait]
pub trait CommandAmendHook: Send + Sync {
    /// Who it is, for logs and events.
    fn name(&self) -> &str;
    /// Whether it wants to see commands of this type.
    fn matches(&self, request_type: &str) -> bool;
    /// Returns its changes; asked again with them applied it must return none.
    async fn amend(&self, now: Micros, draft: &CommandDraft) -> Result<Vec<Change>, HookError>;
}

/// When a command is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// While it is queued.
    Enqueue,
    /// Just before it is sent, the first time or again.
    Delivery,
}

/// What a validating hook says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandVerdict {
    /// Go on. True for this device as it is, until this time.
    Allow {
        /// After this time it must be asked again.
        valid_until: Micros,
    },
    /// Do not, with a reason.
    Veto(String),
    /// Not before this time, with a reason.
    Defer(Micros, String),
}

/// Judges commands, while they are queued, and before they are sent when what was said then has run out. On error, time-out or
/// absence: closed for destructive types sent by automation, else open.
#[async_trait]
pub trait CommandValidateHook: Send + Sync {
    /// Who it is, for logs and events.
    fn name(&self) -> &str;
    /// Whether it wants to see commands of this type at this stage.
    fn matches(&self, request_type: &str, stage: Stage) -> bool;
    /// Judges one command for one device at `now`.
    async fn validate(
        &self,
        stage: Stage,
        now: Micros,
        device: &DeviceSnapshot,
        draft: &CommandDraft,
    ) -> Result<CommandVerdict, HookError>;
}

/// What an observer asks the engine to do. Committed together with the observer's progress.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyedEffect {
    /// The effect is done once for this key, however often it is returned.
    pub key: String,
    /// What to do.
    pub effect: Effect,
}

/// Names a channel of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// By its enrollment.
    Enrollment(EnrollmentId),
    /// The one that is enabled for a device, or for a user of it.
    Of {
        /// The device.
        device: DeviceId,
        /// Empty for the device channel.
        user_key: String,
    },
}

/// An effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Queue a command for a channel.
    Enqueue {
        /// The channel.
        channel: Channel,
        /// Not sent after this time.
        not_after: Option<Micros>,
        /// Why, for the timeline; may be empty.
        reason: String,
        /// A `Command` dictionary with its `RequestType`.
        command: plist::Dictionary,
    },
    /// Set a fact of a device, or of one of its users.
    SetFact {
        /// The device.
        device: DeviceId,
        /// Empty for the device itself.
        user_key: String,
        /// The fact's name.
        name: String,
        /// Its value; null takes the fact away.
        value: Value,
    },
    /// Write an event.
    Emit {
        /// The device whose timeline it joins.
        device: DeviceId,
        /// Its topic.
        topic: String,
        /// Its content, without secrets.
        body: Value,
    },
    /// Ring a channel.
    Wake {
        /// The channel.
        channel: Channel,
    },
    /// Keep a value, or forget it.
    Keep {
        /// The number of the form of the values.
        schema: u32,
        /// Bytes of all keys and values of that form, at most.
        quota: usize,
        /// The key.
        key: String,
        /// The value; none: it is forgotten.
        value: Option<Vec<u8>>,
    },
    /// Tell the administrators something.
    Notify {
        /// `info`, `warning` or `urgent`.
        severity: String,
        /// What.
        text: String,
    },
    /// Run a job of the same hook.
    Schedule {
        /// The job.
        job: String,
        /// When.
        at: Micros,
    },
}

/// When and how a hook is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// The present time.
    pub now: Micros,
    /// 1 for the first try of this work, and one more for each repetition.
    pub attempt: u32,
    /// Whether nothing of what is returned will be carried out.
    pub dry_run: bool,
}

/// Watches what happened: at least once, in order per device, after the commit. On error: again later.
#[async_trait]
pub trait EventObserver: Send + Sync {
    /// Who it is; names its place in the outbox, so it must stay the same.
    fn name(&self) -> &str;
    /// The principal that stands as actor on its effects.
    fn principal(&self) -> Option<crate::PrincipalId> {
        None
    }
    /// Whether it wants to see events of this kind.
    fn wants(&self, kind: EventKind) -> bool;
    /// Handles some events of one device.
    async fn on_events(
        &self,
        occasion: Occasion,
        batch: &[Event],
    ) -> Result<Vec<KeyedEffect>, HookError>;
}

/// Answers `GetToken`. Without one the answer is 400.
#[async_trait]
pub trait TokenHook: Send + Sync {
    /// Who it is, for logs and events.
    fn name(&self) -> &str;
    /// Returns the `TokenData` of this `TokenServiceType`, or none to let the next hook answer.
    async fn token(
        &self,
        device: &DeviceSnapshot,
        service: &str,
    ) -> Result<Option<Vec<u8>>, HookError>;
}

/// All hooks, in the order in which they run.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Decide about enrollments.
    pub enrollment: Vec<Arc<dyn EnrollmentHook>>,
    /// Change commands.
    pub amend: Vec<Arc<dyn CommandAmendHook>>,
    /// Judge commands.
    pub validate: Vec<Arc<dyn CommandValidateHook>>,
    /// Watch events.
    pub observers: Vec<Arc<dyn EventObserver>>,
    /// Answer `GetToken`.
    pub tokens: Vec<Arc<dyn TokenHook>>,
    /// Measure devices.
    pub compliance: Vec<Arc<dyn ComplianceHook>>,
    /// Say which declarations devices should have.
    pub declarations: Vec<Arc<dyn DeclarationHook>>,
    /// Work in the background.
    pub jobs: Vec<Arc<dyn JobHook>>,
    /// Answer requests.
    pub routes: Vec<Arc<dyn RouteHook>>,
    /// Show panels.
    pub panels: Vec<Arc<dyn PanelHook>>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks")
            .field("enrollment", &self.enrollment.len())
            .field("amend", &self.amend.len())
            .field("validate", &self.validate.len())
            .field("observers", &self.observers.len())
            .field("tokens", &self.tokens.len())
            .field("compliance", &self.compliance.len())
            .field("declarations", &self.declarations.len())
            .field("jobs", &self.jobs.len())
            .field("routes", &self.routes.len())
            .field("panels", &self.panels.len())
            .finish()
    }
}

/// Commands that an automation does not send while a hook that judges them gives no answer.
pub(crate) fn fails_closed(request_type: &str) -> bool {
    matches!(
        request_type,
        "EraseDevice"
            | "DeviceLock"
            | "RestartDevice"
            | "ShutDownDevice"
            | "RemoveProfile"
            | "ClearPasscode"
    )
}

/// How long a verdict of "nobody objects" may be relied on when a hook could not be asked.
const UNASKED_VALID: Micros = 60 * crate::clock::SECOND;

impl Hooks {
    pub(crate) fn decides_enrollment(&self) -> bool {
        !self.enrollment.is_empty()
    }

    /// Whether a delivery hook wants to see commands of this type.
    pub(crate) fn judges(&self, request_type: &str) -> bool {
        self.validate
            .iter()
            .any(|hook| hook.matches(request_type, Stage::Delivery))
    }

    /// Whether every delivery hook for commands of this type is asked while they are queued already, so that what they say then
    /// can hold for the delivery.
    pub(crate) fn judges_early(&self, request_type: &str) -> bool {
        self.validate.iter().all(|hook| {
            hook.matches(request_type, Stage::Enqueue)
                || !hook.matches(request_type, Stage::Delivery)
        })
    }

    /// These hooks, and others after them.
    fn followed_by(&self, other: Self) -> Self {
        let mut all = self.clone();
        all.extend(other);
        all
    }

    /// Takes up others after these.
    pub fn extend(&mut self, other: Self) {
        self.enrollment.extend(other.enrollment);
        self.amend.extend(other.amend);
        self.validate.extend(other.validate);
        self.observers.extend(other.observers);
        self.tokens.extend(other.tokens);
        self.compliance.extend(other.compliance);
        self.declarations.extend(other.declarations);
        self.jobs.extend(other.jobs);
        self.routes.extend(other.routes);
        self.panels.extend(other.panels);
    }

    /// Asks every enrollment hook; the strictest answer holds.
    pub(crate) async fn decide(&self, request: &EnrollmentRequest) -> EnrollmentDecision {
        let mut decision = EnrollmentDecision::Allow;
        let mut budget = Budget::new();
        for hook in &self.enrollment {
            let answer = budget
                .run(ENROLLMENT_BUDGET, hook.decide(request))
                .await
                .unwrap_or_else(|error| {
                    failed("enrollment", hook.name(), &error);
                    EnrollmentDecision::Hold("could not be asked".into())
                });
            let named = |reason: String| format!("{}: {reason}", hook.name());
            match answer {
                EnrollmentDecision::Deny(reason) => return EnrollmentDecision::Deny(named(reason)),
                // Of several reasons the first one is told.
                EnrollmentDecision::Hold(reason) if decision == EnrollmentDecision::Allow => {
                    decision = EnrollmentDecision::Hold(named(reason));
                }
                EnrollmentDecision::Hold(_) | EnrollmentDecision::Allow => {}
            }
        }
        decision
    }
}

/// What is left of the time for a chain of hooks.
struct Budget {
    left: Duration,
}

impl Budget {
    fn new() -> Self {
        Self { left: CHAIN_BUDGET }
    }

    async fn run<T>(
        &mut self,
        own: Duration,
        call: impl Future<Output = Result<T, HookError>>,
    ) -> Result<T, HookError> {
        let limit = own.min(self.left);
        if limit.is_zero() {
            return Err(HookError::Budget);
        }
        let begin = tokio::time::Instant::now();
        let result = tokio::time::timeout(limit, call).await;
        self.left = self.left.saturating_sub(begin.elapsed());
        result.unwrap_or(Err(HookError::Budget))
    }
}

fn failed(hook: &'static str, name: &str, error: &HookError) {
    metrics::counter!("pomona_hook_failures_total", "hook" => hook).increment(1);
    tracing::warn!(hook, hook.name = name, error = %error, "a hook gave no answer; its failure policy holds");
}
