//! Installed plugins, and who has switched them on.
//!
//! Owns: their rows, each change in one transaction with its audit record. What a package holds is not its business.

use serde_json::json;

use super::sql::args;
use super::{Store, admin_audit, plugin_trials, sql};
use crate::actor::Actor;
use crate::admin::audit::AuditEntry;
use crate::admin::trust::{TrustLevel, Vouched};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::{PrincipalId, TenantId};

/// An installed plugin, without its package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginRow {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its name, for people.
    pub title: String,
    /// The digest of its package.
    pub digest: String,
    /// Who vouched for it when it was installed.
    pub vouched: Vouched,
    /// The reference in a registry that it was fetched by, as whoever installed it told.
    pub source: Option<String>,
    /// Whether the operator has stopped it everywhere.
    pub suspended: bool,
    /// When it was installed.
    pub installed_at: Micros,
    /// What the operator has granted, as JSON; none: what its manifest asked for when it was installed.
    pub rights: Option<String>,
    /// The number under which its values are kept; unknown of one that was installed by an older server.
    pub kv_schema: Option<u32>,
}

/// A plugin that a tenant has switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchRow {
    /// The tenant.
    pub tenant: TenantId,
    /// The plugin.
    pub plugin: String,
    /// Who stands as actor on what it does.
    pub principal: PrincipalId,
    /// Its settings, as JSON.
    pub settings: String,
    /// When it was switched on or its settings were changed.
    pub switched_at: Micros,
    /// What the tenant grants, as JSON; none: what the operator does.
    pub rights: Option<String>,
}

const COLUMNS: &str =
    "id, version, title, digest, trust, signed_by, countersigned_by, source, suspended,
                       installed_at, rights, kv_schema";

/// Who vouches for a package, from the three columns that begin there.
pub(super) fn vouched(row: &sql::Row, at: usize) -> Result<Vouched> {
    Ok(Vouched {
        level: TrustLevel::from_word(&row.text(at)?),
        signed_by: row.opt_text(at + 1)?,
        countersigned_by: row.opt_text(at + 2)?,
    })
}

fn plugin(row: &sql::Row) -> Result<PluginRow> {
    Ok(PluginRow {
        id: row.text(0)?,
        version: row.text(1)?,
        title: row.text(2)?,
        digest: row.text(3)?,
        vouched: vouched(row, 4)?,
        source: row.opt_text(7)?,
        suspended: row.int(8)? != 0,
        installed_at: row.int(9)?,
        rights: row.opt_text(10)?,
        kv_schema: row.opt_int(11)?.and_then(|n| u32::try_from(n).ok()),
    })
}

/// What becomes of a tenant's own rights of a plugin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OwnRights<'a> {
    /// They stay; at first all that the operator grants.
    AsTheyAre,
    /// All that the operator grants.
    All,
    /// These, as JSON.
    Only(&'a str),
}

impl Store {
    /// Every installed plugin, by id.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn plugins(&self) -> Result<Vec<PluginRow>> {
        let mut tx = self.begin_read().await?;
        let sql = format!("SELECT {COLUMNS} FROM plugin ORDER BY id");
        let rows = tx.query(&sql, args![]).await?;
        tx.rollback().await?;
        rows.iter().map(plugin).collect()
    }

    /// The package of a plugin.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not installed.
    pub async fn plugin_package(&self, id: &str) -> Result<Vec<u8>> {
        let mut tx = self.begin_read().await?;
        let row = tx
            .query_one("SELECT package FROM plugin WHERE id = ?", args![id])
            .await?;
        tx.rollback().await?;
        row.ok_or(Error::NotFound("the plugin"))?.bytes(0)
    }

    /// Stops a plugin everywhere, or lets it go on. `id` none means all.
    pub(crate) async fn suspend_plugins(
        &self,
        actor: Actor,
        id: Option<&str>,
        suspended: bool,
    ) -> Result<u64> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let flag = i64::from(suspended);
        let changed = match id {
            Some(id) => {
                let sql = "UPDATE plugin SET suspended = ? WHERE id = ?";
                tx.execute(sql, args![flag, id]).await?
            }
            None => {
                tx.execute("UPDATE plugin SET suspended = ?", args![flag])
                    .await?
            }
        };
        if id.is_some() && changed == 0 {
            return Err(Error::NotFound("the plugin"));
        }
        let action = if suspended {
            "plugin.suspend"
        } else {
            "plugin.resume"
        };
        let entry = operator(
            actor,
            action,
            id.unwrap_or("*"),
            json!({ "plugins": changed }),
        );
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Takes a plugin out, with every tenant's settings of it and the events that wait for it.
    pub(crate) async fn remove_plugin(&self, actor: Actor, id: &str) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let gone = tx
            .execute("DELETE FROM plugin WHERE id = ?", args![id])
            .await?;
        if gone == 0 {
            return Err(Error::NotFound("the plugin"));
        }
        let ended = plugin_trials::end(&mut tx, id).await?;
        let tenants = tx
            .execute("DELETE FROM plugin_switch WHERE plugin_id = ?", args![id])
            .await?;
        tx.execute("DELETE FROM outbox WHERE consumer = ?", args![id])
            .await?;
        clear(&mut tx, &[SAID, KEPT].concat(), id, None).await?;
        let entry = operator(
            actor,
            "plugin.remove",
            id,
            json!({ "tenants": tenants, "ends_trial": ended }),
        );
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }

    /// Everything that is switched on, in all tenants.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn plugin_switches(&self) -> Result<Vec<SwitchRow>> {
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT tenant_id, plugin_id, principal_id, settings, switched_at, rights FROM plugin_switch
                 ORDER BY tenant_id, plugin_id",
                args![],
            )
            .await?;
        tx.rollback().await?;
        rows.iter()
            .map(|row| {
                Ok(SwitchRow {
                    tenant: TenantId(row.uuid(0)?),
                    plugin: row.text(1)?,
                    principal: PrincipalId(row.uuid(2)?),
                    settings: row.text(3)?,
                    switched_at: row.int(4)?,
                    rights: row.opt_text(5)?,
                })
            })
            .collect()
    }

    /// Switches a plugin on for a tenant, or changes its settings or rights there. The first time it gets a principal of its own
    /// there. `digest` is the package that has seen the settings: they are kept for no other. Without settings those that stand stay.
    pub(crate) async fn switch_plugin_on(
        &self,
        actor: Actor,
        tenant: TenantId,
        (id, digest): (&str, &str),
        settings: Option<&str>,
        rights: OwnRights<'_>,
    ) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let found = lock(&mut tx, id)
            .await?
            .ok_or(Error::NotFound("the plugin"))?;
        if found.digest != digest {
            return Err(Error::Conflict(format!(
                "{id} was put in the place of another version a moment ago; try again"
            )));
        }
        let title = found.title;
        let known = tx
            .query_one(
                "SELECT principal_id, settings, rights FROM plugin_switch WHERE tenant_id = ? AND plugin_id = ?",
                args![tenant, id],
            )
            .await?;
        let standing = known.as_ref();
        let settings = match settings {
            Some(settings) => settings.to_owned(),
            None => standing
                .map(|row| row.text(1))
                .transpose()?
                .ok_or_else(|| Error::Conflict(format!("{id} was switched off a moment ago")))?,
        };
        let rights = match rights {
            OwnRights::Only(rights) => Some(rights.to_owned()),
            OwnRights::All => None,
            OwnRights::AsTheyAre => standing.map(|row| row.opt_text(2)).transpose()?.flatten(),
        };
        let principal = match known {
            Some(row) => row.uuid(0)?,
            None => {
                let principal = self.random().uuid(now);
                tx.execute(
                    "INSERT INTO principal (id, tenant_id, kind, name, created_by, created_at, disabled_at)
                     VALUES (?, ?, 'plugin', ?, ?, ?, NULL)",
                    args![principal, tenant, title, actor.id, now],
                )
                .await?;
                principal
            }
        };
        tx.execute(
            "INSERT INTO plugin_switch (tenant_id, plugin_id, principal_id, settings, switched_at, rights)
             VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (tenant_id, plugin_id) DO UPDATE SET settings = excluded.settings,
                switched_at = excluded.switched_at, rights = excluded.rights",
            args![tenant, id, principal, settings, now, rights.clone()],
        )
        .await?;
        // Settings are not for the audit: a plugin may keep there what is nobody else's business.
        let entry = AuditEntry {
            tenant: Some(tenant),
            ..operator(actor, "plugin.enable", id, json!({ "rights": rights }))
        };
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }

    /// Switches a plugin off for a tenant; its settings and the events that wait for it are gone.
    pub(crate) async fn switch_plugin_off(
        &self,
        actor: Actor,
        tenant: TenantId,
        id: &str,
    ) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let gone = tx
            .execute(
                "DELETE FROM plugin_switch WHERE tenant_id = ? AND plugin_id = ?",
                args![tenant, id],
            )
            .await?;
        if gone == 0 {
            return Err(Error::NotFound("the plugin"));
        }
        tx.execute(
            "DELETE FROM outbox WHERE tenant_id = ? AND consumer = ?",
            args![tenant, id],
        )
        .await?;
        clear(&mut tx, SAID, id, Some(tenant)).await?;
        let entry = AuditEntry {
            tenant: Some(tenant),
            ..operator(actor, "plugin.disable", id, json!({}))
        };
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }
}

/// The row of an installed plugin, which stays as it is until the transaction ends.
pub(super) async fn lock(tx: &mut sql::Tx, id: &str) -> Result<Option<PluginRow>> {
    let locking = super::identity::locking(tx);
    let sql = format!("SELECT {COLUMNS} FROM plugin WHERE id = ?{locking}");
    let row = tx.query_one(&sql, args![id]).await?;
    row.as_ref().map(plugin).transpose()
}

/// Writes the row of a plugin, in the place of the one that is there; of the first one it says whether nobody was before it.
pub(super) async fn write(
    tx: &mut sql::Tx,
    row: &PluginRow,
    package: Vec<u8>,
    first: bool,
) -> Result<bool> {
    let meeting = match first {
        true => "NOTHING",
        false => {
            "UPDATE SET version = excluded.version, title = excluded.title,
            digest = excluded.digest, package = excluded.package,
            trust = excluded.trust, signed_by = excluded.signed_by,
            countersigned_by = excluded.countersigned_by, source = excluded.source,
            installed_at = excluded.installed_at, rights = excluded.rights,
            kv_schema = excluded.kv_schema"
        }
    };
    let sql = format!(
        "INSERT INTO plugin (id, version, title, digest, package, trust, signed_by,
                             countersigned_by, source, suspended, installed_at, rights, kv_schema)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)
         ON CONFLICT (id) DO {meeting}"
    );
    let written = tx
        .execute(
            &sql,
            args![
                row.id.as_str(),
                row.version.as_str(),
                row.title.as_str(),
                row.digest.as_str(),
                package,
                row.vouched.level.as_str(),
                row.vouched.signed_by.clone(),
                row.vouched.countersigned_by.clone(),
                row.source.clone(),
                row.installed_at,
                row.rights.clone(),
                row.kv_schema.map(i64::from)
            ],
        )
        .await?;
    Ok(written > 0)
}

/// What goes when a plugin is switched off.
const SAID: &[&str] = &[
    "assessment",
    "finding",
    "contribution",
    "plugin_job",
    "plugin_trial_count",
    "plugin_trial_difference",
    "plugin_version_settings",
];
/// What goes only with the plugin.
const KEPT: &[&str] = &[
    "plugin_value",
    "plugin_secret",
    "notice",
    "plugin_order",
    "plugin_waiting",
    "plugin_version",
];

/// Deletes a plugin's rows of these tables, in one tenant or in all.
async fn clear(
    tx: &mut sql::Tx,
    tables: &[&str],
    plugin: &str,
    tenant: Option<TenantId>,
) -> Result<()> {
    for table in tables {
        let sql = format!("DELETE FROM {table} WHERE plugin_id = ?");
        match tenant {
            Some(tenant) => {
                let sql = format!("{sql} AND tenant_id = ?");
                tx.execute(&sql, args![plugin, tenant]).await?
            }
            None => tx.execute(&sql, args![plugin]).await?,
        };
    }
    Ok(())
}

/// The record of something that the operator did.
pub(super) fn operator(
    actor: Actor,
    action: &'static str,
    plugin: &str,
    details: serde_json::Value,
) -> AuditEntry {
    AuditEntry {
        tenant: None,
        actor,
        action,
        target: plugin.to_owned(),
        details,
    }
}
