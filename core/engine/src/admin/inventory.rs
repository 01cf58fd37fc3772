//! What devices have told of themselves, as an administrator sees it.
//!
//! Owns: its form. It is kept by the writer with the reports (`store::observations`); what administrators know besides are facts.

use serde::Serialize;
use serde_json::Value;

use super::instant::Instant;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::store::Store;
use crate::store::observations::Observation;

/// What a device told about one thing.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Section {
    /// What it is about: `device`, `security`, `profiles`, `apps`, `managed-apps`, `certificates`, `provisioning-profiles`, `users`,
    /// `restrictions` or `updates`.
    pub(crate) section: String,
    /// The user on whose channel it was told; empty: the device.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) user: String,
    /// The `RequestType` of the query that it answered.
    pub(crate) source: String,
    /// When it was last told.
    pub(crate) observed_at: Instant,
    /// When something else than before was last told.
    pub(crate) changed_at: Instant,
    /// How many keys or entries there are.
    pub(crate) entries: usize,
    /// What was told, in Apple's keys; dates as in answers to commands, data left out. Absent in the list of sections.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) value: Option<Value>,
}

/// The sections of a device, without their values.
///
/// # Errors
/// [`Error::NotFound`] when the tenant has no such device.
pub(crate) async fn sections(
    store: &Store,
    tenant: TenantId,
    device: &str,
) -> Result<Vec<Section>> {
    let device = super::devices::find_device(store, tenant, device).await?;
    let found = store.observations(tenant, device, None).await?;
    let without = |one| Section {
        value: None,
        ..view(one)
    };
    Ok(found.into_iter().map(without).collect())
}

/// One section of a device and its users, with the values.
///
/// # Errors
/// [`Error::NotFound`] when the tenant has no such device, or nothing was told about this.
pub(crate) async fn section(
    store: &Store,
    tenant: TenantId,
    device: &str,
    section: &str,
) -> Result<Vec<Section>> {
    let device = super::devices::find_device(store, tenant, device).await?;
    let found = store.observations(tenant, device, Some(section)).await?;
    if found.is_empty() {
        return Err(Error::NotFound(
            "anything that the device has told about this; see its inventory for what there is, and send a query such as DeviceInformation or SecurityInfo for more",
        ));
    }
    Ok(found.into_iter().map(view).collect())
}

fn view(one: Observation) -> Section {
    Section {
        section: one.section,
        user: one.user_key,
        source: one.source,
        observed_at: Instant(one.observed_at),
        changed_at: Instant(one.changed_at),
        entries: match &one.value {
            Value::Object(members) => members.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        },
        value: Some(one.value),
    }
}
