//! Plugins, as the operator handles them.
//!
//! Owns: what the operator does: installing, granting, approving, suspending, removing. What a tenant does is in
//! `plugin_switches`, another version in the place of one in `plugin_versions`; what runs them is behind `plugin_host`.

use serde::Serialize;
use serde_json::{Value, json};

use super::caller::Caller;
use super::instant::Instant;
use super::plugin_host::{host, refresh};
use super::plugin_order::PluginOrder;
use super::plugin_versions::{self, PreviousVersion};
use super::trials::TrialVersion;
use super::trust::{Revocations, TrustLevel, Vouched};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::store::grants::WaitingRow;
use crate::store::plugins::PluginRow;

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
pub(super) async fn more_than_granted(
    engine: &Engine,
    row: &PluginRow,
    asked: &Value,
) -> Result<Vec<String>> {
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
