//! Versions of a plugin in the place of each other.
//!
//! Owns: putting a version in force, in one transaction with the tenants' settings, the values and the audit; the one
//! version before it, kept with its package and with what tenants had set for it; and what becomes of values under numbers
//! that are not in force. Which version may be put in force and what settings become is not its business.

use std::collections::HashMap;

use serde_json::json;

use super::plugin_trials;
use super::plugins::{self, PluginRow, operator};
use super::sql::{Tx, args};
use super::{Store, admin_audit};
use crate::actor::Actor;
use crate::clock::{DAY, Micros};
use crate::error::{Error, Result};
use crate::ids::TenantId;

/// Values of a version that was replaced are kept for so long when the one in force keeps its own under another number.
pub(crate) const VALUES_KEPT: Micros = 7 * DAY;

/// The version that was in force before, without its package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousRow {
    /// Its row, as it was when it was replaced.
    pub row: PluginRow,
    /// The number under which its values are kept.
    pub kv_schema: u32,
    /// When it was replaced.
    pub replaced_at: Micros,
    /// Values under other numbers than that of the version in force are deleted then; none: they are.
    pub values_until: Option<Micros>,
}

/// What a tenant's settings become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) tenant: TenantId,
    /// As they are.
    pub(crate) before: String,
    /// For the version that comes.
    pub(crate) after: String,
}

/// A version on its way into force.
pub(crate) struct Coming {
    /// Its row.
    pub(crate) row: PluginRow,
    /// Its package.
    pub(crate) package: Vec<u8>,
    /// The version that it is to replace, as it was looked at; none: nothing is installed.
    pub(crate) replaces: Option<PluginRow>,
    /// The number under which the values of that version are kept.
    pub(crate) schema_before: u32,
    /// What the settings of every tenant become.
    pub(crate) settings: Vec<Carried>,
    /// Whether it is the version before, which finds its values as they were.
    pub(crate) back: bool,
}

impl Coming {
    fn replaces_another(&self) -> bool {
        let before = self.replaces.as_ref();
        before.is_some_and(|before| before.digest != self.row.digest)
    }
}

const COLUMNS: &str =
    "plugin_id, version, title, digest, trust, signed_by, countersigned_by, source,
                       installed_at, rights, kv_schema, replaced_at, values_until";

impl Store {
    /// The version before the one in force, of each plugin that has one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn previous_plugins(&self) -> Result<Vec<PreviousRow>> {
        let mut tx = self.begin_read().await?;
        let sql = format!("SELECT {COLUMNS} FROM plugin_version ORDER BY plugin_id");
        let rows = tx.query(&sql, args![]).await?;
        tx.rollback().await?;
        rows.iter().map(previous).collect()
    }

    /// The version before the one in force, with its package; nothing when none is kept.
    pub(crate) async fn previous_plugin(
        &self,
        plugin: &str,
    ) -> Result<Option<(PreviousRow, Vec<u8>)>> {
        let mut tx = self.begin_read().await?;
        let sql = format!("SELECT {COLUMNS}, package FROM plugin_version WHERE plugin_id = ?");
        let row = tx.query_one(&sql, args![plugin]).await?;
        tx.rollback().await?;
        row.map(|row| Ok((previous(&row)?, row.bytes(13)?)))
            .transpose()
    }

    /// What tenants had set for the version before the one in force, and what came of it.
    pub(crate) async fn previous_settings(
        &self,
        plugin: &str,
    ) -> Result<HashMap<TenantId, Carried>> {
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT tenant_id, settings, carried FROM plugin_version_settings WHERE plugin_id = ?",
                args![plugin],
            )
            .await?;
        tx.rollback().await?;
        let mut all = HashMap::with_capacity(rows.len());
        for row in &rows {
            let tenant = TenantId(row.uuid(0)?);
            let carried = Carried {
                tenant,
                before: row.text(1)?,
                after: row.text(2)?,
            };
            all.insert(tenant, carried);
        }
        Ok(all)
    }

    /// Puts a version in force, all of it or nothing. Says no when a tenant's settings are not those that were carried over
    /// any more: then they have to be looked at again.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another version was put in force meanwhile, or what it would go back to is gone.
    pub(crate) async fn put_plugin_in_force(&self, actor: Actor, coming: Coming) -> Result<bool> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let found = plugins::lock(&mut tx, &coming.row.id).await?;
        // What was looked at counts: rights that were narrowed meanwhile must not come back with the new version.
        let as_seen = |row: &PluginRow| (row.digest.clone(), row.rights.clone());
        let meanwhile = || {
            Error::Conflict(format!(
                "another version of {} was put in force, or it was granted other rights or taken out meanwhile; look at what is installed and try again",
                coming.row.id
            ))
        };
        if found.as_ref().map(as_seen) != coming.replaces.as_ref().map(as_seen) {
            return Err(meanwhile());
        }
        let first = found.is_none();
        let mut changed = 0;
        if coming.replaces_another() {
            if coming.back {
                still_there(&mut tx, &coming, now).await?;
            }
            let Some(present) = present(&mut tx, &coming).await? else {
                tx.rollback().await?;
                return Ok(false);
            };
            keep(&mut tx, &coming, &present, now).await?;
            changed = carry(&mut tx, &coming.row.id, &present, now).await?;
            if !coming.back {
                copy_values(&mut tx, &coming).await?;
            }
        }
        let (row, package, back) = (&coming.row, coming.package.clone(), coming.back);
        if !plugins::write(&mut tx, row, package, first).await? && first {
            return Err(meanwhile());
        }
        if !back {
            // Whatever waited in its place has been overtaken.
            let gone = "DELETE FROM plugin_waiting WHERE plugin_id = ?";
            tx.execute(gone, args![row.id.as_str()]).await?;
        }
        let ended = plugin_trials::replaced(&mut tx, found.as_ref(), row).await?;
        // Settings are not for the audit: a plugin may keep there what is nobody else's business.
        let details = json!({
            "version": row.version,
            "digest": row.digest,
            "trust": row.vouched.level,
            "source": row.source,
            "rights": row.rights,
            "replaces": found.map(|old| json!({ "version": old.version, "digest": old.digest })),
            "settings_changed": changed,
            "ends_trial": ended,
        });
        let action = if back {
            "plugin.rollback"
        } else {
            "plugin.install"
        };
        admin_audit::append(&mut tx, now, operator(actor, action, &row.id, details)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes values that no version can be put in force for any more. Says of how many plugins.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn forget_former_values(&self) -> Result<usize> {
        let now = self.clock().now();
        let mut tx = self.begin_read().await?;
        let due = tx
            .query(
                "SELECT plugin_id FROM plugin_version WHERE values_until <= ? ORDER BY plugin_id",
                args![now],
            )
            .await?;
        tx.rollback().await?;
        let mut done = 0;
        for row in &due {
            let plugin = row.text(0)?;
            let mut tx = self.begin().await?;
            // Under the lock no other version comes into force, so that the number is the one in force.
            let live = plugins::lock(&mut tx, &plugin).await?;
            let ours = tx
                .execute(
                    "UPDATE plugin_version SET values_until = NULL WHERE plugin_id = ? AND values_until <= ?",
                    args![plugin.as_str(), now],
                )
                .await?;
            done += usize::from(ours == 1);
            if ours == 1
                && let Some(schema) = live.and_then(|row| row.kv_schema)
            {
                tx.execute(
                    "DELETE FROM plugin_value WHERE plugin_id = ? AND schema <> ?",
                    args![plugin.as_str(), schema],
                )
                .await?;
            }
            tx.commit().await?;
        }
        Ok(done)
    }
}

fn previous(row: &super::sql::Row) -> Result<PreviousRow> {
    let schema = row.int(10)?;
    let kv_schema = u32::try_from(schema)
        .map_err(|source| Error::internal("reading the version of a plugin", source))?;
    Ok(PreviousRow {
        row: PluginRow {
            id: row.text(0)?,
            version: row.text(1)?,
            title: row.text(2)?,
            digest: row.text(3)?,
            vouched: plugins::vouched(row, 4)?,
            source: row.opt_text(7)?,
            suspended: false,
            installed_at: row.int(8)?,
            rights: row.opt_text(9)?,
            kv_schema: Some(kv_schema),
        },
        kv_schema,
        replaced_at: row.int(11)?,
        values_until: row.opt_int(12)?,
    })
}

/// That the version to go back to is still the one that is kept, and its values too.
async fn still_there(tx: &mut Tx, coming: &Coming, now: Micros) -> Result<()> {
    let sql = format!("SELECT {COLUMNS} FROM plugin_version WHERE plugin_id = ?");
    let row = tx.query_one(&sql, args![coming.row.id.as_str()]).await?;
    let kept = row.as_ref().map(previous).transpose()?;
    let there = kept.is_some_and(|kept| {
        kept.row.digest == coming.row.digest
            && (kept.kv_schema == coming.schema_before
                || kept.values_until.is_some_and(|until| now < until))
    });
    match there {
        true => Ok(()),
        false => Err(Error::Conflict(format!(
            "the version before of {} or its values went a moment ago; look at what is installed",
            coming.row.id
        ))),
    }
}

/// The tenants that have it switched on now, and what their settings become; nothing when those of one were changed.
async fn present(tx: &mut Tx, coming: &Coming) -> Result<Option<Vec<Carried>>> {
    let locking = super::identity::locking(tx);
    let sql = format!(
        "SELECT tenant_id, settings FROM plugin_switch WHERE plugin_id = ? ORDER BY tenant_id{locking}"
    );
    let rows = tx.query(&sql, args![coming.row.id.as_str()]).await?;
    let carried: HashMap<TenantId, &Carried> = (coming.settings.iter())
        .map(|carried| (carried.tenant, carried))
        .collect();
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        let settings = row.text(1)?;
        match carried.get(&TenantId(row.uuid(0)?)) {
            Some(carried) if carried.before == settings => all.push((*carried).clone()),
            _ => return Ok(None),
        }
    }
    Ok(Some(all))
}

/// Keeps the version in force as the one before, in the place of another.
async fn keep(tx: &mut Tx, coming: &Coming, present: &[Carried], now: Micros) -> Result<()> {
    let id = coming.row.id.as_str();
    for table in ["plugin_version", "plugin_version_settings"] {
        let sql = format!("DELETE FROM {table} WHERE plugin_id = ?");
        tx.execute(&sql, args![id]).await?;
    }
    tx.execute(
        "INSERT INTO plugin_version (plugin_id, version, title, digest, package, trust, signed_by, countersigned_by,
                                     source, installed_at, rights, kv_schema, replaced_at, values_until)
         SELECT id, version, title, digest, package, trust, signed_by, countersigned_by, source, installed_at, rights,
                CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT)
         FROM plugin WHERE id = ?",
        args![
            coming.schema_before,
            now,
            now.saturating_add(VALUES_KEPT),
            id
        ],
    )
    .await?;
    for carried in present {
        tx.execute(
            "INSERT INTO plugin_version_settings (plugin_id, tenant_id, settings, carried) VALUES (?, ?, ?, ?)",
            args![
                id,
                carried.tenant,
                carried.before.as_str(),
                carried.after.as_str()
            ],
        )
        .await?;
    }
    Ok(())
}

/// Gives tenants the settings that were made for the version that comes. Says of how many they are others.
async fn carry(tx: &mut Tx, plugin: &str, present: &[Carried], now: Micros) -> Result<usize> {
    let mut changed = 0;
    for carried in present {
        if carried.before == carried.after {
            continue;
        }
        tx.execute(
            "UPDATE plugin_switch SET settings = ?, switched_at = ? WHERE plugin_id = ? AND tenant_id = ?",
            args![carried.after.as_str(), now, plugin, carried.tenant],
        )
        .await?;
        changed += 1;
    }
    Ok(changed)
}

/// Gives a version that keeps its values under another number a copy of those that are there.
async fn copy_values(tx: &mut Tx, coming: &Coming) -> Result<()> {
    let (id, from) = (coming.row.id.as_str(), coming.schema_before);
    let Some(to) = coming.row.kv_schema.filter(|to| *to != from) else {
        return Ok(());
    };
    // What stands there is of a version long gone: none on trial writes values of another schema than the one in force.
    tx.execute(
        "DELETE FROM plugin_value WHERE plugin_id = ? AND schema = ?",
        args![id, to],
    )
    .await?;
    tx.execute(
        "INSERT INTO plugin_value (tenant_id, plugin_id, schema, name, value, changed_at)
         SELECT tenant_id, plugin_id, CAST(? AS BIGINT), name, value, changed_at
         FROM plugin_value WHERE plugin_id = ? AND schema = ?",
        args![to, id, from],
    )
    .await
    .map(drop)
}
