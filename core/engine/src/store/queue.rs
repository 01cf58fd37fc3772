//! Enqueueing, cancelling and expiring: the queue as administrators and hooks reach it.
//!
//! Owns: the rows of `command`, `command_body` and `idempotency`, and the entry of deliveries into the open queue.
//! Everything runs under the locks of the device head rows concerned, taken in order.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::hot::{self, Delivery};
use super::sql::{Column, Row, Tx, args};
use crate::actor::{Actor, ActorKind};
use crate::clock::Micros;
use crate::enrollment::EnrollmentState;
use crate::error::Result;
use crate::ids::{CommandId, DeviceId, EnrollmentId, TenantId};
use crate::inventory::Marks;
use crate::queue::brake::Braking;

/// A channel that a command is meant for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) device: DeviceId,
    pub(crate) state: EnrollmentState,
}

/// Finds the targets of a tenant; what is not the tenant's is absent.
pub(crate) async fn targets(
    tx: &mut Tx,
    tenant: TenantId,
    wanted: &[EnrollmentId],
) -> Result<HashMap<EnrollmentId, Target>> {
    let rows = tx
        .query_over(
            vec![("id", Column::Uuid(wanted.iter().map(|id| id.0).collect()))],
            "SELECT e.id, e.device_id, e.state FROM i JOIN enrollment e ON e.id = i.id WHERE e.tenant_id = ?",
            args![tenant],
        )
        .await?;
    let mut out = HashMap::new();
    for row in rows {
        let target = Target {
            enrollment: EnrollmentId(row.uuid(0)?),
            device: DeviceId(row.uuid(1)?),
            state: EnrollmentState::from_code(row.int(2)?),
        };
        out.insert(target.enrollment, target);
    }
    Ok(out)
}

/// What judging a command for a channel depends on.
#[derive(Clone, Debug)]
pub(crate) struct Footing {
    /// Raised when one of the others changes.
    pub(crate) number: i64,
    pub(crate) product_name: Option<String>,
    pub(crate) os_version: Option<String>,
    pub(crate) marks: Marks,
    /// The device names itself by an EnrollmentID.
    pub(crate) user_enrollment: bool,
    /// It is a user's channel.
    pub(crate) of_user: bool,
}

/// On what footing channels stand; what is not the tenant's is absent.
pub(crate) async fn footings(
    tx: &mut Tx,
    tenant: TenantId,
    wanted: &[EnrollmentId],
) -> Result<HashMap<EnrollmentId, Footing>> {
    let rows = tx
        .query_over(
            vec![("id", Column::Uuid(wanted.iter().map(|id| id.0).collect()))],
            "SELECT e.id, d.footing, d.product_name, d.os_version, d.marks, d.ident_kind, e.user_key
             FROM i JOIN enrollment e ON e.id = i.id JOIN device d ON d.id = e.device_id WHERE e.tenant_id = ?",
            args![tenant],
        )
        .await?;
    let mut out = HashMap::with_capacity(rows.len());
    for row in rows {
        let footing = Footing {
            number: row.int(1)?,
            product_name: row.opt_text(2)?,
            os_version: row.opt_text(3)?,
            marks: Marks::from_code(row.int(4)?),
            user_enrollment: row.int(5)? == 1,
            of_user: !row.text(6)?.is_empty(),
        };
        out.insert(EnrollmentId(row.uuid(0)?), footing);
    }
    Ok(out)
}

/// The enabled channel of a device, or of a user of it, if there is one.
pub(crate) async fn enabled_channel(
    tx: &mut Tx,
    tenant: TenantId,
    device: DeviceId,
    user_key: &str,
) -> Result<Option<EnrollmentId>> {
    let row = tx
        .query_one(
            "SELECT e.id FROM enrollment e WHERE e.device_id = ? AND e.user_key = ? AND e.state = ? AND e.tenant_id = ?",
            args![device, user_key, EnrollmentState::Enabled.code(), tenant],
        )
        .await?;
    row.map(|row| row.uuid(0).map(EnrollmentId)).transpose()
}

/// Keeps a body once; a body that is there already stays.
pub(crate) async fn keep_body(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    hash: &[u8],
    sealed: Vec<u8>,
    size_bytes: usize,
) -> Result<()> {
    tx.execute(
        "INSERT INTO command_body (tenant_id, hash, sealed, size_bytes, created_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
        args![tenant, hash, sealed, i64::try_from(size_bytes).unwrap_or(i64::MAX), now],
    )
    .await?;
    Ok(())
}

/// A command as it is written.
#[derive(Clone, Debug)]
pub(crate) struct NewCommand {
    pub(crate) id: CommandId,
    pub(crate) tenant: TenantId,
    pub(crate) command_uuid: String,
    pub(crate) request_type: String,
    pub(crate) body_hash: Vec<u8>,
    pub(crate) priority: i64,
    pub(crate) not_before: Micros,
    pub(crate) not_after: Option<Micros>,
    pub(crate) after: Option<CommandId>,
    pub(crate) actor: Actor,
    pub(crate) cause: String,
    pub(crate) correlation: Uuid,
    pub(crate) depth: u32,
    pub(crate) break_glass: bool,
    /// Its answers tell all that there is, not a selection.
    pub(crate) whole: bool,
    /// A second person may let it go past the brake.
    pub(crate) approvable: bool,
}

/// Writes the command's row.
pub(crate) async fn insert_command(
    tx: &mut Tx,
    now: Micros,
    new: &NewCommand,
    targets: usize,
) -> Result<()> {
    tx.execute(
        "INSERT INTO command (id, tenant_id, command_uuid, request_type, body_hash, priority, not_before, not_after,
            after_command_id, actor_kind, actor_id, cause, correlation_id, depth, break_glass, approvable, targets, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        args![
            new.id,
            new.tenant,
            new.command_uuid.as_str(),
            new.request_type.as_str(),
            new.body_hash.clone(),
            new.priority,
            new.not_before,
            new.not_after,
            new.after,
            new.actor.kind.as_str(),
            new.actor.id,
            new.cause.as_str(),
            new.correlation,
            new.depth,
            i64::from(new.break_glass),
            i64::from(new.approvable),
            i64::try_from(targets).unwrap_or(i64::MAX),
            now
        ],
    )
    .await?;
    Ok(())
}

/// One delivery to write: the channel, its number, its sealed inputs and its own earliest time, if a hook set one.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) target: Target,
    pub(crate) seq: i64,
    pub(crate) inputs_sealed: Option<Vec<u8>>,
    pub(crate) not_before: Micros,
    /// The footing on which it was judged.
    pub(crate) footing: i64,
    /// Whether the brake counts it.
    pub(crate) braking: Braking,
}

/// Takes the next number of each channel.
pub(crate) async fn take_numbers(
    tx: &mut Tx,
    enrollments: &[EnrollmentId],
) -> Result<HashMap<EnrollmentId, i64>> {
    let ids: Vec<Uuid> = enrollments.iter().map(|id| id.0).collect();
    let rows = tx
        .query_over(
            vec![("id", Column::Uuid(ids))],
            "UPDATE channel SET next_seq = next_seq + 1 FROM i WHERE channel.enrollment_id = i.id
             RETURNING enrollment_id, next_seq - 1",
            args![],
        )
        .await?;
    let mut out = HashMap::new();
    for row in rows {
        out.insert(EnrollmentId(row.uuid(0)?), row.int(1)?);
    }
    Ok(out)
}

/// Writes deliveries into the open queue.
pub(crate) async fn insert_deliveries(
    tx: &mut Tx,
    now: Micros,
    command: &NewCommand,
    entries: &[Entry],
) -> Result<()> {
    let rows = vec![
        (
            "enrollment_id",
            Column::Uuid(entries.iter().map(|e| e.target.enrollment.0).collect()),
        ),
        (
            "device_id",
            Column::Uuid(entries.iter().map(|e| e.target.device.0).collect()),
        ),
        ("seq", Column::Int(entries.iter().map(|e| e.seq).collect())),
        (
            "inputs_sealed",
            Column::OptBytes(entries.iter().map(|e| e.inputs_sealed.clone()).collect()),
        ),
        (
            "not_before",
            Column::Int(entries.iter().map(|e| e.not_before).collect()),
        ),
        (
            "footing",
            Column::Int(entries.iter().map(|e| e.footing).collect()),
        ),
        (
            "braking",
            Column::Int(entries.iter().map(|e| e.braking.code()).collect()),
        ),
    ];
    tx.execute_over(
        rows,
        "INSERT INTO delivery (enrollment_id, seq, tenant_id, device_id, command_id, command_uuid, request_type,
            body_hash, priority, not_before, not_after, after_command_id, state, sends, notnow_count, notnow_poll,
            inputs_sealed, created_at, footing, whole, braking)
         SELECT i.enrollment_id, i.seq, ?, i.device_id, ?, ?, ?, ?, ?, i.not_before, ?, ?, 0, 0, 0, 0,
            i.inputs_sealed, ?, i.footing, ?, i.braking FROM i",
        args![
            command.tenant,
            command.id,
            command.command_uuid.as_str(),
            command.request_type.as_str(),
            command.body_hash.clone(),
            command.priority,
            command.not_after,
            command.after,
            now,
            i64::from(command.whole)
        ],
    )
    .await?;
    let targets = vec![
        (
            "enrollment_id",
            Column::Uuid(entries.iter().map(|e| e.target.enrollment.0).collect()),
        ),
        ("seq", Column::Int(entries.iter().map(|e| e.seq).collect())),
    ];
    tx.execute_over(
        targets,
        "INSERT INTO command_target (command_id, enrollment_id, seq, tenant_id) SELECT ?, enrollment_id, seq, ? FROM i",
        args![command.id, command.tenant],
    )
    .await?;
    Ok(())
}

/// Which of these channels have, or had, a command of this UUID.
pub(crate) async fn already_named(
    tx: &mut Tx,
    tenant: TenantId,
    enrollments: &[EnrollmentId],
    command_uuid: &str,
) -> Result<Vec<EnrollmentId>> {
    let ids: Vec<Uuid> = enrollments.iter().map(|id| id.0).collect();
    let rows = tx
        .query_each(
            vec![("id", Column::Uuid(ids))],
            "SELECT i.id FROM i JOIN command c ON c.tenant_id = ? AND c.command_uuid = ?
             JOIN command_target t ON t.command_id = c.id AND t.enrollment_id = i.id",
            args![tenant, command_uuid],
        )
        .await?;
    rows.iter()
        .map(|row| Ok(EnrollmentId(row.uuid(0)?)))
        .collect()
}

/// What an idempotency key was used for.
pub(crate) async fn idempotent(
    tx: &mut Tx,
    tenant: TenantId,
    key: &str,
) -> Result<Option<(Vec<u8>, String)>> {
    match tx
        .query_one(
            "SELECT request_hash, response FROM idempotency WHERE tenant_id = ? AND idempotency_key = ?",
            args![tenant, key],
        )
        .await?
    {
        Some(row) => Ok(Some((row.bytes(0)?, row.text(1)?))),
        None => Ok(None),
    }
}

/// Remembers what an idempotency key was used for (Q12).
pub(crate) async fn remember(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    key: &str,
    request_hash: &[u8],
    response: &str,
) -> Result<()> {
    tx.execute(
        "INSERT INTO idempotency (tenant_id, idempotency_key, request_hash, response, created_at)
         VALUES (?, ?, ?, ?, ?)",
        args![tenant, key, request_hash, response, now],
    )
    .await?;
    Ok(())
}

/// The open deliveries of a command, with their channels, for cancelling.
pub(crate) async fn open_of_command(
    tx: &mut Tx,
    tenant: TenantId,
    command: CommandId,
) -> Result<Vec<(DeviceId, EnrollmentId, i64)>> {
    let rows = tx
        .query(
            "SELECT d.device_id, d.enrollment_id, d.seq FROM command_target t
             JOIN delivery d ON d.enrollment_id = t.enrollment_id AND d.seq = t.seq
             WHERE t.command_id = ? AND d.tenant_id = ?",
            args![command, tenant],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok((
                DeviceId(row.uuid(0)?),
                EnrollmentId(row.uuid(1)?),
                row.int(2)?,
            ))
        })
        .collect()
}

/// A delivery that a hook holds back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) device: DeviceId,
    pub(crate) enrollment: EnrollmentId,
    pub(crate) seq: i64,
    /// When its command may go.
    pub(crate) wished: Micros,
}

/// Deliveries of a tenant that hooks hold back at `now`, behind the place `past`: they wait longer than their command asks for. `NotNow`
/// makes nothing wait in this way.
pub(crate) async fn held(
    tx: &mut Tx,
    tenant: TenantId,
    now: Micros,
    past: (EnrollmentId, i64),
    limit: i64,
) -> Result<Vec<Held>> {
    let rows = tx
        .query(
            "SELECT d.device_id, d.enrollment_id, d.seq, c.not_before FROM delivery d JOIN command c ON c.id = d.command_id
             WHERE d.tenant_id = ? AND d.state <> 1 AND d.not_before > ? AND d.not_before > c.not_before
               AND (d.enrollment_id, d.seq) > (?, ?)
             ORDER BY d.enrollment_id, d.seq LIMIT ?",
            args![tenant, now, past.0, past.1, limit],
        )
        .await?;
    let held = |row: &Row| {
        Ok(Held {
            device: DeviceId(row.uuid(0)?),
            enrollment: EnrollmentId(row.uuid(1)?),
            seq: row.int(2)?,
            wished: row.int(3)?,
        })
    };
    rows.iter().map(held).collect()
}

/// Lets deliveries go when their command may, where they are held still. Returns how many were.
///
/// The caller holds the lock of the devices' head rows.
pub(crate) async fn release(tx: &mut Tx, now: Micros, held: &[Held]) -> Result<u64> {
    let enrollments = held.iter().map(|one| one.enrollment.0).collect();
    let numbers = held.iter().map(|one| one.seq).collect();
    tx.execute_over(
        vec![
            ("enrollment_id", Column::Uuid(enrollments)),
            ("seq", Column::Int(numbers)),
        ],
        "UPDATE delivery SET not_before = (SELECT c.not_before FROM command c WHERE c.id = delivery.command_id)
         WHERE state <> 1 AND not_before > ? AND EXISTS
            (SELECT 1 FROM i WHERE i.enrollment_id = delivery.enrollment_id AND i.seq = delivery.seq)",
        args![now],
    )
    .await
}

/// One open delivery of a channel, whole.
pub(crate) async fn one_open(
    tx: &mut Tx,
    enrollment: EnrollmentId,
    seq: i64,
) -> Result<Option<Delivery>> {
    Ok(hot::open_of(tx, enrollment)
        .await?
        .into_iter()
        .find(|delivery| delivery.open.seq == seq))
}

/// Which of these channels have something that was to come after a command which has left their queue.
pub(crate) async fn successors(
    tx: &mut Tx,
    left: &[(EnrollmentId, CommandId)],
) -> Result<Vec<EnrollmentId>> {
    let rows = tx
        .query_over(
            vec![
                ("id", Column::Uuid(left.iter().map(|l| l.0.0).collect())),
                (
                    "command",
                    Column::Uuid(left.iter().map(|l| l.1.0).collect()),
                ),
            ],
            "SELECT DISTINCT d.enrollment_id FROM i JOIN delivery d
               ON d.enrollment_id = i.id AND d.after_command_id = i.command",
            args![],
        )
        .await?;
    rows.iter()
        .map(|row| Ok(EnrollmentId(row.uuid(0)?)))
        .collect()
}

/// Nothing is outstanding on this channel any more, if it was `seq`.
pub(crate) async fn forget_sent(tx: &mut Tx, enrollment: EnrollmentId, seq: i64) -> Result<()> {
    tx.execute(
        "UPDATE channel SET sent_seq = 0 WHERE enrollment_id = ? AND sent_seq = ?",
        args![enrollment, seq],
    )
    .await?;
    Ok(())
}

/// Whether the tenant has this command.
pub(crate) async fn command_exists(
    tx: &mut Tx,
    tenant: TenantId,
    command: CommandId,
) -> Result<bool> {
    Ok(tx
        .query_one(
            "SELECT id FROM command WHERE id = ? AND tenant_id = ?",
            args![command, tenant],
        )
        .await?
        .is_some())
}

/// Who sent a command, and whether a second person may let it go past the brake. Nothing when the tenant has no such command.
pub(crate) async fn sender(
    tx: &mut Tx,
    tenant: TenantId,
    command: CommandId,
) -> Result<Option<(Option<Uuid>, bool)>> {
    let sql = "SELECT actor_id, approvable FROM command WHERE id = ? AND tenant_id = ?";
    let row = tx.query_one(sql, args![command, tenant]).await?;
    row.map(|row| Ok((row.opt_uuid(0)?, row.int(1)? == 1)))
        .transpose()
}

/// Who sent a command, and whether it was sent with break-glass.
pub(crate) async fn origin(tx: &mut Tx, command: CommandId) -> Result<(ActorKind, bool)> {
    let row = tx
        .query_one(
            "SELECT actor_kind, break_glass FROM command WHERE id = ?",
            args![command],
        )
        .await?;
    let Some(row) = row else {
        return Ok((ActorKind::System, false));
    };
    let kind = match row.text(0)?.as_str() {
        "person" => ActorKind::Person,
        "plugin" => ActorKind::Plugin,
        "device" => ActorKind::Device,
        _ => ActorKind::System,
    };
    Ok((kind, row.int(1)? == 1))
}

/// Deliveries whose time has passed, by device, at most `limit`.
pub(crate) async fn expired(
    tx: &mut Tx,
    now: Micros,
    limit: i64,
) -> Result<BTreeMap<DeviceId, Vec<(TenantId, EnrollmentId, i64)>>> {
    let rows = tx
        .query(
            "SELECT device_id, tenant_id, enrollment_id, seq FROM delivery
             WHERE not_after IS NOT NULL AND not_after <= ? ORDER BY not_after LIMIT ?",
            args![now, limit],
        )
        .await?;
    let mut out: BTreeMap<DeviceId, Vec<_>> = BTreeMap::new();
    for row in rows {
        out.entry(DeviceId(row.uuid(0)?)).or_default().push((
            TenantId(row.uuid(1)?),
            EnrollmentId(row.uuid(2)?),
            row.int(3)?,
        ));
    }
    Ok(out)
}
