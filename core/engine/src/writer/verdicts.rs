//! What hooks have allowed, for as long as it holds.
//!
//! Owns: by delivery, until when a command may go, and what that rests on: the device's revision and the hooks in force. A
//! command that was judged while it was queued is so not judged again before it is sent, unless something has moved.
//! In memory alone, and bounded: what is not found here is asked again. Never keeps a refusal or a wait; those are in the queue.
//!
//! In the flow: `engine` writes here what hooks say, `reports` looks here before it sends.

use crate::clock::Micros;
use crate::ids::{CommandId, EnrollmentId};

/// Deliveries that are remembered at most; those not looked at for longest are forgotten first.
const REMEMBERED: u64 = 1 << 16;

/// A permission, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// The device's revision that was judged.
    pub(crate) device_revision: i64,
    /// The generation of the hooks that were asked.
    pub(crate) hooks: u64,
    /// After this time they must be asked again.
    pub(crate) until: Micros,
}

/// The permissions that are remembered.
pub(crate) struct AllowedUntil(moka::sync::Cache<(EnrollmentId, CommandId), Allowed>);

impl Default for AllowedUntil {
    fn default() -> Self {
        let cache = moka::sync::Cache::builder()
            .max_capacity(REMEMBERED)
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .build();
        Self(cache)
    }
}

impl AllowedUntil {
    pub(crate) fn remember(&self, channel: EnrollmentId, command: CommandId, allowed: Allowed) {
        self.0.insert((channel, command), allowed);
    }

    /// Until when the command may go, if that was said of the device as it is, by the hooks that are in force.
    pub(crate) fn until(
        &self,
        channel: EnrollmentId,
        command: CommandId,
        device_revision: i64,
        hooks: u64,
    ) -> Option<Micros> {
        self.0
            .get(&(channel, command))
            .filter(|allowed| allowed.device_revision == device_revision && allowed.hooks == hooks)
            .map(|allowed| allowed.until)
    }

    /// The command has left the channel.
    pub(crate) fn forget(&self, channel: EnrollmentId, command: CommandId) {
        self.0.invalidate(&(channel, command));
    }
}
