//! Grave commands that have left, and how many may.
//!
//! Owns: the rows of `brake` and `brake_left`. The tenant's row is locked while it is counted, so that two nodes together let no more leave
//! than one.

use super::sql::{Tx, args};
use crate::clock::{HOUR, Micros};
use crate::error::Result;
use crate::ids::{CommandId, DeviceId, EnrollmentId, TenantId, TokenId};
use crate::queue::brake::{Grave, PER_HOUR, holds};

/// Until when no grave command of a tenant may leave, if that is so.
pub(crate) async fn until(tx: &mut Tx, now: Micros, tenant: TenantId) -> Result<Option<Micros>> {
    tx.execute(
        "INSERT INTO brake (tenant_id, per_hour) VALUES (?, ?) ON CONFLICT DO NOTHING",
        args![tenant, PER_HOUR],
    )
    .await?;
    let lock = match tx.is_postgres() {
        true => "SELECT per_hour FROM brake WHERE tenant_id = ? FOR UPDATE",
        false => "SELECT per_hour FROM brake WHERE tenant_id = ?",
    };
    let row = tx.query_one(lock, args![tenant]).await?;
    let per_hour = row.map(|row| row.int(0)).transpose()?.unwrap_or(PER_HOUR);
    let rows = tx
        .query(
            "SELECT left_at FROM brake_left WHERE tenant_id = ? AND left_at > ? ORDER BY left_at DESC LIMIT ?",
            args![tenant, now - HOUR, per_hour.max(0)],
        )
        .await?;
    let left: Vec<Micros> = rows.iter().map(|row| row.int(0)).collect::<Result<_>>()?;
    Ok(holds(now, per_hour, &left))
}

/// A grave command leaves.
pub(crate) async fn leaves(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    enrollment: EnrollmentId,
    seq: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO brake_left (tenant_id, left_at, enrollment_id, seq) VALUES (?, ?, ?, ?)",
        args![tenant, now, enrollment, seq],
    )
    .await?;
    tx.execute(
        "DELETE FROM brake_left WHERE tenant_id = ? AND left_at < ?",
        args![tenant, now - 2 * HOUR],
    )
    .await?;
    Ok(())
}

/// When a token was made.
pub(crate) async fn token_since(tx: &mut Tx, token: TokenId) -> Result<Option<Micros>> {
    let sql = "SELECT created_at FROM api_token WHERE id = ?";
    let row = tx.query_one(sql, args![token.0]).await?;
    row.map(|row| row.int(0)).transpose()
}

/// Lets a command go on every channel where the brake counts it; says where. The caller holds the locks of the devices' head rows.
pub(crate) async fn approve(
    tx: &mut Tx,
    tenant: TenantId,
    command: CommandId,
) -> Result<Vec<(DeviceId, EnrollmentId)>> {
    let rows = tx
        .query(
            "UPDATE delivery SET grave = ?,
                not_before = (SELECT c.not_before FROM command c WHERE c.id = delivery.command_id)
             WHERE tenant_id = ? AND command_id = ? AND grave = ? RETURNING device_id, enrollment_id",
            args![
                Grave::Approved.code(),
                tenant,
                command,
                Grave::Counted.code()
            ],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((DeviceId(row.uuid(0)?), EnrollmentId(row.uuid(1)?))))
        .collect()
}
