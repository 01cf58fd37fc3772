//! What a plugin may ask of the host.
//!
//! Owns the functions that call out. In a native test they ask the host of [`testing`](crate::testing).

pub use crate::bindings::pomona::host::errors::AccessError;
#[cfg(target_arch = "wasm32")]
pub use crate::bindings::pomona::host::{
    catalogue, clock, config, devices, http_out, kv, log, metrics, random, recipients, secrets,
};
#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::calls::{
    catalogue, clock, config, devices, http_out, kv, log, metrics, random, recipients, secrets,
};
use crate::{HookError, serde_json};

/// The tenant's settings, read into `T`.
///
/// # Errors
/// [`HookError::Misconfigured`] when they do not fit.
pub fn settings<T: serde::de::DeserializeOwned>() -> Result<T, HookError> {
    read_settings(&config::get_json())
}

/// As [`settings`], from a text at hand.
///
/// # Errors
/// [`HookError::Misconfigured`] when they do not fit.
pub fn read_settings<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, HookError> {
    serde_json::from_str(json)
        .map_err(|error| HookError::Misconfigured(format!("settings: {error}")))
}
