//! Profiles, what they are assigned to, and what channels have of them.
//!
//! Owns: the rows of `profile`, `profile_version`, `profile_assignment` and `profile_state`. What an administrator changes is written with its audit
//! record and marks the channels concerned as due (`upkeep`), in one transaction. Decides nothing: `profiles::plan` does.

use std::collections::HashMap;

use serde_json::json;
use uuid::Uuid;

use super::sql::{Column, Row, Tx, args};
use super::{Store, admin_audit, admin_groups, upkeep};
use crate::actor::Actor;
use crate::admin::AuditEntry;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::{CommandId, DeviceId, EnrollmentId, GroupId, ProfileId, TenantId};
use crate::profiles::plan::{Ended, Held, Listed, State};
use crate::profiles::read::Kind;

/// A profile with its current version.
#[derive(Clone, Debug)]
pub(crate) struct ProfileRow {
    pub(crate) id: ProfileId,
    pub(crate) name: String,
    pub(crate) identifier: String,
    pub(crate) of_user: bool,
    pub(crate) version: i64,
    pub(crate) created_at: Micros,
    pub(crate) kind: Kind,
    pub(crate) hash: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
    pub(crate) size_bytes: i64,
    pub(crate) summary: String,
    pub(crate) updated_at: Micros,
}

/// The same without what was uploaded; the hash stands in its place.
const SHOWN: &str = "SELECT p.id, p.name, p.identifier, p.of_user, p.version, p.created_at, v.kind, v.hash, v.hash, v.size_bytes,
    v.summary, v.created_at FROM profile p JOIN profile_version v ON v.profile_id = p.id AND v.version = p.version";
/// Profiles of a tenant, and bytes of their current versions, at most: a round has them in memory.
const MOST_PROFILES: i64 = 500;
const MOST_BYTES: i64 = 64 << 20;

const PROFILE: &str = "SELECT p.id, p.name, p.identifier, p.of_user, p.version, p.created_at, v.kind, v.hash, v.sealed, v.size_bytes,
    v.summary, v.created_at FROM profile p JOIN profile_version v ON v.profile_id = p.id AND v.version = p.version";

fn profile(row: &Row) -> Result<ProfileRow> {
    Ok(ProfileRow {
        id: ProfileId(row.uuid(0)?),
        name: row.text(1)?,
        identifier: row.text(2)?,
        of_user: row.int(3)? == 1,
        version: row.int(4)?,
        created_at: row.int(5)?,
        kind: Kind::from_code(row.int(6)?),
        hash: row.bytes(7)?,
        sealed: row.bytes(8)?,
        size_bytes: row.int(9)?,
        summary: row.text(10)?,
        updated_at: row.int(11)?,
    })
}

/// What a profile is assigned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AssignedTo {
    Everything,
    Group(Uuid),
    Device(Uuid),
}

impl AssignedTo {
    fn columns(self) -> (i64, Uuid) {
        match self {
            Self::Everything => (0, Uuid::nil()),
            Self::Group(id) => (1, id),
            Self::Device(id) => (2, id),
        }
    }
}

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
    /// Keeps a version of a profile, with the profile if it is new.
    pub(crate) async fn keep_profile(
        &self,
        actor: Actor,
        tenant: TenantId,
        row: &ProfileRow,
    ) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let others = "SELECT COUNT(*), CAST(COALESCE(SUM(v.size_bytes), 0) AS bigint) FROM profile p
             JOIN profile_version v ON v.profile_id = p.id AND v.version = p.version WHERE p.tenant_id = ? AND p.id <> ?";
        let others = tx.query_one(others, args![tenant, row.id]).await?;
        let (count, bytes) = match &others {
            Some(others) => (others.int(0)?, others.int(1)?),
            None => (0, 0),
        };
        if count >= MOST_PROFILES || bytes + row.size_bytes > MOST_BYTES {
            tx.rollback().await?;
            return Err(Error::Conflict(format!(
                "a tenant has at most {MOST_PROFILES} profiles with {} MiB in all; delete some first",
                MOST_BYTES >> 20
            )));
        }
        let changed = match row.version {
            1 => {
                let sql = "INSERT INTO profile (id, tenant_id, name, identifier, of_user, version, created_at)
                     VALUES (?, ?, ?, ?, ?, 1, ?) ON CONFLICT DO NOTHING";
                let of_user = i64::from(row.of_user);
                let (name, identifier) = (row.name.as_str(), row.identifier.as_str());
                tx.execute(sql, args![row.id, tenant, name, identifier, of_user, now])
                    .await?
            }
            version => {
                let sql = "UPDATE profile SET version = ?, of_user = ? WHERE id = ? AND tenant_id = ? AND version = ?";
                let of_user = i64::from(row.of_user);
                tx.execute(sql, args![version, of_user, row.id, tenant, version - 1])
                    .await?
            }
        };
        if changed == 0 {
            tx.rollback().await?;
            return Err(Error::Conflict(
                "there is a profile of this name or identifier already, or it has just been changed; look at it again".into(),
            ));
        }
        tx.execute(
            "INSERT INTO profile_version (profile_id, version, tenant_id, hash, kind, sealed, size_bytes, summary, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            args![
                row.id,
                row.version,
                tenant,
                row.hash.clone(),
                row.kind.code(),
                row.sealed.clone(),
                row.size_bytes,
                row.summary.as_str(),
                now
            ],
        )
        .await?;
        upkeep::mark_profile(&mut tx, now, tenant, row.id).await?;
        let details =
            json!({ "name": row.name, "identifier": row.identifier, "version": row.version });
        audit(
            &mut tx,
            now,
            tenant,
            actor,
            "profile.upload",
            row.id,
            details,
        )
        .await?;
        tx.commit().await
    }

    /// Profiles of a tenant after this one, by id.
    pub(crate) async fn profile_page(
        &self,
        tenant: TenantId,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<ProfileRow>> {
        let mut tx = self.begin_read().await?;
        let sql = format!("{SHOWN} WHERE p.tenant_id = ? AND p.id > ? ORDER BY p.id LIMIT ?");
        let after = after.unwrap_or(Uuid::nil());
        let rows = tx.query(&sql, args![tenant, after, limit]).await?;
        tx.rollback().await?;
        rows.iter().map(profile).collect()
    }

    /// The profile with this id, name or identifier.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the tenant has none.
    pub(crate) async fn require_profile(&self, tenant: TenantId, name: &str) -> Result<ProfileRow> {
        self.find_profile(tenant, name)
            .await?
            .ok_or(Error::NotFound("the profile"))
    }

    /// As [`require_profile`](Self::require_profile), if there is one.
    pub(crate) async fn find_profile(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<ProfileRow>> {
        let id = Uuid::parse_str(name).unwrap_or(Uuid::nil());
        let mut tx = self.begin_read().await?;
        let sql = format!(
            "{PROFILE} WHERE p.tenant_id = ? AND (p.id = ? OR p.name = ? OR p.identifier = ?) ORDER BY p.name = ? DESC LIMIT 1"
        );
        let row = tx
            .query_one(&sql, args![tenant, id, name, name, name])
            .await?;
        tx.rollback().await?;
        row.as_ref().map(profile).transpose()
    }

    /// The profile with this identifier, if there is one.
    pub(crate) async fn profile_of(
        &self,
        tenant: TenantId,
        identifier: &str,
    ) -> Result<Option<ProfileRow>> {
        let mut tx = self.begin_read().await?;
        let sql = format!("{PROFILE} WHERE p.tenant_id = ? AND p.identifier = ?");
        let row = tx.query_one(&sql, args![tenant, identifier]).await?;
        tx.rollback().await?;
        row.as_ref().map(profile).transpose()
    }

    /// The identifier of the profile with this name, if there is one.
    pub(crate) async fn profile_called(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<String>> {
        let mut tx = self.begin_read().await?;
        let sql = "SELECT identifier FROM profile WHERE tenant_id = ? AND name = ?";
        let row = tx.query_one(sql, args![tenant, name]).await?;
        tx.rollback().await?;
        row.map(|row| row.text(0)).transpose()
    }

    /// What a profile is assigned to, with the names of groups.
    pub(crate) async fn assignments(
        &self,
        profile: ProfileId,
    ) -> Result<Vec<(AssignedTo, Option<String>)>> {
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT a.target_kind, a.target_id, g.name FROM profile_assignment a
                 LEFT JOIN device_group g ON a.target_kind = 1 AND g.id = a.target_id
                 WHERE a.profile_id = ? ORDER BY a.target_kind, a.target_id",
                args![profile],
            )
            .await?;
        tx.rollback().await?;
        rows.iter()
            .map(|row| {
                let id = row.uuid(1)?;
                let to = match row.int(0)? {
                    0 => AssignedTo::Everything,
                    1 => AssignedTo::Group(id),
                    _ => AssignedTo::Device(id),
                };
                Ok((to, row.opt_text(2)?))
            })
            .collect()
    }

    /// Assigns a profile, or takes assignments back. Says how many are new, or gone.
    pub(crate) async fn change_assignments(
        &self,
        actor: Actor,
        tenant: TenantId,
        profile: ProfileId,
        to: &[AssignedTo],
        assign: bool,
    ) -> Result<u64> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        if !lock(&mut tx, profile).await? {
            tx.rollback().await?;
            return Err(Error::NotFound("the profile"));
        }
        for one in to {
            if let (true, AssignedTo::Group(id)) = (assign, one)
                && !admin_groups::lock(&mut tx, GroupId(*id)).await?
            {
                tx.rollback().await?;
                return Err(Error::NotFound("the group"));
            }
        }
        if !assign {
            // Before they go: afterwards nobody knows whom they were for. What a channel has stands in its state.
            upkeep::mark_profile(&mut tx, now, tenant, profile).await?;
        }
        let mut changed = 0;
        for one in to {
            let (kind, id) = one.columns();
            changed += match assign {
                true => {
                    let sql = "INSERT INTO profile_assignment (profile_id, target_kind, target_id, tenant_id, created_at)
                         VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
                    tx.execute(sql, args![profile, kind, id, tenant, now])
                        .await?
                }
                false => {
                    let sql = "DELETE FROM profile_assignment WHERE profile_id = ? AND target_kind = ? AND target_id = ?";
                    tx.execute(sql, args![profile, kind, id]).await?
                }
            };
        }
        if assign {
            upkeep::mark_profile(&mut tx, now, tenant, profile).await?;
        }
        let action = match assign {
            true => "profile.assign",
            false => "profile.unassign",
        };
        let details = json!({ "changed": changed, "of": to.len() });
        audit(&mut tx, now, tenant, actor, action, profile, details).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Takes a profile away that nothing has and nothing is to have.
    pub(crate) async fn delete_profile(
        &self,
        actor: Actor,
        tenant: TenantId,
        profile: ProfileId,
    ) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        lock(&mut tx, profile).await?;
        let rows = tx
            .query(
                "SELECT (SELECT COUNT(*) FROM profile_assignment WHERE profile_id = ?),
                        (SELECT COUNT(*) FROM profile_state s JOIN enrollment e ON e.id = s.enrollment_id AND e.state = 2 WHERE s.profile_id = ?)",
                args![profile, profile],
            )
            .await?;
        let (assigned, on) = match rows.first() {
            Some(row) => (row.int(0)?, row.int(1)?),
            None => (0, 0),
        };
        if assigned > 0 || on > 0 {
            tx.rollback().await?;
            return Err(Error::Conflict(format!(
                "the profile is assigned to {assigned} targets, and {on} channels have it or are to lose it; unassign it and wait until they are none"
            )));
        }
        for sql in [
            "DELETE FROM profile_state WHERE profile_id = ?",
            "DELETE FROM profile_version WHERE profile_id = ?",
            "DELETE FROM profile WHERE id = ?",
        ] {
            tx.execute(sql, args![profile]).await?;
        }
        audit(
            &mut tx,
            now,
            tenant,
            actor,
            "profile.delete",
            profile,
            json!({}),
        )
        .await?;
        tx.commit().await
    }

    /// Lets everything of a profile that failed be tried again. Says on how many channels.
    pub(crate) async fn retry_profile(
        &self,
        actor: Actor,
        tenant: TenantId,
        profile: ProfileId,
    ) -> Result<u64> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        upkeep::mark_profile(&mut tx, now, tenant, profile).await?;
        // What was given up is tried anew from the first time on; what was not removed is removed.
        let changed = tx
            .execute(
                "UPDATE profile_state SET tries = 0, again_at = ?, state = CASE WHEN state = ? THEN ? ELSE state END
                 WHERE profile_id = ? AND tenant_id = ? AND state IN (?, ?, ?)",
                args![
                    now,
                    State::GivenUp.code(),
                    State::Failed.code(),
                    profile,
                    tenant,
                    State::Failed.code(),
                    State::GivenUp.code(),
                    State::NotRemoved.code()
                ],
            )
            .await?;
        let details = json!({ "channels": changed });
        audit(
            &mut tx,
            now,
            tenant,
            actor,
            "profile.retry",
            profile,
            details,
        )
        .await?;
        tx.commit().await?;
        Ok(changed)
    }

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

    /// Other profiles that are on, or meant for, a device for which these targets stand too.
    pub(crate) async fn neighbours(
        &self,
        tenant: TenantId,
        profile: ProfileId,
        devices: &[DeviceId],
    ) -> Result<Vec<ProfileRow>> {
        let mut tx = self.begin_read().await?;
        // One more, that is none: what is for everything is asked for without devices too.
        let ids = devices.iter().map(|device| device.0);
        let ids = ids.chain([Uuid::nil()]).collect();
        let sql = format!(
            "{PROFILE} WHERE p.tenant_id = ? AND p.id <> ? AND p.id IN (
                SELECT a.profile_id FROM profile_assignment a WHERE a.tenant_id = p.tenant_id AND (a.target_kind = 0
                    OR (a.target_kind = 2 AND a.target_id IN (SELECT i.id FROM i))
                    OR (a.target_kind = 1 AND a.target_id IN (SELECT m.group_id FROM i JOIN group_member m ON m.device_id = i.id))))
             ORDER BY p.id"
        );
        let rows = tx
            .query_over(
                vec![("id", Column::Uuid(ids))],
                &sql,
                args![tenant, profile],
            )
            .await?;
        tx.rollback().await?;
        let mut found: Vec<ProfileRow> = rows.iter().map(self::profile).collect::<Result<_>>()?;
        found.dedup_by_key(|row| row.id);
        Ok(found)
    }

    /// The devices for which targets stand.
    pub(crate) async fn assigned_devices(
        &self,
        tenant: TenantId,
        to: &[AssignedTo],
    ) -> Result<Vec<DeviceId>> {
        let mut tx = self.begin_read().await?;
        let mut found = Vec::new();
        for one in to {
            let (kind, id) = one.columns();
            let sql = match kind {
                0 => {
                    "SELECT DISTINCT e.device_id FROM enrollment e WHERE e.tenant_id = ? AND e.state = 2 AND ? IS NOT NULL"
                }
                1 => {
                    "SELECT m.device_id FROM group_member m WHERE m.tenant_id = ? AND m.group_id = ?"
                }
                _ => "SELECT d.id FROM device d WHERE d.tenant_id = ? AND d.id = ?",
            };
            for row in tx.query(sql, args![tenant, id]).await? {
                found.push(DeviceId(row.uuid(0)?));
            }
        }
        tx.rollback().await?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// Locks a profile; whether there is one. Whoever assigns it, deletes it or sends it does so.
async fn lock(tx: &mut Tx, profile: ProfileId) -> Result<bool> {
    let locking = super::identity::locking(tx);
    let sql = format!("SELECT id FROM profile WHERE id = ?{locking}");
    let row = tx.query_one(&sql, args![profile]).await?;
    Ok(row.is_some())
}

/// Whether all of these profiles are still there; they stay until the transaction ends.
pub(crate) async fn stay(tx: &mut Tx, profiles: &[ProfileId]) -> Result<bool> {
    let mut ids: Vec<Uuid> = profiles.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let count = ids.len();
    let locked = match tx.is_postgres() {
        true => " FOR SHARE",
        false => "",
    };
    let sql = format!(
        "SELECT p.id FROM profile p WHERE p.id IN (SELECT i.id FROM i) AND 1 = ? ORDER BY p.id{locked}"
    );
    let rows = tx
        .query_over(vec![("id", Column::Uuid(ids))], &sql, args![1_i64])
        .await?;
    Ok(rows.len() == count)
}

async fn audit(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    actor: Actor,
    action: &'static str,
    profile: ProfileId,
    details: serde_json::Value,
) -> Result<()> {
    let entry = AuditEntry {
        tenant: Some(tenant),
        actor,
        action,
        target: profile.to_string(),
        details,
    };
    admin_audit::append(tx, now, entry).await.map(drop)
}

/// The current versions of profiles.
pub(crate) async fn current(
    tx: &mut Tx,
    tenant: TenantId,
    ids: &[ProfileId],
) -> Result<Vec<ProfileRow>> {
    let ids = ids.iter().map(|id| id.0).collect();
    let sql = format!("{PROFILE} JOIN i ON i.id = p.id WHERE p.tenant_id = ?");
    let rows = tx
        .query_over(vec![("id", Column::Uuid(ids))], &sql, args![tenant])
        .await?;
    rows.iter().map(profile).collect()
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
