//! `pomona plugin …`: from an author's folder to a plugin that is switched on.
//!
//! Owns: the verbs. Building and checking need no server; the others are requests to the admin API.

mod author;
mod build;
mod compile;
mod distribute;
mod manager;
mod oci;
mod outside;
mod remote;
mod revoke;
mod services;
mod tally;
mod toolchain;
mod tools;
mod trial;
mod trust;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use http::Method;
use pomona_catalogue::{Catalogue, Class};
use pomona_plugin_host::{Manifest, Package, Plugin, Role, Runtime, SigningKey};
use serde_json::{Value, json};

use compile::Compiler;
pub(crate) use compile::{CompilePlugin, compile_plugin};
pub(crate) use manager::Manager;
pub(crate) use outside::Outside;
pub(crate) use trust::Trust;

use crate::client::{Api, Column, Output, Place, clean, segment};
use crate::files;

const INSTALLED: &[Column] = &[
    Column("PLUGIN", "id"),
    Column("VERSION", "version"),
    Column("TITLE", "title"),
    Column("TRUST", "trust"),
    Column("PHASE", "order/phase"),
    Column("PRIORITY", "order/priority"),
    Column("SUSPENDED", "suspended"),
    Column("REVOKED", "revoked"),
    Column("WAITS", "waiting/version"),
    Column("ASKS FOR", "waiting/asks_for"),
    Column("BEFORE", "previous/version"),
    Column("ON TRIAL", "trial/version"),
    Column("AS", "trial/mode"),
    Column("DIGEST", "digest"),
    Column("SOURCE", "source"),
];
const HERE: &[Column] = &[
    Column("PLUGIN", "id"),
    Column("VERSION", "version"),
    Column("TRUST", "trust"),
    Column("ENABLED", "enabled"),
    Column("STATE", "state"),
    Column("CALLS", "calls"),
    Column("FAILURES", "failures"),
    Column("MEAN µs", "mean_micros"),
    Column("P99 µs", "p99_micros"),
    Column("MEMORY", "memory_high_bytes"),
    Column("REFUSED", "refused"),
    Column("REASON", "reason"),
    Column("ON TRIAL", "trial/version"),
    Column("TRIAL STATE", "trial_health/state"),
    Column("TRIAL REASON", "trial_health/reason"),
];

/// `pomona plugin …`
#[derive(Debug, Subcommand)]
pub(crate) enum PluginVerb {
    /// Build a plugin's folder into a package.
    #[command(visible_alias = "pack")]
    Build {
        /// The folder with plugin.toml.
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// Where the package goes; `target/pomona/ID-VERSION.pomona` in the folder when left out.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Say whether a package fits this version of Pomona, and which rights it asks for.
    Check {
        /// The package.
        package: PathBuf,
    },
    /// Make a key that signs packages; its public half is for the setting plugins.trusted_keys of servers.
    Keygen {
        /// The file for the secret half; only you can read it.
        file: PathBuf,
    },
    /// Sign a package in place, as the one who publishes it.
    Sign(distribute::Sign),
    /// Sign a package in place for an organisation that takes it, whoever published it: its servers take what a key in
    /// plugins.organisation_keys has signed so. The publisher's signature stays.
    Countersign(distribute::Sign),
    /// Put a package into a registry, or into a folder with the layout of one.
    Push(distribute::Push),
    /// Fetch a package from a registry, or from a folder with the layout of one.
    Pull(distribute::Pull),
    /// Install a package on the server, or put it in the place of another version.
    Install(distribute::Install),
    /// Stop a package, or everything that a key has signed, on every server of this database, for the operator.
    Revoke(revoke::Revoke),
    /// Take a revocation back.
    Unrevoke(revoke::What),
    /// List what is revoked.
    Revocations,
    /// List what is installed, with its state in the tenant of --tenant.
    List {
        /// What is installed on the server, for the operator.
        #[arg(long)]
        installed: bool,
    },
    /// Switch a plugin on in the tenant of --tenant, or change its settings or rights there; what is not given stays as it is.
    Enable {
        /// Its id.
        id: String,
        /// A file with its settings, as JSON.
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
        /// A file with what the tenant grants it, in the form of a manifest's `capabilities`, as JSON: at most what the operator does.
        #[arg(long, value_name = "FILE")]
        rights: Option<PathBuf>,
        /// Let it have again all that the operator grants.
        #[arg(long, conflicts_with = "rights")]
        all_rights: bool,
    },
    /// Switch a plugin off in the tenant of --tenant; its settings there are forgotten.
    Disable {
        /// Its id.
        id: String,
    },
    /// Stop a plugin in every tenant, for the operator.
    Suspend(Which),
    /// Let a suspended plugin go on.
    Resume(Which),
    /// Take a plugin out of the server.
    Remove {
        /// Its id.
        id: String,
    },
    #[command(flatten)]
    Trial(trial::TrialVerb),
    #[command(flatten)]
    Author(author::AuthorVerb),
    #[command(flatten)]
    Remote(remote::RemoteVerb),
}

/// One plugin, or all.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Its id.
    id: Option<String>,
    /// Every plugin.
    #[arg(long)]
    all: bool,
}

impl Which {
    fn segment(&self) -> String {
        self.id.as_deref().map_or_else(|| "*".into(), segment)
    }
}

/// Runs a verb.
pub(crate) async fn run(verb: PluginVerb, place: &Place, dir: Option<&Path>) -> anyhow::Result<()> {
    let out = Output::new(place.json);
    let api = || Api::open(place, dir);
    match verb {
        PluginVerb::Build { folder, out: to } => {
            let built = build::build(&folder, to.as_deref()).await?;
            let told = json!({
                "package": built.path.display().to_string(),
                "digest": built.package.digest(),
                "component_bytes": built.package.component.len(),
            });
            out.said(&format!("built {}", built.path.display()), &told)
        }
        PluginVerb::Check { package } => check(&package, &out).await,
        PluginVerb::Keygen { file } => {
            let key = SigningKey::generate()?;
            files::write_secret(&file, &format!("{}\n", key.secret()?))?;
            let told = json!({ "public_key": key.public(), "file": file.display().to_string() });
            out.said(&format!("public key {}", key.public()), &told)
        }
        PluginVerb::Sign(sign) => distribute::sign(&sign, Role::Publisher, &out),
        PluginVerb::Countersign(sign) => distribute::sign(&sign, Role::Organisation, &out),
        PluginVerb::Push(push) => distribute::push(push, place, &out).await,
        PluginVerb::Pull(pull) => distribute::pull(pull, place, &out).await,
        PluginVerb::Install(install) => distribute::install(install, place, dir, &out).await,
        PluginVerb::Revoke(wanted) => revoke::revoke(wanted, &api()?, &out).await,
        PluginVerb::Unrevoke(what) => revoke::unrevoke(what, &api()?, &out).await,
        PluginVerb::Revocations => revoke::list(&api()?, &out).await,
        PluginVerb::List { installed: true } => {
            let api = api()?;
            revoke::warn(&api, &out).await;
            out.list(&api.list("plugins", usize::MAX).await?, INSTALLED)
        }
        PluginVerb::List { installed: false } => {
            let api = api()?;
            let all = api
                .list(&api.in_tenant("plugins").await?, usize::MAX)
                .await?;
            let flat: Vec<Value> = all.into_iter().map(flat).collect();
            revoke::warn_of_unsigned(&flat, &out);
            out.list(&flat, HERE)
        }
        PluginVerb::Enable {
            id,
            settings,
            rights,
            all_rights,
        } => {
            let file = |path: Option<PathBuf>| path.map(|path| json_in(&path)).transpose();
            let (settings, rights) = (file(settings)?, file(rights)?);
            let api = api()?;
            let mut body = json!({});
            if let Some(settings) = settings {
                body["settings"] = settings;
            }
            if rights.is_some() || all_rights {
                body["rights"] = json!(rights);
            }
            let path = api.in_tenant(&format!("plugins/{}", segment(&id))).await?;
            let enabled = api.call(Method::PUT, &path, Some(&body), &[]).await?;
            out.one(&flat(enabled), HERE)
        }
        PluginVerb::Disable { id } => {
            let api = api()?;
            let path = api.in_tenant(&format!("plugins/{}", segment(&id))).await?;
            let gone = api.call(Method::DELETE, &path, None, &[]).await?;
            out.said(&format!("{id} is switched off"), &gone)
        }
        PluginVerb::Suspend(which) => {
            let path = format!("plugins/{}/suspend", which.segment());
            let changed = api()?.post(&path, &json!({})).await?;
            out.said(&format!("suspended: {}", changed["plugins"]), &changed)
        }
        PluginVerb::Resume(which) => {
            let path = format!("plugins/{}/resume", which.segment());
            let changed = api()?.post(&path, &json!({})).await?;
            out.said(&format!("resumed: {}", changed["plugins"]), &changed)
        }
        PluginVerb::Remove { id } => {
            let path = format!("plugins/{}", segment(&id));
            let gone = api()?.call(Method::DELETE, &path, None, &[]).await?;
            out.said(&format!("{id} is removed"), &gone)
        }
        PluginVerb::Trial(verb) => trial::run(verb, place, dir, &out).await,
        PluginVerb::Author(verb) => author::run(verb, &out).await,
        PluginVerb::Remote(verb) => remote::run(verb, &api()?, &out).await,
    }
}

/// The health of a plugin among its other members, so that it has columns. Where nothing keeps it from running, what went wrong last
/// is what an administrator wants to read.
fn flat(mut plugin: Value) -> Value {
    let health = plugin.get("health").cloned();
    if let (Some(all), Some(Value::Object(health))) = (plugin.as_object_mut(), health) {
        all.extend(health);
    }
    if let (Value::Null, Some(last)) = (&plugin["reason"], plugin["last_failure"].as_str()) {
        plugin["reason"] = json!(format!("last failure: {last}"));
    }
    plugin
}

async fn check(path: &Path, out: &Output) -> anyhow::Result<()> {
    let package = Package::read(&read(path)?).with_context(|| path.display().to_string())?;
    manager::schema_of(&package)
        .map_err(anyhow::Error::msg)
        .with_context(|| path.display().to_string())?;
    let plugin = load(&package)
        .await
        .with_context(|| path.display().to_string())?;
    let rights = rights(plugin.manifest());
    let told = json!({
        "id": plugin.manifest().id,
        "version": plugin.manifest().version.to_string(),
        "api": plugin.manifest().api,
        "digest": plugin.digest(),
        "signed_by": package.signature.as_ref().map(|signature| &signature.key),
        "countersigned_by": package.countersignature.as_ref().map(|signature| &signature.key),
        "rights": rights,
        "warnings": warnings(plugin.manifest()),
    });
    let signer = package.signature.as_ref().map_or_else(
        || "nobody has signed it".to_owned(),
        |signature| format!("signed by {}", signature.key),
    );
    let sentence = format!(
        "{} {} fits this version of Pomona; {signer}; it asks for:\n  {}",
        plugin.manifest().id,
        plugin.manifest().version,
        rights.join("\n  ")
    );
    out.said(&sentence, &told)?;
    // Programs find them among the rest.
    let told = warnings(plugin.manifest());
    for warning in told.iter().filter(|_| !out.is_json()) {
        eprintln!("warning: {}", clean(warning, false));
    }
    Ok(())
}

/// What a manifest names that nothing is known by: a hook that waits for it would never be asked.
fn warnings(manifest: &Manifest) -> Vec<String> {
    let catalogue = Catalogue::shipped();
    let mut warnings = Vec::new();
    for (hook, matching) in &manifest.hooks {
        for word in &matching.request_types {
            if catalogue.object(Class::Command, word).is_some() {
                continue;
            }
            let meant = match catalogue.meant(Class::Command, word) {
                Some(meant) => format!("; did you mean {meant}?"),
                None => String::new(),
            };
            warnings.push(format!(
                "hooks.{}.request-types: there is no command \"{word}\"{meant}",
                hook.as_str()
            ));
        }
    }
    warnings
}

/// What a manifest asks for, a line each.
fn rights(manifest: &Manifest) -> Vec<String> {
    let mut rights: Vec<String> = manifest
        .hooks
        .iter()
        .map(|(hook, matching)| {
            let parts = [
                ("", &matching.request_types),
                ("", &matching.kinds),
                ("platforms ", &matching.platforms),
                ("groups ", &matching.groups),
                ("facts ", &matching.facts),
            ];
            let of = parts.into_iter().filter(|(_, wanted)| !wanted.is_empty());
            let of: Vec<String> = of
                .map(|(what, wanted)| format!("{what}{}", wanted.join(", ")))
                .collect();
            match of.is_empty() {
                true => format!("hook {}: everything", hook.as_str()),
                false => format!("hook {}: {}", hook.as_str(), of.join("; ")),
            }
        })
        .collect();
    rights.extend(manifest.capabilities.sentences());
    rights
}

/// Compiles and loads a package here.
async fn load(package: &Package) -> anyhow::Result<Plugin> {
    let runtime = Runtime::new()?;
    let compiler = Compiler::new(&runtime, compile::authors_shelf());
    let artefacts = compiler.code(package).await?;
    Ok(Plugin::load(
        &runtime,
        package.manifest.clone(),
        package.digest(),
        &package.manifest.capabilities,
        &artefacts,
    )
    .await?)
}

fn json_in(path: &Path) -> anyhow::Result<Value> {
    serde_json::from_slice(&read(path)?).with_context(|| format!("{} is no JSON", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_last_is_shown_where_nothing_keeps_a_plugin_from_running() {
        let shown = |reason: Value, last: Value| {
            let plugin = json!({ "id": "a", "health": { "reason": reason, "last_failure": last } });
            flat(plugin)["reason"].clone()
        };
        assert_eq!(
            shown(Value::Null, json!("it trapped")),
            "last failure: it trapped"
        );
        assert_eq!(shown(json!("revoked"), json!("it trapped")), "revoked");
        assert_eq!(shown(Value::Null, Value::Null), Value::Null);
    }
}
