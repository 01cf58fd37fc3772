//! The process that compiles a plugin's component.
//!
//! Owns: its limits, and how this program starts itself for it. Component on standard input, native code on standard output.

use std::io::{Read, Write};

use anyhow::Context;
use pomona_plugin_host::{
    Artefacts, CompileLimits, Kind, Package, PluginError, compile, compile_here, kinds,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The verb's name, which is nobody's to call but ours.
pub(crate) const VERB: &str = "compile-plugin";
/// Address space of the process: wasmtime's own needs, and what a component of 32 MiB takes.
const MEMORY: u64 = 8 << 30;
/// Processor time of it, in seconds.
const SECONDS: u64 = 120;
/// The largest component.
const LARGEST: u64 = 33 << 20;

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
    for (resource, most) in [
        (Resource::As, MEMORY),
        (Resource::Cpu, SECONDS),
        (Resource::Core, 0),
    ] {
        let maximum = getrlimit(resource).maximum;
        let most = maximum.map_or(most, |maximum| most.min(maximum));
        setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(most),
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

/// Compiles the component of a package, for each kind of hooks that it has, in a process of its own.
pub(crate) async fn in_a_child(package: &Package) -> Result<Artefacts, PluginError> {
    let program = std::env::current_exe().map_err(|error| {
        PluginError::Unfit(format!("this program cannot be found again: {error}"))
    })?;
    let make = |kind| {
        let program = &program;
        async move {
            let limits = CompileLimits::default();
            compile(program, &[VERB], &package.component, kind, limits).await
        }
    };
    if kinds(&package.manifest).contains(&Kind::Deterministic) {
        let (interactive, deterministic) =
            tokio::try_join!(make(Kind::Interactive), make(Kind::Deterministic))?;
        return Ok(Artefacts {
            interactive,
            deterministic: Some(deterministic),
        });
    }
    Ok(Artefacts {
        interactive: make(Kind::Interactive).await?,
        deterministic: None,
    })
}
