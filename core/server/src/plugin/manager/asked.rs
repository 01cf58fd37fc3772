//! What administrators ask whatever runs plugins, answered by the manager.
//!
//! Owns: looking at packages, rights and settings before they are kept, and telling how a plugin is doing. What runs, the
//! manager decides.

use std::sync::Arc;

use async_trait::async_trait;
use pomona_engine::TenantId;
use pomona_engine::admin::plugin_host::{Inspected, LatencyStep, PluginHealth, PluginHost};
use pomona_engine::admin::trust::TrustPolicy;
use pomona_plugin_host::{Capabilities, Figures, Latencies, Package};
use serde_json::Value;

use super::settings::{against_schema, remarks, schema_of};
use super::states::state_of;
use super::{Manager, unanswered};
use crate::plugin::trust::keys_of;

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
        schema_of(&package)?;
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
            kv_schema: manifest.capabilities.kv.map(|kv| kv.schema),
        })
    }

    fn kv_schema(&self, package: &[u8]) -> Result<Option<u32>, String> {
        let (package, _) = Package::read_kept(package).map_err(|error| error.to_string())?;
        Ok(package.manifest.capabilities.kv.map(|kv| kv.schema))
    }

    async fn carry_settings(
        &self,
        package: &[u8],
        from: Option<&str>,
        settings: &[Value],
    ) -> Result<Vec<Result<Value, String>>, String> {
        self.carry(package, from, settings).await
    }

    fn asked(&self, package: &[u8]) -> Result<Value, String> {
        // Also of one that is not good any more: what it asked for is compared with what replaces it.
        let (package, _) = Package::read_kept(package).map_err(|error| error.to_string())?;
        json_of(&package.manifest.capabilities)
    }

    fn beyond(&self, rights: &Value, those: &Value) -> Result<Vec<String>, String> {
        Ok(Capabilities::read(rights)?.beyond(&Capabilities::read(those)?))
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
        let problems = against_schema(&package, settings)?;
        if !problems.is_empty() {
            return Ok(problems);
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
        let ready = ready.map_err(|error| format!("the plugin cannot be run here: {error}"))?;
        remarks(&ready, settings).await
    }

    fn trust(&self) -> TrustPolicy {
        self.trust.policy()
    }

    fn health(&self, tenant: TenantId, plugin: &str) -> Option<PluginHealth> {
        if let Some((_, reason)) = self.unreadable.lock().get(plugin) {
            return Some(PluginHealth {
                state: "failed".into(),
                reason: Some(reason.clone()),
                ..PluginHealth::default()
            });
        }
        let suspended = self.suspended.lock().iter().any(|id| id == plugin);
        let taken_up = self.taken_up.lock();
        let Some(found) = taken_up.get(&(tenant, plugin.to_owned())) else {
            // It was suspended before this node started, and has never been loaded here.
            return suspended.then(|| PluginHealth {
                state: "suspended".into(),
                ..PluginHealth::default()
            });
        };
        let found = &found.enabled;
        let figures = found.figures();
        let (state, reason) = state_of(suspended, found, &figures);
        Some(health_of(figures, state, reason))
    }

    fn trial_health(&self, tenant: TenantId, plugin: &str) -> Option<PluginHealth> {
        self.health_on_trial(tenant, plugin)
    }

    async fn refresh(&self) {
        unanswered(self.reconcile().await);
    }
}

/// Figures as they are shown.
pub(super) fn health_of(figures: Figures, state: &str, reason: Option<String>) -> PluginHealth {
    PluginHealth {
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
    }
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
