//! Which channels are waiting to be rung, and the push certificates.
//!
//! Owns: every statement on `push_state` and `push_certificate`. A channel that is due stays due until its device
//! comes (Q7, Q14): ringing only sets the time of the next ring. Decides nothing; the rules are in `push::rules`.
//!
//! Locks: [`mark_due`], [`clear_due`] and [`record`] run under the lock of the device's head row, which their caller
//! holds or which they take. Claiming takes only rows that nobody holds and never waits, so the two orders
//! cannot form a ring.

use std::collections::BTreeMap;

use super::Store;
use super::events::{append_locked, lock_heads};
use super::sql::{Batch, Column, Row, Tx, args};
use crate::clock::Micros;
use crate::error::Result;
use crate::event::{Event, NewEvent};
use crate::hooks::HookTable;
use crate::ids::{DeviceId, EnrollmentId, TenantId};

/// A channel that is due, as it stands when it is claimed.
pub(crate) struct DueRow {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) device: DeviceId,
    pub(crate) due_at: Micros,
    pub(crate) attempts: i64,
    pub(crate) last_at: Option<Micros>,
    pub(crate) refused_token_hash: Option<Vec<u8>>,
    pub(crate) refused_certificate: Option<uuid::Uuid>,
    pub(crate) state: i64,
    pub(crate) token_sealed: Option<Vec<u8>>,
    pub(crate) magic_sealed: Option<Vec<u8>>,
    pub(crate) token_hash: Option<Vec<u8>>,
    pub(crate) enabled_at: Option<Micros>,
    pub(crate) token_updated_at: Option<Micros>,
    pub(crate) last_seen_at: Option<Micros>,
}

/// What a claim does to a row: its next due time (none: no longer due) and until when nobody else takes it.
pub(crate) struct Claimed {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) due_at: Option<Micros>,
    pub(crate) leased_until: Micros,
}

/// What became of one ring.
pub(crate) struct Rung {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) device: DeviceId,
    /// `due_at` as it was claimed: if it has moved since, the device came or a new need arose, and only the
    /// `last_*` columns are written.
    pub(crate) claimed_due: Micros,
    pub(crate) next_due: Micros,
    pub(crate) hold_until: Micros,
    pub(crate) attempts: i64,
    pub(crate) status: Option<i64>,
    pub(crate) reason: Option<String>,
    pub(crate) apns_id: Option<String>,
    pub(crate) mark: Mark,
    pub(crate) event: Option<NewEvent>,
}

/// What becomes of the mark that a token was refused.
pub(crate) enum Mark {
    /// Stays as it is.
    Keep,
    /// The token was taken: the mark goes.
    Clear,
    /// This token was refused under this certificate.
    Refused {
        token_hash: Vec<u8>,
        certificate: uuid::Uuid,
    },
}

/// A row of `push_certificate`, its key still sealed.
#[derive(Clone)]
pub(crate) struct CertificateRow {
    pub(crate) tenant: TenantId,
    pub(crate) topic: String,
    pub(crate) id: uuid::Uuid,
    pub(crate) certificate_pem: String,
    pub(crate) key_sealed: Vec<u8>,
    pub(crate) not_after: Micros,
    pub(crate) created_at: Micros,
    pub(crate) stopped_at: Option<Micros>,
    pub(crate) stopped_reason: Option<String>,
}

/// Makes `enrollments` due at `at` (now, or a later time when nothing can be delivered before it), unless they are
/// due earlier already. A channel that was not due begins a new series of attempts.
///
/// The caller holds the lock of the devices' head rows.
pub(crate) async fn mark_due(tx: &mut Tx, at: Micros, enrollments: &[EnrollmentId]) -> Result<()> {
    tx.execute_over(
        vec![ids(enrollments)],
        "INSERT INTO push_state (enrollment_id, tenant_id, device_id, due_at, leased_until, attempts)
         SELECT e.id, e.tenant_id, e.device_id, ?, 0, 0 FROM i JOIN enrollment e ON e.id = i.id WHERE 1 = 1
         ON CONFLICT (enrollment_id) DO UPDATE SET
             attempts = CASE WHEN push_state.due_at IS NULL THEN 0 ELSE push_state.attempts END,
             due_at = excluded.due_at
         WHERE push_state.due_at IS NULL OR push_state.due_at > excluded.due_at",
        args![at],
    )
    .await?;
    Ok(())
}

/// The device came, but something is left: it is rung again after the gap that its attempts have grown to, unless that
/// is set already. `gaps` are the gaps by attempts, of which the last stays.
///
/// The caller holds the lock of the devices' head rows.
pub(crate) fn postpone_due(
    batch: &mut Batch,
    now: Micros,
    gaps: &[Micros],
    enrollments: &[EnrollmentId],
) {
    let (first, last) = match (gaps.first(), gaps.last()) {
        (Some(first), Some(last)) => (*first, *last),
        _ => return,
    };
    let mut by_attempts = String::new();
    for (attempts, gap) in gaps.iter().enumerate() {
        by_attempts.push_str(&format!(" WHEN {attempts} THEN {gap}"));
    }
    let statement = format!(
        "INSERT INTO push_state (enrollment_id, tenant_id, device_id, due_at, leased_until, attempts)
         SELECT e.id, e.tenant_id, e.device_id, ?, 0, 1 FROM i JOIN enrollment e ON e.id = i.id WHERE 1 = 1
         ON CONFLICT (enrollment_id) DO UPDATE SET
             due_at = CASE WHEN push_state.due_at IS NULL THEN excluded.due_at
                 ELSE ? + CASE push_state.attempts{by_attempts} ELSE {last} END END,
             attempts = CASE WHEN push_state.due_at IS NULL THEN 1 ELSE push_state.attempts + 1 END,
             leased_until = CASE WHEN push_state.last_status = 429 THEN push_state.leased_until ELSE 0 END
         WHERE push_state.due_at IS NULL OR push_state.due_at <= ?"
    );
    let at = now.saturating_add(first);
    batch.other(vec![ids(enrollments)], statement, args![at, now, now]);
}

/// The device came and nothing is left to ring for. A back-off that APNs asked for (429) outlasts it.
///
/// The caller holds the lock of the devices' head rows.
pub(crate) async fn clear_due(tx: &mut Tx, enrollments: &[EnrollmentId]) -> Result<()> {
    tx.execute_over(
        vec![ids(enrollments)],
        "UPDATE push_state SET due_at = NULL, attempts = 0,
             leased_until = CASE WHEN last_status = 429 THEN leased_until ELSE 0 END
         FROM i WHERE push_state.enrollment_id = i.id AND push_state.due_at IS NOT NULL",
        args![],
    )
    .await?;
    Ok(())
}

fn ids(enrollments: &[EnrollmentId]) -> (&'static str, Column) {
    let mut ids: Vec<uuid::Uuid> = enrollments.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    ids.dedup();
    ("id", Column::Uuid(ids))
}

/// How many channels of each tenant could be rung now.
pub(crate) async fn census(tx: &mut Tx, now: Micros) -> Result<BTreeMap<TenantId, u64>> {
    let rows = tx
        .query(
            "SELECT tenant_id, count(*) FROM push_state WHERE due_at <= ? AND leased_until <= ?
             GROUP BY tenant_id",
            args![now, now],
        )
        .await?;
    let mut tenants = BTreeMap::new();
    for row in rows {
        let count = u64::try_from(row.int(1)?).unwrap_or(0);
        tenants.insert(TenantId(row.uuid(0)?), count);
    }
    Ok(tenants)
}

/// Keeps PostgreSQL, for this transaction, to walking the index of what is due: with stale statistics it would rather
/// read and sort whole tables.
pub(crate) async fn pin_plan(tx: &mut Tx) -> Result<()> {
    if tx.is_postgres() {
        tx.query(
            "SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
                    set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true)",
            args![],
        )
        .await?;
    }
    Ok(())
}

/// Locks up to `limit` channels of a topic that are due, the longest due first. They stay locked until the
/// transaction ends; [`claim`] writes what was decided about them.
pub(crate) async fn due(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    topic: &str,
    limit: usize,
) -> Result<Vec<DueRow>> {
    let mut sql = String::from(
        "SELECT p.enrollment_id, p.device_id, p.due_at, p.attempts, p.last_at, p.refused_token_hash,
                p.refused_certificate_id, e.state, e.push_token_sealed, e.push_magic_sealed,
                e.push_token_hash, e.enabled_at, e.token_updated_at, c.last_seen_at
         FROM push_state p
         JOIN enrollment e ON e.id = p.enrollment_id
         LEFT JOIN channel c ON c.enrollment_id = p.enrollment_id
         WHERE p.due_at <= ? AND p.leased_until <= ? AND p.tenant_id = ? AND e.topic = ?
         ORDER BY p.due_at LIMIT ?",
    );
    if tx.is_postgres() {
        sql.push_str(" FOR UPDATE OF p SKIP LOCKED");
    }
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx
        .query(&sql, args![now, now, tenant, topic, limit])
        .await?;
    rows.iter().map(due_row).collect()
}

fn due_row(row: &Row) -> Result<DueRow> {
    Ok(DueRow {
        enrollment: EnrollmentId(row.uuid(0)?),
        device: DeviceId(row.uuid(1)?),
        due_at: row.int(2)?,
        attempts: row.int(3)?,
        last_at: row.opt_int(4)?,
        refused_token_hash: row.opt_bytes(5)?,
        refused_certificate: row.opt_uuid(6)?,
        state: row.int(7)?,
        token_sealed: row.opt_bytes(8)?,
        magic_sealed: row.opt_bytes(9)?,
        token_hash: row.opt_bytes(10)?,
        enabled_at: row.opt_int(11)?,
        token_updated_at: row.opt_int(12)?,
        last_seen_at: row.opt_int(13)?,
    })
}

/// Writes what was decided about the rows that [`due`] locked.
pub(crate) async fn claim(tx: &mut Tx, rows: &[Claimed]) -> Result<()> {
    let columns = vec![
        (
            "id",
            Column::Uuid(rows.iter().map(|row| row.enrollment.0).collect()),
        ),
        (
            "next_due",
            Column::OptInt(rows.iter().map(|row| row.due_at).collect()),
        ),
        (
            "lease",
            Column::Int(rows.iter().map(|row| row.leased_until).collect()),
        ),
    ];
    tx.execute_over(
        columns,
        "UPDATE push_state SET due_at = i.next_due, leased_until = i.lease
         FROM i WHERE push_state.enrollment_id = i.id",
        args![],
    )
    .await?;
    Ok(())
}

/// Writes what became of `rung` and its events, each row at most once in a call.
pub(crate) async fn record(
    tx: &mut Tx,
    now: Micros,
    mut rung: Vec<Rung>,
    readers: &HookTable,
) -> Result<Vec<Event>> {
    let mut heads = lock_heads(tx, rung.iter().map(|row| row.device)).await?;
    let events = rung
        .iter_mut()
        .filter_map(|row| row.event.take())
        .collect::<Vec<_>>();
    let held = "push_state.due_at = i.claimed_due";
    let statement = format!(
        "UPDATE push_state SET
             leased_until = CASE WHEN {held} OR i.status = 429 THEN i.hold_until ELSE 0 END,
             attempts = CASE WHEN {held} THEN i.tries ELSE push_state.attempts END,
             due_at = CASE WHEN {held} THEN i.next_due ELSE push_state.due_at END,
             last_at = ?, last_status = i.status, last_reason = i.reason, last_apns_id = i.apns_id,
             refused_token_hash = CASE i.mark WHEN 0 THEN push_state.refused_token_hash ELSE i.token_hash END,
             refused_certificate_id =
                 CASE i.mark WHEN 0 THEN push_state.refused_certificate_id ELSE i.certificate_id END
         FROM i WHERE push_state.enrollment_id = i.id"
    );
    tx.execute_over(rung_columns(rung), &statement, args![now])
        .await?;
    append_locked(tx, now, &mut heads, events, readers).await
}

fn rung_columns(rung: Vec<Rung>) -> super::sql::Rows {
    let mut id = Vec::with_capacity(rung.len());
    let mut claimed_due = Vec::with_capacity(rung.len());
    let mut next_due = Vec::with_capacity(rung.len());
    let mut hold_until = Vec::with_capacity(rung.len());
    let mut tries = Vec::with_capacity(rung.len());
    let mut status = Vec::with_capacity(rung.len());
    let mut reason = Vec::with_capacity(rung.len());
    let mut apns_id = Vec::with_capacity(rung.len());
    let mut mark = Vec::with_capacity(rung.len());
    let mut token_hash = Vec::with_capacity(rung.len());
    let mut certificate_id = Vec::with_capacity(rung.len());
    for row in rung {
        id.push(row.enrollment.0);
        claimed_due.push(row.claimed_due);
        next_due.push(row.next_due);
        hold_until.push(row.hold_until);
        tries.push(row.attempts);
        status.push(row.status);
        reason.push(row.reason);
        apns_id.push(row.apns_id);
        let (code, hash, certificate) = match row.mark {
            Mark::Keep => (0, None, None),
            Mark::Clear => (1, None, None),
            Mark::Refused {
                token_hash,
                certificate,
            } => (2, Some(token_hash), Some(certificate)),
        };
        mark.push(code);
        token_hash.push(hash);
        certificate_id.push(certificate);
    }
    vec![
        ("id", Column::Uuid(id)),
        ("claimed_due", Column::Int(claimed_due)),
        ("next_due", Column::Int(next_due)),
        ("hold_until", Column::Int(hold_until)),
        ("tries", Column::Int(tries)),
        ("status", Column::OptInt(status)),
        ("reason", Column::OptText(reason)),
        ("apns_id", Column::OptText(apns_id)),
        ("mark", Column::Int(mark)),
        ("token_hash", Column::OptBytes(token_hash)),
        ("certificate_id", Column::OptUuid(certificate_id)),
    ]
}

/// Takes the mark of refusal off up to `limit` channels whose topic has another certificate now, and makes those of
/// them that wait due at once. Says how many; rows that another transaction holds wait for the next call.
pub(crate) async fn forget_refusals(tx: &mut Tx, now: Micros, limit: usize) -> Result<u64> {
    let lock = if tx.is_postgres() {
        " FOR UPDATE OF p SKIP LOCKED"
    } else {
        ""
    };
    let statement = format!(
        "UPDATE push_state SET refused_token_hash = NULL, refused_certificate_id = NULL, leased_until = 0,
             due_at = CASE WHEN due_at IS NULL THEN NULL ELSE ? END
         WHERE enrollment_id IN (
             SELECT p.enrollment_id FROM push_state p
             JOIN enrollment e ON e.id = p.enrollment_id
             JOIN push_certificate c ON c.tenant_id = p.tenant_id AND c.topic = e.topic
             WHERE p.refused_certificate_id IS NOT NULL AND p.refused_certificate_id <> c.id
             ORDER BY p.enrollment_id LIMIT ?{lock})"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    tx.execute(&statement, args![now, limit]).await
}

const CERTIFICATE: &str =
    "SELECT tenant_id, topic, id, certificate_pem, key_sealed, not_after, created_at, stopped_at,
        stopped_reason FROM push_certificate";

fn certificate_row(row: &Row) -> Result<CertificateRow> {
    Ok(CertificateRow {
        tenant: TenantId(row.uuid(0)?),
        topic: row.text(1)?,
        id: row.uuid(2)?,
        certificate_pem: row.text(3)?,
        key_sealed: row.bytes(4)?,
        not_after: row.int(5)?,
        created_at: row.int(6)?,
        stopped_at: row.opt_int(7)?,
        stopped_reason: row.opt_text(8)?,
    })
}

/// The push certificates of every tenant.
pub(crate) async fn all_certificates(tx: &mut Tx) -> Result<Vec<CertificateRow>> {
    let rows = tx.query(CERTIFICATE, args![]).await?;
    rows.iter().map(certificate_row).collect()
}

/// The push certificates of one tenant, the one in use first.
pub(crate) async fn certificates(tx: &mut Tx, tenant: TenantId) -> Result<Vec<CertificateRow>> {
    let sql = format!("{CERTIFICATE} WHERE tenant_id = ? ORDER BY created_at DESC, topic");
    let rows = tx.query(&sql, args![tenant]).await?;
    rows.iter().map(certificate_row).collect()
}

/// Stores a certificate, in place of the one for the same topic if there is one: whatever stopped that one is over.
pub(crate) async fn put_certificate(tx: &mut Tx, row: &CertificateRow) -> Result<()> {
    tx.execute(
        "INSERT INTO push_certificate (tenant_id, topic, id, certificate_pem, key_sealed, not_after, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (tenant_id, topic) DO UPDATE SET id = excluded.id,
             certificate_pem = excluded.certificate_pem, key_sealed = excluded.key_sealed,
             not_after = excluded.not_after, stopped_at = NULL, stopped_reason = NULL",
        args![
            row.tenant,
            row.topic.clone(),
            row.id,
            row.certificate_pem.clone(),
            row.key_sealed.clone(),
            row.not_after,
            row.created_at
        ],
    )
    .await?;
    Ok(())
}

/// Lets a stopped topic ring again with the certificate that it has. It goes on under a new id, so that what was
/// refused under the former id is forgotten as after an import.
pub(crate) async fn resume(
    tx: &mut Tx,
    tenant: TenantId,
    topic: &str,
    id: uuid::Uuid,
) -> Result<bool> {
    let resumed = tx
        .execute(
            "UPDATE push_certificate SET id = ?, stopped_at = NULL, stopped_reason = NULL
             WHERE tenant_id = ? AND topic = ? AND stopped_at IS NOT NULL",
            args![id, tenant, topic],
        )
        .await?;
    Ok(resumed > 0)
}

impl Store {
    /// Stops a topic for as long as it has this certificate. Says whether it was running.
    pub(crate) async fn stop_topic(
        &self,
        now: Micros,
        certificate: uuid::Uuid,
        reason: &str,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let stopped = tx
            .execute(
                "UPDATE push_certificate SET stopped_at = ?, stopped_reason = ?
                 WHERE id = ? AND stopped_at IS NULL",
                args![now, reason, certificate],
            )
            .await?;
        tx.commit().await?;
        Ok(stopped > 0)
    }
}
