//! The description of the admin API (OpenAPI 3.1).
//!
//! Owns: what is the same for every operation: the bearer token, the tenant in the path, the form of a problem, and the
//! permission, which is taken from the table of routes. The rest is read off the handlers.

use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, ObjectBuilder, Ref, Required, ResponseBuilder, Type};
use utoipa::{Modify, OpenApi};

use super::super::error::Problem;
use super::route::{Access, table};
use super::{
    audit, catalogue, commands, devices, enroll, events, groups, me, plugin_work, plugins, posture,
    principals, profiles, push, tenants, tokens, trials,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Pomona admin API",
        version = "1",
        description = "Manages Apple devices. Times are RFC 3339 in UTC. Lists come in stretches: ask again with `next_cursor`. Unknown fields and parameters are refused.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        me::show,
        catalogue::show,
        catalogue::diff,
        catalogue::matrix,
        tenants::list,
        tenants::create,
        tenants::show,
        principals::list_operator,
        principals::create_operator,
        principals::disable_operator,
        principals::list,
        principals::create,
        principals::show,
        principals::disable,
        tokens::list_operator,
        tokens::create_operator,
        tokens::revoke_operator,
        tokens::list,
        tokens::create,
        tokens::revoke,
        devices::list,
        devices::show,
        devices::release,
        devices::refuse,
        devices::remove,
        devices::renew,
        devices::list_facts,
        devices::list_sections,
        devices::show_section,
        devices::set_fact,
        devices::delete_fact,
        commands::of_device,
        posture::of_device,
        posture::assess,
        posture::declarations,
        posture::explain,
        posture::findings,
        events::timeline,
        events::timeline_stream,
        events::list,
        events::stream,
        plugins::list_installed,
        plugins::install,
        plugins::remove,
        plugins::suspend,
        plugins::resume,
        plugins::trusted,
        plugins::revocations,
        plugins::revoke,
        plugins::unrevoke,
        plugins::approve,
        plugins::rollback,
        plugins::decline,
        plugins::grant,
        plugins::order,
        trials::put,
        trials::show,
        trials::promote,
        trials::withdraw,
        trials::show_here,
        plugin_work::secrets,
        plugin_work::set_secret,
        plugin_work::forget_secret,
        plugin_work::rehearse,
        plugin_work::jobs,
        plugin_work::notices,
        plugin_work::panels,
        plugin_work::panel,
        plugins::list,
        plugins::enable,
        plugins::disable,
        groups::list,
        groups::create,
        groups::show,
        groups::delete,
        groups::add,
        groups::remove,
        profiles::list,
        profiles::upload,
        profiles::show,
        profiles::delete,
        profiles::assign,
        profiles::unassign,
        profiles::retry,
        profiles::states,
        profiles::of_device,
        commands::list,
        commands::create,
        commands::show,
        commands::deliveries,
        commands::delivery,
        commands::approve,
        commands::cancel,
        push::ring_now,
        push::certificates,
        push::import,
        push::resume,
        enroll::list_links,
        enroll::create,
        enroll::show,
        enroll::revoke,
        enroll::list_cas,
        enroll::add_ca,
        enroll::retire_ca,
        audit::list_operator,
        audit::verify_operator,
        audit::list,
        audit::verify,
    ),
    components(schemas(Problem)),
    modifiers(&Common)
)]
struct Api;

/// The description as JSON text, with a line end.
pub fn openapi_json() -> String {
    let mut text = Api::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        if let Some(components) = &mut api.components {
            components.add_security_scheme(
                "token",
                SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
            );
        }
        api.security = Some(vec![SecurityRequirement::new(
            "token",
            Vec::<String>::new(),
        )]);
        let accesses: Vec<(String, &'static str, Access)> = table()
            .iter()
            .map(|route| (route.method.to_string(), route.path, route.access))
            .collect();
        for (path, item) in &mut api.paths.paths {
            let operations = [
                ("GET", &mut item.get),
                ("POST", &mut item.post),
                ("PUT", &mut item.put),
                ("PATCH", &mut item.patch),
                ("DELETE", &mut item.delete),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    let access = accesses
                        .iter()
                        .find(|(m, p, _)| m == method && p == path)
                        .map(|(_, _, access)| *access);
                    operation.operation_id = Some(operation_id(method, path));
                    complete(path, operation, access);
                }
            }
        }
    }
}

/// A name that no other operation has, such as `get_tenants_tenant_devices`.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.trim_start_matches("/api/v1/");
    let words: String = path
        .chars()
        .filter(|c| !matches!(c, '{' | '}'))
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!("{}_{words}", method.to_ascii_lowercase())
}

fn complete(path: &str, operation: &mut Operation, access: Option<Access>) {
    let parameters = operation.parameters.get_or_insert_default();
    for name in path.split('/').filter_map(|part| {
        part.strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'))
    }) {
        let description = match name {
            "tenant" => "The tenant's slug or id.",
            "device" => "The device's id, UDID or serial number.",
            "command" => "The command's id or CommandUUID.",
            "group" => "The group's id or name.",
            "enrollment" => "The channel's id.",
            "fact" => "The fact's name.",
            "topic" => "The push topic.",
            _ => "The id.",
        };
        parameters.push(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some(description))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .build()
                .into(),
        );
    }
    let problem = ResponseBuilder::new()
        .description("A problem, as RFC 9457 has it")
        .content(
            "application/problem+json",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .build(),
        )
        .build();
    operation
        .responses
        .responses
        .insert("default".into(), problem.into());
    let needs = match access {
        None => return,
        Some(Access::AnyToken) => "Any good token.".to_owned(),
        Some(Access::Scope(scope) | Access::Tenant(scope)) => {
            format!("Needs the scope `{}`.", scope.as_str())
        }
        Some(Access::Operator(scope)) => format!(
            "Needs the scope `{}` and a token that is bound to no tenant.",
            scope.as_str()
        ),
    };
    operation.description = Some(match operation.description.take() {
        Some(text) => format!("{text}\n\n{needs}"),
        None => needs,
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_and_the_table_name_the_same_routes() {
        let api = Api::openapi();
        let mut described = BTreeSet::new();
        for (path, item) in &api.paths.paths {
            for (method, operation) in [
                ("GET", &item.get),
                ("POST", &item.post),
                ("PUT", &item.put),
                ("PATCH", &item.patch),
                ("DELETE", &item.delete),
            ] {
                if operation.is_some() {
                    described.insert(format!("{method} {path}"));
                }
            }
        }
        let declared: BTreeSet<String> = table()
            .iter()
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        assert_eq!(described, declared);
    }
}
