//! Two versions of a plugin that are asked the same: the active one, and one on trial.
//!
//! Owns: whose answer counts, and that the other version's is compared with it. In shadow the active version decides, in its
//! own time; the one on trial is asked afterwards, beside the places of the others, and nothing of what it returns is carried
//! out. As a canary the version on trial decides about some devices; where it gives no answer the active one's counts.
//! Stores nothing: what was compared goes to a [`Ledger`], which never lets anybody wait.

mod account;
mod commands;
mod compare;
mod posture;
mod share;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use pomona_engine::clock::Micros;
use pomona_engine::hooks::{DeviceSnapshot, HookError, Hooks};
use pomona_engine::{DeviceId, TrialCount, TrialDifference, TrialMode};
use tokio::sync::Semaphore;

pub use share::in_share;

use crate::enabled::Enabled;
use crate::limits::Budget;
use crate::manifest::HookName;
use account::{Waiting, left_out, note};
use posture::Rules;

/// Comparisons of one pair at the same time. What finds no room is left out, and counted.
const AT_A_TIME: usize = 4;

/// Takes down what was compared.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Adds to what was counted of a hook, and keeps a difference. Never waits.
    fn note(&self, hook: HookName, count: TrialCount, difference: Option<TrialDifference>);
    /// How a device names itself, and the groups it is in; none when that cannot be said.
    async fn place(&self, device: DeviceId) -> Option<(String, Vec<String>)>;
}

/// The active version of a plugin in a tenant, and one on trial beside it.
pub struct Pair {
    active: Arc<Enabled>,
    /// The active version, asked for nothing but the comparison.
    active_aside: Arc<Enabled>,
    trial: Arc<Enabled>,
    /// The version on trial, asked for nothing but the comparison.
    trial_aside: Arc<Enabled>,
    /// Why the version on trial is not asked, if so.
    failure: Option<String>,
    mode: TrialMode,
    stamp: String,
    room: Arc<Semaphore>,
    rules: Rules,
    ledger: Arc<dyn Ledger>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("active", &self.active)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// What is asked, as far as it matters for whose answer counts and for the comparison.
#[derive(Clone, Debug)]
struct Asked {
    hook: HookName,
    now: Micros,
    /// The device's id, or how it names itself; empty: no device.
    device: String,
    about: String,
    /// Whether the version on trial decides.
    by_trial: bool,
}

/// An answer with the time that it took.
struct Timed<T> {
    answer: Result<T, HookError>,
    took: Duration,
}

/// How two answers differ: what the active version said, and the one on trial; nothing where they are the same.
type Differ<T> = fn(&T, &T) -> Option<(String, String)>;

async fn timed<T>(asking: impl Future<Output = Result<T, HookError>>) -> Timed<T> {
    let begun = Instant::now();
    let answer = asking.await;
    Timed {
        answer,
        took: begun.elapsed(),
    }
}

impl Pair {
    /// Puts `trial` beside `active`, of the same plugin in the same tenant. With a `failure` it is not asked.
    #[must_use]
    pub fn new(
        active: Arc<Enabled>,
        trial: &Enabled,
        failure: Option<String>,
        mode: TrialMode,
        ledger: Arc<dyn Ledger>,
    ) -> Self {
        let trial = trial.marked("@trial");
        let mut context = Context::new(&SHA256);
        for part in [&active.stamp, &trial.stamp, &format!("{mode:?}")] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        Self {
            active_aside: Arc::new(active.marked("@aside").aside().accounted_apart()),
            active,
            failure: failure.or_else(|| trial.failure()),
            trial_aside: Arc::new(trial.aside()),
            trial: Arc::new(trial),
            mode,
            // Not what became of loading it: all nodes must name the pair alike.
            stamp: hex::encode(context.finish()),
            room: Arc::new(Semaphore::new(AT_A_TIME)),
            rules: Rules::default(),
            ledger,
        }
    }

    /// The version on trial.
    #[must_use]
    pub fn trial(&self) -> &Enabled {
        &self.trial
    }

    /// The active version that stands in it.
    #[must_use]
    pub fn active(&self) -> &Arc<Enabled> {
        &self.active
    }

    /// Both versions as they are asked for nothing but the comparison.
    #[cfg(test)]
    pub(crate) fn only_compared(&self) -> [&Enabled; 2] {
        [&self.active_aside, &self.trial_aside]
    }

    /// Why the version on trial is not asked, if so.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The hooks of the pair, for the engine's table: those of the active version, and of the one on trial those that leave
    /// nothing behind when the trial ends. Pages and panels are the active version's alone.
    #[must_use]
    pub fn hooks(self: &Arc<Self>) -> Hooks {
        let mut hooks = Hooks::default();
        let passing = [
            HookName::Enrollment,
            HookName::CommandAmend,
            HookName::CommandValidate,
        ];
        let added = (passing.into_iter()).filter(|hook| self.is_run() && self.trial.has(*hook));
        let all: BTreeSet<HookName> = self
            .active
            .matching()
            .keys()
            .copied()
            .chain(added)
            .collect();
        for hook in all {
            match hook {
                HookName::Enrollment => hooks.enrollment.push(self.clone()),
                HookName::CommandAmend => hooks.amend.push(self.clone()),
                HookName::CommandValidate => hooks.validate.push(self.clone()),
                HookName::Events => hooks.observers.push(self.clone()),
                HookName::Compliance => hooks.compliance.push(self.clone()),
                HookName::Declarations => hooks.declarations.push(self.clone()),
                HookName::Jobs => hooks.jobs.push(self.clone()),
                HookName::Routes => hooks.routes.push(self.active.clone()),
                HookName::Panels => hooks.panels.push(self.active.clone()),
            }
        }
        hooks
    }

    fn is_run(&self) -> bool {
        self.failure.is_none()
    }

    /// Both versions that are asked; the active one alone while the one on trial is not run.
    fn either(&self, asks: impl Fn(&Enabled) -> bool) -> bool {
        asks(&self.active) || (self.is_run() && asks(&self.trial))
    }

    /// Whether the version on trial decides about a device that names itself so and is in these groups.
    fn takes(&self, ident: &str, groups: &[String]) -> bool {
        match &self.mode {
            TrialMode::Shadow => false,
            TrialMode::Share(share) => in_share(self.active.id(), ident, *share),
            TrialMode::Group(group) => groups.contains(group),
        }
    }

    fn asked(&self, hook: HookName, now: Micros, device: &DeviceSnapshot, about: &str) -> Asked {
        let id = device.device.map(|id| id.to_string());
        Asked {
            hook,
            now,
            device: id.unwrap_or_else(|| device.ident.clone()),
            about: about.to_owned(),
            by_trial: self.takes(&device.ident, &device.groups),
        }
    }

    /// Asks for a decision: the answer that counts, and whether the version on trial gave it. `ask` makes the call of a
    /// version.
    async fn decide<T, F>(
        &self,
        asked: Asked,
        ask: impl Fn(Arc<Enabled>) -> F,
        differ: Differ<T>,
    ) -> (Result<T, HookError>, bool)
    where
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Result<T, HookError>> + Send + 'static,
    {
        if !self.is_run() {
            return (ask(self.active.clone()).await, false);
        }
        if asked.by_trial {
            return self.decide_by_trial(asked, ask, differ).await;
        }
        let mut waiting = self.waiting(asked.hook);
        let active = timed(ask(self.active.clone())).await;
        waiting.over();
        let answer = active.answer.clone();
        self.compare_later(asked, active, ask(self.trial_aside.clone()), differ);
        (answer, false)
    }

    /// Both are asked at the same time. The one on trial has half of the hook's time, so that the other's answer, which is there
    /// by then, is still of use to a caller.
    async fn decide_by_trial<T, F>(
        &self,
        asked: Asked,
        ask: impl Fn(Arc<Enabled>) -> F,
        differ: Differ<T>,
    ) -> (Result<T, HookError>, bool)
    where
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Result<T, HookError>> + Send + 'static,
    {
        let mut waiting = self.waiting(asked.hook);
        let active = tokio::spawn(timed(ask(self.active.clone())));
        waiting.for_trial();
        let patience = Budget::of(asked.hook).wall / 2;
        let asking = tokio::time::timeout(patience, ask(self.trial.clone()));
        let trial = timed(async { asking.await.unwrap_or(Err(HookError::Budget)) }).await;
        let gone = |_| Timed {
            answer: Err(HookError::Retryable("it ended before its answer".into())),
            took: Duration::ZERO,
        };
        let ledger = self.ledger.clone();
        if trial.answer.is_ok() {
            waiting.over();
            let answer = trial.answer.clone();
            tokio::spawn(async move {
                let active = active.await.unwrap_or_else(gone);
                note(&*ledger, asked, &active, &trial, differ);
            });
            return (answer, true);
        }
        waiting.for_active();
        let active = active.await.unwrap_or_else(gone);
        waiting.over();
        note(&*ledger, asked, &active, &trial, differ);
        (active.answer, false)
    }

    /// Asks the version that does not decide, when there is room, and compares.
    fn compare_later<T, F>(&self, asked: Asked, decided: Timed<T>, other: F, differ: Differ<T>)
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T, HookError>> + Send + 'static,
    {
        let own = self.room.clone().try_acquire_owned().ok();
        let Some(places) = own.zip(self.trial.beside()) else {
            let (count, hook) = (left_out(&asked, &decided), asked.hook);
            self.ledger.note(hook, count, None);
            return;
        };
        let ledger = self.ledger.clone();
        tokio::spawn(async move {
            let other = timed(other).await;
            drop(places);
            match asked.by_trial {
                true => note(&*ledger, asked, &other, &decided, differ),
                false => note(&*ledger, asked, &decided, &other, differ),
            }
        });
    }

    fn waiting(&self, hook: HookName) -> Waiting<'_> {
        Waiting::of(&*self.ledger, hook)
    }
}
