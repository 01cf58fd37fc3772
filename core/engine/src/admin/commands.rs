//! Commands as an administrator sees them.
//!
//! Owns: the summary of a command, the state of each of its deliveries, and the device's answer as JSON. Bodies of
//! commands are not shown: they may hold passwords and lock codes. Queueing and cancelling are the engine's.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::instant::Instant;
use super::page::{Page, PageRequest, Position};
use super::values;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::{CommandId, DeviceId, EnrollmentId, TenantId};
use crate::seal::{Place, TenantKeys};
use crate::store::Store;
use crate::store::admin_commands::{CommandFilter, Counts, DeliveryRow};
use crate::store::entity::command;

/// Entries of a page that shows answers, at most: an answer may be large.
const WITH_REPORTS: u64 = 50;
/// Bytes of answers in one page; what goes beyond is left out and asked for by itself.
const REPORT_BYTES: usize = 8 << 20;

/// A command as it was queued, and how far it is.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CommandSummary {
    /// Its id.
    pub id: CommandId,
    /// Its `CommandUUID`.
    pub command_uuid: String,
    /// Its `RequestType`.
    pub request_type: String,
    /// -100 to 100; higher goes first.
    pub priority: i64,
    /// Not offered before.
    pub not_before: Option<Instant>,
    /// Not offered from then on.
    pub not_after: Option<Instant>,
    /// The command that it comes after.
    pub after: Option<CommandId>,
    /// The kind of who queued it.
    pub actor_kind: String,
    /// Who queued it.
    pub actor_id: Option<Uuid>,
    /// When it was queued.
    pub created_at: Instant,
    /// For how many channels it was queued.
    pub targets: i64,
    /// How many channels are how far.
    pub counts: CommandCounts,
}

/// How many channels of a command are how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CommandCounts {
    /// Waiting to be sent.
    pub queued: i64,
    /// Sent, not answered.
    pub sent: i64,
    /// Answered `NotNow`; sent again later.
    pub not_now: i64,
    /// Answered `Acknowledged`.
    pub acknowledged: i64,
    /// Answered `Error` or `CommandFormatError`.
    pub failed: i64,
    /// Cancelled before the device could get it.
    pub cancelled: i64,
    /// Withdrawn after it had been sent.
    pub withdrawn: i64,
    /// Not wanted any more when its time came.
    pub expired: i64,
}

/// A command on one channel.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DeliveryView {
    /// The channel.
    pub enrollment_id: EnrollmentId,
    /// The device.
    pub device_id: DeviceId,
    /// The command.
    pub command_id: CommandId,
    /// Its `CommandUUID`.
    pub command_uuid: String,
    /// Its `RequestType`.
    pub request_type: String,
    /// `queued`, `sent`, `not_now`; or finished: `done`, `cancelled`, `withdrawn`, `expired`.
    pub state: &'static str,
    /// Why it was finished without an answer.
    pub reason: Option<String>,
    /// What the device answered first: `Acknowledged`, `Error` or `CommandFormatError`.
    pub outcome: Option<&'static str>,
    /// When it answered.
    pub outcome_at: Option<Instant>,
    /// `ErrorChain`, when it failed.
    pub error_chain: Option<Value>,
    /// How often it was sent.
    pub sends: i64,
    /// How often the device answered `NotNow`.
    pub not_now_count: i64,
    /// When it was first sent.
    pub first_sent_at: Option<Instant>,
    /// When it was last sent.
    pub last_sent_at: Option<Instant>,
    /// When it was queued.
    pub created_at: Instant,
    /// When it left the queue.
    pub finished_at: Option<Instant>,
    /// The device's answer, where it was asked for: a property list as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
    /// The answer is too large for this page; ask for this delivery by itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub report_omitted: bool,
}

/// Which commands a list shows.
#[derive(Clone, Debug, Default)]
pub struct CommandQuery {
    /// Of this `RequestType`.
    pub request_type: Option<String>,
    /// Whether they are open on some channel.
    pub open: Option<bool>,
    /// Queued since then.
    pub since: Option<Instant>,
}

/// The commands of a tenant, the newest first.
///
/// # Errors
/// [`Error::Invalid`] for a bad page.
pub(crate) async fn commands(
    store: &Store,
    tenant: TenantId,
    query: CommandQuery,
    page: &PageRequest,
) -> Result<Page<CommandSummary>> {
    let keys = store.keys(tenant).await?;
    let limit = page.limit()?;
    let filter = CommandFilter {
        request_type: query.request_type,
        open: query.open,
        since: query.since.map(|at| at.0),
        before: page.position(&keys, "commands")?.map(|at| at.id),
    };
    let rows = store.command_page(tenant, &filter, limit + 1).await?;
    let page = Page::cut(rows, limit, |last| {
        Position::id(last.id).seal(&keys, "commands")
    });
    let counts = store
        .command_counts(page.items.iter().map(|row| row.id).collect())
        .await?;
    Ok(page.map(|row| {
        let counts = counts.get(&row.id).copied().unwrap_or_default();
        summary(row, counts)
    }))
}

/// The command with this id or `CommandUUID`.
///
/// # Errors
/// [`Error::NotFound`] when the tenant has none.
pub(crate) async fn command(store: &Store, tenant: TenantId, name: &str) -> Result<CommandSummary> {
    let row = require(store, tenant, name).await?;
    let counts = store.command_counts(vec![row.id]).await?;
    let counts = counts.get(&row.id).copied().unwrap_or_default();
    Ok(summary(row, counts))
}

/// The id of the command with this id or `CommandUUID`.
pub(crate) async fn find_command(store: &Store, tenant: TenantId, name: &str) -> Result<CommandId> {
    Ok(CommandId(require(store, tenant, name).await?.id))
}

async fn require(store: &Store, tenant: TenantId, name: &str) -> Result<command::Model> {
    store
        .find_command(tenant, name)
        .await?
        .ok_or(Error::NotFound("the command"))
}

/// The channels of a command in the order of their ids, with the answers when `reports` is set.
///
/// # Errors
/// [`Error::NotFound`] for an unknown command, [`Error::Invalid`] for a bad page.
pub(crate) async fn deliveries(
    store: &Store,
    tenant: TenantId,
    name: &str,
    reports: bool,
    page: &PageRequest,
) -> Result<Page<DeliveryView>> {
    let command = require(store, tenant, name).await?.id;
    let keys = store.keys(tenant).await?;
    let after = page.position(&keys, "deliveries")?.map(|at| at.id);
    let limit = match (reports, page.limit()?) {
        (true, limit) => limit.min(WITH_REPORTS),
        (false, limit) => limit,
    };
    let rows = store
        .deliveries_of_command(tenant, command, after, limit + 1)
        .await?;
    let page = Page::cut(rows, limit, |last: &DeliveryRow| {
        Position::id(last.enrollment.0).seal(&keys, "deliveries")
    });
    let mut left = if reports { REPORT_BYTES } else { 0 };
    let mut items = Vec::with_capacity(page.items.len());
    for row in page.items {
        let report = match reports {
            true => Some(open_report(store, &keys, &row, left).await?),
            false => None,
        };
        items.push(view(row, report, &mut left));
    }
    Ok(Page {
        items,
        next_cursor: page.next_cursor,
    })
}

/// One delivery, with the device's answer whatever its size.
///
/// # Errors
/// [`Error::NotFound`] when the command was not queued for this channel.
pub(crate) async fn delivery(
    store: &Store,
    tenant: TenantId,
    name: &str,
    enrollment: EnrollmentId,
) -> Result<DeliveryView> {
    let command = require(store, tenant, name).await?.id;
    let row = store
        .delivery_of_command(tenant, command, enrollment)
        .await?
        .ok_or(Error::NotFound("the delivery"))?;
    let keys = store.keys(tenant).await?;
    let mut left = usize::MAX;
    let report = open_report(store, &keys, &row, left).await?;
    Ok(view(row, Some(report), &mut left))
}

/// The deliveries of a device on all its channels, the newest first.
///
/// # Errors
/// [`Error::NotFound`] for an unknown device, [`Error::Invalid`] for a bad page.
pub(crate) async fn device_commands(
    store: &Store,
    tenant: TenantId,
    device: &str,
    open: Option<bool>,
    page: &PageRequest,
) -> Result<Page<DeliveryView>> {
    let device = super::devices::find_device(store, tenant, device).await?;
    let keys = store.keys(tenant).await?;
    let before = page
        .position(&keys, "device commands")?
        .map(|at| (at.number, at.id, at.seq));
    let limit = page.limit()?;
    let rows = store
        .deliveries_of_device(tenant, device, open, before, limit + 1)
        .await?;
    let page = Page::cut(rows, limit, |last: &DeliveryRow| {
        let at = Position {
            number: last.created_at,
            id: last.enrollment.0,
            seq: last.seq,
        };
        at.seal(&keys, "device commands")
    });
    Ok(page.map(|row| view(row, None, &mut 0)))
}

/// A report that was opened, or is too large to be shown here.
enum Report {
    None,
    Omitted,
    Some(Value, usize),
}

async fn open_report(
    store: &Store,
    keys: &TenantKeys,
    row: &DeliveryRow,
    most: usize,
) -> Result<Report> {
    if row.finished_at.is_none() {
        return Ok(Report::None);
    }
    let Some(sealed) = store.sealed_report(row.enrollment, row.seq, most).await? else {
        return Ok(Report::None);
    };
    let Some(sealed) = sealed else {
        return Ok(Report::Omitted);
    };
    let mut place = row.enrollment.0.as_bytes().to_vec();
    place.extend_from_slice(&row.seq.to_be_bytes());
    let plain = keys.open(
        Place {
            table: "delivery_history",
            column: "report_sealed",
            row: &place,
        },
        &sealed,
    )?;
    let value = plist::from_bytes::<plist::Value>(&plain)
        .map_err(|source| Error::internal("reading a stored report", source))?;
    Ok(Report::Some(values::json(&value), plain.len()))
}

fn view(row: DeliveryRow, report: Option<Report>, left: &mut usize) -> DeliveryView {
    let (report, report_omitted) = match report {
        None | Some(Report::None) => (None, false),
        Some(Report::Omitted) => (None, true),
        Some(Report::Some(value, size)) => {
            *left = left.saturating_sub(size);
            (Some(value), false)
        }
    };
    DeliveryView {
        enrollment_id: row.enrollment,
        device_id: row.device,
        command_id: row.command,
        command_uuid: row.command_uuid,
        request_type: row.request_type,
        state: state_word(row.state),
        reason: row.reason,
        outcome: outcome_word(row.outcome),
        outcome_at: row.outcome_at.map(Instant),
        error_chain: row
            .error_chain
            .and_then(|text| serde_json::from_str(&text).ok()),
        sends: row.sends,
        not_now_count: row.not_now_count,
        first_sent_at: row.first_sent_at.map(Instant),
        last_sent_at: row.last_sent_at.map(Instant),
        created_at: Instant(row.created_at),
        finished_at: row.finished_at.map(Instant),
        report,
        report_omitted,
    }
}

fn state_word(code: i64) -> &'static str {
    match code {
        0 => "queued",
        1 => "sent",
        2 => "not_now",
        3 => "done",
        4 => "cancelled",
        5 => "withdrawn",
        _ => "expired",
    }
}

fn outcome_word(code: i64) -> Option<&'static str> {
    match code {
        1 => Some("Acknowledged"),
        2 => Some("Error"),
        3 => Some("CommandFormatError"),
        _ => None,
    }
}

fn summary(row: command::Model, counts: Counts) -> CommandSummary {
    let at = |micros: Micros| (micros > 0).then_some(Instant(micros));
    CommandSummary {
        id: CommandId(row.id),
        command_uuid: row.command_uuid,
        request_type: row.request_type,
        priority: row.priority,
        not_before: at(row.not_before),
        not_after: row.not_after.map(Instant),
        after: row.after_command_id.map(CommandId),
        actor_kind: row.actor_kind,
        actor_id: row.actor_id,
        created_at: Instant(row.created_at),
        targets: row.targets,
        counts: tally(counts),
    }
}

fn tally(counts: Counts) -> CommandCounts {
    CommandCounts {
        queued: counts.open[0],
        sent: counts.open[1],
        not_now: counts.open[2],
        acknowledged: counts.acknowledged,
        failed: counts.failed,
        cancelled: counts.cancelled,
        withdrawn: counts.withdrawn,
        expired: counts.expired,
    }
}
