//! Components that were compiled for a release of the contract, kept for ever.
//!
//! Owns: finding and unpacking them; the check `examples` asks each the fixtures that lie in its package. They need no tool chain:
//! what they show is that a server still runs what was built for an older contract. Where they come from stands beside them.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use pomona_tests::checkout;

/// Where the releases lie; each has its guests in a folder.
const RELEASES: &str = "sdk/wit/released";
const PACKED: &str = ".pomona.gz";

/// The kept packages, unpacked.
///
/// # Errors
/// A release has none, or one cannot be unpacked.
pub(crate) fn packages() -> Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    for release in entries(&checkout().join(RELEASES))? {
        let kept: Vec<PathBuf> = entries(&release.join("guests"))?
            .into_iter()
            .filter(|path| name_of(path).ends_with(PACKED))
            .collect();
        ensure!(!kept.is_empty(), "{} keeps no guests", release.display());
        for path in kept {
            packages.push(unpacked(&path, &name_of(&release))?);
        }
    }
    ensure!(!packages.is_empty(), "{RELEASES} has no release");
    Ok(packages)
}

fn unpacked(packed: &Path, release: &str) -> Result<PathBuf> {
    let folder = checkout().join("target/frozen").join(release);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let name = name_of(packed);
    let package = folder.join(name.strip_suffix(".gz").unwrap_or(&name));
    let out = File::create(&package).with_context(|| package.display().to_string())?;
    let done = Command::new("gzip")
        .arg("-dc")
        .arg(packed)
        .stdout(out)
        .status()
        .context("start gzip")?;
    ensure!(done.success(), "{} cannot be unpacked", packed.display());
    Ok(package)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = read
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_keeps_guests_in_three_languages_that_can_be_unpacked() {
        let packages = packages().unwrap();
        for release in entries(&checkout().join(RELEASES)).unwrap() {
            let of_it = packages
                .iter()
                .filter(|path| path.parent().map(name_of) == Some(name_of(&release)));
            assert!(of_it.count() >= 3, "{}", release.display());
        }
        for package in packages {
            let bytes = std::fs::read(&package).unwrap();
            let tar = bytes.get(257..262) == Some(b"ustar".as_slice());
            assert!(tar, "{} is no package", package.display());
        }
    }
}
