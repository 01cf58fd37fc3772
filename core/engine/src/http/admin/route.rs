//! The table of routes.
//!
//! Owns: every route of the admin API with what it asks of the caller. The router is built from this table
//! alone, so that no route can exist without a declared permission (invariant A2).

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::AdminState;
use super::{
    audit, catalogue, commands, devices, enroll, events, groups, me, plugin_work, plugins, posture,
    principals, profiles, push, tenants, tokens, trials,
};
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

    GET "/api/v1/catalogue", AnyToken => catalogue::show;
    GET "/api/v1/catalogue/diff", AnyToken => catalogue::diff;
    GET "/api/v1/catalogue/matrix", AnyToken => catalogue::matrix;

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

    GET "/api/v1/tenants/{tenant}/devices", Tenant(Scope::DevicesRead) => devices::list;
    GET "/api/v1/tenants/{tenant}/devices/{device}", Tenant(Scope::DevicesRead) => devices::show;
    POST "/api/v1/tenants/{tenant}/devices/{device}/release", Tenant(Scope::DevicesWrite) => devices::release;
    POST "/api/v1/tenants/{tenant}/devices/{device}/refuse", Tenant(Scope::DevicesWrite) => devices::refuse;
    POST "/api/v1/tenants/{tenant}/devices/{device}/remove", Tenant(Scope::DevicesWrite) => devices::remove;
    POST "/api/v1/tenants/{tenant}/devices/{device}/renew", Tenant(Scope::DevicesWrite) => devices::renew;
    GET "/api/v1/tenants/{tenant}/devices/{device}/facts", Tenant(Scope::DevicesRead) => devices::list_facts;
    PUT "/api/v1/tenants/{tenant}/devices/{device}/facts/{fact}", Tenant(Scope::DevicesWrite) => devices::set_fact;
    DELETE "/api/v1/tenants/{tenant}/devices/{device}/facts/{fact}", Tenant(Scope::DevicesWrite) => devices::delete_fact;
    GET "/api/v1/tenants/{tenant}/devices/{device}/inventory", Tenant(Scope::DevicesRead) => devices::list_sections;
    GET "/api/v1/tenants/{tenant}/devices/{device}/inventory/{section}", Tenant(Scope::DevicesRead) => devices::show_section;
    GET "/api/v1/tenants/{tenant}/devices/{device}/commands", Tenant(Scope::CommandsRead) => commands::of_device;
    GET "/api/v1/tenants/{tenant}/devices/{device}/timeline", Tenant(Scope::DevicesRead) => events::timeline;
    GET "/api/v1/tenants/{tenant}/devices/{device}/timeline/stream", Tenant(Scope::DevicesRead) => events::timeline_stream;
    GET "/api/v1/tenants/{tenant}/devices/{device}/posture", Tenant(Scope::DevicesRead) => posture::of_device;
    POST "/api/v1/tenants/{tenant}/devices/{device}/assess", Tenant(Scope::DevicesWrite) => posture::assess;
    GET "/api/v1/tenants/{tenant}/devices/{device}/declarations", Tenant(Scope::DevicesRead) => posture::declarations;
    GET "/api/v1/tenants/{tenant}/devices/{device}/explain", Tenant(Scope::DevicesRead) => posture::explain;
    GET "/api/v1/tenants/{tenant}/findings", Tenant(Scope::DevicesRead) => posture::findings;
    GET "/api/v1/tenants/{tenant}/events", Tenant(Scope::DevicesRead) => events::list;
    GET "/api/v1/tenants/{tenant}/events/stream", Tenant(Scope::DevicesRead) => events::stream;

    GET "/api/v1/tenants/{tenant}/groups", Tenant(Scope::DevicesRead) => groups::list;
    POST "/api/v1/tenants/{tenant}/groups", Tenant(Scope::DevicesWrite) => groups::create;
    GET "/api/v1/tenants/{tenant}/groups/{group}", Tenant(Scope::DevicesRead) => groups::show;
    DELETE "/api/v1/tenants/{tenant}/groups/{group}", Tenant(Scope::DevicesWrite) => groups::delete;
    POST "/api/v1/tenants/{tenant}/groups/{group}/add", Tenant(Scope::DevicesWrite) => groups::add;
    POST "/api/v1/tenants/{tenant}/groups/{group}/remove", Tenant(Scope::DevicesWrite) => groups::remove;

    GET "/api/v1/tenants/{tenant}/profiles", Tenant(Scope::ProfilesRead) => profiles::list;
    POST "/api/v1/tenants/{tenant}/profiles", Tenant(Scope::ProfilesWrite) => profiles::upload;
    GET "/api/v1/tenants/{tenant}/profiles/{profile}", Tenant(Scope::ProfilesRead) => profiles::show;
    DELETE "/api/v1/tenants/{tenant}/profiles/{profile}", Tenant(Scope::ProfilesWrite) => profiles::delete;
    POST "/api/v1/tenants/{tenant}/profiles/{profile}/assign", Tenant(Scope::ProfilesWrite) => profiles::assign;
    POST "/api/v1/tenants/{tenant}/profiles/{profile}/unassign", Tenant(Scope::ProfilesWrite) => profiles::unassign;
    POST "/api/v1/tenants/{tenant}/profiles/{profile}/retry", Tenant(Scope::ProfilesWrite) => profiles::retry;
    GET "/api/v1/tenants/{tenant}/profiles/{profile}/devices", Tenant(Scope::ProfilesRead) => profiles::states;
    GET "/api/v1/tenants/{tenant}/devices/{device}/profiles", Tenant(Scope::ProfilesRead) => profiles::of_device;

    GET "/api/v1/tenants/{tenant}/commands", Tenant(Scope::CommandsRead) => commands::list;
    POST "/api/v1/tenants/{tenant}/commands", Tenant(Scope::CommandsSend) => commands::create;
    GET "/api/v1/tenants/{tenant}/commands/{command}", Tenant(Scope::CommandsRead) => commands::show;
    GET "/api/v1/tenants/{tenant}/commands/{command}/deliveries", Tenant(Scope::CommandsRead) => commands::deliveries;
    GET "/api/v1/tenants/{tenant}/commands/{command}/deliveries/{enrollment}", Tenant(Scope::CommandsRead) => commands::delivery;
    POST "/api/v1/tenants/{tenant}/commands/{command}/approve", Tenant(Scope::CommandsApprove) => commands::approve;
    POST "/api/v1/tenants/{tenant}/commands/{command}/cancel", Tenant(Scope::CommandsSend) => commands::cancel;

    POST "/api/v1/tenants/{tenant}/push", Tenant(Scope::PushWrite) => push::ring_now;
    GET "/api/v1/tenants/{tenant}/push/certificates", Tenant(Scope::PushRead) => push::certificates;
    POST "/api/v1/tenants/{tenant}/push/certificates", Tenant(Scope::PushWrite) => push::import;
    POST "/api/v1/tenants/{tenant}/push/certificates/{topic}/resume", Tenant(Scope::PushWrite) => push::resume;

    GET "/api/v1/tenants/{tenant}/enrollment-links", Tenant(Scope::EnrollRead) => enroll::list_links;
    POST "/api/v1/tenants/{tenant}/enrollment-links", Tenant(Scope::EnrollWrite) => enroll::create;
    GET "/api/v1/tenants/{tenant}/enrollment-links/{link}", Tenant(Scope::EnrollRead) => enroll::show;
    POST "/api/v1/tenants/{tenant}/enrollment-links/{link}/revoke", Tenant(Scope::EnrollWrite) => enroll::revoke;
    GET "/api/v1/tenants/{tenant}/cas", Tenant(Scope::CaRead) => enroll::list_cas;
    POST "/api/v1/tenants/{tenant}/cas", Tenant(Scope::CaWrite) => enroll::add_ca;
    POST "/api/v1/tenants/{tenant}/cas/{ca}/retire", Tenant(Scope::CaWrite) => enroll::retire_ca;

    GET "/api/v1/plugins", Operator(Scope::PluginsRead) => plugins::list_installed;
    POST "/api/v1/plugins", Operator(Scope::PluginsWrite) => plugins::install;
    DELETE "/api/v1/plugins/{plugin}", Operator(Scope::PluginsWrite) => plugins::remove;
    POST "/api/v1/plugins/{plugin}/suspend", Operator(Scope::PluginsWrite) => plugins::suspend;
    POST "/api/v1/plugins/{plugin}/resume", Operator(Scope::PluginsWrite) => plugins::resume;
    GET "/api/v1/plugin-trust", Operator(Scope::PluginsRead) => plugins::trusted;
    GET "/api/v1/plugin-revocations", Operator(Scope::PluginsRead) => plugins::revocations;
    POST "/api/v1/plugin-revocations", Operator(Scope::PluginsWrite) => plugins::revoke;
    DELETE "/api/v1/plugin-revocations/{revocation}", Operator(Scope::PluginsWrite) => plugins::unrevoke;
    POST "/api/v1/plugins/{plugin}/approve", Operator(Scope::PluginsWrite) => plugins::approve;
    POST "/api/v1/plugins/{plugin}/rollback", Operator(Scope::PluginsWrite) => plugins::rollback;
    POST "/api/v1/plugins/{plugin}/decline", Operator(Scope::PluginsWrite) => plugins::decline;
    PUT "/api/v1/plugins/{plugin}/rights", Operator(Scope::PluginsWrite) => plugins::grant;
    PUT "/api/v1/plugins/{plugin}/order", Operator(Scope::PluginsWrite) => plugins::order;
    PUT "/api/v1/plugins/{plugin}/trial", Operator(Scope::PluginsWrite) => trials::put;
    GET "/api/v1/plugins/{plugin}/trial", Operator(Scope::PluginsRead) => trials::show;
    DELETE "/api/v1/plugins/{plugin}/trial", Operator(Scope::PluginsWrite) => trials::withdraw;
    POST "/api/v1/plugins/{plugin}/trial/promote", Operator(Scope::PluginsWrite) => trials::promote;
    GET "/api/v1/tenants/{tenant}/plugins/{plugin}/trial", Tenant(Scope::PluginsRead) => trials::show_here;
    GET "/api/v1/tenants/{tenant}/plugins", Tenant(Scope::PluginsRead) => plugins::list;
    PUT "/api/v1/tenants/{tenant}/plugins/{plugin}", Tenant(Scope::PluginsWrite) => plugins::enable;
    DELETE "/api/v1/tenants/{tenant}/plugins/{plugin}", Tenant(Scope::PluginsWrite) => plugins::disable;

    GET "/api/v1/tenants/{tenant}/plugins/{plugin}/secrets", Tenant(Scope::PluginsRead) => plugin_work::secrets;
    PUT "/api/v1/tenants/{tenant}/plugins/{plugin}/secrets/{secret}", Tenant(Scope::PluginsWrite) => plugin_work::set_secret;
    DELETE "/api/v1/tenants/{tenant}/plugins/{plugin}/secrets/{secret}", Tenant(Scope::PluginsWrite) => plugin_work::forget_secret;
    POST "/api/v1/tenants/{tenant}/plugins/{plugin}/rehearse", Tenant(Scope::PluginsWrite) => plugin_work::rehearse;
    GET "/api/v1/tenants/{tenant}/plugins/{plugin}/panels", Tenant(Scope::PluginsRead) => plugin_work::panels;
    GET "/api/v1/tenants/{tenant}/plugins/{plugin}/panels/{panel}", Tenant(Scope::PluginsRead) => plugin_work::panel;
    GET "/api/v1/tenants/{tenant}/plugin-jobs", Tenant(Scope::PluginsRead) => plugin_work::jobs;
    GET "/api/v1/tenants/{tenant}/notices", Tenant(Scope::PluginsRead) => plugin_work::notices;

    GET "/api/v1/audit", Operator(Scope::AuditRead) => audit::list_operator;
    GET "/api/v1/audit/verify", Operator(Scope::AuditRead) => audit::verify_operator;
    GET "/api/v1/tenants/{tenant}/audit", Tenant(Scope::AuditRead) => audit::list;
    GET "/api/v1/tenants/{tenant}/audit/verify", Tenant(Scope::AuditRead) => audit::verify;
}
