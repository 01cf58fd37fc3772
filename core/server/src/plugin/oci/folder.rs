//! A folder with the layout of a registry, for networks that have none.
//!
//! Owns: reading and writing it (OCI Image Format Specification, "Image Layout"): `oci-layout`, `index.json`, and
//! `blobs/sha256/…`. Other tools copy such folders to and from registries. Follows no path that stands in a file.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::artifact::{Artifact, Blob, MANIFEST, MAX_MANIFEST};
use super::reference::{Digest, Which};

/// The annotation that holds a tag.
const TAG: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
/// The largest index, in bytes.
const MAX_INDEX: usize = 4 << 20;

/// Such a folder.
pub(super) struct Folder<'a>(pub(super) &'a Path);

impl Folder<'_> {
    /// The manifest under a tag or digest, or the only one, and its digest.
    pub(super) fn manifest(&self, which: &Which) -> anyhow::Result<(Digest, Vec<u8>)> {
        let layout = read(&self.0.join(LAYOUT), MAX_MANIFEST)
            .with_context(|| format!("{} is no image layout", self.0.display()))?;
        let layout: Value = serde_json::from_slice(&layout).context(LAYOUT)?;
        if layout["imageLayoutVersion"] != "1.0.0" {
            bail!("{LAYOUT} names a version that is not known here");
        }
        let index = self.index()?;
        let entries = index["manifests"].as_array().map_or(&[][..], Vec::as_slice);
        let fits = |entry: &&Value| match which {
            Which::Digest(digest) => entry["digest"] == digest.to_string(),
            Which::Tag(tag) => entry["annotations"][TAG] == *tag,
            Which::Unnamed => true,
        };
        let mut digests: Vec<&str> = entries
            .iter()
            .filter(fits)
            .filter_map(|entry| entry["digest"].as_str())
            .collect();
        digests.dedup();
        let digest: Digest = match digests.as_slice() {
            [digest] => digest.parse()?,
            [] => bail!("{} holds no such package", self.0.display()),
            _ => bail!(
                "{} holds several packages; name one: {}",
                self.0.display(),
                tags(entries).join(", ")
            ),
        };
        let manifest = read(&self.path(&digest), MAX_MANIFEST)?;
        if Digest::of(&manifest) != digest {
            bail!("the manifest {digest} was changed");
        }
        Ok((digest, manifest))
    }

    /// The bytes that a manifest names.
    pub(super) fn blob(&self, blob: &Blob) -> anyhow::Result<Vec<u8>> {
        let bytes = read(&self.path(&blob.digest), blob.size)?;
        blob.check(&bytes)?;
        Ok(bytes)
    }

    /// Puts an artifact into the folder, which is made if need be. A tag moves to it from what it was on.
    pub(super) fn push(&self, artifact: &Artifact, tag: Option<&str>) -> anyhow::Result<()> {
        let blobs = self.0.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
        for bytes in [&artifact.component, &artifact.config, &artifact.manifest] {
            write(&self.path(&Digest::of(bytes)), bytes)?;
        }
        let mut index = match self.0.join(INDEX).exists() {
            true => self.index()?,
            false => json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [],
            }),
        };
        let Some(entries) = index["manifests"].as_array_mut() else {
            bail!("{INDEX} has no list of manifests");
        };
        let digest = artifact.digest().to_string();
        entries.retain(|entry| match tag {
            Some(tag) => entry["annotations"][TAG] != tag,
            None => entry["digest"] != digest.as_str() || entry["annotations"][TAG].is_string(),
        });
        let mut entry = json!({
            "mediaType": MANIFEST,
            "digest": digest,
            "size": artifact.manifest.len(),
        });
        if let Some(tag) = tag {
            entry["annotations"] = json!({ TAG: tag });
        }
        entries.push(entry);
        write(&self.0.join(INDEX), &serde_json::to_vec(&index)?)?;
        write(&self.0.join(LAYOUT), br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    fn index(&self) -> anyhow::Result<Value> {
        let index = read(&self.0.join(INDEX), MAX_INDEX)?;
        serde_json::from_slice(&index).context(INDEX)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.hex())
    }
}

fn tags(entries: &[Value]) -> Vec<String> {
    let tags = entries
        .iter()
        .filter_map(|entry| entry["annotations"][TAG].as_str());
    tags.map(|tag| format!(":{tag}")).collect()
}

/// A file, of `most` bytes at most.
fn read(path: &Path, most: usize) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    // What is no plain file may have no end, or nobody at its other one.
    if !fs::metadata(path).with_context(cannot)?.is_file() {
        bail!("{} is no file", path.display());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .with_context(cannot)?;
    if bytes.len() > most {
        bail!(
            "{} has more than the {most} bytes that were to come",
            path.display()
        );
    }
    Ok(bytes)
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::package;
    use super::*;

    #[test]
    fn a_folder_gives_back_what_was_put_there_under_tag_and_digest() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder(place.path());
        let artifact = Artifact::of(&package()).unwrap();
        folder.push(&artifact, Some("1.0.0")).unwrap();
        folder.push(&artifact, Some("1.0.0")).unwrap();
        let tag = Which::Tag("1.0.0".into());
        for which in [
            tag.clone(),
            Which::Digest(artifact.digest()),
            Which::Unnamed,
        ] {
            let (digest, manifest) = folder.manifest(&which).unwrap();
            assert_eq!(digest, artifact.digest());
            assert_eq!(manifest, artifact.manifest);
        }
        let told = folder.manifest(&Which::Tag("2".into())).unwrap_err();
        assert!(told.to_string().contains("no such package"), "{told}");

        // Another version under another tag: both are there, and one has to be named.
        let second = Artifact {
            config: b"{}".to_vec(),
            manifest: b"{ }".to_vec(),
            ..Artifact::of(&package()).unwrap()
        };
        folder.push(&second, Some("2.0.0")).unwrap();
        assert_eq!(folder.manifest(&tag).unwrap().0, artifact.digest());
        let told = folder.manifest(&Which::Unnamed).unwrap_err().to_string();
        assert!(told.contains(":1.0.0, :2.0.0"), "{told}");
        folder.push(&second, Some("1.0.0")).unwrap();
        assert_eq!(
            folder.manifest(&tag).unwrap().0,
            second.digest(),
            "the tag has moved"
        );
    }

    #[test]
    fn what_was_changed_in_a_folder_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder(place.path());
        let artifact = Artifact::of(&package()).unwrap();
        folder.push(&artifact, None).unwrap();
        let component = Blob {
            digest: Digest::of(&artifact.component),
            size: artifact.component.len(),
        };
        assert_eq!(folder.blob(&component).unwrap(), artifact.component);
        let path = folder.path(&component.digest);
        let mut changed = artifact.component.clone();
        changed[0] ^= 1;
        fs::write(&path, &changed).unwrap();
        let told = folder.blob(&component).unwrap_err().to_string();
        assert!(told.contains("was changed"), "{told}");
        fs::write(&path, [&changed[..], b"more"].concat()).unwrap();
        let told = folder.blob(&component).unwrap_err().to_string();
        assert!(told.contains("more than"), "{told}");
        fs::write(&path, b"").unwrap();
        let told = folder.blob(&component).unwrap_err().to_string();
        assert!(told.contains("cut short"), "{told}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(
            folder
                .blob(&component)
                .unwrap_err()
                .to_string()
                .contains("no file")
        );

        fs::write(folder.path(&artifact.digest()), b"{}").unwrap();
        let told = folder.manifest(&Which::Unnamed).unwrap_err().to_string();
        assert!(told.contains("was changed"), "{told}");
        let told = Folder(&place.path().join("none")).manifest(&Which::Unnamed);
        assert!(told.unwrap_err().to_string().contains("no image layout"));
    }
}
