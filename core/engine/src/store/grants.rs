//! What plugins are granted, which versions wait for it, and the secrets that they may use.
//!
//! Owns: those rows, each change in one transaction with its audit record. What a right means is not its business; a secret is
//! stored sealed, for its tenant, plugin and name alone.

use serde_json::json;

use super::plugins::{PluginRow, operator};
use super::sql::args;
use super::{Store, admin_audit};
use crate::actor::Actor;
use crate::admin::audit::AuditEntry;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::seal::Place;

/// A version that waits, since it asks for more than was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRow {
    /// The plugin.
    pub plugin: String,
    /// The version.
    pub version: String,
    /// Its name, for people.
    pub title: String,
    /// The digest of its package.
    pub digest: String,
    /// The reference in a registry that it was fetched by, as whoever offered it told.
    pub source: Option<String>,
    /// What it asks for, as JSON.
    pub rights: String,
    /// When it was offered.
    pub offered_at: Micros,
}

/// A secret, without what is secret about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// Its name.
    pub name: String,
    /// The one host that it may be sent to.
    pub host: String,
    /// When it was set.
    pub set_at: Micros,
}

fn place<'a>(row: &'a [u8]) -> Place<'a> {
    Place {
        table: "plugin_secret",
        column: "sealed",
        row,
    }
}

/// The row that a secret is sealed for.
fn row_of(plugin: &str, name: &str, host: &str) -> Vec<u8> {
    // None of them can hold a zero byte.
    [plugin, name, host].join("\0").into_bytes()
}

impl Store {
    /// The versions that wait.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn waiting_plugins(&self) -> Result<Vec<WaitingRow>> {
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT plugin_id, version, title, digest, rights, offered_at, source
                 FROM plugin_waiting ORDER BY plugin_id",
                args![],
            )
            .await?;
        tx.rollback().await?;
        rows.iter()
            .map(|row| {
                Ok(WaitingRow {
                    plugin: row.text(0)?,
                    version: row.text(1)?,
                    title: row.text(2)?,
                    digest: row.text(3)?,
                    rights: row.text(4)?,
                    offered_at: row.int(5)?,
                    source: row.opt_text(6)?,
                })
            })
            .collect()
    }

    /// Lets a version wait, in the place of one that waits already.
    pub(crate) async fn let_plugin_wait(
        &self,
        actor: Actor,
        row: &WaitingRow,
        package: Vec<u8>,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        tx.execute(
            "INSERT INTO plugin_waiting (plugin_id, version, title, digest, package, rights, offered_at, source)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (plugin_id) DO UPDATE SET version = excluded.version, title = excluded.title,
                digest = excluded.digest, package = excluded.package, rights = excluded.rights,
                offered_at = excluded.offered_at, source = excluded.source",
            args![
                row.plugin.as_str(),
                row.version.as_str(),
                row.title.as_str(),
                row.digest.as_str(),
                package,
                row.rights.as_str(),
                row.offered_at,
                row.source.clone()
            ],
        )
        .await?;
        let details = json!({
            "version": row.version,
            "digest": row.digest,
            "rights": row.rights,
            "source": row.source,
        });
        let entry = operator(actor, "plugin.offer", &row.plugin, details);
        admin_audit::append(&mut tx, row.offered_at, entry).await?;
        tx.commit().await
    }

    /// The package of the version that waits, and where it came from.
    ///
    /// # Errors
    /// [`Error::NotFound`] when none waits.
    pub async fn waiting_package(&self, plugin: &str) -> Result<(Vec<u8>, Option<String>)> {
        let mut tx = self.begin_read().await?;
        let row = tx
            .query_one(
                "SELECT package, source FROM plugin_waiting WHERE plugin_id = ?",
                args![plugin],
            )
            .await?;
        tx.rollback().await?;
        let row = row.ok_or(Error::NotFound("a version that waits"))?;
        Ok((row.bytes(0)?, row.opt_text(1)?))
    }

    /// Sends away the version that waits.
    pub(crate) async fn decline_plugin(&self, actor: Actor, plugin: &str) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let gone = tx
            .execute(
                "DELETE FROM plugin_waiting WHERE plugin_id = ?",
                args![plugin],
            )
            .await?;
        if gone == 0 {
            return Err(Error::NotFound("a version that waits"));
        }
        let entry = operator(actor, "plugin.decline", plugin, json!({}));
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }

    /// Sets what the operator grants a plugin.
    pub(crate) async fn grant_plugin(
        &self,
        actor: Actor,
        plugin: &PluginRow,
        rights: &str,
    ) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        tx.execute(
            "UPDATE plugin SET rights = ? WHERE id = ?",
            args![rights, plugin.id.as_str()],
        )
        .await?;
        let details = json!({ "rights": rights, "before": plugin.rights });
        let entry = operator(actor, "plugin.grant", &plugin.id, details);
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }

    /// The secrets that a tenant has set for a plugin.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn plugin_secrets(&self, tenant: TenantId, plugin: &str) -> Result<Vec<SecretRow>> {
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT name, host, set_at FROM plugin_secret WHERE tenant_id = ? AND plugin_id = ? ORDER BY name",
                args![tenant, plugin],
            )
            .await?;
        tx.rollback().await?;
        rows.iter()
            .map(|row| {
                Ok(SecretRow {
                    name: row.text(0)?,
                    host: row.text(1)?,
                    set_at: row.int(2)?,
                })
            })
            .collect()
    }

    /// A secret, with the host that it may be sent to. The caller shows it to nobody.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none of that name.
    pub async fn plugin_secret(
        &self,
        tenant: TenantId,
        plugin: &str,
        name: &str,
    ) -> Result<(String, Vec<u8>)> {
        let mut tx = self.begin_read().await?;
        let row = tx
            .query_one(
                "SELECT host, sealed FROM plugin_secret WHERE tenant_id = ? AND plugin_id = ? AND name = ?",
                args![tenant, plugin, name],
            )
            .await?;
        tx.rollback().await?;
        let row = row.ok_or(Error::NotFound("the secret"))?;
        let host = row.text(0)?;
        let keys = self.keys(tenant).await?;
        let secret = keys.open(place(&row_of(plugin, name, &host)), &row.bytes(1)?)?;
        Ok((host, secret))
    }

    /// Sets a secret, or takes it away when there is no value.
    pub(crate) async fn set_plugin_secret(
        &self,
        actor: Actor,
        (tenant, plugin, name): (TenantId, &str, &str),
        value: Option<(&str, &[u8])>,
    ) -> Result<()> {
        let now = self.clock().now();
        let keys = self.keys(tenant).await?;
        let mut tx = self.begin().await?;
        match value {
            Some((host, secret)) => {
                let row = row_of(plugin, name, host);
                let sealed = keys.seal(self.random().as_ref(), place(&row), secret)?;
                tx.execute(
                    "INSERT INTO plugin_secret (tenant_id, plugin_id, name, host, sealed, set_at) VALUES (?, ?, ?, ?, ?, ?)
                     ON CONFLICT (tenant_id, plugin_id, name) DO UPDATE SET host = excluded.host, sealed = excluded.sealed,
                        set_at = excluded.set_at",
                    args![tenant, plugin, name, host, sealed, now],
                )
                .await?;
            }
            None => {
                let gone = tx
                    .execute(
                        "DELETE FROM plugin_secret WHERE tenant_id = ? AND plugin_id = ? AND name = ?",
                        args![tenant, plugin, name],
                    )
                    .await?;
                if gone == 0 {
                    return Err(Error::NotFound("the secret"));
                }
            }
        }
        let details = json!({ "name": name, "host": value.map(|(host, _)| host), "removed": value.is_none() });
        let entry = AuditEntry {
            tenant: Some(tenant),
            ..operator(actor, "plugin.secret", plugin, details)
        };
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }
}
