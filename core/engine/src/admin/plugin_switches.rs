//! Plugins, as a tenant handles them.
//!
//! Owns: switching one on, with settings and with fewer rights than the operator grants, and off; and how it is doing here.

use serde::Serialize;
use serde_json::Value;

use super::caller::Caller;
use super::plugin_host::{PluginHealth, host, refresh};
use super::plugins::{InstalledPlugin, installed, more_than_granted, parsed};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::store::plugins::OwnRights;

/// An installed plugin as a tenant sees it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TenantPlugin {
    /// The plugin.
    #[serde(flatten)]
    pub plugin: InstalledPlugin,
    /// Whether this tenant has switched it on.
    pub enabled: bool,
    /// Its settings here.
    #[schema(value_type = Option<Object>)]
    pub settings: Option<Value>,
    /// What this tenant grants; absent: what the operator does.
    #[serde(rename = "tenant_rights", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub own_rights: Option<Value>,
    /// How it is doing.
    pub health: Option<PluginHealth>,
    /// How the version on trial is doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial_health: Option<PluginHealth>,
}

/// Every installed plugin, as a tenant sees it.
pub(crate) async fn of_tenant(engine: &Engine, tenant: TenantId) -> Result<Vec<TenantPlugin>> {
    let switches = engine.store().plugin_switches().await?;
    let plugins = installed(engine).await?;
    Ok(plugins
        .into_iter()
        .map(|plugin| {
            let switch = switches
                .iter()
                .find(|switch| switch.tenant == tenant && switch.plugin == plugin.id);
            let host = engine.plugin_host().filter(|_| switch.is_some());
            let health = host.and_then(|host| host.health(tenant, &plugin.id));
            let trial_health = host
                .filter(|_| plugin.trial.is_some())
                .and_then(|host| host.trial_health(tenant, &plugin.id));
            TenantPlugin {
                trial_health,
                enabled: switch.is_some(),
                settings: switch.and_then(|switch| serde_json::from_str(&switch.settings).ok()),
                own_rights: switch
                    .and_then(|switch| switch.rights.as_deref())
                    .map(parsed),
                health,
                plugin,
            }
        })
        .collect())
}

async fn one_of_tenant(engine: &Engine, tenant: TenantId, id: &str) -> Result<TenantPlugin> {
    of_tenant(engine, tenant)
        .await?
        .into_iter()
        .find(|found| found.plugin.id == id)
        .ok_or(Error::NotFound("the plugin"))
}

/// Switches a plugin on for a tenant, or changes its settings or rights there. What is not given stays; `rights` of `None` are
/// all that the operator grants.
///
/// # Errors
/// [`Error::Invalid`] with every remark about the settings, and when `rights` are more than the operator grants.
pub(crate) async fn enable(
    engine: &Engine,
    caller: &Caller,
    tenant: TenantId,
    id: &str,
    settings: Option<&Value>,
    rights: Option<Option<&Value>>,
) -> Result<TenantPlugin> {
    let store = engine.store();
    let installed = store.plugins().await?;
    let row = installed
        .iter()
        .find(|row| row.id == id)
        .ok_or(Error::NotFound("the plugin"))?;
    let host = host(engine)?;
    if let Some(Some(rights)) = rights {
        let beyond = more_than_granted(engine, row, rights).await?;
        if !beyond.is_empty() {
            return Err(Error::Invalid(format!(
                "the operator does not grant this plugin: {}",
                beyond.join(", ")
            )));
        }
    }
    let switches = store.plugin_switches().await?;
    let mut here = switches.iter();
    let before = here.find(|switch| switch.tenant == tenant && switch.plugin == id);
    // What stays is judged too: a plugin that cannot run with it is refused and told why, not switched on to fail.
    let judged = match (settings, before) {
        (Some(settings), _) => settings.clone(),
        (None, Some(before)) => serde_json::from_str(&before.settings)
            .map_err(|error| Error::Invalid(format!("its settings are not JSON: {error}")))?,
        (None, None) => Value::Object(serde_json::Map::new()),
    };
    let remarks = host
        .check_settings(id, &judged)
        .await
        .map_err(Error::Invalid)?;
    if !remarks.is_empty() {
        return Err(Error::Invalid(remarks.join("; ")));
    }
    let settings = (settings.is_some() || before.is_none()).then(|| judged.to_string());
    let text = rights.flatten().map(Value::to_string);
    let rights = match (rights, &text) {
        (None, _) => OwnRights::AsTheyAre,
        (Some(_), None) => OwnRights::All,
        (Some(_), Some(text)) => OwnRights::Only(text),
    };
    let seen_by = (id, row.digest.as_str());
    store
        .switch_plugin_on(caller.actor(), tenant, seen_by, settings.as_deref(), rights)
        .await?;
    host.refresh().await;
    one_of_tenant(engine, tenant, id).await
}

/// Switches a plugin off for a tenant.
pub(crate) async fn disable(
    engine: &Engine,
    caller: &Caller,
    tenant: TenantId,
    id: &str,
) -> Result<()> {
    engine
        .store()
        .switch_plugin_off(caller.actor(), tenant, id)
        .await?;
    refresh(engine).await;
    Ok(())
}
