//! What a call may use.
//!
//! Owns: the limits with their defaults and caps, and the account of memory, tables and instances that wasmtime asks
//! before each growth. Time is accounted for in `call`.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::manifest::{HookName, Manifest};

/// Limits of every call of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory in bytes, summed over all memories.
    pub memory: usize,
    /// Elements of all tables together.
    pub table_elements: usize,
    /// Core instances.
    pub instances: usize,
    /// Bytes that come from the guest in one host call or as its answer.
    pub host_bytes: usize,
    /// Calls of host functions.
    pub host_calls: u32,
    /// Lines of the log.
    pub log_lines: u32,
    /// Bytes of a line of the log.
    pub log_bytes: usize,
}

impl Limits {
    /// The defaults, with what the manifest asks for as far as the caps allow.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let mib = manifest.limits.memory_mib.unwrap_or(32).min(256) as usize;
        Self {
            memory: mib << 20,
            table_elements: 20_000,
            instances: 64,
            host_bytes: 4 << 20,
            host_calls: 1_000,
            log_lines: 64,
            log_bytes: 2 << 10,
        }
    }
}

/// Time for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// From the outside, waiting included.
    pub wall: Duration,
    /// Of the processor.
    pub cpu: Duration,
    /// Instructions, for deterministic hooks.
    pub fuel: Option<u64>,
}

/// Instructions of a deterministic call: so many, and so many more for each KiB of what it is asked with.
const FUEL: u64 = 20_000_000;
const FUEL_PER_KIB: u64 = 200_000;
const MOST_FUEL: u64 = 500_000_000;

impl Budget {
    const fn millis(wall: u64, cpu: u64) -> Self {
        Self {
            wall: Duration::from_millis(wall),
            cpu: Duration::from_millis(cpu),
            fuel: None,
        }
    }

    /// The same, with instructions for a question of so many bytes.
    #[must_use]
    pub fn with_fuel_for(self, bytes: usize) -> Self {
        let kib = u64::try_from(bytes.div_ceil(1_024)).unwrap_or(u64::MAX);
        let fuel = FUEL.saturating_add(kib.saturating_mul(FUEL_PER_KIB));
        Self {
            fuel: Some(fuel.min(MOST_FUEL)),
            ..self
        }
    }

    /// The budget of a hook.
    #[must_use]
    pub fn of(hook: HookName) -> Self {
        match hook {
            HookName::Enrollment => Self::millis(250, 50),
            HookName::CommandAmend | HookName::CommandValidate => Self::millis(100, 20),
            HookName::Events => Self::millis(5_000, 500),
            // The processor's time is a second wall behind the instructions: a slow machine must not change an answer.
            HookName::Compliance | HookName::Declarations => {
                Self::millis(2_000, 1_000).with_fuel_for(0)
            }
            HookName::Jobs => Self::millis(30_000, 5_000),
            HookName::Routes => Self::millis(5_000, 200),
            HookName::Panels => Self::millis(2_000, 100),
        }
    }

    /// The budget of looking at settings.
    #[must_use]
    pub fn of_settings() -> Self {
        Self::millis(1_000, 100)
    }
}

/// The account of one store.
#[derive(Debug)]
pub(crate) struct Account {
    limits: Limits,
    memory: usize,
    elements: usize,
    /// What was refused, for the error of the call.
    pub(crate) refused: Option<&'static str>,
}

impl Account {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            memory: 0,
            elements: 0,
            refused: None,
        }
    }

    /// The account of the next call of the same instance: what it has, it keeps.
    pub(crate) fn continued(&self) -> Self {
        Self {
            limits: self.limits,
            memory: self.memory,
            elements: self.elements,
            refused: None,
        }
    }

    /// Whether at most the half of what may be had is: what fails in a later call for want of it would have had it in a fresh
    /// instance.
    pub(crate) fn roomy(&self) -> bool {
        self.memory <= self.limits.memory / 2 && self.elements <= self.limits.table_elements / 2
    }

    /// The most memory that the call had.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }
}

impl ResourceLimiter for Account {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.limits.memory {
            self.refused = Some("memory");
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .elements
            .saturating_add(desired.saturating_sub(current));
        if total > self.limits.table_elements {
            self.refused = Some("table elements");
            return Ok(false);
        }
        self.elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        64
    }
}
