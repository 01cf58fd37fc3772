//! Administration: tenants, principals and their tokens, devices and commands as a person sees them.
//!
//! Owns: what may be asked of the engine from outside, the rules of who may ask, and the forms in which rows
//! are shown. Never knows HTTP; `http/admin` turns requests into calls of these functions.

use std::sync::Arc;

pub(crate) mod audit;
pub(crate) mod caller;
pub(crate) mod commands;
pub(crate) mod devices;
pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod groups;
pub(crate) mod instant;
pub(crate) mod inventory;
pub(crate) mod links;
pub(crate) mod page;
pub mod plugin_host;
pub mod plugin_order;
pub mod plugin_switches;
pub mod plugin_versions;
pub mod plugin_work;
pub mod plugins;
pub mod posture;
pub(crate) mod principals;
pub(crate) mod profiles;
pub(crate) mod ring;
pub(crate) mod scope;
pub(crate) mod targets;
pub(crate) mod tenants;
pub(crate) mod text;
pub(crate) mod token;
pub mod trials;
pub mod trust;
pub(crate) mod values;

pub use audit::{AuditCheck, AuditEntry, AuditRecord};
pub use caller::Caller;
pub use commands::{CommandCounts, CommandQuery, CommandSummary, DeliveryView};
pub use devices::{
    CertificateView, DeviceDetail, DeviceGroupRef, DeviceQuery, DeviceState, DeviceSummary,
    EnrollmentView, PushView, UserView, device, devices,
};
pub use events::{EventView, TimelineQuery};
pub use facts::Fact;
pub use groups::{Changed, Group};
pub use instant::Instant;
pub use page::{DEFAULT_LIMIT, HIGHEST_LIMIT, Page, PageRequest};
pub use principals::{Principal, Token, create_first_token, create_principal};
pub use ring::Rung;
pub use scope::{Scope, Scopes};
pub use targets::{Skipped, Targets};
pub use tenants::{Tenant, create_tenant, create_tenant_with_authority, find_tenant};
pub use token::{LONGEST_LIFE, TokenSecret, WantedToken};

use crate::error::Result;
use crate::ids::TenantId;
use crate::seal::TenantKeys;
use crate::store::Store;

/// The keys that authenticate the cursors of a tenant's lists, or of the operator's.
pub(crate) enum CursorKeys<'a> {
    Operator(&'a TenantKeys),
    Tenant(Arc<TenantKeys>),
}

impl CursorKeys<'_> {
    pub(crate) fn get(&self) -> &TenantKeys {
        match self {
            Self::Operator(keys) => keys,
            Self::Tenant(keys) => keys,
        }
    }
}

pub(crate) async fn cursor_keys(store: &Store, tenant: Option<TenantId>) -> Result<CursorKeys<'_>> {
    Ok(match tenant {
        Some(tenant) => CursorKeys::Tenant(store.keys(tenant).await?),
        None => CursorKeys::Operator(store.keyring().operator()),
    })
}
