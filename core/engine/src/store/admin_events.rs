//! Reads events for administration.
//!
//! Owns: the queries behind timelines. Writing events is for `events`.

use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::Store;
use super::entity::event;
use crate::admin::events::EventView;
use crate::admin::instant::Instant;
use crate::clock::Micros;
use crate::error::Result;
use crate::event::EventKind;
use crate::ids::{CommandId, DeviceId, EnrollmentId, TenantId};

impl Store {
    /// Events of a device beyond number `at`, in the direction that is asked for.
    pub(crate) async fn device_events(
        &self,
        device: DeviceId,
        kinds: &[EventKind],
        at: Option<i64>,
        newest_first: bool,
        limit: u64,
    ) -> Result<Vec<EventView>> {
        let mut all = Condition::all().add(event::Column::DeviceId.eq(device.0));
        all = of_kinds(all, kinds);
        let query = event::Entity::find();
        let query = match (newest_first, at) {
            (true, Some(at)) => query.filter(all.add(event::Column::Seq.lt(at))),
            (false, Some(at)) => query.filter(all.add(event::Column::Seq.gt(at))),
            (_, None) => query.filter(all),
        };
        let query = match newest_first {
            true => query.order_by_desc(event::Column::Seq),
            false => query.order_by_asc(event::Column::Seq),
        };
        let rows = query.limit(limit).all(self.orm()).await?;
        Ok(rows.into_iter().map(view).collect())
    }

    /// Events of a tenant before this time, device and number, the newest first.
    pub(crate) async fn tenant_events(
        &self,
        tenant: TenantId,
        kinds: &[EventKind],
        before: Option<(Micros, Uuid, i64)>,
        limit: u64,
    ) -> Result<Vec<EventView>> {
        let mut all = Condition::all().add(event::Column::TenantId.eq(tenant.0));
        all = of_kinds(all, kinds);
        if let Some((at, device, seq)) = before {
            let same_time = || Condition::all().add(event::Column::At.eq(at));
            all = all.add(
                Condition::any()
                    .add(event::Column::At.lt(at))
                    .add(same_time().add(event::Column::DeviceId.lt(device)))
                    .add(
                        same_time()
                            .add(event::Column::DeviceId.eq(device))
                            .add(event::Column::Seq.lt(seq)),
                    ),
            );
        }
        let rows = event::Entity::find()
            .filter(all)
            .order_by_desc(event::Column::At)
            .order_by_desc(event::Column::DeviceId)
            .order_by_desc(event::Column::Seq)
            .limit(limit)
            .all(self.orm())
            .await?;
        Ok(rows.into_iter().map(view).collect())
    }
}

fn of_kinds(all: Condition, kinds: &[EventKind]) -> Condition {
    match kinds {
        [] => all,
        kinds => all.add(event::Column::Kind.is_in(kinds.iter().map(|kind| kind.as_str()))),
    }
}

fn view(row: event::Model) -> EventView {
    EventView {
        device_id: DeviceId(row.device_id),
        seq: row.seq,
        at: Instant(row.at),
        kind: row.kind,
        enrollment_id: row.enrollment_id.map(EnrollmentId),
        command_id: row.command_id.map(CommandId),
        actor_kind: Store::actor_kind(&row.actor_kind),
        actor_id: row.actor_id,
        body: serde_json::from_str(&row.body).unwrap_or(serde_json::Value::Null),
    }
}
