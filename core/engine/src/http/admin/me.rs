//! What the caller's own token is good for.

use axum::Json;
use serde::Serialize;

use super::extract::Anywhere;
use crate::admin::Instant;
use crate::ids::{PrincipalId, TenantId, TokenId};

/// The caller's token.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Me {
    /// The token.
    token_id: TokenId,
    /// Whose it is.
    principal_id: PrincipalId,
    /// The principal's name.
    principal_name: String,
    /// The tenant it is bound to; none: the operator's.
    tenant_id: Option<TenantId>,
    /// Its rights.
    scopes: Vec<String>,
    /// When it ends.
    expires_at: Instant,
}

/// Shows who is calling and with which rights.
#[utoipa::path(get, path = "/api/v1/me", tag = "Access", responses((status = 200, body = Me)))]
pub(crate) async fn show(Anywhere(caller): Anywhere) -> Json<Me> {
    Json(Me {
        token_id: caller.token,
        principal_id: caller.principal,
        principal_name: caller.principal_name,
        tenant_id: caller.tenant,
        scopes: caller
            .scopes
            .words()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        expires_at: Instant(caller.expires_at),
    })
}
