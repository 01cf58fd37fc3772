//! The files in a server's folder.
//!
//! Owns: their names, the writing of those that nobody else may read, and how a file is put in the place of another.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
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

/// Puts a file in the place of the one that is there, or of none: at every moment it is the old one or the new one, whole.
/// It keeps the permissions of the old one. A link in its place is replaced, not followed.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let put = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".unfinished-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        file.write_all(bytes)?;
        if let Ok(old) = path.symlink_metadata()
            && old.is_file()
        {
            file.as_file().set_permissions(old.permissions())?;
        }
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    put().with_context(|| format!("cannot write {}", path.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_permissions() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.pomona");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        replace(&path, b"first").unwrap();
        let usual = place.path().join("usual");
        std::fs::write(&usual, "").unwrap();
        let usual = usual.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), usual, "as that of any file");
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(mode(), 0o640);

        // What cannot be put there leaves nothing behind.
        let full = place.path().join("full");
        std::fs::create_dir(&full).unwrap();
        std::fs::write(full.join("x"), "").unwrap();
        let told = replace(&full, b"third").unwrap_err().to_string();
        assert!(told.contains("cannot write"), "{told}");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 3);
    }
}
