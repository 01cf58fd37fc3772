//! What hooks have allowed, for as long as it holds.
//!
//! Owns: by delivery, until when a command may go, and what that rests on: the device's revision and the hooks in force. A
//! command that was judged while it was queued is so not judged again before it is sent, unless something has moved. In memory alone,
//! and bounded: what is not found here is asked again, as are commands that effects have queued, or that are for a later time.
//! Never keeps a refusal or a wait; those are in the queue.
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
    /// The number of the hooks that were asked.
    pub(crate) judges: u64,
    /// When they said so.
    pub(crate) said_at: Micros,
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
    /// Remembers it, if it holds for any time at all.
    pub(crate) fn remember(&self, channel: EnrollmentId, command: CommandId, allowed: Allowed) {
        if allowed.until > allowed.said_at {
            self.0.insert((channel, command), allowed);
        }
    }

    /// Until when a command that may go since `not_before` may go, if that was said of the device as it is, by the hooks that are
    /// in force. What was said before that time does not count: somebody, perhaps on another node, has held the command since.
    pub(crate) fn until(
        &self,
        (channel, command): (EnrollmentId, CommandId),
        not_before: Micros,
        device_revision: i64,
        judges: u64,
    ) -> Option<Micros> {
        let allowed = self.0.get(&(channel, command))?;
        let holds = allowed.device_revision == device_revision
            && allowed.judges == judges
            && allowed.said_at >= not_before;
        holds.then_some(allowed.until)
    }

    /// The command has left the channel.
    pub(crate) fn forget(&self, channel: EnrollmentId, command: CommandId) {
        self.0.invalidate(&(channel, command));
    }
}
