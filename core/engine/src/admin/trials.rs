//! Versions on trial, as administrators handle them: put beside the active version, looked at, put in force, withdrawn.
//!
//! Owns: what may be put on trial, and the report of what was compared. Who is asked, and what is compared, is the business of
//! whatever runs plugins.

use serde::Serialize;

use super::caller::Caller;
use super::instant::Instant;
use super::plugin_host::{PluginHealth, host, refresh};
use super::plugins::{self, InstalledPlugin, more_than_before, one};
use super::trust::{Revocations, TrustLevel};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::store::plugin_trials::{NO_TRIAL, TrialMode, TrialRow};
use crate::store::trial_counts::TrialCount;

/// A version on trial as it is shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TrialVersion {
    /// The version.
    pub version: String,
    /// The digest of its package, SHA-256 in hexadecimal.
    pub digest: String,
    /// Who vouched for it when the trial began.
    pub trust: TrustLevel,
    /// The reference in a registry that it was fetched by, as whoever sent it told.
    pub source: Option<String>,
    /// `shadow`: its answers are compared with the active version's, and nothing comes of them. `canary`: it decides about
    /// some devices.
    pub mode: String,
    /// About how many of a hundred devices it decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
    /// It decides about the devices of the groups of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Why it is not run any more, if its digest or a key of its signatures is revoked.
    pub revoked: Option<String>,
    /// Since when it is on trial.
    pub begun_at: Instant,
    /// Since when in this mode.
    pub mode_since: Instant,
}

impl TrialVersion {
    pub(super) fn of(row: &TrialRow, revocations: &Revocations) -> Self {
        let (share, group) = match &row.mode {
            TrialMode::Shadow => (None, None),
            TrialMode::Share(share) => (Some(*share), None),
            TrialMode::Group(group) => (None, Some(group.clone())),
        };
        Self {
            version: row.version.clone(),
            digest: row.digest.clone(),
            trust: row.vouched.level,
            source: row.source.clone(),
            mode: row.mode.as_str().into(),
            share,
            group,
            revoked: revocations.of(&row.digest, row.vouched.keys()),
            begun_at: Instant(row.begun_at),
            mode_since: Instant(row.mode_since),
        }
    }
}

/// What comparing the two versions has shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TrialReport {
    /// The plugin.
    pub plugin: String,
    /// The version that is in force.
    pub active_version: String,
    /// The version on trial.
    pub trial: TrialVersion,
    /// How the version on trial is doing, by tenant, on this node.
    pub tenants: Vec<TrialInTenant>,
    /// What was compared, by tenant and hook.
    pub hooks: Vec<TrialHook>,
    /// The newest 200 differences of the tenant, or of all tenants together, the newest first; 200 of each tenant are kept.
    pub differences: Vec<TrialDifferenceView>,
}

/// A version on trial in a tenant.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TrialInTenant {
    /// The tenant.
    pub tenant: TenantId,
    /// How it is doing.
    pub health: Option<PluginHealth>,
}

/// Questions to both versions.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TrialHook {
    /// The tenant.
    pub tenant: TenantId,
    /// The hook.
    pub hook: String,
    /// Questions that both have answered.
    pub compared: u64,
    /// The same answers.
    pub same: u64,
    /// Different answers.
    pub different: u64,
    /// Questions that the active version gave no answer to.
    pub active_failed: u64,
    /// Questions that the version on trial gave no answer to.
    pub trial_failed: u64,
    /// Questions that the version which does not decide was not asked, since so many comparisons were under way.
    pub left_out: u64,
    /// Differences that are counted and were not kept, since more came than could be written.
    pub lost: u64,
    /// Microseconds that the active version took on average.
    pub active_mean_micros: u64,
    /// Microseconds that the version on trial took on average.
    pub trial_mean_micros: u64,
    /// Why a version gave no answer the last time.
    pub last_failure: Option<String>,
}

impl TrialHook {
    fn of(tenant: TenantId, hook: String, count: TrialCount) -> Self {
        let mean = |(calls, micros): (u64, u64)| micros / calls.max(1);
        Self {
            tenant,
            hook,
            compared: count.same + count.different,
            same: count.same,
            different: count.different,
            active_failed: count.active_failed,
            trial_failed: count.trial_failed,
            left_out: count.left_out,
            lost: count.lost,
            active_mean_micros: mean(count.active),
            trial_mean_micros: mean(count.trial),
            last_failure: count.last_failure,
        }
    }
}

/// Two answers to one question.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TrialDifferenceView {
    /// When it was asked.
    pub at: Instant,
    /// The tenant.
    pub tenant: TenantId,
    /// The hook.
    pub hook: String,
    /// The device's id, or its UDID before it has one; empty: no device.
    pub device: String,
    /// What was asked about besides, such as a command's type.
    pub about: String,
    /// What the active version said.
    pub active: String,
    /// What the version on trial said.
    pub trial: String,
}

/// Puts a package on trial beside the active version of the same plugin, or, without a package, changes how the one on trial is
/// tried. It gets no rights that the active version has not: one that asks for more is refused with what is missing.
pub(crate) async fn put(
    engine: &Engine,
    caller: &Caller,
    id: &str,
    mode: TrialMode,
    package: Vec<u8>,
    source: Option<String>,
) -> Result<InstalledPlugin> {
    let host = host(engine)?;
    let store = engine.store();
    plugins::check_source(source.as_deref())?;
    if let TrialMode::Group(group) = &mode
        && !store.any_group(group).await?
    {
        return Err(Error::Invalid(format!(
            "no tenant has a group of the name {group:?}; make it first with `pomona group create`"
        )));
    }
    if package.is_empty() {
        store.change_trial(caller.actor(), id, &mode).await?;
        refresh(engine).await;
        return one(engine, id).await;
    }
    let active = store.plugins().await?.into_iter().find(|row| row.id == id);
    let active = active.ok_or(Error::NotFound("the plugin"))?;
    let found = host.inspect(&package).await.map_err(Error::Invalid)?;
    if found.id != id {
        return Err(Error::Invalid(format!(
            "the package is of the plugin {}, not of {id}",
            found.id
        )));
    }
    if found.digest == active.digest {
        return Err(Error::Conflict(
            "this package is in force already; there is nothing to compare it with".into(),
        ));
    }
    let more = more_than_before(engine, &active, &found.rights).await?;
    if !more.is_empty() {
        return Err(Error::Invalid(format!(
            "a version on trial has no rights that the active one has not; this one asks besides for: {}. Install it and \
             approve it, or take what needs these rights out of it for the trial",
            more.join(", ")
        )));
    }
    let rights = match active.rights.clone() {
        Some(rights) => rights,
        None => host
            .asked(&store.plugin_package(id).await?)
            .map_err(Error::Invalid)?
            .to_string(),
    };
    let now = store.clock().now();
    let row = TrialRow {
        plugin: found.id,
        version: found.version,
        title: found.title,
        digest: found.digest,
        vouched: found.vouched,
        source,
        rights,
        kv_schema: found.kv_schema,
        mode,
        begun_at: now,
        mode_since: now,
    };
    store
        .put_trial(caller.actor(), &active.digest, &row, package)
        .await?;
    refresh(engine).await;
    one(engine, id).await
}

/// What was compared, in one tenant or in all.
///
/// # Errors
/// [`Error::NotFound`] when nothing is on trial.
pub(crate) async fn report(
    engine: &Engine,
    id: &str,
    tenant: Option<TenantId>,
) -> Result<TrialReport> {
    let store = engine.store();
    let installed = one(engine, id).await?;
    let trial = installed.trial.ok_or(NO_TRIAL)?;
    let switches = store.plugin_switches().await?;
    let on = (switches.iter()).filter(|switch| switch.plugin == id);
    let tenants = on
        .map(|switch| switch.tenant)
        .filter(|on| tenant.is_none_or(|only| only == *on))
        .map(|tenant| TrialInTenant {
            tenant,
            health: (engine.plugin_host()).and_then(|host| host.trial_health(tenant, id)),
        })
        .collect();
    let counts = store.trial_counts(id, tenant).await?;
    let differences = store.trial_differences(id, tenant).await?;
    Ok(TrialReport {
        plugin: installed.id,
        active_version: installed.version,
        trial,
        tenants,
        hooks: (counts.into_iter())
            .map(|(tenant, hook, count)| TrialHook::of(tenant, hook, count))
            .collect(),
        differences: (differences.into_iter())
            .map(|kept| TrialDifferenceView {
                at: Instant(kept.difference.noted_at),
                tenant: kept.tenant,
                hook: kept.hook,
                device: kept.difference.device,
                about: kept.difference.about,
                active: kept.difference.active,
                trial: kept.difference.trial,
            })
            .collect(),
    })
}

/// Puts the version on trial in force, in the same way as it would be installed; that ends the trial.
///
/// # Errors
/// [`Error::NotFound`] when nothing is on trial, [`Error::Invalid`] when it cannot be run any more.
pub(crate) async fn promote(engine: &Engine, caller: &Caller, id: &str) -> Result<InstalledPlugin> {
    let store = engine.store();
    let (package, source) = store.plugin_trial_package(id).await?;
    let rows = store.plugins().await?;
    let active = rows.iter().find(|row| row.id == id);
    let active = active.ok_or(Error::NotFound("the plugin"))?;
    let asked = host(engine)?.asked(&package).map_err(Error::Invalid)?;
    let more = more_than_before(engine, active, &asked).await?;
    if !more.is_empty() {
        return Err(Error::Conflict(format!(
            "since the trial began another version has come in force, and this one asks besides for: {}. Install it and approve it",
            more.join(", ")
        )));
    }
    plugins::install(engine, caller, package, source).await
}

/// Ends a trial; the active version goes on alone.
///
/// # Errors
/// [`Error::NotFound`] when nothing is on trial.
pub(crate) async fn withdraw(engine: &Engine, caller: &Caller, id: &str) -> Result<()> {
    engine.store().withdraw_trial(caller.actor(), id).await?;
    refresh(engine).await;
    Ok(())
}
