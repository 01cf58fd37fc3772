//! The server's binary, built from this checkout.
//!
//! Owns one call of Cargo. Its output goes to the terminal; the path comes from its messages.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context, Result, bail};

use pomona_tests::cargo;

/// Builds the server and gives the path of its binary.
///
/// # Errors
/// The build failed; its output went to standard error.
pub(crate) fn server(release: bool) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked", "--package", "pomona"]);
    if release {
        command.arg("--release");
    }
    let output = command
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo build")?;
    if !output.status.success() {
        bail!("the server could not be built");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    pomona_tests::executable_in(&messages).context("cargo named no executable")
}
