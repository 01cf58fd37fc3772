//! The host's functions, answered by the host of the thread.
//!
//! Owns one module for each interface, with the contract's own signatures.

/// Lines for the operator's log.
pub mod log {
    pub use crate::bindings::pomona::host::log::Level;

    /// Writes a line.
    pub fn write(level: Level, message: &str, _fields_json: &str) {
        crate::testing::HOST.with_borrow_mut(|host| host.logged.push((level, message.into())));
    }

    /// Says why the guest is about to end.
    pub fn panic(message: &str) {
        write(Level::Error, message, "");
    }
}

/// The tenant's settings.
pub mod config {
    /// The settings as JSON.
    #[must_use]
    pub fn get_json() -> String {
        crate::testing::HOST.with_borrow(|host| {
            let settings = host.settings.as_ref();
            settings.map_or_else(|| "{}".into(), ToString::to_string)
        })
    }

    /// Whether this host has a feature.
    #[must_use]
    pub fn feature(_name: &str) -> bool {
        false
    }
}

/// Time within a call.
pub mod clock {
    /// Milliseconds since the call began; a test takes none.
    #[must_use]
    pub fn elapsed_ms() -> u32 {
        0
    }
}

/// What Apple's management protocols allow.
pub mod catalogue {
    pub use crate::bindings::pomona::host::catalogue::{
        Judgement, Objection, Subject, Verdict, Weight,
    };
    use crate::host::AccessError;

    /// What the test says of it; else it is not known.
    pub fn preflight(
        _subject: &Subject,
        class: &str,
        name: &str,
        _body_json: &str,
    ) -> Result<Judgement, AccessError> {
        let key = (class.to_owned(), name.to_owned());
        let told = crate::testing::HOST.with_borrow(|host| host.judged.get(&key).cloned());
        Ok(told.unwrap_or_else(|| Judgement {
            verdict: Verdict::Unknown,
            objections: vec![crate::testing::objection("unknown", Weight::Open, "")],
        }))
    }

    /// What the test has of a name.
    pub fn lookup(class: &str, name: &str) -> Result<Option<String>, AccessError> {
        let key = (class.to_owned(), name.to_owned());
        Ok(crate::testing::HOST.with_borrow(|host| host.looked_up.get(&key).cloned()))
    }

    /// The names of a class.
    pub fn names(class: &str) -> Result<Vec<String>, AccessError> {
        let named = crate::testing::HOST.with_borrow(|host| host.named.get(class).cloned());
        Ok(named.unwrap_or_default())
    }
}

/// For whom a command is that a plugin may change.
pub mod recipients {
    use super::catalogue::Subject;
    use crate::host::AccessError;

    /// The kinds of devices that the test gives.
    pub fn kinds() -> Result<Vec<Subject>, AccessError> {
        crate::testing::HOST
            .with_borrow(|host| host.recipients.clone())
            .ok_or(AccessError::NotFound)
    }
}

/// Devices of the tenant.
pub mod devices {
    use super::most;
    pub use crate::bindings::pomona::host::devices::Page;
    use crate::host::AccessError;
    use crate::{Fact, Snapshot};

    /// One device.
    pub fn get(id: &str) -> Result<Snapshot, AccessError> {
        crate::testing::HOST
            .with_borrow(|host| host.devices.get(id).cloned())
            .ok_or(AccessError::NotFound)
    }

    /// One fact of a device.
    pub fn get_fact(id: &str, key: &str) -> Result<Option<Fact>, AccessError> {
        Ok(get(id)?.known(key))
    }

    /// Devices of a group, or all, by id.
    pub fn search(
        group: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page, AccessError> {
        let most = most(limit);
        crate::testing::HOST.with_borrow(|host| {
            let fitting = host
                .devices
                .values()
                .filter(|device| after.is_none_or(|after| device.id.as_str() > after))
                .filter(|device| group.is_none_or(|name| device.groups.iter().any(|g| g == name)));
            let items: Vec<Snapshot> = fitting.take(most).cloned().collect();
            // As on a server, which does not look further: a full page may be followed by an empty one.
            let full = items.len() == most;
            let next = items.last().filter(|_| full).map(|last| last.id.clone());
            Ok(Page { items, next })
        })
    }

    /// The newest events of a device under a topic.
    pub fn history(id: &str, topic: &str, limit: u32) -> Result<Vec<String>, AccessError> {
        crate::testing::HOST.with_borrow(|host| {
            let fitting = host
                .history
                .iter()
                .filter(|one| one.0 == id && one.1 == topic);
            let bodies = fitting.map(|one| one.2.clone());
            Ok(bodies.take(most(limit)).collect())
        })
    }
}

/// What the plugin has kept.
pub mod kv {
    use super::most;
    use crate::host::AccessError;

    /// The value of a key.
    pub fn get(key: &str) -> Result<Option<Vec<u8>>, AccessError> {
        Ok(crate::testing::HOST.with_borrow(|host| host.kept.get(key).cloned()))
    }

    /// Keys below a prefix with their values.
    pub fn scan(
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>)>, AccessError> {
        crate::testing::HOST.with_borrow(|host| {
            let below = host.kept.iter().filter(|(key, _)| key.starts_with(prefix));
            let left = below.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
            let pairs = left.map(|(key, value)| (key.clone(), value.clone()));
            Ok(pairs.take(most(limit)).collect())
        })
    }
}

/// Calls to outside services.
pub mod http_out {
    pub use crate::bindings::pomona::host::http_out::{Message, Reply};
    use crate::host::AccessError;

    /// Sends a request; the host has its reply, or reaches nobody.
    pub fn send(request: &Message) -> Result<Reply, AccessError> {
        crate::testing::HOST.with_borrow_mut(|host| {
            host.sent.push(request.clone());
            host.replies.pop_front().unwrap_or_else(|| {
                let problem = "the test gives no reply; see testing::Host::reply";
                Err(AccessError::Unavailable(problem.into()))
            })
        })
    }
}

/// Secrets of the tenant.
pub mod secrets {
    use crate::host::AccessError;

    /// Names of the secrets.
    #[must_use]
    pub fn names() -> Vec<String> {
        crate::testing::HOST.with_borrow(|host| host.signatures.keys().cloned().collect())
    }

    /// The HMAC that the test gives.
    pub fn hmac_sha256(name: &str, _data: &[u8]) -> Result<Vec<u8>, AccessError> {
        crate::testing::HOST
            .with_borrow(|host| host.signatures.get(name).cloned())
            .ok_or(AccessError::NotFound)
    }
}

/// Random bytes.
pub mod random {
    /// Bytes that look random and are the same in every run.
    #[must_use]
    pub fn bytes(count: u32) -> Vec<u8> {
        crate::testing::HOST.with_borrow_mut(|host| {
            let next = || {
                // A linear congruential generator, after Knuth; its upper bits are the better ones.
                let state = host.drawn.wrapping_mul(6_364_136_223_846_793_005);
                host.drawn = state.wrapping_add(1_442_695_040_888_963_407);
                host.drawn.to_be_bytes()[0]
            };
            std::iter::repeat_with(next)
                .take(count.min(1_024) as usize)
                .collect()
        })
    }
}

/// Numbers for the operator's metrics.
pub mod metrics {
    /// Adds to a counter.
    pub fn add(name: &str, delta: u32) {
        crate::testing::HOST.with_borrow_mut(|host| {
            *host.counted.entry(name.into()).or_default() += u64::from(delta);
        });
    }
}

/// Entries of a page when so many are asked for, as on a server.
fn most(limit: u32) -> usize {
    limit.clamp(1, 100) as usize
}
