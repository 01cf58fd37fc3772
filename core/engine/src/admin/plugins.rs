//! Plugins, as administrators handle them.
//!
//! Owns: installing, suspending, removing (the operator) and switching on with settings (a tenant), and the line to
//! whatever runs plugins. The engine itself runs none: without a [`PluginHost`] nothing can be installed.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use super::caller::Caller;
use super::instant::Instant;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::store::plugins::PluginRow;

/// What is learnt of a package by reading, compiling and starting it once.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The plugin's id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its name, for people.
    pub title: String,
    /// The digest of the package.
    pub digest: String,
    /// Whether a signature that counts here stands on it.
    pub signed: bool,
}

/// How a plugin is doing in a tenant, on this node.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct PluginHealth {
    /// `active`, `degraded` (calls are held back for a while), `failed` (it cannot be run) or `suspended`.
    pub state: String,
    /// Why, if it is not active.
    pub reason: Option<String>,
    /// Calls since it was switched on or this node started.
    pub calls: u64,
    /// Calls without an answer.
    pub failures: u64,
    /// The last failure.
    pub last_failure: Option<String>,
    /// Microseconds that a call took on average.
    pub mean_micros: u64,
}

/// What runs plugins.
#[async_trait]
pub trait PluginHost: Send + Sync {
    /// Reads a package, compiles it and starts it once. The error says what is wrong and what to do.
    async fn inspect(&self, package: &[u8]) -> std::result::Result<Inspected, String>;
    /// Says what is wrong with settings for an installed plugin; nothing when they can be used.
    async fn check_settings(
        &self,
        plugin: &str,
        settings: &Value,
    ) -> std::result::Result<Vec<String>, String>;
    /// How a plugin is doing in a tenant.
    fn health(&self, tenant: TenantId, plugin: &str) -> Option<PluginHealth>;
    /// Takes up what was changed.
    async fn refresh(&self);
}

/// An installed plugin as it is shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct InstalledPlugin {
    /// Its id.
    pub id: String,
    /// Its name, for people.
    pub title: String,
    /// Its version.
    pub version: String,
    /// The digest of its package, SHA-256 in hexadecimal.
    pub digest: String,
    /// Whether a signature that counts here stood on it.
    pub signed: bool,
    /// Whether the operator has stopped it everywhere.
    pub suspended: bool,
    /// When it was installed.
    pub installed_at: Instant,
}

impl From<PluginRow> for InstalledPlugin {
    fn from(row: PluginRow) -> Self {
        Self {
            id: row.id,
            title: row.title,
            version: row.version,
            digest: row.digest,
            signed: row.signed,
            suspended: row.suspended,
            installed_at: Instant(row.installed_at),
        }
    }
}

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
    /// How it is doing.
    pub health: Option<PluginHealth>,
}

fn host(engine: &Engine) -> Result<&dyn PluginHost> {
    engine.plugin_host().ok_or_else(|| {
        Error::Conflict(
            "this server runs no plugins; the operator can switch plugins.enabled on".into(),
        )
    })
}

/// Every installed plugin.
pub(crate) async fn installed(engine: &Engine) -> Result<Vec<InstalledPlugin>> {
    let rows = engine.store().plugins().await?;
    Ok(rows.into_iter().map(InstalledPlugin::from).collect())
}

/// Installs a package, or puts it in the place of another version. What is running goes on when it is refused.
pub(crate) async fn install(
    engine: &Engine,
    caller: &Caller,
    package: Vec<u8>,
) -> Result<InstalledPlugin> {
    let host = host(engine)?;
    let found = host.inspect(&package).await.map_err(Error::Invalid)?;
    let row = PluginRow {
        id: found.id,
        version: found.version,
        title: found.title,
        digest: found.digest,
        signed: found.signed,
        suspended: false,
        installed_at: engine.store().clock().now(),
    };
    engine
        .store()
        .install_plugin(caller.actor(), &row, package)
        .await?;
    host.refresh().await;
    one(engine, &row.id).await
}

async fn one(engine: &Engine, id: &str) -> Result<InstalledPlugin> {
    installed(engine)
        .await?
        .into_iter()
        .find(|plugin| plugin.id == id)
        .ok_or(Error::NotFound("the plugin"))
}

/// Stops a plugin everywhere or lets it go on; all of them when none is named.
pub(crate) async fn suspend(
    engine: &Engine,
    caller: &Caller,
    id: Option<&str>,
    suspended: bool,
) -> Result<u64> {
    let changed = engine
        .store()
        .suspend_plugins(caller.actor(), id, suspended)
        .await?;
    refresh(engine).await;
    Ok(changed)
}

/// Takes a plugin out.
pub(crate) async fn remove(engine: &Engine, caller: &Caller, id: &str) -> Result<()> {
    engine.store().remove_plugin(caller.actor(), id).await?;
    refresh(engine).await;
    Ok(())
}

async fn refresh(engine: &Engine) {
    if let Some(host) = engine.plugin_host() {
        host.refresh().await;
    }
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
            let health = engine
                .plugin_host()
                .filter(|_| switch.is_some())
                .and_then(|host| host.health(tenant, &plugin.id));
            TenantPlugin {
                enabled: switch.is_some(),
                settings: switch.and_then(|switch| serde_json::from_str(&switch.settings).ok()),
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

/// Switches a plugin on for a tenant, or changes its settings.
///
/// # Errors
/// [`Error::Invalid`] with every remark about the settings.
pub(crate) async fn enable(
    engine: &Engine,
    caller: &Caller,
    tenant: TenantId,
    id: &str,
    settings: &Value,
) -> Result<TenantPlugin> {
    one(engine, id).await?;
    let host = host(engine)?;
    let remarks = host
        .check_settings(id, settings)
        .await
        .map_err(Error::Invalid)?;
    if !remarks.is_empty() {
        return Err(Error::Invalid(remarks.join("; ")));
    }
    let store = engine.store();
    store
        .switch_plugin_on(caller.actor(), tenant, id, &settings.to_string())
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
