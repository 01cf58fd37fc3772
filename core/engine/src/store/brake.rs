//! Braking commands that have left, and how many may.
//!
//! Owns: the rows of `brake` and `brake_left`, how a delivery is let go, and which tokens have a part in that. The tenant's row is locked while it is
//! counted, so that two nodes together let no more leave than one.

use super::sql::{Tx, args};
use crate::clock::{HOUR, Micros};
use crate::error::Result;
use crate::ids::{CommandId, DeviceId, EnrollmentId, TenantId, TokenId};
use crate::queue::brake::{Braking, PER_HOUR, holds};

/// How old a token is that has a part in letting a command go.
const SEASON: Micros = 24 * HOUR;

/// Until when no destructive command of a tenant may leave, if that is so.
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

/// A destructive command leaves.
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

/// Whether a token is as old as one must be that has a part in letting a command go. Else whoever has stolen a token that makes tokens would be two
/// people at once.
pub(crate) async fn seasoned(tx: &mut Tx, now: Micros, token: TokenId) -> Result<bool> {
    let sql = "SELECT created_at FROM api_token WHERE id = ?";
    let row = tx.query_one(sql, args![token.0]).await?;
    let since = row.map(|row| row.int(0)).transpose()?;
    Ok(since.is_some_and(|since| since + SEASON <= now))
}

/// Lets a command go on every channel where the brake counts it; says where. The caller holds the locks of the devices' head rows.
pub(crate) async fn approve(
    tx: &mut Tx,
    tenant: TenantId,
    command: CommandId,
) -> Result<Vec<(DeviceId, EnrollmentId)>> {
    let rows = tx
        .query(
            "UPDATE delivery SET braking = ?,
                not_before = (SELECT c.not_before FROM command c WHERE c.id = delivery.command_id)
             WHERE tenant_id = ? AND command_id = ? AND braking = ? AND sends = 0 RETURNING device_id, enrollment_id",
            args![
                Braking::Approved.code(),
                tenant,
                command,
                Braking::Counted.code()
            ],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((DeviceId(row.uuid(0)?), EnrollmentId(row.uuid(1)?))))
        .collect()
}
