//! The table of routes.
//!
//! Owns: every route of the admin API with what it asks of the caller. The router is built from this table
//! alone, so that no route can exist without a declared permission (invariant A2).

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::AdminState;
use super::{me, principals, tenants, tokens};
use crate::admin::Scope;

/// What a route asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Any good token.
    AnyToken,
    /// This scope; the handler shows only what the caller may see.
    Scope(Scope),
    /// This scope, with a token that is bound to no tenant.
    Operator(Scope),
    /// This scope, in the tenant that the path names.
    Tenant(Scope),
}

/// One route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) handler: MethodRouter<AdminState>,
}

fn route<H, T>(
    method: Method,
    filter: MethodFilter,
    path: &'static str,
    access: Access,
    handler: H,
) -> Route
where
    H: Handler<T, AdminState>,
    T: 'static,
{
    Route {
        method,
        path,
        access,
        handler: on(filter, handler),
    }
}

macro_rules! table {
    ($($method:ident $path:literal, $access:expr => $handler:path;)+) => {
        /// Every route.
        pub(crate) fn table() -> Vec<Route> {
            vec![$(route(Method::$method, MethodFilter::$method, $path, $access, $handler)),+]
        }
    };
}

use Access::{AnyToken, Operator, Tenant};

table! {
    GET "/api/v1/me", AnyToken => me::show;

    GET "/api/v1/tenants", Access::Scope(Scope::TenantsRead) => tenants::list;
    POST "/api/v1/tenants", Operator(Scope::TenantsWrite) => tenants::create;
    GET "/api/v1/tenants/{tenant}", Tenant(Scope::TenantsRead) => tenants::show;

    GET "/api/v1/principals", Operator(Scope::PrincipalsRead) => principals::list_operator;
    POST "/api/v1/principals", Operator(Scope::PrincipalsWrite) => principals::create_operator;
    POST "/api/v1/principals/{principal}/disable", Operator(Scope::PrincipalsWrite) => principals::disable_operator;
    GET "/api/v1/tenants/{tenant}/principals", Tenant(Scope::PrincipalsRead) => principals::list;
    POST "/api/v1/tenants/{tenant}/principals", Tenant(Scope::PrincipalsWrite) => principals::create;
    GET "/api/v1/tenants/{tenant}/principals/{principal}", Tenant(Scope::PrincipalsRead) => principals::show;
    POST "/api/v1/tenants/{tenant}/principals/{principal}/disable", Tenant(Scope::PrincipalsWrite) => principals::disable;

    GET "/api/v1/tokens", Operator(Scope::TokensRead) => tokens::list_operator;
    POST "/api/v1/tokens", Operator(Scope::TokensWrite) => tokens::create_operator;
    POST "/api/v1/tokens/{token}/revoke", Operator(Scope::TokensWrite) => tokens::revoke_operator;
    GET "/api/v1/tenants/{tenant}/tokens", Tenant(Scope::TokensRead) => tokens::list;
    POST "/api/v1/tenants/{tenant}/tokens", Tenant(Scope::TokensWrite) => tokens::create;
    POST "/api/v1/tenants/{tenant}/tokens/{token}/revoke", Tenant(Scope::TokensWrite) => tokens::revoke;
}
