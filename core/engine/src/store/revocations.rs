//! What is revoked among plugins.
//!
//! Owns: the rows of `plugin_revocation`, each change in one transaction with its audit record. What a revocation means
//! is not its business.

use serde_json::json;

use super::admin_audit;
use super::sql::args;
use super::{Store, plugins};
use crate::actor::Actor;
use crate::admin::trust::{RevocationKind, RevocationRow, Revocations};
use crate::error::{Error, Result};

impl Store {
    /// Everything that is revoked, the latest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn plugin_revocations(&self) -> Result<Revocations> {
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT kind, value, reason, revoked_at FROM plugin_revocation
                 ORDER BY revoked_at DESC, kind, value",
                args![],
            )
            .await?;
        tx.rollback().await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            // A kind of a later version means nothing to this one.
            let Some(kind) = RevocationKind::from_word(&row.text(0)?) else {
                continue;
            };
            all.push(RevocationRow {
                kind,
                value: row.text(1)?,
                reason: row.text(2)?,
                revoked_at: row.int(3)?,
            });
        }
        Ok(Revocations(all))
    }

    /// Revokes, or gives a revocation another reason.
    pub(crate) async fn revoke_plugins(&self, actor: Actor, row: RevocationRow) -> Result<()> {
        let mut tx = self.begin().await?;
        tx.execute(
            "INSERT INTO plugin_revocation (kind, value, reason, revoked_by, revoked_at)
             VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (kind, value) DO UPDATE SET reason = excluded.reason,
                revoked_by = excluded.revoked_by, revoked_at = excluded.revoked_at",
            args![
                row.kind.as_str(),
                row.value.as_str(),
                row.reason.as_str(),
                actor.id,
                row.revoked_at
            ],
        )
        .await?;
        let details = json!({ "reason": row.reason });
        let entry = plugins::operator(actor, "plugin.revoke", &name(row.kind, &row.value), details);
        admin_audit::append(&mut tx, row.revoked_at, entry).await?;
        tx.commit().await
    }

    /// Takes a revocation back.
    pub(crate) async fn unrevoke_plugins(
        &self,
        actor: Actor,
        kind: RevocationKind,
        value: &str,
    ) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let gone = tx
            .execute(
                "DELETE FROM plugin_revocation WHERE kind = ? AND value = ?",
                args![kind.as_str(), value],
            )
            .await?;
        if gone == 0 {
            return Err(Error::NotFound("the revocation"));
        }
        let entry = plugins::operator(actor, "plugin.unrevoke", &name(kind, value), json!({}));
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }
}

fn name(kind: RevocationKind, value: &str) -> String {
    format!("{}:{value}", kind.as_str())
}
