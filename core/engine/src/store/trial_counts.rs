//! What comparing two versions of a plugin has shown.
//!
//! Owns: the counts, which are exact, and of the differences the newest. They are added up without an audit record, and belong to a
//! package on trial: with it they go (`plugin_trials`).

use std::collections::BTreeSet;

use super::Store;
use super::sql::{self, args};
use crate::clock::Micros;
use crate::error::Result;
use crate::ids::TenantId;

/// Differences that are kept of a plugin in a tenant.
pub(crate) const NEWEST: u32 = 200;

/// Questions to both versions, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrialCount {
    /// The same answers.
    pub same: u64,
    /// Different answers.
    pub different: u64,
    /// No answer of the active version.
    pub active_failed: u64,
    /// No answer of the version on trial.
    pub trial_failed: u64,
    /// The version that does not decide was not asked: so many comparisons were under way already.
    pub left_out: u64,
    /// Differences that were counted, but not kept: more came than could be written.
    pub lost: u64,
    /// Calls of the active version, and microseconds that they took together.
    pub active: (u64, u64),
    /// The same of the version on trial.
    pub trial: (u64, u64),
    /// Why a version gave no answer the last time.
    pub last_failure: Option<String>,
}

impl TrialCount {
    /// Adds what was counted elsewhere or later.
    pub fn add(&mut self, other: Self) {
        self.same += other.same;
        self.different += other.different;
        self.active_failed += other.active_failed;
        self.trial_failed += other.trial_failed;
        self.left_out += other.left_out;
        self.lost += other.lost;
        self.active = (
            self.active.0 + other.active.0,
            self.active.1 + other.active.1,
        );
        self.trial = (self.trial.0 + other.trial.0, self.trial.1 + other.trial.1);
        self.last_failure = other.last_failure.or_else(|| self.last_failure.take());
    }
}

/// Whose count it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrialOf {
    /// The tenant.
    pub tenant: TenantId,
    /// The plugin.
    pub plugin: String,
    /// The package on trial, by its digest.
    pub digest: String,
    /// The hook.
    pub hook: &'static str,
}

/// Two answers to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialDifference {
    /// The device's id, or how it names itself before it has one; empty: none.
    pub device: String,
    /// What was asked about besides, such as a command's type.
    pub about: String,
    /// What the active version said.
    pub active: String,
    /// What the version on trial said.
    pub trial: String,
    /// When.
    pub noted_at: Micros,
}

/// A kept difference, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct KeptDifference {
    pub(crate) tenant: TenantId,
    pub(crate) hook: String,
    pub(crate) difference: TrialDifference,
}

impl Store {
    /// Adds what was compared. What belongs to a package that is not on trial any more is left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) when the database does not answer; then nothing was added.
    pub async fn add_to_trials(
        &self,
        counts: &[(TrialOf, TrialCount)],
        differences: &[(TrialOf, TrialDifference)],
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        // Held, so that no other package comes on trial before the counts of this one are written.
        let locking = super::identity::locking(&tx);
        let sql = format!("SELECT plugin_id, digest FROM plugin_trial ORDER BY plugin_id{locking}");
        let rows = tx.query(&sql, args![]).await?;
        let mut present = Vec::with_capacity(rows.len());
        for row in &rows {
            present.push((row.text(0)?, row.text(1)?));
        }
        let stands = |of: &TrialOf| {
            let named =
                |(plugin, digest): &(String, String)| *plugin == of.plugin && *digest == of.digest;
            present.iter().any(named)
        };
        let mut counts: Vec<_> = counts.iter().filter(|(of, _)| stands(of)).collect();
        // In one order, so that no two nodes wait for each other.
        counts.sort_by(|(left, _), (right, _)| left.cmp(right));
        for (of, count) in counts {
            add(&mut tx, of, count).await?;
        }
        let mut touched = BTreeSet::new();
        for (of, one) in differences.iter().filter(|(of, _)| stands(of)) {
            let id = self.random().uuid(one.noted_at);
            tx.execute(
                "INSERT INTO plugin_trial_difference (id, tenant_id, plugin_id, hook, device, about, active, trial, noted_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                args![
                    id,
                    of.tenant,
                    of.plugin.as_str(),
                    of.hook,
                    one.device.as_str(),
                    one.about.as_str(),
                    one.active.as_str(),
                    one.trial.as_str(),
                    one.noted_at
                ],
            )
            .await?;
            touched.insert((of.tenant, of.plugin.as_str()));
        }
        for (tenant, plugin) in touched {
            tx.execute(
                "DELETE FROM plugin_trial_difference WHERE plugin_id = ? AND tenant_id = ? AND id <=
                    (SELECT id FROM plugin_trial_difference WHERE plugin_id = ? AND tenant_id = ?
                     ORDER BY id DESC LIMIT 1 OFFSET ?)",
                args![plugin, tenant, plugin, tenant, NEWEST],
            )
            .await?;
        }
        tx.commit().await
    }

    /// What was counted of a plugin's trial, by tenant and hook.
    pub(crate) async fn trial_counts(
        &self,
        plugin: &str,
        tenant: Option<TenantId>,
    ) -> Result<Vec<(TenantId, String, TrialCount)>> {
        let mut tx = self.begin_read().await?;
        let rows = counted(&mut tx, plugin, tenant).await?;
        tx.rollback().await?;
        Ok(rows)
    }

    /// The newest differences of a plugin's trial, the newest first.
    pub(crate) async fn trial_differences(
        &self,
        plugin: &str,
        tenant: Option<TenantId>,
    ) -> Result<Vec<KeptDifference>> {
        let mut tx = self.begin_read().await?;
        let (only, values) = of(plugin, tenant);
        let sql = format!(
            "SELECT tenant_id, hook, device, about, active, trial, noted_at FROM plugin_trial_difference
             WHERE {only} ORDER BY id DESC LIMIT {NEWEST}"
        );
        let rows = tx.query(&sql, values).await?;
        tx.rollback().await?;
        rows.iter()
            .map(|row| {
                Ok(KeptDifference {
                    tenant: TenantId(row.uuid(0)?),
                    hook: row.text(1)?,
                    difference: TrialDifference {
                        device: row.text(2)?,
                        about: row.text(3)?,
                        active: row.text(4)?,
                        trial: row.text(5)?,
                        noted_at: row.int(6)?,
                    },
                })
            })
            .collect()
    }
}

/// Forgets all that was counted of a plugin.
pub(super) async fn forget(tx: &mut sql::Tx, plugin: &str) -> Result<()> {
    for table in ["plugin_trial_count", "plugin_trial_difference"] {
        let sql = format!("DELETE FROM {table} WHERE plugin_id = ?");
        tx.execute(&sql, args![plugin]).await?;
    }
    Ok(())
}

/// The rows of a plugin, in one tenant or in all.
fn of(plugin: &str, tenant: Option<TenantId>) -> (&'static str, Vec<sql::Arg>) {
    match tenant {
        Some(tenant) => ("plugin_id = ? AND tenant_id = ?", args![plugin, tenant]),
        None => ("plugin_id = ?", args![plugin]),
    }
}

/// What was counted of a plugin's trial, by tenant and hook.
pub(super) async fn counted(
    tx: &mut sql::Tx,
    plugin: &str,
    tenant: Option<TenantId>,
) -> Result<Vec<(TenantId, String, TrialCount)>> {
    let (only, values) = of(plugin, tenant);
    let sql = format!(
        "SELECT tenant_id, hook, same, different, active_failed, trial_failed, left_out, lost, active_calls,
                active_micros, trial_calls, trial_micros, last_failure
         FROM plugin_trial_count WHERE {only} ORDER BY tenant_id, hook"
    );
    let rows = tx.query(&sql, values).await?;
    rows.iter()
        .map(|row| {
            let number = |at| row.int(at).map(|number| u64::try_from(number).unwrap_or(0));
            let count = TrialCount {
                same: number(2)?,
                different: number(3)?,
                active_failed: number(4)?,
                trial_failed: number(5)?,
                left_out: number(6)?,
                lost: number(7)?,
                active: (number(8)?, number(9)?),
                trial: (number(10)?, number(11)?),
                last_failure: row.opt_text(12)?,
            };
            Ok((TenantId(row.uuid(0)?), row.text(1)?, count))
        })
        .collect()
}

async fn add(tx: &mut sql::Tx, of: &TrialOf, count: &TrialCount) -> Result<()> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO plugin_trial_count AS c (tenant_id, plugin_id, hook, same, different, active_failed, trial_failed,
                left_out, lost, active_calls, active_micros, trial_calls, trial_micros, last_failure)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (tenant_id, plugin_id, hook) DO UPDATE SET same = c.same + excluded.same,
            different = c.different + excluded.different, active_failed = c.active_failed + excluded.active_failed,
            trial_failed = c.trial_failed + excluded.trial_failed, left_out = c.left_out + excluded.left_out,
            lost = c.lost + excluded.lost, active_calls = c.active_calls + excluded.active_calls,
            active_micros = c.active_micros + excluded.active_micros, trial_calls = c.trial_calls + excluded.trial_calls,
            trial_micros = c.trial_micros + excluded.trial_micros,
            last_failure = COALESCE(excluded.last_failure, c.last_failure)",
        args![
            of.tenant,
            of.plugin.as_str(),
            of.hook,
            number(count.same),
            number(count.different),
            number(count.active_failed),
            number(count.trial_failed),
            number(count.left_out),
            number(count.lost),
            number(count.active.0),
            number(count.active.1),
            number(count.trial.0),
            number(count.trial.1),
            count.last_failure.clone()
        ],
    )
    .await
    .map(drop)
}
