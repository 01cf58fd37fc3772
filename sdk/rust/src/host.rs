//! What a plugin may ask of the host.
//!
//! Owns the functions that call out. In a native test there is no host: a test that needs one brings its own values.

pub use crate::bindings::pomona::host::{
    clock, devices, errors::AccessError, http_out, kv, log, metrics, random, secrets,
};
use crate::{HookError, serde_json};

/// The tenant's settings, read into `T`.
///
/// # Errors
/// [`HookError::Misconfigured`] when they do not fit.
pub fn settings<T: serde::de::DeserializeOwned>() -> Result<T, HookError> {
    read_settings(&crate::bindings::pomona::host::config::get_json())
}

/// As [`settings`], from a text at hand.
///
/// # Errors
/// [`HookError::Misconfigured`] when they do not fit.
pub fn read_settings<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, HookError> {
    serde_json::from_str(json)
        .map_err(|error| HookError::Misconfigured(format!("settings: {error}")))
}
