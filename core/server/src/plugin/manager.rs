//! Keeps what runs equal to what is installed and switched on.
//!
//! Owns: the loaded plugins of this node. A reconciler without input: it looks at the database when something was changed here,
//! and from time to time, since another node may have changed it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pomona_engine::admin::plugins::{Inspected, PluginHealth, PluginHost};
use pomona_engine::admin::trust::{Revocations, TrustPolicy};
use pomona_engine::hooks::Hooks;
use pomona_engine::{Engine, PluginRow, SwitchRow, TenantId};
use pomona_plugin_host::{
    Capabilities, Enabled, Manifest, Package, Plugin, PluginError, Runtime, Services, Switch,
    hooks_of,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::compile::in_a_child;
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
}

impl Loaded {
    /// Whether it is what is installed, as far as it may be run.
    fn is(&self, row: &PluginRow, revocations: &Revocations) -> bool {
        let keys = self.keys.iter().map(String::as_str);
        self.digest == row.digest
            && self.rights == row.rights
            && self.revoked == revocations.of(&row.digest, keys)
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
    engine: Engine,
    trust: Trust,
    services: Arc<dyn Services>,
    loaded: Mutex<HashMap<String, Loaded>>,
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
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let manager = Arc::new(Self {
            runtime: Runtime::new()?,
            engine: engine.clone(),
            trust,
            services: Arc::new(Served {
                engine: engine.clone(),
                outside,
            }),
            loaded: Mutex::default(),
            taken_up: Mutex::default(),
            suspended: Mutex::default(),
            one_at_a_time: tokio::sync::Mutex::default(),
        });
        if let Some(warning) = manager.trust.policy().warning {
            tracing::warn!("{warning}");
        }
        engine.attach_plugins(manager.clone());
        manager.refresh().await;
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
        for row in &wanted {
            let known = self.loaded.lock().get(&row.id).cloned();
            if known.is_some_and(|known| known.is(row, &revocations)) {
                continue;
            }
            let Some(loaded) = self.load(row, &revocations).await? else {
                continue;
            };
            if let Err(error) = &loaded.plugin {
                tracing::error!(plugin = row.id, %error, "a plugin cannot be run; the failure policies of its hooks hold");
            }
            self.loaded.lock().insert(row.id.clone(), loaded);
        }
        self.loaded
            .lock()
            .retain(|id, _| wanted.iter().any(|row| row.id == *id));
        let suspended = plugins
            .iter()
            .filter(|row| row.suspended)
            .map(|row| row.id.clone())
            .collect();
        let before = std::mem::replace(&mut *self.suspended.lock(), suspended);
        let resumed = before != *self.suspended.lock();
        self.take_up(switches, resumed);
        Ok(())
    }

    async fn load(
        &self,
        row: &PluginRow,
        revocations: &Revocations,
    ) -> pomona_engine::Result<Option<Loaded>> {
        let bytes = self.engine.store().plugin_package(&row.id).await?;
        let package = match Package::read(&bytes) {
            Ok(package) => package,
            Err(error) => {
                tracing::error!(plugin = row.id, %error, "an installed package cannot be read; install it again. What ran before goes on, the other plugins too");
                return Ok(None);
            }
        };
        let granted = match &row.rights {
            None => package.manifest.capabilities.clone(),
            // Rights that cannot be read are none.
            Some(rights) => serde_json::from_str(rights).unwrap_or_default(),
        };
        let (digest, keys) = (package.digest(), keys_of(&package));
        let revoked = revocations.of(&row.digest, keys.iter().map(String::as_str));
        // Nothing of what is revoked is started, not even to look at it.
        let plugin = match &revoked {
            Some(reason) => Err(PluginError::Unfit(reason.clone())),
            None if digest == row.digest => self.start_once(&package, &granted).await,
            None => Err(PluginError::Unfit(
                "its package is not the one that was installed; install it again".into(),
            )),
        };
        Ok(Some(Loaded {
            digest: row.digest.clone(),
            keys,
            revoked,
            rights: row.rights.clone(),
            granted,
            manifest: package.manifest,
            plugin: plugin.map(Arc::new),
        }))
    }

    async fn start_once(
        &self,
        package: &Package,
        granted: &Capabilities,
    ) -> Result<Plugin, PluginError> {
        let artefacts = in_a_child(package).await?;
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
    fn take_up(&self, switches: Vec<SwitchRow>, mut changed: bool) {
        let (loaded, suspended) = (self.loaded.lock().clone(), self.suspended.lock().clone());
        let mut taken_up = self.taken_up.lock();
        let mut before = std::mem::take(&mut *taken_up);
        changed |= before.len() != switches.len();
        let mut hooks: HashMap<TenantId, Hooks> = HashMap::new();
        for row in switches {
            let Some(loaded) = loaded.get(&row.plugin) else {
                continue;
            };
            let key = (row.tenant, row.plugin.clone());
            let kept = before.remove(&key).filter(|old| {
                old.row == row
                    && old.digest == loaded.digest
                    && old.rights == loaded.rights
                    && old.revoked == loaded.revoked
            });
            changed |= kept.is_none();
            let now = kept.unwrap_or_else(|| TakenUp {
                digest: loaded.digest.clone(),
                rights: loaded.rights.clone(),
                revoked: loaded.revoked.clone(),
                enabled: Arc::new(self.switched_on(loaded, &row)),
                row,
            });
            if !suspended.contains(&key.1) {
                hooks
                    .entry(key.0)
                    .or_default()
                    .extend(hooks_of(&now.enabled));
            }
            taken_up.insert(key, now);
        }
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
        let bytes = store
            .plugin_package(plugin)
            .await
            .map_err(|error| error.to_string())?;
        let package = Package::read(&bytes).map_err(|error| error.to_string())?;
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
        let revocations = store
            .plugin_revocations()
            .await
            .map_err(|error| error.to_string())?;
        let keys = keys_of(&package);
        if let Some(reason) = revocations.of(&package.digest(), keys.iter().map(String::as_str)) {
            return Err(reason);
        }
        let loaded = self.loaded.lock().get(plugin).cloned();
        let ready = match loaded {
            Some(loaded) if loaded.digest == package.digest() => loaded.plugin,
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
            last_failure: figures.last_failure,
            mean_micros: figures.micros / figures.calls.max(1),
        })
    }

    async fn refresh(&self) {
        let _one = self.one_at_a_time.lock().await;
        if let Err(error) = self.reconcile().await {
            tracing::warn!(%error, "plugins stay as they are until the database answers");
        }
    }
}

fn json_of(rights: &Capabilities) -> Result<Value, String> {
    serde_json::to_value(rights).map_err(|error| format!("its rights cannot be shown: {error}"))
}
