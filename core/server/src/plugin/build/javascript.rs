//! A plugin in JavaScript or TypeScript.
//!
//! Owns: the tools (a bundler, and QuickJS as a component), installed once by npm at the versions and with the checksums of
//! their lock file, and the SDK's files, put where the plugin, its tests and an editor find them. No script of any package
//! is run. What the tools do is in `javascript/driver.mjs`, which Node runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use pomona_plugin_host::{Manifest, contract};
use serde_json::json;

use super::super::tools::{self, done, works};
use super::{Work, drive, renew, write};

/// The folder of the tools in the cache; a new version is a new folder.
const TOOLS: &str = "javascript-qjs-0.4.5-esbuild-0.28.2";
const PACKAGE: &str = include_str!("javascript/package.json");
const LOCK: &str = include_str!("javascript/package-lock.json");
const DRIVER: &str = include_str!("javascript/driver.mjs");

/// The SDK; what authors see of it comes first.
const SDK: [(&str, &str); 7] = [
    (
        "package.json",
        include_str!("../../../../../sdk/javascript/package.json"),
    ),
    (
        "index.js",
        include_str!("../../../../../sdk/javascript/index.js"),
    ),
    (
        "index.d.ts",
        include_str!("../../../../../sdk/javascript/index.d.ts"),
    ),
    (
        "testing.js",
        include_str!("../../../../../sdk/javascript/testing.js"),
    ),
    (
        "testing.d.ts",
        include_str!("../../../../../sdk/javascript/testing.d.ts"),
    ),
    (
        "check.js",
        include_str!("../../../../../sdk/javascript/check.js"),
    ),
    (
        "guest.js",
        include_str!("../../../../../sdk/javascript/guest.js"),
    ),
];
const SEEN: usize = 5;
/// Where authors see it.
pub(super) const SDK_FOLDER: &str = "node_modules/pomona";

/// The component of the plugin in `folder`.
pub(super) fn component(folder: &Path, manifest: &Manifest) -> anyhow::Result<Vec<u8>> {
    let entry = entry(folder)?;
    let tools = tools()?;
    place_sdk(folder)?;
    let work = Work::new(folder, manifest)?;
    let sdk = work.path("sdk");
    for (name, text) in SDK {
        write(&sdk.join(name), text)?;
    }
    let hooks: Vec<String> = manifest
        .hooks
        .keys()
        .map(|hook| camel(hook.as_str()))
        .collect();
    let imports: Vec<(String, String)> = contract::imports_of(manifest)
        .map(|import| {
            let name = import.rsplit('/').next().unwrap_or(import);
            (camel(name), format!("{import}@{}", pomona_plugin_host::API))
        })
        .collect();
    let job = json!({
        "folder": folder,
        "entry": entry,
        "hooks": hooks,
        "imports": imports,
        "sdk": sdk,
        "wit": work.path("wit"),
        "wit_with_settings": work.path("wit-settings"),
        "work": work.0,
    });
    let mut node = Command::new("node");
    // Imports of a script from the command line are looked for in the folder it runs in.
    node.args(["--input-type=module", "--eval", DRIVER])
        .current_dir(&tools);
    drive(&mut node, &job).context("the plugin cannot be built")?;
    let made = work.path("plugin.wasm");
    std::fs::read(&made).with_context(|| format!("cannot read {}", made.display()))
}

/// The file that `package.json` names as `main`, relative to the folder.
fn entry(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join("package.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let package: serde_json::Value =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let Some(main) = package["main"].as_str() else {
        bail!(
            "{} does not say which file the hooks are in; write \"main\": \"src/plugin.js\" (or .ts)",
            path.display()
        );
    };
    if !folder.join(main).is_file() {
        bail!(
            "{} names {main} as main, which is not there",
            path.display()
        );
    }
    Ok(main.trim_start_matches("./").to_owned())
}

/// The folder of the tools, filled when they are not there.
fn tools() -> anyhow::Result<PathBuf> {
    let node =
        "a plugin in JavaScript needs Node.js 18 or newer (`node`, and `npm` for the first build)";
    if !works(Command::new("node").arg("--version")) {
        bail!("{node}; node cannot be started");
    }
    tools::kept(TOOLS, |part| {
        if !works(Command::new("npm").arg("--version")) {
            bail!("{node}; npm cannot be started");
        }
        eprintln!("fetching the tools for JavaScript with npm (50 MB, once)");
        write(&part.join("package.json"), PACKAGE)?;
        write(&part.join("package-lock.json"), LOCK)?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(part);
        done(&mut npm)
            .map(drop)
            .context("the tools for JavaScript cannot be fetched; npm must reach its registry")
    })
}

/// Puts the SDK where the plugin's tests and an editor look for a package `pomona`, unless the author linked one. Whether
/// anything there was not as it should be.
pub(super) fn place_sdk(folder: &Path) -> anyhow::Result<bool> {
    let place = folder.join(SDK_FOLDER);
    let mut changed = false;
    if !place.is_symlink() {
        for (name, text) in &SDK[..SEEN] {
            changed |= renew(&place.join(name), text)?;
        }
    }
    Ok(changed)
}

/// `command-validate` as JavaScript writes it: `commandValidate`.
fn camel(name: &str) -> String {
    let mut parts = name.split('-');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_folder_is_named_after_what_is_in_it_and_every_package_has_a_checksum() {
        let lock: serde_json::Value = serde_json::from_str(LOCK).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        let version = |name: &str| packages[&format!("node_modules/{name}")]["version"].clone();
        let named = format!(
            "javascript-qjs-{}-esbuild-{}",
            version("componentize-qjs").as_str().unwrap(),
            version("esbuild").as_str().unwrap()
        );
        assert_eq!(TOOLS, named);
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            let sum = package["integrity"].as_str();
            assert!(sum.is_some_and(|sum| sum.starts_with("sha512-")), "{name}");
        }
    }

    #[test]
    fn authors_see_what_the_package_says_that_it_has() {
        let package: serde_json::Value = serde_json::from_str(SDK[0].1).unwrap();
        let seen: Vec<&str> = SDK[1..SEEN].iter().map(|(name, _)| *name).collect();
        assert_eq!(package["files"], json!(seen));
    }

    #[test]
    fn names_are_written_as_the_language_does() {
        assert_eq!(camel("command-validate"), "commandValidate");
        assert_eq!(camel("http-out"), "httpOut");
        assert_eq!(camel("events"), "events");
    }

    #[test]
    fn a_package_must_say_where_the_hooks_are() {
        let folder = tempfile::tempdir().unwrap();
        let package =
            |text: &str| std::fs::write(folder.path().join("package.json"), text).unwrap();
        let told = || entry(folder.path()).unwrap_err().to_string();
        package("{}");
        assert!(told().contains("\"main\""), "{}", told());
        package(r#"{"main": "./plugin.ts"}"#);
        assert!(told().contains("not there"), "{}", told());
        std::fs::write(folder.path().join("plugin.ts"), "").unwrap();
        assert_eq!(entry(folder.path()).unwrap(), "plugin.ts");
    }
}
