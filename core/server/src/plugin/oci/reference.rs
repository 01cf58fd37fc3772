//! Where a package lies: in a registry, or in a folder with the layout of one.
//!
//! Owns: how references are written and read. `oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:…]` is a registry,
//! `oci:FOLDER[:TAG][@sha256:…]` an image layout (OCI Image Format Specification, "Image Layout"). A digest outranks a tag.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{anyhow, bail};
use aws_lc_rs::digest::{SHA256, digest};
use url::Url;

/// A SHA-256 as registries write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(digest(&SHA256, bytes)))
    }

    /// The 64 hexadecimal digits.
    pub(super) fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for Digest {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.strip_prefix("sha256:") {
            Some(hex)
                if hex.len() == 64
                    && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) =>
            {
                Ok(Self(hex.to_owned()))
            }
            _ => bail!("{text:?} is no digest: it is sha256: and 64 lower-case hexadecimal digits"),
        }
    }
}

/// Which of the packages in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The one with this digest.
    Digest(Digest),
    /// The one that this tag is on now.
    Tag(String),
    /// None is named.
    Unnamed,
}

/// Where packages lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A repository of a registry.
    Registry {
        /// Name and, if it is not the usual one, port.
        host: String,
        /// The name of the repository.
        repository: String,
    },
    /// A folder.
    Folder(PathBuf),
}

/// A package somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) place: Place,
    pub(crate) which: Which,
}

impl Reference {
    /// Whether a text is meant as a reference and not as a file.
    pub(crate) fn is_one(text: &str) -> bool {
        text.starts_with("oci:")
    }

    /// The same place, with this digest.
    pub(crate) fn pinned(&self, digest: Digest) -> Self {
        Self {
            place: self.place.clone(),
            which: Which::Digest(digest),
        }
    }
}

impl FromStr for Reference {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let read = || {
            let Some(rest) = text.strip_prefix("oci:") else {
                bail!("it begins with oci:// for a registry, or with oci: for a folder");
            };
            let (name, digest) = match rest.rsplit_once('@') {
                Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
                None => (rest, None),
            };
            let (name, tag) = match name.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
                _ => (name, None),
            };
            if let Some(tag) = tag
                && !is_tag(tag)
            {
                bail!("{tag:?} is no tag");
            }
            let which = match (digest, tag) {
                (Some(digest), _) => Which::Digest(digest),
                (None, Some(tag)) => Which::Tag(tag.to_owned()),
                (None, None) => Which::Unnamed,
            };
            let place = match name.strip_prefix("//") {
                Some(name) => registry(name)?,
                None if name.is_empty() => bail!("no folder is named"),
                None => Place::Folder(PathBuf::from(name)),
            };
            Ok(Self { place, which })
        };
        read().map_err(|error| anyhow!("{text:?} is no reference: {error:#}"))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Registry { host, repository } => write!(f, "oci://{host}/{repository}")?,
            Place::Folder(folder) => write!(f, "oci:{}", folder.display())?,
        }
        match &self.which {
            Which::Digest(digest) => write!(f, "@{digest}"),
            Which::Tag(tag) => write!(f, ":{tag}"),
            Which::Unnamed => Ok(()),
        }
    }
}

fn registry(name: &str) -> anyhow::Result<Place> {
    let Some((host, repository)) = name.split_once('/') else {
        bail!("it names no repository: write oci://HOST/REPOSITORY");
    };
    // What follows is sent to this host: it has to be one and nothing more.
    let plain = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
    if !plain || Url::parse(&format!("https://{host}/")).is_err() {
        bail!("{host:?} is no host");
    }
    let part = |part: &str| {
        let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = part.as_bytes();
        ends(bytes.first())
            && ends(bytes.last())
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
    };
    if repository.len() > 255 || !repository.split('/').all(part) {
        bail!(
            "{repository:?} is no repository: lower-case letters, digits and . _ - between slashes"
        );
    }
    Ok(Place::Registry {
        host: host.to_ascii_lowercase(),
        repository: repository.to_owned(),
    })
}

/// Whether a text can be a tag.
pub(super) fn is_tag(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_reference_is_written_as_it_was_read() {
        for text in [
            "oci://registry.example/plugins/a".to_owned(),
            "oci://registry.example:5000/a:1.0.0".into(),
            format!("oci://127.0.0.1:5000/a/b-c/d.e@sha256:{HEX}"),
            "oci://[::1]:5000/a:latest".into(),
            "oci:folder".into(),
            "oci:/srv/plugins:1.0.0".into(),
            format!("oci:../plugins@sha256:{HEX}"),
        ] {
            let read: Reference = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
        assert_eq!(Digest::of(b"").hex(), HEX);
        let both: Reference = format!("oci://h/a:1@sha256:{HEX}").parse().unwrap();
        assert_eq!(both.which, Which::Digest(Digest::of(b"")), "not the tag");
    }

    #[test]
    fn what_is_none_is_refused_with_a_reason() {
        let upper = format!("oci://h/a@sha256:{}", HEX.to_uppercase());
        for (text, expected) in [
            ("registry.example/a", "begins with oci://"),
            ("oci:", "no folder"),
            ("oci://h", "no repository"),
            ("oci:///a", "no host"),
            ("oci://user@h/a", "no digest"),
            ("oci://h?x/a", "no host"),
            ("oci://h:99999/a", "no host"),
            ("oci://h/A", "no repository"),
            ("oci://h/a/../b", "no repository"),
            ("oci://h/a//b", "no repository"),
            ("oci://h/a?b", "no repository"),
            ("oci://h/a:-x", "no tag"),
            ("oci://h/a@sha512:00", "no digest"),
            (&upper, "no digest"),
        ] {
            let told = format!("{:#}", text.parse::<Reference>().unwrap_err());
            assert!(told.contains(expected), "{text}: {told}");
        }
    }
}
