//! `/api/v1/principals` and `/api/v1/tenants/{tenant}/principals`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Anywhere, Asked, InTenant, Paging, Segment};
use super::json::JsonBody;
use super::reply::{List, Reply, list as page};
use crate::admin::{Principal, create_principal, principals};
use crate::ids::PrincipalId;

/// A principal to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPrincipal {
    /// The name of the person, or of the program and who runs it.
    name: String,
}

/// Lists the principals of a tenant.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/principals", tag = "Access", params(Paging),
    responses((status = 200, body = List<Principal>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    call: InTenant,
    Asked(paging): Asked<Paging>,
) -> Reply<List<Principal>> {
    Ok(page(
        principals::principals(state.store(), Some(call.tenant), &paging.into()).await?,
    ))
}

/// Shows a principal of a tenant.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/principals/{principal}", tag = "Access",
    responses((status = 200, body = Principal)))]
pub(crate) async fn show(
    State(state): State<AdminState>,
    call: InTenant,
    Segment(id): Segment<PrincipalId>,
) -> Reply<Principal> {
    Ok(Json(
        principals::principal(state.store(), Some(call.tenant), id).await?,
    ))
}

/// Makes a principal in a tenant. It can do nothing until it has a token.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/principals", tag = "Access",
    request_body = NewPrincipal, responses((status = 201, body = Principal)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    call: InTenant,
    JsonBody(new): JsonBody<NewPrincipal>,
) -> Result<(StatusCode, Json<Principal>), Problem> {
    let made = create_principal(state.store(), call.actor(), Some(call.tenant), &new.name).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Disables a principal for ever, with all its tokens and all that those made.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/principals/{principal}/disable", tag = "Access",
    responses((status = 204)))]
pub(crate) async fn disable(
    State(state): State<AdminState>,
    call: InTenant,
    Segment(id): Segment<PrincipalId>,
) -> Result<StatusCode, Problem> {
    principals::disable_principal(state.store(), &call.caller, Some(call.tenant), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the operator's own principals.
#[utoipa::path(get, path = "/api/v1/principals", tag = "Access", params(Paging),
    responses((status = 200, body = List<Principal>)))]
pub(crate) async fn list_operator(
    State(state): State<AdminState>,
    Asked(paging): Asked<Paging>,
) -> Reply<List<Principal>> {
    Ok(page(
        principals::principals(state.store(), None, &paging.into()).await?,
    ))
}

/// Makes a principal of the operator.
#[utoipa::path(post, path = "/api/v1/principals", tag = "Access", request_body = NewPrincipal,
    responses((status = 201, body = Principal)))]
pub(crate) async fn create_operator(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    JsonBody(new): JsonBody<NewPrincipal>,
) -> Result<(StatusCode, Json<Principal>), Problem> {
    let made = create_principal(state.store(), caller.actor(), None, &new.name).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Disables a principal of the operator for ever.
#[utoipa::path(post, path = "/api/v1/principals/{principal}/disable", tag = "Access",
    responses((status = 204)))]
pub(crate) async fn disable_operator(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    Segment(id): Segment<PrincipalId>,
) -> Result<StatusCode, Problem> {
    principals::disable_principal(state.store(), &caller, None, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
