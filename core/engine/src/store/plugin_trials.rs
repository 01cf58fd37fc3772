//! Versions of plugins that are on trial beside the active one.
//!
//! Owns: those rows, changed in one transaction with their audit record. What comparing the two has shown is in `trial_counts`;
//! who is asked is not its business.

use serde_json::{Value, json};

use super::plugins::{self, PluginRow, operator};
use super::sql::{self, args};
use super::trial_counts::{TrialCount, counted, forget};
use super::{Store, admin_audit};
use crate::actor::Actor;
use crate::admin::trust::Vouched;
use crate::clock::Micros;
use crate::error::{Error, Result};

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
}

/// What is said where nothing is on trial.
pub(crate) const NO_TRIAL: Error = Error::NotFound("a version on trial");

async fn found(tx: &mut sql::Tx, plugin: &str) -> Result<Option<TrialRow>> {
    let locking = super::identity::locking(tx);
    let sql = format!("SELECT {COLUMNS} FROM plugin_trial WHERE plugin_id = ?{locking}");
    let row = tx.query_one(&sql, args![plugin]).await?;
    row.as_ref().map(trial).transpose()
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
