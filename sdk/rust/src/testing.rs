//! A host for native tests, and values that a test changes where it needs to.
//!
//! Owns what the functions of [`host`](crate::host) say outside a server: each thread has a host of its own, so that tests do not see each
//! other. Knows no rights and no limits: `pomona plugin test` runs the real component under both.

pub(crate) mod calls;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use crate::host::catalogue::{Judgement, Objection, Subject, Weight};
use crate::host::http_out::{Message, Reply};
use crate::host::{AccessError, log};
use crate::{
    Actor, CallContext, Channel, Draft, EnrollmentKind, Event, Fact, Platform, Snapshot,
    serde_json::Value,
};

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::default());
}

/// A host: what it knows, and what it was told.
#[derive(Clone, Debug, Default)]
pub struct Host {
    settings: Option<Value>,
    kept: BTreeMap<String, Vec<u8>>,
    devices: BTreeMap<String, Snapshot>,
    history: Vec<(String, String, String)>,
    signatures: BTreeMap<String, Vec<u8>>,
    replies: VecDeque<Result<Reply, AccessError>>,
    drawn: u64,
    judged: BTreeMap<(String, String), Judgement>,
    looked_up: BTreeMap<(String, String), String>,
    named: BTreeMap<String, Vec<String>>,
    recipients: Option<Vec<Subject>>,
    /// The requests that were sent outside.
    pub sent: Vec<Message>,
    /// The lines that were logged.
    pub logged: Vec<(log::Level, String)>,
    /// The counters, with their sums.
    pub counted: BTreeMap<String, u64>,
}

impl Host {
    /// With these settings of the tenant.
    #[must_use]
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = Some(settings);
        self
    }

    /// With a value that the plugin has kept.
    #[must_use]
    pub fn keeping(mut self, key: &str, value: &[u8]) -> Self {
        self.kept.insert(key.into(), value.into());
        self
    }

    /// With a device.
    #[must_use]
    pub fn device(mut self, device: Snapshot) -> Self {
        self.devices.insert(device.id.clone(), device);
        self
    }

    /// With an event in a device's timeline, older than those that were given before.
    #[must_use]
    pub fn history(mut self, device: &str, topic: &str, body: &Value) -> Self {
        let event = (device.into(), topic.into(), body.to_string());
        self.history.push(event);
        self
    }

    /// With a secret whose HMAC is always this one.
    #[must_use]
    pub fn signature(mut self, secret: &str, hmac: &[u8]) -> Self {
        self.signatures.insert(secret.into(), hmac.into());
        self
    }

    /// With the answer to the next request that is sent outside and has none yet.
    #[must_use]
    pub fn reply(mut self, reply: Result<Reply, AccessError>) -> Self {
        self.replies.push_back(reply);
        self
    }

    /// With what the catalogue says of something, whatever the device; of all else it says that it is not known. `plugin test` asks the real one.
    #[must_use]
    pub fn judged(mut self, class: &str, name: &str, judgement: Judgement) -> Self {
        self.judged.insert((class.into(), name.into()), judgement);
        self
    }

    /// With what the catalogue has of a name.
    #[must_use]
    pub fn looked_up(mut self, class: &str, name: &str, told: &Value) -> Self {
        let key = (class.into(), name.into());
        self.looked_up.insert(key, told.to_string());
        self
    }

    /// With the names that a class has.
    #[must_use]
    pub fn named(mut self, class: &str, names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.named.insert(class.into(), names);
        self
    }

    /// With the kinds of devices for which a command is that may be changed.
    #[must_use]
    pub fn recipients(mut self, kinds: Vec<Subject>) -> Self {
        self.recipients = Some(kinds);
        self
    }

    /// Runs `work` with this host on this thread, and gives what came of it and the host as it is then. The thread has the host
    /// of before again afterwards, also when `work` panics.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> (T, Self) {
        let before = Before(HOST.replace(self));
        let outcome = work();
        let after = HOST.take();
        drop(before);
        (outcome, after)
    }
}

/// The host that a thread had before; it has it again when this is dropped.
struct Before(Host);

impl Drop for Before {
    fn drop(&mut self) {
        HOST.set(std::mem::take(&mut self.0));
    }
}

/// Holds `settings.schema.json` of the plugin against the type of its settings. A file that is not there or says something else
/// is written anew and the test fails once, so that somebody looks at it.
///
/// # Panics
/// When the file had to be written, or cannot be.
#[cfg(feature = "schema")]
pub fn settings_schema<T: crate::schemars::JsonSchema>() {
    // Cargo names the plugin's folder to its tests.
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let file = std::path::Path::new(&folder).join("settings.schema.json");
    let wanted = crate::schemars::schema_for!(T).to_value();
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    if crate::serde_json::from_str::<Value>(&there).is_ok_and(|there| there == wanted) {
        return;
    }
    let written = std::fs::write(&file, format!("{wanted:#}\n"));
    assert!(written.is_ok(), "{} cannot be written", file.display());
    panic!(
        "{} was not the schema of the type; it has been written anew, look at it and run the test again",
        file.display()
    );
}

/// An iPad of which nothing more is known.
#[must_use]
pub fn device() -> Snapshot {
    Snapshot {
        id: "d".into(),
        channel: Channel::Device,
        udid: None,
        serial: None,
        platform: Platform::Ipados,
        model: "iPad13,18".into(),
        os_version: "27.0".into(),
        os_build: String::new(),
        supervised: None,
        shared_ipad: None,
        kind: EnrollmentKind::Profile,
        time_zone: None,
        groups: Vec::new(),
        seen_ms: 0,
        revision: 1,
        facts_json: "{}".into(),
    }
}

/// An objection of the catalogue whose message is its cause.
#[must_use]
pub fn objection(cause: &str, weight: Weight, key: &str) -> Objection {
    Objection {
        cause: cause.into(),
        weight,
        key: key.into(),
        message: cause.into(),
        fix: None,
        ask: None,
        alternative: None,
    }
}

/// A fact as a device would tell it.
#[must_use]
pub fn fact(key: &str, value: &Value) -> Fact {
    Fact {
        key: key.into(),
        value_json: value.to_string(),
        source: "device".into(),
        observed_ms: 1,
    }
}

/// Facts as the text in which a [`Snapshot`] has them.
#[must_use]
pub fn facts(facts: &[Fact]) -> String {
    let told = facts.iter().map(|fact| {
        let value: Value = crate::serde_json::from_str(&fact.value_json).unwrap_or_default();
        let told = crate::serde_json::json!({
            "value": value, "source": fact.source, "observed-ms": fact.observed_ms,
        });
        (fact.key.clone(), told)
    });
    Value::Object(told.collect()).to_string()
}

/// The context of a first call, at this time in milliseconds since 1970 UTC.
#[must_use]
pub fn context(now_ms: u64) -> CallContext {
    CallContext {
        tenant: "t".into(),
        plugin: "org.example.plugin".into(),
        version: "1.0.0".into(),
        hook: String::new(),
        call_id: "call".into(),
        attempt: 1,
        now_ms,
        seed: 1,
        dry_run: false,
        cause: None,
        depth: 0,
    }
}

/// A command that an administrator asks for.
#[must_use]
pub fn draft(request_type: &str, payload: &Value) -> Draft {
    Draft {
        request_type: request_type.into(),
        payload_json: payload.to_string(),
        actor: Actor::Person,
    }
}

/// An event of the device of [`device`].
#[must_use]
pub fn event(kind: &str, body: &Value) -> Event {
    Event {
        id: "e".into(),
        device: "d".into(),
        user: None,
        seq: 1,
        at_ms: 1,
        kind: kind.into(),
        body_json: body.to_string(),
        depth: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;
    use crate::serde_json::json;

    #[test]
    fn a_thread_has_the_host_that_a_test_gives_it_and_loses_it_again() {
        let given = Host::default()
            .settings(json!({"a": 1}))
            .keeping("k/1", b"one")
            .keeping("k/2", b"two")
            .device(Snapshot {
                groups: vec!["Kitchen".into()],
                facts_json: facts(&[fact("a.b", &json!(true))]),
                ..device()
            })
            .history("d", "org.example.x", &json!({"n": 1}))
            .reply(Err(AccessError::NotFound));
        let ((), after) = given.run(|| {
            let settings: Value = host::settings().unwrap();
            assert_eq!(settings, json!({"a": 1}));
            assert_eq!(host::kv::get("k/1"), Ok(Some(b"one".to_vec())));
            assert_eq!(host::kv::scan("k/", Some("k/1"), 10).unwrap().len(), 1);
            let page = host::devices::search(Some("Kitchen"), None, 10).unwrap();
            assert_eq!(page.items.len(), 1);
            let fact = host::devices::get_fact("d", "a.b").unwrap();
            assert_eq!(fact.map(|fact| fact.value_json), Some("true".into()));
            let told = host::devices::history("d", "org.example.x", 10);
            assert_eq!(told, Ok(vec!["{\"n\":1}".into()]));
            let message = Message {
                method: "GET".into(),
                url: "https://a.example/".into(),
                headers: Vec::new(),
                body: Vec::new(),
                timeout_ms: 100,
            };
            assert!(matches!(
                host::http_out::send(&message),
                Err(AccessError::NotFound)
            ));
            assert!(matches!(
                host::http_out::send(&message),
                Err(AccessError::Unavailable(_))
            ));
            host::metrics::add("seen", 2);
            host::log::write(log::Level::Info, "hello", "");
            assert_ne!(host::random::bytes(8), host::random::bytes(8));
        });
        assert_eq!(after.sent.len(), 2);
        assert_eq!(after.counted.get("seen"), Some(&2));
        assert_eq!(after.logged.len(), 1);
        assert_eq!(host::kv::get("k/1"), Ok(None));
        assert_eq!(host::config::get_json(), "{}");
    }

    #[test]
    fn a_test_that_panics_leaves_the_host_of_before() {
        let outer = Host::default().settings(json!({"a": 1}));
        let ((), outer) = outer.run(|| {
            let inner = Host::default().settings(json!({"a": 2}));
            let panicked = std::panic::catch_unwind(move || {
                inner.run(|| assert_eq!(host::config::get_json(), "panics"));
            });
            assert!(panicked.is_err());
            assert_eq!(host::config::get_json(), "{\"a\":1}");
            host::metrics::add("seen", 1);
        });
        assert_eq!(outer.counted.get("seen"), Some(&1));
        assert_eq!(host::config::get_json(), "{}");
    }

    #[test]
    fn a_page_holds_at_least_one_and_a_full_one_says_where_the_next_begins() {
        let named = |id: &str| Snapshot {
            id: id.into(),
            ..device()
        };
        let given = Host::default()
            .device(named("a"))
            .device(named("b"))
            .keeping("k/1", b"one")
            .keeping("k/2", b"two")
            .history("a", "org.example.x", &json!(1));
        let ((), _) = given.run(|| {
            for (after, limit, expected, next) in [
                (None, 0, "a", Some("a")),
                (None, 1, "a", Some("a")),
                (Some("a"), 1, "b", Some("b")),
                (Some("b"), 1, "", None),
                (None, 2, "a b", Some("b")),
                (None, 3, "a b", None),
                (None, u32::MAX, "a b", None),
            ] {
                let page = host::devices::search(None, after, limit).unwrap();
                let ids: Vec<&str> = page.items.iter().map(|one| one.id.as_str()).collect();
                assert_eq!(ids.join(" "), expected, "{after:?} {limit}");
                assert_eq!(page.next.as_deref(), next, "{after:?} {limit}");
            }
            let scanned = host::kv::scan("k/", None, 0).unwrap();
            assert_eq!(scanned.len(), 1);
            let told = host::devices::history("a", "org.example.x", 0).unwrap();
            assert_eq!(told, ["1"]);
        });
    }
}
