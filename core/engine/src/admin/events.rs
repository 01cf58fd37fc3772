//! The timeline of a device, and what happens in a tenant.
//!
//! Owns: the form in which events are shown. A device's events have numbers without gaps, so a reader who knows the
//! last number knows exactly what it has not seen; between devices there is no order that a reader could rely on.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::instant::Instant;
use super::page::{Page, PageRequest, Position};
use crate::error::Result;
use crate::event::{Event, EventKind};
use crate::ids::{CommandId, DeviceId, EnrollmentId, TenantId};
use crate::store::Store;

/// An event as it is shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct EventView {
    /// The device whose timeline it belongs to.
    pub device_id: DeviceId,
    /// Its place in that timeline, from 1, without gaps.
    pub seq: i64,
    /// When.
    pub at: Instant,
    /// What it tells.
    pub kind: String,
    /// The channel it concerns, if one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrollment_id: Option<EnrollmentId>,
    /// The command it concerns, if one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
    /// `device`, `person`, `plugin` or `system`.
    pub actor_kind: &'static str,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<Uuid>,
    /// A few facts.
    pub body: Value,
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> Self {
        Self {
            device_id: event.device_id,
            seq: event.seq,
            at: Instant(event.at),
            kind: event.kind.as_str().to_owned(),
            enrollment_id: event.enrollment_id,
            command_id: event.command_id,
            actor_kind: event.actor_kind,
            actor_id: event.actor_id,
            body: event.body.clone(),
        }
    }
}

/// Which events, in which order.
#[derive(Clone, Debug, Default)]
pub struct TimelineQuery {
    /// Of these kinds only; all when empty.
    pub kinds: Vec<EventKind>,
    /// The newest first.
    pub newest_first: bool,
}

/// The timeline of a device.
///
/// # Errors
/// [`crate::Error::NotFound`] for an unknown device, [`crate::Error::Invalid`] for a bad page.
pub(crate) async fn timeline(
    store: &Store,
    tenant: TenantId,
    device: &str,
    query: &TimelineQuery,
    page: &PageRequest,
) -> Result<Page<EventView>> {
    let device = super::devices::find_device(store, tenant, device).await?;
    let keys = store.keys(tenant).await?;
    // A cursor is good for one direction only.
    let list = match query.newest_first {
        true => "timeline newest",
        false => "timeline",
    };
    let at = page.position(&keys, list)?.map(|at| at.number);
    let limit = page.limit()?;
    let rows = store
        .device_events(device, &query.kinds, at, query.newest_first, limit + 1)
        .await?;
    Ok(Page::cut(rows, limit, |last| {
        Position::number(last.seq).seal(&keys, list)
    }))
}

/// What happened in a tenant, the newest first.
///
/// # Errors
/// [`crate::Error::Invalid`] for a bad page.
pub(crate) async fn tenant_events(
    store: &Store,
    tenant: TenantId,
    kinds: &[EventKind],
    page: &PageRequest,
) -> Result<Page<EventView>> {
    let keys = store.keys(tenant).await?;
    let before = page
        .position(&keys, "events")?
        .map(|at| (at.number, at.id, at.seq));
    let limit = page.limit()?;
    let rows = store
        .tenant_events(tenant, kinds, before, limit + 1)
        .await?;
    Ok(Page::cut(rows, limit, |last| {
        let at = Position {
            number: last.at.0,
            id: last.device_id.0,
            seq: last.seq,
        };
        at.seal(&keys, "events")
    }))
}
