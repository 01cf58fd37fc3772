//! The two kinds of hooks, and what their code is compiled for and run with.
//!
//! Owns: wasmtime's configuration for each. Makes no engine.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::rooms::{ASIDE, OF_ALL, WARM};

/// For which hooks code is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Hooks in the way of somebody who waits: ended by the clock.
    Interactive,
    /// Hooks whose answer must be the same again: instructions are counted, and there is one form of what is not a number.
    Deterministic,
}

impl Kind {
    /// The word on a command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Deterministic => "deterministic",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Interactive, Self::Deterministic]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
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
