//! Reads what hooks are told of a device.
//!
//! Owns: one read of a device, its channel and its facts, taken at one revision; and its groups alone, by which a version on
//! trial is chosen.

use super::Store;
use super::sql::{Tx, args};
use crate::enrollment::EnrollmentState;
use crate::error::{Error, Result};
use crate::hooks::{DeviceSnapshot, KnownFact, MOST_FACTS};
use crate::ids::{DeviceId, EnrollmentId, TenantId};

/// Reads the snapshot of one channel.
pub(crate) async fn read(
    tx: &mut Tx,
    tenant: TenantId,
    device: DeviceId,
    enrollment: EnrollmentId,
) -> Result<DeviceSnapshot> {
    let row = tx
        .query_one(
            "SELECT d.ident, d.serial_number, d.product_name, d.os_version, d.revision, e.user_key, ch.last_seen_at
             FROM device d JOIN enrollment e ON e.device_id = d.id
             LEFT JOIN channel ch ON ch.enrollment_id = e.id
             WHERE d.id = ? AND d.tenant_id = ? AND e.id = ?",
            args![device, tenant, enrollment],
        )
        .await?
        .ok_or(Error::NotFound("the device"))?;
    let mut snapshot = DeviceSnapshot {
        tenant: Some(tenant),
        device: Some(device),
        enrollment: Some(enrollment),
        user_key: row.text(5)?,
        ident: row.text(0)?,
        serial_number: row.opt_text(1)?,
        product_name: row.opt_text(2)?,
        os_version: row.opt_text(3)?,
        facts: Vec::new(),
        groups: Vec::new(),
        seen_at: row.opt_int(6)?.unwrap_or(0),
        revision: row.int(4)?,
    };
    let rows = tx
        .query(
            "SELECT name, value, source, observed_at FROM fact WHERE device_id = ? AND (user_key = '' OR user_key = ?)
             ORDER BY user_key, name LIMIT ?",
            args![device, snapshot.user_key.as_str(), MOST_FACTS],
        )
        .await?;
    for row in rows {
        let value = serde_json::from_str(&row.text(1)?).unwrap_or(serde_json::Value::Null);
        snapshot.facts.push(KnownFact {
            name: row.text(0)?,
            value,
            source: row.text(2)?,
            observed_at: row.int(3)?,
        });
    }
    let rows = tx
        .query(
            "SELECT g.name FROM group_member m JOIN device_group g ON g.id = m.group_id
             WHERE m.device_id = ? ORDER BY g.name",
            args![device],
        )
        .await?;
    for row in rows {
        snapshot.groups.push(row.text(0)?);
    }
    Ok(snapshot)
}

impl Store {
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

/// Enrolled devices with their device channels, in the order of their ids.
pub(crate) async fn enrolled(
    tx: &mut Tx,
    tenant: TenantId,
    group: Option<&str>,
    after: Option<DeviceId>,
    limit: u32,
) -> Result<Vec<(DeviceId, EnrollmentId)>> {
    let of_group = match group {
        Some(_) => {
            "AND EXISTS (SELECT 1 FROM group_member m JOIN device_group g ON g.id = m.group_id
                         WHERE m.device_id = d.id AND g.tenant_id = d.tenant_id AND g.name = ?)"
        }
        None => "AND ? = ''",
    };
    let sql = format!(
        "SELECT d.id, e.id FROM device d
         JOIN enrollment e ON e.device_id = d.id AND e.user_key = '' AND e.state = ?
         WHERE d.tenant_id = ? AND d.id > ? {of_group} ORDER BY d.id LIMIT ?"
    );
    let after = after.unwrap_or(DeviceId(uuid::Uuid::nil()));
    let enabled = EnrollmentState::Enabled.code();
    let values = args![enabled, tenant, after, group.unwrap_or_default(), limit];
    let rows = tx.query(&sql, values).await?;
    rows.iter()
        .map(|row| Ok((DeviceId(row.uuid(0)?), EnrollmentId(row.uuid(1)?))))
        .collect()
}
