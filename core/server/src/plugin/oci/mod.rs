//! Packages in registries and in folders with the layout of one.
//!
//! Owns: push and pull. What is pulled is checked against the digests on the way and put together as a package, which
//! checks its signatures; whether these count is for the server to say that it is installed on.

mod artifact;
mod folder;
mod login;
mod reference;
mod registry;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::{Context, bail};
use pomona_plugin_host::Package;

use artifact::{Artifact, Blob};
use folder::Folder;
pub(super) use login::{Access, AccessArgs};
pub(super) use reference::{Place, Reference, Which};
use registry::Registry;

impl Blob {
    /// Whether these are the bytes.
    fn check(&self, bytes: &[u8]) -> anyhow::Result<()> {
        if bytes.len() < self.size {
            bail!(
                "{} is cut short: {} of {} bytes came",
                self.digest,
                bytes.len(),
                self.size
            );
        }
        if reference::Digest::of(bytes) != self.digest {
            bail!(
                "{} was changed: the bytes that came are others",
                self.digest
            );
        }
        Ok(())
    }
}

/// Puts a package where the reference says, and tells the reference with its digest. Without a tag it is put under its
/// version.
pub(super) async fn push(
    package: &Package,
    to: &Reference,
    access: Access,
    authorities: &[PathBuf],
) -> anyhow::Result<Reference> {
    let artifact = Artifact::of(package)?;
    // A plus sign, which a version may have, is none of a tag's characters.
    let version = package.manifest.version.to_string().replace('+', "_");
    let tag = match &to.which {
        Which::Tag(tag) => Some(tag.as_str()),
        Which::Unnamed => Some(version.as_str()).filter(|version| reference::is_tag(version)),
        Which::Digest(digest) if *digest == artifact.digest() => None,
        Which::Digest(_) => bail!(
            "this package would have the digest {}, not the one that is named",
            artifact.digest()
        ),
    };
    match &to.place {
        Place::Folder(folder) => Folder(folder).push(&artifact, tag)?,
        Place::Registry { host, repository } => {
            Registry::open(host, repository, "pull,push", access, authorities)?
                .push(&artifact, tag)
                .await
                .with_context(|| format!("cannot push to {to}"))?;
        }
    }
    Ok(to.pinned(artifact.digest()))
}

/// Fetches a package, and tells the reference with its digest.
pub(super) async fn pull(
    from: &Reference,
    access: Access,
    authorities: &[PathBuf],
) -> anyhow::Result<(Package, Reference)> {
    fetch(from, access, authorities)
        .await
        .with_context(|| format!("cannot pull {from}"))
}

async fn fetch(
    from: &Reference,
    access: Access,
    authorities: &[PathBuf],
) -> anyhow::Result<(Package, Reference)> {
    match &from.place {
        Place::Folder(folder) => {
            let folder = Folder(folder);
            let (digest, manifest) = folder.manifest(&from.which)?;
            let contents = artifact::contents(&manifest)?;
            let config = folder.blob(&contents.config)?;
            let component = folder.blob(&contents.component)?;
            let package = artifact::package(&contents, &config, component)?;
            Ok((package, from.pinned(digest)))
        }
        Place::Registry { host, repository } => {
            let registry = Registry::open(host, repository, "pull", access, authorities)?;
            let (digest, manifest) = registry.manifest(&from.which).await?;
            let contents = artifact::contents(&manifest)?;
            let config = registry.blob(&contents.config).await?;
            let component = registry.blob(&contents.component).await?;
            let package = artifact::package(&contents, &config, component)?;
            Ok((package, from.pinned(digest)))
        }
    }
}
