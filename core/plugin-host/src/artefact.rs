//! Native code of components, and the shelf on which it waits for the next start.
//!
//! Owns: the only ways to an [`Artefact`]: our own compiler, and a file that bears the code of a key which only this server has.
//! A file that was changed, or made for another engine or another component, is not taken; it is made again.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::{constant_time, hmac};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::error::PluginError;
use crate::kind::Kind;
use crate::runtime::Runtime;

/// Bytes of the code at the front of a file.
const CODE: usize = 32;
/// The largest file that is read.
const LARGEST: u64 = 512 << 20;
/// What was not used for so long is taken away.
const KEPT: Duration = Duration::from_secs(60 * 60 * 24 * 60);

/// Native code of a component, made by our own compiler. Clones share it.
#[derive(Clone)]
pub struct Artefact(Arc<[u8]>);

impl std::fmt::Debug for Artefact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Artefact({} bytes)", self.0.len())
    }
}

/// The code of a plugin for each kind of hooks that it has.
#[derive(Debug)]
pub struct Artefacts {
    /// For hooks in the way of somebody who waits, and for looking at settings.
    pub interactive: Artefact,
    /// For deterministic hooks, where there are any.
    pub deterministic: Option<Artefact>,
}

impl Artefact {
    /// What our compiler has made: for `compile` alone, and for tests, which compile in their own process.
    pub(crate) fn made_here(native: Vec<u8>) -> Self {
        Self(native.into())
    }

    /// The component, ready to be linked.
    pub(crate) fn component(&self, engine: &Engine) -> Result<Component, PluginError> {
        // SAFETY: `Component::deserialize` runs what it is given. The bytes of an `Artefact` come from the standard output of
        // the program that `compile` was told to start, which its callers let be their own executable, or from a file of a
        // `Shelf` whose HMAC with this server's key was right, which nobody without that key can make and which `Shelf::put`
        // makes of such an `Artefact` only. The field is private and `made_here` has no caller but `compile` and tests.
        // wasmtime checks besides that they were made for this engine.
        #[allow(unsafe_code)]
        let component = unsafe { Component::deserialize(engine, &self.0) };
        component.map_err(|error| PluginError::Unfit(format!("{error:#}")))
    }
}

/// A folder of native code.
#[derive(Clone)]
pub struct Shelf {
    folder: PathBuf,
    key: hmac::Key,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Shelf {
    /// Opens the folder, makes it where it is missing, and takes away what has not been used for sixty days. `key` vouches
    /// for what lies there and must be known to nobody who could write there.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: &Path, key: &[u8; 32]) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        for entry in fs::read_dir(folder)?.flatten() {
            let ours = is_name(&entry.file_name().to_string_lossy());
            let old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|used| used.elapsed().is_ok_and(|time| time > KEPT));
            if ours && old {
                // Another process may have been quicker.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        })
    }

    /// The code of a component, if it lies here as it was put.
    #[must_use]
    pub fn take(&self, runtime: &Runtime, component: &[u8], kind: Kind) -> Option<Artefact> {
        let name = name(runtime.engine(kind), component, kind);
        let path = self.folder.join(&name);
        let file = fs::File::open(&path).ok()?;
        let mut bytes = Vec::new();
        (&file).take(LARGEST).read_to_end(&mut bytes).ok()?;
        let (code, native) = bytes.split_first_chunk::<CODE>()?;
        let right = self.code(&name, native);
        if constant_time::verify_slices_are_equal(right.as_ref(), code).is_err() {
            tracing::warn!(
                file = %path.display(),
                "code of a plugin was changed on the disk and is made again"
            );
            return None;
        }
        // For the next one who looks what is old. It is of no weight when that fails.
        let _ = file.set_modified(SystemTime::now());
        Some(Artefact(native.into()))
    }

    /// Puts the code of a component here.
    ///
    /// # Errors
    /// What the system says; nothing half-written is left in the place of something good.
    pub fn put(
        &self,
        runtime: &Runtime,
        component: &[u8],
        kind: Kind,
        artefact: &Artefact,
    ) -> io::Result<()> {
        let name = name(runtime.engine(kind), component, kind);
        let code = self.code(&name, &artefact.0);
        let path = self.folder.join(&name);
        let beside = self
            .folder
            .join(format!("{name}.{}.part", std::process::id()));
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| {
                file.write_all(code.as_ref())?;
                file.write_all(&artefact.0)
            })
            .and_then(|()| fs::rename(&beside, &path));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// The code is taken over the name, so that a file under another name is none, and over what it holds.
    fn code(&self, name: &str, native: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(name.as_bytes());
        context.update(native);
        context.sign()
    }
}

/// Whether a file of this name can be one of a shelf's: the folder may hold others.
fn is_name(name: &str) -> bool {
    let digits = name.split('.').next().unwrap_or_default();
    let rest = name.get(digits.len()..).unwrap_or_default();
    digits.len() == 64
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && (rest.is_empty() || rest.ends_with(".part"))
}

/// A name for what a component becomes on this engine.
fn name(engine: &Engine, component: &[u8], kind: Kind) -> String {
    let mut hasher = Sha256(Context::new(&SHA256));
    engine.precompile_compatibility_hash().hash(&mut hasher);
    kind.as_str().hash(&mut hasher);
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    let mut context = hasher.0;
    context.update(component);
    hex::encode(context.finish())
}

/// Hashes with SHA-256: a name must be the same in another process, and in no way the same for two components.
struct Sha256(Context);

impl Hasher for Sha256 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Whole digests are taken from the context.
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::compile_here;

    const COMPONENT: &[u8] = b"(component (core module (func (export \"f\"))))";

    #[tokio::test]
    async fn only_what_was_put_here_with_this_key_is_taken_again() {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let component = wat::parse_bytes(COMPONENT).unwrap();
        let native = compile_here(&component, Kind::Interactive).unwrap();
        let made = Artefact::made_here(native);
        let shelf = Shelf::open(folder.path(), &[7; 32]).unwrap();
        let take = |shelf: &Shelf, kind| shelf.take(&runtime, &component, kind);
        assert!(take(&shelf, Kind::Interactive).is_none());
        shelf
            .put(&runtime, &component, Kind::Interactive, &made)
            .unwrap();
        let taken = take(&shelf, Kind::Interactive).unwrap();
        assert_eq!(taken.0, made.0);
        taken.component(runtime.engine(Kind::Interactive)).unwrap();
        assert!(take(&shelf, Kind::Deterministic).is_none());
        let mut other = component.to_vec();
        other.push(0);
        assert!(shelf.take(&runtime, &other, Kind::Interactive).is_none());
        // Another server's key.
        let foreign = Shelf::open(folder.path(), &[8; 32]).unwrap();
        assert!(take(&foreign, Kind::Interactive).is_none());
        // One bit, anywhere.
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap();
        let path = file.unwrap().path();
        let good = fs::read(&path).unwrap();
        for at in [0, CODE, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(take(&shelf, Kind::Interactive).is_none(), "byte {at}");
        }
        // Cut short, and under the name of another.
        fs::write(&path, &good[..CODE - 1]).unwrap();
        assert!(take(&shelf, Kind::Interactive).is_none());
        let elsewhere = name(runtime.engine(Kind::Interactive), &other, Kind::Interactive);
        fs::write(folder.path().join(elsewhere), &good).unwrap();
        assert!(shelf.take(&runtime, &other, Kind::Interactive).is_none());
        fs::write(&path, &good).unwrap();
        assert!(take(&shelf, Kind::Interactive).is_some());
    }

    #[test]
    fn what_nobody_used_for_long_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let [old, part, new, foreign] = [
            "a".repeat(64),
            format!("{}.77.part", "b".repeat(64)),
            "c".repeat(64),
            "root.key".into(),
        ]
        .map(|name| folder.path().join(name));
        for path in [&old, &part, &new, &foreign] {
            fs::write(path, "x").unwrap();
        }
        let then = SystemTime::now() - KEPT - Duration::from_secs(60);
        for path in [&old, &part, &foreign] {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(then).unwrap();
        }
        Shelf::open(folder.path(), &[7; 32]).unwrap();
        assert!(!old.exists() && !part.exists());
        assert!(
            new.exists() && foreign.exists(),
            "what is not its own stays"
        );
    }
}
