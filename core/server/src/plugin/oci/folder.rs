//! A folder with the layout of a registry, for networks that have none.
//!
//! Owns: reading and writing it (OCI Image Format Specification, "Image Layout"): `oci-layout`, `index.json`, and
//! `blobs/sha256/…`. Other tools copy such folders to and from registries. Follows no path that stands in a file. Pushes into
//! the same folder wait for each other at the file `index.lock`, of which other tools know nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::artifact::{Artifact, Blob, MANIFEST, MAX_MANIFEST};
use super::reference::{Digest, Which, is_tag};
use crate::files;

/// The annotation that holds a tag.
const TAG: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
const LOCK: &str = "index.lock";
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
        let fitting: Vec<&Value> = entries.iter().filter(fits).collect();
        let mut digests: Vec<&str> = fitting
            .iter()
            .filter_map(|entry| entry["digest"].as_str())
            .collect();
        digests.dedup();
        let digest: Digest = match digests.as_slice() {
            [digest] => digest.parse()?,
            [] => bail!("{} holds no such package", self.0.display()),
            _ => bail!("{} holds {}", self.0.display(), several(&fitting, which)),
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
            files::replace(&self.path(&Digest::of(bytes)), bytes)?;
        }
        // Held until the index is written: two that read the same one would lose an entry.
        let _lock = self.lock()?;
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
        files::replace(&self.0.join(INDEX), &serde_json::to_vec(&index)?)?;
        files::replace(&self.0.join(LAYOUT), br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    /// Waits until nobody else changes the index. Whoever drops the file lets the next one in.
    fn lock(&self) -> anyhow::Result<File> {
        let path = self.0.join(LOCK);
        let locked = || -> std::io::Result<File> {
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            file.lock()?;
            Ok(file)
        };
        locked().with_context(|| format!("cannot lock {}", path.display()))
    }

    fn index(&self) -> anyhow::Result<Value> {
        let index = read(&self.0.join(INDEX), MAX_INDEX)?;
        serde_json::from_slice(&index).context(INDEX)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.hex())
    }
}

/// That there are several packages, and how one of them is named: by its tag, or by its digest where a tag does not help.
fn several(fitting: &[&Value], which: &Which) -> String {
    let mut names = BTreeSet::new();
    let mut tagged = false;
    for entry in fitting {
        let tag = entry["annotations"][TAG].as_str().filter(|tag| is_tag(tag));
        let digest = entry["digest"].as_str().map(str::parse::<Digest>);
        match (which, tag, digest) {
            (Which::Unnamed, Some(tag), _) => {
                tagged = true;
                names.insert(format!(":{tag}"));
            }
            (_, _, Some(Ok(digest))) => {
                names.insert(format!("@{digest}"));
            }
            // It can be named in no way.
            _ => {}
        }
    }
    let what = match which {
        Which::Unnamed if tagged => "; name one",
        Which::Unnamed => " that have no tag; name one by its digest",
        _ => " under this name; name one by its digest",
    };
    let names: Vec<String> = names.into_iter().collect();
    format!("several packages{what}: {}", names.join(", "))
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
    fn several_packages_are_told_with_the_names_that_help() {
        let [one, two] = [b"1", b"2"].map(|bytes| Digest::of(bytes).to_string());
        let plain = |digest: &str| json!({ "digest": digest });
        let tagged =
            |digest: &str, tag: &str| json!({ "digest": digest, "annotations": { TAG: tag } });
        let told =
            |entries: &[Value], which: &Which| several(&entries.iter().collect::<Vec<_>>(), which);
        let unnamed = Which::Unnamed;
        let mut digests = [format!("@{one}"), format!("@{two}")];
        digests.sort();
        let digests = digests.join(", ");
        assert_eq!(
            told(&[plain(&one), plain(&two)], &unnamed),
            format!("several packages that have no tag; name one by its digest: {digests}")
        );
        assert_eq!(
            told(&[plain(&one), tagged(&two, "2")], &unnamed),
            format!("several packages; name one: :2, @{one}")
        );
        // Such a name cannot be written after a colon.
        assert_eq!(
            told(&[tagged(&one, "a/b:1"), tagged(&two, "2")], &unnamed),
            format!("several packages; name one: :2, @{one}")
        );
        let same = [tagged(&one, "1"), tagged(&two, "1")];
        assert_eq!(
            told(&same, &Which::Tag("1".into())),
            format!("several packages under this name; name one by its digest: {digests}")
        );
    }

    #[test]
    fn packages_without_a_tag_are_named_by_digest() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder(place.path());
        let first = Artifact::of(&package()).unwrap();
        let second = Artifact {
            manifest: b"{ }".to_vec(),
            ..Artifact::of(&package()).unwrap()
        };
        folder.push(&first, None).unwrap();
        folder.push(&second, None).unwrap();
        let told = folder.manifest(&Which::Unnamed).unwrap_err().to_string();
        for digest in [first.digest(), second.digest()] {
            assert!(told.contains(&format!("@{digest}")), "{told}");
            let found = folder.manifest(&Which::Digest(digest.clone())).unwrap();
            assert_eq!(found.0, digest);
        }
    }

    #[test]
    fn pushes_at_the_same_time_lose_nothing() {
        let place = tempfile::tempdir().unwrap();
        let artifact = Artifact::of(&package()).unwrap();
        let tags: Vec<String> = (0..16).map(|n| format!("1.0.{n}")).collect();
        std::thread::scope(|scope| {
            for tag in &tags {
                let (place, artifact) = (place.path(), &artifact);
                scope.spawn(move || Folder(place).push(artifact, Some(tag.as_str())).unwrap());
            }
        });
        let folder = Folder(place.path());
        for tag in tags {
            folder.manifest(&Which::Tag(tag)).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(place.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["blobs", INDEX, LOCK, LAYOUT]);
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
