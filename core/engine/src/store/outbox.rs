//! Rows that wait for an observer.
//!
//! Owns: reading and consuming the outbox. Rows are followed one by one, never "everything after the last": the order
//! of commits is not the order of numbers.

use super::sql::{Column, Row, Tx, args};
use crate::clock::Micros;
use crate::error::Result;
use crate::event::{Event, EventKind};
use crate::ids::{CommandId, DeviceId, EnrollmentId, TenantId};
use crate::store::Store;

/// An event that waits, and how often it was tried.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) event: Event,
    pub(crate) attempts: i64,
    pub(crate) depth: u32,
}

/// The first events of the device whose turn it is, in order; of one tenant or of all. A device whose first event waits for another try
/// waits as a whole.
pub(crate) async fn next(
    tx: &mut Tx,
    consumer: &str,
    tenant: Option<TenantId>,
    now: Micros,
    limit: i64,
) -> Result<Vec<Waiting>> {
    let head = |only: &str| {
        format!(
            "SELECT o.device_id FROM outbox o WHERE o.consumer = ? AND o.dead = 0 AND o.due_at <= ? {only}
               AND NOT EXISTS (SELECT 1 FROM outbox b WHERE b.consumer = o.consumer AND b.device_id = o.device_id
                               AND b.seq < o.seq AND b.dead = 0)
             ORDER BY o.due_at LIMIT 1"
        )
    };
    let found = match tenant {
        Some(tenant) => {
            let sql = head("AND o.tenant_id = ?");
            tx.query_one(&sql, args![consumer, now, tenant]).await?
        }
        None => tx.query_one(&head(""), args![consumer, now]).await?,
    };
    let Some(row) = found else {
        return Ok(Vec::new());
    };
    let device = row.uuid(0)?;
    let rows = tx
        .query(
            "SELECT e.device_id, e.seq, e.at, e.tenant_id, e.enrollment_id, e.kind, e.command_id, e.actor_kind,
                    e.actor_id, e.body, o.attempts, e.depth, n.user_key
             FROM outbox o JOIN event e ON e.device_id = o.device_id AND e.seq = o.seq AND e.at = o.at
             LEFT JOIN enrollment n ON n.id = e.enrollment_id
             WHERE o.consumer = ? AND o.device_id = ? AND o.dead = 0 ORDER BY o.seq LIMIT ?",
            args![consumer, device, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Waiting {
                event: event(row, 12)?,
                attempts: row.int(10)?,
                depth: u32::try_from(row.int(11)?).unwrap_or(u32::MAX),
            })
        })
        .collect()
}

/// An event of a row; the user of its channel stands in this column.
fn event(row: &Row, user_key: usize) -> Result<Event> {
    Ok(Event {
        device_id: DeviceId(row.uuid(0)?),
        seq: row.int(1)?,
        at: row.int(2)?,
        tenant_id: TenantId(row.uuid(3)?),
        enrollment_id: row.opt_uuid(4)?.map(EnrollmentId),
        user_key: row.opt_text(user_key)?.unwrap_or_default(),
        kind: EventKind::from_word(&row.text(5)?).unwrap_or(EventKind::Emitted),
        command_id: row.opt_uuid(6)?.map(CommandId),
        actor_kind: Store::actor_kind(&row.text(7)?),
        actor_id: row.opt_uuid(8)?,
        body: serde_json::from_str(&row.text(9)?).unwrap_or(serde_json::Value::Null),
    })
}

fn keys(waiting: &[Waiting]) -> Vec<(&'static str, Column)> {
    vec![
        (
            "device_id",
            Column::Uuid(waiting.iter().map(|w| w.event.device_id.0).collect()),
        ),
        (
            "seq",
            Column::Int(waiting.iter().map(|w| w.event.seq).collect()),
        ),
    ]
}

impl Store {
    /// The newest events of a device, in their order.
    pub(crate) async fn newest_events(
        &self,
        tenant: TenantId,
        device: DeviceId,
        limit: u64,
    ) -> Result<Vec<Event>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT e.device_id, e.seq, e.at, e.tenant_id, e.enrollment_id, e.kind, e.command_id, e.actor_kind,
                        e.actor_id, e.body, n.user_key
                 FROM event e LEFT JOIN enrollment n ON n.id = e.enrollment_id
                 WHERE e.device_id = ? AND e.tenant_id = ? ORDER BY e.seq DESC LIMIT ?",
                args![device, tenant, limit],
            )
            .await?;
        tx.rollback().await?;
        rows.iter().rev().map(|row| event(row, 10)).collect()
    }
}

/// Takes the rows away; says whether they were all still there.
pub(crate) async fn consume(tx: &mut Tx, consumer: &str, waiting: &[Waiting]) -> Result<bool> {
    let gone = tx
        .execute_over(
            keys(waiting),
            "DELETE FROM outbox WHERE (device_id, seq) IN (SELECT device_id, seq FROM i) AND consumer = ?",
            args![consumer],
        )
        .await?;
    Ok(gone == waiting.len() as u64)
}

/// Puts the rows off, or aside for good.
pub(crate) async fn postpone(
    tx: &mut Tx,
    consumer: &str,
    waiting: &[Waiting],
    due: Micros,
    error: &str,
    dead: bool,
) -> Result<()> {
    tx.execute_over(
        keys(waiting),
        "UPDATE outbox SET attempts = attempts + 1, due_at = ?, last_error = ?, dead = ?
         WHERE (device_id, seq) IN (SELECT device_id, seq FROM i) AND consumer = ?",
        args![due, error, i64::from(dead), consumer],
    )
    .await?;
    Ok(())
}
