//! The checkout that the tests belong to: its root, its tracked files, and the server binary built from it.
//!
//! Owns how a test finds things on disk. It never writes into the source tree.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, bail};

/// The root of the checkout: the folder that holds the workspace manifest.
#[must_use]
pub fn checkout() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// The paths of all tracked files, relative to [`checkout`], in Git's order.
///
/// # Errors
/// Git is missing, or the checkout is an unpacked archive without a repository.
pub fn tracked_files() -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(checkout())
        .output()
        .context("git ls-files")?;
    if !output.status.success() {
        bail!(
            "git ls-files: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)
        .context("a tracked path is not UTF-8")?
        .split_terminator('\0')
        .map(PathBuf::from)
        .collect())
}

/// The Cargo that started us, in the checkout, so that nested calls use the same tool chain. What it told us of our own
/// package is kept from them: some build scripts run again whenever it changes.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(checkout());
    for (name, _) in std::env::vars_os() {
        let known = name.to_string_lossy();
        if known.starts_with("CARGO_PKG_") || known.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The path of the `pomona` server binary of this checkout, built when it is not fresh.
///
/// `POMONA_TEST_BINARY` names a ready one instead. The first call in a process builds, later ones remember.
///
/// # Errors
/// The build failed; its output went to standard error.
pub fn pomona_binary() -> Result<PathBuf> {
    static BUILT: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| build_binary().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn build_binary() -> Result<PathBuf> {
    if let Some(ready) = std::env::var_os("POMONA_TEST_BINARY") {
        return Ok(ready.into());
    }
    // The message format names the artefact, wherever the target folder is.
    let output = cargo()
        .args(["build", "--quiet", "--locked", "--package", "pomona"])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo build --package pomona")?;
    if !output.status.success() {
        bail!("cargo build --package pomona failed");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    executable_in(&messages).context("cargo named no executable for package pomona")
}

/// The executable that Cargo's JSON messages name last; a path that needs escapes is not ours to handle.
#[must_use]
pub fn executable_in(messages: &str) -> Option<PathBuf> {
    const KEY: &str = "\"executable\":\"";
    let (_, after) = messages.rsplit_once(KEY)?;
    let (path, _) = after.split_once('"')?;
    Some(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_holds_the_workspace_manifest() {
        let manifest = std::fs::read_to_string(checkout().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn the_last_executable_is_read_from_the_messages_of_cargo() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"executable\":null}\n",
            "{\"reason\":\"compiler-artifact\",\"executable\":\"/t/debug/pomona\",\"fresh\":true}\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(executable_in(messages), Some("/t/debug/pomona".into()));
        assert_eq!(executable_in("{\"executable\":null}"), None);
    }
}
