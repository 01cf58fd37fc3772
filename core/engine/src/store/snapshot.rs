//! Reads what hooks are told of a device.
//!
//! Owns: one read of devices, their channels and their facts, taken at one revision each; and its groups alone, by which a version on
//! trial is chosen.

use std::collections::HashMap;

use super::Store;
use super::sql::{Column, Tx, args};
use crate::clock::Micros;
use crate::enrollment::EnrollmentState;
use crate::error::{Error, Result};
use crate::hooks::{DeviceSnapshot, KnownFact, MOST_FACTS};
use crate::ids::{DeviceId, EnrollmentId, TenantId};
use crate::inventory::{Marks, fact_name, plain_name, restless};

/// Reads the snapshot of one channel.
pub(crate) async fn read(
    tx: &mut Tx,
    tenant: TenantId,
    enrollment: EnrollmentId,
) -> Result<DeviceSnapshot> {
    let mut found = read_all(tx, tenant, &[enrollment]).await?;
    found
        .remove(&enrollment)
        .ok_or(Error::NotFound("the device"))
}

/// Reads the snapshots of channels, as many statements for all as for one. What the tenant does not have is left out.
pub(crate) async fn read_all(
    tx: &mut Tx,
    tenant: TenantId,
    channels: &[EnrollmentId],
) -> Result<HashMap<EnrollmentId, DeviceSnapshot>> {
    let over = || {
        let ids = channels.iter().map(|channel| channel.0).collect();
        vec![("id", Column::Uuid(ids))]
    };
    let sql = "SELECT i.id, d.id, d.ident, d.serial_number, d.product_name, d.os_version, d.revision, e.user_key, ch.last_seen_at, d.ident_kind, d.marks
         FROM i JOIN enrollment e ON e.id = i.id JOIN device d ON d.id = e.device_id
         LEFT JOIN channel ch ON ch.enrollment_id = e.id WHERE d.tenant_id = ?";
    let mut found = HashMap::with_capacity(channels.len());
    for row in tx.query_over(over(), sql, args![tenant]).await? {
        let channel = EnrollmentId(row.uuid(0)?);
        let snapshot = DeviceSnapshot {
            tenant: Some(tenant),
            device: Some(DeviceId(row.uuid(1)?)),
            enrollment: Some(channel),
            user_key: row.text(7)?,
            ident: row.text(2)?,
            user_enrollment: row.int(9)? == 1,
            serial_number: row.opt_text(3)?,
            product_name: row.opt_text(4)?,
            os_version: row.opt_text(5)?,
            facts: Vec::new(),
            groups: Vec::new(),
            seen_at: row.opt_int(8)?.unwrap_or(0),
            revision: row.int(6)?,
            marks: Marks::from_code(row.int(10)?),
        };
        found.insert(channel, snapshot);
    }
    let sql = "SELECT n.id, n.name, n.value, n.source, n.observed_at FROM
            (SELECT i.id, f.name, f.value, f.source, f.observed_at,
                    ROW_NUMBER() OVER (PARTITION BY i.id ORDER BY f.user_key, f.name) AS place
             FROM i JOIN enrollment e ON e.id = i.id
             JOIN fact f ON f.device_id = e.device_id AND (f.user_key = '' OR f.user_key = e.user_key)
             WHERE f.tenant_id = ?) n
         WHERE n.place <= ? ORDER BY n.id, n.place";
    for row in tx
        .query_over(over(), sql, args![tenant, MOST_FACTS])
        .await?
    {
        if let Some(snapshot) = found.get_mut(&EnrollmentId(row.uuid(0)?)) {
            let value = serde_json::from_str(&row.text(2)?).unwrap_or(serde_json::Value::Null);
            snapshot.facts.push(KnownFact {
                name: row.text(1)?,
                value,
                source: row.text(3)?,
                observed_at: row.int(4)?,
            });
        }
    }
    tell_sections(tx, tenant, channels, &mut found).await?;
    let sql = "SELECT i.id, g.name FROM i JOIN enrollment e ON e.id = i.id
         JOIN group_member m ON m.device_id = e.device_id JOIN device_group g ON g.id = m.group_id
         WHERE g.tenant_id = ? ORDER BY g.name";
    for row in tx.query_over(over(), sql, args![tenant]).await? {
        if let Some(snapshot) = found.get_mut(&EnrollmentId(row.uuid(0)?)) {
            snapshot.groups.push(row.text(1)?);
        }
    }
    Ok(found)
}

/// Adds what devices tell of themselves: each key of the sections `device` and `security` is a fact such as
/// `device.is-supervised`.
async fn tell_sections(
    tx: &mut Tx,
    tenant: TenantId,
    channels: &[EnrollmentId],
    found: &mut HashMap<EnrollmentId, DeviceSnapshot>,
) -> Result<()> {
    let ids = channels.iter().map(|channel| channel.0).collect();
    let sql = "SELECT i.id, o.section, o.value, o.observed_at FROM i JOIN enrollment e ON e.id = i.id
         JOIN observation o ON o.device_id = e.device_id AND o.user_key = '' AND o.section IN ('device', 'security')
         WHERE o.tenant_id = ? ORDER BY o.section";
    let rows = tx
        .query_over(vec![("id", Column::Uuid(ids))], sql, args![tenant])
        .await?;
    for row in rows {
        let Some(snapshot) = found.get_mut(&EnrollmentId(row.uuid(0)?)) else {
            continue;
        };
        let (section, observed_at) = (row.text(1)?, row.int(3)?);
        let told: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&row.text(2)?).unwrap_or_default();
        tell_section(snapshot, &section, &told, observed_at);
    }
    Ok(())
}

/// Adds what is told in a section. What is another each time is no fact: nothing would be decided again on it.
pub(crate) fn tell_section(
    snapshot: &mut DeviceSnapshot,
    section: &str,
    told: &serde_json::Map<String, serde_json::Value>,
    observed_at: Micros,
) {
    let fits = |key: &str, value: &serde_json::Value| {
        !restless(key) && value.to_string().len() <= super::facts::MAX_VALUE
    };
    for (key, value) in told.iter().filter(|(key, value)| fits(key, value)) {
        let names = [
            plain_name(section, key).map(str::to_owned),
            Some(fact_name(section, key)),
        ];
        for name in names.into_iter().flatten() {
            tell(
                snapshot,
                KnownFact {
                    name,
                    value: value.clone(),
                    source: "device".into(),
                    observed_at,
                },
            );
        }
    }
}

/// What the device tells stands in place of what others say under the same name.
fn tell(snapshot: &mut DeviceSnapshot, fact: KnownFact) {
    let room = snapshot.facts.len() < MOST_FACTS as usize;
    let mut said = snapshot.facts.iter_mut();
    match said.find(|one| one.name == fact.name) {
        Some(said) => *said = fact,
        None if room => snapshot.facts.push(fact),
        None => {}
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_device_tells_stands_before_what_is_said_of_it() {
        let said = KnownFact {
            name: "supervised".into(),
            value: json!(true),
            source: "person:a".into(),
            observed_at: 1,
        };
        let mut snapshot = DeviceSnapshot {
            facts: vec![said],
            ..DeviceSnapshot::default()
        };
        let told = json!({
            "IsSupervised": false, "BatteryLevel": 0.5, "Long": "x".repeat(20_000), "OSVersion": "26.1",
        });
        tell_section(&mut snapshot, "device", told.as_object().unwrap(), 7);
        let facts: Vec<_> = snapshot
            .facts
            .iter()
            .map(|fact| {
                (
                    fact.name.as_str(),
                    &fact.value,
                    fact.source.as_str(),
                    fact.observed_at,
                )
            })
            .collect();
        assert_eq!(
            facts,
            [
                ("supervised", &json!(false), "device", 7),
                ("device.is-supervised", &json!(false), "device", 7),
                ("device.os-version", &json!("26.1"), "device", 7),
            ]
        );
        let many = (0..1_000).map(|n| (format!("Key{n}"), json!(n))).collect();
        tell_section(&mut snapshot, "security", &many, 8);
        assert_eq!(snapshot.facts.len(), MOST_FACTS as usize);
    }
}
