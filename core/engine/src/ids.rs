//! The ids of the engine's rows.
//!
//! Owns: one newtype per kind, so that the id of a device can never be handed in where an enrollment is
//! meant. All are UUIDs (version 7 when we make them). Never builds an identifier by joining strings.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
            utoipa::ToSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map($name)
            }
        }
    )+};
}

ids! {
    /// A tenant: an organization with its own topic, certificate authority and devices.
    TenantId
    /// A device; it outlives its enrollments.
    DeviceId
    /// One channel of one device in one generation.
    EnrollmentId
    /// A command as it was enqueued, for one enrollment or many.
    CommandId
    /// Why a certificate exists: a link, a renewal, an external authority.
    GrantId
    /// A certificate issued by us or seen under an external authority.
    CertificateId
    /// A certificate authority of a tenant.
    CaId
    /// An enrollment link.
    LinkId
    /// A person, a plugin or the system itself.
    PrincipalId
    /// A token of the admin API.
    TokenId
    /// A group of devices.
    GroupId
    /// A configuration profile.
    ProfileId
}
