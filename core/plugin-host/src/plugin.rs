//! A plugin, ready to be called.
//!
//! Owns: loading of a component (its imports against what is offered, its exports against its manifest) and the frame around
//! every call: a fresh instance, time, the breaker, figures. What is said in a call is in `hooks`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre};

use crate::bindings::exports::pomona::hooks as exports;
use crate::breaker::Breaker;
use crate::call::{CallPlan, CallState, seed_of, store};
use crate::limits::{Budget, Limits};
use crate::manifest::{HookName, Manifest};
use crate::meter::Meter;
use crate::runtime::Runtime;

/// Why a plugin gave no answer, or cannot be loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PluginError {
    /// The component does not fit this host or its manifest.
    #[error("{0}")]
    Unfit(String),
    /// The code ended itself: the message of its panic, or the trap.
    #[error("it ended itself: {0}")]
    Trap(String),
    /// A limit was reached.
    #[error("it used up its {0}")]
    Exhausted(&'static str),
    /// It took too long.
    #[error("it took longer than {0} ms")]
    Time(u128),
    /// It keeps failing and is left alone for a while.
    #[error("it keeps failing; calls are held back for 30 s")]
    BreakerOpen,
}

/// One remark about settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// JSON pointer to what it speaks of.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// Whether the settings cannot be used.
    pub fatal: bool,
}

/// The places of the hooks in the component.
#[derive(Default)]
pub(crate) struct Places {
    settings: Option<exports::settings::GuestIndices>,
    pub(crate) enrollment: Option<exports::enrollment::GuestIndices>,
    pub(crate) amend: Option<exports::command_amend::GuestIndices>,
    pub(crate) validate: Option<exports::command_validate::GuestIndices>,
    pub(crate) events: Option<exports::events::GuestIndices>,
}

/// A loaded component. Shared by all tenants; each call has an instance of its own.
pub struct Plugin {
    runtime: Runtime,
    manifest: Manifest,
    digest: String,
    id: Arc<str>,
    pre: InstancePre<CallState>,
    places: Places,
    limits: Limits,
    room: Semaphore,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("id", &self.id)
            .field("version", &self.manifest.version)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    /// Loads what [`compile`](crate::compile()) made of a component, and runs it once without calling anything.
    ///
    /// # Errors
    /// [`PluginError::Unfit`] when an import is not offered or an export does not fit; the others when it cannot be
    /// brought to life.
    pub async fn load(
        runtime: &Runtime,
        manifest: Manifest,
        digest: String,
        artefact: &crate::compile::Artefact,
    ) -> Result<Self, PluginError> {
        let component = artefact.component(runtime.engine())?;
        check_imports(runtime, &component)?;
        let unfit = |error: wasmtime::Error| PluginError::Unfit(format!("{error:#}"));
        let pre = runtime
            .linker()
            .instantiate_pre(&component)
            .map_err(unfit)?;
        let places = find_places(&pre, &manifest)?;
        let limits = Limits::of(&manifest);
        let plugin = Self {
            runtime: runtime.clone(),
            id: manifest.id.as_str().into(),
            manifest,
            digest,
            pre,
            places,
            limits,
            room: Semaphore::new(limits.concurrency),
        };
        plugin.trial().await?;
        Ok(plugin)
    }

    /// What the plugin says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The digest of the package that it came in.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Asks the plugin about settings; nothing to remark where it has no such hook.
    ///
    /// # Errors
    /// [`PluginError`] when it gave no answer.
    pub async fn check_settings(&self, json: &str) -> Result<Vec<Remark>, PluginError> {
        let Some(place) = &self.places.settings else {
            return Ok(Vec::new());
        };
        let json = json.to_owned();
        let remarks = self
            .call(
                Budget::of_settings(),
                call_id(&self.id, "settings"),
                "{}".into(),
                async |store, instance| {
                    place
                        .load(&mut *store, &instance)?
                        .call_validate(store, &json)
                        .await
                },
            )
            .await?;
        Ok(remarks
            .into_iter()
            .map(|remark| Remark {
                path: remark.path,
                message: remark.message,
                fatal: remark.fatal,
            })
            .collect())
    }

    /// Brings an instance to life and lets it go: shows what fails only then, the start function and the types of the hooks
    /// included.
    async fn trial(&self) -> Result<(), PluginError> {
        let places = &self.places;
        self.call(
            Budget::of_settings(),
            call_id(&self.id, "start"),
            "{}".into(),
            async |store, instance| {
                let other = |name: &'static str| {
                    move |error: wasmtime::Error| {
                        error.context(format!(
                            "its hook {name} is of another type than this server knows"
                        ))
                    }
                };
                if let Some(place) = &places.settings {
                    place
                        .load(&mut *store, &instance)
                        .map_err(other("settings"))?;
                }
                if let Some(place) = &places.enrollment {
                    place
                        .load(&mut *store, &instance)
                        .map_err(other("enrollment"))?;
                }
                if let Some(place) = &places.amend {
                    place
                        .load(&mut *store, &instance)
                        .map_err(other("command-amend"))?;
                }
                if let Some(place) = &places.validate {
                    place
                        .load(&mut *store, &instance)
                        .map_err(other("command-validate"))?;
                }
                if let Some(place) = &places.events {
                    place
                        .load(&mut *store, &instance)
                        .map_err(other("events"))?;
                }
                Ok(())
            },
        )
        .await
    }

    /// Runs `work` on a fresh instance, within its time.
    async fn call<T>(
        &self,
        budget: Budget,
        call_id: String,
        settings: Arc<str>,
        work: impl AsyncFnOnce(
            &mut wasmtime::Store<CallState>,
            wasmtime::component::Instance,
        ) -> wasmtime::Result<T>,
    ) -> Result<T, PluginError> {
        let meter = Meter::default();
        let metered = meter.measure(async {
            let _room = self.room.acquire().await;
            let plan = CallPlan {
                limits: self.limits,
                budget,
                plugin: self.id.clone(),
                seed: seed_of(&call_id),
                call_id,
                settings,
                meter: meter.clone(),
            };
            let mut store = store(&self.runtime, plan);
            let outcome = match self.pre.instantiate_async(&mut store).await {
                Ok(instance) => work(&mut store, instance).await,
                Err(error) => Err(error),
            };
            let state = store.into_data();
            let left_out = state.left_out();
            if left_out > 0 {
                tracing::info!(
                    plugin = &*self.id,
                    left_out,
                    "a plugin wrote more lines than a call may"
                );
            }
            metrics::gauge!("pomona_plugin_memory_bytes", "plugin" => self.id.to_string())
                .set(state.account.memory() as f64);
            outcome.map_err(|error| blame(&state, &error))
        });
        let timely = tokio::time::timeout(budget.wall, metered).await;
        timely.unwrap_or(Err(PluginError::Time(budget.wall.as_millis())))
    }
}

/// What ended a call, as an operator can understand it.
fn blame(state: &CallState, error: &wasmtime::Error) -> PluginError {
    if let Some(panic) = &state.panic {
        return PluginError::Trap(panic.clone());
    }
    if let Some(what) = state.exhausted {
        return PluginError::Exhausted(what);
    }
    if let Some(what) = state.account.refused {
        return PluginError::Exhausted(what);
    }
    PluginError::Trap(format!("{error:#}"))
}

fn call_id(plugin: &str, hook: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{plugin}/{hook}/{number}")
}

/// Every import must be one that this host offers; the refusal names it.
fn check_imports(runtime: &Runtime, component: &Component) -> Result<(), PluginError> {
    for (name, _) in component.component_type().imports(runtime.engine()) {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        let types = interface.starts_with("pomona:types/") || interface == "pomona:host/errors";
        if !types && !crate::contract::OFFERED.contains(&interface) {
            return Err(PluginError::Unfit(format!(
                "it imports {name}, which this server does not offer; take what needs it out of the plugin, or build it with `pomona plugin build`"
            )));
        }
        let asked = semver::Version::parse(version).ok();
        let offered = semver::Version::parse(crate::API).ok();
        if asked > offered {
            return Err(PluginError::Unfit(format!(
                "it imports {name}, and this server speaks {}; update the server, or build the plugin with an older SDK",
                crate::API
            )));
        }
    }
    Ok(())
}

fn find_places(pre: &InstancePre<CallState>, manifest: &Manifest) -> Result<Places, PluginError> {
    let mut places = Places {
        settings: exports::settings::GuestIndices::new(pre).ok(),
        ..Places::default()
    };
    for hook in manifest.hooks.keys() {
        let missing = |error: wasmtime::Error| {
            PluginError::Unfit(format!(
                "plugin.toml names the hook {}, which the component does not have as this server knows it: {error:#}",
                hook.as_str()
            ))
        };
        match hook {
            HookName::Enrollment => {
                places.enrollment =
                    Some(exports::enrollment::GuestIndices::new(pre).map_err(missing)?);
            }
            HookName::CommandAmend => {
                places.amend =
                    Some(exports::command_amend::GuestIndices::new(pre).map_err(missing)?);
            }
            HookName::CommandValidate => {
                places.validate =
                    Some(exports::command_validate::GuestIndices::new(pre).map_err(missing)?);
            }
            HookName::Events => {
                places.events = Some(exports::events::GuestIndices::new(pre).map_err(missing)?);
            }
        }
    }
    Ok(places)
}

/// How a plugin has done for a tenant.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Calls that were made.
    pub calls: u64,
    /// Calls without an answer.
    pub failures: u64,
    /// The last failure.
    pub last_failure: Option<String>,
    /// Microseconds that calls took, together.
    pub micros: u64,
    /// Whether the breaker is open.
    pub held_back: bool,
}

/// A plugin as one tenant has switched it on. One that cannot be run is asked like any other and gives no answer, so
/// that the failure policies of its hooks hold.
#[derive(Debug)]
pub struct Enabled {
    pub(crate) manifest: Manifest,
    plugin: Result<Arc<Plugin>, PluginError>,
    pub(crate) tenant: pomona_engine::TenantId,
    pub(crate) principal: pomona_engine::PrincipalId,
    settings: Arc<str>,
    state: Mutex<(Breaker, Figures)>,
}

impl Enabled {
    /// Switches a plugin on for a tenant; `principal` stands as actor on its effects.
    #[must_use]
    pub fn new(
        manifest: Manifest,
        plugin: Result<Arc<Plugin>, PluginError>,
        tenant: pomona_engine::TenantId,
        principal: pomona_engine::PrincipalId,
        settings: &str,
    ) -> Self {
        Self {
            manifest,
            plugin,
            tenant,
            principal,
            settings: settings.into(),
            state: Mutex::default(),
        }
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
        Figures {
            held_back: breaker.holds_back(Instant::now()),
            ..figures.clone()
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.manifest.id
    }

    /// Runs one call of a hook and keeps account of it.
    pub(crate) async fn ask<T>(
        &self,
        hook: HookName,
        call_id: &str,
        work: impl AsyncFnOnce(
            &mut wasmtime::Store<CallState>,
            wasmtime::component::Instance,
        ) -> wasmtime::Result<T>,
    ) -> Result<T, PluginError> {
        let plugin = self.plugin.as_ref().map_err(Clone::clone)?;
        let begun = Instant::now();
        if !self.state.lock().0.lets_through(begun) {
            return Err(PluginError::BreakerOpen);
        }
        let mut asking = Asking {
            enabled: self,
            hook,
            begun,
            // So it stays when the caller gives up.
            failure: Some("it took longer than its caller would wait".into()),
        };
        let (budget, settings) = (Budget::of(hook), self.settings.clone());
        let outcome = plugin
            .call(budget, call_id.to_owned(), settings, work)
            .await;
        asking.failure = outcome.as_ref().err().map(ToString::to_string);
        outcome
    }

    /// The places of the hooks; none in a plugin that cannot be run.
    pub(crate) fn places(&self) -> Result<&Places, PluginError> {
        self.plugin
            .as_ref()
            .map(|plugin| &plugin.places)
            .map_err(Clone::clone)
    }

    pub(crate) fn call_id(&self, hook: HookName) -> String {
        call_id(self.id(), hook.as_str())
    }

    pub(crate) fn matching(&self) -> &BTreeMap<HookName, crate::manifest::Matching> {
        &self.manifest.hooks
    }
}

/// A call that is under way. It is accounted for when it is over, also when its caller does not wait for the end.
struct Asking<'a> {
    enabled: &'a Enabled,
    hook: HookName,
    begun: Instant,
    failure: Option<String>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let taken = self.begun.elapsed();
        let labels = [
            ("plugin", self.enabled.id().to_owned()),
            ("hook", self.hook.as_str().to_owned()),
        ];
        metrics::histogram!("pomona_plugin_call_seconds", &labels).record(taken.as_secs_f64());
        let mut state = self.enabled.state.lock();
        let (breaker, figures) = &mut *state;
        breaker.note(Instant::now(), self.failure.is_none());
        figures.calls += 1;
        figures.micros += u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        if let Some(failure) = &self.failure {
            figures.failures += 1;
            figures.last_failure = Some(format!("{}: {failure}", self.hook.as_str()));
            metrics::counter!("pomona_plugin_failures_total", &labels).increment(1);
        }
    }
}
