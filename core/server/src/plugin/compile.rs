//! The process that compiles a plugin's component.
//!
//! Owns: its limits, and how this program starts itself for it. Component on standard input, native code on standard output.

use std::io::{Read, Write};

use anyhow::Context;
use pomona_plugin_host::{Artefact, CompileLimits, PluginError, compile, compile_here};
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
pub(crate) struct CompilePlugin {}

/// Compiles standard input within limits.
pub(crate) fn compile_plugin(_: &CompilePlugin) -> anyhow::Result<()> {
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
    let native = compile_here(&component)?;
    std::io::stdout()
        .write_all(&native)
        .context("cannot write the native code")
}

/// Compiles a component in a process of its own.
pub(crate) async fn in_a_child(component: &[u8]) -> Result<Artefact, PluginError> {
    let program = std::env::current_exe().map_err(|error| {
        PluginError::Unfit(format!("this program cannot be found again: {error}"))
    })?;
    compile(&program, &[VERB], component, CompileLimits::default()).await
}
