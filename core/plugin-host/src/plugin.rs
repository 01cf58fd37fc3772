//! A plugin, ready to be called.
//!
//! Owns: loading of a component (its imports against what is offered, its exports against its manifest) and the frame around
//! every call: its instance and its time. Who has switched it on is in `enabled`, what is said in a call in `hooks`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre};

use crate::artefact::{Artefact, Artefacts};
use crate::bindings::exports::pomona::hooks as exports;
use crate::call::{CallPlan, CallState, Whose, renew, store};
use crate::error::PluginError;
use crate::kind::Kind;
use crate::limits::{Budget, Limits};
use crate::linker::linker;
use crate::manifest::{HookName, Manifest};
use crate::meter::Meter;
use crate::rights::{Capabilities, right_of};
use crate::rooms::Place;
use crate::runtime::Runtime;
use crate::warm::{Rack, Warm};

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
    pub(crate) compliance: Option<exports::compliance::GuestIndices>,
    pub(crate) declarations: Option<exports::declarations::GuestIndices>,
    pub(crate) jobs: Option<exports::jobs::GuestIndices>,
    pub(crate) routes: Option<exports::routes::GuestIndices>,
    pub(crate) panels: Option<exports::panels::GuestIndices>,
}

/// The component as one of the engines runs it.
struct Linked {
    pre: InstancePre<CallState>,
    places: Places,
}

/// A loaded component. Shared by all tenants, which share no instance of it.
pub struct Plugin {
    runtime: Runtime,
    manifest: Manifest,
    digest: String,
    id: Arc<str>,
    interactive: Linked,
    deterministic: Option<Linked>,
    limits: Limits,
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
    /// Loads what [`compile`](crate::compile()) made of a component, links what `granted` opens, and runs it once
    /// without calling anything. A plugin with deterministic hooks needs its code for them too.
    ///
    /// # Errors
    /// [`PluginError::Unfit`] when an import is not offered or not granted, or an export does not fit; the others when it cannot
    /// be brought to life.
    pub async fn load(
        runtime: &Runtime,
        manifest: Manifest,
        digest: String,
        granted: &Capabilities,
        artefacts: &Artefacts,
    ) -> Result<Self, PluginError> {
        let effective = manifest.capabilities.and(granted);
        let link = |kind, artefact: &Artefact| link(runtime, &manifest, &effective, kind, artefact);
        let interactive = link(Kind::Interactive, &artefacts.interactive)?;
        let deterministic = match &artefacts.deterministic {
            Some(artefact) => Some(link(Kind::Deterministic, artefact)?),
            None if kinds(&manifest).contains(&Kind::Deterministic) => {
                return Err(PluginError::Unfit(
                    "its code for deterministic hooks was not made".into(),
                ));
            }
            None => None,
        };
        let limits = Limits::of(&manifest);
        let plugin = Self {
            runtime: runtime.clone(),
            id: manifest.id.as_str().into(),
            manifest,
            digest,
            interactive,
            deterministic,
            limits,
        };
        plugin.trial(Budget::of_settings()).await?;
        if plugin.deterministic.is_some() {
            plugin.trial(Budget::of_settings().with_fuel_for(0)).await?;
        }
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
        let Some(place) = &self.interactive.places.settings else {
            return Ok(Vec::new());
        };
        let json = json.to_owned();
        let remarks = self
            .call(
                Budget::of_settings(),
                call_id(&self.id, "settings"),
                None,
                Whose::nobody(),
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

    /// Asks the plugin what settings of its version `from` become with this one; they stay as they are where it has no such
    /// hook. What it answers is nobody's JSON yet, or why it cannot say.
    ///
    /// # Errors
    /// [`PluginError`] when it gave no answer.
    pub async fn migrate_settings(
        &self,
        from: &str,
        json: &str,
    ) -> Result<Result<String, String>, PluginError> {
        let Some(place) = &self.interactive.places.settings else {
            return Ok(Ok(json.to_owned()));
        };
        self.call(
            Budget::of_settings(),
            call_id(&self.id, "settings"),
            None,
            Whose::nobody(),
            async |store, instance| {
                place
                    .load(&mut *store, &instance)?
                    .call_migrate(store, from, json)
                    .await
            },
        )
        .await
    }

    /// Brings an instance to life and lets it go: shows what fails only then, the start function and the types of the hooks
    /// included.
    async fn trial(&self, budget: Budget) -> Result<(), PluginError> {
        let places = &self.linked(budget)?.places;
        self.call(
            budget,
            call_id(&self.id, "start"),
            None,
            Whose::nobody(),
            async |store, instance| {
                macro_rules! fits {
                    ($($place:ident as $name:literal),+) => {$(
                        if let Some(place) = &places.$place {
                            place.load(&mut *store, &instance).map_err(|error| {
                                error.context(concat!(
                                    "its hook ", $name, " is of another type than this server knows"
                                ))
                            })?;
                        }
                    )+};
                }
                fits!(
                    settings as "settings",
                    enrollment as "enrollment",
                    amend as "command-amend",
                    validate as "command-validate",
                    events as "events",
                    compliance as "compliance",
                    declarations as "declarations",
                    jobs as "jobs",
                    routes as "routes",
                    panels as "panels"
                );
                Ok(())
            },
        )
        .await
    }

    /// The component as calls with this budget run it.
    fn linked(&self, budget: Budget) -> Result<&Linked, PluginError> {
        match budget.fuel {
            None => Ok(&self.interactive),
            Some(_) => self.deterministic.as_ref().ok_or_else(|| {
                PluginError::Unfit("its code for deterministic hooks was not made".into())
            }),
        }
    }

    /// The places of the hooks for a call of this hook.
    pub(crate) fn places(&self, hook: HookName) -> Result<&Places, PluginError> {
        self.linked(Budget::of(hook)).map(|linked| &linked.places)
    }

    /// The component as calls with this budget run it, for its types.
    pub(crate) fn component(&self, budget: Budget) -> Result<&Component, PluginError> {
        self.linked(budget).map(|linked| linked.pre.component())
    }

    /// The limits of its calls.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// A place for a call whose answer is only compared, if one is free.
    pub(crate) fn beside(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        self.runtime.rooms().beside()
    }

    /// Waits for a place, as long as a call may take.
    pub(crate) async fn enter<'a>(
        &'a self,
        wall: Duration,
        whose: &'a Whose,
    ) -> Result<Place<'a>, PluginError> {
        if whose.aside {
            // Whoever asks aside has a place of those beside the others.
            return Ok(Place::default());
        }
        let entered = self.runtime.rooms().enter(&whose.room, whose.tenant);
        let timely = tokio::time::timeout(wall, entered).await;
        timely.map_err(|_| PluginError::NoPlace(wall.as_millis()))
    }

    /// Runs `work` on a fresh instance, within its time, when its turn has come.
    pub(crate) async fn call<T>(
        &self,
        budget: Budget,
        call_id: String,
        hook: Option<HookName>,
        whose: Arc<Whose>,
        work: impl AsyncFnOnce(
            &mut wasmtime::Store<CallState>,
            wasmtime::component::Instance,
        ) -> wasmtime::Result<T>,
    ) -> Result<T, PluginError> {
        let place = self.enter(budget.wall, &whose).await?;
        self.call_at(place, None, budget, call_id, hook, whose.clone(), work)
            .await
    }

    /// Runs `work` within its time: on an instance of the rack, or on a fresh one, which then goes there where there is one.
    #[expect(clippy::too_many_arguments, reason = "the frame around every call")]
    pub(crate) async fn call_at<T>(
        &self,
        place: Place<'_>,
        rack: Option<&Arc<Rack>>,
        budget: Budget,
        call_id: String,
        hook: Option<HookName>,
        whose: Arc<Whose>,
        work: impl AsyncFnOnce(
            &mut wasmtime::Store<CallState>,
            wasmtime::component::Instance,
        ) -> wasmtime::Result<T>,
    ) -> Result<T, PluginError> {
        let meter = Meter::default();
        let tenant = whose.tenant;
        let pre = &self.linked(budget)?.pre;
        let metered = meter.measure(async {
            let plan = CallPlan {
                limits: self.limits,
                budget,
                plugin: self.id.clone(),
                call_id,
                whose,
                hook,
                meter: meter.clone(),
            };
            match rack.and_then(|rack| rack.take()) {
                Some(mut warm) => {
                    renew(&mut warm.store, plan);
                    let outcome = work(&mut warm.store, warm.instance).await;
                    let outcome = self.told(warm.store.data(), outcome)?;
                    if let Some(rack) = rack.filter(|_| warm.store.data().roomy()) {
                        rack.put(warm);
                    }
                    Ok(outcome)
                }
                None => {
                    let mut store = store(&self.runtime, plan);
                    let instance = pre.instantiate_async(&mut store).await;
                    let instance = instance.map_err(|error| blame(store.data(), &error))?;
                    let outcome = work(&mut store, instance).await;
                    let outcome = self.told(store.data(), outcome)?;
                    if let Some(rack) = rack.filter(|_| store.data().roomy())
                        && let Some(place) = self.runtime.rooms().warm(tenant)
                    {
                        rack.put(Warm::first(store, instance, place));
                    }
                    Ok(outcome)
                }
            }
        });
        let timely = tokio::time::timeout(budget.wall, metered).await;
        drop(place);
        timely.unwrap_or(Err(PluginError::Time(budget.wall.as_millis())))
    }

    /// What came of a call, as an operator can understand it.
    fn told<T>(&self, state: &CallState, outcome: wasmtime::Result<T>) -> Result<T, PluginError> {
        state.note_memory();
        let left_out = state.left_out();
        if left_out > 0 {
            tracing::info!(
                plugin = &*self.id,
                left_out,
                "a plugin wrote more lines than a call may"
            );
        }
        outcome.map_err(|error| blame(state, &error))
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
    if matches!(error.downcast_ref(), Some(wasmtime::Trap::OutOfFuel)) {
        return PluginError::Exhausted("instructions");
    }
    PluginError::Trap(format!("{error:#}"))
}

/// For which kinds of hooks a plugin's code must be made. Settings are looked at interactively.
#[must_use]
pub fn kinds(manifest: &Manifest) -> Vec<Kind> {
    let mut kinds = vec![Kind::Interactive];
    if manifest.hooks.keys().any(|hook| hook.deterministic()) {
        kinds.push(Kind::Deterministic);
    }
    kinds
}

fn link(
    runtime: &Runtime,
    manifest: &Manifest,
    effective: &Capabilities,
    kind: Kind,
    artefact: &Artefact,
) -> Result<Linked, PluginError> {
    let engine = runtime.engine(kind);
    let component = artefact.component(engine)?;
    let granted = effective.interfaces();
    check_imports(engine, &component, &granted)?;
    let pre = linker(engine, &granted)
        .and_then(|linker| linker.instantiate_pre(&component))
        .map_err(|error| misfit(engine, &component, &error))?;
    let places = find_places(&pre, manifest)?;
    Ok(Linked { pre, places })
}

pub(crate) fn call_id(plugin: &str, hook: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{plugin}/{hook}/{number}")
}

/// Every import must be one that this host offers; the refusal names it.
fn check_imports(
    engine: &Engine,
    component: &Component,
    granted: &[&str],
) -> Result<(), PluginError> {
    for (name, _) in component.component_type().imports(engine) {
        let interface = name
            .split_once('@')
            .map_or(name, |(interface, _)| interface);
        let types = interface.starts_with("pomona:types/") || interface == "pomona:host/errors";
        let open = crate::contract::OFFERED.contains(&interface) || granted.contains(&interface);
        if !open && let Some(right) = right_of(interface) {
            return Err(PluginError::Unfit(format!(
                "it imports {name}, for which {right} is not granted; ask for it in plugin.toml, and let the operator grant it"
            )));
        }
        if !types && !open {
            return Err(PluginError::Unfit(format!(
                "it imports {name}, which this server does not offer; take what needs it out of the plugin, or build it with `pomona plugin build`"
            )));
        }
    }
    Ok(())
}

/// Why a component cannot be linked. One that was made for a later version of the contract may do with this one; when it does
/// not, both versions are named.
fn misfit(engine: &Engine, component: &Component, error: &wasmtime::Error) -> PluginError {
    let world = component.component_type();
    let names = world
        .imports(engine)
        .map(|(name, _)| name)
        .chain(world.exports(engine).map(|(name, _)| name))
        .filter_map(|name| semver::Version::parse(name.split_once('@')?.1).ok());
    let asked = names.max();
    let offered = semver::Version::parse(crate::API).ok();
    PluginError::Unfit(match asked {
        Some(asked) if Some(&asked) > offered.as_ref() => format!(
            "it was made for the plugin API {asked}, this server speaks {}, and it needs what only the later one has; update the server, or build the plugin with an older SDK: {error:#}",
            crate::API
        ),
        _ => format!("{error:#}"),
    })
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
            HookName::Compliance => {
                places.compliance =
                    Some(exports::compliance::GuestIndices::new(pre).map_err(missing)?);
            }
            HookName::Declarations => {
                places.declarations =
                    Some(exports::declarations::GuestIndices::new(pre).map_err(missing)?);
            }
            HookName::Jobs => {
                places.jobs = Some(exports::jobs::GuestIndices::new(pre).map_err(missing)?);
            }
            HookName::Routes => {
                places.routes = Some(exports::routes::GuestIndices::new(pre).map_err(missing)?);
            }
            HookName::Panels => {
                places.panels = Some(exports::panels::GuestIndices::new(pre).map_err(missing)?);
            }
        }
    }
    Ok(places)
}
