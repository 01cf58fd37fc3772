//! The files in a server's folder.
//!
//! Owns: their names, and the writing of those that nobody else may read.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;

pub(crate) const SETTINGS: &str = "pomona.toml";
pub(crate) const ROOT_KEY: &str = "root.key";
pub(crate) const OPERATOR_TOKEN: &str = "operator.token";
pub(crate) const TLS_CA: &str = "tls/ca.pem";
pub(crate) const TLS_CA_KEY: &str = "tls/ca.key";
pub(crate) const TLS_CERTIFICATE: &str = "tls/server.pem";
pub(crate) const TLS_KEY: &str = "tls/server.key";

/// Makes a folder that only its owner may enter.
pub(crate) fn private_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Writes a new file that only its owner may read; never over one that is there.
pub(crate) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    write_new(path, text, 0o600)
}

/// Writes a new file that everybody may read; never over one that is there.
pub(crate) fn write_public(path: &Path, text: &str) -> anyhow::Result<()> {
    write_new(path, text, 0o644)
}

fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a secret in place of the one that is there.
pub(crate) fn replace_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let fresh = path.with_extension("fresh");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", fresh.display()));
        }
        _ => {}
    }
    write_secret(&fresh, text)?;
    std::fs::rename(&fresh, path).with_context(|| format!("cannot replace {}", path.display()))
}
