//! Timelines: `/api/v1/tenants/{tenant}/devices/{device}/timeline`, `…/events`, and both as a stream.
//!
//! Owns: the streams. The stream of a device misses nothing: it begins after the number that the reader has seen, and
//! whatever the live feed drops is read again from the database. The stream of a tenant is live only, since events of
//! different devices have no common order; a reader that is too slow is told that it missed some.
//!
//! Source: WHATWG HTML, "Server-sent events".

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Asked, DeviceName, InTenant};
use super::reply::{List, Reply, list as page};
use crate::admin::{Caller, EventView, PageRequest, TimelineQuery, devices, events};
use crate::event::{Event, EventKind};
use crate::ids::{DeviceId, TenantId};

/// A stream looks this often whether its token is still good.
const RECHECK: Duration = Duration::from_secs(60);
/// Events that are read from the database at a time.
const STEP: u64 = 200;

/// Which events, in which order.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TimelineFilter {
    /// Kinds, separated by commas; all when absent.
    kinds: Option<String>,
    /// `oldest` or `newest` first; `oldest` when absent.
    order: Option<Order>,
    /// The most entries, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    /// `next_cursor` of the stretch before.
    cursor: Option<String>,
}

/// The order of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The oldest first.
    Oldest,
    /// The newest first.
    Newest,
}

/// Reads the timeline of a device.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices/{device}/timeline", tag = "Events",
    params(TimelineFilter), responses((status = 200, body = List<EventView>)))]
pub(crate) async fn timeline(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
    Asked(filter): Asked<TimelineFilter>,
) -> Reply<List<EventView>> {
    let query = TimelineQuery {
        kinds: kinds(filter.kinds.as_deref())?,
        newest_first: filter.order == Some(Order::Newest),
    };
    let paging = PageRequest {
        limit: filter.limit,
        cursor: filter.cursor,
    };
    Ok(page(
        events::timeline(state.store(), call.tenant, &device, &query, &paging).await?,
    ))
}

/// Which events of a tenant.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventFilter {
    /// Kinds, separated by commas; all when absent.
    kinds: Option<String>,
    /// The most entries, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    /// `next_cursor` of the stretch before.
    cursor: Option<String>,
}

/// Lists what happened in a tenant, the newest first.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/events", tag = "Events", params(EventFilter),
    responses((status = 200, body = List<EventView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    call: InTenant,
    Asked(filter): Asked<EventFilter>,
) -> Reply<List<EventView>> {
    let kinds = kinds(filter.kinds.as_deref())?;
    let paging = PageRequest {
        limit: filter.limit,
        cursor: filter.cursor,
    };
    Ok(page(
        events::tenant_events(state.store(), call.tenant, &kinds, &paging).await?,
    ))
}

fn kinds(text: Option<&str>) -> Result<Vec<EventKind>, Problem> {
    text.into_iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| {
            EventKind::from_word(word)
                .ok_or_else(|| Problem::invalid("kinds: there is no such kind of event"))
        })
        .collect()
}

/// Where a device's stream begins.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct After {
    /// Begin after the event with this number; 0 begins with the first. Without it, and without `Last-Event-ID`, the
    /// stream begins with what happens next.
    #[param(minimum = 0)]
    after: Option<u64>,
}

/// Follows the timeline of a device. The id of each message is the number of its event.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices/{device}/timeline/stream", tag = "Events",
    params(After, ("last-event-id" = Option<u64>, Header, description = "Begin after the event with this number.")),
    responses((status = 200, content_type = "text/event-stream", body = EventView)))]
pub(crate) async fn timeline_stream(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
    Asked(asked): Asked<After>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Problem> {
    let device = devices::find_device(state.store(), call.tenant, &device).await?;
    let resumed = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse::<u64>().ok());
    // Listening begins before the database is read, so that nothing falls between the two.
    let feed = Feed::open(&state, &call)?;
    let seen = match resumed.or(asked.after) {
        Some(seen) => i64::try_from(seen).unwrap_or(i64::MAX),
        None => newest(&state, device).await?,
    };
    let follow = Follow {
        device,
        seen,
        waiting: VecDeque::new(),
        behind: true,
        feed,
    };
    let stream = unfold(follow, |mut follow| async move {
        let event = follow.next().await?;
        Some((Ok(message(&event, &event.seq.to_string())), follow))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

async fn newest(state: &AdminState, device: DeviceId) -> Result<i64, Problem> {
    let store = state.store();
    let rows = store.device_events(device, &[], None, true, 1).await?;
    Ok(rows.first().map_or(0, |event| event.seq))
}

/// Follows what happens in a tenant, from now on. A message `lagged` tells that some events were missed.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/events/stream", tag = "Events",
    responses((status = 200, content_type = "text/event-stream", body = EventView)))]
pub(crate) async fn stream(
    State(state): State<AdminState>,
    call: InTenant,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Problem> {
    let feed = Feed::open(&state, &call)?;
    let stream = unfold(feed, |mut feed| async move {
        let message = match feed.next().await? {
            Heard::Event(event) => {
                let view = EventView::from(event.as_ref());
                message(&view, &format!("{}:{}", view.device_id, view.seq))
            }
            Heard::Missed(count) => {
                let data = json!({ "missed": count }).to_string();
                Message::default().event("lagged").data(data)
            }
        };
        Some((Ok(message), feed))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

fn message(event: &EventView, id: &str) -> Message {
    let data = serde_json::to_string(event).unwrap_or_default();
    Message::default()
        .event(event.kind.as_str())
        .id(id)
        .data(data)
}

/// The live feed of one tenant, for as long as the token is good and the server runs.
struct Feed {
    state: AdminState,
    tenant: TenantId,
    caller: Caller,
    events: Receiver<Arc<Event>>,
    checked: tokio::time::Instant,
    _room: OwnedSemaphorePermit,
}

enum Heard {
    Event(Arc<Event>),
    Missed(u64),
}

impl Feed {
    fn open(state: &AdminState, call: &InTenant) -> Result<Self, Problem> {
        let room = state.streams.clone().try_acquire_owned().map_err(|_| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_streams",
                "Not possible at the moment",
                "too many streams are open; try again in a few seconds",
            )
        })?;
        Ok(Self {
            state: state.clone(),
            tenant: call.tenant,
            caller: call.caller.clone(),
            events: state.engine.events(),
            checked: tokio::time::Instant::now(),
            _room: room,
        })
    }

    /// What is heard next; none when the stream is to end.
    async fn next(&mut self) -> Option<Heard> {
        loop {
            if self.checked.elapsed() >= RECHECK {
                if !self.still_good().await {
                    return None;
                }
                self.checked = tokio::time::Instant::now();
            }
            let recheck = self.checked + RECHECK;
            tokio::select! {
                () = self.state.stop.cancelled() => return None,
                () = tokio::time::sleep_until(recheck) => {}
                heard = self.events.recv() => match heard {
                    Ok(event) if event.tenant_id == self.tenant => return Some(Heard::Event(event)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(count)) => return Some(Heard::Missed(count)),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    /// A stream ends with its token. A database that does not answer is no reason to end it.
    async fn still_good(&self) -> bool {
        let good = self.state.store().token_is_good(self.caller.token).await;
        good.unwrap_or(true)
    }
}

/// The events of one device, each once and in order.
struct Follow {
    device: DeviceId,
    seen: i64,
    waiting: VecDeque<EventView>,
    /// The database may hold events that were not seen.
    behind: bool,
    feed: Feed,
}

impl Follow {
    async fn next(&mut self) -> Option<EventView> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.seen = event.seq;
                return Some(event);
            }
            if self.behind {
                self.read().await?;
                continue;
            }
            match self.feed.next().await? {
                Heard::Event(event) if event.device_id == self.device => {
                    // Numbers have no gaps: one that is not the next tells that something was missed.
                    if event.seq == self.seen.saturating_add(1) {
                        self.waiting.push_back(EventView::from(event.as_ref()));
                    } else {
                        self.behind = event.seq > self.seen;
                    }
                }
                Heard::Event(_) => {}
                Heard::Missed(_) => self.behind = true,
            }
        }
    }

    async fn read(&mut self) -> Option<()> {
        let store = self.feed.state.store();
        let rows = store
            .device_events(self.device, &[], Some(self.seen), false, STEP)
            .await
            .ok()?;
        self.behind = rows.len() as u64 == STEP;
        self.waiting.extend(rows);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_from_a_list_and_an_unknown_one_is_refused() {
        assert_eq!(kinds(None).unwrap(), []);
        assert_eq!(kinds(Some("")).unwrap(), []);
        assert_eq!(
            kinds(Some("enrolled, checked_out")).unwrap(),
            [EventKind::Enrolled, EventKind::CheckedOut]
        );
        assert!(kinds(Some("enrolled,x")).is_err());
    }
}
