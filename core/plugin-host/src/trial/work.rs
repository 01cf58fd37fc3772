//! Hooks whose answers are effects, asked of a pair: events and jobs.
//!
//! Owns: that the effects of one version alone are carried out, whose call is a real one; the other's is a dry run, from which
//! nothing leaves. Jobs are nobody's device, so there the active version always works.

use std::sync::Arc;

use async_trait::async_trait;
use pomona_engine::hooks::{
    EventObserver, HookError, JobHook, JobInfo, JobStep, KeyedEffect, Occasion,
};
use pomona_engine::{Event, EventKind, PrincipalId, TrialMode};

use super::account::note;
use super::{Asked, Pair, Timed, compare, timed};
use crate::enabled::Enabled;
use crate::manifest::HookName;

impl Pair {
    async fn takes_events_of(&self, batch: &[Event]) -> bool {
        let Some(first) = batch.first() else {
            return false;
        };
        if self.mode == TrialMode::Shadow || !self.is_run() {
            return false;
        }
        let place = self.ledger.place(first.device_id).await;
        place.is_some_and(|(ident, groups)| self.takes(&ident, &groups))
    }
}

/// Hands a version the events that it wants to see; one without the hook does nothing.
async fn heard(
    version: Arc<Enabled>,
    occasion: Occasion,
    batch: Arc<Vec<Event>>,
) -> Result<Vec<KeyedEffect>, HookError> {
    let wanted: Vec<Event> = (batch.iter())
        .filter(|event| version.has(HookName::Events) && version.wants(event.kind))
        .cloned()
        .collect();
    match wanted.is_empty() {
        true => Ok(Vec::new()),
        false => version.on_events(occasion, &wanted).await,
    }
}

#[async_trait]
impl EventObserver for Pair {
    fn name(&self) -> &str {
        self.active.id()
    }

    fn principal(&self) -> Option<PrincipalId> {
        EventObserver::principal(&*self.active)
    }

    fn wants(&self, kind: EventKind) -> bool {
        self.either(|version| version.has(HookName::Events) && version.wants(kind))
    }

    async fn on_events(
        &self,
        occasion: Occasion,
        batch: &[Event],
    ) -> Result<Vec<KeyedEffect>, HookError> {
        let batch = Arc::new(batch.to_vec());
        // What it could not do at the first time, or what could not be carried out, is the active version's afterwards.
        let by_trial = occasion.attempt == 1 && self.takes_events_of(&batch).await;
        let own = EventObserver::principal(self).map(|id| id.0);
        let news = batch.iter().any(|event| event.actor_id != own);
        if occasion.dry_run || !self.is_run() || !news {
            let version = if by_trial { &self.trial } else { &self.active };
            return heard(version.clone(), occasion, batch).await;
        }
        let first = batch.first();
        let asked = Asked {
            hook: HookName::Events,
            now: occasion.now,
            device: first.map_or_else(String::new, |event| event.device_id.to_string()),
            about: first.map_or_else(String::new, |event| event.kind.as_str().to_owned()),
            by_trial,
        };
        let dry = Occasion {
            dry_run: true,
            ..occasion
        };
        let mut waiting = self.waiting(asked.hook);
        if by_trial {
            waiting.for_trial();
            let trial = timed(heard(self.trial.clone(), occasion, batch.clone())).await;
            if let Ok(effects) = &trial.answer {
                waiting.over();
                let effects = effects.clone();
                let other = heard(self.active_aside.clone(), dry, batch);
                self.compare_later(asked, trial, other, |one, other| {
                    compare::effects(one, other)
                });
                return Ok(effects);
            }
            waiting.for_active();
            let active = timed(heard(self.active.clone(), occasion, batch)).await;
            waiting.over();
            note(&*self.ledger, asked, &active, &trial, |one, other| {
                compare::effects(one, other)
            });
            return active.answer;
        }
        let active = timed(heard(self.active.clone(), occasion, batch.clone())).await;
        waiting.over();
        let answer = active.answer.clone();
        let other = heard(self.trial_aside.clone(), dry, batch);
        self.compare_later(asked, active, other, |one, other| {
            compare::effects(one, other)
        });
        answer
    }
}

#[async_trait]
impl JobHook for Pair {
    fn name(&self) -> &str {
        self.active.id()
    }

    fn principal(&self) -> Option<PrincipalId> {
        JobHook::principal(&*self.active)
    }

    fn jobs(&self) -> Vec<JobInfo> {
        self.active.jobs()
    }

    async fn run(
        &self,
        occasion: Occasion,
        job: &str,
        cursor: Option<&str>,
    ) -> Result<JobStep, HookError> {
        if occasion.dry_run || !self.is_run() {
            return self.active.run(occasion, job, cursor).await;
        }
        let mut waiting = self.waiting(HookName::Jobs);
        let step = timed(self.active.run(occasion, job, cursor)).await;
        waiting.over();
        let answer = step.answer.clone();
        let decided = Timed {
            answer: step.answer.map(|step| step.effects),
            took: step.took,
        };
        let version = self.trial_aside.clone();
        let (job, cursor) = (job.to_owned(), cursor.map(ToOwned::to_owned));
        let asked = Asked {
            hook: HookName::Jobs,
            now: occasion.now,
            device: String::new(),
            about: job.clone(),
            by_trial: false,
        };
        let other = async move {
            if !version.jobs().iter().any(|one| one.name == job) {
                return Ok(Vec::new());
            }
            let dry = Occasion {
                dry_run: true,
                ..occasion
            };
            let step = version.run(dry, &job, cursor.as_deref()).await?;
            Ok(step.effects)
        };
        self.compare_later(asked, decided, other, |one, other| {
            compare::effects(one, other)
        });
        answer
    }
}
