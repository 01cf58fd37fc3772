//! The engine's hooks, answered by plugins: sandboxed WebAssembly components.
//!
//! Owns: manifests, packages, the sandbox and its limits, and the translation between the engine's hooks and the contract
//! `pomona:hooks@0.9.0`. The only crate that knows wasmtime. It stores nothing and speaks no HTTP: packages come in as
//! bytes, decisions and effects go out as the engine's own values.
#![deny(unsafe_code)]

mod artefact;
mod bindings;
mod breaker;
mod call;
mod catalogue;
mod compile;
pub mod contract;
mod convert;
mod enabled;
mod error;
mod fixture;
mod hooks;
mod imports;
mod json;
mod kind;
mod limits;
mod linker;
mod manifest;
mod meter;
mod package;
mod plugin;
mod record;
mod replay;
mod rights;
mod rooms;
mod runtime;
mod services;
mod signature;
mod span;
#[cfg(test)]
mod tests;
mod trial;
mod warm;
mod workbench;

pub use artefact::{Artefact, Artefacts, Shelf};
pub use call::Heard;
pub use compile::{CompileLimits, compile, compile_here};
pub use convert::{amended, platform_of, shows_member};
pub use enabled::{Enabled, Switch};
pub use error::PluginError;
pub use fixture::{Fixture, FixtureError};
pub use hooks::hooks_of;
pub use json::{JsonError, milliseconds};
pub use kind::Kind;
pub use limits::{Budget, Limits};
pub use manifest::{HookName, Job, Manifest, ManifestError};
pub use package::{MAX_COMPONENT, MAX_PACKAGE, Package, PackageError};
pub use plugin::{Plugin, Remark, kinds};
pub use record::{Figures, Latencies};
pub use replay::{HostCall, Replay};
pub use rights::{Capabilities, CommandRights, DeviceRights, FactRights, HttpRights, KvRights};
pub use runtime::{Runtime, RuntimeError};
pub use services::{ForPlugin, OutReply, OutRequest, ServiceError, Services};
pub use signature::{Role, Signature, SignatureError, SigningKey};
pub use trial::{Ledger, Pair, in_share};
pub use workbench::{Answer, Called, Cost, QUESTION_TIME_MS, Question, QuestionError, facts_of};

/// The version of the contract that this host speaks.
pub const API: &str = "0.9.0";
