//! What devices have told of themselves, section by section.
//!
//! Owns: the rows of `observation`, and of a device what judging depends on: version, marks and footing. The caller holds the lock of the
//! device's head row. What is new in an answer is for `inventory`.

use std::collections::HashMap;

use serde_json::Value;

use super::Store;
use super::sql::{Batch, Column, Row, Tx, args};
use super::upkeep;
use crate::clock::Micros;
use crate::error::Result;
use crate::ids::{DeviceId, TenantId};
use crate::inventory::Marks;

/// Where a section stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) device: DeviceId,
    /// Empty: the device's own.
    pub(crate) user_key: String,
    pub(crate) section: &'static str,
}

/// A section as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) place: Place,
    pub(crate) tenant: TenantId,
    pub(crate) value: Value,
    pub(crate) source: &'static str,
    /// It was there before.
    pub(crate) known: bool,
    /// When it last changed; `None`: now.
    pub(crate) changed_at: Option<Micros>,
}

/// A section as it is read.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) user_key: String,
    pub(crate) section: String,
    pub(crate) value: Value,
    pub(crate) source: String,
    pub(crate) observed_at: Micros,
    pub(crate) changed_at: Micros,
}

/// The sections that are there, with the time of their last change.
pub(crate) async fn present(
    tx: &mut Tx,
    places: &[Place],
) -> Result<HashMap<Place, (Value, Micros)>> {
    let over = vec![
        (
            "n",
            Column::Int((0..).take(places.len()).collect::<Vec<i64>>()),
        ),
        (
            "device_id",
            Column::Uuid(places.iter().map(|place| place.device.0).collect()),
        ),
        (
            "user_key",
            Column::Text(places.iter().map(|place| place.user_key.clone()).collect()),
        ),
        (
            "section",
            Column::Text(places.iter().map(|place| place.section.into()).collect()),
        ),
    ];
    let rows = tx
        .query_each(
            over,
            "SELECT i.n, o.value, o.changed_at FROM i JOIN observation o
               ON o.device_id = i.device_id AND o.user_key = i.user_key AND o.section = i.section",
            args![],
        )
        .await?;
    let mut found = HashMap::new();
    for row in rows {
        let place = usize::try_from(row.int(0)?)
            .ok()
            .and_then(|n| places.get(n));
        if let Some(place) = place {
            found.insert(place.clone(), (value(&row, 1)?, row.int(2)?));
        }
    }
    Ok(found)
}

/// Writes sections; each place once.
pub(crate) fn write(batch: &mut Batch, now: Micros, written: &[Written]) {
    let (known, new): (Vec<&Written>, Vec<&Written>) = written.iter().partition(|one| one.known);
    for (rows, insert) in [(new, true), (known, false)] {
        let text =
            |of: fn(&Written) -> String| Column::Text(rows.iter().map(|one| of(one)).collect());
        let columns = vec![
            (
                "device_id",
                Column::Uuid(rows.iter().map(|one| one.place.device.0).collect()),
            ),
            ("user_key", text(|one| one.place.user_key.clone())),
            ("section", text(|one| one.place.section.into())),
            (
                "tenant_id",
                Column::Uuid(rows.iter().map(|one| one.tenant.0).collect()),
            ),
            ("value", text(|one| one.value.to_string())),
            ("source", text(|one| one.source.into())),
            ("observed_at", Column::Int(vec![now; rows.len()])),
            (
                "changed_at",
                Column::Int(
                    rows.iter()
                        .map(|one| one.changed_at.unwrap_or(now))
                        .collect(),
                ),
            ),
        ];
        match insert {
            true => batch.insert("observation", columns),
            false => batch.update("observation", 3, columns),
        }
    }
}

/// A device has told something else than before.
pub(crate) async fn raise_revision(tx: &mut Tx, now: Micros, device: DeviceId) -> Result<()> {
    tx.execute(
        "UPDATE device SET revision = revision + 1 WHERE id = ?",
        args![device],
    )
    .await?;
    upkeep::mark_known(tx, now, device).await
}

/// What judging depends on has changed: commands that wait are judged again before they go.
pub(crate) async fn set_footing(
    tx: &mut Tx,
    now: Micros,
    device: DeviceId,
    marks: Marks,
    os_version: Option<&str>,
    product_name: Option<&str>,
) -> Result<()> {
    tx.execute(
        "UPDATE device SET marks = ?, os_version = COALESCE(?, os_version),
            product_name = COALESCE(product_name, ?), footing = footing + 1,
            revision = revision + 1 WHERE id = ?",
        args![
            marks.code(),
            os_version.map(str::to_owned),
            product_name.map(str::to_owned),
            device
        ],
    )
    .await?;
    upkeep::mark_known(tx, now, device).await
}

/// The device's own description follows what it tells; what it leaves out stays.
pub(crate) async fn describe(
    tx: &mut Tx,
    device: DeviceId,
    device_name: Option<&str>,
    build_version: Option<&str>,
) -> Result<()> {
    tx.execute(
        "UPDATE device SET device_name = COALESCE(?, device_name), build_version = COALESCE(?, build_version)
         WHERE id = ?",
        args![
            device_name.map(str::to_owned),
            build_version.map(str::to_owned),
            device
        ],
    )
    .await?;
    Ok(())
}

/// A device begins anew: what it told in its former life is not known of it any more.
pub(crate) async fn forget(tx: &mut Tx, device: DeviceId) -> Result<()> {
    tx.execute("DELETE FROM observation WHERE device_id = ?", args![device])
        .await?;
    Ok(())
}

fn value(row: &Row, at: usize) -> Result<Value> {
    Ok(serde_json::from_str(&row.text(at)?).unwrap_or(Value::Null))
}

impl Store {
    /// What a device and its users have told, of all sections or of one.
    pub(crate) async fn observations(
        &self,
        tenant: TenantId,
        device: DeviceId,
        section: Option<&str>,
    ) -> Result<Vec<Observation>> {
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT user_key, section, value, source, observed_at, changed_at FROM observation
                 WHERE device_id = ? AND tenant_id = ? AND (? = '' OR section = ?) ORDER BY user_key, section",
                args![device, tenant, section.unwrap_or(""), section.unwrap_or("")],
            )
            .await?;
        tx.rollback().await?;
        rows.iter()
            .map(|row| {
                Ok(Observation {
                    user_key: row.text(0)?,
                    section: row.text(1)?,
                    value: value(row, 2)?,
                    source: row.text(3)?,
                    observed_at: row.int(4)?,
                    changed_at: row.int(5)?,
                })
            })
            .collect()
    }
}
