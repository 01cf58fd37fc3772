//! Write plugins for Pomona in Rust.
//!
//! A plugin is a type that implements one trait for each hook it wants and names them once with [`export!`]. The
//! same code runs natively in unit tests and as a sandboxed component on a server.
//!
//! Owns the Rust face of the contract `pomona:hooks@0.9.0`. Holds no policy, and talks to nothing but the host.

#[cfg(any(test, target_arch = "wasm32"))]
mod arena;
pub mod bindings;
mod export;
mod facts;
mod hooks;
pub mod host;
mod subject;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::exports::pomona::hooks::{
    command_validate::{Stage, Verdict},
    compliance::{Finding, Remedy, RuleInfo, Severity, Verdict as RuleVerdict},
    declarations::Declaration,
    enrollment::{Decision, Request as EnrollmentRequest},
    events::Event,
    jobs::Step,
    routes::{Request as RouteRequest, Response as RouteResponse},
};
pub use bindings::pomona::types::{
    command::{Actor, Change, Draft, Request as CommandRequest},
    common::{CallContext, Diagnostic, Fact, HookError},
    device::{Channel, EnrollmentKind, Platform, Snapshot, Target},
    effect::{Item as Effect, Keyed},
};
pub use hooks::{
    CommandAmend, CommandValidate, Compliance, Declarations, Enrollment, Events, Jobs, Panels,
    Routes, Settings, command, finding, rule,
};
#[cfg(feature = "schema")]
pub use schemars;
pub use serde_json;

/// Most calls need no more than this, and a call that needs no more makes no memory grow.
#[cfg(all(
    feature = "arena",
    target_arch = "wasm32",
    not(target_feature = "atomics")
))]
#[global_allocator]
static ALLOCATOR: arena::Arena<std::alloc::System, { 128 << 10 }> =
    arena::Arena::new(std::alloc::System);

/// What a call does first: a panic tells the host its message before it ends the call.
#[doc(hidden)]
pub fn enter() {
    #[cfg(target_arch = "wasm32")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            std::panic::set_hook(Box::new(|panic| host::log::panic(&panic.to_string())));
        });
    }
}

/// One remark about settings that keeps them from being saved.
#[must_use]
pub fn refuse(path: &str, message: &str) -> Diagnostic {
    Diagnostic {
        path: path.into(),
        message: message.into(),
        fatal: true,
    }
}

/// The verdict that lets a command go until the device changes.
#[must_use]
pub fn allow() -> Verdict {
    Verdict::Allow(None)
}

/// The verdict that lets a command go until a time, in milliseconds since 1970 UTC.
#[must_use]
pub fn allow_until(until_ms: u64) -> Verdict {
    Verdict::Allow(Some(until_ms))
}

impl Draft {
    /// One key of the command's payload; none when it is absent.
    #[must_use]
    pub fn payload(&self, key: &str) -> Option<serde_json::Value> {
        let mut payload: serde_json::Value = serde_json::from_str(&self.payload_json).ok()?;
        payload.get_mut(key).map(serde_json::Value::take)
    }
}
