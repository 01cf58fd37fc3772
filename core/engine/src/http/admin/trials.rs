//! `/api/v1/plugins/{plugin}/trial` for the operator, `/api/v1/tenants/{tenant}/plugins/{plugin}/trial` for a tenant to look at.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Anywhere, Asked, InTenant, PluginName};
use super::plugins::arrived;
use super::reply::Reply;
use crate::admin::plugins::InstalledPlugin;
use crate::admin::trials::{self, TrialReport};
use crate::error::Error;
use crate::store::plugin_trials::TrialMode;

/// How a version is tried.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Manner {
    /// `shadow` or `canary`.
    mode: String,
    /// A canary decides about so many of a hundred devices, 1 to 99.
    share: Option<u8>,
    /// A canary decides about the devices of the groups of this name.
    group: Option<String>,
    /// The reference in a registry that the package was fetched by. It is noted; nothing is fetched.
    source: Option<String>,
}

impl Manner {
    fn mode(&self) -> Result<TrialMode, Error> {
        let invalid = |what: &str| Err(Error::Invalid(what.into()));
        match (self.mode.as_str(), self.share, &self.group) {
            ("shadow", None, None) => Ok(TrialMode::Shadow),
            ("shadow", ..) => {
                invalid("mode: in shadow nothing is decided; leave out share and group")
            }
            ("canary", Some(share @ 1..=99), None) => Ok(TrialMode::Share(share)),
            ("canary", Some(_), None) => {
                invalid("share: 1 to 99 of a hundred devices; for all of them promote the version")
            }
            ("canary", None, Some(group)) if !group.is_empty() => {
                Ok(TrialMode::Group(group.clone()))
            }
            ("canary", ..) => invalid("mode: a canary has either a share or a group"),
            _ => invalid("mode: write shadow or canary"),
        }
    }
}

/// Puts a version on trial beside the active one, or, without a body, changes how it is tried. In shadow both are asked, the
/// active one's answers count, and the differences are noted; a canary decides about some devices. It is read, compiled and started
/// once before that, and refused when it asks for rights that the active version has not.
#[utoipa::path(put, path = "/api/v1/plugins/{plugin}/trial", tag = "Plugins", params(Manner),
    request_body(content_type = "application/octet-stream", description = "A package, as `pomona plugin build` makes it; 40 MiB at most. Empty: the one on trial stays."),
    responses((status = 200, body = InstalledPlugin)))]
pub(crate) async fn put(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    PluginName(plugin): PluginName,
    Asked(manner): Asked<Manner>,
    body: Body,
) -> Reply<InstalledPlugin> {
    let mode = manner.mode()?;
    let package = arrived(body).await?;
    let (engine, source) = (&state.engine, manner.source);
    Ok(Json(
        trials::put(engine, &caller, &plugin, mode, package, source).await?,
    ))
}

/// What comparing the two versions has shown, in all tenants.
#[utoipa::path(get, path = "/api/v1/plugins/{plugin}/trial", tag = "Plugins",
    responses((status = 200, body = TrialReport)))]
pub(crate) async fn show(
    State(state): State<AdminState>,
    PluginName(plugin): PluginName,
) -> Reply<TrialReport> {
    Ok(Json(trials::report(&state.engine, &plugin, None).await?))
}

/// Puts the version on trial in force, as if it were installed; the trial ends.
#[utoipa::path(post, path = "/api/v1/plugins/{plugin}/trial/promote", tag = "Plugins",
    responses((status = 200, body = InstalledPlugin)))]
pub(crate) async fn promote(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    PluginName(plugin): PluginName,
) -> Reply<InstalledPlugin> {
    Ok(Json(
        trials::promote(&state.engine, &caller, &plugin).await?,
    ))
}

/// Ends a trial; the active version goes on alone.
#[utoipa::path(delete, path = "/api/v1/plugins/{plugin}/trial", tag = "Plugins",
    responses((status = 204)))]
pub(crate) async fn withdraw(
    State(state): State<AdminState>,
    Anywhere(caller): Anywhere,
    PluginName(plugin): PluginName,
) -> Result<StatusCode, Problem> {
    trials::withdraw(&state.engine, &caller, &plugin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What comparing the two versions has shown in this tenant.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/plugins/{plugin}/trial", tag = "Plugins",
    responses((status = 200, body = TrialReport)))]
pub(crate) async fn show_here(
    State(state): State<AdminState>,
    call: InTenant,
    PluginName(plugin): PluginName,
) -> Reply<TrialReport> {
    let (engine, tenant) = (&state.engine, Some(call.tenant));
    Ok(Json(trials::report(engine, &plugin, tenant).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manner_is_understood_or_refused_with_what_to_write() {
        let cases = [
            ("shadow", None, None, Ok(TrialMode::Shadow)),
            ("canary", Some(1), None, Ok(TrialMode::Share(1))),
            ("canary", Some(99), None, Ok(TrialMode::Share(99))),
            ("canary", None, Some("g"), Ok(TrialMode::Group("g".into()))),
            ("shadow", Some(1), None, Err("leave out")),
            ("shadow", None, Some("g"), Err("leave out")),
            ("canary", Some(0), None, Err("1 to 99")),
            ("canary", Some(100), None, Err("promote the version")),
            ("canary", None, None, Err("either a share or a group")),
            ("canary", None, Some(""), Err("either a share or a group")),
            (
                "canary",
                Some(5),
                Some("g"),
                Err("either a share or a group"),
            ),
            ("active", None, None, Err("shadow or canary")),
        ];
        for (mode, share, group, expected) in cases {
            let manner = Manner {
                mode: mode.into(),
                share,
                group: group.map(Into::into),
                source: None,
            };
            match (manner.mode(), expected) {
                (Ok(mode), Ok(expected)) => assert_eq!(mode, expected),
                (Err(told), Err(part)) => assert!(told.to_string().contains(part), "{told}"),
                (told, expected) => panic!("{mode} {share:?} {group:?}: {told:?}, {expected:?}"),
            }
        }
    }
}
