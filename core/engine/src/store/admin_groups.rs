//! Groups and facts of devices, and the mark that they are to be rung.
//!
//! Owns: what is written for an administrator, in one transaction with the audit record and, for a fact, the event
//! of the device.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::entity::{device, device_group, fact, group_member};
use super::sql::{Column, Tx, args};
use super::{Store, admin_audit, events, facts, push, upkeep};
use crate::actor::{Actor, Cause};
use crate::admin::audit::AuditEntry;
use crate::enrollment::EnrollmentState;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, NewEvent};
use crate::hooks::HookTable;
use crate::ids::{DeviceId, EnrollmentId, GroupId, TenantId};

/// Names that one query looks up.
const STEP: usize = 1_000;

/// A fact about to be written; without a value it is taken away.
#[derive(Clone, Debug)]
pub(crate) struct FactChange<'a> {
    pub(crate) device: DeviceId,
    pub(crate) user_key: &'a str,
    pub(crate) name: &'a str,
    pub(crate) value: Option<&'a serde_json::Value>,
    pub(crate) source: &'a str,
}

impl Store {
    /// Whether any tenant has a group of this name.
    pub(crate) async fn any_group(&self, name: &str) -> Result<bool> {
        let mut tx = self.begin_read().await?;
        let sql = "SELECT 1 FROM device_group WHERE name = ? LIMIT 1";
        let row = tx.query_one(sql, args![name]).await?;
        tx.rollback().await?;
        Ok(row.is_some())
    }

    pub(crate) async fn insert_group(
        &self,
        actor: Actor,
        tenant: TenantId,
        id: GroupId,
        name: &str,
    ) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let written = tx
            .execute(
                "INSERT INTO device_group (id, tenant_id, name, created_at) VALUES (?, ?, ?, ?)
                 ON CONFLICT (tenant_id, name) DO NOTHING",
                args![id.0, tenant, name, now],
            )
            .await?;
        if written == 0 {
            return Err(Error::Conflict(
                "there is a group of this name already".into(),
            ));
        }
        let details = serde_json::json!({ "name": name });
        let entry = entry(tenant, actor, "group.create", id.to_string(), details);
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }

    pub(crate) async fn group_page(
        &self,
        tenant: TenantId,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<device_group::Model>> {
        let mut query =
            device_group::Entity::find().filter(device_group::Column::TenantId.eq(tenant.0));
        if let Some(after) = after {
            query = query.filter(device_group::Column::Id.gt(after));
        }
        Ok(query
            .order_by_asc(device_group::Column::Id)
            .limit(limit)
            .all(self.orm())
            .await?)
    }

    /// The group of a tenant with this id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub(crate) async fn require_group(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<device_group::Model> {
        let ours = device_group::Entity::find().filter(device_group::Column::TenantId.eq(tenant.0));
        let query = match Uuid::parse_str(name) {
            Ok(id) => ours.filter(device_group::Column::Id.eq(id)),
            Err(_) => ours.filter(device_group::Column::Name.eq(name)),
        };
        query
            .one(self.orm())
            .await?
            .ok_or(Error::NotFound("the group"))
    }

    /// How many devices each group holds.
    pub(crate) async fn group_counts(&self, groups: Vec<Uuid>) -> Result<HashMap<Uuid, i64>> {
        if groups.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<(Uuid, i64)> = group_member::Entity::find()
            .select_only()
            .column(group_member::Column::GroupId)
            .column_as(group_member::Column::DeviceId.count(), "devices")
            .filter(group_member::Column::GroupId.is_in(groups))
            .group_by(group_member::Column::GroupId)
            .into_tuple()
            .all(self.orm())
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// The devices of a group.
    pub(crate) async fn group_devices(&self, group: GroupId) -> Result<Vec<DeviceId>> {
        let rows: Vec<Uuid> = group_member::Entity::find()
            .select_only()
            .column(group_member::Column::DeviceId)
            .filter(group_member::Column::GroupId.eq(group.0))
            .order_by_asc(group_member::Column::DeviceId)
            .into_tuple()
            .all(self.orm())
            .await?;
        Ok(rows.into_iter().map(DeviceId).collect())
    }

    pub(crate) async fn change_members(
        &self,
        actor: Actor,
        tenant: TenantId,
        group: GroupId,
        devices: &[DeviceId],
        join: bool,
    ) -> Result<u64> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        lock(&mut tx, group).await?;
        events::lock_heads(&mut tx, devices.iter().copied()).await?;
        let ids = vec![(
            "id",
            Column::Uuid(devices.iter().map(|device| device.0).collect()),
        )];
        let changed = if join {
            let sql = "INSERT INTO group_member (tenant_id, group_id, device_id, added_at)
                       SELECT d.tenant_id, ?, d.id, ? FROM i JOIN device d ON d.id = i.id
                       WHERE d.tenant_id = ?
                       ON CONFLICT (group_id, device_id) DO NOTHING";
            // PostgreSQL must be told what a lone parameter is.
            let sql = match tx.is_postgres() {
                true => sql.replacen("?, d.id, ?", "?::uuid, d.id, ?::bigint", 1),
                false => sql.to_owned(),
            };
            tx.execute_over(ids, &sql, args![group.0, now, tenant])
                .await?
        } else {
            tx.execute_over(
                ids,
                "DELETE FROM group_member WHERE group_id = ? AND device_id IN (SELECT id FROM i)",
                args![group.0],
            )
            .await?
        };
        if changed > 0 {
            raise(&mut tx, tenant, devices).await?;
            upkeep::mark_devices(&mut tx, now, tenant, devices).await?;
            let action = if join { "group.add" } else { "group.remove" };
            let details = serde_json::json!({
                "changed": changed,
                "devices": devices.iter().take(100).collect::<Vec<_>>(),
            });
            let entry = entry(tenant, actor, action, group.to_string(), details);
            admin_audit::append(&mut tx, now, entry).await?;
        }
        tx.commit().await?;
        Ok(changed)
    }

    pub(crate) async fn delete_group(
        &self,
        actor: Actor,
        tenant: TenantId,
        group: GroupId,
    ) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        lock(&mut tx, group).await?;
        let assigned = "SELECT p.name FROM profile_assignment a JOIN profile p ON p.id = a.profile_id
             WHERE a.tenant_id = ? AND a.target_kind = 1 AND a.target_id = ? ORDER BY p.name LIMIT 5";
        let assigned = tx.query(assigned, args![tenant, group.0]).await?;
        if !assigned.is_empty() {
            let names: Vec<String> = assigned
                .iter()
                .map(|row| row.text(0))
                .collect::<Result<_>>()?;
            tx.rollback().await?;
            return Err(Error::Conflict(format!(
                "profiles are assigned to the group, and its devices would lose them: unassign {} first",
                names.join(", ")
            )));
        }
        let members = "SELECT device_id FROM group_member WHERE group_id = ? ORDER BY device_id";
        let members = tx.query(members, args![group.0]).await?;
        let devices: Vec<DeviceId> = (members.iter())
            .map(|row| row.uuid(0).map(DeviceId))
            .collect::<Result<_>>()?;
        events::lock_heads(&mut tx, devices.iter().copied()).await?;
        raise(&mut tx, tenant, &devices).await?;
        tx.execute(
            "DELETE FROM group_member WHERE group_id = ?",
            args![group.0],
        )
        .await?;
        tx.execute(
            "DELETE FROM device_group WHERE tenant_id = ? AND id = ?",
            args![tenant, group.0],
        )
        .await?;
        let details = serde_json::json!({});
        let entry = entry(tenant, actor, "group.delete", group.to_string(), details);
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }

    /// The devices that ids, UDIDs and serial numbers mean, by the name that was given.
    pub(crate) async fn find_devices(
        &self,
        tenant: TenantId,
        names: &[String],
    ) -> Result<HashMap<String, DeviceId>> {
        let mut found = HashMap::new();
        for names in names.chunks(STEP) {
            let ours = || device::Entity::find().filter(device::Column::TenantId.eq(tenant.0));
            let ids: Vec<Uuid> = names
                .iter()
                .filter_map(|name| Uuid::parse_str(name).ok())
                .collect();
            let by_id = ours()
                .filter(device::Column::Id.is_in(ids))
                .all(self.orm())
                .await?;
            let spelled = names
                .iter()
                .flat_map(|name| super::admin_devices::spellings(name));
            let by_ident = ours()
                .filter(device::Column::IdentKind.is_in([0i64, 1]))
                .filter(device::Column::Ident.is_in(spelled))
                .all(self.orm())
                .await?;
            // In the order of ids, so that of several records with one serial number the newest wins.
            let by_serial = ours()
                .filter(device::Column::SerialNumber.is_in(names.iter().map(String::as_str)))
                .order_by_asc(device::Column::Id)
                .all(self.orm())
                .await?;
            let serials: HashMap<&str, Uuid> = by_serial
                .iter()
                .filter_map(|row| Some((row.serial_number.as_deref()?, row.id)))
                .collect();
            for name in names {
                let id = Uuid::parse_str(name).ok();
                let hit = by_id
                    .iter()
                    .find(|row| Some(row.id) == id)
                    .or_else(|| {
                        by_ident
                            .iter()
                            .find(|row| row.ident.eq_ignore_ascii_case(name))
                    })
                    .map(|row| row.id)
                    .or_else(|| serials.get(name.as_str()).copied());
                if let Some(hit) = hit {
                    found.insert(name.clone(), DeviceId(hit));
                }
            }
        }
        Ok(found)
    }

    /// Marks the enabled ones of these channels as to be rung now; says how many they are.
    pub(crate) async fn ring_channels(
        &self,
        tenant: TenantId,
        enrollments: &[EnrollmentId],
        entry: AuditEntry,
    ) -> Result<usize> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let find = "SELECT e.id, e.device_id FROM i JOIN enrollment e ON e.id = i.id
                    WHERE e.tenant_id = ? AND e.state = ?";
        let ids = || {
            vec![(
                "id",
                Column::Uuid(enrollments.iter().map(|id| id.0).collect()),
            )]
        };
        let enabled = EnrollmentState::Enabled.code();
        let rows = tx.query_over(ids(), find, args![tenant, enabled]).await?;
        let mut devices = Vec::with_capacity(rows.len());
        for row in &rows {
            devices.push(DeviceId(row.uuid(1)?));
        }
        events::lock_heads(&mut tx, devices).await?;
        // Read again under the locks: an enrollment may have ended meanwhile.
        let rows = tx.query_over(ids(), find, args![tenant, enabled]).await?;
        let mut due = Vec::with_capacity(rows.len());
        for row in &rows {
            due.push(EnrollmentId(row.uuid(0)?));
        }
        push::mark_due(&mut tx, now, &due).await?;
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await?;
        Ok(due.len())
    }

    /// Writes or takes away a fact, with its event; returns what to announce.
    pub(crate) async fn change_fact(
        &self,
        actor: Actor,
        tenant: TenantId,
        change: FactChange<'_>,
        readers: &HookTable,
    ) -> Result<Vec<Event>> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let mut heads = events::lock_heads(&mut tx, [change.device]).await?;
        match change.value {
            Some(value) => {
                facts::set(
                    &mut tx,
                    now,
                    tenant,
                    change.device,
                    change.user_key,
                    change.name,
                    value,
                    change.source,
                )
                .await?;
            }
            None => {
                let (device, user_key) = (change.device, change.user_key);
                if !facts::take_away(&mut tx, tenant, device, user_key, change.name).await? {
                    return Err(Error::NotFound("the fact"));
                }
            }
        }
        let event = NewEvent {
            tenant,
            device: change.device,
            enrollment: None,
            kind: EventKind::FactSet,
            command: None,
            actor,
            cause: Cause::default(),
            body: serde_json::json!({ "name": change.name, "removed": change.value.is_none() }),
        };
        let written = events::append_locked(&mut tx, now, &mut heads, vec![event], readers).await?;
        let details = serde_json::json!({ "name": change.name, "removed": change.value.is_none() });
        let entry = entry(
            tenant,
            actor,
            "fact.set",
            change.device.to_string(),
            details,
        );
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await?;
        Ok(written)
    }

    /// The facts of a device, in the order of their names.
    pub(crate) async fn device_facts(&self, device: DeviceId) -> Result<Vec<fact::Model>> {
        Ok(fact::Entity::find()
            .filter(fact::Column::DeviceId.eq(device.0))
            .order_by_asc(fact::Column::UserKey)
            .order_by_asc(fact::Column::Name)
            .limit(1_000)
            .all(self.orm())
            .await?)
    }
}

/// Holds a group, so that nobody joins or leaves it meanwhile.
pub(super) async fn lock(tx: &mut Tx, group: GroupId) -> Result<bool> {
    let locking = super::identity::locking(tx);
    let sql = format!("SELECT id FROM device_group WHERE id = ?{locking}");
    Ok(tx.query_one(&sql, args![group.0]).await?.is_some())
}

/// Raises the revision of devices whose groups are others now: what was said of them rests on their groups. The caller holds
/// their locks.
async fn raise(tx: &mut Tx, tenant: TenantId, devices: &[DeviceId]) -> Result<()> {
    let ids = Column::Uuid(devices.iter().map(|device| device.0).collect());
    let sql = "UPDATE device SET revision = revision + 1 WHERE tenant_id = ? AND id IN (SELECT id FROM i)";
    tx.execute_over(vec![("id", ids)], sql, args![tenant])
        .await
        .map(drop)
}

fn entry(
    tenant: TenantId,
    actor: Actor,
    action: &'static str,
    target: String,
    details: serde_json::Value,
) -> AuditEntry {
    AuditEntry {
        tenant: Some(tenant),
        actor,
        action,
        target,
        details,
    }
}
