//! Ringing devices because somebody asks for it.
//!
//! Owns: the mark that a channel is to be rung, with its record in the audit chain. The ringing itself is the pusher's.

use serde::Serialize;

use super::audit::AuditEntry;
use super::caller::Caller;
use super::targets::{self, Skipped, Targets};
use crate::error::Result;
use crate::ids::TenantId;
use crate::store::Store;

/// What became of the request.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Rung {
    /// How many channels will be rung.
    pub channels: usize,
    /// Devices that were named and have no channel to ring.
    pub skipped: Vec<Skipped>,
}

/// Marks the channels that are meant, as far as they are enrolled.
///
/// # Errors
/// As [`targets::resolve`].
pub(crate) async fn ring(
    store: &Store,
    caller: &Caller,
    tenant: TenantId,
    wanted: &Targets,
) -> Result<Rung> {
    let resolved = targets::resolve(store, tenant, wanted).await?;
    let entry = AuditEntry {
        tenant: Some(tenant),
        actor: caller.actor(),
        action: "push.ring",
        target: String::new(),
        details: serde_json::json!({ "asked": resolved.enrollments.len() }),
    };
    let channels = store
        .ring_channels(tenant, &resolved.enrollments, entry)
        .await?;
    Ok(Rung {
        channels,
        skipped: resolved.skipped,
    })
}
