//! `/api/v1/tenants/{tenant}/commands`: queueing, following and cancelling commands.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pomona_catalogue::{Catalogue, Class};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Asked, CommandName, DeviceName, EnrollmentName, InTenant, Paging};
use super::json::{JsonBody, MaybeJson};
use super::reply::{List, Reply, list as page};
use crate::actor::Cause;
use crate::admin::{
    CommandQuery, CommandSummary, DeliveryView, Instant, PageRequest, Scope, Skipped, Targets,
    commands, targets, values,
};
use crate::engine::{
    Approved, Cancelled, ChannelPreflight, CommandBody, Enqueue, Enqueued, TargetResult,
};
use crate::ids::{CommandId, EnrollmentId};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A command to queue: a `request_type` with its `parameters`, or a whole property list.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCommand {
    /// `RequestType`, such as `DeviceInformation`.
    request_type: Option<String>,
    /// The other keys of the `Command` dictionary. Data is written `{"data": "BASE64"}`, a time
    /// `{"date": "2026-03-01T08:00:00Z"}`; a dictionary that would read like one of these is written
    /// `{"dict": {…}}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
    /// In place of the two above: a whole command as a property list with its `CommandUUID`, in base64. It is sent
    /// byte for byte.
    raw_plist_base64: Option<String>,
    /// For whom.
    targets: Targets,
    /// -100 to 100; higher goes first.
    #[serde(default)]
    priority: i64,
    /// Not offered before.
    not_before: Option<Instant>,
    /// Not offered from then on.
    not_after: Option<Instant>,
    /// Not offered to a channel while this command is open there.
    after: Option<CommandId>,
    /// What fills the blanks `{{input:NAME}}` of the command, by channel and name.
    #[serde(default)]
    inputs: BTreeMap<EnrollmentId, BTreeMap<String, String>>,
    /// Whether devices are rung; they are unless this is `false`.
    #[serde(default = "yes")]
    push: bool,
    /// Check everything and queue nothing.
    #[serde(default)]
    dry_run: bool,
    /// A lifeline that no plugin may hold back; needs the scope `break-glass`.
    #[serde(default)]
    break_glass: bool,
    /// Send it although the catalogue says that a device refuses it; needs the scope `force`.
    #[serde(default)]
    force: bool,
    /// For a destructive command to several channels: its name and their number, such as `EraseDevice 12`.
    confirm: Option<String>,
}

fn yes() -> bool {
    true
}

/// What became of the request.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct QueuedCommand {
    /// The command.
    command_id: CommandId,
    /// Its `CommandUUID`.
    command_uuid: String,
    /// Its `RequestType`.
    request_type: String,
    /// What became of it on each channel.
    targets: Vec<TargetResult>,
    /// Devices that were named and have no channel to take.
    skipped: Vec<Skipped>,
    /// This answer was given before, for the same `Idempotency-Key`.
    repeated: bool,
    /// Nothing was queued, as was asked.
    dry_run: bool,
    /// What the catalogue of Apple's protocols says of the command on a channel whose device is known, with what would mend it and what works
    /// instead: of a thousand channels at most in a dry run, else of a hundred at most for which there is something to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    preflight: Vec<ChannelPreflight>,
}

/// Queues a command.
///
/// With the header `Idempotency-Key` the same request can be sent again without doubling the command.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/commands", tag = "Commands", request_body = NewCommand,
    params(("idempotency-key" = Option<String>, Header,
        description = "Up to 200 characters. The same key with the same request gives the same answer; with another request it is refused.")),
    responses((status = 201, description = "Queued for at least one channel", body = QueuedCommand),
        (status = 200, description = "A dry run", body = QueuedCommand)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    call: InTenant,
    headers: HeaderMap,
    JsonBody(new): JsonBody<NewCommand>,
) -> Result<(StatusCode, Json<QueuedCommand>), Problem> {
    if new.break_glass && !call.caller.holds(Scope::BreakGlass) {
        return Err(Problem::forbidden(
            "missing_scope",
            "break_glass needs a token with the scope break-glass, which `*` does not include",
        )
        .with("scope", Scope::BreakGlass.as_str()));
    }
    if new.force && !call.caller.holds(Scope::Force) {
        return Err(Problem::forbidden(
            "missing_scope",
            "force needs a token with the scope force, which `*` does not include",
        )
        .with("scope", Scope::Force.as_str()));
    }
    let key = idempotency_key(&headers)?;
    let command = body(new.request_type, &new.parameters, new.raw_plist_base64)?;
    let resolved = targets::resolve(state.store(), call.tenant, &new.targets).await?;
    if resolved.enrollments.is_empty() {
        return Err(
            Problem::conflict("no device that was named has such a channel")
                .with("skipped", &resolved.skipped),
        );
    }
    confirmed(
        &command,
        resolved.enrollments.len(),
        new.confirm.as_deref(),
        new.dry_run,
    )?;
    let request = Enqueue {
        idempotency_key: key,
        priority: new.priority,
        not_before: new.not_before.map(|at| at.0),
        not_after: new.not_after.map(|at| at.0),
        after: new.after,
        inputs: new.inputs,
        push: new.push,
        dry_run: new.dry_run,
        break_glass: new.break_glass,
        force: new.force,
        token: Some(call.caller.token),
        reason: None,
        ..Enqueue::new(command, resolved.enrollments)
    };
    let engine = &state.engine;
    let enqueued = engine
        .enqueue(call.tenant, call.actor(), Cause::default(), request)
        .await?;
    answer(enqueued, resolved.skipped, new.dry_run)
}

/// A destructive command goes to several channels only when that is said in so many words.
fn confirmed(
    command: &CommandBody,
    channels: usize,
    said: Option<&str>,
    dry_run: bool,
) -> Result<(), Problem> {
    let Some(request_type) = command.destructive().filter(|_| channels > 1 && !dry_run) else {
        return Ok(());
    };
    let wanted = format!("{request_type} {channels}");
    if said == Some(wanted.as_str()) {
        return Ok(());
    }
    Err(Problem::conflict(format!(
        "{request_type} cannot be taken back, and this would send it to {channels} channels; say confirm: \"{wanted}\" if that is meant"
    ))
    .with("confirm", &wanted))
}

fn answer(
    enqueued: Enqueued,
    skipped: Vec<Skipped>,
    dry_run: bool,
) -> Result<(StatusCode, Json<QueuedCommand>), Problem> {
    if !dry_run && !enqueued.targets.iter().any(|target| target.accepted) {
        return Err(Problem::conflict(
            "the command was queued for no channel; see targets for the reasons",
        )
        .with("targets", &enqueued.targets)
        .with("preflight", &enqueued.preflight)
        .with("skipped", &skipped));
    }
    let status = match dry_run {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    };
    Ok((
        status,
        Json(QueuedCommand {
            command_id: enqueued.command_id,
            command_uuid: enqueued.command_uuid,
            request_type: enqueued.request_type,
            targets: enqueued.targets,
            skipped,
            repeated: enqueued.repeated,
            dry_run,
            preflight: enqueued.preflight,
        }),
    ))
}

fn body(
    request_type: Option<String>,
    parameters: &Map<String, Value>,
    raw: Option<String>,
) -> Result<CommandBody, Problem> {
    match (request_type, raw) {
        (Some(request_type), None) => {
            // A second RequestType among the parameters could hide what is sent.
            if parameters.contains_key("RequestType") {
                return Err(Problem::invalid(
                    "RequestType belongs into request_type, not into parameters",
                ));
            }
            known(&request_type)?;
            let mut command = values::dictionary(parameters)?;
            command.insert("RequestType".into(), request_type.into());
            Ok(CommandBody::Dictionary(command))
        }
        (None, Some(raw)) if parameters.is_empty() => match STANDARD.decode(raw) {
            Ok(bytes) => Ok(CommandBody::Raw(bytes)),
            Err(_) => Err(Problem::invalid("raw_plist_base64 is not base64")),
        },
        _ => Err(Problem::invalid(
            "send either request_type with parameters, or raw_plist_base64 alone",
        )),
    }
}

/// A mistyped command would come back from every device as an error; one that is newer than this server goes as a property list.
fn known(request_type: &str) -> Result<(), Problem> {
    let catalogue = Catalogue::shipped();
    if catalogue.object(Class::Command, request_type).is_some() {
        return Ok(());
    }
    let meant = match catalogue.meant(Class::Command, request_type) {
        Some(meant) => format!("; did you mean {meant}?"),
        None => ".".to_owned(),
    };
    let word: String = request_type.chars().take(60).collect();
    Err(Problem::invalid(format!(
        "there is no command \"{word}\"{meant} A command that this server does not know yet can be sent as a whole property list"
    )))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = all.next() else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=200).contains(&key.len()) && key.chars().all(|c| c.is_ascii_graphic()));
    match (key, all.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(Problem::invalid(
            "Idempotency-Key is one header of 1 to 200 visible ASCII characters",
        )),
    }
}

/// Which commands.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CommandFilter {
    /// Of this `RequestType`.
    request_type: Option<String>,
    /// Only those that are open on some channel, or only those that are finished everywhere.
    open: Option<bool>,
    /// Queued since then.
    since: Option<Instant>,
    /// The most entries, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    /// `next_cursor` of the stretch before.
    cursor: Option<String>,
}

/// Lists commands, the newest first.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/commands", tag = "Commands", params(CommandFilter),
    responses((status = 200, body = List<CommandSummary>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    call: InTenant,
    Asked(filter): Asked<CommandFilter>,
) -> Reply<List<CommandSummary>> {
    let query = CommandQuery {
        request_type: filter.request_type,
        open: filter.open,
        since: filter.since,
    };
    let paging = PageRequest {
        limit: filter.limit,
        cursor: filter.cursor,
    };
    Ok(page(
        commands::commands(state.store(), call.tenant, query, &paging).await?,
    ))
}

/// Shows a command and how far it is.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/commands/{command}", tag = "Commands",
    responses((status = 200, body = CommandSummary)))]
pub(crate) async fn show(
    State(state): State<AdminState>,
    call: InTenant,
    CommandName(command): CommandName,
) -> Reply<CommandSummary> {
    Ok(Json(
        commands::command(state.store(), call.tenant, &command).await?,
    ))
}

/// Whether answers are shown.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WithReports {
    /// Show the devices' answers as well; pages are then at most 50 long.
    #[serde(default)]
    reports: bool,
    /// The most entries, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    /// `next_cursor` of the stretch before.
    cursor: Option<String>,
}

/// Lists the channels of a command with what became of it there.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/commands/{command}/deliveries", tag = "Commands",
    params(WithReports), responses((status = 200, body = List<DeliveryView>)))]
pub(crate) async fn deliveries(
    State(state): State<AdminState>,
    call: InTenant,
    CommandName(command): CommandName,
    Asked(asked): Asked<WithReports>,
) -> Reply<List<DeliveryView>> {
    let paging = PageRequest {
        limit: asked.limit,
        cursor: asked.cursor,
    };
    let (store, reports) = (state.store(), asked.reports);
    Ok(page(
        commands::deliveries(store, call.tenant, &command, reports, &paging).await?,
    ))
}

/// Shows what became of a command on one channel, with the device's answer.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/commands/{command}/deliveries/{enrollment}", tag = "Commands",
    responses((status = 200, body = DeliveryView)))]
pub(crate) async fn delivery(
    State(state): State<AdminState>,
    call: InTenant,
    CommandName(command): CommandName,
    EnrollmentName(enrollment): EnrollmentName,
) -> Reply<DeliveryView> {
    let enrollment = enrollment
        .parse()
        .map_err(|_| Problem::not_found("the delivery"))?;
    Ok(Json(
        commands::delivery(state.store(), call.tenant, &command, enrollment).await?,
    ))
}

/// Where to cancel.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancellation {
    /// On these channels only; on all when absent.
    enrollments: Option<Vec<EnrollmentId>>,
}

/// What became of a cancellation.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct CancelledCommand {
    /// On each channel: `cancelled` (the device will not get it), `withdrawn` (it is not sent again, but the device
    /// may have run it) or `already_finished`.
    targets: Vec<Cancelled>,
}

/// Cancels a command where it is open.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/commands/{command}/cancel", tag = "Commands",
    request_body = Option<Cancellation>, responses((status = 200, body = CancelledCommand)))]
pub(crate) async fn cancel(
    State(state): State<AdminState>,
    call: InTenant,
    CommandName(command): CommandName,
    MaybeJson(cancellation): MaybeJson<Cancellation>,
) -> Reply<CancelledCommand> {
    let command = commands::find_command(state.store(), call.tenant, &command).await?;
    let engine = &state.engine;
    let targets = engine
        .cancel(call.tenant, call.actor(), command, cancellation.enrollments)
        .await?;
    Ok(Json(CancelledCommand { targets }))
}

/// Lets a destructive command go past the limit of how many of them leave in an hour. Who has sent it cannot do that, and both tokens, the one that
/// sent it and this one, must be a day old.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/commands/{command}/approve", tag = "Commands",
    responses((status = 200, body = Approved)))]
pub(crate) async fn approve(
    State(state): State<AdminState>,
    call: InTenant,
    CommandName(command): CommandName,
) -> Reply<Approved> {
    let command = commands::find_command(state.store(), call.tenant, &command).await?;
    let approved = state
        .engine
        .approve(call.tenant, call.actor(), call.caller.token, command)
        .await?;
    Ok(Json(approved))
}

/// Which deliveries of a device.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OpenFilter {
    /// Only open ones, or only finished ones.
    open: Option<bool>,
    /// The most entries, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    /// `next_cursor` of the stretch before.
    cursor: Option<String>,
}

impl From<&OpenFilter> for Paging {
    fn from(filter: &OpenFilter) -> Self {
        Self {
            limit: filter.limit,
            cursor: filter.cursor.clone(),
        }
    }
}

/// Lists the commands of a device on all its channels, the newest first.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices/{device}/commands", tag = "Commands",
    params(OpenFilter), responses((status = 200, body = List<DeliveryView>)))]
pub(crate) async fn of_device(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
    Asked(filter): Asked<OpenFilter>,
) -> Reply<List<DeliveryView>> {
    let paging = Paging::from(&filter).into();
    let store = state.store();
    Ok(page(
        commands::device_commands(store, call.tenant, &device, filter.open, &paging).await?,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn a_command_is_either_described_or_whole_and_never_names_its_type_twice() {
        let none = parameters(json!({}));
        let queries = parameters(json!({"Queries": ["UDID"]}));
        let hidden = parameters(json!({"RequestType": "EraseDevice"}));
        let kind = || Some("DeviceInformation".to_owned());
        let raw = || Some("aGVsbG8=".to_owned());
        for (case, result, good) in [
            ("described", body(kind(), &queries, None), true),
            ("whole", body(None, &none, raw()), true),
            ("hidden", body(kind(), &hidden, None), false),
            ("both", body(kind(), &none, raw()), false),
            ("neither", body(None, &none, None), false),
            ("whole with parameters", body(None, &queries, raw()), false),
            ("no base64", body(None, &none, Some("%".into())), false),
        ] {
            assert_eq!(result.is_ok(), good, "{case}");
        }
    }

    #[test]
    fn an_idempotency_key_is_one_short_visible_header() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, value.parse().unwrap());
            }
            idempotency_key(&headers)
        };
        assert_eq!(with(&[]).unwrap(), None);
        assert_eq!(with(&["a-1"]).unwrap(), Some("a-1".into()));
        assert!(with(&[""]).is_err());
        assert!(with(&["a b"]).is_err());
        assert!(with(&["a", "b"]).is_err());
        assert!(with(&[&"x".repeat(201)]).is_err());
    }
}
