//! `/api/v1/tenants/{tenant}/…/findings`, `…/posture`, `…/declarations`: what plugins find out about devices.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::AdminState;
use super::extract::{Asked, DeviceName, InTenant};
use super::reply::{List, Reply, list as page};
use crate::admin::PageRequest;
use crate::admin::posture::{
    self, ContributedDeclaration, Explanation, FindingQuery, FindingView, Posture,
};

/// Shows what the rules of plugins say of a device, and when each plugin was last asked.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices/{device}/posture", tag = "Posture",
    responses((status = 200, body = Posture)))]
pub(crate) async fn of_device(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
) -> Reply<Posture> {
    Ok(Json(
        posture::posture(state.store(), call.tenant, &device).await?,
    ))
}

/// Asks every plugin about a device now, and shows what they say.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/devices/{device}/assess", tag = "Posture",
    responses((status = 200, body = Posture)))]
pub(crate) async fn assess(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
) -> Reply<Posture> {
    Ok(Json(
        posture::assess(&state.engine, call.tenant, &device).await?,
    ))
}

/// Shows the declarations that plugins have for a device. They are kept and shown; they are not sent yet.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices/{device}/declarations", tag = "Posture",
    responses((status = 200, body = List<ContributedDeclaration>)))]
pub(crate) async fn declarations(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
) -> Reply<List<ContributedDeclaration>> {
    Ok(Json(List::whole(
        posture::declarations(state.store(), call.tenant, &device).await?,
    )))
}

/// Whose answer is to be explained.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// The plugin.
    plugin: String,
    /// `compliance` or `declarations`; `compliance` when absent.
    hook: Option<String>,
}

/// Asks a plugin again what it was asked last about a device, with the device and the time of then, and says whether the
/// answer is the same. Nothing is kept.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/devices/{device}/explain", tag = "Posture",
    params(Which), responses((status = 200, body = Explanation)))]
pub(crate) async fn explain(
    State(state): State<AdminState>,
    call: InTenant,
    DeviceName(device): DeviceName,
    Asked(which): Asked<Which>,
) -> Reply<Explanation> {
    let hook = which.hook.as_deref().unwrap_or("compliance");
    let (engine, tenant) = (&state.engine, call.tenant);
    Ok(Json(
        posture::explain(engine, tenant, &device, &which.plugin, hook).await?,
    ))
}

/// Which findings.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FindingFilter {
    /// `pass`, `fail`, `unknown` or `not-applicable`.
    verdict: Option<String>,
    /// Of this plugin.
    plugin: Option<String>,
    /// Of this rule.
    rule: Option<String>,
    /// The most entries, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    /// `next_cursor` of the stretch before.
    cursor: Option<String>,
}

/// Lists findings by device, plugin and rule.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/findings", tag = "Posture", params(FindingFilter),
    responses((status = 200, body = List<FindingView>)))]
pub(crate) async fn findings(
    State(state): State<AdminState>,
    call: InTenant,
    Asked(filter): Asked<FindingFilter>,
) -> Reply<List<FindingView>> {
    let query = FindingQuery {
        verdict: filter.verdict,
        plugin: filter.plugin,
        rule: filter.rule,
    };
    let paging = PageRequest {
        limit: filter.limit,
        cursor: filter.cursor,
    };
    Ok(page(
        posture::findings(state.store(), call.tenant, &query, &paging).await?,
    ))
}
