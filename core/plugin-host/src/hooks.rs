//! The engine's hooks, answered by a plugin that a tenant has switched on.
//!
//! Owns: which hook of the engine becomes which call of the contract, and how an answer that cannot be used is treated: as no
//! answer, so that the failure policy holds.

mod posture;
mod work;

use std::sync::Arc;

use async_trait::async_trait;
use pomona_engine::clock::{DAY, Micros};
use pomona_engine::hooks::{
    Change, CommandAmendHook, CommandDraft, CommandValidateHook, CommandVerdict, DeviceSnapshot,
    EnrollmentDecision, EnrollmentHook, EnrollmentRequest, EventObserver, HookError, Hooks,
    KeyedEffect, MOST_FACTS, Occasion, Stage,
};
use pomona_engine::{Event, EventKind, PrincipalId};

use crate::bindings::exports::pomona::hooks as exports;
use crate::bindings::pomona::types::common;
use crate::bindings::pomona::types::device::Snapshot;
use crate::convert::{self, short};
use crate::enabled::Enabled;
use crate::error::PluginError;
use crate::manifest::{HookName, Traits};

/// The hooks that a plugin has, for the engine's table.
#[must_use]
pub fn hooks_of(enabled: &Arc<Enabled>) -> Hooks {
    let mut hooks = Hooks::default();
    for hook in enabled.matching().keys() {
        match hook {
            HookName::Enrollment => hooks.enrollment.push(enabled.clone()),
            HookName::CommandAmend => hooks.amend.push(enabled.clone()),
            HookName::CommandValidate => hooks.validate.push(enabled.clone()),
            HookName::Events => hooks.observers.push(enabled.clone()),
            HookName::Compliance => hooks.compliance.push(enabled.clone()),
            HookName::Declarations => hooks.declarations.push(enabled.clone()),
            HookName::Jobs => hooks.jobs.push(enabled.clone()),
            HookName::Routes => hooks.routes.push(enabled.clone()),
            HookName::Panels => hooks.panels.push(enabled.clone()),
        }
    }
    hooks
}

/// Bytes that a question about a device counts for when instructions are granted: its facts, and a KiB for the rest. The settings
/// are counted beside it.
pub(crate) fn size_of_question(facts_json: &str) -> usize {
    facts_json.len() + 1_024
}

impl Enabled {
    fn context(&self, hook: HookName, now: Micros) -> common::CallContext {
        self.context_as(hook, now, self.call_id(hook))
    }

    fn context_as(&self, hook: HookName, now: Micros, call_id: String) -> common::CallContext {
        common::CallContext {
            tenant: self.whose.tenant.to_string(),
            plugin: self.id().to_owned(),
            version: self.manifest.version.to_string(),
            hook: hook.as_str().to_owned(),
            seed: crate::call::seed_of(&call_id),
            call_id,
            attempt: 1,
            now_ms: convert::millis(now),
            dry_run: false,
            cause: None,
            depth: 0,
        }
    }

    /// A device as the plugin may see it, and the size of that in bytes.
    fn seen(&self, device: &DeviceSnapshot) -> (Snapshot, usize) {
        let seen = convert::snapshot(&self.whose.rights.granted, device);
        let size = size_of_question(&seen.facts_json);
        (seen, size)
    }

    /// Whether the manifest wants to be asked about this device by `hook`.
    fn concerned(&self, hook: HookName, device: &DeviceSnapshot) -> bool {
        let Some(matching) = self.matching().get(&hook) else {
            return false;
        };
        let mut traits = Traits {
            family: device.product_name.as_deref().and_then(convert::family),
            ..Traits::default()
        };
        if matching.looks_closely() {
            let rights = &self.whose.rights.granted.devices;
            let all = matching.facts.iter().all(|one| rights.shows_all(one));
            let whole = device.facts.len() < MOST_FACTS as usize;
            let names = || device.facts.iter().map(|fact| fact.name.as_str());
            let groups = || device.groups.iter().map(String::as_str);
            traits.facts = (all && whole).then(|| names().collect());
            traits.groups = rights.core().then(|| groups().collect());
        }
        matching.concerns(hook, &traits)
    }

    fn again_after(&self, hook: HookName) -> Option<Micros> {
        let every = self.matching().get(&hook)?.every.as_deref()?;
        crate::manifest::interval(every)
    }

    /// What the guest itself says when it has no answer. It is told to administrators like a failure; the breaker lets it be,
    /// since a guest that says so works as it should.
    fn refused(&self, hook: HookName, error: common::HookError) -> HookError {
        let (kind, told) = match error {
            common::HookError::Retryable(text) => ("retryable", HookError::Retryable(short(&text))),
            common::HookError::Misconfigured(text) => {
                let text = format!("its settings do not let it work: {}", short(&text));
                ("misconfigured", HookError::Permanent(text))
            }
            common::HookError::Permanent(text) | common::HookError::Other(text) => {
                ("permanent", HookError::Permanent(short(&text)))
            }
        };
        self.gave_no_answer(hook, kind, &told.to_string());
        told
    }

    fn carried(
        &self,
        hook: HookName,
        effects: Vec<crate::bindings::pomona::types::effect::Keyed>,
    ) -> Result<Vec<KeyedEffect>, HookError> {
        convert::effects(&self.manifest, &self.whose, hook, effects)
            .map_err(|problem| HookError::Permanent(short(&problem)))
    }

    fn wants_command(&self, hook: HookName, request_type: &str) -> bool {
        self.matching()
            .get(&hook)
            .is_some_and(|matching| matching.wants(request_type))
    }
}

fn told(error: PluginError) -> HookError {
    match error {
        PluginError::Time(_)
        | PluginError::BreakerOpen
        | PluginError::NoPlace(_)
        | PluginError::Unready(_) => HookError::Retryable(error.to_string()),
        error => HookError::Permanent(error.to_string()),
    }
}

fn absent() -> HookError {
    HookError::Permanent("the plugin does not have this hook".into())
}

#[async_trait]
impl EnrollmentHook for Enabled {
    fn name(&self) -> &str {
        self.id()
    }

    async fn decide(&self, request: &EnrollmentRequest) -> Result<EnrollmentDecision, HookError> {
        use exports::enrollment::{Decision, Request};
        if !self.concerned(HookName::Enrollment, &request.device) {
            return Ok(EnrollmentDecision::Allow);
        }
        let places = self.places(HookName::Enrollment).map_err(told)?;
        let place = places.enrollment.as_ref().ok_or_else(absent)?;
        let context = self.context(HookName::Enrollment, request.now);
        let asked = Request {
            device: self.seen(&request.device).0,
            quarantine: request.quarantine,
        };
        let answer = self
            .ask(
                HookName::Enrollment,
                &context,
                0,
                async |store, instance| {
                    let hook = place.load(&mut *store, &instance)?;
                    hook.call_decide(store, &context, &asked).await
                },
            )
            .await
            .map_err(told)?
            .map_err(|error| self.refused(HookName::Enrollment, error))?;
        Ok(match answer {
            Decision::Allow => EnrollmentDecision::Allow,
            Decision::Hold(reason) | Decision::Other(reason) => {
                EnrollmentDecision::Hold(short(&reason))
            }
            Decision::Deny(reason) => EnrollmentDecision::Deny(short(&reason)),
        })
    }
}

#[async_trait]
impl CommandAmendHook for Enabled {
    fn name(&self) -> &str {
        self.id()
    }

    fn matches(&self, request_type: &str) -> bool {
        self.wants_command(HookName::CommandAmend, request_type)
    }

    async fn amend(&self, now: Micros, draft: &CommandDraft) -> Result<Vec<Change>, HookError> {
        let places = self.places(HookName::CommandAmend).map_err(told)?;
        let place = places.amend.as_ref().ok_or_else(absent)?;
        let context = self.context(HookName::CommandAmend, now);
        let command = convert::draft(draft);
        let kinds = draft.kinds.clone();
        self.ask(
            HookName::CommandAmend,
            &context,
            0,
            async |store, instance| {
                store.data_mut().kinds = kinds;
                let hook = place.load(&mut *store, &instance)?;
                hook.call_amend(store, &context, &command).await
            },
        )
        .await
        .map_err(told)?
        .map_err(|error| self.refused(HookName::CommandAmend, error))?
        .into_iter()
        .map(|change| {
            convert::change(change).map_err(|problem| HookError::Permanent(short(&problem)))
        })
        .collect()
    }
}

#[async_trait]
impl CommandValidateHook for Enabled {
    fn name(&self) -> &str {
        self.id()
    }

    fn matches(&self, request_type: &str, _stage: Stage) -> bool {
        self.wants_command(HookName::CommandValidate, request_type)
    }

    async fn validate(
        &self,
        stage: Stage,
        now: Micros,
        device: &DeviceSnapshot,
        draft: &CommandDraft,
    ) -> Result<CommandVerdict, HookError> {
        use exports::command_validate::{Stage as Asked, Verdict};
        if !self.concerned(HookName::CommandValidate, device) {
            return Ok(CommandVerdict::Allow {
                valid_until: now + 365 * DAY,
            });
        }
        let places = self.places(HookName::CommandValidate).map_err(told)?;
        let place = places.validate.as_ref().ok_or_else(absent)?;
        let context = self.context(HookName::CommandValidate, now);
        let device = self.seen(device).0;
        let command = convert::draft(draft);
        let stage = match stage {
            Stage::Enqueue => Asked::Enqueue,
            Stage::Delivery => Asked::Delivery,
        };
        let answer = self
            .ask(
                HookName::CommandValidate,
                &context,
                0,
                async |store, instance| {
                    let hook = place.load(&mut *store, &instance)?;
                    hook.call_validate(store, &context, stage, &device, &command)
                        .await
                },
            )
            .await
            .map_err(told)?
            .map_err(|error| self.refused(HookName::CommandValidate, error))?;
        Ok(match answer {
            Verdict::Allow(until) => CommandVerdict::Allow {
                valid_until: until.map_or(now + 365 * DAY, convert::micros),
            },
            Verdict::Veto(reason) => CommandVerdict::Veto(short(&reason)),
            Verdict::Defer((until, reason)) => {
                CommandVerdict::Defer(convert::micros(until), short(&reason))
            }
            Verdict::Other(what) => {
                return Err(HookError::Permanent(format!(
                    "this server knows no verdict {:?}",
                    short(&what)
                )));
            }
        })
    }
}

#[async_trait]
impl EventObserver for Enabled {
    fn name(&self) -> &str {
        self.id()
    }

    fn principal(&self) -> Option<PrincipalId> {
        Some(self.principal)
    }

    fn wants(&self, kind: EventKind) -> bool {
        self.matching()
            .get(&HookName::Events)
            .is_some_and(|matching| {
                matching.kinds.is_empty()
                    || matching.kinds.iter().any(|wanted| wanted == kind.as_str())
            })
    }

    async fn on_events(
        &self,
        occasion: Occasion,
        batch: &[Event],
    ) -> Result<Vec<KeyedEffect>, HookError> {
        let places = self.places(HookName::Events).map_err(told)?;
        let place = places.events.as_ref().ok_or_else(absent)?;
        // What a plugin did itself is not told to it again.
        let news: Vec<_> = batch
            .iter()
            .filter(|event| event.actor_id != Some(self.principal.0))
            .map(convert::event)
            .collect();
        if news.is_empty() {
            return Ok(Vec::new());
        }
        let mut context = self.context(HookName::Events, occasion.now);
        context.attempt = occasion.attempt;
        context.dry_run = occasion.dry_run;
        context.depth = news.iter().map(|event| event.depth).max().unwrap_or(0);
        context.cause = news.first().map(|event| event.id.clone());
        let effects = self
            .ask(HookName::Events, &context, 0, async |store, instance| {
                let hook = place.load(&mut *store, &instance)?;
                hook.call_on_events(store, &context, &news).await
            })
            .await
            .map_err(told)?
            .map_err(|error| self.refused(HookName::Events, error))?;
        self.carried(HookName::Events, effects)
    }
}
