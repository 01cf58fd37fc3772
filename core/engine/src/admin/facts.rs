//! Facts about devices that an administrator or another system knows.
//!
//! Owns: their names and bounds. Rules and plugins read facts; what Apple's devices report themselves does not go
//! through here.

use serde::Serialize;
use serde_json::Value;

use super::caller::Caller;
use super::instant::Instant;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::hooks::HookTable;
use crate::ids::TenantId;
use crate::store::Store;
use crate::store::admin_groups::FactChange;
use crate::store::entity::fact;

/// A fact as it is shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Fact {
    /// Its name.
    pub name: String,
    /// The user it is about; empty: the device.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Its value.
    pub value: Value,
    /// Who says so.
    pub source: String,
    /// When it was said.
    pub observed_at: Instant,
    /// Raised with every change.
    pub revision: i64,
}

impl From<fact::Model> for Fact {
    fn from(row: fact::Model) -> Self {
        Self {
            name: row.name,
            user: row.user_key,
            value: serde_json::from_str(&row.value).unwrap_or(Value::Null),
            source: row.source,
            observed_at: Instant(row.observed_at),
            revision: row.revision,
        }
    }
}

/// The facts about a device and its users.
pub(crate) async fn facts(store: &Store, tenant: TenantId, device: &str) -> Result<Vec<Fact>> {
    let device = super::devices::find_device(store, tenant, device).await?;
    let rows = store.device_facts(device).await?;
    Ok(rows.into_iter().map(Fact::from).collect())
}

/// Sets a fact, or takes it away when there is no value; returns the events to announce.
///
/// # Errors
/// [`Error::Invalid`] for a bad name or too large a value; [`Error::NotFound`] for a device or, when it is taken
/// away, a fact that is not there.
pub(crate) async fn set_fact(
    store: &Store,
    caller: &Caller,
    tenant: TenantId,
    device: &str,
    name: &str,
    value: Option<&Value>,
    readers: &HookTable,
) -> Result<Vec<Event>> {
    check(name)?;
    let device = super::devices::find_device(store, tenant, device).await?;
    let source = format!("person:{}", caller.principal);
    let change = FactChange {
        device,
        user_key: "",
        name,
        value,
        source: &source,
    };
    store
        .change_fact(caller.actor(), tenant, change, readers)
        .await
}

fn check(name: &str) -> Result<()> {
    let fits = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c));
    if !fits {
        return Err(Error::Invalid(
            "the name of a fact is 1 to 64 characters of a-z, 0-9, `_`, `.` and `-`, and begins with a letter".into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_has_a_plain_name() {
        for name in ["room", "asset.tag", "a-1_b"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", "Room", "1a", "a b", "ä", "a/b", &"a".repeat(65)] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
