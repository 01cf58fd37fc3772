//! When devices are asked what they are.
//!
//! Owns: the rows of `inventory_round`. A device channel gets its row by being enabled, and loses it when it is over; nobody has to remember either.

use super::sql::{Column, Tx, args};
use crate::clock::Micros;
use crate::error::Result;
use crate::ids::{EnrollmentId, TenantId};

/// Enters channels that are new, the first time `after` they were enabled, and strikes those that are over.
pub(crate) async fn enter(tx: &mut Tx, after: Micros, limit: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO inventory_round (enrollment_id, tenant_id, due_at)
         SELECT e.id, e.tenant_id, COALESCE(e.enabled_at, e.created_at) + ? FROM enrollment e
         WHERE e.state = 2 AND e.user_key = '' AND NOT EXISTS (SELECT 1 FROM inventory_round r WHERE r.enrollment_id = e.id)
         ORDER BY e.id LIMIT ?
         ON CONFLICT (enrollment_id) DO NOTHING",
        args![after, limit],
    )
    .await?;
    tx.execute(
        "DELETE FROM inventory_round WHERE enrollment_id IN (
            SELECT r.enrollment_id FROM inventory_round r JOIN enrollment e ON e.id = r.enrollment_id WHERE e.state <> 2 LIMIT ?)",
        args![limit],
    )
    .await?;
    Ok(())
}

/// Takes channels that are due; they are due again at `again`, unless that is set to something else.
pub(crate) async fn claim(
    tx: &mut Tx,
    now: Micros,
    again: Micros,
    limit: i64,
) -> Result<Vec<(TenantId, EnrollmentId)>> {
    let locked = match tx.is_postgres() {
        true => " FOR UPDATE SKIP LOCKED",
        false => "",
    };
    let sql = format!(
        "UPDATE inventory_round SET due_at = ? WHERE enrollment_id IN
            (SELECT enrollment_id FROM inventory_round WHERE due_at <= ? ORDER BY due_at LIMIT ?{locked})
         RETURNING tenant_id, enrollment_id"
    );
    let rows = tx.query(&sql, args![again, now, limit]).await?;
    rows.iter()
        .map(|row| Ok((TenantId(row.uuid(0)?), EnrollmentId(row.uuid(1)?))))
        .collect()
}

/// These channels have been asked and are due again then.
pub(crate) async fn asked(tx: &mut Tx, again: Micros, channels: &[EnrollmentId]) -> Result<()> {
    let mut ids: Vec<_> = channels.iter().map(|channel| channel.0).collect();
    ids.sort_unstable();
    tx.execute_over(
        vec![("id", Column::Uuid(ids))],
        "UPDATE inventory_round SET due_at = ? WHERE enrollment_id IN (SELECT i.id FROM i)",
        args![again],
    )
    .await?;
    Ok(())
}
