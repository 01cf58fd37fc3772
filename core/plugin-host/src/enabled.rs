//! A plugin as one tenant has switched it on.
//!
//! Owns: what stands between a hook and a call: the tenant's rights and settings, the breaker, and the account of how the calls
//! went. A plugin that cannot be run is asked like any other, and gives no answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use pomona_engine::{PrincipalId, TenantId};

use crate::bindings::pomona::types::common::CallContext;
use crate::breaker::Breaker;
use crate::call::{CallState, Whose};
use crate::error::PluginError;
use crate::limits::Budget;
use crate::manifest::{HookName, Manifest};
use crate::plugin::{Places, Plugin, call_id};
use crate::record::{Figures, Instruments};
use crate::rights::Capabilities;
use crate::services::Services;
use crate::warm::Rack;

/// How a tenant has switched a plugin on.
pub struct Switch {
    /// The tenant.
    pub tenant: TenantId,
    /// Who stands as actor on what the plugin does there.
    pub principal: PrincipalId,
    /// Its settings there, as JSON.
    pub settings: String,
    /// What it may do there: what the operator grants, as far as the tenant does.
    pub granted: Capabilities,
}

/// A plugin as one tenant has switched it on. One that cannot be run is asked like any other and gives no answer, so
/// that the failure policies of its hooks hold.
pub struct Enabled {
    pub(crate) manifest: Manifest,
    plugin: Result<Arc<Plugin>, PluginError>,
    pub(crate) principal: PrincipalId,
    pub(crate) whose: Arc<Whose>,
    /// Names its code, its rights, its settings and the catalogue.
    pub(crate) stamp: String,
    state: Arc<Mutex<(Breaker, Figures)>>,
    instruments: BTreeMap<HookName, Instruments>,
    /// Instances for the next calls, of the hooks that may keep any.
    racks: BTreeMap<HookName, Arc<Rack>>,
}

impl std::fmt::Debug for Enabled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enabled")
            .field("id", &self.manifest.id)
            .field("tenant", &self.whose.tenant)
            .finish_non_exhaustive()
    }
}

impl Enabled {
    /// Switches a plugin on for a tenant. `digest` names the package, `services` serve its host functions.
    #[must_use]
    pub fn new(
        manifest: Manifest,
        digest: &str,
        plugin: Result<Arc<Plugin>, PluginError>,
        switch: Switch,
        services: Option<Arc<dyn Services>>,
    ) -> Self {
        let granted = manifest.capabilities.and(&switch.granted);
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        // What has no part in the answers of those who are asked again by their stamp.
        let rights = Capabilities {
            reuse: false,
            ..granted.clone()
        };
        // The catalogue has a part in them, and is another one in another release.
        let edition = crate::catalogue::edition();
        for part in [digest, &switch.settings, &format!("{rights:?}"), edition] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let whose = Whose::of(
            &manifest.id,
            switch.tenant,
            &switch.settings,
            granted,
            services,
        );
        Self {
            instruments: instruments(&manifest, ""),
            plugin,
            principal: switch.principal,
            stamp: hex::encode(context.finish()),
            racks: racks(&manifest, &whose),
            manifest,
            whose: Arc::new(whose),
            state: Arc::default(),
        }
    }

    /// The same under another name in logs and figures.
    pub(crate) fn marked(&self, mark: &'static str) -> Self {
        self.with(self.whose.marked(mark))
    }

    fn with(&self, whose: Whose) -> Self {
        Self {
            instruments: instruments(&self.manifest, whose.mark),
            manifest: self.manifest.clone(),
            plugin: self.plugin.clone(),
            principal: self.principal,
            racks: racks(&self.manifest, &whose),
            whose: Arc::new(whose),
            stamp: self.stamp.clone(),
            state: self.state.clone(),
        }
    }

    /// The same for questions whose answers are not carried out: nothing leaves by it, and it takes nobody's place. Its
    /// figures and its breaker are those of the other one.
    pub(crate) fn aside(&self) -> Self {
        let mut whose = self.whose.marked(self.whose.mark);
        whose.aside = true;
        whose.services = whose.services.map(crate::services::nothing_leaves);
        self.with(whose)
    }

    /// Figures and a breaker of its own, with nothing noted yet.
    pub(crate) fn accounted_apart(self) -> Self {
        let mut whose = self.whose.marked(self.whose.mark);
        whose.seen = Arc::default();
        Self {
            state: Arc::default(),
            ..self.with(whose)
        }
    }

    /// A place for a call whose answer is only compared, if one is free.
    pub(crate) fn beside(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        self.plugin.as_ref().ok()?.beside()
    }

    /// Whether it has a hook.
    pub(crate) fn has(&self, hook: HookName) -> bool {
        self.matching().contains_key(&hook)
    }

    /// Why it cannot be run, if so.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.plugin.as_ref().err().map(ToString::to_string)
    }

    /// How it has done since it was switched on.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let state = self.state.lock();
        let (breaker, figures) = &*state;
        let mut figures = Figures {
            held_back: breaker.holds_back(Instant::now()),
            ..figures.clone()
        };
        self.whose.seen.put_into(&mut figures);
        figures
    }

    pub(crate) fn id(&self) -> &str {
        &self.manifest.id
    }

    /// Runs one call of a hook and keeps account of it. `asked` is the size of the question in bytes.
    pub(crate) async fn ask<T>(
        &self,
        hook: HookName,
        context: &CallContext,
        asked: usize,
        work: impl AsyncFnOnce(
            &mut wasmtime::Store<CallState>,
            wasmtime::component::Instance,
        ) -> wasmtime::Result<T>,
    ) -> Result<T, PluginError> {
        let plugin = self.plugin.as_ref().map_err(Clone::clone)?;
        if self.state.lock().0.holds_back(Instant::now()) {
            return Err(PluginError::BreakerOpen);
        }
        let mut budget = Budget::of(hook);
        if hook.deterministic() {
            budget = budget.with_fuel_for(asked + self.whose.settings.len());
        }
        // Who waited for a place in vain has not failed; it is the others that were slow.
        let place = plugin.enter(budget.wall, &self.whose).await?;
        let begun = Instant::now();
        if !self.state.lock().0.lets_through(begun) {
            return Err(PluginError::BreakerOpen);
        }
        let mut asking = Asking {
            enabled: self,
            hook,
            begun,
            // So it stays when the caller gives up.
            failure: Some(("time", "it took longer than its caller would wait".into())),
        };
        // A rehearsal leaves nothing, and finds nothing.
        let rack = self.racks.get(&hook).filter(|_| !context.dry_run);
        let outcome = plugin
            .call_at(
                place,
                rack,
                budget,
                context.call_id.clone(),
                Some(hook),
                self.whose.clone(),
                work,
            )
            .await;
        asking.failure = outcome
            .as_ref()
            .err()
            .map(|error| (error.kind(), error.to_string()));
        outcome
    }

    /// Notes that a call ended well without an answer, by the guest's own word.
    pub(crate) fn gave_no_answer(&self, hook: HookName, kind: &'static str, why: &str) {
        self.state.lock().1.failed(hook, kind, why);
        if let Some(instruments) = self.instruments.get(&hook) {
            instruments.failures.increment(1);
        }
    }

    /// The places of the hooks for a call of this one; none in a plugin that cannot be run.
    pub(crate) fn places(&self, hook: HookName) -> Result<&Places, PluginError> {
        self.plugin
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|plugin| plugin.places(hook))
    }

    pub(crate) fn call_id(&self, hook: HookName) -> String {
        call_id(self.id(), hook.as_str())
    }

    pub(crate) fn matching(&self) -> &BTreeMap<HookName, crate::manifest::Matching> {
        &self.manifest.hooks
    }
}

/// Where instances wait, of a plugin that may keep them; none where nothing of a call may last.
fn racks(manifest: &Manifest, whose: &Whose) -> BTreeMap<HookName, Arc<Rack>> {
    let may = whose.rights.granted.reuse && !whose.aside;
    let hooks = manifest.hooks.keys().filter(|hook| may && hook.reusable());
    hooks.map(|hook| (*hook, Arc::default())).collect()
}

/// The metrics of a plugin's hooks, under its name with this mark.
fn instruments(manifest: &Manifest, mark: &str) -> BTreeMap<HookName, Instruments> {
    let name = format!("{}{mark}", manifest.id);
    let hooks = manifest.hooks.keys();
    hooks
        .map(|hook| (*hook, Instruments::of(&name, *hook)))
        .collect()
}

/// A call that is under way. It is accounted for when it is over, also when its caller does not wait for the end.
struct Asking<'a> {
    enabled: &'a Enabled,
    hook: HookName,
    begun: Instant,
    failure: Option<(&'static str, String)>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let taken = self.begun.elapsed();
        let instruments = self.enabled.instruments.get(&self.hook);
        if let Some(instruments) = instruments {
            instruments.seconds.record(taken.as_secs_f64());
        }
        let mut state = self.enabled.state.lock();
        let (breaker, figures) = &mut *state;
        breaker.note(Instant::now(), self.failure.is_none());
        figures.calls += 1;
        figures.latencies.note(taken);
        figures.micros += u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        if let Some((kind, failure)) = &self.failure {
            figures.failed(self.hook, kind, failure);
            if let Some(instruments) = instruments {
                instruments.failures.increment(1);
            }
        }
    }
}
