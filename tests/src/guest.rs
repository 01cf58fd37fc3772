//! Plugins of the examples and our own, built as their authors would.
//!
//! Owns: one package of each for all tests of a run. All are built in one target folder, so that the SDK is
//! compiled once.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::checkout::{checkout, pomona_binary};

/// Two builds at a time would wait for each other's lock anyway.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// The package of the example or of our own plugin `name`, built when it is not fresh.
///
/// # Errors
/// It cannot be built; what was said went to standard error.
pub fn guest(name: &str) -> Result<PathBuf> {
    guest_by(&pomona_binary()?, name)
}

/// As [`guest`], built by this server binary.
///
/// # Errors
/// It cannot be built; what was said went to standard error.
pub fn guest_by(binary: &Path, name: &str) -> Result<PathBuf> {
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let root = checkout();
    let target = root.join("target/guests");
    let package = target.join(format!("{name}.pomona"));
    let folder = ["examples", "plugins"]
        .map(|place| root.join(place).join(name))
        .into_iter()
        .find(|folder| folder.is_dir())
        .with_context(|| format!("neither examples nor plugins has {name}"))?;
    // Cargo sees for itself what is fresh; the tools of the other languages always begin anew.
    if !folder.join("Cargo.toml").is_file() && is_fresh(&package, &folder, binary) {
        return Ok(package);
    }
    run(binary, &folder, &package)?;
    Ok(package)
}

/// Builds a folder into a package, one at a time.
fn build(binary: &Path, folder: &Path, package: &Path) -> Result<()> {
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    run(binary, folder, package)
}

fn run(binary: &Path, folder: &Path, package: &Path) -> Result<()> {
    let status = Command::new(binary)
        .args(["plugin", "build"])
        .arg(folder)
        .arg("--out")
        .arg(package)
        .env("CARGO_TARGET_DIR", checkout().join("target/guests"))
        .status()
        .context("start pomona plugin build")?;
    if !status.success() {
        bail!("the plugin in {} cannot be built", folder.display());
    }
    Ok(())
}

/// The package of another version of an example: the same folder under the name `variant`, with these changes of its files,
/// each a file, a text in it, and what stands in its place.
///
/// # Errors
/// A file does not hold the text, or the package cannot be built.
pub fn guest_variant(name: &str, variant: &str, changes: &[(&str, &str, &str)]) -> Result<PathBuf> {
    guest_variant_by(&pomona_binary()?, name, variant, changes)
}

/// As [`guest_variant`], built by this server binary.
///
/// # Errors
/// A file does not hold the text, or the package cannot be built.
pub fn guest_variant_by(
    binary: &Path,
    name: &str,
    variant: &str,
    changes: &[(&str, &str, &str)],
) -> Result<PathBuf> {
    let root = checkout();
    let folder = root.join("target/guest-variants").join(variant);
    let example = root.join("examples").join(name);
    std::fs::create_dir_all(folder.join("src"))?;
    let sdk = root.join("sdk/rust").display().to_string();
    let own = [
        (
            "Cargo.toml",
            format!("name = \"{name}\""),
            format!("name = \"{variant}\""),
        ),
        (
            "Cargo.lock",
            format!("name = \"{name}\""),
            format!("name = \"{variant}\""),
        ),
        ("Cargo.toml", "../../sdk/rust".into(), sdk),
    ];
    let mut files = vec!["Cargo.toml", "Cargo.lock", "plugin.toml", "src/lib.rs"];
    if example.join("settings.schema.json").is_file() {
        files.push("settings.schema.json");
    }
    for file in files {
        let path = example.join(file);
        let mut text =
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let given = changes
            .iter()
            .map(|(of, from, to)| (*of, (*from).to_owned(), (*to).to_owned()));
        for (of, from, to) in own.iter().cloned().chain(given) {
            if of != file {
                continue;
            }
            if !text.contains(&from) {
                bail!("{} does not hold {from:?}", path.display());
            }
            text = text.replacen(&from, &to, 1);
        }
        std::fs::write(folder.join(file), text)?;
    }
    let package = root.join("target/guests").join(format!("{variant}.pomona"));
    build(binary, &folder, &package)?;
    Ok(package)
}

/// Whether the package is newer than the program that makes it and than every file that it is made of.
fn is_fresh(package: &Path, folder: &Path, binary: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let Some(made) = changed(package) else {
        return false;
    };
    let older = |path: &Path| changed(path).is_some_and(|time| time < made);
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else {
            return false;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let built = ["target", "node_modules", "__pycache__"];
            if path.is_dir() {
                if !built.iter().any(|name| path.ends_with(name)) {
                    folders.push(path);
                }
            } else if !older(&path) {
                return false;
            }
        }
    }
    older(binary)
}
