//! What the batch writer reads for a group of requests.
//!
//! Owns: the reading statements of the hot path. Never changes a row.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::{
    Ask, Channel, DELIVERY, Delivery, Found, FoundCertificate, Holder, Left, Named, Past, Want,
    delivery,
};
use crate::clock::Micros;
use crate::enrollment::{CertificateState, EnrollmentState};
use crate::error::Result;
use crate::ids::{CertificateId, CommandId, DeviceId, EnrollmentId, TenantId};
use crate::inventory::Marks;
use crate::queue::{Disposition, OpenState, Outcome};
use crate::store::sql::{Column, Rows, Tx, args};

fn asks(asks: &[Ask]) -> Rows {
    vec![
        ("n", Column::Int((0..asks.len() as i64).collect())),
        (
            "tenant_id",
            Column::Uuid(asks.iter().map(|a| a.tenant.0).collect()),
        ),
        (
            "fingerprint",
            Column::Bytes(asks.iter().map(|a| a.fingerprint.to_vec()).collect()),
        ),
        (
            "ident_kind",
            Column::Int(asks.iter().map(|a| a.ident_kind).collect()),
        ),
        (
            "ident",
            Column::Text(asks.iter().map(|a| a.ident.clone()).collect()),
        ),
        (
            "channel",
            Column::Int(asks.iter().map(|a| a.channel).collect()),
        ),
        (
            "user_key",
            Column::Text(asks.iter().map(|a| a.user_key.clone()).collect()),
        ),
    ]
}

/// Locks the head rows of all claimed devices, in order, and reads what `reports` need: certificate, enrollment, channel
/// and outstanding command of each. A claim that is false is refused by the rules later; one that is true names
/// the device of the certificate, so the right row is locked.
pub(crate) async fn lock_and_load(
    tx: &mut Tx,
    group: &[Ask],
    reports: &[Ask],
) -> Result<(BTreeMap<DeviceId, i64>, Vec<Found>)> {
    let lock = if tx.is_postgres() {
        "SELECT h.device_id, h.event_seq FROM device_head h WHERE h.device_id IN
           (SELECT d.id FROM i JOIN device d ON d.tenant_id = i.tenant_id
              AND d.ident_kind = i.ident_kind AND d.ident = i.ident) ORDER BY h.device_id FOR UPDATE"
    } else {
        "SELECT h.device_id, h.event_seq FROM i JOIN device d ON d.tenant_id = i.tenant_id
            AND d.ident_kind = i.ident_kind AND d.ident = i.ident JOIN device_head h ON h.device_id = d.id"
    };
    let claims = vec![
        (
            "tenant_id",
            Column::Uuid(group.iter().map(|a| a.tenant.0).collect()),
        ),
        (
            "ident_kind",
            Column::Int(group.iter().map(|a| a.ident_kind).collect()),
        ),
        (
            "ident",
            Column::Text(group.iter().map(|a| a.ident.clone()).collect()),
        ),
    ];
    let load = format!(
        "SELECT i.n, c.id, c.state, c.not_after, v.id,
                CAST(CASE WHEN v.ident_kind = i.ident_kind AND v.ident = i.ident THEN 1 ELSE 0 END AS bigint),
                v.revision,
                p.id, p.state, e.id, e.state, ch.poll, ch.sent_seq, ch.last_seen_at, ch.session_started_at,
                ch.session_requests, ch.session_commands, ch.session_not_now, ps.due_at, c.first_report_at,
                v.footing, v.marks, v.os_version,
                CAST(CASE WHEN v.product_name IS NULL THEN 1 ELSE 0 END AS bigint),
                {DELIVERY}
         FROM i
         JOIN certificate c ON c.tenant_id = i.tenant_id AND c.fingerprint = i.fingerprint
         LEFT JOIN device v ON v.id = c.device_id
         LEFT JOIN enrollment p ON p.id = c.enrollment_id
         LEFT JOIN enrollment e ON e.device_id = c.device_id AND e.channel = i.channel
           AND e.user_key = i.user_key AND e.generation = p.generation
         LEFT JOIN channel ch ON ch.enrollment_id = e.id
         LEFT JOIN push_state ps ON ps.enrollment_id = e.id
         LEFT JOIN delivery d ON d.enrollment_id = e.id AND d.seq = ch.sent_seq"
    );
    let (locked, loaded) = tx.query_two((claims, lock), (asks(reports), &load)).await?;
    let mut heads = BTreeMap::new();
    for row in locked {
        heads.insert(DeviceId(row.uuid(0)?), row.int(1)?);
    }
    let mut found = vec![Found::default(); reports.len()];
    for row in loaded {
        let Some(slot) = usize::try_from(row.int(0)?)
            .ok()
            .and_then(|n| found.get_mut(n))
        else {
            continue;
        };
        let device = row.opt_uuid(4)?.map(DeviceId);
        slot.certificate = Some(FoundCertificate {
            id: CertificateId(row.uuid(1)?),
            state: CertificateState::from_code(row.int(2)?),
            not_after: row.int(3)?,
            device,
            same_device: row.int(5)? == 1,
            device_revision: row.opt_int(6)?.unwrap_or(0),
            reported: row.opt_int(19)?.is_some(),
            footing: row.opt_int(20)?.unwrap_or(0),
            marks: Marks::from_code(row.opt_int(21)?.unwrap_or(0)),
            os_version: row.opt_text(22)?,
            nameless: row.int(23)? == 1,
        });
        if let (Some(id), Some(state)) = (row.opt_uuid(7)?, row.opt_int(8)?) {
            slot.holder = Some(Holder {
                id: EnrollmentId(id),
                state: EnrollmentState::from_code(state),
            });
        }
        if let (Some(id), Some(state), Some(poll), Some(device)) =
            (row.opt_uuid(9)?, row.opt_int(10)?, row.opt_int(11)?, device)
        {
            slot.channel = Some(Channel {
                enrollment: EnrollmentId(id),
                enrollment_state: EnrollmentState::from_code(state),
                device,
                tenant: reports
                    .get(usize::try_from(row.int(0)?).unwrap_or(0))
                    .map_or(TenantId(Uuid::nil()), |a| a.tenant),
                poll,
                sent_seq: row.int(12)?,
                last_seen_at: row.int(13)?,
                session_started_at: row.int(14)?,
                session_requests: row.int(15)?,
                session_commands: row.int(16)?,
                session_not_now: row.int(17)?,
                push_due_at: row.opt_int(18)?,
            });
            slot.outstanding = delivery(&row, 24)?;
        }
    }
    Ok((heads, found))
}

/// Finds open deliveries by the `CommandUUID` of a report, keyed by the caller's number.
pub(crate) async fn named_deliveries(
    tx: &mut Tx,
    wanted: &[Named],
) -> Result<HashMap<i64, Delivery>> {
    let sql = format!(
        "SELECT i.n, {DELIVERY} FROM i
         JOIN command c ON c.tenant_id = i.tenant_id AND c.command_uuid = i.command_uuid
         JOIN command_target t ON t.command_id = c.id AND t.enrollment_id = i.enrollment_id
         JOIN delivery d ON d.enrollment_id = t.enrollment_id AND d.seq = t.seq"
    );
    let mut out = HashMap::new();
    for row in tx.query_each(names(wanted), &sql, args![]).await? {
        if let Some(found) = delivery(&row, 1)? {
            out.insert(row.int(0)?, found);
        }
    }
    Ok(out)
}

fn names(wanted: &[Named]) -> Rows {
    vec![
        ("n", Column::Int(wanted.iter().map(|w| w.n).collect())),
        (
            "tenant_id",
            Column::Uuid(wanted.iter().map(|w| w.tenant.0).collect()),
        ),
        (
            "enrollment_id",
            Column::Uuid(wanted.iter().map(|w| w.enrollment.0).collect()),
        ),
        (
            "command_uuid",
            Column::Text(wanted.iter().map(|w| w.command_uuid.clone()).collect()),
        ),
    ]
}

/// Every open delivery of an enrollment, in order.
pub(crate) async fn open_of(tx: &mut Tx, enrollment: EnrollmentId) -> Result<Vec<Delivery>> {
    let sql = format!("SELECT {DELIVERY} FROM delivery d WHERE d.enrollment_id = ? ORDER BY d.seq");
    let mut out = Vec::new();
    for row in tx.query(&sql, args![enrollment]).await? {
        out.extend(delivery(&row, 0)?);
    }
    Ok(out)
}

/// Finds what is kept of deliveries that have left the queue, keyed by the caller's number.
pub(crate) async fn finished(tx: &mut Tx, wanted: &[Named]) -> Result<HashMap<i64, Past>> {
    let mut out = HashMap::new();
    let rows = tx
        .query_each(
            names(wanted),
            "SELECT i.n, h.seq, h.finished_at, h.command_id, h.request_type, h.disposition, h.outcome,
                    h.report_hash, h.sends
             FROM i
             JOIN command c ON c.tenant_id = i.tenant_id AND c.command_uuid = i.command_uuid
             JOIN command_target t ON t.command_id = c.id AND t.enrollment_id = i.enrollment_id
             JOIN delivery_history h ON h.enrollment_id = t.enrollment_id AND h.seq = t.seq",
            args![],
        )
        .await?;
    for row in rows {
        let outcome = Outcome::from_code(row.int(6)?).map(|outcome| {
            let hash = row.opt_bytes(7).ok().flatten().unwrap_or_default();
            (outcome, hash.try_into().unwrap_or([0; 32]))
        });
        out.insert(
            row.int(0)?,
            Past {
                seq: row.int(1)?,
                finished_at: row.int(2)?,
                command: CommandId(row.uuid(3)?),
                request_type: row.text(4)?,
                disposition: Disposition::from_code(row.int(5)?),
                outcome,
                sends: row.int(8)?,
            },
        );
    }
    Ok(out)
}

/// Reads the first commands of each channel that could go next, by priority and number. What cannot be sent
/// now (not yet, not any more, deferred in this poll, waiting for another) is left out here, so that a long queue of
/// it costs nothing and hides nothing; the rules judge each again.
///
/// `most` is how many are read of each channel: one, and one more for each that a hook may have refused.
pub(crate) async fn candidates(
    tx: &mut Tx,
    now: Micros,
    most: usize,
    wanted: &[Want],
) -> Result<HashMap<i64, Vec<Delivery>>> {
    let filter = "x.enrollment_id = i.enrollment_id AND x.state <> 1 AND x.seq <> i.leaving_seq
        AND x.not_before <= ? AND (x.not_after IS NULL OR x.not_after > ?) AND (x.state = 0 OR x.notnow_poll < i.poll)
        AND (x.after_command_id IS NULL OR NOT EXISTS (SELECT 1 FROM command_target t
             JOIN delivery a ON a.enrollment_id = t.enrollment_id AND a.seq = t.seq
             WHERE t.command_id = x.after_command_id AND t.enrollment_id = x.enrollment_id
               AND t.seq <> i.leaving_seq))";
    let sql = if tx.is_postgres() {
        format!(
            "SELECT i.n, {DELIVERY} FROM i CROSS JOIN LATERAL
               (SELECT x.* FROM delivery x WHERE {filter} ORDER BY x.priority DESC, x.seq LIMIT {most}) d"
        )
    } else {
        // `=` over one row needs no table of its own.
        let among = if most == 1 { "=" } else { "IN" };
        format!(
            "SELECT i.n, {DELIVERY} FROM i JOIN delivery d ON d.enrollment_id = i.enrollment_id AND d.seq {among}
               (SELECT x.seq FROM delivery x WHERE {filter} ORDER BY x.priority DESC, x.seq LIMIT {most})"
        )
    };
    let rows = vec![
        ("n", Column::Int(wanted.iter().map(|w| w.n).collect())),
        (
            "enrollment_id",
            Column::Uuid(wanted.iter().map(|w| w.enrollment.0).collect()),
        ),
        ("poll", Column::Int(wanted.iter().map(|w| w.poll).collect())),
        (
            "leaving_seq",
            Column::Int(wanted.iter().map(|w| w.leaving_seq).collect()),
        ),
    ];
    let mut out: HashMap<i64, Vec<Delivery>> = HashMap::new();
    for row in tx.query_each(rows, &sql, args![now, now]).await? {
        if let Some(found) = delivery(&row, 1)? {
            out.entry(row.int(0)?).or_default().push(found);
        }
    }
    for list in out.values_mut() {
        list.sort_by_key(|delivery| (-delivery.open.priority, delivery.open.seq));
    }
    Ok(out)
}

/// Looks at what is left in the queues of these channels.
pub(crate) async fn left(tx: &mut Tx, now: Micros, channels: &[EnrollmentId]) -> Result<Vec<Left>> {
    let rows = tx
        .query_each(
            vec![("id", Column::Uuid(channels.iter().map(|id| id.0).collect()))],
            "SELECT d.enrollment_id, max(d.state), CAST(max(CASE WHEN d.state = 1 THEN 1 ELSE 0 END) AS bigint),
                    CAST(max(CASE WHEN d.state = 0 AND d.not_before <= ? AND (d.not_after IS NULL OR d.not_after > ?)
                      AND (d.after_command_id IS NULL OR NOT EXISTS (SELECT 1 FROM command_target t
                           JOIN delivery a ON a.enrollment_id = t.enrollment_id AND a.seq = t.seq
                           WHERE t.command_id = d.after_command_id AND t.enrollment_id = d.enrollment_id))
                      THEN 1 ELSE 0 END) AS bigint),
                    min(CASE WHEN d.not_before > ? THEN d.not_before END)
             FROM i JOIN delivery d ON d.enrollment_id = i.id GROUP BY d.enrollment_id",
            args![now, now, now],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Left {
                enrollment: EnrollmentId(row.uuid(0)?),
                deferred: row.int(1)? == OpenState::NotNow.code(),
                outstanding: row.int(2)? == 1,
                ready: row.int(3)? == 1,
                from: row.opt_int(4)?,
            })
        })
        .collect()
}

/// Reads sealed bodies by tenant and hash.
pub(crate) async fn bodies(
    tx: &mut Tx,
    wanted: &[(TenantId, Vec<u8>)],
) -> Result<HashMap<(TenantId, Vec<u8>), Vec<u8>>> {
    let rows = vec![
        (
            "tenant_id",
            Column::Uuid(wanted.iter().map(|w| w.0.0).collect()),
        ),
        (
            "hash",
            Column::Bytes(wanted.iter().map(|w| w.1.clone()).collect()),
        ),
    ];
    let mut out = HashMap::new();
    let found = tx
        .query_each(
            rows,
            "SELECT b.tenant_id, b.hash, b.sealed FROM i JOIN command_body b
               ON b.tenant_id = i.tenant_id AND b.hash = i.hash",
            args![],
        )
        .await?;
    for row in found {
        out.insert((TenantId(row.uuid(0)?), row.bytes(1)?), row.bytes(2)?);
    }
    Ok(out)
}
