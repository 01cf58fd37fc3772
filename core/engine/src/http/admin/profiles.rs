//! `/api/v1/tenants/{tenant}/profiles`.

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Asked, DeviceName, InTenant, Paging, ProfileName};
use super::json::{self, JsonBody};
use super::reply::{List, Reply, list as page};
use crate::admin::profiles::{self, Assigned, ProfileState, ProfileTargets, ProfileView, Upload};
use crate::profiles::build::NewProfile;

/// How a profile is to be kept.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct How {
    /// Its name; its `PayloadDisplayName`, or else its identifier, when absent.
    name: Option<String>,
    /// Texts such as `{{device.serial-number}}` are meant as they stand, not as variables.
    literal: Option<bool>,
    /// Only tell what it would be and need.
    dry_run: Option<bool>,
}

/// Which channels are shown.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InState {
    /// In this state only: `installing`, `installed`, `verified`, `failed`, `given-up`, `refused`, `removing` or `not-removed`.
    state: Option<String>,
    /// The most entries, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    /// `next_cursor` of the stretch before.
    cursor: Option<String>,
}

/// On how many channels something is tried again.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Retried {
    /// The channels.
    channels: u64,
}

/// Lists profiles, with how many channels are in which state.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/profiles", tag = "Profiles", params(Paging),
    responses((status = 200, body = List<ProfileView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    call: InTenant,
    Asked(paging): Asked<Paging>,
) -> Reply<List<ProfileView>> {
    Ok(page(
        profiles::profiles(state.store(), call.tenant, &paging.into()).await?,
    ))
}

/// Keeps a profile, or a new version of the one that has the same identifier; the devices that it is assigned to get it. The body is the profile
/// itself: XML, binary or signed; with `Content-Type: application/json` it is made of payloads in JSON.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/profiles", tag = "Profiles", params(How),
    request_body(content((Vec<u8> = "application/x-apple-aspen-config"), (NewProfile = "application/json"))),
    responses((status = 200, body = ProfileView), (status = 201, body = ProfileView)))]
pub(crate) async fn upload(
    State(state): State<AdminState>,
    call: InTenant,
    Asked(how): Asked<How>,
    request: Request,
) -> Result<(StatusCode, Json<ProfileView>), Problem> {
    let how = Upload {
        name: how.name,
        literal: how.literal.unwrap_or(false),
        dry_run: how.dry_run.unwrap_or(false),
    };
    let store = state.store();
    let shown = match is_json(&request) {
        true => {
            let JsonBody(made) = JsonBody::<NewProfile>::from_request(request, &state).await?;
            profiles::make(store, &call.caller, call.tenant, &made, how).await?
        }
        false => {
            let bytes =
                json::collect(Body::from_stream(request.into_body().into_data_stream())).await?;
            profiles::upload(store, &call.caller, call.tenant, &bytes, how).await?
        }
    };
    let status = match shown.unchanged {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    };
    Ok((status, Json(shown)))
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// Shows a profile: what it holds, needs and is assigned to.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/profiles/{profile}", tag = "Profiles",
    responses((status = 200, body = ProfileView)))]
pub(crate) async fn show(
    State(state): State<AdminState>,
    call: InTenant,
    ProfileName(profile): ProfileName,
) -> Reply<ProfileView> {
    Ok(Json(
        profiles::profile(state.store(), call.tenant, &profile).await?,
    ))
}

/// Removes a profile that is assigned to nothing and that no device has any more.
#[utoipa::path(delete, path = "/api/v1/tenants/{tenant}/profiles/{profile}", tag = "Profiles",
    responses((status = 204)))]
pub(crate) async fn delete(
    State(state): State<AdminState>,
    call: InTenant,
    ProfileName(profile): ProfileName,
) -> Result<StatusCode, Problem> {
    profiles::delete(state.store(), &call.caller, call.tenant, &profile).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Assigns a profile to devices, groups or everything, and tells what it does not go with there. It is installed, looked for in the device's list,
/// and installed again where it is lost.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/profiles/{profile}/assign", tag = "Profiles",
    request_body = ProfileTargets, responses((status = 200, body = Assigned)))]
pub(crate) async fn assign(
    State(state): State<AdminState>,
    call: InTenant,
    ProfileName(profile): ProfileName,
    JsonBody(targets): JsonBody<ProfileTargets>,
) -> Reply<Assigned> {
    change(&state, &call, &profile, &targets, true).await
}

/// Takes assignments back. What was installed on devices that it is not assigned to any more is removed from them.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/profiles/{profile}/unassign", tag = "Profiles",
    request_body = ProfileTargets, responses((status = 200, body = Assigned)))]
pub(crate) async fn unassign(
    State(state): State<AdminState>,
    call: InTenant,
    ProfileName(profile): ProfileName,
    JsonBody(targets): JsonBody<ProfileTargets>,
) -> Reply<Assigned> {
    change(&state, &call, &profile, &targets, false).await
}

async fn change(
    state: &AdminState,
    call: &InTenant,
    profile: &str,
    targets: &ProfileTargets,
    assign: bool,
) -> Reply<Assigned> {
    let (store, caller) = (state.store(), &call.caller);
    Ok(Json(
        profiles::assign(store, caller, call.tenant, profile, targets, assign).await?,
    ))
}

/// Lets a profile be tried again wherever it failed or was given up.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/profiles/{profile}/retry", tag = "Profiles",
    responses((status = 200, body = Retried)))]
pub(crate) async fn retry(
    State(state): State<AdminState>,
    call: InTenant,
    ProfileName(profile): ProfileName,
) -> Reply<Retried> {
    let channels = profiles::retry(state.store(), &call.caller, call.tenant, &profile).await?;
    Ok(Json(Retried { channels }))
}

/// Shows where a profile stands on each channel.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/profiles/{profile}/devices", tag = "Profiles", params(InState),
    responses((status = 200, body = List<ProfileState>)))]
pub(crate) async fn states(
    State(state): State<AdminState>,
    call: InTenant,
    ProfileName(profile): ProfileName,
    Asked(asked): Asked<InState>,
) -> Reply<List<ProfileState>> {
    let paging = Paging {
        limit: asked.limit,
        cursor: asked.cursor,
    };
    let wanted = asked.state.as_deref();
    let (store, tenant) = (state.store(), call.tenant);
    Ok(page(
        profiles::states(store, tenant, &profile, wanted, &paging.into()).await?,
    ))
}

/// Shows where the profiles of a device and its users stand.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices/{device}/profiles", tag = "Devices",
    responses((status = 200, body = List<ProfileState>)))]
pub(crate) async fn of_device(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
) -> Reply<List<ProfileState>> {
    let found = profiles::of_device(state.store(), call.tenant, &device).await?;
    Ok(Json(List::whole(found)))
}
