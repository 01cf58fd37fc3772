//! `/api/v1/tenants/{tenant}/devices`: lists, pictures, facts, what devices have told, and what is done with one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Asked, DeviceName, FactName, InTenant, SectionName};
use super::json::{JsonBody, MaybeJson};
use super::reply::{List, Reply, list as page};
use crate::admin::inventory::Section;
use crate::admin::{
    DeviceDetail, DeviceQuery, DeviceState, DeviceSummary, Fact, Instant, PageRequest, devices,
    facts, inventory,
};
use crate::enrollment::EnrollmentState;
use crate::error::Error;
use crate::ids::EnrollmentId;

/// Which devices.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeviceFilter {
    /// With this serial number.
    serial: Option<String>,
    /// With this UDID or `EnrollmentID`.
    udid: Option<String>,
    /// In this state.
    state: Option<DeviceState>,
    /// In the group with this id or name.
    group: Option<String>,
    /// Heard since then.
    seen_since: Option<Instant>,
    /// The most entries, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    /// `next_cursor` of the stretch before.
    cursor: Option<String>,
}

/// Lists devices in the order of their first enrollment.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices", tag = "Devices", params(DeviceFilter),
    responses((status = 200, body = List<DeviceSummary>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    call: InTenant,
    Asked(filter): Asked<DeviceFilter>,
) -> Reply<List<DeviceSummary>> {
    let query = DeviceQuery {
        serial_number: filter.serial,
        udid: filter.udid,
        state: filter.state,
        group: filter.group,
        seen_since: filter.seen_since,
    };
    let paging = PageRequest {
        limit: filter.limit,
        cursor: filter.cursor,
    };
    Ok(page(
        devices::devices(state.store(), call.tenant, query, &paging).await?,
    ))
}

/// Shows a device with its channels, certificates, pushes and open commands.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices/{device}", tag = "Devices",
    responses((status = 200, body = DeviceDetail)))]
pub(crate) async fn show(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
) -> Reply<DeviceDetail> {
    Ok(Json(
        devices::device(state.store(), call.tenant, &device).await?,
    ))
}

/// Which of several waiting enrollments is meant.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waiting {
    /// The enrollment; it can be left out when only one waits.
    enrollment_id: Option<EnrollmentId>,
}

/// Releases a device from quarantine.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/devices/{device}/release", tag = "Devices",
    request_body = Option<Waiting>, responses((status = 204)))]
pub(crate) async fn release(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
    MaybeJson(waiting): MaybeJson<Waiting>,
) -> Result<StatusCode, Problem> {
    let enrollment = waiting_enrollment(&state, &call, &device, waiting).await?;
    let engine = &state.engine;
    engine
        .release(call.tenant, call.actor(), enrollment)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses an enrollment that waits in quarantine. It ends, and its certificate with it.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/devices/{device}/refuse", tag = "Devices",
    request_body = Option<Waiting>, responses((status = 204)))]
pub(crate) async fn refuse(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
    MaybeJson(waiting): MaybeJson<Waiting>,
) -> Result<StatusCode, Problem> {
    let enrollment = waiting_enrollment(&state, &call, &device, waiting).await?;
    let engine = &state.engine;
    engine.refuse(call.tenant, call.actor(), enrollment).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn waiting_enrollment(
    state: &AdminState,
    call: &InTenant,
    device: &str,
    waiting: Waiting,
) -> Result<EnrollmentId, Problem> {
    let detail = devices::device(state.store(), call.tenant, device).await?;
    let quarantined: Vec<EnrollmentId> = detail
        .enrollments
        .iter()
        .filter(|enrollment| enrollment.state == EnrollmentState::Quarantined.as_str())
        .map(|enrollment| enrollment.id)
        .collect();
    match (waiting.enrollment_id, quarantined.as_slice()) {
        (Some(id), all) if all.contains(&id) => Ok(id),
        (Some(_), _) => Err(Problem::not_found("the waiting enrollment")),
        (None, [id]) => Ok(*id),
        (None, []) => Err(Problem::conflict("the device does not wait in quarantine")),
        (None, _) => Err(Problem::conflict(
            "several enrollments of the device wait; name one with enrollment_id",
        )
        .with("enrollment_ids", &quarantined)),
    }
}

/// Why a device is removed.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Removal {
    /// A note for the timeline.
    #[serde(default)]
    reason: String,
}

/// Removes a device: its enrollments end and its certificates are refused for ever. What is on the device stays.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/devices/{device}/remove", tag = "Devices",
    request_body = Option<Removal>, responses((status = 204)))]
pub(crate) async fn remove(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
    MaybeJson(removal): MaybeJson<Removal>,
) -> Result<StatusCode, Problem> {
    let reason = match removal.reason.trim() {
        "" => String::new(),
        text => crate::admin::text::name("the reason", text)?,
    };
    let device = devices::find_device(state.store(), call.tenant, &device).await?;
    let engine = &state.engine;
    engine
        .remove(call.tenant, call.actor(), device, &reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a device a new certificate before the old one ends.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/devices/{device}/renew", tag = "Devices",
    responses((status = 204)))]
pub(crate) async fn renew(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
) -> Result<StatusCode, Problem> {
    let detail = devices::device(state.store(), call.tenant, &device).await?;
    let enrollment = detail
        .enrollments
        .iter()
        .find(|e| e.channel == "device" && e.state == EnrollmentState::Enabled.as_str())
        .ok_or_else(|| Problem::conflict("the device is not enrolled"))?;
    state.engine.renew(call.tenant, enrollment.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the facts about a device and its users.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices/{device}/facts", tag = "Devices",
    responses((status = 200, body = List<Fact>)))]
pub(crate) async fn list_facts(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
) -> Reply<List<Fact>> {
    let items = facts::facts(state.store(), call.tenant, &device).await?;
    Ok(Json(List {
        items,
        next_cursor: None,
    }))
}

/// Lists what a device has told of itself, without the values.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices/{device}/inventory", tag = "Devices",
    responses((status = 200, body = List<Section>)))]
pub(crate) async fn list_sections(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
) -> Reply<List<Section>> {
    let items = inventory::sections(state.store(), call.tenant, &device).await?;
    Ok(Json(List {
        items,
        next_cursor: None,
    }))
}

/// Shows what a device and its users have told about one thing, such as `security` or `apps`.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices/{device}/inventory/{section}", tag = "Devices",
    responses((status = 200, body = List<Section>)))]
pub(crate) async fn show_section(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
    SectionName(section): SectionName,
) -> Reply<List<Section>> {
    let items = inventory::section(state.store(), call.tenant, &device, &section).await?;
    Ok(Json(List {
        items,
        next_cursor: None,
    }))
}

/// The value of a fact.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FactValue {
    /// Any JSON but `null`.
    value: Value,
}

/// Sets a fact about a device.
#[utoipa::path(put, path = "/api/v1/tenants/{tenant}/devices/{device}/facts/{fact}", tag = "Devices",
    request_body = FactValue, responses((status = 204)))]
pub(crate) async fn set_fact(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
    FactName(fact): FactName,
    JsonBody(new): JsonBody<FactValue>,
) -> Result<StatusCode, Problem> {
    if new.value.is_null() {
        return Err(Error::Invalid(
            "the value is null; take the fact away with DELETE instead".into(),
        )
        .into());
    }
    change_fact(&state, &call, &device, &fact, Some(&new.value)).await
}

/// Takes a fact about a device away.
#[utoipa::path(delete, path = "/api/v1/tenants/{tenant}/devices/{device}/facts/{fact}", tag = "Devices",
    responses((status = 204)))]
pub(crate) async fn delete_fact(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
    FactName(fact): FactName,
) -> Result<StatusCode, Problem> {
    change_fact(&state, &call, &device, &fact, None).await
}

async fn change_fact(
    state: &AdminState,
    call: &InTenant,
    device: &str,
    fact: &str,
    value: Option<&Value>,
) -> Result<StatusCode, Problem> {
    let readers = &state.engine.issuer().options().readers;
    let events = facts::set_fact(
        state.store(),
        &call.caller,
        call.tenant,
        device,
        fact,
        value,
        readers,
    )
    .await?;
    state.engine.announce(events);
    Ok(StatusCode::NO_CONTENT)
}
