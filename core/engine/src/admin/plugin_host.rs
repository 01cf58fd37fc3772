//! The line to whatever runs plugins.
//!
//! Owns: what it is asked and what it tells. The engine itself runs none: without a [`PluginHost`] nothing can be installed.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use super::trust::{TrustPolicy, Vouched};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ids::TenantId;

/// What is learnt of a package by reading, compiling and starting it once.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The plugin's id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its name, for people.
    pub title: String,
    /// The digest of the package.
    pub digest: String,
    /// Who vouches for it.
    pub vouched: Vouched,
    /// The rights that it asks for.
    pub rights: Value,
    /// The number under which it keeps values, if it keeps any.
    pub kv_schema: Option<u32>,
}

/// How a plugin is doing in a tenant, on this node.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct PluginHealth {
    /// `active`, `degraded` (calls are held back for a while), `failed` (it cannot be run) or `suspended`; of a version on
    /// trial `shadow` or `canary` in the place of `active`.
    pub state: String,
    /// Why, if it is not active.
    pub reason: Option<String>,
    /// Calls since it was switched on or this node started.
    pub calls: u64,
    /// Calls without an answer.
    pub failures: u64,
    /// The same by what ended them: `time`, `processor time`, `memory`, `instructions`, `trap` and others, or by what the plugin said
    /// itself: `retryable`, `permanent` or `misconfigured`.
    pub failed_by: BTreeMap<String, u64>,
    /// The last failure.
    pub last_failure: Option<String>,
    /// Microseconds that a call took on average.
    pub mean_micros: u64,
    /// Microseconds that 99 of 100 calls took at most, rounded up to the end of a step of `latency`.
    pub p99_micros: Option<u64>,
    /// How long calls took: the steps that have calls.
    pub latency: Vec<LatencyStep>,
    /// The most memory that a call had.
    pub memory_high_bytes: u64,
    /// What was refused for want of a right.
    pub refused: u64,
    /// The same by what was refused; beyond 32 different ones as `others`.
    pub refusals: BTreeMap<String, u64>,
}

/// Calls that took about as long.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct LatencyStep {
    /// They took at most so long; the last step has no end.
    pub up_to_micros: Option<u64>,
    /// Their number.
    pub calls: u64,
}

/// What runs plugins.
#[async_trait]
pub trait PluginHost: Send + Sync {
    /// Reads a package, compiles it and starts it once. The error says what is wrong and what to do.
    async fn inspect(&self, package: &[u8]) -> std::result::Result<Inspected, String>;
    /// The rights that a package asks for.
    fn asked(&self, package: &[u8]) -> std::result::Result<Value, String>;
    /// What these rights allow beyond those, a sentence each; an error when they are no rights.
    fn beyond(&self, rights: &Value, those: &Value) -> std::result::Result<Vec<String>, String>;
    /// Says what is wrong with settings for an installed plugin; nothing when they can be used.
    async fn check_settings(
        &self,
        plugin: &str,
        settings: &Value,
    ) -> std::result::Result<Vec<String>, String>;
    /// The number under which a package keeps values, if it keeps any.
    fn kv_schema(&self, package: &[u8]) -> std::result::Result<Option<u32>, String>;
    /// Brings settings to a package that was inspected: from the version `from` over its migration, or as they are when there is
    /// none. Gives what they become, or why they cannot be used, in the order of `settings`; nothing after the first that cannot.
    async fn carry_settings(
        &self,
        package: &[u8],
        from: Option<&str>,
        settings: &[Value],
    ) -> std::result::Result<Vec<std::result::Result<Value, String>>, String>;
    /// Whose packages are taken.
    fn trust(&self) -> TrustPolicy;
    /// How a plugin is doing in a tenant.
    fn health(&self, tenant: TenantId, plugin: &str) -> Option<PluginHealth>;
    /// How the version on trial is doing in a tenant.
    fn trial_health(&self, tenant: TenantId, plugin: &str) -> Option<PluginHealth>;
    /// Takes up what was changed.
    async fn refresh(&self);
}

/// Whatever runs plugins.
///
/// # Errors
/// [`Error::Conflict`] when nothing does.
pub(super) fn host(engine: &Engine) -> Result<&dyn PluginHost> {
    engine.plugin_host().ok_or_else(|| {
        Error::Conflict(
            "this server runs no plugins; the operator can switch plugins.enabled on".into(),
        )
    })
}

/// Has what was changed taken up.
pub(super) async fn refresh(engine: &Engine) {
    if let Some(host) = engine.plugin_host() {
        host.refresh().await;
    }
}
