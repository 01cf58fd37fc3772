//! What the batch writer writes for a group of requests.
//!
//! Owns: the changing statements of the hot path. What a group always writes goes into a batch.

use super::{Channel, Leaving, Moved, Past};
use crate::clock::Micros;
use crate::error::Result;
use crate::ids::{EnrollmentId, TenantId};
use crate::queue::Outcome;
use crate::store::sql::{Arg, Batch, Column, Tx, args};
use crate::store::upkeep;

/// Moves deliveries from the open queue to history.
pub(crate) fn finish(batch: &mut Batch, now: Micros, leaving: &[Leaving]) {
    let keys = vec![
        (
            "enrollment_id",
            Column::Uuid(leaving.iter().map(|l| l.enrollment.0).collect()),
        ),
        (
            "seq",
            Column::Int(leaving.iter().map(|l| l.delivery.open.seq).collect()),
        ),
    ];
    batch.delete("delivery", keys);
    let mut rows: Vec<(&'static str, Column)> = Vec::with_capacity(22);
    macro_rules! column {
        ($name:literal, $kind:ident, $l:ident => $value:expr) => {
            rows.push((
                $name,
                Column::$kind(leaving.iter().map(|$l| $value).collect()),
            ));
        };
    }
    column!("enrollment_id", Uuid, l => l.enrollment.0);
    column!("seq", Int, l => l.delivery.open.seq);
    rows.push(("finished_at", Column::Int(vec![now; leaving.len()])));
    column!("tenant_id", Uuid, l => l.tenant.0);
    column!("device_id", Uuid, l => l.device.0);
    column!("command_id", Uuid, l => l.delivery.open.command.0);
    column!("command_uuid", Text, l => l.delivery.command_uuid.clone());
    column!("request_type", Text, l => l.delivery.open.request_type.clone());
    column!("body_hash", Bytes, l => l.delivery.sent_hash().to_vec());
    column!("priority", Int, l => l.delivery.open.priority);
    column!("disposition", Int, l => l.disposition.code());
    column!("reason", OptText, l => l.reason.clone());
    column!("outcome", Int, l => l.outcome.map_or(0, Outcome::code));
    column!("outcome_at", OptInt, l => l.outcome.map(|_| now));
    column!("report_hash", OptBytes, l => l.report_hash.map(|h| h.to_vec()));
    column!("report_sealed", OptBytes, l => l.report_sealed.clone());
    column!("error_chain", OptText, l => l.error_chain.clone());
    column!("sends", Int, l => l.delivery.open.sends);
    column!("notnow_count", Int, l => l.delivery.notnow_count);
    column!("first_sent_at", OptInt, l => l.delivery.first_sent_at);
    column!("last_sent_at", OptInt, l => l.delivery.last_sent_at);
    column!("created_at", Int, l => l.delivery.created_at);
    batch.insert("delivery_history", rows);
    upkeep::note_ended(batch, now, leaving);
}

/// Writes back deliveries that stay open: sent, deferred, held.
pub(crate) fn move_open(batch: &mut Batch, moved: &[Moved]) {
    let mut rows: Vec<(&'static str, Column)> = Vec::with_capacity(10);
    macro_rules! column {
        ($name:literal, $kind:ident, $d:ident => $value:expr) => {
            rows.push((
                $name,
                Column::$kind(
                    moved
                        .iter()
                        .map(|m| {
                            let $d = &m.delivery;
                            $value
                        })
                        .collect(),
                ),
            ));
        };
    }
    rows.push((
        "enrollment_id",
        Column::Uuid(moved.iter().map(|m| m.enrollment.0).collect()),
    ));
    column!("seq", Int, d => d.open.seq);
    column!("state", Int, d => d.open.state.code());
    column!("sends", Int, d => d.open.sends);
    column!("not_before", Int, d => d.open.not_before);
    column!("notnow_count", Int, d => d.notnow_count);
    column!("notnow_poll", Int, d => d.open.notnow_poll);
    column!("first_sent_at", OptInt, d => d.first_sent_at);
    column!("last_sent_at", OptInt, d => d.last_sent_at);
    column!("pinned_hash", OptBytes, d => d.pinned_hash.clone());
    column!("footing", Int, d => d.open.footing);
    batch.update("delivery", 2, rows);
}

/// Writes back the channels' moving parts.
pub(crate) fn save_channels(batch: &mut Batch, channels: &[&Channel]) {
    let int = |f: fn(&Channel) -> i64| Column::Int(channels.iter().map(|c| f(c)).collect());
    let rows = vec![
        (
            "enrollment_id",
            Column::Uuid(channels.iter().map(|c| c.enrollment.0).collect()),
        ),
        ("poll", int(|c| c.poll)),
        ("sent_seq", int(|c| c.sent_seq)),
        ("last_seen_at", int(|c| c.last_seen_at)),
        ("session_started_at", int(|c| c.session_started_at)),
        ("session_requests", int(|c| c.session_requests)),
        ("session_commands", int(|c| c.session_commands)),
        ("session_not_now", int(|c| c.session_not_now)),
    ];
    batch.update("channel", 1, rows);
}

/// Keeps the sessions that have ended.
pub(crate) fn save_sessions(batch: &mut Batch, ended: &[Channel]) {
    let int = |f: fn(&Channel) -> i64| Column::Int(ended.iter().map(f).collect());
    let rows = vec![
        (
            "enrollment_id",
            Column::Uuid(ended.iter().map(|c| c.enrollment.0).collect()),
        ),
        (
            "tenant_id",
            Column::Uuid(ended.iter().map(|c| c.tenant.0).collect()),
        ),
        (
            "device_id",
            Column::Uuid(ended.iter().map(|c| c.device.0).collect()),
        ),
        ("started_at", int(|c| c.session_started_at)),
        ("ended_at", int(|c| c.last_seen_at)),
        ("requests", int(|c| c.session_requests)),
        ("commands", int(|c| c.session_commands)),
        ("not_now", int(|c| c.session_not_now)),
    ];
    batch.insert_new("session", rows);
}

/// Adds the outcome that came after the delivery had left the queue (Q5).
pub(crate) async fn record_late(
    tx: &mut Tx,
    now: Micros,
    enrollment: EnrollmentId,
    past: &Past,
    outcome: Outcome,
    report_hash: [u8; 32],
    report_sealed: Vec<u8>,
) -> Result<()> {
    let args: Vec<Arg> = args![
        outcome.code(),
        now,
        report_hash,
        report_sealed,
        enrollment,
        past.seq,
        past.finished_at,
    ];
    tx.execute(
        "UPDATE delivery_history SET outcome = ?, outcome_at = ?, report_hash = ?, report_sealed = ?
         WHERE enrollment_id = ? AND seq = ? AND finished_at = ?",
        args,
    )
    .await?;
    Ok(())
}

/// More reports than this of commands that were never sent are not kept for one enrollment.
const MAX_ORPHANS: i64 = 32;

/// Keeps an orphaned report, bounded (Q6).
pub(crate) async fn keep_orphan(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    enrollment: EnrollmentId,
    command_uuid: &str,
    status: &str,
    sealed: Vec<u8>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO orphan_report (enrollment_id, received_at, tenant_id, command_uuid, status, report_sealed)
         SELECT ?, ?, ?, ?, ?, ?
         WHERE (SELECT count(*) FROM orphan_report WHERE enrollment_id = ?) < ? ON CONFLICT DO NOTHING",
        args![enrollment, now, tenant, command_uuid, status, sealed, enrollment, MAX_ORPHANS],
    )
    .await?;
    Ok(())
}
