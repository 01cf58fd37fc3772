//! Writes and reads the audit chain.
//!
//! Owns: the order of a tenant's records. The number and the hash of the record before are read under a lock
//! that is held to the end of the transaction of the effect, so that the chain has no gap and no fork.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::Store;
use super::entity::audit;
use super::sql::{Tx, args};
use crate::admin::audit::{AuditCheck, AuditEntry, AuditRecord, Content, GENESIS, Link, hash};
use crate::admin::instant::Instant;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::TenantId;

/// Records an effect in the transaction that has it. Take the locks of devices before: this lock comes last.
pub(crate) async fn append(tx: &mut Tx, now: Micros, entry: AuditEntry) -> Result<()> {
    let tenant = chain(entry.tenant);
    let head = tx
        .query_one(
            "INSERT INTO audit_head (tenant_id, seq) VALUES (?, 1)
             ON CONFLICT (tenant_id) DO UPDATE SET seq = audit_head.seq + 1 RETURNING seq",
            args![tenant],
        )
        .await?;
    let seq = match head {
        Some(row) => row.int(0)?,
        None => {
            return Err(Error::internal(
                "numbering a record",
                "the chain has no head",
            ));
        }
    };
    let last = tx
        .query_one(
            "SELECT hash FROM audit WHERE tenant_id = ? AND seq = ?",
            args![tenant, seq - 1],
        )
        .await?;
    let previous = match last {
        Some(row) => row.bytes(0)?,
        None => GENESIS.to_vec(),
    };
    let details = entry.details.to_string();
    let actor_kind = entry.actor.kind.as_str();
    let hash = hash(
        Link {
            tenant,
            seq,
            at: now,
            previous: &previous,
        },
        Content {
            actor_kind,
            actor_id: entry.actor.id,
            action: entry.action,
            target: &entry.target,
            details: &details,
        },
    );
    tx.execute(
        "INSERT INTO audit (tenant_id, seq, at, actor_kind, actor_id, action, target, details,
                            previous_hash, hash)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        args![
            tenant,
            seq,
            now,
            actor_kind,
            entry.actor.id,
            entry.action,
            entry.target,
            details,
            previous,
            hash
        ],
    )
    .await?;
    Ok(())
}

/// The chain of a tenant; the nil UUID names the operator's own.
fn chain(tenant: Option<TenantId>) -> Uuid {
    tenant.map_or(Uuid::nil(), |tenant| tenant.0)
}

impl Store {
    /// The records after number `after`, at most `limit`.
    pub(crate) async fn audit_page(
        &self,
        tenant: Option<TenantId>,
        after: i64,
        limit: u64,
    ) -> Result<Vec<AuditRecord>> {
        let rows = audit::Entity::find()
            .filter(audit::Column::TenantId.eq(chain(tenant)))
            .filter(audit::Column::Seq.gt(after))
            .order_by_asc(audit::Column::Seq)
            .limit(limit)
            .all(self.orm())
            .await?;
        Ok(rows.into_iter().map(record).collect())
    }

    /// The length of a tenant's chain, when it is whole.
    ///
    /// # Errors
    /// [`Error::Internal`] names the first record that does not follow from the one before it.
    pub async fn verify_audit(&self, tenant: Option<TenantId>) -> Result<i64> {
        let check = self.check_audit(tenant).await?;
        match check.broken_at {
            None => Ok(check.records),
            Some(seq) => Err(Error::internal(
                "verifying the audit chain",
                format!("record {seq} does not follow from the one before it"),
            )),
        }
    }

    /// Walks a tenant's chain.
    pub(crate) async fn check_audit(&self, tenant: Option<TenantId>) -> Result<AuditCheck> {
        let mut expected_seq = 1;
        let mut previous = GENESIS.to_vec();
        loop {
            let rows = audit::Entity::find()
                .filter(audit::Column::TenantId.eq(chain(tenant)))
                .filter(audit::Column::Seq.gte(expected_seq))
                .order_by_asc(audit::Column::Seq)
                .limit(500)
                .all(self.orm())
                .await?;
            if rows.is_empty() {
                return Ok(AuditCheck {
                    records: expected_seq - 1,
                    broken_at: None,
                });
            }
            for row in rows {
                let computed = hash(
                    Link {
                        tenant: row.tenant_id,
                        seq: row.seq,
                        at: row.at,
                        previous: &previous,
                    },
                    Content {
                        actor_kind: &row.actor_kind,
                        actor_id: row.actor_id,
                        action: &row.action,
                        target: &row.target,
                        details: &row.details,
                    },
                );
                if row.seq != expected_seq || row.previous_hash != previous || row.hash != computed
                {
                    return Ok(AuditCheck {
                        records: expected_seq - 1,
                        broken_at: Some(expected_seq),
                    });
                }
                previous = row.hash;
                expected_seq += 1;
            }
        }
    }
}

fn record(row: audit::Model) -> AuditRecord {
    AuditRecord {
        seq: row.seq,
        at: Instant(row.at),
        actor_kind: row.actor_kind,
        actor_id: row.actor_id,
        action: row.action,
        target: row.target,
        details: serde_json::from_str(&row.details).unwrap_or(serde_json::Value::Null),
        hash: hex::encode(row.hash),
        previous_hash: hex::encode(row.previous_hash),
    }
}
