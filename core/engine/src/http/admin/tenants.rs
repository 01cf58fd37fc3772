//! `/api/v1/tenants`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Anywhere, Asked, InTenant, Paging};
use super::json::JsonBody;
use super::reply::{List, Reply, list as page};
use crate::admin::{Tenant, create_tenant_with_authority, find_tenant, tenants};

/// A tenant to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// Its short name for addresses: 1 to 63 characters of `a-z`, `0-9` and `-`.
    slug: String,
    /// The organization's name, as devices show it.
    name: String,
}

/// Lists the tenants that the caller may see.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "Tenants", params(Paging),
    responses((status = 200, body = List<Tenant>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    Asked(paging): Asked<Paging>,
) -> Reply<List<Tenant>> {
    Ok(page(
        tenants::tenants(state.store(), caller.tenant, &paging.into()).await?,
    ))
}

/// Makes a tenant, with a certificate authority of its own.
#[utoipa::path(post, path = "/api/v1/tenants", tag = "Tenants", request_body = NewTenant,
    responses((status = 201, body = Tenant)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    JsonBody(new): JsonBody<NewTenant>,
) -> Result<(StatusCode, Json<Tenant>), Problem> {
    let actor = caller.actor();
    let tenant = create_tenant_with_authority(state.store(), actor, &new.slug, &new.name).await?;
    Ok((StatusCode::CREATED, Json(tenant)))
}

/// Shows a tenant.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}", tag = "Tenants",
    responses((status = 200, body = Tenant)))]
pub(crate) async fn show(State(state): State<AdminState>, call: InTenant) -> Reply<Tenant> {
    Ok(Json(
        find_tenant(state.store(), &call.tenant.to_string()).await?,
    ))
}
