//! `pomona plugin build`: from a folder to a package.
//!
//! Owns: the steps for a plugin in Rust. The plugin's own world is composed of its manifest, so that what the component
//! imports is what the manifest asks for; a code that needs more does not build.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use pomona_plugin_host::{Manifest, Package, Plugin, contract};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding};

use super::toolchain::{TARGET, Toolchain};

/// What was built.
pub(super) struct Built {
    pub(super) path: PathBuf,
    pub(super) package: Package,
    /// The plugin, loaded.
    pub(super) plugin: Plugin,
}

/// Builds the plugin in `folder`, checks that it runs here, and writes its package.
pub(super) async fn build(folder: &Path, out: Option<&Path>) -> anyhow::Result<Built> {
    let toml = folder.join("plugin.toml");
    let text = std::fs::read_to_string(&toml).with_context(|| {
        format!(
            "cannot read {}; name the folder of a plugin",
            toml.display()
        )
    })?;
    let manifest = Manifest::parse(&text).with_context(|| toml.display().to_string())?;
    if !folder.join("Cargo.toml").is_file() {
        bail!(
            "{} has no Cargo.toml; plugins are built from Rust",
            folder.display()
        );
    }
    super::author::sdk::renew(folder)?;
    let module = compile_rust(folder)?;
    let component = componentize(&module, &manifest)?;
    let schema = match &manifest.settings.schema {
        None => None,
        Some(name) => {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Some(text)
        }
    };
    let package = Package::new(&text, component, schema, fixtures(folder)?)?;
    let plugin = super::load(&package)
        .await
        .context("the plugin was built, but cannot be run")?;
    let name = format!("{}-{}.pomona", manifest.id, manifest.version);
    let path = out.map_or_else(
        || folder.join("target/pomona").join(name),
        Path::to_path_buf,
    );
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    std::fs::write(&path, package.write()?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Built {
        path,
        package,
        plugin,
    })
}

/// Runs cargo and reads the core module that it made.
fn compile_rust(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let mut cargo = Toolchain::find()?.cargo();
    cargo
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(folder);
    let output = cargo
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("cargo could not build {}", folder.display());
    }
    let suffix = format!("/{TARGET}/release/");
    let messages = String::from_utf8_lossy(&output.stdout);
    let module = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|name| name.as_str().map(str::to_owned))
        .rfind(|name| name.ends_with(".wasm") && name.contains(&suffix));
    let Some(module) = module else {
        bail!(
            "cargo made no WebAssembly module; set crate-type = [\"cdylib\"] in the [lib] of {}",
            folder.join("Cargo.toml").display()
        );
    };
    std::fs::read(&module).with_context(|| format!("cannot read {module}"))
}

/// Makes a component of the plugin's own world out of a core module.
fn componentize(module: &[u8], manifest: &Manifest) -> anyhow::Result<Vec<u8>> {
    let looks_at_settings = exports(module)?
        .iter()
        .any(|name| name.starts_with("pomona:hooks/settings@") && name.ends_with("#validate"));
    let (resolve, world) =
        contract::world_of(manifest, looks_at_settings).map_err(anyhow::Error::msg)?;
    let mut module = without_other_world(module)?;
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .context("the plugin's world cannot be written into the module")?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .context("the code and plugin.toml do not fit together: the code must export every hook that plugin.toml names, and may only use what it asks for")
}

fn exports(module: &[u8]) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ExportSection(section) = payload.context("cargo made no WebAssembly")? {
            for export in section {
                names.push(export.context("cargo made no WebAssembly")?.name.to_owned());
            }
        }
    }
    Ok(names)
}

/// The module without the world that the SDK's bindings wrote into it: it names every hook there is.
fn without_other_world(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut kept = module
        .get(..8)
        .context("cargo made no WebAssembly")?
        .to_vec();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.context("cargo made no WebAssembly")?;
        if let Payload::CustomSection(section) = &payload
            && section.name().starts_with("component-type")
        {
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            kept.push(id);
            let content = module
                .get(range)
                .context("a section reaches beyond the module")?;
            let mut length = content.len();
            loop {
                // LEB128: seven bits a byte, the highest bit says that more follow.
                let low = u8::try_from(length & 0x7f).unwrap_or(0);
                length >>= 7;
                kept.push(if length == 0 { low } else { low | 0x80 });
                if length == 0 {
                    break;
                }
            }
            kept.extend_from_slice(content);
        }
    }
    Ok(kept)
}

fn fixtures(folder: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let folder = folder.join("fixtures");
    let mut fixtures = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(fixtures);
    }
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && name.ends_with(".json")
        {
            let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
            fixtures.insert(name.to_owned(), content);
        }
    }
    Ok(fixtures)
}
