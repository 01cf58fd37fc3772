//! Plugins, as administrators handle them.
//!
//! Owns: installing, suspending, removing (the operator) and switching on with settings (a tenant), and the line to
//! whatever runs plugins. The engine itself runs none: without a [`PluginHost`] nothing can be installed.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Value, json};

use super::caller::Caller;
use super::instant::Instant;
use super::plugin_order::PluginOrder;
use super::plugin_versions::{self, PreviousVersion};
use super::trials::TrialVersion;
use super::trust::{Revocations, TrustLevel, TrustPolicy, Vouched};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::store::grants::WaitingRow;
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
    /// Who vouches for it.
    pub vouched: Vouched,
    /// The rights that it asks for.
    pub rights: Value,
    /// The number under which it keeps values, if it keeps any.
    pub kv_schema: Option<u32>,
}

/// How a plugin is doing in a tenant, on this node.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct PluginHealth {
    /// `active`, `degraded` (calls are held back for a while), `failed` (it cannot be run) or `suspended`; of a version on
    /// trial `shadow` or `canary` in the place of `active`.
    pub state: String,
    /// Why, if it is not active.
    pub reason: Option<String>,
    /// Calls since it was switched on or this node started.
    pub calls: u64,
    /// Calls without an answer.
    pub failures: u64,
    /// The same by what ended them: `time`, `processor time`, `memory`, `instructions`, `trap` and others, or by what the plugin said
    /// itself: `retryable`, `permanent` or `misconfigured`.
    pub failed_by: BTreeMap<String, u64>,
    /// The last failure.
    pub last_failure: Option<String>,
    /// Microseconds that a call took on average.
    pub mean_micros: u64,
    /// Microseconds that 99 of 100 calls took at most, rounded up to the end of a step of `latency`.
    pub p99_micros: Option<u64>,
    /// How long calls took: the steps that have calls.
    pub latency: Vec<LatencyStep>,
    /// The most memory that a call had.
    pub memory_high_bytes: u64,
    /// What was refused for want of a right.
    pub refused: u64,
    /// The same by what was refused; beyond 32 different ones as `others`.
    pub refusals: BTreeMap<String, u64>,
}

/// Calls that took about as long.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct LatencyStep {
    /// They took at most so long; the last step has no end.
    pub up_to_micros: Option<u64>,
    /// Their number.
    pub calls: u64,
}

/// What runs plugins.
#[async_trait]
pub trait PluginHost: Send + Sync {
    /// Reads a package, compiles it and starts it once. The error says what is wrong and what to do.
    async fn inspect(&self, package: &[u8]) -> std::result::Result<Inspected, String>;
    /// The rights that a package asks for.
    fn asked(&self, package: &[u8]) -> std::result::Result<Value, String>;
    /// What these rights allow beyond those, a sentence each; an error when they are no rights.
    fn beyond(&self, rights: &Value, those: &Value) -> std::result::Result<Vec<String>, String>;
    /// Says what is wrong with settings for an installed plugin; nothing when they can be used.
    async fn check_settings(
        &self,
        plugin: &str,
        settings: &Value,
    ) -> std::result::Result<Vec<String>, String>;
    /// The number under which a package keeps values, if it keeps any.
    fn kv_schema(&self, package: &[u8]) -> std::result::Result<Option<u32>, String>;
    /// Brings settings to a package that was inspected: from the version `from` over its migration, or as they are when there is
    /// none. Gives what they become, or why they cannot be used, in the order of `settings`; nothing after the first that cannot.
    async fn carry_settings(
        &self,
        package: &[u8],
        from: Option<&str>,
        settings: &[Value],
    ) -> std::result::Result<Vec<std::result::Result<Value, String>>, String>;
    /// Whose packages are taken.
    fn trust(&self) -> TrustPolicy;
    /// How a plugin is doing in a tenant.
    fn health(&self, tenant: TenantId, plugin: &str) -> Option<PluginHealth>;
    /// How the version on trial is doing in a tenant.
    fn trial_health(&self, tenant: TenantId, plugin: &str) -> Option<PluginHealth>;
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
    /// Who vouched for it when it was installed.
    pub trust: TrustLevel,
    /// The key of its publisher's signature.
    pub signed_by: Option<String>,
    /// The key of an organisation's signature on it.
    pub countersigned_by: Option<String>,
    /// The reference in a registry that it was fetched by, as whoever installed it told.
    pub source: Option<String>,
    /// Why it is not run any more, if its digest or a key of its signatures is revoked.
    pub revoked: Option<String>,
    /// Whether the operator has stopped it everywhere.
    pub suspended: bool,
    /// When it was installed.
    pub installed_at: Instant,
    /// When it is asked, among the plugins of a tenant.
    pub order: PluginOrder,
    /// What the operator grants, in the form of a manifest's `capabilities`; absent: all that the manifest asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub rights: Option<Value>,
    /// A version that asks for more than is granted, and waits until the operator approves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitingVersion>,
    /// The version before, which a rollback puts in force again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousVersion>,
    /// A version that is on trial beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialVersion>,
}

/// A version that waits for its rights.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct WaitingVersion {
    /// The version.
    pub version: String,
    /// The digest of its package.
    pub digest: String,
    /// The reference in a registry that it was fetched by, as whoever offered it told.
    pub source: Option<String>,
    /// What it asks for beyond what is granted, a sentence each.
    pub asks_for: Vec<String>,
    /// When it was offered.
    pub offered_at: Instant,
}

impl InstalledPlugin {
    fn of(row: PluginRow, revocations: &Revocations) -> Self {
        let revoked = revocations.of(&row.digest, row.vouched.keys());
        let Vouched {
            level,
            signed_by,
            countersigned_by,
        } = row.vouched;
        Self {
            revoked,
            id: row.id,
            title: row.title,
            version: row.version,
            digest: row.digest,
            trust: level,
            signed_by,
            countersigned_by,
            source: row.source,
            suspended: row.suspended,
            installed_at: Instant(row.installed_at),
            order: PluginOrder::default(),
            rights: row
                .rights
                .and_then(|rights| serde_json::from_str(&rights).ok()),
            waiting: None,
            previous: None,
            trial: None,
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

pub(super) fn host(engine: &Engine) -> Result<&dyn PluginHost> {
    engine.plugin_host().ok_or_else(|| {
        Error::Conflict(
            "this server runs no plugins; the operator can switch plugins.enabled on".into(),
        )
    })
}

/// Every installed plugin.
pub(crate) async fn installed(engine: &Engine) -> Result<Vec<InstalledPlugin>> {
    let store = engine.store();
    let (rows, revocations) = (store.plugins().await?, store.plugin_revocations().await?);
    let waiting = store.waiting_plugins().await?;
    let orders = store.plugin_orders().await?;
    let mut previous = plugin_versions::previous(engine).await?;
    let trials = store.plugin_trials().await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let found = waiting.iter().find(|one| one.plugin == row.id);
        let mut plugin = InstalledPlugin::of(row.clone(), &revocations);
        plugin.order = orders.get(&row.id).copied().unwrap_or_default();
        plugin.previous = previous.remove(&row.id).map(|kept| kept.beside(&row));
        if let Some(found) = found {
            plugin.waiting = Some(WaitingVersion {
                version: found.version.clone(),
                digest: found.digest.clone(),
                source: found.source.clone(),
                asks_for: more_than_before(engine, &row, &parsed(&found.rights)).await?,
                offered_at: Instant(found.offered_at),
            });
        }
        let trial = trials.iter().find(|one| one.plugin == row.id);
        plugin.trial = trial.map(|trial| TrialVersion::of(trial, &revocations));
        all.push(plugin);
    }
    Ok(all)
}

pub(super) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// What `asked` is beyond what the operator grants an installed plugin. Without a host nothing can be compared.
async fn more_than_granted(engine: &Engine, row: &PluginRow, asked: &Value) -> Result<Vec<String>> {
    let Some(host) = engine.plugin_host() else {
        return Ok(Vec::new());
    };
    let granted = match &row.rights {
        Some(rights) => parsed(rights),
        None => host
            .asked(&engine.store().plugin_package(&row.id).await?)
            .map_err(Error::Invalid)?,
    };
    host.beyond(asked, &granted).map_err(Error::Invalid)
}

/// What `asked` is beyond what the installed version asked for and was granted. A right that the operator has withheld from it is
/// no news.
pub(super) async fn more_than_before(
    engine: &Engine,
    row: &PluginRow,
    asked: &Value,
) -> Result<Vec<String>> {
    let Some(host) = engine.plugin_host() else {
        return Ok(Vec::new());
    };
    let package = engine.store().plugin_package(&row.id).await?;
    // What cannot be read any more asks for nothing: then all that was not granted is news.
    let Ok(before) = host.asked(&package) else {
        let granted = row.rights.as_deref().map_or_else(|| json!({}), parsed);
        return host.beyond(asked, &granted).map_err(Error::Invalid);
    };
    let mut more = more_than_granted(engine, row, asked).await?;
    let news = host.beyond(asked, &before).map_err(Error::Invalid)?;
    more.retain(|sentence| news.contains(sentence));
    Ok(more)
}

/// The longest reference in a registry.
const LONGEST_SOURCE: usize = 512;

/// Installs a package, or puts it in the place of another version. What is running goes on when it is refused, and when it
/// asks for more than the version before was granted: then it waits.
/// `source` is noted and nothing else: the package is what was sent.
pub(crate) async fn install(
    engine: &Engine,
    caller: &Caller,
    package: Vec<u8>,
    source: Option<String>,
) -> Result<InstalledPlugin> {
    let host = host(engine)?;
    check_source(source.as_deref())?;
    let store = engine.store();
    let found = host.inspect(&package).await.map_err(Error::Invalid)?;
    let id = found.id.clone();
    let before = store
        .plugins()
        .await?
        .into_iter()
        .find(|row| row.id == found.id);
    if let Some(before) = &before
        && !more_than_before(engine, before, &found.rights)
            .await?
            .is_empty()
    {
        let row = WaitingRow {
            plugin: found.id,
            version: found.version,
            title: found.title,
            digest: found.digest,
            source,
            rights: found.rights.to_string(),
            offered_at: store.clock().now(),
        };
        store.let_plugin_wait(caller.actor(), &row, package).await?;
        return one(engine, &row.plugin).await;
    }
    let rights = match &before {
        // What was granted stays granted, also where it was narrowed.
        Some(before) => before.rights.clone(),
        None => Some(found.rights.to_string()),
    };
    plugin_versions::put_in_force(engine, caller, (found, package), rights, source, before).await?;
    refresh(engine).await;
    one(engine, &id).await
}

pub(super) fn check_source(source: Option<&str>) -> Result<()> {
    match source {
        Some(source) if source.len() > LONGEST_SOURCE || source.chars().any(char::is_control) => {
            Err(Error::Invalid(format!(
                "source: a reference has at most {LONGEST_SOURCE} characters on one line"
            )))
        }
        _ => Ok(()),
    }
}

/// Puts the version that waits in force, with all that it asks for.
pub(crate) async fn approve(engine: &Engine, caller: &Caller, id: &str) -> Result<InstalledPlugin> {
    let host = host(engine)?;
    let (package, source) = engine.store().waiting_package(id).await?;
    let found = host.inspect(&package).await.map_err(Error::Invalid)?;
    let rights = Some(found.rights.to_string());
    let rows = engine.store().plugins().await?;
    let before = rows.into_iter().find(|row| row.id == found.id);
    plugin_versions::put_in_force(engine, caller, (found, package), rights, source, before).await?;
    refresh(engine).await;
    one(engine, id).await
}

/// Sends away the version that waits.
pub(crate) async fn decline(engine: &Engine, caller: &Caller, id: &str) -> Result<()> {
    engine.store().decline_plugin(caller.actor(), id).await
}

/// Sets what the operator grants an installed plugin.
///
/// # Errors
/// [`Error::Invalid`] when these are no rights.
pub(crate) async fn grant(
    engine: &Engine,
    caller: &Caller,
    id: &str,
    rights: &Value,
) -> Result<InstalledPlugin> {
    let rows = engine.store().plugins().await?;
    let row = rows
        .iter()
        .find(|row| row.id == id)
        .ok_or(Error::NotFound("the plugin"))?;
    host(engine)?
        .beyond(rights, &Value::Object(serde_json::Map::new()))
        .map_err(Error::Invalid)?;
    engine
        .store()
        .grant_plugin(caller.actor(), row, &rights.to_string())
        .await?;
    refresh(engine).await;
    one(engine, id).await
}

pub(super) async fn one(engine: &Engine, id: &str) -> Result<InstalledPlugin> {
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

pub(super) async fn refresh(engine: &Engine) {
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

/// Switches a plugin on for a tenant, or changes its settings.
///
/// # Errors
/// [`Error::Invalid`] with every remark about the settings, and when `rights` are more than the operator grants.
pub(crate) async fn enable(
    engine: &Engine,
    caller: &Caller,
    tenant: TenantId,
    id: &str,
    settings: &Value,
    rights: Option<&Value>,
) -> Result<TenantPlugin> {
    let installed = engine.store().plugins().await?;
    let row = installed
        .iter()
        .find(|row| row.id == id)
        .ok_or(Error::NotFound("the plugin"))?;
    let host = host(engine)?;
    if let Some(rights) = rights {
        let beyond = more_than_granted(engine, row, rights).await?;
        if !beyond.is_empty() {
            return Err(Error::Invalid(format!(
                "the operator does not grant this plugin: {}",
                beyond.join(", ")
            )));
        }
    }
    let remarks = host
        .check_settings(id, settings)
        .await
        .map_err(Error::Invalid)?;
    if !remarks.is_empty() {
        return Err(Error::Invalid(remarks.join("; ")));
    }
    let store = engine.store();
    store
        .switch_plugin_on(
            caller.actor(),
            tenant,
            (id, &row.digest),
            &settings.to_string(),
            rights.map(Value::to_string).as_deref(),
        )
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
