//! Reads devices for administration.
//!
//! Owns: the queries behind lists and pictures of devices. Always within one tenant; reads no sealed column.

use std::collections::HashMap;

use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::Store;
use super::entity::{
    certificate, channel, delivery, device, device_group, enrollment, group_member, push_state,
};
use crate::admin::devices::DeviceState;
use crate::clock::Micros;
use crate::enrollment::EnrollmentState;
use crate::error::Result;
use crate::ids::{GroupId, TenantId};

/// Of the channels of a device that have ended, so many are shown.
const ENDED_SHOWN: u64 = 20;
/// Of the channels of a device that run, so many are shown: its own, and a user's each.
const RUNNING_SHOWN: u64 = 1_000;

/// Which devices, after which.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeviceFilter {
    pub(crate) serial_number: Option<String>,
    pub(crate) ident: Option<String>,
    pub(crate) state: Option<DeviceState>,
    pub(crate) group: Option<GroupId>,
    pub(crate) seen_since: Option<Micros>,
    pub(crate) after: Option<Uuid>,
}

/// What a list shows of a device's channels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// The states of its device channels.
    pub(crate) states: Vec<i64>,
    pub(crate) last_seen_at: Option<Micros>,
}

/// Everything that belongs to one device, by enrollment where it can be.
#[derive(Debug, Default)]
pub(crate) struct DeviceRows {
    pub(crate) enrollments: Vec<enrollment::Model>,
    pub(crate) channels: HashMap<Uuid, channel::Model>,
    pub(crate) pushes: HashMap<Uuid, push_state::Model>,
    pub(crate) open: HashMap<Uuid, i64>,
    pub(crate) certificates: Vec<certificate::Model>,
    pub(crate) groups: Vec<device_group::Model>,
}

impl Store {
    /// Devices of a tenant in the order of their ids.
    pub(crate) async fn device_page(
        &self,
        tenant: TenantId,
        filter: &DeviceFilter,
        limit: u64,
    ) -> Result<Vec<device::Model>> {
        let mut all = Condition::all().add(device::Column::TenantId.eq(tenant.0));
        if let Some(serial) = &filter.serial_number {
            all = all.add(device::Column::SerialNumber.eq(serial.as_str()));
        }
        if let Some(ident) = &filter.ident {
            all = all.add(device::Column::Ident.is_in(spellings(ident)));
        }
        if let Some(after) = filter.after {
            all = all.add(device::Column::Id.gt(after));
        }
        if let Some(group) = filter.group {
            all = all.add(device::Column::Id.in_subquery(members(group)));
        }
        if let Some(since) = filter.seen_since {
            all = all.add(device::Column::Id.in_subquery(seen(tenant, since)));
        }
        match filter.state {
            None => {}
            Some(DeviceState::Enrolled) => all = all.add(in_state(&[EnrollmentState::Enabled])),
            Some(DeviceState::Quarantined) => {
                all = all
                    .add(in_state(&[EnrollmentState::Quarantined]))
                    .add(in_state(&[EnrollmentState::Enabled]).not());
            }
            Some(DeviceState::Pending) => {
                all = all
                    .add(in_state(&[EnrollmentState::Pending]))
                    .add(in_state(&[EnrollmentState::Enabled, EnrollmentState::Quarantined]).not());
            }
            Some(DeviceState::Left) => {
                let running = [
                    EnrollmentState::Pending,
                    EnrollmentState::Quarantined,
                    EnrollmentState::Enabled,
                ];
                all = all.add(in_state(&running).not());
            }
        }
        Ok(device::Entity::find()
            .filter(all)
            .order_by_asc(device::Column::Id)
            .limit(limit)
            .all(self.orm())
            .await?)
    }

    /// The device that is meant by an id, a UDID, an EnrollmentID or a serial number.
    pub(crate) async fn find_device(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<device::Model>> {
        let ours = || device::Entity::find().filter(device::Column::TenantId.eq(tenant.0));
        if let Ok(id) = Uuid::parse_str(name) {
            let row = ours()
                .filter(device::Column::Id.eq(id))
                .one(self.orm())
                .await?;
            if row.is_some() {
                return Ok(row);
            }
        }
        let by_ident = ours()
            .filter(device::Column::IdentKind.is_in([0i64, 1]))
            .filter(device::Column::Ident.is_in(spellings(name)))
            .one(self.orm())
            .await?;
        if by_ident.is_some() {
            return Ok(by_ident);
        }
        // A serial number stands on every device record that the machine has had; the newest is meant.
        Ok(ours()
            .filter(device::Column::SerialNumber.eq(name))
            .order_by_desc(device::Column::Id)
            .one(self.orm())
            .await?)
    }

    /// The states and the last signs of life of devices.
    pub(crate) async fn device_standings(
        &self,
        devices: Vec<Uuid>,
    ) -> Result<HashMap<Uuid, Standing>> {
        let mut standings: HashMap<Uuid, Standing> = HashMap::new();
        if devices.is_empty() {
            return Ok(standings);
        }
        let rows: Vec<(Uuid, i64)> = enrollment::Entity::find()
            .select_only()
            .columns([enrollment::Column::DeviceId, enrollment::Column::State])
            .filter(enrollment::Column::DeviceId.is_in(devices.iter().copied()))
            .filter(enrollment::Column::Channel.eq(0i64))
            .into_tuple()
            .all(self.orm())
            .await?;
        for (device, state) in rows {
            standings.entry(device).or_default().states.push(state);
        }
        let rows: Vec<(Uuid, Option<i64>)> = channel::Entity::find()
            .select_only()
            .column(channel::Column::DeviceId)
            .column_as(channel::Column::LastSeenAt.max(), "last")
            .filter(channel::Column::EnrollmentId.in_subquery(enrollments_of(&devices)))
            .group_by(channel::Column::DeviceId)
            .into_tuple()
            .all(self.orm())
            .await?;
        for (device, last) in rows {
            standings.entry(device).or_default().last_seen_at = last;
        }
        Ok(standings)
    }

    /// Everything that belongs to a device.
    pub(crate) async fn device_rows(&self, device: Uuid) -> Result<DeviceRows> {
        let ended = EnrollmentState::Ended.code();
        let ours = || enrollment::Entity::find().filter(enrollment::Column::DeviceId.eq(device));
        let mut enrollments = ours()
            .filter(enrollment::Column::State.ne(ended))
            .order_by_asc(enrollment::Column::Channel)
            .order_by_asc(enrollment::Column::UserKey)
            .order_by_desc(enrollment::Column::Generation)
            .limit(RUNNING_SHOWN)
            .all(self.orm())
            .await?;
        enrollments.extend(
            ours()
                .filter(enrollment::Column::State.eq(ended))
                .order_by_desc(enrollment::Column::Id)
                .limit(ENDED_SHOWN)
                .all(self.orm())
                .await?,
        );
        let ids: Vec<Uuid> = enrollments.iter().map(|row| row.id).collect();
        let channels = channel::Entity::find()
            .filter(channel::Column::EnrollmentId.is_in(ids.iter().copied()))
            .all(self.orm())
            .await?;
        let pushes = push_state::Entity::find()
            .filter(push_state::Column::EnrollmentId.is_in(ids.iter().copied()))
            .all(self.orm())
            .await?;
        let open: Vec<(Uuid, i64)> = delivery::Entity::find()
            .select_only()
            .column(delivery::Column::EnrollmentId)
            .column_as(delivery::Column::Seq.count(), "open")
            .filter(delivery::Column::EnrollmentId.is_in(ids.iter().copied()))
            .group_by(delivery::Column::EnrollmentId)
            .into_tuple()
            .all(self.orm())
            .await?;
        let certificates = certificate::Entity::find()
            .filter(certificate::Column::EnrollmentId.is_in(ids))
            .order_by_desc(certificate::Column::Id)
            .limit(200)
            .all(self.orm())
            .await?;
        let groups = device_group::Entity::find()
            .filter(
                device_group::Column::Id.in_subquery(
                    Query::select()
                        .column(group_member::Column::GroupId)
                        .from(group_member::Entity)
                        .and_where(group_member::Column::DeviceId.eq(device))
                        .to_owned(),
                ),
            )
            .order_by_asc(device_group::Column::Name)
            .limit(200)
            .all(self.orm())
            .await?;
        Ok(DeviceRows {
            enrollments,
            channels: channels
                .into_iter()
                .map(|row| (row.enrollment_id, row))
                .collect(),
            pushes: pushes
                .into_iter()
                .map(|row| (row.enrollment_id, row))
                .collect(),
            open: open.into_iter().collect(),
            certificates,
            groups,
        })
    }
}

/// A UDID as it is kept may differ in case from how a person writes it.
pub(crate) fn spellings(ident: &str) -> [String; 3] {
    [ident.to_owned(), ident.to_uppercase(), ident.to_lowercase()]
}

fn members(group: GroupId) -> SelectStatement {
    Query::select()
        .column(group_member::Column::DeviceId)
        .from(group_member::Entity)
        .and_where(group_member::Column::GroupId.eq(group.0))
        .to_owned()
}

fn seen(tenant: TenantId, since: Micros) -> SelectStatement {
    Query::select()
        .column(channel::Column::DeviceId)
        .from(channel::Entity)
        .and_where(channel::Column::TenantId.eq(tenant.0))
        .and_where(channel::Column::LastSeenAt.gte(since))
        .to_owned()
}

fn enrollments_of(devices: &[Uuid]) -> SelectStatement {
    Query::select()
        .column(enrollment::Column::Id)
        .from(enrollment::Entity)
        .and_where(enrollment::Column::DeviceId.is_in(devices.iter().copied()))
        .to_owned()
}

/// Whether the device of the outer query has a device channel in one of these states.
fn in_state(states: &[EnrollmentState]) -> Condition {
    let codes: Vec<i64> = states.iter().map(|state| state.code()).collect();
    let rows = Query::select()
        .expr(Expr::val(1))
        .from(enrollment::Entity)
        .and_where(
            Expr::col((enrollment::Entity, enrollment::Column::DeviceId))
                .equals((device::Entity, device::Column::Id)),
        )
        .and_where(enrollment::Column::Channel.eq(0i64))
        .and_where(enrollment::Column::State.is_in(codes))
        .to_owned();
    Condition::all().add(Expr::exists(rows))
}
