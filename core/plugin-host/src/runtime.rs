//! The engines that run plugins.
//!
//! Owns: wasmtime's configuration for the two kinds of hooks, the clock that interrupts guests, and what each capability links.
//! Knows no plugin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

use crate::bindings::pomona::host;
use crate::call::CallState;
use crate::compile::Kind;
use crate::rooms::{ASIDE, OF_ALL, Rooms, WARM};

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

/// The configuration that code is compiled for and run with.
pub(crate) fn config(kind: Kind, pool: bool) -> Config {
    let mut config = Config::new();
    let same = kind == Kind::Deterministic;
    config
        .consume_fuel(same)
        .cranelift_nan_canonicalization(same)
        .epoch_interruption(true)
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(16));
    if pool {
        // Deterministic hooks begin afresh each time.
        let calls = OF_ALL + ASIDE + if same { 0 } else { WARM };
        let mut pooling = PoolingAllocationConfig::new();
        pooling
            .total_component_instances(calls)
            // CPython is 38 core instances, QuickJS is 11 with three memories: a pool must not run dry of parts while it
            // has room for calls. An instance costs no address space, a memory costs 4 GiB of it.
            .total_core_instances(calls * 40)
            .total_memories(calls * 3)
            .total_tables(calls * 4)
            .total_stacks(calls)
            .max_core_instances_per_component(64)
            .max_memories_per_component(8)
            .max_tables_per_component(64)
            .max_memories_per_module(8)
            .max_tables_per_module(16)
            .table_elements(20_000)
            .max_memory_size(256 << 20)
            .linear_memory_keep_resident(256 << 10)
            .table_keep_resident(64 << 10)
            .async_stack_keep_resident(32 << 10)
            .pagemap_scan(Enabled::Auto);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
    }
    config
}

/// What a plugin with these rights may import: each interface that is not granted is not there.
pub(crate) fn linker(engine: &Engine, granted: &[&str]) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    host::log::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    host::config::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    host::clock::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    host::random::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    for interface in granted {
        match *interface {
            "pomona:host/devices" => {
                host::devices::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
            }
            "pomona:host/kv" => {
                host::kv::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
            }
            "pomona:host/http-out" => {
                host::http_out::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
            }
            "pomona:host/secrets" => {
                host::secrets::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
            }
            "pomona:host/metrics" => {
                host::metrics::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
            }
            _ => {}
        }
    }
    Ok(linker)
}
