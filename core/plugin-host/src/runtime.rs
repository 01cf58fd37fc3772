//! The engines that run plugins.
//!
//! Owns: one engine for each kind of hooks, the clock that interrupts guests, and the places for calls. Knows no plugin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::Engine;

use crate::kind::{Kind, config};
use crate::rooms::{OF_ALL, Rooms};

/// How often a running guest is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Why the engines cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("plugins cannot be run here: {0}")]
pub struct RuntimeError(String);

/// The engines. Clones share them; their clock ends with the last of them.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    interactive: Engine,
    deterministic: Engine,
    rooms: Rooms,
    stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Runtime {
    /// Starts the engines and their clock.
    ///
    /// # Errors
    /// [`RuntimeError`] when this machine cannot give the address space.
    pub fn new() -> Result<Self, RuntimeError> {
        // Read now, and not in the processor time of the first guest that asks for it.
        let _objects = pomona_catalogue::Catalogue::shipped();
        let interactive = engine(Kind::Interactive)?;
        let deterministic = engine(Kind::Deterministic)?;
        let stop = Arc::new(AtomicBool::new(false));
        let ticking = [interactive.weak(), deterministic.weak()];
        let until = stop.clone();
        std::thread::Builder::new()
            .name("plugin-clock".into())
            .spawn(move || {
                while !until.load(Ordering::Relaxed) {
                    std::thread::sleep(TICK);
                    for engine in &ticking {
                        match engine.upgrade() {
                            Some(engine) => engine.increment_epoch(),
                            None => return,
                        }
                    }
                }
            })
            .map_err(|error| RuntimeError(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            interactive,
            deterministic,
            rooms: Rooms::new(OF_ALL),
            stop,
        })))
    }

    pub(crate) fn rooms(&self) -> &Rooms {
        &self.0.rooms
    }

    pub(crate) fn engine(&self, kind: Kind) -> &Engine {
        match kind {
            Kind::Interactive => &self.0.interactive,
            Kind::Deterministic => &self.0.deterministic,
        }
    }
}

/// An engine, with a pool where this machine gives the address space for one.
fn engine(kind: Kind) -> Result<Engine, RuntimeError> {
    Engine::new(&config(kind, true)).or_else(|error| {
        tracing::warn!(
            error = format!("{error:#}"),
            "no pool for plugins on this machine: each call costs more"
        );
        Engine::new(&config(kind, false)).map_err(|error| RuntimeError(format!("{error:#}")))
    })
}
