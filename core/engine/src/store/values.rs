//! What plugins keep, tell and plan.
//!
//! Owns: the rows of values, notices and jobs. A value is found under the number of its form, so that a new version can change
//! them and the one before still finds its own; `plugin_versions` copies them and takes them away.

use uuid::Uuid;

use super::Store;
use super::sql::{Tx, args};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::TenantId;

/// Bytes of one value, at most.
const MAX_VALUE: usize = 256 << 10;
/// Notices that a tenant keeps; the oldest go first.
const MAX_NOTICES: i64 = 1_000;

/// Whose values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) plugin: &'a str,
    pub(crate) schema: u32,
}

/// A value.
pub(crate) async fn get(tx: &mut Tx, of: Place<'_>, key: &str) -> Result<Option<Vec<u8>>> {
    let row = tx
        .query_one(
            "SELECT value FROM plugin_value WHERE tenant_id = ? AND plugin_id = ? AND schema = ? AND name = ?",
            args![of.tenant, of.plugin, of.schema, key],
        )
        .await?;
    row.map(|row| row.bytes(0)).transpose()
}

/// Keeps a value. `quota`: bytes of all keys and values of this form together.
pub(crate) async fn put(
    tx: &mut Tx,
    now: Micros,
    of: Place<'_>,
    quota: usize,
    key: &str,
    value: Vec<u8>,
) -> Result<()> {
    if value.len() > MAX_VALUE {
        return Err(Error::Invalid(format!(
            "a value that a plugin keeps has at most {MAX_VALUE} bytes"
        )));
    }
    tx.execute(
        "INSERT INTO plugin_value (tenant_id, plugin_id, schema, name, value, changed_at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (tenant_id, plugin_id, schema, name) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at",
        args![of.tenant, of.plugin, of.schema, key, value, now],
    )
    .await?;
    let row = tx
        .query_one(
            "SELECT CAST(COALESCE(SUM(LENGTH(name) + LENGTH(value)), 0) AS BIGINT) FROM plugin_value
             WHERE tenant_id = ? AND plugin_id = ? AND schema = ?",
            args![of.tenant, of.plugin, of.schema],
        )
        .await?;
    let used = row.map_or(Ok(0), |row| row.int(0))?;
    if usize::try_from(used).unwrap_or(usize::MAX) > quota {
        return Err(Error::Invalid(format!(
            "the plugin would keep {used} bytes; its quota is {quota}"
        )));
    }
    Ok(())
}

/// Forgets a value.
pub(crate) async fn forget(tx: &mut Tx, of: Place<'_>, key: &str) -> Result<()> {
    tx.execute(
        "DELETE FROM plugin_value WHERE tenant_id = ? AND plugin_id = ? AND schema = ? AND name = ?",
        args![of.tenant, of.plugin, of.schema, key],
    )
    .await
    .map(drop)
}

/// Writes down what a plugin tells the administrators.
pub(crate) async fn notice(
    tx: &mut Tx,
    now: Micros,
    id: Uuid,
    tenant: TenantId,
    plugin: &str,
    severity: &str,
    text: &str,
) -> Result<()> {
    tx.execute(
        "INSERT INTO notice (id, tenant_id, plugin_id, severity, text, told_at) VALUES (?, ?, ?, ?, ?, ?)",
        args![id, tenant, plugin, severity, text, now],
    )
    .await?;
    // SQLite knows an offset only behind a limit.
    let all = if tx.is_postgres() { "ALL" } else { "-1" };
    let sql = format!(
        "DELETE FROM notice WHERE id IN (
            SELECT id FROM notice WHERE tenant_id = ? ORDER BY told_at DESC, id DESC LIMIT {all} OFFSET ?)"
    );
    tx.execute(&sql, args![tenant, MAX_NOTICES]).await.map(drop)
}

/// Lets a job run at this time, or sooner when that was planned already.
pub(crate) async fn schedule(
    tx: &mut Tx,
    tenant: TenantId,
    plugin: &str,
    job: &str,
    at: Micros,
) -> Result<()> {
    tx.execute(
        "INSERT INTO plugin_job (tenant_id, plugin_id, job, due_at, lease_until, cursor_at, steps, attempts, last_error, last_run_at)
         VALUES (?, ?, ?, ?, 0, NULL, 0, 0, NULL, NULL)
         ON CONFLICT (tenant_id, plugin_id, job) DO UPDATE SET
            due_at = CASE WHEN plugin_job.due_at < excluded.due_at THEN plugin_job.due_at ELSE excluded.due_at END",
        args![tenant, plugin, job, at],
    )
    .await
    .map(drop)
}

/// A job whose time has come.
#[derive(Clone, Debug)]
pub(crate) struct DueJob {
    pub(crate) job: String,
    pub(crate) cursor: Option<String>,
    pub(crate) attempts: i64,
    lease: Micros,
}

/// Takes a job of a plugin whose time has come, for so long that no other node takes it meanwhile.
pub(crate) async fn claim(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    plugin: &str,
    lease: Micros,
) -> Result<Option<DueJob>> {
    let found = tx
        .query_one(
            "SELECT job, cursor_at, attempts, lease_until FROM plugin_job
             WHERE tenant_id = ? AND plugin_id = ? AND due_at <= ? AND lease_until <= ? ORDER BY due_at LIMIT 1",
            args![tenant, plugin, now, now],
        )
        .await?;
    let Some(row) = found else {
        return Ok(None);
    };
    let (job, before) = (row.text(0)?, row.int(3)?);
    let until = now.saturating_add(lease);
    let taken = tx
        .execute(
            "UPDATE plugin_job SET lease_until = ? WHERE tenant_id = ? AND plugin_id = ? AND job = ? AND lease_until = ?",
            args![until, tenant, plugin, job.as_str(), before],
        )
        .await?;
    Ok((taken == 1).then_some(DueJob {
        cursor: row.opt_text(1)?,
        attempts: row.int(2)?,
        job,
        lease: until,
    }))
}

/// Writes down how a step went; says whether the job was still ours.
pub(crate) async fn stepped(
    tx: &mut Tx,
    now: Micros,
    (tenant, plugin): (TenantId, &str),
    job: &DueJob,
    cursor: Option<&str>,
    due_at: Micros,
    error: Option<&str>,
) -> Result<bool> {
    let attempts = if error.is_some() { job.attempts + 1 } else { 0 };
    let steps = i64::from(error.is_none());
    let changed = tx
        .execute(
            "UPDATE plugin_job SET due_at = ?, lease_until = 0, cursor_at = ?, steps = steps + ?, attempts = ?, last_error = ?,
                last_run_at = ?
             WHERE tenant_id = ? AND plugin_id = ? AND job = ? AND lease_until = ?",
            args![
                due_at,
                cursor.map(str::to_owned),
                steps,
                attempts,
                error.map(str::to_owned),
                now,
                tenant,
                plugin,
                job.job.as_str(),
                job.lease
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// A job as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct JobRow {
    pub(crate) plugin: String,
    pub(crate) job: String,
    pub(crate) due_at: Micros,
    pub(crate) running: bool,
    pub(crate) cursor: Option<String>,
    pub(crate) steps: i64,
    pub(crate) attempts: i64,
    pub(crate) last_error: Option<String>,
    pub(crate) last_run_at: Option<Micros>,
}

/// A notice as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct NoticeRow {
    pub(crate) id: Uuid,
    pub(crate) plugin: String,
    pub(crate) severity: String,
    pub(crate) text: String,
    pub(crate) told_at: Micros,
}

impl Store {
    /// A value that a plugin keeps.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn plugin_value(
        &self,
        tenant: TenantId,
        plugin: &str,
        schema: u32,
        key: &str,
    ) -> Result<Option<Vec<u8>>> {
        let place = Place {
            tenant,
            plugin,
            schema,
        };
        let mut tx = self.begin_read().await?;
        let found = get(&mut tx, place, key).await?;
        tx.rollback().await?;
        Ok(found)
    }

    /// Values whose keys begin with `prefix`, after the key `after`, in the order of their bytes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn plugin_values(
        &self,
        (tenant, plugin, schema): (TenantId, &str, u32),
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        let mut tx = self.begin_read().await?;
        // Text of both engines is compared by its bytes: SQLite does by itself, PostgreSQL in the collation C.
        let name = if tx.is_postgres() {
            "name COLLATE \"C\""
        } else {
            "name"
        };
        let sql = format!(
            "SELECT name, value FROM plugin_value
             WHERE tenant_id = ? AND plugin_id = ? AND schema = ? AND {name} >= ? AND {name} > ?
             ORDER BY {name} LIMIT ?"
        );
        let rows = tx
            .query(
                &sql,
                args![
                    tenant,
                    plugin,
                    schema,
                    prefix,
                    after.unwrap_or_default(),
                    limit
                ],
            )
            .await?;
        tx.rollback().await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let name = row.text(0)?;
            if !name.starts_with(prefix) {
                break;
            }
            found.push((name, row.bytes(1)?));
        }
        Ok(found)
    }

    /// The jobs of a tenant's plugins.
    pub(crate) async fn plugin_jobs(&self, tenant: TenantId) -> Result<Vec<JobRow>> {
        let now = self.clock().now();
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT plugin_id, job, due_at, lease_until, cursor_at, steps, attempts, last_error, last_run_at
                 FROM plugin_job WHERE tenant_id = ? ORDER BY plugin_id, job",
                args![tenant],
            )
            .await?;
        tx.rollback().await?;
        rows.iter()
            .map(|row| {
                Ok(JobRow {
                    plugin: row.text(0)?,
                    job: row.text(1)?,
                    due_at: row.int(2)?,
                    running: row.int(3)? > now,
                    cursor: row.opt_text(4)?,
                    steps: row.int(5)?,
                    attempts: row.int(6)?,
                    last_error: row.opt_text(7)?,
                    last_run_at: row.opt_int(8)?,
                })
            })
            .collect()
    }

    /// What plugins have told the administrators of a tenant, the newest first.
    pub(crate) async fn notices(&self, tenant: TenantId) -> Result<Vec<NoticeRow>> {
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT id, plugin_id, severity, text, told_at FROM notice WHERE tenant_id = ?
                 ORDER BY told_at DESC, id DESC",
                args![tenant],
            )
            .await?;
        tx.rollback().await?;
        rows.iter()
            .map(|row| {
                Ok(NoticeRow {
                    id: row.uuid(0)?,
                    plugin: row.text(1)?,
                    severity: row.text(2)?,
                    text: row.text(3)?,
                    told_at: row.int(4)?,
                })
            })
            .collect()
    }
}
