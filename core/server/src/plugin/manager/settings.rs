//! Settings before code: against the schema of a package, past the plugin's own look, and from one version to another.
//!
//! Owns: those looks. Whose settings they are and what is kept of them is not its business.

use jsonschema::Validator;
use pomona_plugin_host::{Package, Plugin};
use serde_json::Value;

use super::Manager;

/// Problems that are told of one tenant's settings, at most.
const TOLD: usize = 20;

/// The schema of a package's settings, if it has one and it is one.
pub(crate) fn schema_of(package: &Package) -> Result<Option<Validator>, String> {
    let wrong = |why: &str| format!("the plugin's settings.schema.json is no schema: {why}");
    let Some(schema) = &package.schema else {
        return Ok(None);
    };
    if !schema.is_object() && !schema.is_boolean() {
        return Err(wrong(
            "it must be an object, such as {\"type\": \"object\"}",
        ));
    }
    jsonschema::validator_for(schema)
        .map(Some)
        .map_err(|error| wrong(&error.to_string()))
}

/// What is wrong with settings by the schema of a package.
pub(super) fn against_schema(package: &Package, settings: &Value) -> Result<Vec<String>, String> {
    let Some(validator) = schema_of(package)? else {
        return Ok(Vec::new());
    };
    Ok(validator
        .iter_errors(settings)
        .take(TOLD)
        .map(|error| format!("settings{}: {error}", error.instance_path()))
        .collect())
}

/// What the plugin itself finds so wrong with settings that they cannot be used.
pub(super) async fn remarks(plugin: &Plugin, settings: &Value) -> Result<Vec<String>, String> {
    let remarks = plugin
        .check_settings(&settings.to_string())
        .await
        .map_err(|error| format!("the plugin could not look at its settings: {error}"))?;
    Ok(remarks
        .into_iter()
        .filter(|remark| remark.fatal)
        .map(|remark| format!("settings{}: {}", remark.path, remark.message))
        .collect())
}

impl Manager {
    /// Brings settings to a package: over its migration when they are of the version `from`, and past its schema and its own look.
    /// Ends with the first that cannot be used.
    pub(super) async fn carry(
        &self,
        package: &[u8],
        from: Option<&str>,
        settings: &[Value],
    ) -> Result<Vec<Result<Value, String>>, String> {
        if settings.is_empty() {
            return Ok(Vec::new());
        }
        let package = Package::read(package).map_err(|error| error.to_string())?;
        let plugin = self
            .start_once(&package, &package.manifest.capabilities)
            .await
            .map_err(|error| format!("the plugin cannot be run here: {error}"))?;
        let mut all = Vec::with_capacity(settings.len());
        for settings in settings {
            let carried = carried(&package, &plugin, from, settings).await;
            let refused = carried.is_err();
            all.push(carried);
            if refused {
                break;
            }
        }
        Ok(all)
    }
}

async fn carried(
    package: &Package,
    plugin: &Plugin,
    from: Option<&str>,
    settings: &Value,
) -> Result<Value, String> {
    let settings = match from {
        None => settings.clone(),
        Some(from) => {
            let text = plugin
                .migrate_settings(from, &settings.to_string())
                .await
                .map_err(|error| format!("the plugin could not migrate them: {error}"))?
                .map_err(|why| format!("the plugin does not migrate them: {why}"))?;
            serde_json::from_str(&text)
                .map_err(|error| format!("what the plugin made of them is no JSON: {error}"))?
        }
    };
    let mut problems = against_schema(package, &settings)?;
    if problems.is_empty() {
        problems = remarks(plugin, &settings).await?;
    }
    match problems.is_empty() {
        true => Ok(settings),
        false => Err(problems.join("; ")),
    }
}
