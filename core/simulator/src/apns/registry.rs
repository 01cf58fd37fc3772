//! Which push tokens exist, and the one notification that waits for each of them.
//!
//! Owns tokens, topics, storage of the last undelivered notification, and waking devices.
//! Never knows a push magic: the notification's body goes to the device as it came. The server
//! beside it puts in, devices take out. Source: Apple, "Sending notification requests to APNs"
//! (one stored notification for each device and topic).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::{unix_ms, unix_seconds};

/// A push token: 32 bytes.
pub type Token = [u8; 32];

/// What a device gets by push: the magic in the body, to be compared with its own.
#[derive(Clone, Eq, PartialEq)]
pub struct Push {
    pub(crate) magic: String,
    pub(crate) expires: i64,
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Push")
    }
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Delivered,
    Stored,
    /// Accepted and lost: the device registered a moment ago, or it is offline and the
    /// notification was not to be kept.
    Lost,
    Unknown,
    /// The token was given up at this time (milliseconds since 1970).
    Gone(i64),
    OtherTopic,
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
    tokens: Mutex<HashMap<Token, Entry>>,
}

#[derive(Debug)]
enum Entry {
    Live(Arc<Slot>),
    Gone(i64),
}

#[derive(Debug)]
struct Slot {
    topic: String,
    waker: Arc<Notify>,
    online: AtomicBool,
    pending: Mutex<Option<Push>>,
    registered: Instant,
}

impl Registry {
    pub(crate) fn register(
        self: &Arc<Self>,
        token: Token,
        topic: &str,
        waker: Arc<Notify>,
    ) -> Registration {
        let slot = Arc::new(Slot {
            topic: topic.to_owned(),
            waker,
            online: AtomicBool::new(true),
            pending: Mutex::new(None),
            registered: Instant::now(),
        });
        let entry = Entry::Live(Arc::clone(&slot));
        self.tokens.lock().insert(token, entry);
        Registration {
            token,
            slot,
            registry: Arc::clone(self),
        }
    }

    pub(crate) fn deliver(
        &self,
        token: &Token,
        topic: &str,
        push: Push,
        race: Duration,
    ) -> Outcome {
        let slot = match self.tokens.lock().get(token) {
            None => return Outcome::Unknown,
            Some(Entry::Gone(at)) => return Outcome::Gone(*at),
            Some(Entry::Live(slot)) => Arc::clone(slot),
        };
        if slot.topic != topic {
            return Outcome::OtherTopic;
        }
        if slot.registered.elapsed() < race {
            return Outcome::Lost;
        }
        let online = slot.online.load(Ordering::Acquire);
        if !online && push.expires == 0 {
            return Outcome::Lost;
        }
        *slot.pending.lock() = Some(push);
        if online {
            slot.waker.notify_one();
            Outcome::Delivered
        } else {
            Outcome::Stored
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tokens.lock().len()
    }
}

/// A device's hold on one token; dropping it makes the token unregistered.
pub struct Registration {
    token: Token,
    slot: Arc<Slot>,
    registry: Arc<Registry>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registration")
    }
}

impl Registration {
    /// The token.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// The notification that waits, if there is one that has not expired.
    #[must_use]
    pub fn take(&self) -> Option<Push> {
        let push = self.slot.pending.lock().take()?;
        (push.expires == 0 || push.expires > unix_seconds()).then_some(push)
    }

    /// Takes the device off the net, or back: notifications wait while it is away, the last one
    /// wins, and coming back delivers it.
    pub fn set_online(&self, online: bool) {
        self.slot.online.store(online, Ordering::Release);
        if online && self.slot.pending.lock().is_some() {
            self.slot.waker.notify_one();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let entry = Entry::Gone(unix_ms());
        self.registry.tokens.lock().insert(self.token, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(magic: &str, expires: i64) -> Push {
        Push {
            magic: magic.to_owned(),
            expires,
        }
    }

    fn setup() -> (Arc<Registry>, Registration) {
        let registry = Arc::new(Registry::default());
        let registration = registry.register([1; 32], "topic", Arc::new(Notify::new()));
        (registry, registration)
    }

    #[test]
    fn only_the_last_notification_waits_for_an_absent_device() {
        let (registry, device) = setup();
        device.set_online(false);
        let later = unix_seconds() + 60;
        for magic in ["a", "b"] {
            let outcome = registry.deliver(&[1; 32], "topic", push(magic, later), Duration::ZERO);
            assert_eq!(outcome, Outcome::Stored);
        }
        device.set_online(true);
        assert_eq!(device.take(), Some(push("b", later)));
        assert_eq!(device.take(), None);
    }

    #[test]
    fn a_notification_without_expiration_is_not_kept_for_an_absent_device() {
        let (registry, device) = setup();
        device.set_online(false);
        let outcome = registry.deliver(&[1; 32], "topic", push("a", 0), Duration::ZERO);
        assert_eq!(outcome, Outcome::Lost);
        let past = unix_seconds() - 1;
        registry.deliver(&[1; 32], "topic", push("a", past), Duration::ZERO);
        assert_eq!(device.take(), None);
    }

    #[test]
    fn tokens_are_known_by_topic_and_gone_after_the_device() {
        let (registry, device) = setup();
        let try_it = |token, topic| registry.deliver(token, topic, push("a", 0), Duration::ZERO);
        assert_eq!(try_it(&[1; 32], "topic"), Outcome::Delivered);
        assert_eq!(try_it(&[1; 32], "other"), Outcome::OtherTopic);
        assert_eq!(try_it(&[2; 32], "topic"), Outcome::Unknown);
        drop(device);
        assert!(matches!(try_it(&[1; 32], "topic"), Outcome::Gone(_)));
    }

    #[test]
    fn the_first_moments_after_registration_lose_pushes_when_asked_to() {
        let (registry, device) = setup();
        let race = Duration::from_secs(3_600);
        let outcome = registry.deliver(&[1; 32], "topic", push("a", 0), race);
        assert_eq!(outcome, Outcome::Lost);
        assert_eq!(device.take(), None);
    }
}
