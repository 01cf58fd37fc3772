//! When channels are looked after.
//!
//! Owns: the rows of `upkeep`: one for each channel on which something is to be kept as it should be. Whoever changes what that is, or hears
//! how it went, marks the channel as due, in the transaction of the change; a channel that is claimed is due again if it is marked meanwhile.
//!
//! Locks: rows are taken in the order of their ids, after heads of devices, by all but claiming, which takes nothing else.

use uuid::Uuid;

use super::hot::Leaving;
use super::sql::{Batch, Column, Row, Tx, args};
use crate::clock::Micros;
use crate::error::Result;
use crate::ids::{CommandId, DeviceId, EnrollmentId, ProfileId, TenantId};
use crate::queue::{Disposition, Outcome};

/// Commands whose end is of interest here.
const KEPT: [&str; 3] = ["InstallProfile", "RemoveProfile", "ProfileList"];

/// A channel that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) tenant: TenantId,
    pub(crate) asking: bool,
    pub(crate) asked_at: Micros,
}

const SOONER: &str =
    "CASE WHEN upkeep.due_at > excluded.due_at THEN excluded.due_at ELSE upkeep.due_at END";

/// Channels that a profile is meant for, or not any more: everything that it is assigned to.
pub(crate) async fn mark_profile(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    profile: ProfileId,
) -> Result<()> {
    let sql = format!(
        "INSERT INTO upkeep (enrollment_id, tenant_id, due_at, leased_until, asked_at)
         SELECT e.id, e.tenant_id, ?, 0, 0 FROM enrollment e
         WHERE e.tenant_id = ? AND e.state = 2 AND (
            e.id IN (SELECT s.enrollment_id FROM profile_state s WHERE s.profile_id = ?)
            OR EXISTS (SELECT 1 FROM profile_assignment a WHERE a.profile_id = ? AND a.target_kind = 0)
            OR e.device_id IN (SELECT a.target_id FROM profile_assignment a WHERE a.profile_id = ? AND a.target_kind = 2)
            OR e.device_id IN (SELECT m.device_id FROM profile_assignment a JOIN group_member m ON m.group_id = a.target_id
                               WHERE a.profile_id = ? AND a.target_kind = 1))
         ORDER BY e.id
         ON CONFLICT (enrollment_id) DO UPDATE SET due_at = {SOONER}"
    );
    let sql = typed(tx, sql);
    let id = profile.0;
    tx.execute(&sql, args![now, tenant, id, id, id, id]).await?;
    Ok(())
}

/// All channels of these devices, where the tenant has profiles at all.
pub(crate) async fn mark_devices(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    devices: &[DeviceId],
) -> Result<()> {
    let sql = format!(
        "INSERT INTO upkeep (enrollment_id, tenant_id, due_at, leased_until, asked_at)
         SELECT e.id, e.tenant_id, ?, 0, 0 FROM i JOIN enrollment e ON e.device_id = i.id
         WHERE e.tenant_id = ? AND e.state = 2
            AND EXISTS (SELECT 1 FROM profile_assignment a WHERE a.tenant_id = e.tenant_id)
         ORDER BY e.id
         ON CONFLICT (enrollment_id) DO UPDATE SET due_at = {SOONER}"
    );
    let sql = typed(tx, sql);
    let ids = devices.iter().map(|device| device.0).collect();
    tx.execute_over(vec![("id", Column::Uuid(ids))], &sql, args![now, tenant])
        .await?;
    Ok(())
}

/// A channel that has just become enabled, where the tenant has profiles at all.
pub(crate) async fn mark_channel(tx: &mut Tx, now: Micros, enrollment: EnrollmentId) -> Result<()> {
    let sql = format!(
        "INSERT INTO upkeep (enrollment_id, tenant_id, due_at, leased_until, asked_at)
         SELECT e.id, e.tenant_id, ?, 0, 0 FROM enrollment e
         WHERE e.id = ? AND EXISTS (SELECT 1 FROM profile_assignment a WHERE a.tenant_id = e.tenant_id)
         ON CONFLICT (enrollment_id) DO UPDATE SET due_at = {SOONER}"
    );
    let sql = typed(tx, sql);
    tx.execute(&sql, args![now, enrollment]).await?;
    Ok(())
}

/// What is known of a device has changed: its channels are looked after again, where they are looked after at all.
pub(crate) async fn mark_known(tx: &mut Tx, now: Micros, device: DeviceId) -> Result<()> {
    tx.execute(
        "UPDATE upkeep SET due_at = CASE WHEN due_at > ? THEN ? ELSE due_at END
         WHERE enrollment_id IN (SELECT e.id FROM enrollment e WHERE e.device_id = ? AND e.state = 2)",
        args![now, now, device],
    )
    .await?;
    Ok(())
}

/// PostgreSQL must be told what a lone parameter is.
fn typed(tx: &Tx, sql: String) -> String {
    match tx.is_postgres() {
        true => sql.replacen("e.tenant_id, ?, 0, 0", "e.tenant_id, ?::bigint, 0, 0", 1),
        false => sql,
    }
}

/// Commands for profiles have left the queue: how they ended is noted, and their channels are due.
pub(crate) fn note_ended(batch: &mut Batch, now: Micros, leaving: &[Leaving]) {
    let mut of_profiles: Vec<&Leaving> = leaving
        .iter()
        .filter(|one| KEPT.contains(&one.delivery.open.request_type.as_str()))
        .collect();
    if of_profiles.is_empty() {
        return;
    }
    of_profiles.sort_by_key(|one| (one.enrollment, one.delivery.open.seq));
    let count = of_profiles.len();
    let channels = || Column::Uuid(of_profiles.iter().map(|one| one.enrollment.0).collect());
    let commands = || {
        Column::Uuid(
            of_profiles
                .iter()
                .map(|one| one.delivery.open.command.0)
                .collect(),
        )
    };
    let ended = of_profiles.iter().map(|one| ended_code(one)).collect();
    let told = of_profiles.iter().map(|one| told(one)).collect();
    batch.update(
        "profile_state",
        2,
        vec![
            ("enrollment_id", channels()),
            ("command_id", commands()),
            ("ended", Column::Int(ended)),
            ("ended_at", Column::Int(vec![now; count])),
            ("told", Column::Text(told)),
        ],
    );
    batch.other(
        vec![("enrollment_id", channels()), ("command_id", commands())],
        "UPDATE upkeep SET due_at = CASE WHEN due_at > ? THEN ? ELSE due_at END,
            asking = CASE WHEN asking IN (SELECT i.command_id FROM i) THEN NULL ELSE asking END
         WHERE enrollment_id IN (SELECT i.enrollment_id FROM i)"
            .into(),
        args![now, now],
    );
}

fn ended_code(one: &Leaving) -> i64 {
    match (one.disposition, one.outcome) {
        (Disposition::Done, Some(Outcome::Acknowledged)) => 1,
        (Disposition::Done, _) => 2,
        // The device may have done it all the same.
        _ if one.delivery.first_sent_at.is_some() => 4,
        _ => 3,
    }
}

fn told(one: &Leaving) -> String {
    let told = one.error_chain.clone().or_else(|| one.reason.clone());
    told.unwrap_or_default()
}

/// Takes channels that are due and that no round has, until `leased`.
pub(crate) async fn claim(
    tx: &mut Tx,
    now: Micros,
    leased: Micros,
    limit: i64,
) -> Result<Vec<Due>> {
    let locked = match tx.is_postgres() {
        true => " FOR UPDATE SKIP LOCKED",
        false => "",
    };
    let sql = format!(
        "UPDATE upkeep SET due_at = ?, leased_until = ? WHERE enrollment_id IN
            (SELECT enrollment_id FROM upkeep WHERE due_at <= ? AND leased_until <= ? ORDER BY due_at LIMIT ?{locked})
         RETURNING enrollment_id, tenant_id, asking, asked_at"
    );
    let rows = tx
        .query(&sql, args![leased, leased, now, now, limit])
        .await?;
    rows.iter().map(due).collect()
}

fn due(row: &Row) -> Result<Due> {
    Ok(Due {
        enrollment: EnrollmentId(row.uuid(0)?),
        tenant: TenantId(row.uuid(1)?),
        asking: row.opt_uuid(2)?.is_some(),
        asked_at: row.int(3)?,
    })
}

/// Locks the rows of channels that were claimed until `leased`, in order; whether the round still has all of them.
pub(crate) async fn still_ours(
    tx: &mut Tx,
    leased: Micros,
    channels: &[EnrollmentId],
) -> Result<bool> {
    let mut ids: Vec<Uuid> = channels.iter().map(|channel| channel.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let count = ids.len();
    let locked = match tx.is_postgres() {
        true => " FOR UPDATE OF u",
        false => "",
    };
    let sql = format!(
        "SELECT u.enrollment_id FROM upkeep u WHERE u.enrollment_id IN (SELECT i.id FROM i) AND u.leased_until = ?
         ORDER BY u.enrollment_id{locked}"
    );
    let rows = tx
        .query_over(vec![("id", Column::Uuid(ids))], &sql, args![leased])
        .await?;
    Ok(rows.len() == count)
}

/// What a round has made of a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    pub(crate) enrollment: EnrollmentId,
    /// When it is looked at next; none: nothing is to be kept up.
    pub(crate) next: Option<Micros>,
}

/// Lets channels go that were claimed until `leased`; those that have been marked meanwhile stay due.
pub(crate) async fn let_go(tx: &mut Tx, leased: Micros, looked: &[Looked]) -> Result<()> {
    let mut kept: Vec<(Uuid, i64)> = Vec::new();
    let mut over = Vec::new();
    for one in looked {
        match one.next {
            Some(next) => kept.push((one.enrollment.0, next)),
            None => over.push(one.enrollment.0),
        }
    }
    kept.sort_unstable();
    over.sort_unstable();
    // What was marked while the round had it is no longer due when its lease ends, but before.
    tx.execute_over(
        vec![("id", Column::Uuid(over.clone()))],
        "DELETE FROM upkeep WHERE enrollment_id IN (SELECT i.id FROM i) AND leased_until = ? AND due_at = ?",
        args![leased, leased],
    )
    .await?;
    kept.extend(over.into_iter().map(|id| (id, leased)));
    kept.sort_unstable();
    let rows = vec![
        ("id", Column::Uuid(kept.iter().map(|(id, _)| *id).collect())),
        (
            "next",
            Column::Int(kept.iter().map(|(_, next)| *next).collect()),
        ),
    ];
    tx.execute_over(
        rows,
        "UPDATE upkeep SET leased_until = 0,
            due_at = CASE WHEN due_at < ? THEN due_at ELSE (SELECT i.next FROM i WHERE i.id = upkeep.enrollment_id) END
         WHERE enrollment_id IN (SELECT i.id FROM i) AND leased_until = ?",
        args![leased, leased],
    )
    .await?;
    Ok(())
}

/// These channels have been asked what they have, or nobody would let them be asked.
pub(crate) async fn asked(
    tx: &mut Tx,
    now: Micros,
    command: Option<CommandId>,
    channels: &[EnrollmentId],
) -> Result<()> {
    let ids = channels.iter().map(|channel| channel.0).collect();
    tx.execute_over(
        vec![("id", Column::Uuid(ids))],
        "UPDATE upkeep SET asking = ?, asked_at = ? WHERE enrollment_id IN (SELECT i.id FROM i)",
        args![command, now],
    )
    .await?;
    Ok(())
}

/// Channels that something is assigned to and that nobody looks after: what a mark could have missed.
pub(crate) async fn seed(tx: &mut Tx, now: Micros) -> Result<u64> {
    let sql = "INSERT INTO upkeep (enrollment_id, tenant_id, due_at, leased_until, asked_at)
         SELECT e.id, e.tenant_id, ?, 0, 0 FROM enrollment e
         WHERE e.state = 2 AND e.tenant_id IN (SELECT a.tenant_id FROM profile_assignment a)
            AND NOT EXISTS (SELECT 1 FROM upkeep u WHERE u.enrollment_id = e.id)
            AND EXISTS (SELECT 1 FROM profile_assignment a JOIN profile p ON p.id = a.profile_id
                WHERE a.tenant_id = e.tenant_id AND p.of_user = CASE WHEN e.user_key = '' THEN 0 ELSE 1 END AND (
                a.target_kind = 0 OR (a.target_kind = 2 AND a.target_id = e.device_id)
                OR (a.target_kind = 1 AND EXISTS (SELECT 1 FROM group_member m WHERE m.group_id = a.target_id AND m.device_id = e.device_id))))
         ORDER BY e.id
         ON CONFLICT (enrollment_id) DO NOTHING";
    let sql = typed(tx, sql.to_owned());
    tx.execute(&sql, args![now]).await
}
