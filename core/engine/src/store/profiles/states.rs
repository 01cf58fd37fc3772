//! What channels should have of profiles, and what they have.
//!
//! Owns: the rows of `profile_state`, what follows from assignments for a channel, and the profiles that a device has told of.

use std::collections::HashMap;

use uuid::Uuid;

use crate::clock::Micros;
use crate::error::Result;
use crate::ids::{CommandId, DeviceId, EnrollmentId, ProfileId, TenantId};
use crate::profiles::plan::{Ended, Held, Listed, State};
use crate::store::Store;
use crate::store::sql::{Column, Tx, args};

/// A state with what it is called.
#[derive(Clone, Debug)]
pub(crate) struct StateRow {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) device: DeviceId,
    pub(crate) serial_number: Option<String>,
    pub(crate) device_name: Option<String>,
    pub(crate) user_key: String,
    pub(crate) profile: ProfileId,
    pub(crate) profile_name: String,
    pub(crate) version: i64,
    pub(crate) state: State,
    pub(crate) tries: i64,
    pub(crate) again_at: Micros,
    pub(crate) told: String,
    pub(crate) command: Option<CommandId>,
    pub(crate) changed_at: Micros,
}

/// A state to write.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) device: DeviceId,
    pub(crate) profile: ProfileId,
    pub(crate) version: i64,
    pub(crate) held: Held,
    pub(crate) command: Option<CommandId>,
}

impl Store {
    /// How many channels of a profile are in which state.
    pub(crate) async fn profile_counts(
        &self,
        tenant: TenantId,
        profile: Option<ProfileId>,
    ) -> Result<HashMap<ProfileId, Vec<(State, i64)>>> {
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT s.profile_id, s.state, COUNT(*) FROM profile p JOIN profile_state s ON s.profile_id = p.id
                 JOIN enrollment e ON e.id = s.enrollment_id AND e.state = 2
                 WHERE p.tenant_id = ? AND (? = 1 OR p.id = ?) GROUP BY s.profile_id, s.state ORDER BY s.state",
                args![
                    tenant,
                    i64::from(profile.is_none()),
                    profile.map_or(Uuid::nil(), |id| id.0)
                ],
            )
            .await?;
        tx.rollback().await?;
        let mut counts: HashMap<ProfileId, Vec<(State, i64)>> = HashMap::new();
        for row in &rows {
            if let Some(state) = State::from_code(row.int(1)?) {
                let of = counts.entry(ProfileId(row.uuid(0)?)).or_default();
                of.push((state, row.int(2)?));
            }
        }
        Ok(counts)
    }

    /// Where profiles stand: of one profile or of one device, in one state or in all, after this channel and profile.
    pub(crate) async fn profile_states(
        &self,
        tenant: TenantId,
        profile: Option<ProfileId>,
        device: Option<DeviceId>,
        state: Option<State>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<StateRow>> {
        let mut tx = self.begin_read().await?;
        let which = match (profile, device) {
            (Some(_), _) => "s.profile_id = ?",
            (None, _) => "s.device_id = ?",
        };
        let sql = format!(
            "SELECT s.enrollment_id, s.device_id, d.serial_number, d.device_name, e.user_key, s.profile_id, p.name, s.version, s.state,
                    s.tries, s.again_at, s.told, s.command_id, s.changed_at
             FROM profile_state s JOIN profile p ON p.id = s.profile_id JOIN enrollment e ON e.id = s.enrollment_id AND e.state = 2
             JOIN device d ON d.id = s.device_id
             WHERE {which} AND s.tenant_id = ? AND (? = 0 OR s.state = ?) AND s.enrollment_id > ?
             ORDER BY s.enrollment_id, p.name LIMIT ?"
        );
        let id = profile.map_or_else(|| device.map(|id| id.0), |id| Some(id.0));
        let state = state.map_or(0, State::code);
        let after = after.unwrap_or(Uuid::nil());
        let id = id.unwrap_or(Uuid::nil());
        let rows = tx
            .query(&sql, args![id, tenant, state, state, after, limit])
            .await?;
        tx.rollback().await?;
        rows.iter()
            .map(|row| {
                Ok(StateRow {
                    enrollment: EnrollmentId(row.uuid(0)?),
                    device: DeviceId(row.uuid(1)?),
                    serial_number: row.opt_text(2)?,
                    device_name: row.opt_text(3)?,
                    user_key: row.text(4)?,
                    profile: ProfileId(row.uuid(5)?),
                    profile_name: row.text(6)?,
                    version: row.int(7)?,
                    state: State::from_code(row.int(8)?).unwrap_or(State::Failed),
                    tries: row.int(9)?,
                    again_at: row.int(10)?,
                    told: row.text(11)?,
                    command: row.opt_uuid(12)?.map(CommandId),
                    changed_at: row.int(13)?,
                })
            })
            .collect()
    }
}

/// Which profiles these channels should have: those of devices on device channels, those of users on theirs.
pub(crate) async fn wanted(
    tx: &mut Tx,
    tenant: TenantId,
    channels: &[EnrollmentId],
) -> Result<Vec<(EnrollmentId, ProfileId)>> {
    let ids = channels.iter().map(|channel| channel.0).collect();
    let rows = tx
        .query_over(
            vec![("id", Column::Uuid(ids))],
            "SELECT DISTINCT e.id, a.profile_id FROM i JOIN enrollment e ON e.id = i.id
             JOIN profile_assignment a ON a.tenant_id = e.tenant_id AND (a.target_kind = 0
                OR (a.target_kind = 2 AND a.target_id = e.device_id)
                OR (a.target_kind = 1 AND a.target_id IN (SELECT m.group_id FROM group_member m WHERE m.device_id = e.device_id)))
             JOIN profile p ON p.id = a.profile_id AND p.of_user = CASE WHEN e.user_key = '' THEN 0 ELSE 1 END
             WHERE e.tenant_id = ? AND e.state = 2",
            args![tenant],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((EnrollmentId(row.uuid(0)?), ProfileId(row.uuid(1)?))))
        .collect()
}

/// What is known of profiles on these channels.
pub(crate) async fn held(
    tx: &mut Tx,
    channels: &[EnrollmentId],
) -> Result<HashMap<EnrollmentId, HashMap<ProfileId, (i64, Option<CommandId>, Held)>>> {
    let ids = channels.iter().map(|channel| channel.0).collect();
    let rows = tx
        .query_over(
            vec![("id", Column::Uuid(ids))],
            "SELECT s.enrollment_id, s.profile_id, s.version, s.command_id, p.identifier, s.hash, s.payload_uuid, s.state, s.ended, s.ended_at,
                    s.was_on, s.tries, s.again_at, s.told, s.changed_at
             FROM i JOIN profile_state s ON s.enrollment_id = i.id JOIN profile p ON p.id = s.profile_id WHERE 1 = ?",
            args![1_i64],
        )
        .await?;
    let mut out: HashMap<_, HashMap<_, _>> = HashMap::new();
    for row in &rows {
        let ended_at = row.int(9)?;
        let held = Held {
            identifier: row.text(4)?,
            hash: row.bytes(5)?,
            payload_uuid: row.text(6)?,
            state: State::from_code(row.int(7)?).unwrap_or(State::Failed),
            ended: match row.int(8)? {
                0 => Ended::NotYet,
                1 => Ended::Done(ended_at),
                _ => Ended::Failed(ended_at),
            },
            // What was sent and never answered may be there all the same.
            was_on: row.int(10)? == 1 || row.int(8)? == 4,
            tries: row.int(11)?,
            again_at: row.int(12)?,
            told: row.text(13)?,
            changed_at: row.int(14)?,
        };
        let of = out.entry(EnrollmentId(row.uuid(0)?)).or_default();
        let command = row.opt_uuid(3)?.map(CommandId);
        of.insert(ProfileId(row.uuid(1)?), (row.int(2)?, command, held));
    }
    Ok(out)
}

/// The profiles that the devices of these channels have told of.
pub(crate) async fn listed(
    tx: &mut Tx,
    channels: &[EnrollmentId],
) -> Result<HashMap<EnrollmentId, Listed>> {
    let ids = channels.iter().map(|channel| channel.0).collect();
    let rows = tx
        .query_over(
            vec![("id", Column::Uuid(ids))],
            "SELECT e.id, o.observed_at, o.value FROM i JOIN enrollment e ON e.id = i.id
             JOIN observation o ON o.device_id = e.device_id AND o.user_key = e.user_key AND o.section = 'profiles' WHERE 1 = ?",
            args![1_i64],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let value: serde_json::Value =
                serde_json::from_str(&row.text(2)?).unwrap_or(serde_json::Value::Null);
            let listed = Listed {
                at: row.int(1)?,
                profiles: crate::inventory::profiles(&value),
            };
            Ok((EnrollmentId(row.uuid(0)?), listed))
        })
        .collect()
}

/// Writes states.
pub(crate) async fn save(
    tx: &mut Tx,
    tenant: TenantId,
    saved: &[Saved],
    forgotten: &[(EnrollmentId, ProfileId)],
) -> Result<()> {
    let mut saved: Vec<&Saved> = saved.iter().collect();
    saved.sort_by_key(|one| (one.enrollment, one.profile));
    macro_rules! column {
        ($kind:ident, $one:ident => $value:expr) => {
            Column::$kind(saved.iter().map(|$one| $value).collect())
        };
    }
    let rows = vec![
        ("enrollment_id", column!(Uuid, one => one.enrollment.0)),
        ("profile_id", column!(Uuid, one => one.profile.0)),
        ("device_id", column!(Uuid, one => one.device.0)),
        ("version", column!(Int, one => one.version)),
        ("hash", column!(Bytes, one => one.held.hash.clone())),
        (
            "payload_uuid",
            column!(Text, one => one.held.payload_uuid.clone()),
        ),
        ("state", column!(Int, one => one.held.state.code())),
        (
            "command_id",
            column!(OptUuid, one => one.command.map(|id| id.0)),
        ),
        (
            "ended",
            column!(Int, one => match one.held.ended { Ended::NotYet => 0, Ended::Done(_) => 1, Ended::Failed(_) => 2 }),
        ),
        (
            "ended_at",
            column!(Int, one => match one.held.ended { Ended::NotYet => 0, Ended::Done(at) | Ended::Failed(at) => at }),
        ),
        ("was_on", column!(Int, one => i64::from(one.held.was_on))),
        ("tries", column!(Int, one => one.held.tries)),
        ("again_at", column!(Int, one => one.held.again_at)),
        ("told", column!(Text, one => one.held.told.clone())),
        ("changed_at", column!(Int, one => one.held.changed_at)),
    ];
    tx.execute_over(
        rows,
        "INSERT INTO profile_state (enrollment_id, profile_id, tenant_id, device_id, version, hash, payload_uuid, state, command_id, ended,
            ended_at, was_on, tries, again_at, told, changed_at)
         SELECT e.id, i.profile_id, e.tenant_id, i.device_id, i.version, i.hash, i.payload_uuid, i.state, i.command_id, i.ended, i.ended_at,
            i.was_on, i.tries, i.again_at, i.told, i.changed_at FROM i JOIN enrollment e ON e.id = i.enrollment_id WHERE e.tenant_id = ?
         ON CONFLICT (enrollment_id, profile_id) DO UPDATE SET version = excluded.version, hash = excluded.hash,
            payload_uuid = excluded.payload_uuid, state = excluded.state, command_id = excluded.command_id, ended = excluded.ended,
            ended_at = excluded.ended_at, was_on = excluded.was_on, tries = excluded.tries, again_at = excluded.again_at,
            told = excluded.told, changed_at = excluded.changed_at",
        args![tenant],
    )
    .await?;
    let gone = vec![
        (
            "enrollment_id",
            Column::Uuid(forgotten.iter().map(|(channel, _)| channel.0).collect()),
        ),
        (
            "profile_id",
            Column::Uuid(forgotten.iter().map(|(_, profile)| profile.0).collect()),
        ),
    ];
    tx.execute_over(
        gone,
        "DELETE FROM profile_state WHERE EXISTS
            (SELECT 1 FROM i WHERE i.enrollment_id = profile_state.enrollment_id AND i.profile_id = profile_state.profile_id) AND 1 = ?",
        args![1_i64],
    )
    .await?;
    Ok(())
}

/// What is known of profiles on channels that are over.
pub(crate) async fn forget_channels(tx: &mut Tx, channels: &[EnrollmentId]) -> Result<()> {
    let ids = channels.iter().map(|channel| channel.0).collect();
    tx.execute_over(
        vec![("id", Column::Uuid(ids))],
        "DELETE FROM profile_state WHERE enrollment_id IN (SELECT i.id FROM i) AND 1 = ?",
        args![1_i64],
    )
    .await?;
    Ok(())
}
