//! A plugin in Rust.
//!
//! Owns: cargo's run, and the way from the core module to a component. What the component imports is what the manifest
//! asks for; a code that needs more does not build.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use pomona_plugin_host::{Manifest, contract};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding};

use super::super::toolchain::{TARGET, Toolchain};

/// The component of the plugin in `folder`.
pub(super) fn component(folder: &Path, manifest: &Manifest) -> anyhow::Result<Vec<u8>> {
    super::super::author::sdk::renew(folder)?;
    componentize(&compile(folder)?, manifest)
}

/// Runs cargo and reads the core module that it made.
fn compile(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let mut cargo = Toolchain::find(folder)?.cargo();
    cargo
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--config", &without_places(folder)])
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

/// Makes the compiler write shorter names for the folders that lie on this machine alone: nobody who gets the package has to
/// learn them, and the same sources give the same package elsewhere. Said so, it comes on top of what an author's own
/// configuration says.
fn without_places(folder: &Path) -> String {
    let place = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let home = place("HOME");
    let cargo = place("CARGO_HOME").or_else(|| Some(home.as_ref()?.join(".cargo")));
    let folder = folder.canonicalize().ok();
    let above = |levels: usize| {
        folder
            .as_ref()?
            .ancestors()
            .nth(levels)
            .map(Path::to_path_buf)
    };
    // Of several that fit the compiler takes the last.
    let short = [
        (home, "~"),
        (above(2), "../.."),
        (above(1), ".."),
        (above(0), "."),
        (cargo, "cargo"),
    ];
    let flags: Vec<String> = short
        .into_iter()
        .filter_map(|(from, to)| Some((from?, to)))
        .filter(|(from, _)| from.components().count() > 1)
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect();
    let flags = serde_json::json!(flags);
    format!("target.{TARGET}.rustflags={flags}")
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
