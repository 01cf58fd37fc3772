//! What plugins do by themselves in a tenant, as administrators see it: jobs, notices, secrets, and rehearsals.
//!
//! Owns: the forms in which these are shown, and what may be asked. A secret goes in and is never shown again; a rehearsal runs a
//! plugin and changes nothing.

use serde::Serialize;

use super::caller::Caller;
use super::instant::Instant;
use crate::engine::{Difference, Engine};
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::store::Store;

/// Events that a rehearsal looks at, at most.
const MAX_EVENTS: u64 = 64;
/// Bytes of a secret, at most.
const MAX_SECRET: usize = 8 << 10;

/// A job of a plugin.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct JobView {
    /// The plugin.
    pub plugin: String,
    /// The job.
    pub job: String,
    /// When its next step runs; absent: when it is scheduled again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Instant>,
    /// Whether a node is at it now.
    pub running: bool,
    /// Where the next step begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Steps that were done.
    pub steps: i64,
    /// How often in a row a step failed.
    pub attempts: i64,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When a step ran last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_at: Option<Instant>,
}

/// What a plugin tells the administrators.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Notice {
    /// Its id.
    pub id: uuid::Uuid,
    /// The plugin.
    pub plugin: String,
    /// `info`, `warning` or `urgent`.
    pub severity: String,
    /// What.
    pub text: String,
    /// When.
    pub told_at: Instant,
}

/// A secret of a plugin; what is secret about it is not shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// The one host that it may be sent to, over https.
    pub host: String,
    /// When it was set.
    pub set_at: Instant,
}

/// The jobs of a tenant's plugins.
pub(crate) async fn jobs(store: &Store, tenant: TenantId) -> Result<Vec<JobView>> {
    let rows = store.plugin_jobs(tenant).await?;
    Ok(rows
        .into_iter()
        .map(|row| JobView {
            plugin: row.plugin,
            job: row.job,
            due_at: Some(row.due_at).filter(|at| *at < i64::MAX).map(Instant),
            running: row.running,
            cursor: row.cursor,
            steps: row.steps,
            attempts: row.attempts,
            last_error: row.last_error,
            last_run_at: row.last_run_at.map(Instant),
        })
        .collect())
}

/// What plugins have told, the newest first.
pub(crate) async fn notices(store: &Store, tenant: TenantId) -> Result<Vec<Notice>> {
    let rows = store.notices(tenant).await?;
    Ok(rows
        .into_iter()
        .map(|row| Notice {
            id: row.id,
            plugin: row.plugin,
            severity: row.severity,
            text: row.text,
            told_at: Instant(row.told_at),
        })
        .collect())
}

/// The secrets that are set for a plugin.
pub(crate) async fn secrets(
    store: &Store,
    tenant: TenantId,
    plugin: &str,
) -> Result<Vec<SecretView>> {
    let rows = store.plugin_secrets(tenant, plugin).await?;
    Ok(rows
        .into_iter()
        .map(|row| SecretView {
            name: row.name,
            host: row.host,
            set_at: Instant(row.set_at),
        })
        .collect())
}

/// Sets a secret.
///
/// # Errors
/// [`Error::Invalid`] for a name, a host or a value that cannot be; [`Error::NotFound`] for a plugin that is not switched on.
pub(crate) async fn set_secret(
    engine: &Engine,
    caller: &Caller,
    (tenant, plugin, name): (TenantId, &str, &str),
    host: &str,
    value: &str,
) -> Result<()> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fine) {
        return Err(Error::Invalid(
            "the name of a secret is 1 to 64 of a-z, 0-9, - and _".into(),
        ));
    }
    let host = host.to_ascii_lowercase();
    if url::Host::parse(&host).is_err() {
        return Err(Error::Invalid(
            "host is the name of the one host that the secret may be sent to, such as api.example.org".into(),
        ));
    }
    if value.is_empty() || value.len() > MAX_SECRET || value.chars().any(char::is_control) {
        return Err(Error::Invalid(format!(
            "a secret has 1 to {MAX_SECRET} bytes without control characters"
        )));
    }
    let on = engine.store().plugin_switches().await?;
    if !on
        .iter()
        .any(|one| one.tenant == tenant && one.plugin == plugin)
    {
        return Err(Error::NotFound("the plugin in this tenant"));
    }
    let value = Some((host.as_str(), value.as_bytes()));
    engine
        .store()
        .set_plugin_secret(caller.actor(), (tenant, plugin, name), value)
        .await
}

/// Takes a secret away.
pub(crate) async fn forget_secret(
    store: &Store,
    caller: &Caller,
    (tenant, plugin, name): (TenantId, &str, &str),
) -> Result<()> {
    store
        .set_plugin_secret(caller.actor(), (tenant, plugin, name), None)
        .await
}

/// What is to be rehearsed.
#[derive(Clone, Debug)]
pub(crate) enum Rehearsal {
    /// The newest events of a device.
    Events { device: String, events: u64 },
    /// A step of a job.
    Job { job: String, cursor: Option<String> },
}

/// Runs a plugin and carries nothing out; says what would have changed.
///
/// # Errors
/// [`Error::NotFound`] when the plugin has no such hook here, [`Error::Conflict`] when it gives no answer.
pub(crate) async fn rehearse(
    engine: &Engine,
    tenant: TenantId,
    plugin: &str,
    wanted: Rehearsal,
) -> Result<Vec<Difference>> {
    match wanted {
        Rehearsal::Events { device, events } => {
            let store = engine.store();
            let device = super::devices::find_device(store, tenant, &device).await?;
            let hooks = engine.hooks().of(tenant);
            let observer = hooks
                .observers
                .iter()
                .find(|observer| observer.name() == plugin)
                .ok_or_else(|| not_there(plugin, "hears events"))?;
            let limit = events.clamp(1, MAX_EVENTS);
            let batch = store.newest_events(tenant, device, limit).await?;
            engine
                .rehearse_events(observer, tenant, device, &batch)
                .await
        }
        Rehearsal::Job { job, cursor } => {
            let hook = engine
                .job_hook(tenant, plugin)
                .ok_or_else(|| not_there(plugin, "has jobs"))?;
            let jobs = hook.jobs();
            if !jobs.iter().any(|one| one.name == job) {
                let known: Vec<&str> = jobs.iter().map(|one| one.name.as_str()).collect();
                return Err(Error::Conflict(format!(
                    "{plugin} has no job \"{job}\"; it has {}",
                    known.join(", ")
                )));
            }
            engine
                .rehearse_job(tenant, &hook, &job, cursor.as_deref())
                .await
        }
    }
}

/// Why there is nothing to rehearse.
fn not_there(plugin: &str, what: &str) -> Error {
    Error::Conflict(format!(
        "no plugin \"{plugin}\" that {what} is switched on in this tenant: see `plugin list`, and enable it first"
    ))
}
