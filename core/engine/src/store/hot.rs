//! The statements of the hot path: many requests of many devices in a handful of statements.
//!
//! Owns: what the batch writer reads for a group of requests, and how it writes what the rules decided. Every
//! list is one statement, whatever its length. Decides nothing.
//!
//! Order within a group: `lock_claimed`, then `load` on a snapshot that is newer than the locks, then
//! `named_deliveries`, `finished`, `candidates`; then the writes, in any order.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::sql::{Arg, Column, Row, Rows, Tx, args};
use crate::clock::Micros;
use crate::enrollment::{CertificateState, EnrollmentState};
use crate::error::Result;
use crate::ids::{CertificateId, CommandId, DeviceId, EnrollmentId, TenantId};
use crate::queue::{Disposition, Open, OpenState, Outcome};

/// Who asks, as claimed: the certificate and the identifiers in the body.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) tenant: TenantId,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) ident_kind: i64,
    pub(crate) ident: String,
    pub(crate) channel: i64,
    pub(crate) user_key: String,
}

/// What was found for an [`Ask`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) certificate: Option<FoundCertificate>,
    /// The device-channel enrollment that the certificate is bound to.
    pub(crate) holder: Option<Holder>,
    /// The claimed channel of the holder's generation.
    pub(crate) channel: Option<Channel>,
    /// The command that is outstanding there.
    pub(crate) outstanding: Option<Delivery>,
}

#[derive(Clone, Debug)]
pub(crate) struct FoundCertificate {
    pub(crate) id: CertificateId,
    pub(crate) state: CertificateState,
    pub(crate) not_after: Micros,
    pub(crate) device: Option<DeviceId>,
    /// The identifiers in the body are those of the certificate's device.
    pub(crate) same_device: bool,
    pub(crate) device_revision: i64,
    /// It has reported before.
    pub(crate) reported: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    pub(crate) id: EnrollmentId,
    pub(crate) state: EnrollmentState,
}

/// The channel's moving parts; written back by [`save_channels`].
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) enrollment_state: EnrollmentState,
    pub(crate) device: DeviceId,
    pub(crate) tenant: TenantId,
    pub(crate) poll: i64,
    pub(crate) sent_seq: i64,
    pub(crate) last_seen_at: Micros,
    pub(crate) session_started_at: Micros,
    pub(crate) session_requests: i64,
    pub(crate) session_commands: i64,
    pub(crate) session_not_now: i64,
    /// When the channel is rung next, if at all.
    pub(crate) push_due_at: Option<Micros>,
}

/// A row of the open queue, whole.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) open: Open,
    pub(crate) command_uuid: String,
    pub(crate) body_hash: Vec<u8>,
    pub(crate) notnow_count: i64,
    pub(crate) first_sent_at: Option<Micros>,
    pub(crate) last_sent_at: Option<Micros>,
    pub(crate) inputs_sealed: Option<Vec<u8>>,
    pub(crate) pinned_hash: Option<Vec<u8>>,
    pub(crate) created_at: Micros,
}

/// Where the body to send is found.
impl Delivery {
    pub(crate) fn sent_hash(&self) -> &[u8] {
        self.pinned_hash.as_deref().unwrap_or(&self.body_hash)
    }
}

/// A delivery that leaves the open queue.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) enrollment: EnrollmentId,
    pub(crate) delivery: Delivery,
    pub(crate) disposition: Disposition,
    pub(crate) reason: Option<String>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) report_hash: Option<[u8; 32]>,
    pub(crate) report_sealed: Option<Vec<u8>>,
    pub(crate) error_chain: Option<String>,
}

/// A delivery that stays open in another state.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) delivery: Delivery,
}

/// What is kept of a delivery that left the queue.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub(crate) seq: i64,
    pub(crate) finished_at: Micros,
    pub(crate) command: CommandId,
    pub(crate) request_type: String,
    pub(crate) disposition: Disposition,
    pub(crate) outcome: Option<(Outcome, [u8; 32])>,
    pub(crate) sends: i64,
}

const DELIVERY: &str =
    "d.seq, d.command_id, d.command_uuid, d.request_type, d.body_hash, d.priority,
    d.not_before, d.not_after, d.state, d.sends, d.notnow_count, d.notnow_poll, d.first_sent_at,
    d.last_sent_at, d.inputs_sealed, d.pinned_hash, d.created_at";

/// Reads the columns of [`DELIVERY`] from position `at`.
fn delivery(row: &Row, at: usize) -> Result<Option<Delivery>> {
    let Some(seq) = row.opt_int(at)? else {
        return Ok(None);
    };
    Ok(Some(Delivery {
        open: Open {
            seq,
            command: CommandId(row.uuid(at + 1)?),
            request_type: row.text(at + 3)?,
            priority: row.int(at + 5)?,
            not_before: row.int(at + 6)?,
            not_after: row.opt_int(at + 7)?,
            waits: false,
            state: OpenState::from_code(row.int(at + 8)?),
            sends: row.int(at + 9)?,
            notnow_poll: row.int(at + 11)?,
        },
        command_uuid: row.text(at + 2)?,
        body_hash: row.bytes(at + 4)?,
        notnow_count: row.int(at + 10)?,
        first_sent_at: row.opt_int(at + 12)?,
        last_sent_at: row.opt_int(at + 13)?,
        inputs_sealed: row.opt_bytes(at + 14)?,
        pinned_hash: row.opt_bytes(at + 15)?,
        created_at: row.int(at + 16)?,
    }))
}

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

/// Locks the head rows of the claimed devices, in order. A claim that is false is refused by the rules later;
/// one that is true names the device of the certificate, so the right row is locked.
pub(crate) async fn lock_claimed(tx: &mut Tx, group: &[Ask]) -> Result<BTreeMap<DeviceId, i64>> {
    let locking = if tx.is_postgres() {
        "ORDER BY h.device_id FOR UPDATE"
    } else {
        ""
    };
    let sql = format!(
        "SELECT h.device_id, h.event_seq FROM device_head h WHERE h.device_id IN
           (SELECT d.id FROM i JOIN device d ON d.tenant_id = i.tenant_id
              AND d.ident_kind = i.ident_kind AND d.ident = i.ident) {locking}"
    );
    let rows = vec![
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
    let mut heads = BTreeMap::new();
    for row in tx.query_over(rows, &sql, args![]).await? {
        heads.insert(DeviceId(row.uuid(0)?), row.int(1)?);
    }
    Ok(heads)
}

/// Reads certificate, enrollment, channel and outstanding command of each asker.
pub(crate) async fn load(tx: &mut Tx, group: &[Ask]) -> Result<Vec<Found>> {
    let sql = format!(
        "SELECT i.n, c.id, c.state, c.not_after, v.id,
                CAST(CASE WHEN v.ident_kind = i.ident_kind AND v.ident = i.ident THEN 1 ELSE 0 END AS bigint),
                v.revision,
                p.id, p.state, e.id, e.state, ch.poll, ch.sent_seq, ch.last_seen_at, ch.session_started_at,
                ch.session_requests, ch.session_commands, ch.session_not_now, ps.due_at, c.first_report_at,
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
    let mut found = vec![Found::default(); group.len()];
    for row in tx.query_over(asks(group), &sql, args![]).await? {
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
                tenant: group
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
            slot.outstanding = delivery(&row, 20)?;
        }
    }
    Ok(found)
}

/// Finds open deliveries by the `CommandUUID` of a report, keyed by the caller's number.
pub(crate) async fn named_deliveries(
    tx: &mut Tx,
    wanted: &[Named],
) -> Result<HashMap<i64, Delivery>> {
    let sql = format!(
        "SELECT i.n, {DELIVERY} FROM i
         JOIN command c ON c.tenant_id = i.tenant_id AND c.command_uuid = i.command_uuid
         JOIN delivery d ON d.command_id = c.id AND d.enrollment_id = i.enrollment_id"
    );
    let mut out = HashMap::new();
    for row in tx.query_over(names(wanted), &sql, args![]).await? {
        if let Some(found) = delivery(&row, 1)? {
            out.insert(row.int(0)?, found);
        }
    }
    Ok(out)
}

/// A command that a report names.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// The caller's number.
    pub(crate) n: i64,
    pub(crate) tenant: TenantId,
    pub(crate) enrollment: EnrollmentId,
    pub(crate) command_uuid: String,
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
        .query_over(
            names(wanted),
            "SELECT i.n, h.seq, h.finished_at, h.command_id, h.request_type, h.disposition, h.outcome,
                    h.report_hash, h.sends
             FROM i
             JOIN command c ON c.tenant_id = i.tenant_id AND c.command_uuid = i.command_uuid
             JOIN delivery_history h ON h.command_id = c.id AND h.enrollment_id = i.enrollment_id",
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

/// Which channel's next commands are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) n: i64,
    pub(crate) enrollment: EnrollmentId,
    /// The poll in which the command would be sent.
    pub(crate) poll: i64,
    /// The delivery that is being reported; it counts as gone. 0 for none.
    pub(crate) leaving_seq: i64,
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
        AND (x.after_command_id IS NULL OR NOT EXISTS (SELECT 1 FROM delivery a
             WHERE a.enrollment_id = x.enrollment_id AND a.command_id = x.after_command_id
               AND a.seq <> i.leaving_seq))";
    let sql = if tx.is_postgres() {
        format!(
            "SELECT i.n, {DELIVERY} FROM i CROSS JOIN LATERAL
               (SELECT x.* FROM delivery x WHERE {filter} ORDER BY x.priority DESC, x.seq LIMIT {most}) d"
        )
    } else {
        format!(
            "SELECT i.n, {DELIVERY} FROM i JOIN delivery d ON d.enrollment_id = i.enrollment_id AND d.seq IN
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
    for row in tx.query_over(rows, &sql, args![now, now]).await? {
        if let Some(found) = delivery(&row, 1)? {
            out.entry(row.int(0)?).or_default().push(found);
        }
    }
    for list in out.values_mut() {
        list.sort_by_key(|delivery| (-delivery.open.priority, delivery.open.seq));
    }
    Ok(out)
}

/// Moves deliveries from the open queue to history.
pub(crate) async fn finish(tx: &mut Tx, now: Micros, leaving: Vec<Leaving>) -> Result<()> {
    if leaving.is_empty() {
        return Ok(());
    }
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
    tx.execute_over(
        keys,
        "DELETE FROM delivery WHERE (enrollment_id, seq) IN (SELECT enrollment_id, seq FROM i)",
        args![],
    )
    .await?;
    let mut rows: Vec<(&'static str, Column)> = Vec::with_capacity(21);
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
    tx.execute_over(
        rows,
        "INSERT INTO delivery_history (enrollment_id, seq, finished_at, tenant_id, device_id, command_id,
            command_uuid, request_type, body_hash, priority, disposition, reason, outcome, outcome_at,
            report_hash, report_sealed, error_chain, sends, notnow_count, first_sent_at, last_sent_at, created_at)
         SELECT enrollment_id, seq, ?, tenant_id, device_id, command_id, command_uuid, request_type, body_hash,
            priority, disposition, reason, outcome, outcome_at, report_hash, report_sealed, error_chain, sends,
            notnow_count, first_sent_at, last_sent_at, created_at FROM i",
        args![now],
    )
    .await?;
    Ok(())
}

/// Writes back deliveries that stay open: sent, deferred, held.
pub(crate) async fn move_open(tx: &mut Tx, moved: Vec<Moved>) -> Result<()> {
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
    tx.execute_over(
        rows,
        "UPDATE delivery SET state = i.state, sends = i.sends, not_before = i.not_before,
            notnow_count = i.notnow_count, notnow_poll = i.notnow_poll, first_sent_at = i.first_sent_at,
            last_sent_at = i.last_sent_at, pinned_hash = i.pinned_hash
         FROM i WHERE delivery.enrollment_id = i.enrollment_id AND delivery.seq = i.seq",
        args![],
    )
    .await?;
    Ok(())
}

/// Writes back the channels' moving parts.
pub(crate) async fn save_channels(tx: &mut Tx, channels: &[&Channel]) -> Result<()> {
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
    tx.execute_over(
        rows,
        "UPDATE channel SET poll = i.poll, sent_seq = i.sent_seq, last_seen_at = i.last_seen_at,
            session_started_at = i.session_started_at, session_requests = i.session_requests,
            session_commands = i.session_commands, session_not_now = i.session_not_now
         FROM i WHERE channel.enrollment_id = i.enrollment_id",
        args![],
    )
    .await?;
    Ok(())
}

/// What is left in the queue of a channel that was given nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) enrollment: EnrollmentId,
    /// Something was answered `NotNow`.
    pub(crate) deferred: bool,
    /// Something is outstanding, and a hook held its re-sending back.
    pub(crate) outstanding: bool,
    /// Something may go at the next poll: what it waited for has only just left the queue.
    pub(crate) ready: bool,
    /// The earliest time at which something may go, of what may not go yet.
    pub(crate) from: Option<Micros>,
}

/// Looks at what is left in the queues of these channels.
pub(crate) async fn left(tx: &mut Tx, now: Micros, channels: &[EnrollmentId]) -> Result<Vec<Left>> {
    let rows = tx
        .query_over(
            vec![("id", Column::Uuid(channels.iter().map(|id| id.0).collect()))],
            "SELECT d.enrollment_id, max(d.state), CAST(max(CASE WHEN d.state = 1 THEN 1 ELSE 0 END) AS bigint),
                    CAST(max(CASE WHEN d.state = 0 AND d.not_before <= ? AND (d.not_after IS NULL OR d.not_after > ?)
                      AND (d.after_command_id IS NULL OR NOT EXISTS (SELECT 1 FROM delivery a
                           WHERE a.enrollment_id = d.enrollment_id AND a.command_id = d.after_command_id))
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

/// Keeps the sessions that have ended.
pub(crate) async fn save_sessions(tx: &mut Tx, ended: &[Channel]) -> Result<()> {
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
    tx.execute_over(
        rows,
        "INSERT INTO session (enrollment_id, tenant_id, device_id, started_at, ended_at, requests, commands, not_now)
         SELECT enrollment_id, tenant_id, device_id, started_at, ended_at, requests, commands, not_now FROM i
         WHERE 1 = 1 ON CONFLICT DO NOTHING",
        args![],
    )
    .await?;
    Ok(())
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
        .query_over(
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
