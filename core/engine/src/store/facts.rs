//! Facts about a device or one of its users.
//!
//! Owns: writing a fact with its source and time. A changed fact raises the device's revision, so that what was
//! decided on the former facts is decided again.

use super::sql::{Tx, args};
use super::upkeep;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::{DeviceId, TenantId};

/// Bytes of a fact's value, at most.
pub(super) const MAX_VALUE: usize = 16 << 10;

/// The value of a fact.
pub(crate) async fn value(
    tx: &mut Tx,
    tenant: TenantId,
    device: DeviceId,
    user_key: &str,
    name: &str,
) -> Result<Option<serde_json::Value>> {
    let row = tx
        .query_one(
            "SELECT value FROM fact WHERE tenant_id = ? AND device_id = ? AND user_key = ? AND name = ?",
            args![tenant, device, user_key, name],
        )
        .await?;
    let text = row.map(|row| row.text(0)).transpose()?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Takes a fact away; says whether there was one. The caller holds the lock of the device's head row.
pub(crate) async fn take_away(
    tx: &mut Tx,
    tenant: TenantId,
    device: DeviceId,
    user_key: &str,
    name: &str,
) -> Result<bool> {
    let gone = tx
        .execute(
            "DELETE FROM fact WHERE tenant_id = ? AND device_id = ? AND user_key = ? AND name = ?",
            args![tenant, device, user_key, name],
        )
        .await?;
    if gone > 0 {
        tx.execute(
            "UPDATE device SET revision = revision + 1 WHERE id = ?",
            args![device],
        )
        .await?;
        // Whatever the time is: at once.
        upkeep::mark_known(tx, 0, device).await?;
    }
    Ok(gone > 0)
}

/// Sets a fact. The caller holds the lock of the device's head row.
#[expect(clippy::too_many_arguments, reason = "the columns of one row")]
pub(crate) async fn set(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    device: DeviceId,
    user_key: &str,
    name: &str,
    value: &serde_json::Value,
    source: &str,
) -> Result<()> {
    let text = value.to_string();
    if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
        return Err(Error::Invalid(
            "a fact's name has 1 to 128 bytes without control characters".into(),
        ));
    }
    if text.len() > MAX_VALUE {
        return Err(Error::Invalid(format!(
            "a fact's value has at most {MAX_VALUE} bytes as JSON"
        )));
    }
    let raised = tx
        .execute(
            "UPDATE device SET revision = revision + 1 WHERE id = ? AND tenant_id = ?",
            args![device, tenant],
        )
        .await?;
    if raised == 0 {
        return Err(Error::NotFound("the device"));
    }
    // A plugin may say the same every minute.
    if self::value(tx, tenant, device, user_key, name)
        .await?
        .as_ref()
        != Some(value)
    {
        upkeep::mark_known(tx, now, device).await?;
    }
    tx.execute(
        "INSERT INTO fact (tenant_id, device_id, user_key, name, value, source, observed_at, revision)
         SELECT ?, d.id, ?, ?, ?, ?, ?, d.revision FROM device d WHERE d.id = ?
         ON CONFLICT (device_id, user_key, name) DO UPDATE SET value = excluded.value, source = excluded.source,
            observed_at = excluded.observed_at, revision = excluded.revision",
        args![tenant, user_key, name, text, source, now, device],
    )
    .await?;
    Ok(())
}
