//! `pomona plugin …`: from an author's folder to a plugin that is switched on.
//!
//! Owns: the verbs. Building and checking need no server; the others are requests to the admin API.

mod author;
mod build;
mod compile;
mod manager;
mod outside;
mod remote;
mod services;
mod toolchain;
mod tools;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use http::Method;
use pomona_plugin_host::{Manifest, Package, Plugin, Runtime, SignatureError, SigningKey};
use serde_json::{Value, json};

pub(crate) use compile::{CompilePlugin, compile_plugin};
pub(crate) use manager::{Manager, Trust};
pub(crate) use outside::Outside;

use crate::client::{Api, Column, Output, Place, segment};
use crate::files;

const INSTALLED: &[Column] = &[
    Column("PLUGIN", "id"),
    Column("VERSION", "version"),
    Column("TITLE", "title"),
    Column("SIGNED", "signed"),
    Column("SUSPENDED", "suspended"),
    Column("WAITS", "waiting/version"),
    Column("ASKS FOR", "waiting/asks_for"),
    Column("DIGEST", "digest"),
];
const HERE: &[Column] = &[
    Column("PLUGIN", "id"),
    Column("VERSION", "version"),
    Column("ENABLED", "enabled"),
    Column("STATE", "state"),
    Column("CALLS", "calls"),
    Column("FAILURES", "failures"),
    Column("MEAN µs", "mean_micros"),
    Column("REASON", "reason"),
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
    /// Sign a package in place.
    Sign {
        /// The package.
        package: PathBuf,
        /// The file of `keygen`.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Install a package on the server, or put it in the place of another version.
    Install {
        /// The package.
        package: PathBuf,
    },
    /// List what is installed, with its state in the tenant of --tenant.
    List {
        /// What is installed on the server, for the operator.
        #[arg(long)]
        installed: bool,
    },
    /// Switch a plugin on in the tenant of --tenant, or change its settings.
    Enable {
        /// Its id.
        id: String,
        /// A file with its settings, as JSON.
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
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
        PluginVerb::Sign { package: path, key } => {
            let text = String::from_utf8(read(&key)?).map_err(|_| SignatureError::Key)?;
            let key = SigningKey::read(&text).with_context(|| key.display().to_string())?;
            let mut package =
                Package::read(&read(&path)?).with_context(|| path.display().to_string())?;
            package.sign(&key);
            std::fs::write(&path, package.write()?)
                .with_context(|| format!("cannot write {}", path.display()))?;
            let told = json!({ "public_key": key.public(), "digest": package.digest() });
            out.said(&format!("signed with {}", key.public()), &told)
        }
        PluginVerb::Install { package } => {
            let bytes = read(&package)?;
            // What is wrong with it can be told before it travels.
            Package::read(&bytes).with_context(|| package.display().to_string())?;
            out.one(&api()?.upload("plugins", bytes).await?, INSTALLED)
        }
        PluginVerb::List { installed: true } => {
            out.list(&api()?.list("plugins", usize::MAX).await?, INSTALLED)
        }
        PluginVerb::List { installed: false } => {
            let api = api()?;
            let all = api
                .list(&api.in_tenant("plugins").await?, usize::MAX)
                .await?;
            let flat: Vec<Value> = all.into_iter().map(flat).collect();
            out.list(&flat, HERE)
        }
        PluginVerb::Enable { id, settings } => {
            let settings: Value = match settings {
                None => json!({}),
                Some(path) => serde_json::from_slice(&read(&path)?)
                    .with_context(|| format!("{} is no JSON", path.display()))?,
            };
            let api = api()?;
            let path = api.in_tenant(&format!("plugins/{}", segment(&id))).await?;
            let body = json!({ "settings": settings });
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
        PluginVerb::Author(verb) => author::run(verb, &out).await,
        PluginVerb::Remote(verb) => remote::run(verb, &api()?, &out).await,
    }
}

/// The health of a plugin among its other members, so that it has columns.
fn flat(mut plugin: Value) -> Value {
    let health = plugin.get("health").cloned();
    if let (Some(all), Some(Value::Object(health))) = (plugin.as_object_mut(), health) {
        all.extend(health);
    }
    plugin
}

async fn check(path: &Path, out: &Output) -> anyhow::Result<()> {
    let package = Package::read(&read(path)?).with_context(|| path.display().to_string())?;
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
        "rights": rights,
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
    out.said(&sentence, &told)
}

/// What a manifest asks for, a line each.
fn rights(manifest: &Manifest) -> Vec<String> {
    let mut rights: Vec<String> = manifest
        .hooks
        .iter()
        .map(|(hook, matching)| {
            let of = [&matching.request_types[..], &matching.kinds[..]].concat();
            match of.is_empty() {
                true => format!("hook {}: everything", hook.as_str()),
                false => format!("hook {}: {}", hook.as_str(), of.join(", ")),
            }
        })
        .collect();
    rights.extend(manifest.capabilities.sentences());
    rights
}

/// Compiles and loads a package here.
async fn load(package: &Package) -> anyhow::Result<Plugin> {
    let runtime = Runtime::new()?;
    let artefacts = compile::in_a_child(package).await?;
    Ok(Plugin::load(
        &runtime,
        package.manifest.clone(),
        package.digest(),
        &package.manifest.capabilities,
        &artefacts,
    )
    .await?)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
