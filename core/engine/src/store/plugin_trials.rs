//! Versions of plugins that are on trial beside the active one, and what comparing the two has shown.
//!
//! Owns: those rows. A trial is changed in one transaction with its audit record; what was compared is added up without one.
//! The counts are exact, of the differences the newest are kept. Who is asked is not its business.

use serde_json::{Value, json};

use super::plugins::{self, PluginRow, operator};
use super::sql::{self, args};
use super::{Store, admin_audit};
use crate::actor::Actor;
use crate::admin::trust::Vouched;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::{DeviceId, TenantId};

/// Differences that are kept of a plugin in a tenant.
pub(crate) const NEWEST: u32 = 200;

/// Whose decisions of the version on trial count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialMode {
    /// Nobody's: they are compared.
    Shadow,
    /// Those about so many of a hundred devices.
    Share(u8),
    /// Those about the devices of a group of this name.
    Group(String),
}

impl TrialMode {
    /// The word in tables and JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Share(_) | Self::Group(_) => "canary",
        }
    }

    fn share(&self) -> Option<i64> {
        match self {
            Self::Share(share) => Some(i64::from(*share)),
            _ => None,
        }
    }

    fn group(&self) -> Option<String> {
        match self {
            Self::Group(group) => Some(group.clone()),
            _ => None,
        }
    }

    fn shown(&self) -> Value {
        json!({ "mode": self.as_str(), "share": self.share(), "group": self.group() })
    }
}

/// A version that is on trial, without its package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialRow {
    /// The plugin.
    pub plugin: String,
    /// The version.
    pub version: String,
    /// Its name, for people.
    pub title: String,
    /// The digest of its package.
    pub digest: String,
    /// Who vouched for it when the trial began.
    pub vouched: Vouched,
    /// The reference in a registry that it was fetched by, as whoever sent it told.
    pub source: Option<String>,
    /// What the operator granted the active version when the trial began, as JSON.
    pub rights: String,
    /// The schema under which it keeps values; none where it keeps none.
    pub kv_schema: Option<u32>,
    /// Whose decisions count.
    pub mode: TrialMode,
    /// Since when this package is on trial.
    pub begun_at: Micros,
    /// Since when the mode is this one.
    pub mode_since: Micros,
}

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

const COLUMNS: &str = "plugin_id, version, title, digest, trust, signed_by, countersigned_by, source, rights, mode, share,
                       group_name, begun_at, mode_since, kv_schema";

fn trial(row: &sql::Row) -> Result<TrialRow> {
    let share = row.opt_int(10)?.and_then(|share| u8::try_from(share).ok());
    let mode = match (row.text(9)?.as_str(), share, row.opt_text(11)?) {
        ("canary", Some(share), _) => TrialMode::Share(share),
        ("canary", None, Some(group)) => TrialMode::Group(group),
        // What is not understood decides nothing.
        _ => TrialMode::Shadow,
    };
    Ok(TrialRow {
        plugin: row.text(0)?,
        version: row.text(1)?,
        title: row.text(2)?,
        digest: row.text(3)?,
        vouched: plugins::vouched(row, 4)?,
        source: row.opt_text(7)?,
        rights: row.text(8)?,
        mode,
        begun_at: row.int(12)?,
        mode_since: row.int(13)?,
        kv_schema: row.opt_int(14)?.and_then(|n| u32::try_from(n).ok()),
    })
}

impl Store {
    /// The versions that are on trial, by plugin.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn plugin_trials(&self) -> Result<Vec<TrialRow>> {
        let mut tx = self.begin_read().await?;
        let sql = format!("SELECT {COLUMNS} FROM plugin_trial ORDER BY plugin_id");
        let rows = tx.query(&sql, args![]).await?;
        tx.rollback().await?;
        rows.iter().map(trial).collect()
    }

    /// The package of the version that is on trial, and the reference that it was fetched by.
    ///
    /// # Errors
    /// [`Error::NotFound`] when none is.
    pub async fn plugin_trial_package(&self, plugin: &str) -> Result<(Vec<u8>, Option<String>)> {
        let mut tx = self.begin_read().await?;
        let sql = "SELECT package, source FROM plugin_trial WHERE plugin_id = ?";
        let row = tx.query_one(sql, args![plugin]).await?;
        tx.rollback().await?;
        let row = row.ok_or(NO_TRIAL)?;
        Ok((row.bytes(0)?, row.opt_text(1)?))
    }

    /// Puts a package on trial beside the active one, which is named by its digest, in the place of another one; what was
    /// counted of that one is gone. The same package goes on with its counts, in another mode.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the active version is another one by now.
    pub(crate) async fn put_trial(
        &self,
        actor: Actor,
        active: &str,
        row: &TrialRow,
        package: Vec<u8>,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        let beside = plugins::lock(&mut tx, &row.plugin)
            .await?
            .ok_or(Error::NotFound("the plugin"))?;
        if beside.digest != active {
            return Err(Error::Conflict(format!(
                "{} was put in the place of another version a moment ago; try again",
                row.plugin
            )));
        }
        check_values(&beside, row.kv_schema, &row.mode)?;
        let before = found(&mut tx, &row.plugin).await?;
        let same = before.as_ref().is_some_and(|old| old.digest == row.digest);
        if !same {
            forget(&mut tx, &row.plugin).await?;
        }
        let begun_at = match &before {
            Some(old) if same => old.begun_at,
            _ => row.begun_at,
        };
        tx.execute(
            "INSERT INTO plugin_trial (plugin_id, version, title, digest, package, trust, signed_by, countersigned_by,
                                       source, rights, mode, share, group_name, begun_at, mode_since, kv_schema)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (plugin_id) DO UPDATE SET version = excluded.version, title = excluded.title,
                digest = excluded.digest, package = excluded.package, trust = excluded.trust,
                signed_by = excluded.signed_by, countersigned_by = excluded.countersigned_by, source = excluded.source,
                rights = excluded.rights, mode = excluded.mode, share = excluded.share,
                group_name = excluded.group_name, begun_at = excluded.begun_at, mode_since = excluded.mode_since,
                kv_schema = excluded.kv_schema",
            args![
                row.plugin.as_str(),
                row.version.as_str(),
                row.title.as_str(),
                row.digest.as_str(),
                package,
                row.vouched.level.as_str(),
                row.vouched.signed_by.clone(),
                row.vouched.countersigned_by.clone(),
                row.source.clone(),
                row.rights.as_str(),
                row.mode.as_str(),
                row.mode.share(),
                row.mode.group(),
                begun_at,
                row.mode_since,
                row.kv_schema.map(i64::from)
            ],
        )
        .await?;
        let details = json!({
            "version": row.version, "digest": row.digest, "trust": row.vouched.level, "source": row.source,
            "as": row.mode.shown(),
            "before": before.map(|old| json!({ "version": old.version, "digest": old.digest, "as": old.mode.shown() })),
        });
        let entry = operator(actor, "plugin.try", &row.plugin, details);
        admin_audit::append(&mut tx, row.mode_since, entry).await?;
        tx.commit().await
    }

    /// Changes whose decisions of the version on trial count.
    pub(crate) async fn change_trial(
        &self,
        actor: Actor,
        plugin: &str,
        mode: &TrialMode,
    ) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let beside = plugins::lock(&mut tx, plugin)
            .await?
            .ok_or(Error::NotFound("the plugin"))?;
        let before = found(&mut tx, plugin).await?.ok_or(NO_TRIAL)?;
        check_values(&beside, before.kv_schema, mode)?;
        tx.execute(
            "UPDATE plugin_trial SET mode = ?, share = ?, group_name = ?, mode_since = ? WHERE plugin_id = ?",
            args![mode.as_str(), mode.share(), mode.group(), now, plugin],
        )
        .await?;
        let details = json!({
            "version": before.version, "digest": before.digest, "as": mode.shown(),
            "before": { "version": before.version, "digest": before.digest, "as": before.mode.shown() },
        });
        let entry = operator(actor, "plugin.try", plugin, details);
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }

    /// Ends a trial without putting anything in force.
    pub(crate) async fn withdraw_trial(&self, actor: Actor, plugin: &str) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let details = end(&mut tx, plugin).await?.ok_or(NO_TRIAL)?;
        let entry = operator(actor, "plugin.withdraw", plugin, details);
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }

    /// Adds what was compared. What belongs to a package that is not on trial any more is left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer; then nothing was added.
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
        let mut touched = std::collections::BTreeSet::new();
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

    /// Whether any tenant has a group of this name.
    pub(crate) async fn any_group(&self, name: &str) -> Result<bool> {
        let mut tx = self.begin_read().await?;
        let sql = "SELECT 1 FROM device_group WHERE name = ? LIMIT 1";
        let row = tx.query_one(sql, args![name]).await?;
        tx.rollback().await?;
        Ok(row.is_some())
    }

    /// How a device names itself, and the groups that it is in; none when the tenant has no such device.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn device_place(
        &self,
        tenant: TenantId,
        device: DeviceId,
    ) -> Result<Option<(String, Vec<String>)>> {
        let mut tx = self.begin_read().await?;
        let sql = "SELECT ident FROM device WHERE tenant_id = ? AND id = ?";
        let row = tx.query_one(sql, args![tenant, device]).await?;
        let rows = tx
            .query(
                "SELECT g.name FROM group_member m JOIN device_group g ON g.id = m.group_id
                 WHERE m.device_id = ? AND g.tenant_id = ? ORDER BY g.name",
                args![device, tenant],
            )
            .await?;
        tx.rollback().await?;
        let Some(row) = row else { return Ok(None) };
        let groups = rows.iter().map(|row| row.text(0)).collect::<Result<_>>()?;
        Ok(Some((row.text(0)?, groups)))
    }
}

/// What is said where nothing is on trial.
pub(crate) const NO_TRIAL: Error = Error::NotFound("a version on trial");

async fn found(tx: &mut sql::Tx, plugin: &str) -> Result<Option<TrialRow>> {
    let locking = super::identity::locking(tx);
    let sql = format!("SELECT {COLUMNS} FROM plugin_trial WHERE plugin_id = ?{locking}");
    let row = tx.query_one(&sql, args![plugin]).await?;
    row.as_ref().map(trial).transpose()
}

async fn forget(tx: &mut sql::Tx, plugin: &str) -> Result<()> {
    for table in ["plugin_trial_count", "plugin_trial_difference"] {
        let sql = format!("DELETE FROM {table} WHERE plugin_id = ?");
        tx.execute(&sql, args![plugin]).await?;
    }
    Ok(())
}

/// Ends a trial, if there is one; says which version was on trial, and what was counted.
pub(super) async fn end(tx: &mut sql::Tx, plugin: &str) -> Result<Option<Value>> {
    let Some(trial) = found(tx, plugin).await? else {
        return Ok(None);
    };
    let mut all = TrialCount::default();
    for (.., count) in counted(tx, plugin, None).await? {
        all.add(count);
    }
    tx.execute(
        "DELETE FROM plugin_trial WHERE plugin_id = ?",
        args![plugin],
    )
    .await?;
    forget(tx, plugin).await?;
    Ok(Some(json!({
        "version": trial.version, "digest": trial.digest, "as": trial.mode.shown(),
        "same": all.same, "different": all.different,
        "active_failed": all.active_failed, "trial_failed": all.trial_failed,
    })))
}

/// `now` has come in force in the place of `before`: that ends the trial when it is the package on trial, and else what was
/// counted, since that was compared with the one before. A canary that keeps values otherwise decides nothing from then on. Gives
/// what ended.
pub(super) async fn replaced(
    tx: &mut sql::Tx,
    before: Option<&PluginRow>,
    now: &PluginRow,
) -> Result<Option<Value>> {
    let Some(trial) = found(tx, &now.id).await? else {
        return Ok(None);
    };
    if trial.digest == now.digest {
        return end(tx, &now.id).await;
    }
    if before.is_none_or(|before| before.digest != now.digest) {
        forget(tx, &now.id).await?;
    }
    if check_values(now, trial.kv_schema, &trial.mode).is_err() {
        tx.execute(
            "UPDATE plugin_trial SET mode = ?, share = NULL, group_name = NULL, mode_since = ? WHERE plugin_id = ?",
            args![TrialMode::Shadow.as_str(), now.installed_at, now.id.as_str()],
        )
        .await?;
    }
    Ok(None)
}

/// A version that decides writes values as its own schema has them; beside an active version with another one they would be
/// lost or mixed up when the trial ends.
fn check_values(active: &PluginRow, trial: Option<u32>, mode: &TrialMode) -> Result<()> {
    match (active.kv_schema, trial) {
        (Some(active), Some(trial)) if active != trial && *mode != TrialMode::Shadow => {
            Err(Error::Invalid(format!(
                "it keeps values under schema {trial}, the active version under {active}: as a canary it would mix them up. Try it \
                 with --shadow"
            )))
        }
        _ => Ok(()),
    }
}

/// The rows of a plugin, in one tenant or in all.
fn of(plugin: &str, tenant: Option<TenantId>) -> (&'static str, Vec<sql::Arg>) {
    match tenant {
        Some(tenant) => ("plugin_id = ? AND tenant_id = ?", args![plugin, tenant]),
        None => ("plugin_id = ?", args![plugin]),
    }
}

async fn counted(
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
