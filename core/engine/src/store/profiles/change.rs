//! What administrators change of profiles.
//!
//! Owns: a profile's versions, the rows of `profile_assignment`, deleting, trying again. Each is written with its audit record and marks the
//! channels concerned as due (`upkeep`), in one transaction.

use serde_json::json;
use uuid::Uuid;

use super::ProfileRow;
use crate::actor::Actor;
use crate::admin::AuditEntry;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::{DeviceId, GroupId, ProfileId, TenantId};
use crate::profiles::plan::State;
use crate::store::sql::{Tx, args};
use crate::store::{Store, admin_audit, admin_groups, identity, upkeep};

/// Profiles of a tenant, and bytes of their current versions, at most: a round has them in memory.
const MOST_PROFILES: i64 = 500;
const MOST_BYTES: i64 = 64 << 20;

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
}

/// Locks a profile; whether there is one. Whoever assigns it, deletes it or sends it does so.
async fn lock(tx: &mut Tx, profile: ProfileId) -> Result<bool> {
    let locking = identity::locking(tx);
    let sql = format!("SELECT id FROM profile WHERE id = ?{locking}");
    let row = tx.query_one(&sql, args![profile]).await?;
    Ok(row.is_some())
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
