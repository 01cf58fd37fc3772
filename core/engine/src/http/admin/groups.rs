//! `/api/v1/tenants/{tenant}/groups`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Asked, GroupName, InTenant, Paging};
use super::json::JsonBody;
use super::reply::{List, Reply, list as page};
use crate::admin::{Changed, Group, groups};

/// A group to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGroup {
    /// Its name, which no other group of the tenant has.
    name: String,
}

/// Devices to put in or take out.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Members {
    /// Devices, by id, UDID or serial number.
    devices: Vec<String>,
}

/// Lists groups.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/groups", tag = "Groups", params(Paging),
    responses((status = 200, body = List<Group>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    call: InTenant,
    Asked(paging): Asked<Paging>,
) -> Reply<List<Group>> {
    Ok(page(
        groups::groups(state.store(), call.tenant, &paging.into()).await?,
    ))
}

/// Makes a group.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/groups", tag = "Groups", request_body = NewGroup,
    responses((status = 201, body = Group)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    call: InTenant,
    JsonBody(new): JsonBody<NewGroup>,
) -> Result<(StatusCode, Json<Group>), Problem> {
    let group = groups::create_group(state.store(), &call.caller, call.tenant, &new.name).await?;
    Ok((StatusCode::CREATED, Json(group)))
}

/// Shows a group. Its devices are listed by `/devices?group=`.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/groups/{group}", tag = "Groups",
    responses((status = 200, body = Group)))]
pub(crate) async fn show(
    State(state): State<AdminState>,
    call: InTenant,
    GroupName(group): GroupName,
) -> Reply<Group> {
    Ok(Json(
        groups::group(state.store(), call.tenant, &group).await?,
    ))
}

/// Removes a group. Its devices stay.
#[utoipa::path(delete, path = "/api/v1/tenants/{tenant}/groups/{group}", tag = "Groups",
    responses((status = 204)))]
pub(crate) async fn delete(
    State(state): State<AdminState>,
    call: InTenant,
    GroupName(group): GroupName,
) -> Result<StatusCode, Problem> {
    groups::delete_group(state.store(), &call.caller, call.tenant, &group).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts devices into a group: all of them or, when one is unknown, none.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/groups/{group}/add", tag = "Groups",
    request_body = Members, responses((status = 200, body = Changed)))]
pub(crate) async fn add(
    State(state): State<AdminState>,
    call: InTenant,
    GroupName(group): GroupName,
    JsonBody(members): JsonBody<Members>,
) -> Reply<Changed> {
    change(&state, &call, &group, &members, true).await
}

/// Takes devices out of a group: all of them or, when one is unknown, none.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/groups/{group}/remove", tag = "Groups",
    request_body = Members, responses((status = 200, body = Changed)))]
pub(crate) async fn remove(
    State(state): State<AdminState>,
    call: InTenant,
    GroupName(group): GroupName,
    JsonBody(members): JsonBody<Members>,
) -> Reply<Changed> {
    change(&state, &call, &group, &members, false).await
}

async fn change(
    state: &AdminState,
    call: &InTenant,
    group: &str,
    members: &Members,
    join: bool,
) -> Reply<Changed> {
    let (store, devices) = (state.store(), &members.devices);
    let changed =
        groups::change_members(store, &call.caller, call.tenant, group, devices, join).await?;
    Ok(Json(changed))
}
