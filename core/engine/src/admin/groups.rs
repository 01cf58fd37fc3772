//! Groups of devices.
//!
//! Owns: named sets of devices that commands and pushes can be meant for. Membership is what was said, not what
//! would follow from a rule.

use serde::Serialize;

use super::caller::Caller;
use super::instant::Instant;
use super::page::{Page, PageRequest, Position};
use super::text;
use crate::error::{Error, Result};
use crate::ids::{DeviceId, GroupId, TenantId};
use crate::store::Store;
use crate::store::entity::device_group;

/// A group as it is shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name, which no other group of the tenant has.
    pub name: String,
    /// How many devices are in it.
    pub devices: i64,
    /// When it was made.
    pub created_at: Instant,
}

/// How many memberships a request changed.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub struct Changed {
    /// Devices that were put in or taken out; those that were in or out already do not count.
    pub changed: u64,
}

/// Makes a group.
///
/// # Errors
/// [`Error::Conflict`] when the name is taken.
pub(crate) async fn create_group(
    store: &Store,
    caller: &Caller,
    tenant: TenantId,
    name: &str,
) -> Result<Group> {
    let name = text::name("the name", name)?;
    if uuid::Uuid::parse_str(&name).is_ok() {
        return Err(Error::Invalid(
            "the name must not be a UUID, since groups are named by either".into(),
        ));
    }
    let now = store.clock().now();
    let id = GroupId(store.random().uuid(now));
    store
        .insert_group(caller.actor(), tenant, id, &name)
        .await?;
    Ok(Group {
        id,
        name,
        devices: 0,
        created_at: Instant(now),
    })
}

/// The groups of a tenant.
pub(crate) async fn groups(
    store: &Store,
    tenant: TenantId,
    page: &PageRequest,
) -> Result<Page<Group>> {
    let keys = store.keys(tenant).await?;
    let after = page.position(&keys, "groups")?.map(|at| at.id);
    let limit = page.limit()?;
    let rows = store.group_page(tenant, after, limit + 1).await?;
    let page = Page::cut(rows, limit, |last| {
        Position::id(last.id).seal(&keys, "groups")
    });
    let counts = store
        .group_counts(page.items.iter().map(|row| row.id).collect())
        .await?;
    Ok(page.map(|row| {
        let devices = counts.get(&row.id).copied().unwrap_or(0);
        view(row, devices)
    }))
}

/// One group.
pub(crate) async fn group(store: &Store, tenant: TenantId, name: &str) -> Result<Group> {
    let row = store.require_group(tenant, name).await?;
    let counts = store.group_counts(vec![row.id]).await?;
    let devices = counts.get(&row.id).copied().unwrap_or(0);
    Ok(view(row, devices))
}

fn view(row: device_group::Model, devices: i64) -> Group {
    Group {
        id: GroupId(row.id),
        name: row.name,
        devices,
        created_at: Instant(row.created_at),
    }
}

/// Puts devices into a group or takes them out; all of them or, when one is unknown, none.
pub(crate) async fn change_members(
    store: &Store,
    caller: &Caller,
    tenant: TenantId,
    group: &str,
    devices: &[String],
    join: bool,
) -> Result<Changed> {
    let group = GroupId(store.require_group(tenant, group).await?.id);
    let devices = resolve(store, tenant, devices).await?;
    let changed = store
        .change_members(caller.actor(), tenant, group, &devices, join)
        .await?;
    Ok(Changed { changed })
}

/// Removes a group; its devices stay.
pub(crate) async fn delete_group(
    store: &Store,
    caller: &Caller,
    tenant: TenantId,
    name: &str,
) -> Result<()> {
    let group = GroupId(store.require_group(tenant, name).await?.id);
    store.delete_group(caller.actor(), tenant, group).await
}

/// The devices that names mean, each once.
///
/// # Errors
/// [`Error::Invalid`] names those that the tenant does not have, up to ten of them.
pub(crate) async fn resolve(
    store: &Store,
    tenant: TenantId,
    names: &[String],
) -> Result<Vec<DeviceId>> {
    let found = store.find_devices(tenant, names).await?;
    let unknown: Vec<&str> = names
        .iter()
        .filter(|name| !found.contains_key(*name))
        .map(String::as_str)
        .take(10)
        .collect();
    if !unknown.is_empty() {
        return Err(Error::Invalid(format!(
            "these devices were not found: {}",
            unknown.join(", ")
        )));
    }
    let mut devices: Vec<DeviceId> = found.into_values().collect();
    devices.sort_unstable();
    devices.dedup();
    Ok(devices)
}
