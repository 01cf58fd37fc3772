//! Who is calling, and may they.
//!
//! Owns: the two checks that stand before every handler. The first reads the token and runs before anything of the
//! request is parsed, on paths that do not exist as well; the second compares the caller with what the route
//! declares. Both answer before a body is read (invariant A3).

use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::super::error::Problem;
use super::AdminState;
use super::extract::InTenant;
use super::route::Access;
use crate::admin::{Caller, TokenSecret, find_tenant, principals};

/// Reads the token and lets its caller in.
pub(crate) async fn authenticate(
    State(state): State<AdminState>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(secret) = bearer(request.headers()) else {
        return Problem::unauthenticated().into_response();
    };
    let caller = match principals::authenticate(state.store(), &secret).await {
        Ok(Some(caller)) => caller,
        Ok(None) => return Problem::unauthenticated().into_response(),
        Err(error) => return Problem::from(error).into_response(),
    };
    state.touch(caller.token).await;
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// The secret in the one `Authorization` header; a second header makes it nobody's.
pub(in crate::http) fn bearer(headers: &HeaderMap) -> Option<TokenSecret> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let value = all.next()?.to_str().ok()?;
    if all.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    TokenSecret::parse(token)
}

/// Compares the caller with what the route declares.
pub(crate) async fn authorize(
    State((state, access)): State<(AdminState, Access)>,
    params: Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return Problem::unauthenticated().into_response();
    };
    let named = params.ok().and_then(|params| {
        params
            .iter()
            .find(|(name, _)| *name == "tenant")
            .filter(|(_, value)| !value.chars().any(char::is_control))
            .map(|(_, value)| value.to_owned())
    });
    match permit(&state, access, &caller, named.as_deref()).await {
        Ok(Some(in_tenant)) => {
            request.extensions_mut().insert(in_tenant);
        }
        Ok(None) => {}
        Err(problem) => return problem.into_response(),
    }
    next.run(request).await
}

async fn permit(
    state: &AdminState,
    access: Access,
    caller: &Caller,
    named: Option<&str>,
) -> Result<Option<InTenant>, Problem> {
    match access {
        Access::AnyToken => Ok(None),
        Access::Scope(scope) => require(caller, scope).map(|()| None),
        Access::Operator(scope) => {
            if caller.tenant.is_some() {
                return Err(Problem::forbidden(
                    "operator_only",
                    "this needs a token of the operator, which is bound to no tenant",
                ));
            }
            require(caller, scope).map(|()| None)
        }
        Access::Tenant(scope) => {
            let missing = || Problem::not_found("the tenant");
            let tenant = find_tenant(state.store(), named.ok_or_else(missing)?)
                .await?
                .id;
            // A tenant that is not the caller's is answered like one that does not exist.
            if !caller.reaches(tenant) {
                return Err(missing());
            }
            require(caller, scope)?;
            Ok(Some(InTenant {
                caller: caller.clone(),
                tenant,
            }))
        }
    }
}

fn require(caller: &Caller, scope: crate::admin::Scope) -> Result<(), Problem> {
    if caller.holds(scope) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "missing_scope",
        format!("this needs a token with the scope {}", scope.as_str()),
    )
    .with("scope", scope.as_str()))
}
