//! From a component to native code.
//!
//! Owns: the compiling, which is done in a process of its own with limits, since a component can be made to be expensive.
//! What comes of it is an [`Artefact`], which knows what happens to it next.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use wasmtime::Engine;

use crate::artefact::Artefact;
use crate::error::PluginError;
use crate::kind::{Kind, config};

/// The signal that ends a process whose processor time is used up, SIGXCPU (POSIX, `setrlimit`).
const OUT_OF_TIME: i32 = 24;

/// Limits of the process that compiles.
#[derive(Clone, Copy, Debug)]
pub struct CompileLimits {
    /// From start to end.
    pub wall: Duration,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            // What an expensive component costs is bounded by the processor's time in the child. CPython takes about
            // twenty seconds of it, for each kind of hooks, and a busy machine gives it slowly.
            wall: Duration::from_secs(300),
        }
    }
}

/// Compiles in this process, for the child that [`compile`] starts: component in, native code out.
///
/// # Errors
/// [`PluginError::Unfit`], saying what is wrong with the component.
pub fn compile_here(component: &[u8], kind: Kind) -> Result<Vec<u8>, PluginError> {
    let unfit = |error: wasmtime::Error| PluginError::Unfit(format!("{error:#}"));
    let engine = Engine::new(&config(kind, true))
        .or_else(|_| Engine::new(&config(kind, false)))
        .map_err(unfit)?;
    if !component.starts_with(b"\0asm") {
        return Err(PluginError::Unfit(
            "plugin.wasm is no WebAssembly binary; build it with `pomona plugin build`".into(),
        ));
    }
    engine.precompile_component(component).map_err(unfit)
}

/// Compiles a component in a process of its own: `program` with `arguments` and the word of the kind, which must call
/// [`compile_here`] on its standard input. What it gives back is run: name no program but your own.
///
/// # Errors
/// [`PluginError::Unfit`] with what the compiler said, [`PluginError::Unready`] when it could not come to an end.
pub async fn compile(
    program: &Path,
    arguments: &[&str],
    component: &[u8],
    kind: Kind,
    limits: CompileLimits,
) -> Result<Artefact, PluginError> {
    let failed = |what: String| PluginError::Unready(what);
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .arg(kind.as_str())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("the compiler cannot be started: {error}")))?;
    let input = child.stdin.take();
    let work = async {
        let feed = async {
            if let Some(mut input) = input {
                // A compiler that has ended already tells why on its own.
                let _ = input.write_all(component).await;
                let _ = input.shutdown().await;
            }
        };
        let (_, output) = tokio::join!(feed, child.wait_with_output());
        output
    };
    let output = tokio::time::timeout(limits.wall, work)
        .await
        .map_err(|_| {
            failed(format!(
                "compiling it takes longer than {} s; the machine is busy, or it is made to be expensive",
                limits.wall.as_secs()
            ))
        })?
        .map_err(|error| failed(format!("the compiler cannot be waited for: {error}")))?;
    if output.status.success() {
        return Ok(Artefact::made_here(output.stdout));
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let told = told.trim();
    if output.status.signal() == Some(OUT_OF_TIME) {
        return Err(PluginError::Unfit(
            "compiling it takes more of the processor than a plugin may have; it is made to be expensive, or far too large".into(),
        ));
    }
    if told.is_empty() {
        return Err(failed(format!(
            "the compiler ended with {}: it needed more than it may have",
            output.status
        )));
    }
    Err(PluginError::Unfit(told.chars().take(2_000).collect()))
}
