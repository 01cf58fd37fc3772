//! `/api/v1/tokens` and `/api/v1/tenants/{tenant}/tokens`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Anywhere, Asked, InTenant, Paging, Segment};
use super::json::JsonBody;
use super::reply::{List, Reply, list as page};
use crate::admin::{Caller, Instant, Scopes, Token, WantedToken, principals};
use crate::ids::{PrincipalId, TenantId, TokenId};

/// A token to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// What it is called in lists.
    name: String,
    /// Its rights, none of which the maker lacks.
    scopes: Vec<String>,
    /// Whose it is to be; the caller's own when absent. Another's needs `principals:write`.
    principal_id: Option<PrincipalId>,
    /// When it ends: within 90 days, and no later than the token that makes it. As late as possible when absent.
    expires_at: Option<Instant>,
}

/// A token just made, with its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct MadeToken {
    /// The token.
    #[serde(flatten)]
    token: Token,
    /// The secret. It is shown this once and not kept.
    secret: String,
}

async fn make(
    state: &AdminState,
    caller: &Caller,
    tenant: Option<TenantId>,
    new: NewToken,
) -> Result<(StatusCode, Json<MadeToken>), Problem> {
    let wanted = WantedToken {
        name: new.name,
        scopes: Scopes::parse(&new.scopes)?,
        tenant,
        principal: new.principal_id.unwrap_or(caller.principal),
        expires_at: new.expires_at.map(|at| at.0),
    };
    let (token, secret) = principals::create_token(state.store(), caller, wanted).await?;
    let secret = secret.expose().to_owned();
    Ok((StatusCode::CREATED, Json(MadeToken { token, secret })))
}

/// Lists the tokens bound to a tenant.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/tokens", tag = "Access", params(Paging),
    responses((status = 200, body = List<Token>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    call: InTenant,
    Asked(paging): Asked<Paging>,
) -> Reply<List<Token>> {
    Ok(page(
        principals::tokens(state.store(), Some(call.tenant), &paging.into()).await?,
    ))
}

/// Makes a token that is bound to a tenant and is never wider than the caller's.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/tokens", tag = "Access", request_body = NewToken,
    responses((status = 201, body = MadeToken)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    call: InTenant,
    JsonBody(new): JsonBody<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>), Problem> {
    make(&state, &call.caller, Some(call.tenant), new).await
}

/// Revokes a token, and with it every token that it made.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/tokens/{token}/revoke", tag = "Access",
    responses((status = 204)))]
pub(crate) async fn revoke(
    State(state): State<AdminState>,
    call: InTenant,
    Segment(id): Segment<TokenId>,
) -> Result<StatusCode, Problem> {
    principals::revoke_token(state.store(), &call.caller, Some(call.tenant), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the tokens that are bound to no tenant.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "Access", params(Paging),
    responses((status = 200, body = List<Token>)))]
pub(crate) async fn list_operator(
    State(state): State<AdminState>,
    Asked(paging): Asked<Paging>,
) -> Reply<List<Token>> {
    Ok(page(
        principals::tokens(state.store(), None, &paging.into()).await?,
    ))
}

/// Makes a token that is bound to no tenant.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "Access", request_body = NewToken,
    responses((status = 201, body = MadeToken)))]
pub(crate) async fn create_operator(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    JsonBody(new): JsonBody<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>), Problem> {
    make(&state, &caller, None, new).await
}

/// Revokes a token that is bound to no tenant, and with it every token that it made.
#[utoipa::path(post, path = "/api/v1/tokens/{token}/revoke", tag = "Access", responses((status = 204)))]
pub(crate) async fn revoke_operator(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    Segment(id): Segment<TokenId>,
) -> Result<StatusCode, Problem> {
    principals::revoke_token(state.store(), &caller, None, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
