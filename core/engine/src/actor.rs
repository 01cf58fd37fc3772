//! Who does something, and what made them do it.
//!
//! Owns: the actor and the cause that stand on every command, event and change.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The kind of an [`Actor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// The device itself.
    Device,
    /// A person, through the admin API.
    Person,
    /// A plugin, by an effect.
    Plugin,
    /// The engine: renewal, expiry, repair.
    System,
}

impl ActorKind {
    /// The word in tables and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Person => "person",
            Self::Plugin => "plugin",
            Self::System => "system",
        }
    }
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// What kind of actor.
    pub kind: ActorKind,
    /// The principal or the device; none for the system.
    pub id: Option<Uuid>,
}

impl Actor {
    /// The engine itself.
    pub const SYSTEM: Self = Self {
        kind: ActorKind::System,
        id: None,
    };

    /// The device with this id.
    pub fn device(id: crate::DeviceId) -> Self {
        Self {
            kind: ActorKind::Device,
            id: Some(id.0),
        }
    }

    /// The principal with this id.
    pub fn person(id: crate::PrincipalId) -> Self {
        Self {
            kind: ActorKind::Person,
            id: Some(id.0),
        }
    }
}

/// What an action follows from, so that a chain of actions can be followed and stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// The event or command that caused this, if any.
    pub id: Option<Uuid>,
    /// How many causes stand before this one.
    pub depth: u32,
}
