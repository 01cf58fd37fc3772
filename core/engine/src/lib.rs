//! The engine of Pomona: enrollment, identity, the command queue, push, events.
#![forbid(unsafe_code)]

mod actor;
pub mod admin;
pub mod clock;
mod enrollment;
mod error;
mod event;
pub mod http;
mod ids;
mod queue;
mod seal;
mod store;

pub use actor::{Actor, ActorKind, Cause};
pub use error::{Error, Result, Source};
pub use event::{Event, EventKind, NewEvent};
pub use ids::{
    CaId, CertificateId, CommandId, DeviceId, EnrollmentId, GrantId, GroupId, LinkId, PrincipalId,
    TenantId, TokenId,
};
pub use seal::{Keyring, Place, RootKey, TenantKeys};
pub use store::{Store, StoreOptions};
