//! Keeps what runs equal to what is installed and switched on.
//!
//! Owns: the loaded plugins of this node. A reconciler without input: it looks at the database when something was changed here,
//! and from time to time, since another node may have changed it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use pomona_engine::admin::plugins::{Inspected, LatencyStep, PluginHealth, PluginHost};
use pomona_engine::admin::trust::{Revocations, TrustPolicy};
use pomona_engine::hooks::Hooks;
use pomona_engine::{Engine, PluginRow, SwitchRow, TenantId};
use pomona_plugin_host::{
    Capabilities, Enabled, Latencies, Manifest, Package, Plugin, PluginError, Runtime, Services,
    Shelf, Switch, hooks_of,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::compile::Compiler;
use super::outside::Outside;
use super::services::Served;
use super::trust::{Trust, keys_of};

/// How often the database is looked at when nobody asks for it.
const POLL: Duration = Duration::from_secs(10);

/// A plugin as it could be loaded.
#[derive(Clone)]
struct Loaded {
    digest: String,
    /// The keys of its signatures.
    keys: Vec<String>,
    /// Why it is not run any more, if it is revoked.
    revoked: Option<String>,
    /// What the operator grants, as it stands in the row.
    rights: Option<String>,
    granted: Capabilities,
    manifest: Manifest,
    plugin: Result<Arc<Plugin>, PluginError>,
    /// How often loading it has failed for a reason that may pass, and when it is tried again.
    again: Option<(u32, Instant)>,
}

impl Loaded {
    /// Whether it is what is installed, as far as it may be run.
    fn is(&self, row: &PluginRow, revocations: &Revocations) -> bool {
        self.digest == row.digest
            && self.rights == row.rights
            && self.revoked == self.revoked_by(revocations)
            && self.again.is_none_or(|(_, when)| Instant::now() < when)
    }

    fn revoked_by(&self, revocations: &Revocations) -> Option<String> {
        revocations.of(&self.digest, self.keys.iter().map(String::as_str))
    }

    /// Lets go of what is revoked.
    fn stop_if_revoked(&mut self, revocations: &Revocations) {
        if let Some(reason) = self.revoked_by(revocations) {
            self.plugin = Err(PluginError::Unfit(reason.clone()));
            self.revoked = Some(reason);
            self.again = None;
        }
    }
}

/// A switch as it was taken up.
struct TakenUp {
    digest: String,
    revoked: Option<String>,
    rights: Option<String>,
    row: SwitchRow,
    enabled: Arc<Enabled>,
}

/// Runs plugins for the engine.
pub(crate) struct Manager {
    runtime: Runtime,
    compiler: Compiler,
    engine: Engine,
    trust: Trust,
    services: Arc<dyn Services>,
    loaded: Mutex<HashMap<String, Loaded>>,
    /// Why an installed package cannot even be read.
    unreadable: Mutex<HashMap<String, String>>,
    taken_up: Mutex<HashMap<(TenantId, String), TakenUp>>,
    suspended: Mutex<Vec<String>>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl Manager {
    /// Attaches itself to the engine and takes up what is switched on.
    pub(crate) async fn start(
        engine: &Engine,
        trust: Trust,
        outside: Outside,
        cache: Option<&Path>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let runtime = Runtime::new()?;
        let shelf = cache.and_then(|folder| shelf(engine, folder));
        let manager = Arc::new(Self {
            compiler: Compiler::new(&runtime, shelf),
            runtime,
            engine: engine.clone(),
            trust,
            services: Arc::new(Served {
                engine: engine.clone(),
                outside,
            }),
            loaded: Mutex::default(),
            unreadable: Mutex::default(),
            taken_up: Mutex::default(),
            suspended: Mutex::default(),
            one_at_a_time: tokio::sync::Mutex::default(),
        });
        if let Some(warning) = manager.trust.policy().warning {
            tracing::warn!("{warning}");
        }
        engine.attach_plugins(manager.clone());
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = manager.refresh() => {}
        }
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(POLL) => manager.refresh().await,
                }
            }
        });
        Ok(())
    }

    async fn reconcile(&self) -> pomona_engine::Result<()> {
        let store = self.engine.store();
        let (plugins, switches) = (store.plugins().await?, store.plugin_switches().await?);
        let revocations = store.plugin_revocations().await?;
        let wanted: Vec<&PluginRow> = plugins
            .iter()
            .filter(|row| switches.iter().any(|switch| switch.plugin == row.id))
            .collect();
        // What is to stop stops first: making code ready can take minutes.
        {
            let mut loaded = self.loaded.lock();
            loaded.retain(|id, _| wanted.iter().any(|row| row.id == *id));
            for loaded in loaded.values_mut() {
                loaded.stop_if_revoked(&revocations);
            }
        }
        self.unreadable
            .lock()
            .retain(|id, _| wanted.iter().any(|row| row.id == *id));
        let suspended = plugins
            .iter()
            .filter(|row| row.suspended)
            .map(|row| row.id.clone())
            .collect();
        let before = std::mem::replace(&mut *self.suspended.lock(), suspended);
        let resumed = before != *self.suspended.lock();
        self.take_up(&switches, resumed);
        for row in &wanted {
            let known = self.loaded.lock().get(&row.id).cloned();
            if known
                .as_ref()
                .is_some_and(|known| known.is(row, &revocations))
            {
                continue;
            }
            let failed = known
                .filter(|known| known.digest == row.digest)
                .and_then(|known| known.again);
            self.load(row, &revocations, failed.map_or(0, |(times, _)| times))
                .await?;
            self.take_up(&switches, false);
        }
        Ok(())
    }

    /// Loads what is installed, or keeps why it cannot be: then it is asked like any other and gives no answer, so that the
    /// failure policies of its hooks hold.
    async fn load(
        &self,
        row: &PluginRow,
        revocations: &Revocations,
        failures: u32,
    ) -> pomona_engine::Result<()> {
        let bytes = self.engine.store().plugin_package(&row.id).await?;
        let (package, problem) = match Package::read_kept(&bytes) {
            Ok(read) => read,
            Err(error) => {
                let known = self.unreadable.lock().contains_key(&row.id);
                if !known {
                    tracing::error!(plugin = row.id, %error, "an installed package cannot be read, and none of its hooks is asked; install it again");
                }
                self.loaded.lock().remove(&row.id);
                self.unreadable
                    .lock()
                    .insert(row.id.clone(), error.to_string());
                return Ok(());
            }
        };
        self.unreadable.lock().remove(&row.id);
        let granted = match &row.rights {
            None => package.manifest.capabilities.clone(),
            // Rights that cannot be read are none.
            Some(rights) => serde_json::from_str(rights).unwrap_or_default(),
        };
        let (digest, keys) = (package.digest(), keys_of(&package));
        let revoked = revocations.of(&row.digest, keys.iter().map(String::as_str));
        // Nothing of what is revoked is started, not even to look at it.
        let plugin = match (&revoked, problem) {
            (Some(reason), _) => Err(PluginError::Unfit(reason.clone())),
            (_, Some(problem)) => Err(PluginError::Unfit(problem.to_string())),
            _ if digest != row.digest => Err(PluginError::Unfit(
                "its package is not the one that was installed; install it again".into(),
            )),
            _ => self.start_once(&package, &granted).await,
        };
        let passes = plugin.as_ref().err().is_some_and(PluginError::passes);
        let again = passes.then(|| (failures + 1, Instant::now() + pause(failures)));
        if let Err(error) = &plugin {
            tracing::error!(
                plugin = row.id, %error, tried_again = passes,
                "a plugin cannot be run; the failure policies of its hooks hold"
            );
        }
        let loaded = Loaded {
            digest: row.digest.clone(),
            keys,
            revoked,
            rights: row.rights.clone(),
            granted,
            manifest: package.manifest,
            plugin: plugin.map(Arc::new),
            again,
        };
        self.loaded.lock().insert(row.id.clone(), loaded);
        Ok(())
    }

    async fn start_once(
        &self,
        package: &Package,
        granted: &Capabilities,
    ) -> Result<Plugin, PluginError> {
        let artefacts = self.compiler.code(package).await?;
        let manifest = package.manifest.clone();
        Plugin::load(
            &self.runtime,
            manifest,
            package.digest(),
            granted,
            &artefacts,
        )
        .await
    }

    /// A plugin as a tenant has it: with what the operator grants, as far as the tenant does.
    fn switched_on(&self, loaded: &Loaded, row: &SwitchRow) -> Enabled {
        let granted = match &row.rights {
            None => loaded.granted.clone(),
            Some(own) => {
                let own: Capabilities = serde_json::from_str(own).unwrap_or_default();
                loaded.granted.and(&own)
            }
        };
        let switch = Switch {
            tenant: row.tenant,
            principal: row.principal,
            settings: row.settings.clone(),
            granted,
        };
        Enabled::new(
            loaded.manifest.clone(),
            &loaded.digest,
            loaded.plugin.clone(),
            switch,
            Some(self.services.clone()),
        )
    }

    /// Puts the hooks of everything that is switched on in force. What has not changed stays as it is, with its figures.
    fn take_up(&self, switches: &[SwitchRow], mut changed: bool) {
        let (loaded, suspended) = (self.loaded.lock().clone(), self.suspended.lock().clone());
        let mut taken_up = self.taken_up.lock();
        let mut before = std::mem::take(&mut *taken_up);
        let mut hooks: HashMap<TenantId, Hooks> = HashMap::new();
        for row in switches {
            let Some(loaded) = loaded.get(&row.plugin) else {
                continue;
            };
            let key = (row.tenant, row.plugin.clone());
            let kept = before.remove(&key).filter(|old| {
                old.row == *row
                    && old.digest == loaded.digest
                    && old.rights == loaded.rights
                    && old.revoked == loaded.revoked
                    && old.enabled.runs() == loaded.plugin.is_ok()
            });
            changed |= kept.is_none();
            let now = kept.unwrap_or_else(|| TakenUp {
                digest: loaded.digest.clone(),
                rights: loaded.rights.clone(),
                revoked: loaded.revoked.clone(),
                enabled: Arc::new(self.switched_on(loaded, row)),
                row: row.clone(),
            });
            if !suspended.contains(&key.1) {
                hooks
                    .entry(key.0)
                    .or_default()
                    .extend(hooks_of(&now.enabled));
            }
            taken_up.insert(key, now);
        }
        // What is left was switched off, or cannot be read any more.
        changed |= !before.is_empty();
        drop(taken_up);
        if changed {
            tracing::info!(tenants = hooks.len(), "plugins were taken up");
            self.engine.hooks().replace(hooks);
        }
    }
}

#[async_trait]
impl PluginHost for Manager {
    async fn inspect(&self, package: &[u8]) -> Result<Inspected, String> {
        let package = Package::read(package).map_err(|error| error.to_string())?;
        let store = self.engine.store();
        let revocations = store
            .plugin_revocations()
            .await
            .map_err(|error| error.to_string())?;
        let vouched = self.trust.judge(&package, &revocations)?;
        let plugin = self
            .start_once(&package, &package.manifest.capabilities)
            .await
            .map_err(|error| format!("the plugin cannot be run here: {error}"))?;
        let manifest = plugin.manifest();
        Ok(Inspected {
            id: manifest.id.clone(),
            version: manifest.version.to_string(),
            title: manifest.title.clone(),
            digest: package.digest(),
            vouched,
            rights: json_of(&manifest.capabilities)?,
        })
    }

    fn asked(&self, package: &[u8]) -> Result<Value, String> {
        let package = Package::read(package).map_err(|error| error.to_string())?;
        json_of(&package.manifest.capabilities)
    }

    fn beyond(&self, rights: &Value, those: &Value) -> Result<Vec<String>, String> {
        let read = |value: &Value| {
            serde_json::from_value::<Capabilities>(value.clone())
                .map_err(|error| format!("these are no rights of a plugin: {error}"))
        };
        Ok(read(rights)?.beyond(&read(those)?))
    }

    async fn check_settings(&self, plugin: &str, settings: &Value) -> Result<Vec<String>, String> {
        let store = self.engine.store();
        let failed = |error: pomona_engine::Error| error.to_string();
        let rows = store.plugins().await.map_err(failed)?;
        let row = rows.into_iter().find(|row| row.id == plugin);
        let row = row.ok_or("it is not installed any more")?;
        let bytes = store.plugin_package(plugin).await.map_err(failed)?;
        let package = Package::read(&bytes).map_err(|error| error.to_string())?;
        if package.digest() != row.digest {
            return Err("its package is not the one that was installed; install it again".into());
        }
        if let Some(schema) = &package.schema {
            let validator = jsonschema::validator_for(schema).map_err(|error| {
                format!("the plugin's settings.schema.json is no schema: {error}")
            })?;
            let problems: Vec<String> = validator
                .iter_errors(settings)
                .take(20)
                .map(|error| format!("settings{}: {error}", error.instance_path()))
                .collect();
            if !problems.is_empty() {
                return Ok(problems);
            }
        }
        let revocations = store.plugin_revocations().await.map_err(failed)?;
        let keys = keys_of(&package);
        if let Some(reason) = revocations.of(&row.digest, keys.iter().map(String::as_str)) {
            return Err(reason);
        }
        // A plugin that is suspended is not started, not even to look at its settings.
        if row.suspended {
            return Err("it is suspended; resume it first".into());
        }
        let loaded = self.loaded.lock().get(plugin).cloned();
        let ready = match loaded {
            Some(loaded) if loaded.digest == row.digest && loaded.again.is_none() => loaded.plugin,
            _ => self
                .start_once(&package, &package.manifest.capabilities)
                .await
                .map(Arc::new),
        };
        let remarks = ready
            .map_err(|error| format!("the plugin cannot be run here: {error}"))?
            .check_settings(&settings.to_string())
            .await
            .map_err(|error| format!("the plugin could not look at its settings: {error}"))?;
        Ok(remarks
            .into_iter()
            .filter(|remark| remark.fatal)
            .map(|remark| format!("settings{}: {}", remark.path, remark.message))
            .collect())
    }

    fn trust(&self) -> TrustPolicy {
        self.trust.policy()
    }

    fn health(&self, tenant: TenantId, plugin: &str) -> Option<PluginHealth> {
        if let Some(reason) = self.unreadable.lock().get(plugin) {
            return Some(PluginHealth {
                state: "failed".into(),
                reason: Some(reason.clone()),
                ..PluginHealth::default()
            });
        }
        let suspended = self.suspended.lock().iter().any(|id| id == plugin);
        let taken_up = self.taken_up.lock();
        let found = &taken_up.get(&(tenant, plugin.to_owned()))?.enabled;
        let (figures, failure) = (found.figures(), found.failure());
        let (state, reason) = match (suspended, failure, figures.held_back) {
            (true, ..) => ("suspended", None),
            (_, Some(failure), _) => ("failed", Some(failure)),
            (.., true) => ("degraded", figures.last_failure.clone()),
            _ => ("active", None),
        };
        Some(PluginHealth {
            state: state.into(),
            reason,
            calls: figures.calls,
            failures: figures.failures,
            failed_by: (figures.failed_by.into_iter())
                .map(|(kind, count)| (kind.to_owned(), count))
                .collect(),
            last_failure: figures.last_failure,
            mean_micros: figures.micros / figures.calls.max(1),
            p99_micros: figures.latencies.within(990),
            latency: latency(&figures.latencies),
            memory_high_bytes: figures.memory_high,
            refused: figures.refusals.values().sum(),
            refusals: figures.refusals,
        })
    }

    async fn refresh(&self) {
        let _one = self.one_at_a_time.lock().await;
        if let Err(error) = self.reconcile().await {
            tracing::warn!(%error, "plugins stay as they are until the database answers");
        }
    }
}

/// How long to wait before a plugin is loaded again that could not be made ready so often.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(10) * 2_u32.pow(failures.min(6))
}

/// Where native code is kept, under a key that is derived from the root key.
fn shelf(engine: &Engine, folder: &Path) -> Option<Shelf> {
    let key = engine.store().operator_hash("plugin code", b"");
    Shelf::open(folder, &key)
        .inspect_err(|error| {
            tracing::warn!(folder = %folder.display(), %error, "the code of plugins cannot be kept; it is made at each start");
        })
        .ok()
}

/// How long calls took, as it is shown.
fn latency(latencies: &Latencies) -> Vec<LatencyStep> {
    latencies
        .steps()
        .map(|(up_to_micros, calls)| LatencyStep {
            up_to_micros,
            calls,
        })
        .collect()
}

fn json_of(rights: &Capabilities) -> Result<Value, String> {
    serde_json::to_value(rights).map_err(|error| format!("its rights cannot be shown: {error}"))
}
