//! `pomona plugin sign`, `countersign`, `push`, `pull` and `install`: how a package gets from its author to a server.
//!
//! Owns: these verbs. A server fetches nothing itself and needs no way out: what it installs is sent to it from here.

use std::path::{Path, PathBuf};

use anyhow::Context;
use http::Method;
use pomona_plugin_host::{MAX_PACKAGE, Package, Role, SignatureError, SigningKey};
use serde_json::json;

use super::oci::{self, Access, AccessArgs, Reference};
use super::{INSTALLED, read};
use crate::client::{Api, Output, Place, query};
use crate::files;

/// What is signed, and by whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// The package.
    package: PathBuf,
    /// The file of `keygen`.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// What is put where.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// The package.
    package: PathBuf,
    /// oci://HOST[:PORT]/REPOSITORY[:TAG] for a registry, oci:FOLDER[:TAG] for a folder; the tag is the version when left
    /// out.
    reference: Reference,
    #[command(flatten)]
    access: AccessArgs,
}

/// What is fetched.
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// oci://HOST[:PORT]/REPOSITORY, with @sha256:… or :TAG, for a registry; oci:FOLDER for a folder.
    reference: Reference,
    /// Where the package goes; ID-VERSION.pomona in this folder when left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    access: AccessArgs,
}

/// What is installed.
#[derive(Debug, clap::Args)]
pub(crate) struct Install {
    /// The package: a file, or a reference as for `pull`. What a tag stands for is looked up once and noted with its digest.
    package: String,
    #[command(flatten)]
    access: AccessArgs,
}

/// Signs a package in place.
pub(super) fn sign(sign: &Sign, role: Role, out: &Output) -> anyhow::Result<()> {
    let text = String::from_utf8(read(&sign.key)?).map_err(|_| SignatureError::Key)?;
    let key = SigningKey::read(&text).with_context(|| sign.key.display().to_string())?;
    let path = &sign.package;
    let mut package = of_file(path)?;
    package.sign(role, &key);
    write(path, &package)?;
    let told = json!({ "public_key": key.public(), "digest": package.digest() });
    out.said(&format!("signed with {}", key.public()), &told)
}

/// Puts a package somewhere.
pub(super) async fn push(push: Push, place: &Place, out: &Output) -> anyhow::Result<()> {
    let package = of_file(&push.package)?;
    let access = access(&push.access, &push.reference)?;
    let authorities = place.public_authorities();
    let pinned = oci::push(&package, &push.reference, access, &authorities).await?;
    let told = json!({ "reference": pinned.to_string(), "package_digest": package.digest() });
    out.said(&format!("pushed {pinned}"), &told)
}

/// Fetches a package into a file.
pub(super) async fn pull(pull: Pull, place: &Place, out: &Output) -> anyhow::Result<()> {
    let (package, pinned) = fetch(&pull.reference, &pull.access, place).await?;
    let manifest = &package.manifest;
    let name = format!("{}-{}.pomona", manifest.id, manifest.version);
    let path = pull.out.unwrap_or_else(|| name.into());
    write(&path, &package)?;
    let told = json!({
        "reference": pinned.to_string(),
        "package": path.display().to_string(),
        "package_digest": package.digest(),
    });
    let sentence = format!("pulled {pinned} into {}", path.display());
    out.said(&sentence, &told)
}

/// Sends a package to the server.
pub(super) async fn install(
    install: Install,
    place: &Place,
    dir: Option<&Path>,
    out: &Output,
) -> anyhow::Result<()> {
    let api = Api::open(place, dir)?;
    let (package, source) = of_place(&install.package, &install.access, place).await?;
    let to = query("plugins", &[("source", source.as_deref())]);
    let bytes = package.bytes;
    out.one(&api.upload(Method::POST, &to, bytes).await?, INSTALLED)
}

/// A package that is to travel to the server.
pub(super) struct Sent {
    /// The plugin's id.
    pub(super) id: String,
    /// The package.
    pub(super) bytes: Vec<u8>,
}

/// The package of a file or of a reference in a registry, with the reference by digest.
pub(super) async fn of_place(
    named: &str,
    args: &AccessArgs,
    place: &Place,
) -> anyhow::Result<(Sent, Option<String>)> {
    if Reference::is_one(named) {
        let (package, pinned) = fetch(&named.parse()?, args, place).await?;
        let sent = Sent {
            bytes: package.write()?,
            id: package.manifest.id,
        };
        return Ok((sent, Some(pinned.to_string())));
    }
    let path = Path::new(named);
    let bytes = read(path)?;
    // What is wrong with it can be told before it travels.
    let package = Package::read(&bytes).with_context(|| path.display().to_string())?;
    let id = package.manifest.id;
    Ok((Sent { id, bytes }, None))
}

async fn fetch(
    reference: &Reference,
    args: &AccessArgs,
    place: &Place,
) -> anyhow::Result<(Package, Reference)> {
    let access = access(args, reference)?;
    oci::pull(reference, access, &place.public_authorities()).await
}

fn access(args: &AccessArgs, reference: &Reference) -> anyhow::Result<Access> {
    match &reference.place {
        oci::Place::Registry { host, .. } => args.for_host(host),
        oci::Place::Folder(_) => Ok(Access::default()),
    }
}

fn of_file(path: &Path) -> anyhow::Result<Package> {
    Package::read(&read(path)?).with_context(|| path.display().to_string())
}

fn write(path: &Path, package: &Package) -> anyhow::Result<()> {
    let bytes = package.write()?;
    anyhow::ensure!(
        bytes.len() <= MAX_PACKAGE,
        "the package has {} bytes; at most {MAX_PACKAGE} are taken",
        bytes.len()
    );
    put(path, &bytes)
}

/// Writes a file; the one that is there may be the only copy.
fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    // A link goes on pointing to it.
    let file = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    match path.metadata() {
        // A terminal or a pipe takes the bytes, and nothing can stand in its place.
        Ok(there) if !there.is_file() => {
            std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
        }
        _ => files::replace(&file, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_replaced_behind_a_link() {
        let place = tempfile::tempdir().unwrap();
        let [real, link] = ["real.pomona", "link.pomona"].map(|name| place.path().join(name));
        put(&real, b"first").unwrap();
        std::os::unix::fs::symlink("real.pomona", &link).unwrap();
        put(&link, b"second").unwrap();
        assert_eq!(std::fs::read(&real).unwrap(), b"second");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
        put(Path::new("/dev/null"), b"third").unwrap();
        assert!(put(place.path(), b"fourth").is_err());
    }
}
