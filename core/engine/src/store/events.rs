//! Writes events, numbered per device.
//!
//! Owns: the order of a device's events. A number is taken under the lock of the device's head row, in the
//! transaction of what the event tells, so that the sequence has no gaps and no reader can overtake it.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Store;
use super::sql::{Batch, Column, Tx, args};
use crate::actor::ActorKind;
use crate::clock::Micros;
use crate::error::Result;
use crate::event::{Event, NewEvent};
use crate::hooks::HookTable;
use crate::ids::DeviceId;

/// Locks the head rows of `devices`, in order, and returns the last event number of each.
/// A device without a head row is absent from the answer.
pub(crate) async fn lock_heads(
    tx: &mut Tx,
    devices: impl IntoIterator<Item = DeviceId>,
) -> Result<BTreeMap<DeviceId, i64>> {
    let mut ids: Vec<Uuid> = devices.into_iter().map(|id| id.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let lock = if tx.is_postgres() {
        "SELECT h.device_id, h.event_seq FROM device_head h WHERE h.device_id IN (SELECT id FROM i)
         ORDER BY h.device_id FOR UPDATE"
    } else {
        "SELECT h.device_id, h.event_seq FROM device_head h WHERE h.device_id IN (SELECT id FROM i)"
    };
    let rows = tx
        .query_over(vec![("id", Column::Uuid(ids))], lock, args![])
        .await?;
    let mut heads = BTreeMap::new();
    for row in rows {
        heads.insert(DeviceId(row.uuid(0)?), row.int(1)?);
    }
    Ok(heads)
}

/// Writes `events` in their order and numbers them, taking the locks itself. `readers` says who must handle
/// each of them.
pub(crate) async fn append(
    tx: &mut Tx,
    now: Micros,
    events: Vec<NewEvent>,
    readers: &HookTable,
) -> Result<Vec<Event>> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let mut heads = lock_heads(tx, events.iter().map(|event| event.device)).await?;
    append_locked(tx, now, &mut heads, events, readers).await
}

/// As [`append`], when the caller holds the locks and knows the numbers.
pub(crate) async fn append_locked(
    tx: &mut Tx,
    now: Micros,
    heads: &mut BTreeMap<DeviceId, i64>,
    events: Vec<NewEvent>,
    readers: &HookTable,
) -> Result<Vec<Event>> {
    let mut batch = Batch::default();
    let written = append_to(&mut batch, now, heads, events, readers);
    tx.run(batch).await?;
    Ok(written)
}

/// As [`append_locked`], together with what else the batch writes.
pub(crate) fn append_to(
    batch: &mut Batch,
    now: Micros,
    heads: &mut BTreeMap<DeviceId, i64>,
    events: Vec<NewEvent>,
    readers: &HookTable,
) -> Vec<Event> {
    if events.is_empty() {
        return Vec::new();
    }
    let mut touched: BTreeMap<DeviceId, i64> = BTreeMap::new();
    let written: Vec<Event> = events
        .into_iter()
        .map(|event| {
            let head = heads.entry(event.device).or_insert(0);
            *head += 1;
            touched.insert(event.device, *head);
            Event {
                device_id: event.device,
                seq: *head,
                at: now,
                tenant_id: event.tenant,
                enrollment_id: event.enrollment,
                user_key: String::new(),
                kind: event.kind,
                command_id: event.command,
                actor_kind: event.actor.kind.as_str(),
                actor_id: event.actor.id,
                body: with_cause(event.body, event.cause),
            }
        })
        .collect();
    insert(batch, &written);
    let numbers = vec![
        (
            "device_id",
            Column::Uuid(touched.keys().map(|id| id.0).collect()),
        ),
        (
            "event_seq",
            Column::Int(touched.values().copied().collect()),
        ),
    ];
    batch.update("device_head", 1, numbers);
    enlist(batch, readers, &written);
    written
}

/// A cause of depth 0 is the ordinary case and is not written.
fn with_cause(mut body: serde_json::Value, cause: crate::Cause) -> serde_json::Value {
    if let (Some(map), Some(id)) = (body.as_object_mut(), cause.id) {
        map.insert("cause".into(), id.to_string().into());
        map.insert("depth".into(), cause.depth.into());
    }
    body
}

fn insert(batch: &mut Batch, events: &[Event]) {
    let column = |f: fn(&Event) -> Uuid| Column::Uuid(events.iter().map(f).collect());
    let rows = vec![
        ("device_id", column(|e| e.device_id.0)),
        ("seq", Column::Int(events.iter().map(|e| e.seq).collect())),
        ("at", Column::Int(events.iter().map(|e| e.at).collect())),
        ("tenant_id", column(|e| e.tenant_id.0)),
        (
            "enrollment_id",
            Column::OptUuid(
                events
                    .iter()
                    .map(|e| e.enrollment_id.map(|id| id.0))
                    .collect(),
            ),
        ),
        (
            "kind",
            Column::Text(events.iter().map(|e| e.kind.as_str().to_owned()).collect()),
        ),
        (
            "command_id",
            Column::OptUuid(events.iter().map(|e| e.command_id.map(|id| id.0)).collect()),
        ),
        (
            "actor_kind",
            Column::Text(events.iter().map(|e| e.actor_kind.to_owned()).collect()),
        ),
        (
            "actor_id",
            Column::OptUuid(events.iter().map(|e| e.actor_id).collect()),
        ),
        (
            "depth",
            Column::Int(
                events
                    .iter()
                    .map(|e| {
                        e.body
                            .get("depth")
                            .and_then(serde_json::Value::as_i64)
                            .unwrap_or(0)
                    })
                    .collect(),
            ),
        ),
        (
            "body",
            Column::Text(events.iter().map(|e| e.body.to_string()).collect()),
        ),
    ];
    batch.insert("event", rows);
}

/// One row for each event and each reader of it; none is written where nobody reads.
fn enlist(batch: &mut Batch, readers: &HookTable, events: &[Event]) {
    if !readers.watched() {
        return;
    }
    let mut due: Vec<(String, &Event)> = Vec::new();
    for event in events {
        let names = readers.readers(event.tenant_id, event.kind);
        due.extend(names.into_iter().map(|name| (name, event)));
    }
    if due.is_empty() {
        return;
    }
    let (names, events): (Vec<String>, Vec<&Event>) = due.into_iter().unzip();
    let all = |value| Column::Int(vec![value; events.len()]);
    let at = || Column::Int(events.iter().map(|e| e.at).collect());
    let rows = vec![
        ("consumer", Column::Text(names)),
        (
            "device_id",
            Column::Uuid(events.iter().map(|e| e.device_id.0).collect()),
        ),
        ("seq", Column::Int(events.iter().map(|e| e.seq).collect())),
        (
            "tenant_id",
            Column::Uuid(events.iter().map(|e| e.tenant_id.0).collect()),
        ),
        ("at", at()),
        ("attempts", all(0)),
        ("due_at", at()),
        ("dead", all(0)),
    ];
    batch.insert("outbox", rows);
}

impl Store {
    /// Writes events in a transaction of their own.
    pub(crate) async fn append_events(
        &self,
        events: Vec<NewEvent>,
        readers: &HookTable,
    ) -> Result<Vec<Event>> {
        let mut tx = self.begin().await?;
        let written = append(&mut tx, self.clock().now(), events, readers).await?;
        tx.commit().await?;
        Ok(written)
    }

    /// Reads the word of an actor's kind back.
    pub(crate) fn actor_kind(word: &str) -> &'static str {
        [
            ActorKind::Device,
            ActorKind::Person,
            ActorKind::Plugin,
            ActorKind::System,
        ]
        .iter()
        .map(|kind| kind.as_str())
        .find(|known| *known == word)
        .unwrap_or("system")
    }
}
