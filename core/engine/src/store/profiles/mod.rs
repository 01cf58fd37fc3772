//! Profiles: what is kept of them and how they are found.
//!
//! Owns: the rows of `profile` and `profile_version` as they are read. What administrators change is in `change`, what channels should have
//! and have in `states`. Decides nothing: `profiles::plan` does.

mod change;
mod states;

use uuid::Uuid;

use super::Store;
use super::sql::{Column, Row, Tx, args};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::{DeviceId, ProfileId, TenantId};
use crate::profiles::read::Kind;

pub(crate) use change::AssignedTo;
pub(crate) use states::{Saved, StateRow, forget_channels, held, listed, save, wanted};

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

impl Store {
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
