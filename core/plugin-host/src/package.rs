//! A plugin as one file.
//!
//! Owns: the format of a `.pomona` package (a tar archive of `plugin.toml`, `plugin.wasm`, the schema of its settings and its
//! fixtures), and its digest, by which it is approved, run and revoked. Reads nothing that is not named here.

mod archive;

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};

use archive::{
    BLOCK, COMPONENT, COUNTERSIGNATURE, MANIFEST, MAX_MEMBERS, SCHEMA, SIGNATURE, admit, too_large,
    too_many, unpack,
};
pub use archive::{MAX_COMPONENT, MAX_PACKAGE};

use crate::manifest::{Manifest, ManifestError};
use crate::signature::{Role, Signature, SigningKey};

/// Why a package is refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PackageError {
    /// It is no package, or one that is damaged.
    #[error("this is no plugin package: {0}; make one with `pomona plugin build`")]
    Format(String),
    /// It is larger than what is read.
    #[error("{0}")]
    TooLarge(String),
    /// Its manifest is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A signature on it cannot be read or is for something else.
    #[error("{0}")]
    Signature(String),
    /// The schema of its settings is no JSON.
    #[error("settings.schema.json: {0}")]
    Schema(String),
}

/// A package, read and checked; its component has not been looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The component.
    pub component: Vec<u8>,
    /// The JSON Schema of its settings.
    pub schema: Option<serde_json::Value>,
    /// Its publisher's signature, which has been found to be for this package.
    pub signature: Option<Signature>,
    /// The signature of an organisation that takes it, which has been found to be for this package.
    pub countersignature: Option<Signature>,
    /// Everything in it but the signatures, by name.
    members: BTreeMap<String, Vec<u8>>,
}

impl Package {
    /// Puts a package together; `fixtures` are named without their folder.
    ///
    /// # Errors
    /// [`PackageError`] when the parts would be refused on reading.
    pub fn new(
        manifest: &str,
        component: Vec<u8>,
        schema: Option<String>,
        fixtures: BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, PackageError> {
        let mut members = BTreeMap::new();
        members.insert(MANIFEST.to_owned(), manifest.as_bytes().to_vec());
        members.insert(COMPONENT.to_owned(), component);
        if let Some(schema) = schema {
            members.insert(SCHEMA.to_owned(), schema.into_bytes());
        }
        for (name, content) in fixtures {
            members.insert(format!("fixtures/{name}"), content);
        }
        Self::checked(members)
    }

    /// Reads a package.
    ///
    /// # Errors
    /// [`PackageError`], saying what is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, PackageError> {
        Self::checked(unpack(bytes)?)
    }

    /// Reads a package that was taken once, also when its manifest is not good any more for this version of the server: then
    /// that is told beside it.
    ///
    /// # Errors
    /// [`PackageError`] when it cannot be read at all.
    pub fn read_kept(bytes: &[u8]) -> Result<(Self, Option<ManifestError>), PackageError> {
        Self::of(unpack(bytes)?)
    }

    /// The fixtures by name, without their folder.
    pub fn fixtures(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.members.iter().filter_map(|(name, content)| {
            Some((name.strip_prefix("fixtures/")?, content.as_slice()))
        })
    }

    /// Puts a signature into the package, in the place of the one of that role. The other one stays.
    pub fn sign(&mut self, role: Role, key: &SigningKey) {
        let signature = Some(key.sign(role, &self.digest()));
        match role {
            Role::Publisher => self.signature = signature,
            Role::Organisation => self.countersignature = signature,
        }
    }

    /// Everything in it but the component, signatures included, as texts by name: what travels beside the component where
    /// that goes alone.
    ///
    /// # Errors
    /// [`PackageError::Format`] when a fixture is no UTF-8.
    pub fn parts(&self) -> Result<BTreeMap<String, String>, PackageError> {
        self.all()?
            .into_iter()
            .filter(|(name, _)| name != COMPONENT)
            .map(|(name, content)| match String::from_utf8(content) {
                Ok(text) => Ok((name, text)),
                Err(_) => Err(PackageError::Format(format!("{name} is no UTF-8"))),
            })
            .collect()
    }

    /// Puts a package together from its component and [`parts`](Self::parts).
    ///
    /// # Errors
    /// [`PackageError`], as on reading.
    pub fn assemble(
        component: Vec<u8>,
        parts: BTreeMap<String, String>,
    ) -> Result<Self, PackageError> {
        let mut members = BTreeMap::from([(COMPONENT.to_owned(), component)]);
        for (name, text) in parts {
            if members.insert(name.clone(), text.into_bytes()).is_some() {
                return Err(PackageError::Format(format!("{name} is in it twice")));
            }
        }
        Self::checked(members)
    }

    /// What every package must be, wherever its members come from.
    fn checked(members: BTreeMap<String, Vec<u8>>) -> Result<Self, PackageError> {
        if members.len() > MAX_MEMBERS {
            return Err(too_many());
        }
        let mut size = 2 * BLOCK;
        for (name, content) in &members {
            admit(name, content.len())?;
            size += BLOCK + content.len().next_multiple_of(BLOCK);
        }
        if size > MAX_PACKAGE {
            return Err(too_large("the package", size, MAX_PACKAGE));
        }
        match Self::of(members)? {
            (package, None) => Ok(package),
            (_, Some(problem)) => Err(problem.into()),
        }
    }

    fn of(
        mut members: BTreeMap<String, Vec<u8>>,
    ) -> Result<(Self, Option<ManifestError>), PackageError> {
        let signature = take_signature(&mut members, SIGNATURE)?;
        let countersignature = take_signature(&mut members, COUNTERSIGNATURE)?;
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(content) => String::from_utf8(content.clone())
                .map(Some)
                .map_err(|_| PackageError::Format(format!("{name} is no UTF-8"))),
        };
        let missing = |name| PackageError::Format(format!("{name} is missing"));
        let (manifest, problem) =
            Manifest::kept(&text(MANIFEST)?.ok_or_else(|| missing(MANIFEST))?)?;
        let component = members
            .get(COMPONENT)
            .cloned()
            .ok_or_else(|| missing(COMPONENT))?;
        let schema = match text(SCHEMA)? {
            None => None,
            Some(text) => Some(
                serde_json::from_str(&text)
                    .map_err(|error| PackageError::Schema(error.to_string()))?,
            ),
        };
        let package = Self {
            manifest,
            component,
            schema,
            signature,
            countersignature,
            members,
        };
        for (name, role, signature) in [
            (SIGNATURE, Role::Publisher, &package.signature),
            (
                COUNTERSIGNATURE,
                Role::Organisation,
                &package.countersignature,
            ),
        ] {
            if let Some(signature) = signature {
                signature
                    .verify(role, &package.digest())
                    .map_err(|error| PackageError::Signature(format!("{name}: {error}")))?;
            }
        }
        Ok((package, problem))
    }

    /// Every member, signatures included.
    fn all(&self) -> Result<BTreeMap<String, Vec<u8>>, PackageError> {
        let mut members = self.members.clone();
        for (name, signature) in [
            (SIGNATURE, &self.signature),
            (COUNTERSIGNATURE, &self.countersignature),
        ] {
            if let Some(signature) = signature {
                let text = serde_json::to_vec(signature)
                    .map_err(|error| PackageError::Signature(format!("{name}: {error}")))?;
                members.insert(name.to_owned(), text);
            }
        }
        Ok(members)
    }

    /// The package as bytes: the same parts give the same bytes.
    ///
    /// # Errors
    /// [`PackageError::Format`] when a name is too long for the format.
    pub fn write(&self) -> Result<Vec<u8>, PackageError> {
        let format = |error: std::io::Error| PackageError::Format(error.to_string());
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in &self.all()? {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            archive
                .append_data(&mut header, name, content.as_slice())
                .map_err(format)?;
        }
        archive.into_inner().map_err(format)
    }

    /// The digest of its parts, as lower-case hexadecimal SHA-256: each member's name and content with their lengths, in
    /// the order of names.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut context = Context::new(&SHA256);
        for (name, content) in &self.members {
            for part in [name.as_bytes(), content.as_slice()] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
        }
        hex::encode(context.finish())
    }
}

/// Takes a signature out of the members.
fn take_signature(
    members: &mut BTreeMap<String, Vec<u8>>,
    name: &str,
) -> Result<Option<Signature>, PackageError> {
    let Some(text) = members.remove(name) else {
        return Ok(None);
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| PackageError::Signature(format!("{name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::archive::MAX_TEXT;
    use super::*;

    const TOML: &str = "id = \"org.example.a\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"A\"\n[hooks.events]\n";

    fn package() -> Package {
        let fixtures = BTreeMap::from([("one.json".to_owned(), b"{}".to_vec())]);
        Package::new(TOML, b"\0asm".to_vec(), Some("{}".into()), fixtures).unwrap()
    }

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            // Names that the library would not write are what the reader must refuse.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, *content).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let package = package();
        let bytes = package.write().unwrap();
        assert_eq!(bytes, package.write().unwrap());
        let read = Package::read(&bytes).unwrap();
        assert_eq!(read, package);
        assert_eq!(read.digest(), package.digest());
    }

    #[test]
    fn what_could_not_be_read_again_is_not_made() {
        let make = |name: &str, size: usize| {
            let fixtures = BTreeMap::from([(name.to_owned(), vec![b' '; size])]);
            Package::new(TOML, b"\0asm".to_vec(), None, fixtures)
        };
        let told = make("my case.json", 2).unwrap_err().to_string();
        assert!(told.contains("fixtures/my case.json"), "{told}");
        assert!(make("big.json", MAX_TEXT).is_ok());
        let told = make("big.json", MAX_TEXT + 1).unwrap_err().to_string();
        assert!(told.contains("1048577 bytes"), "{told}");
        let many = (0..MAX_MEMBERS)
            .map(|n| (format!("{n}.json"), Vec::new()))
            .collect();
        assert!(Package::new(TOML, b"\0asm".to_vec(), None, many).is_err());
        let fixtures = (0..40)
            .map(|n| (format!("{n}.json"), vec![b' '; MAX_TEXT]))
            .collect();
        let told = Package::new(TOML, b"\0asm".to_vec(), None, fixtures).unwrap_err();
        assert!(told.to_string().starts_with("the package has"), "{told}");
    }

    #[test]
    fn one_that_is_not_good_any_more_can_still_be_looked_at() {
        let toml = TOML.replace("0.9", "99.0");
        let bytes = archive(&[("plugin.toml", toml.as_bytes()), ("plugin.wasm", b"\0asm")]);
        assert!(Package::read(&bytes).is_err());
        let (kept, problem) = Package::read_kept(&bytes).unwrap();
        assert_eq!(kept.manifest.hooks.len(), 1);
        assert!(problem.is_some());
        // What this version cannot even read still says which hooks are to fail.
        let toml = format!("{toml}[hooks.command-validate]\nmood = \"new\"\n[hooks.farewell]\n");
        let bytes = archive(&[("plugin.toml", toml.as_bytes()), ("plugin.wasm", b"\0asm")]);
        let (kept, problem) = Package::read_kept(&bytes).unwrap();
        assert_eq!(kept.manifest.id, "org.example.a");
        let hooks: Vec<&str> = kept
            .manifest
            .hooks
            .keys()
            .map(|hook| hook.as_str())
            .collect();
        assert_eq!(hooks, ["command-validate", "events"]);
        assert!(problem.unwrap().to_string().contains("99.0"));
        let bytes = archive(&[("plugin.toml", b"hooks"), ("plugin.wasm", b"\0asm")]);
        assert!(Package::read_kept(&bytes).is_err());
        assert_eq!(
            Package::read_kept(&package().write().unwrap()).unwrap().1,
            None
        );
    }

    #[test]
    fn a_signature_does_not_outlive_a_change() {
        let mut package = package();
        let digest = package.digest();
        package.sign(Role::Publisher, &SigningKey::generate().unwrap());
        assert_eq!(package.digest(), digest, "it is no part of what it is for");
        let first = package.signature.clone();
        package.sign(Role::Organisation, &SigningKey::generate().unwrap());
        assert_eq!(package.digest(), digest);
        assert_eq!(package.signature, first, "a second one leaves the first");
        let bytes = package.write().unwrap();
        assert_eq!(Package::read(&bytes).unwrap(), package);
        let mut changed = package.clone();
        changed
            .members
            .insert("plugin.wasm".into(), b"\0asn".to_vec());
        let told = Package::read(&changed.write().unwrap())
            .unwrap_err()
            .to_string();
        assert!(told.contains("not for this package"), "{told}");
        changed.signature = None;
        let told = Package::read(&changed.write().unwrap()).unwrap_err();
        assert!(told.to_string().starts_with("countersignature.json"));
        // A signature of one role in the place of the other.
        package.countersignature = package.signature.clone();
        assert!(Package::read(&package.write().unwrap()).is_err());
    }

    #[test]
    fn it_is_the_same_after_its_parts_have_travelled_apart() {
        let mut package = package();
        package.sign(Role::Publisher, &SigningKey::generate().unwrap());
        package.sign(Role::Organisation, &SigningKey::generate().unwrap());
        let parts = package.parts().unwrap();
        let names: Vec<&str> = parts.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "countersignature.json",
                "fixtures/one.json",
                "plugin.toml",
                "settings.schema.json",
                "signature.json"
            ]
        );
        let again = Package::assemble(package.component.clone(), parts.clone()).unwrap();
        assert_eq!(again.write().unwrap(), package.write().unwrap());
        let mut strange = parts.clone();
        strange.insert("plugin.wasm".into(), "\0asm".into());
        assert!(Package::assemble(package.component.clone(), strange).is_err());
        let mut large = parts;
        large.insert("fixtures/two.json".into(), " ".repeat(MAX_TEXT + 1));
        let told = Package::assemble(package.component, large).unwrap_err();
        assert!(matches!(told, PackageError::TooLarge(_)), "{told}");
    }

    #[test]
    fn every_part_changes_the_digest() {
        let base = package().digest();
        let other = Package::new(TOML, b"\0asn".to_vec(), Some("{}".into()), BTreeMap::new());
        assert_ne!(base, other.unwrap().digest());
        let fixtures = BTreeMap::from([("two.json".to_owned(), b"{}".to_vec())]);
        let other = Package::new(TOML, b"\0asm".to_vec(), Some("{}".into()), fixtures);
        assert_ne!(base, other.unwrap().digest());
    }

    #[test]
    fn a_package_cut_anywhere_is_refused() {
        let bytes = package().write().unwrap();
        // The end of an archive is two empty blocks, which a reader can do without.
        let end = bytes.len() - 1024;
        for length in (0..end).step_by(97) {
            assert!(
                Package::read(&bytes[..length]).is_err(),
                "{length} of {end} bytes"
            );
        }
    }

    #[test]
    fn what_does_not_belong_in_it_is_named() {
        let toml = TOML.as_bytes();
        let cases: &[(Vec<u8>, &str)] = &[
            (b"\x7fELF".repeat(200), "no plugin package"),
            (archive(&[]), "plugin.toml is missing"),
            (archive(&[("plugin.toml", toml)]), "plugin.wasm is missing"),
            (
                archive(&[("plugin.toml", toml), ("../x", b"")]),
                "does not belong",
            ),
            (
                archive(&[("plugin.toml", toml), ("/etc/x", b"")]),
                "does not belong",
            ),
            (
                archive(&[("plugin.toml", toml), ("fixtures/../x.json", b"")]),
                "does not belong",
            ),
            (
                archive(&[("plugin.toml", toml), ("plugin.toml", toml)]),
                "twice",
            ),
            (archive(&[("plugin.toml", b"\xff")]), "no UTF-8"),
            (
                archive(&[
                    ("plugin.toml", toml),
                    ("plugin.wasm", b""),
                    ("settings.schema.json", b"{"),
                ]),
                "settings.schema.json",
            ),
            (vec![0; MAX_PACKAGE + 1], "at most"),
        ];
        for (bytes, expected) in cases {
            let told = Package::read(bytes).unwrap_err().to_string();
            assert!(told.contains(expected), "{told}\nshould hold: {expected}");
        }
    }
}
