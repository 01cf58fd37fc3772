//! `/api/v1/plugins` for the operator, `/api/v1/tenants/{tenant}/plugins` for a tenant.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Anywhere, Asked, InTenant, PluginName, RevocationName};
use super::json::JsonBody;
use super::reply::{List, Reply};
use crate::admin::plugin_order::{self, PluginOrder};
use crate::admin::plugin_switches::{self, TenantPlugin};
use crate::admin::plugin_versions;
use crate::admin::plugins::{self, InstalledPlugin};
use crate::admin::trust::{self, NewRevocation, Revocation, TrustPolicy};
use crate::error::Error;

/// The largest package, in bytes.
const LARGEST: usize = 40 << 20;

/// Lists the installed plugins.
#[utoipa::path(get, path = "/api/v1/plugins", tag = "Plugins",
    responses((status = 200, body = List<InstalledPlugin>)))]
pub(crate) async fn list_installed(
    State(state): State<AdminState>,
) -> Reply<List<InstalledPlugin>> {
    Ok(Json(List::whole(plugins::installed(&state.engine).await?)))
}

/// Where a package came from.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Origin {
    /// The reference in a registry that the package was fetched by. It is noted; nothing is fetched.
    source: Option<String>,
}

/// Installs a package, or puts it in the place of another version of the same plugin. It is read, compiled and started
/// once before that; what is running goes on when it is refused, and when it asks for more than the version before was
/// granted: then it is shown as `waiting` until it is approved.
#[utoipa::path(post, path = "/api/v1/plugins", tag = "Plugins", params(Origin),
    request_body(content_type = "application/octet-stream", description = "A package, as `pomona plugin build` makes it; 40 MiB at most."),
    responses((status = 201, body = InstalledPlugin)))]
pub(crate) async fn install(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    Asked(origin): Asked<Origin>,
    body: Body,
) -> Result<(StatusCode, Json<InstalledPlugin>), Problem> {
    let package = arrived(body).await?;
    let installed = plugins::install(&state.engine, &caller, package, origin.source).await?;
    Ok((StatusCode::CREATED, Json(installed)))
}

/// A package that was sent.
pub(super) async fn arrived(body: Body) -> Result<Vec<u8>, Error> {
    let package = Limited::new(body, LARGEST).collect().await.map_err(|_| {
        Error::Invalid(format!(
            "the package did not arrive whole; at most {LARGEST} bytes are taken"
        ))
    })?;
    Ok(package.to_bytes().to_vec())
}

/// Takes a plugin out, with every tenant's settings of it.
#[utoipa::path(delete, path = "/api/v1/plugins/{plugin}", tag = "Plugins",
    responses((status = 204)))]
pub(crate) async fn remove(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    PluginName(plugin): PluginName,
) -> Result<StatusCode, Problem> {
    plugins::remove(&state.engine, &caller, &plugin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts the version that waits in force, with everything that it asks for.
#[utoipa::path(post, path = "/api/v1/plugins/{plugin}/approve", tag = "Plugins",
    responses((status = 200, body = InstalledPlugin)))]
pub(crate) async fn approve(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    PluginName(plugin): PluginName,
) -> Reply<InstalledPlugin> {
    Ok(Json(
        plugins::approve(&state.engine, &caller, &plugin).await?,
    ))
}

/// Puts the version before the one in force again, with the rights and the settings that it had; the one in force is then
/// shown as `previous`. Refused when that version may not run here any more, when its values are gone, and when it does not
/// take settings that a tenant has changed since.
#[utoipa::path(post, path = "/api/v1/plugins/{plugin}/rollback", tag = "Plugins",
    responses((status = 200, body = InstalledPlugin)))]
pub(crate) async fn rollback(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    PluginName(plugin): PluginName,
) -> Reply<InstalledPlugin> {
    let back = plugin_versions::rollback(&state.engine, &caller, &plugin).await?;
    Ok(Json(back))
}

/// Sends away the version that waits.
#[utoipa::path(post, path = "/api/v1/plugins/{plugin}/decline", tag = "Plugins",
    responses((status = 204)))]
pub(crate) async fn decline(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    PluginName(plugin): PluginName,
) -> Result<StatusCode, Problem> {
    plugins::decline(&state.engine, &caller, &plugin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a plugin is granted.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    /// In the form of a manifest's `capabilities`.
    #[schema(value_type = Object)]
    rights: Value,
}

/// Sets what the operator grants a plugin: what its manifest asks for counts as far as it stands here.
#[utoipa::path(put, path = "/api/v1/plugins/{plugin}/rights", tag = "Plugins",
    request_body = Grant, responses((status = 200, body = InstalledPlugin)))]
pub(crate) async fn grant(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    PluginName(plugin): PluginName,
    JsonBody(grant): JsonBody<Grant>,
) -> Reply<InstalledPlugin> {
    let (engine, rights) = (&state.engine, &grant.rights);
    Ok(Json(
        plugins::grant(engine, &caller, &plugin, rights).await?,
    ))
}

/// Sets when a plugin is asked, among those of its tenant. Where two change the same key of a command, the one that is asked
/// later holds.
#[utoipa::path(put, path = "/api/v1/plugins/{plugin}/order", tag = "Plugins",
    request_body = PluginOrder, responses((status = 200, body = InstalledPlugin)))]
pub(crate) async fn order(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    PluginName(plugin): PluginName,
    JsonBody(order): JsonBody<PluginOrder>,
) -> Reply<InstalledPlugin> {
    Ok(Json(
        plugin_order::set(&state.engine, &caller, &plugin, order).await?,
    ))
}

/// How many plugins a request changed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ChangedPlugins {
    /// Plugins that are as was asked now.
    plugins: u64,
}

/// Stops a plugin in every tenant; `*` means all of them. Needs no plugin to be loaded.
#[utoipa::path(post, path = "/api/v1/plugins/{plugin}/suspend", tag = "Plugins",
    responses((status = 200, body = ChangedPlugins)))]
pub(crate) async fn suspend(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    PluginName(plugin): PluginName,
) -> Reply<ChangedPlugins> {
    let plugins = plugins::suspend(&state.engine, &caller, meant(&plugin), true).await?;
    Ok(Json(ChangedPlugins { plugins }))
}

/// Lets a suspended plugin go on; `*` means all of them.
#[utoipa::path(post, path = "/api/v1/plugins/{plugin}/resume", tag = "Plugins",
    responses((status = 200, body = ChangedPlugins)))]
pub(crate) async fn resume(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    PluginName(plugin): PluginName,
) -> Reply<ChangedPlugins> {
    let plugins = plugins::suspend(&state.engine, &caller, meant(&plugin), false).await?;
    Ok(Json(ChangedPlugins { plugins }))
}

fn meant(name: &str) -> Option<&str> {
    (name != "*").then_some(name)
}

/// Says whose packages are taken here.
#[utoipa::path(get, path = "/api/v1/plugin-trust", tag = "Plugins",
    responses((status = 200, body = TrustPolicy)))]
pub(crate) async fn trusted(State(state): State<AdminState>) -> Reply<TrustPolicy> {
    Ok(Json(trust::policy(&state.engine)?))
}

/// Lists what is revoked, the latest first.
#[utoipa::path(get, path = "/api/v1/plugin-revocations", tag = "Plugins",
    responses((status = 200, body = List<Revocation>)))]
pub(crate) async fn revocations(State(state): State<AdminState>) -> Reply<List<Revocation>> {
    Ok(Json(List::whole(trust::list(&state.engine).await?)))
}

/// Revokes a package by its digest, or everything that a key has signed. Such a plugin cannot be installed; where it is
/// switched on it fails, and the failure policies of its hooks hold. Other nodes follow within ten seconds.
#[utoipa::path(post, path = "/api/v1/plugin-revocations", tag = "Plugins",
    request_body = NewRevocation, responses((status = 201, body = Revocation)))]
pub(crate) async fn revoke(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    JsonBody(wanted): JsonBody<NewRevocation>,
) -> Result<(StatusCode, Json<Revocation>), Problem> {
    let revoked = trust::revoke(&state.engine, &caller, wanted).await?;
    Ok((StatusCode::CREATED, Json(revoked)))
}

/// Takes a revocation back; it is named `digest:…` or `key:…`.
#[utoipa::path(delete, path = "/api/v1/plugin-revocations/{revocation}", tag = "Plugins",
    responses((status = 204)))]
pub(crate) async fn unrevoke(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    RevocationName(revocation): RevocationName,
) -> Result<StatusCode, Problem> {
    trust::unrevoke(&state.engine, &caller, &revocation).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the installed plugins, whether they are switched on here, and how they are doing.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/plugins", tag = "Plugins",
    responses((status = 200, body = List<TenantPlugin>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    call: InTenant,
) -> Reply<List<TenantPlugin>> {
    let all = plugin_switches::of_tenant(&state.engine, call.tenant).await?;
    Ok(Json(List::whole(all)))
}

/// How a plugin is to work here.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switch {
    /// Its settings, as its schema describes them. Absent: those that stand, and none at first.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    settings: Option<Value>,
    /// What it may do here, in the form of a manifest's `capabilities`; null: all that the operator grants. Absent: what stands, and all
    /// at first.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    rights: Option<Option<Value>>,
}

/// A member that is there, be it null.
fn given<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<Value>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Switches a plugin on, or changes its settings or rights.
#[utoipa::path(put, path = "/api/v1/tenants/{tenant}/plugins/{plugin}", tag = "Plugins",
    request_body = Switch, responses((status = 200, body = TenantPlugin)))]
pub(crate) async fn enable(
    State(state): State<AdminState>,
    call: InTenant,
    PluginName(plugin): PluginName,
    JsonBody(switch): JsonBody<Switch>,
) -> Reply<TenantPlugin> {
    let (engine, caller) = (&state.engine, &call.caller);
    let settings = switch.settings.as_ref();
    let rights = switch.rights.as_ref().map(Option::as_ref);
    let enabled =
        plugin_switches::enable(engine, caller, call.tenant, &plugin, settings, rights).await?;
    Ok(Json(enabled))
}

/// Switches a plugin off. Its settings here are forgotten.
#[utoipa::path(delete, path = "/api/v1/tenants/{tenant}/plugins/{plugin}", tag = "Plugins",
    responses((status = 204)))]
pub(crate) async fn disable(
    State(state): State<AdminState>,
    call: InTenant,
    PluginName(plugin): PluginName,
) -> Result<StatusCode, Problem> {
    plugin_switches::disable(&state.engine, &call.caller, call.tenant, &plugin).await?;
    Ok(StatusCode::NO_CONTENT)
}
