//! Versions of a plugin in the place of each other, and the way back.
//!
//! Owns: what tenants' settings become when another version comes into force, under which number its values are kept, and
//! which version may be put in force again. What runs, and what code says of settings, is the [`PluginHost`]'s; no transaction
//! is open while it is asked.
//!
//! [`PluginHost`]: super::plugin_host::PluginHost

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::caller::Caller;
use super::instant::Instant;
use super::plugin_host::{Inspected, PluginHost, host, refresh};
use super::plugins::{self, InstalledPlugin};
use crate::clock::Micros;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::store::Store;
use crate::store::plugin_versions::{Carried, Coming, PreviousRow};
use crate::store::plugins::{PluginRow, SwitchRow};

/// How often settings are carried over again because a tenant changed its own meanwhile.
const TRIES: u32 = 5;
/// The largest settings that a migration may give, as those that are set over the admin API.
const LARGEST_SETTINGS: usize = 1 << 20;

/// The version before the one in force.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PreviousVersion {
    /// The version.
    pub version: String,
    /// The digest of its package.
    pub digest: String,
    /// The reference in a registry that it was fetched by, as whoever installed it told.
    pub source: Option<String>,
    /// When it was replaced.
    pub replaced_at: Instant,
    /// Until when it can be put in force again; absent: as long as it is kept. Values that it keeps in another form than the version
    /// in force are deleted then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_until: Option<Instant>,
}

/// A version that is kept.
pub(super) struct Kept(PreviousRow);

impl Kept {
    /// As it is shown beside the version in force.
    pub(super) fn beside(self, live: &PluginRow) -> PreviousVersion {
        let Self(kept) = self;
        let shared = live.kv_schema.is_none_or(|schema| schema == kept.kv_schema);
        PreviousVersion {
            version: kept.row.version,
            digest: kept.row.digest,
            source: kept.row.source,
            replaced_at: Instant(kept.replaced_at),
            back_until: (!shared).then(|| Instant(kept.values_until.unwrap_or(kept.replaced_at))),
        }
    }
}

/// The versions that are kept, by plugin.
pub(super) async fn previous(engine: &Engine) -> Result<HashMap<String, Kept>> {
    let kept = engine.store().previous_plugins().await?;
    Ok((kept.into_iter())
        .map(|kept| (kept.row.id.clone(), Kept(kept)))
        .collect())
}

/// Puts an inspected package in force, in the place of `before`. Of another version than that the settings of every tenant are
/// migrated first.
///
/// # Errors
/// [`Error::Invalid`] when a tenant's settings cannot be brought to it; nothing has changed then.
pub(super) async fn put_in_force(
    engine: &Engine,
    caller: &Caller,
    (found, package): (Inspected, Vec<u8>),
    rights: Option<String>,
    source: Option<String>,
    before: Option<PluginRow>,
) -> Result<()> {
    let host = host(engine)?;
    let kv_before = match &before {
        None => None,
        Some(row) => kv_schema_of(engine.store(), host, row).await?,
    };
    // A version that keeps nothing leaves the values as they are. Where nobody can tell any more how they were kept, they are taken
    // for those of the version that comes.
    let kv_schema = (found.kv_schema.or(kv_before)).or(before.is_none().then_some(1));
    let row = PluginRow {
        id: found.id,
        version: found.version,
        title: found.title,
        digest: found.digest,
        vouched: found.vouched,
        source,
        suspended: false,
        installed_at: engine.store().clock().now(),
        rights,
        kv_schema,
    };
    let another = before.as_ref().filter(|before| before.digest != row.digest);
    for _ in 0..TRIES {
        let settings = match another {
            None => Vec::new(),
            Some(before) => {
                let switches = switches(engine, &row.id).await?;
                let all = parsed(&switches);
                let from = Some(before.version.as_str());
                let carried = host.carry_settings(&package, from, &all).await;
                let after = match judged(engine, &switches, carried).await {
                    Err(Error::Invalid(why)) => return Err(refused(engine, &row, &why).await?),
                    judged => judged?,
                };
                (switches.into_iter().zip(after))
                    .map(|(switch, after)| Carried {
                        tenant: switch.tenant,
                        before: switch.settings,
                        after,
                    })
                    .collect()
            }
        };
        let coming = Coming {
            row: row.clone(),
            package: package.clone(),
            replaces: before.clone(),
            schema_before: kv_before.or(kv_schema).unwrap_or(1),
            settings,
            back: false,
        };
        let store = engine.store();
        if store.put_plugin_in_force(caller.actor(), coming).await? {
            return Ok(());
        }
    }
    Err(busy())
}

/// The refusal of a version that does not take a tenant's settings. Whoever wants the version before back is told of the way.
async fn refused(engine: &Engine, row: &PluginRow, why: &str) -> Result<Error> {
    let kept = engine.store().previous_plugins().await?;
    let is_before = |kept: &PreviousRow| kept.row.id == row.id && kept.row.digest == row.digest;
    Ok(Error::Invalid(match kept.iter().any(is_before) {
        true => format!(
            "{why}; this is the version before: `pomona plugin rollback {}` puts it in force with the settings that it had",
            row.id
        ),
        false => why.to_owned(),
    }))
}

/// Puts the version before the one in force again, with the rights and the settings that it had; the one that was in force is
/// then the one before.
///
/// # Errors
/// [`Error::Conflict`] when there is none, when it may not run here any more, when its values are gone, or when it does not take the
/// settings that a tenant has changed since.
pub(crate) async fn rollback(
    engine: &Engine,
    caller: &Caller,
    id: &str,
) -> Result<InstalledPlugin> {
    let host = host(engine)?;
    let store = engine.store();
    let rows = store.plugins().await?;
    let live = rows
        .into_iter()
        .find(|row| row.id == id)
        .ok_or(Error::NotFound("the plugin"))?;
    let Some((kept, package)) = store.previous_plugin(id).await? else {
        return Err(Error::Conflict(format!(
            "no version of {id} before the one in force is kept; install the package of the version that you want"
        )));
    };
    let schema_before = kv_schema_of(store, host, &live)
        .await?
        .unwrap_or(kept.kv_schema);
    values_are_there(&kept, schema_before, store.clock().now())?;
    let refused = |why: String| {
        Error::Conflict(format!(
            "{id} {} cannot be put in force again: {why}",
            kept.row.version
        ))
    };
    let found = host.inspect(&package).await.map_err(refused)?;
    if (found.id.as_str(), &found.digest) != (id, &kept.row.digest) {
        let why = "its package is not the one that was replaced; install it again";
        return Err(refused(why.into()));
    }
    let row = PluginRow {
        vouched: found.vouched,
        installed_at: store.clock().now(),
        ..kept.row.clone()
    };
    for _ in 0..TRIES {
        let switches = switches(engine, id).await?;
        let settings = settings_for_back(engine, host, &package, switches).await?;
        let coming = Coming {
            row: row.clone(),
            package: package.clone(),
            replaces: Some(live.clone()),
            schema_before,
            settings,
            back: true,
        };
        if store.put_plugin_in_force(caller.actor(), coming).await? {
            refresh(engine).await;
            return plugins::one(engine, id).await;
        }
    }
    Err(busy())
}

/// What tenants' settings become when the version before comes back: those that they had with it, unless they were changed
/// since. What was changed stays, if that version takes it.
async fn settings_for_back(
    engine: &Engine,
    host: &dyn PluginHost,
    package: &[u8],
    switches: Vec<SwitchRow>,
) -> Result<Vec<Carried>> {
    let Some(id) = switches.first().map(|switch| switch.plugin.clone()) else {
        return Ok(Vec::new());
    };
    let mut kept = engine.store().previous_settings(&id).await?;
    let (mut all, mut changed) = (Vec::new(), Vec::new());
    for switch in switches {
        match kept.remove(&switch.tenant) {
            Some(kept) if same(&kept.after, &switch.settings) => all.push(Carried {
                tenant: switch.tenant,
                before: switch.settings,
                after: kept.before,
            }),
            _ => changed.push(switch),
        }
    }
    let looked_at = host.carry_settings(package, None, &parsed(&changed)).await;
    judged(engine, &changed, looked_at)
        .await
        .map_err(|error| match error {
            Error::Invalid(why) => Error::Conflict(format!(
                "the version before does not take what was set since: {why}"
            )),
            other => other,
        })?;
    all.extend(changed.into_iter().map(|switch| Carried {
        tenant: switch.tenant,
        after: switch.settings.clone(),
        before: switch.settings,
    }));
    Ok(all)
}

/// The settings for each switch, or the error that names the first tenant whose settings cannot be used.
async fn judged(
    engine: &Engine,
    switches: &[SwitchRow],
    carried: std::result::Result<Vec<std::result::Result<Value, String>>, String>,
) -> Result<Vec<String>> {
    let carried = carried.map_err(Error::Invalid)?;
    let mut all = Vec::with_capacity(switches.len());
    let mut carried = carried.into_iter();
    for switch in switches {
        let why = match carried.next() {
            Some(Ok(settings)) => {
                let text = settings.to_string();
                if text.len() <= LARGEST_SETTINGS {
                    all.push(text);
                    continue;
                }
                format!(
                    "they become {} bytes, of at most {LARGEST_SETTINGS}",
                    text.len()
                )
            }
            Some(Err(why)) => why,
            None => "the plugin was not asked about them".into(),
        };
        return Err(Error::Invalid(format!(
            "the settings of the tenant {} cannot be used with this version, and the one in force goes on: {why}",
            named(engine, switch.tenant).await
        )));
    }
    Ok(all)
}

/// A tenant's name in addresses, or its id when nobody can tell.
async fn named(engine: &Engine, tenant: TenantId) -> String {
    let id = tenant.to_string();
    match super::tenants::find_tenant(engine.store(), &id).await {
        Ok(found) => found.slug,
        Err(_) => id,
    }
}

/// The number under which an installed plugin's values are kept; nothing when nobody can tell any more.
async fn kv_schema_of(
    store: &Store,
    host: &dyn PluginHost,
    row: &PluginRow,
) -> Result<Option<u32>> {
    if row.kv_schema.is_some() {
        return Ok(row.kv_schema);
    }
    let package = store.plugin_package(&row.id).await?;
    Ok(host.kv_schema(&package).ok().flatten())
}

/// That a version that goes back in force finds its values.
fn values_are_there(kept: &PreviousRow, live_schema: u32, now: Micros) -> Result<()> {
    if kept.kv_schema == live_schema || kept.values_until.is_some_and(|until| now < until) {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "{} {} kept its values in the form {}, the version in force in the form {live_schema}; values of another form are kept for 7 days, and that time has passed: install its package instead",
        kept.row.id, kept.row.version, kept.kv_schema
    )))
}

async fn switches(engine: &Engine, plugin: &str) -> Result<Vec<SwitchRow>> {
    let mut all = engine.store().plugin_switches().await?;
    all.retain(|switch| switch.plugin == plugin);
    Ok(all)
}

fn parsed(switches: &[SwitchRow]) -> Vec<Value> {
    switches
        .iter()
        .map(|switch| serde_json::from_str(&switch.settings).unwrap_or(Value::Null))
        .collect()
}

/// Whether two texts are the same settings.
fn same(one: &str, other: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    one == other || read(one).is_some_and(|settings| read(other) == Some(settings))
}

fn busy() -> Error {
    Error::Conflict(
        "tenants keep changing their settings of this plugin; nothing was changed, try again"
            .into(),
    )
}
