//! `/api/v1/tenants/{tenant}/…`: what plugins do by themselves: jobs, notices, secrets, rehearsals.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Asked, InTenant, PanelName, PluginName, SecretName};
use super::json::JsonBody;
use super::reply::{List, Reply};
use crate::admin::plugin_work::{self, JobView, Notice, Rehearsal, SecretView};
use crate::engine::Difference;
use crate::error::Error;
use crate::hooks::PanelInfo;

/// Lists the jobs of plugins and how they are going.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/plugin-jobs", tag = "Plugins",
    responses((status = 200, body = List<JobView>)))]
pub(crate) async fn jobs(State(state): State<AdminState>, call: InTenant) -> Reply<List<JobView>> {
    let all = plugin_work::jobs(state.store(), call.tenant).await?;
    Ok(Json(List::whole(all)))
}

/// Lists what plugins have told the administrators, the newest first; the last thousand are kept.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/notices", tag = "Plugins",
    responses((status = 200, body = List<Notice>)))]
pub(crate) async fn notices(
    State(state): State<AdminState>,
    call: InTenant,
) -> Reply<List<Notice>> {
    let all = plugin_work::notices(state.store(), call.tenant).await?;
    Ok(Json(List::whole(all)))
}

/// Lists the secrets that are set for a plugin, without their values.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/plugins/{plugin}/secrets", tag = "Plugins",
    responses((status = 200, body = List<SecretView>)))]
pub(crate) async fn secrets(
    State(state): State<AdminState>,
    call: InTenant,
    PluginName(plugin): PluginName,
) -> Reply<List<SecretView>> {
    let all = plugin_work::secrets(state.store(), call.tenant, &plugin).await?;
    Ok(Json(List::whole(all)))
}

/// A secret to set.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSecret {
    /// The one host that it may be sent to, over https, such as `api.example.org`.
    host: String,
    /// What is secret.
    #[schema(format = Password)]
    value: String,
}

/// Sets a secret of a plugin. It is stored sealed and never shown again.
#[utoipa::path(put, path = "/api/v1/tenants/{tenant}/plugins/{plugin}/secrets/{secret}", tag = "Plugins",
    request_body = NewSecret, responses((status = 204)))]
pub(crate) async fn set_secret(
    State(state): State<AdminState>,
    call: InTenant,
    PluginName(plugin): PluginName,
    SecretName(secret): SecretName,
    JsonBody(new): JsonBody<NewSecret>,
) -> Result<StatusCode, Problem> {
    let which = (call.tenant, plugin.as_str(), secret.as_str());
    plugin_work::set_secret(&state.engine, &call.caller, which, &new.host, &new.value).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a secret away.
#[utoipa::path(delete, path = "/api/v1/tenants/{tenant}/plugins/{plugin}/secrets/{secret}", tag = "Plugins",
    responses((status = 204)))]
pub(crate) async fn forget_secret(
    State(state): State<AdminState>,
    call: InTenant,
    PluginName(plugin): PluginName,
    SecretName(secret): SecretName,
) -> Result<StatusCode, Problem> {
    let which = (call.tenant, plugin.as_str(), secret.as_str());
    plugin_work::forget_secret(state.store(), &call.caller, which).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is to be rehearsed: the newest events of a device, or a step of a job.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The device whose newest events the plugin is to hear, by id, UDID or serial number.
    device: Option<String>,
    /// How many events, 1 to 64; 16 when absent.
    events: Option<u64>,
    /// The job.
    job: Option<String>,
    /// Where the job's step begins.
    cursor: Option<String>,
}

/// Runs a plugin without carrying anything out, and shows what would have changed.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/plugins/{plugin}/rehearse", tag = "Plugins",
    request_body = Wanted, responses((status = 200, body = List<Difference>)))]
pub(crate) async fn rehearse(
    State(state): State<AdminState>,
    call: InTenant,
    PluginName(plugin): PluginName,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Reply<List<Difference>> {
    let wanted = match (wanted.device, wanted.job) {
        (Some(device), None) => Rehearsal::Events {
            device,
            events: wanted.events.unwrap_or(16),
        },
        (None, Some(job)) => Rehearsal::Job {
            job,
            cursor: wanted.cursor,
        },
        _ => {
            return Err(Error::Invalid(
                "name a device, whose events are heard again, or a job".into(),
            )
            .into());
        }
    };
    let all = plugin_work::rehearse(&state.engine, call.tenant, &plugin, wanted).await?;
    Ok(Json(List::whole(all)))
}

/// Lists the panels of a plugin.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/plugins/{plugin}/panels", tag = "Plugins",
    responses((status = 200, body = List<PanelInfo>)))]
pub(crate) async fn panels(
    State(state): State<AdminState>,
    call: InTenant,
    PluginName(plugin): PluginName,
) -> Reply<List<PanelInfo>> {
    let all = state.engine.panels(call.tenant, &plugin)?;
    Ok(Json(List::whole(all)))
}

/// What a panel is to show.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Shown {
    /// A JSON object; what is in it is for the plugin to say. None is the same as an empty one.
    parameters: Option<String>,
}

/// A panel as the plugin describes it: tables, forms and badges as JSON.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Panel {
    /// What is shown.
    #[schema(value_type = Object)]
    content: Value,
}

/// Shows a panel of a plugin.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/plugins/{plugin}/panels/{panel}", tag = "Plugins",
    params(Shown), responses((status = 200, body = Panel)))]
pub(crate) async fn panel(
    State(state): State<AdminState>,
    call: InTenant,
    PluginName(plugin): PluginName,
    PanelName(panel): PanelName,
    Asked(shown): Asked<Shown>,
) -> Reply<Panel> {
    let parameters: Map<String, Value> = match &shown.parameters {
        None => Map::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|_| Error::Invalid("parameters is a JSON object".into()))?,
    };
    let parameters = Value::Object(parameters);
    let (engine, tenant) = (&state.engine, call.tenant);
    let content = engine.panel(tenant, &plugin, &panel, &parameters).await?;
    Ok(Json(Panel { content }))
}
