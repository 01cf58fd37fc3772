//! The members of a package, and what may be one.
//!
//! Owns: names, sizes and the unpacking. What the members say is not its business.

use std::collections::BTreeMap;
use std::io::Read;

use super::PackageError;

/// The largest package, in bytes.
pub const MAX_PACKAGE: usize = 40 << 20;
/// The largest component, in bytes.
pub const MAX_COMPONENT: usize = 32 << 20;
/// The largest of the other members.
pub(super) const MAX_TEXT: usize = 1 << 20;
/// A package is made of blocks of so many bytes; each member has one more than its content fills.
pub(super) const BLOCK: usize = 512;
/// Members at most.
pub(super) const MAX_MEMBERS: usize = 1_000;

pub(super) const MANIFEST: &str = "plugin.toml";
pub(super) const COMPONENT: &str = "plugin.wasm";
pub(super) const SCHEMA: &str = "settings.schema.json";
pub(super) const SIGNATURE: &str = "signature.json";
pub(super) const COUNTERSIGNATURE: &str = "countersignature.json";

/// The members of a package. What is too large or does not belong in one is not read.
pub(super) fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, PackageError> {
    if bytes.len() > MAX_PACKAGE {
        return Err(too_large("the package", bytes.len(), MAX_PACKAGE));
    }
    let format = |error: std::io::Error| PackageError::Format(error.to_string());
    let mut archive = tar::Archive::new(bytes);
    let mut members = BTreeMap::new();
    for entry in archive.entries().map_err(format)? {
        let mut entry = entry.map_err(format)?;
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(PackageError::Format(
                "it holds more than plain files".into(),
            ));
        }
        let path = entry.path_bytes();
        let name = std::str::from_utf8(&path)
            .map_err(|_| PackageError::Format("a name is no UTF-8".into()))?
            .to_owned();
        let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        admit(&name, size)?;
        let mut content = Vec::with_capacity(size);
        entry.read_to_end(&mut content).map_err(format)?;
        if content.len() != size {
            return Err(PackageError::Format(format!("{name} is cut short")));
        }
        if members.insert(name.clone(), content).is_some() {
            return Err(PackageError::Format(format!("{name} is in it twice")));
        }
        if members.len() > MAX_MEMBERS {
            return Err(too_many());
        }
    }
    Ok(members)
}

/// Whether a member of this name and size may be in a package.
pub(super) fn admit(name: &str, size: usize) -> Result<(), PackageError> {
    if !known(name) {
        return Err(PackageError::Format(format!(
            "{name:?} does not belong in it; the names of fixtures are letters, digits and -_. and end in .json"
        )));
    }
    let most = match name {
        COMPONENT => MAX_COMPONENT,
        _ => MAX_TEXT,
    };
    match size > most {
        true => Err(too_large(name, size, most)),
        false => Ok(()),
    }
}

pub(super) fn too_many() -> PackageError {
    PackageError::Format(format!("it has more than {MAX_MEMBERS} members"))
}

/// The names that may stand in a package.
fn known(name: &str) -> bool {
    if [MANIFEST, COMPONENT, SCHEMA, SIGNATURE, COUNTERSIGNATURE].contains(&name) {
        return true;
    }
    name.strip_prefix("fixtures/").is_some_and(|rest| {
        rest.ends_with(".json")
            && rest.len() <= 90
            && rest
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && !rest.starts_with('.')
    })
}

pub(super) fn too_large(what: &str, size: usize, most: usize) -> PackageError {
    PackageError::TooLarge(format!("{what} has {size} bytes; at most {most} are taken"))
}
