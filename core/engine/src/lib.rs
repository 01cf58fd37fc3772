//! The engine of Pomona: enrollment, identity, the command queue, push, events.
#![forbid(unsafe_code)]

mod actor;
pub mod admin;
pub mod clock;
mod declarations;
mod engine;
mod enrollment;
mod error;
mod event;
pub mod hooks;
pub mod http;
pub mod identity;
mod ids;
mod inventory;
mod judged;
mod profiles;
pub mod push;
mod queue;
mod seal;
mod store;
mod writer;

pub use actor::{Actor, ActorKind, Cause};
pub use admin::values::{dictionary as dictionary_from_json, json as json_from_plist};
pub use engine::{
    Approved, Cancelled, ChannelPreflight, CommandBody, Condition, DeviceReply, Difference, Engine,
    EngineOptions, Enqueue, Enqueued, Identity, PreflightFinding, TargetResult,
    UserAuthenticatePolicy,
};
pub use error::{Error, Result, Source};
pub use event::{Event, EventKind, NewEvent};
pub use ids::{
    CaId, CertificateId, CommandId, DeviceId, EnrollmentId, GrantId, GroupId, LinkId, PrincipalId,
    ProfileId, TenantId, TokenId,
};
pub use inventory::Marks;
pub use seal::{Keyring, Place, RootKey, TenantKeys};
pub use store::grants::{SecretRow, WaitingRow};
pub use store::plugin_trials::{TrialMode, TrialRow};
pub use store::plugin_versions::PreviousRow;
pub use store::plugins::{PluginRow, SwitchRow};
pub use store::trial_counts::{TrialCount, TrialDifference, TrialOf};
pub use store::{Store, StoreOptions};
