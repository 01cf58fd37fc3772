//! From packages to native code: what was made before, or the process that compiles a component.
//!
//! Owns: the limits of that process, and how this program starts itself for it: component on standard input, native code on
//! standard output. Whether kept code may be run is the business of the plugin host.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use pomona_plugin_host::{
    Artefact, Artefacts, CompileLimits, Kind, MAX_COMPONENT, Package, PluginError, Runtime, Shelf,
    compile, compile_here, kinds,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;

use super::tools;
use crate::files;

/// The verb's name, which is nobody's to call but ours.
pub(crate) const VERB: &str = "compile-plugin";
/// Address space of the process: wasmtime's own needs, and what a component of 32 MiB takes.
const MEMORY: u64 = 8 << 30;
/// Processor time of it, in seconds.
const SECONDS: u64 = 120;
/// Such processes at a time: whoever may switch a plugin on can make one start.
const AT_A_TIME: usize = 2;
/// So much is read of a component: more than one may have.
const LARGEST: u64 = MAX_COMPONENT as u64 + 1;

/// `pomona compile-plugin`
#[derive(Debug, clap::Args)]
pub(crate) struct CompilePlugin {
    /// For which hooks.
    #[arg(value_parser = kind)]
    kind: Kind,
}

fn kind(word: &str) -> Result<Kind, String> {
    Kind::from_word(word).ok_or_else(|| "it is interactive or deterministic".into())
}

/// Compiles standard input within limits.
pub(crate) fn compile_plugin(asked: &CompilePlugin) -> anyhow::Result<()> {
    // The signal of a processor's time that is used up comes at the lower of its two limits, and tells why it ended.
    for (resource, most, end) in [
        (Resource::As, MEMORY, MEMORY),
        (Resource::Cpu, SECONDS, SECONDS + 5),
        (Resource::Core, 0, 0),
    ] {
        let maximum = getrlimit(resource).maximum;
        let within = |most: u64| maximum.map_or(most, |maximum| most.min(maximum));
        setrlimit(
            resource,
            Rlimit {
                current: Some(within(most)),
                maximum: Some(within(end)),
            },
        )
        .context("the limits of the compiler cannot be set")?;
    }
    let mut component = Vec::new();
    std::io::stdin()
        .take(LARGEST)
        .read_to_end(&mut component)
        .context("cannot read the component")?;
    let native = compile_here(&component, asked.kind)?;
    std::io::stdout()
        .write_all(&native)
        .context("cannot write the native code")
}

/// This very program, also when the file that it was started from has been replaced by another version since.
fn this_program() -> Result<PathBuf, PluginError> {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return Ok(running.to_owned());
    }
    std::env::current_exe().map_err(|error| {
        PluginError::Unready(format!("this program cannot be found again: {error}"))
    })
}

/// Where the command line keeps native code, for those who build plugins: a folder and a key of this user's own.
pub(crate) fn authors_shelf() -> Option<Shelf> {
    let folder = tools::cache().ok()?;
    let key = authors_key(&folder.join("code.key")).ok()?;
    Shelf::open(&folder.join("code"), &key).ok()
}

/// The key in a file that only this user can read, made where there is none.
fn authors_key(path: &Path) -> anyhow::Result<[u8; 32]> {
    if !path.exists() {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| anyhow::anyhow!("no random numbers"))?;
        // Another process may be quicker; then its key counts.
        let _ = files::write_secret(path, &hex::encode(key));
    }
    let key = hex::decode(std::fs::read_to_string(path)?.trim())?;
    Ok(<[u8; 32]>::try_from(key.as_slice())?)
}

/// Makes native code of packages, or takes what was made before.
#[derive(Debug)]
pub(crate) struct Compiler {
    runtime: Runtime,
    shelf: Option<Shelf>,
    places: Semaphore,
}

impl Compiler {
    /// A compiler for this engine, and where its work is kept.
    pub(crate) fn new(runtime: &Runtime, shelf: Option<Shelf>) -> Self {
        Self {
            runtime: runtime.clone(),
            shelf,
            places: Semaphore::new(AT_A_TIME),
        }
    }

    /// The code of a package, for each kind of hooks that it has. What is not at hand is made in a process of its own.
    pub(crate) async fn code(&self, package: &Package) -> Result<Artefacts, PluginError> {
        if kinds(&package.manifest).contains(&Kind::Deterministic) {
            let (interactive, deterministic) = tokio::try_join!(
                self.of_kind(package, Kind::Interactive),
                self.of_kind(package, Kind::Deterministic)
            )?;
            return Ok(Artefacts {
                interactive,
                deterministic: Some(deterministic),
            });
        }
        Ok(Artefacts {
            interactive: self.of_kind(package, Kind::Interactive).await?,
            deterministic: None,
        })
    }

    async fn of_kind(&self, package: &Package, kind: Kind) -> Result<Artefact, PluginError> {
        let known = self.on_shelf(package, move |shelf, runtime, component| {
            shelf.take(runtime, component, kind)
        });
        if let Some(Some(artefact)) = known.await {
            return Ok(artefact);
        }
        let program = this_program()?;
        let limits = CompileLimits::default();
        let made = {
            // Nobody closes it, so there is always a place to wait for.
            let _place = self.places.acquire().await.ok();
            compile(&program, &[VERB], &package.component, kind, limits).await?
        };
        let kept = made.clone();
        let put = self.on_shelf(package, move |shelf, runtime, component| {
            shelf.put(runtime, component, kind, &kept)
        });
        if let Some(Err(error)) = put.await {
            tracing::warn!(%error, "the code of a plugin cannot be kept; it is made again at the next start");
        }
        Ok(made)
    }

    /// Does something with the shelf where blocking harms nobody.
    async fn on_shelf<T: Send + 'static>(
        &self,
        package: &Package,
        work: impl FnOnce(&Shelf, &Runtime, &[u8]) -> T + Send + 'static,
    ) -> Option<T> {
        let (shelf, runtime) = (self.shelf.clone()?, self.runtime.clone());
        let component = package.component.clone();
        let done = move || work(&shelf, &runtime, &component);
        tokio::task::spawn_blocking(done).await.ok()
    }
}
