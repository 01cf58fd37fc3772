//! The engine's values in the contract's words, and back.
//!
//! Owns: the translation of devices, commands, events and effects, and with it what a plugin gets to see. Decides nothing.

use pomona_engine::clock::{Micros, SECOND};
use pomona_engine::hooks::{self as engine, DeviceSnapshot};
use pomona_engine::{ActorKind, DeviceId, Event};
use serde_json::{Map, Value};

use crate::bindings::exports::pomona::hooks::{compliance, events};
use crate::bindings::pomona::types::{command, common, device, effect};
use crate::imports::MAX_KEY as MAX_STORED_KEY;
use crate::manifest::{HookName, Manifest};
use crate::rights::{Capabilities, Rights, Wish};

const MILLI: Micros = SECOND / 1_000;
/// Longest key of an effect, fact or topic.
const MAX_KEY: usize = 128;
/// Longest JSON text of a fact or an event.
const MAX_VALUE: usize = 16 << 10;
/// The longest reason that a plugin may give.
const MAX_REASON: usize = 500;
/// Most effects of one call.
const MAX_EFFECTS: usize = 256;

/// Milliseconds, as the contract counts.
pub(crate) fn millis(at: Micros) -> u64 {
    u64::try_from(at / MILLI).unwrap_or(0)
}

/// A time of the contract as the engine counts; one that is out of range is as late as can be.
pub(crate) fn micros(at_ms: u64) -> Micros {
    i64::try_from(at_ms)
        .unwrap_or(i64::MAX)
        .saturating_mul(MILLI)
}

/// A text of the guest as it may stand in an event: cut, without control characters.
pub(crate) fn short(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REASON)
        .collect()
}

/// A device as a plugin may see it: without the right `core` its id, channel and family alone.
pub(crate) fn snapshot(granted: &Capabilities, from: &DeviceSnapshot) -> device::Snapshot {
    let rights = &granted.devices;
    let known = |name: &str| {
        from.facts
            .iter()
            .find(|fact| fact.name == name)
            .map(|fact| &fact.value)
    };
    let model = from.product_name.clone().unwrap_or_default();
    let mut seen = device::Snapshot {
        id: from.device.map(|id| id.to_string()).unwrap_or_default(),
        channel: if from.user_key.is_empty() {
            device::Channel::Device
        } else {
            device::Channel::User(from.user_key.clone())
        },
        udid: None,
        serial: None,
        platform: platform(&model),
        model: String::new(),
        os_version: String::new(),
        os_build: String::new(),
        supervised: None,
        shared_ipad: None,
        // The engine enrolls by profile only.
        kind: device::EnrollmentKind::Profile,
        time_zone: None,
        groups: Vec::new(),
        seen_ms: 0,
        revision: u64::try_from(from.revision).unwrap_or(0),
        facts: from
            .facts
            .iter()
            .filter(|fact| rights.shows(&fact.name))
            .map(|fact| common::Fact {
                key: fact.name.clone(),
                value_json: fact.value.to_string(),
                source: fact.source.clone(),
                observed_ms: millis(fact.observed_at),
            })
            .collect(),
    };
    if rights.core() {
        let truth = |name| known(name).and_then(Value::as_bool);
        let text = |name| known(name).and_then(Value::as_str).map(str::to_owned);
        seen.udid = Some(from.ident.clone()).filter(|ident| !ident.is_empty());
        seen.serial = from.serial_number.clone();
        seen.model = model;
        seen.os_version = from.os_version.clone().unwrap_or_default();
        seen.os_build = text("os-build").unwrap_or_default();
        seen.supervised = truth("supervised");
        seen.shared_ipad = truth("shared-ipad");
        seen.time_zone = text("time-zone");
        seen.groups = from.groups.clone();
        seen.seen_ms = millis(from.seen_at);
    }
    seen
}

/// The family, from `ProductName`.
fn platform(model: &str) -> device::Platform {
    const FAMILIES: [(&str, device::Platform); 6] = [
        ("iPhone", device::Platform::Ios),
        ("iPod", device::Platform::Ios),
        ("iPad", device::Platform::Ipados),
        ("AppleTV", device::Platform::Tvos),
        ("Watch", device::Platform::Watchos),
        ("RealityDevice", device::Platform::Visionos),
    ];
    for (prefix, family) in FAMILIES {
        if model.starts_with(prefix) {
            return family;
        }
    }
    if model.contains("Mac") {
        device::Platform::Macos
    } else {
        device::Platform::Other(model.into())
    }
}

/// A command as a plugin sees it.
pub(crate) fn draft(from: &engine::CommandDraft) -> command::Draft {
    let payload: Map<String, Value> = from
        .command
        .iter()
        .filter(|(key, _)| *key != "RequestType")
        .map(|(key, value)| (key.clone(), pomona_engine::json_from_plist(value)))
        .collect();
    command::Draft {
        request_type: from.request_type.clone(),
        payload_json: Value::Object(payload).to_string(),
        actor: match from.actor {
            ActorKind::Person => command::Actor::Person,
            ActorKind::Plugin => command::Actor::Plugin,
            ActorKind::System => command::Actor::System,
            ActorKind::Device => command::Actor::Other("device".into()),
        },
    }
}

/// A change of a command.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn change(from: command::Change) -> Result<engine::Change, String> {
    let top = |pointer: &str| {
        pointer
            .strip_prefix('/')
            .filter(|key| !key.is_empty() && !key.contains('/'))
            .map(|key| key.replace("~1", "/").replace("~0", "~"))
            .ok_or_else(|| {
                format!("the pointer {pointer:?} does not name a key of the payload, like /Queries")
            })
    };
    match from {
        command::Change::Set((pointer, json)) => {
            let key = top(&pointer)?;
            let value: Value = serde_json::from_str(&json)
                .map_err(|error| format!("the value of {pointer} is no JSON: {error}"))?;
            let one = Map::from_iter([(key.clone(), value)]);
            let mut one =
                pomona_engine::dictionary_from_json(&one).map_err(|error| error.to_string())?;
            let value = one.remove(&key).ok_or("the value is gone")?;
            Ok(engine::Change::Set(key, value))
        }
        command::Change::Remove(pointer) => Ok(engine::Change::Remove(top(&pointer)?)),
        command::Change::Other(what) => Err(format!("this server knows no change {what:?}")),
    }
}

/// An event as a plugin sees it.
pub(crate) fn event(from: &Event) -> events::Event {
    let body = |name: &str| from.body.get(name);
    events::Event {
        id: format!("{}/{}", from.device_id, from.seq),
        device: from.device_id.to_string(),
        user: Some(from.user_key.clone()).filter(|user| !user.is_empty()),
        seq: u64::try_from(from.seq).unwrap_or(0),
        at_ms: millis(from.at),
        kind: from.kind.as_str().into(),
        depth: body("depth")
            .and_then(Value::as_u64)
            .and_then(|depth| u32::try_from(depth).ok())
            .unwrap_or(0),
        body_json: from.body.to_string(),
    }
}

/// A finding.
pub(crate) fn finding(from: compliance::Finding) -> Result<engine::Finding, String> {
    use compliance::Verdict;
    let evidence = from
        .evidence
        .into_iter()
        .map(|fact| {
            Ok(engine::KnownFact {
                value: value("evidence", &fact.value_json)?,
                name: short(&fact.key),
                source: short(&fact.source),
                observed_at: micros(fact.observed_ms),
            })
        })
        .collect::<Result<_, String>>()?;
    let remedies = from
        .remedies
        .into_iter()
        .map(|remedy| {
            Ok(engine::Remedy {
                label: short(&remedy.label),
                payload: value("the payload of a remedy", &remedy.command.payload_json)?,
                request_type: short(&remedy.command.request_type),
                automatic: remedy.automatic,
            })
        })
        .collect::<Result<_, String>>()?;
    Ok(engine::Finding {
        rule: from.rule,
        verdict: match from.verdict {
            Verdict::Pass => engine::RuleVerdict::Pass,
            Verdict::Fail => engine::RuleVerdict::Fail,
            Verdict::Unknown => engine::RuleVerdict::Unknown,
            Verdict::NotApplicable => engine::RuleVerdict::NotApplicable,
        },
        message: short(&from.message),
        evidence,
        remedies,
        grace: from.grace_ms.map(micros),
    })
}

/// A rule.
pub(crate) fn rule(from: compliance::RuleInfo) -> engine::RuleInfo {
    use compliance::Severity;
    engine::RuleInfo {
        id: from.id,
        title: short(&from.title),
        severity: match from.severity {
            Severity::Info => engine::Severity::Info,
            Severity::Low => engine::Severity::Low,
            Severity::Medium => engine::Severity::Medium,
            Severity::High => engine::Severity::High,
            Severity::Critical => engine::Severity::Critical,
        },
        description: short(&from.description),
        reference: from.reference.as_deref().map(short),
    }
}

/// A declaration.
pub(crate) fn declaration(
    from: crate::bindings::exports::pomona::hooks::declarations::Declaration,
) -> Result<engine::Declaration, String> {
    Ok(engine::Declaration {
        payload: value("the payload of a declaration", &from.payload_json)?,
        identifier: from.identifier,
        kind: short(&from.kind),
    })
}

/// The family of a device, as a manifest names it.
pub(crate) fn family(device: &DeviceSnapshot) -> Option<&'static str> {
    Some(match platform(device.product_name.as_deref()?) {
        device::Platform::Ios => "ios",
        device::Platform::Ipados => "ipados",
        device::Platform::Macos => "macos",
        device::Platform::Tvos => "tvos",
        device::Platform::Watchos => "watchos",
        device::Platform::Visionos => "visionos",
        device::Platform::Other(_) => return None,
    })
}

/// The effects of a call, each within the plugin's rights and name space.
///
/// # Errors
/// The first that is not allowed, by its key, with the right that is missing.
pub(crate) fn effects(
    manifest: &Manifest,
    rights: &Rights,
    hook: HookName,
    from: Vec<effect::Keyed>,
) -> Result<Vec<engine::KeyedEffect>, String> {
    if from.len() > MAX_EFFECTS {
        return Err(format!(
            "{} effects; at most {MAX_EFFECTS} in a call",
            from.len()
        ));
    }
    from.into_iter()
        .map(|keyed| {
            let key = keyed.key;
            if key.is_empty() || key.len() > MAX_KEY {
                return Err(format!("the key of an effect has 1 to {MAX_KEY} bytes"));
            }
            one_effect(manifest, rights, hook, keyed.item)
                .map(|effect| engine::KeyedEffect {
                    key: key.clone(),
                    effect,
                })
                .map_err(|problem| format!("effect {key:?}: {problem}"))
        })
        .collect()
}

fn one_effect(
    manifest: &Manifest,
    rights: &Rights,
    hook: HookName,
    item: effect::Item,
) -> Result<engine::Effect, String> {
    let allowed = |wish| rights.check(Some(hook), wish);
    match item {
        effect::Item::Enqueue((target, request)) => {
            allowed(Wish::Send(&request.request_type))?;
            let payload: Map<String, Value> = serde_json::from_str(&request.payload_json)
                .map_err(|error| format!("the payload is no JSON object: {error}"))?;
            let mut command =
                pomona_engine::dictionary_from_json(&payload).map_err(|error| error.to_string())?;
            command.insert("RequestType".into(), request.request_type.into());
            Ok(engine::Effect::Enqueue {
                channel: channel(target)?,
                not_after: request.not_after_ms.map(micros),
                reason: short(&request.reason),
                command,
            })
        }
        effect::Item::Emit((device, topic, body)) => Ok(engine::Effect::Emit {
            device: device_id(&device)?,
            topic: below(manifest, &topic)?,
            body: value("the body", &body)?,
        }),
        effect::Item::SetFact((target, name, json)) => {
            allowed(Wish::SetFact)?;
            Ok(engine::Effect::SetFact {
                device: device_id(&target.device)?,
                user_key: user_key(target.channel)?,
                name: below(manifest, &name)?,
                value: value("the value", &json)?,
            })
        }
        effect::Item::Wake(target) => {
            allowed(Wish::Wake)?;
            Ok(engine::Effect::Wake {
                channel: channel(target)?,
            })
        }
        effect::Item::KvPut((key, value)) => keep(rights, hook, key, Some(value)),
        effect::Item::KvDelete(key) => keep(rights, hook, key, None),
        effect::Item::Notify((severity, text)) => {
            allowed(Wish::Notify)?;
            if !["info", "warning", "urgent"].contains(&severity.as_str()) {
                return Err(format!(
                    "the severity {severity:?} is none of info, warning and urgent"
                ));
            }
            Ok(engine::Effect::Notify {
                severity,
                text: short(&text),
            })
        }
        effect::Item::Schedule((job, at_ms)) => {
            let known = manifest.jobs.iter().any(|one| one.name == job);
            allowed(Wish::Schedule(&job, known))?;
            Ok(engine::Effect::Schedule {
                job,
                at: micros(at_ms),
            })
        }
        effect::Item::Other(what) => Err(unknown(&what)),
    }
}

/// A value to keep, or to forget.
fn keep(
    rights: &Rights,
    hook: HookName,
    key: String,
    value: Option<Vec<u8>>,
) -> Result<engine::Effect, String> {
    rights.check(Some(hook), Wish::Keep)?;
    if key.is_empty() || key.len() > MAX_STORED_KEY || key.contains('\0') {
        return Err(format!(
            "the key of a value has 1 to {MAX_STORED_KEY} bytes without zero bytes"
        ));
    }
    let kv = rights.granted.kv.ok_or("capabilities.kv is not granted")?;
    Ok(engine::Effect::Keep {
        schema: kv.schema,
        quota: usize::try_from(kv.quota_kib).unwrap_or(0) << 10,
        key,
        value,
    })
}

/// A JSON text of the guest.
fn value(what: &str, json: &str) -> Result<Value, String> {
    if json.len() > MAX_VALUE {
        return Err(format!("{what} has more than {MAX_VALUE} bytes"));
    }
    serde_json::from_str(json).map_err(|error| format!("{what} is no JSON: {error}"))
}

fn unknown(what: &str) -> String {
    format!("this server does not carry out {what}")
}

/// Forces a name below the plugin's id.
fn below(manifest: &Manifest, name: &str) -> Result<String, String> {
    let full = match name.strip_prefix(&manifest.id) {
        Some(rest) if rest.starts_with('.') => name.to_owned(),
        _ => format!("{}.{name}", manifest.id),
    };
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || full.len() > MAX_KEY || !full.bytes().all(fine) {
        return Err(format!(
            "the name {name:?} must be of letters, digits, - _ and ., {MAX_KEY} bytes with the plugin's id before it"
        ));
    }
    Ok(full)
}

fn device_id(text: &str) -> Result<DeviceId, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no id of a device"))
}

fn user_key(channel: device::Channel) -> Result<String, String> {
    match channel {
        device::Channel::Device => Ok(String::new()),
        device::Channel::User(user) => Ok(user),
        device::Channel::Other(what) => Err(format!("this server knows no channel {what:?}")),
    }
}

fn channel(target: device::Target) -> Result<engine::Channel, String> {
    Ok(engine::Channel::Of {
        device: device_id(&target.device)?,
        user_key: user_key(target.channel)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "01a20eeb-2cbc-75a1-814e-9b4431bebb81";

    fn manifest(capabilities: &str) -> Manifest {
        Manifest::parse(&format!(
            "id = \"org.example.a\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"A\"\n[hooks.events]\n{capabilities}"
        ))
        .unwrap()
    }

    fn all() -> Manifest {
        manifest(
            "[capabilities.commands]\nenqueue = [\"DeviceLock\"]\nwake = true\n[capabilities.facts]\nset = true\n",
        )
    }

    #[test]
    fn what_is_kept_told_and_planned_is_checked() {
        let manifest = manifest(
            "[hooks.jobs]\n[[jobs]]\nname = \"sync\"\n[capabilities]\nnotify = true\n[capabilities.kv]\nquota-kib = 2\nschema = 7\n",
        );
        let notify = |severity: &str| effect::Item::Notify((severity.into(), "x".into()));
        let cases = [
            (
                effect::Item::KvPut(("a".into(), vec![1])),
                "schema: 7, quota: 2048",
            ),
            (effect::Item::KvDelete("a".into()), "value: None"),
            (
                effect::Item::KvPut((String::new(), vec![])),
                "1 to 512 bytes",
            ),
            (notify("urgent"), "Notify"),
            (notify("loud"), "none of info, warning and urgent"),
            (effect::Item::Schedule(("sync".into(), 5)), "at: 5000"),
            (effect::Item::Schedule(("other".into(), 5)), "no job other"),
        ];
        for (item, expected) in cases {
            let told = told(&manifest, "k", item);
            assert!(told.contains(expected), "{told}\nshould hold: {expected}");
        }
    }

    fn carried(
        manifest: &Manifest,
        from: Vec<effect::Keyed>,
    ) -> Result<Vec<engine::KeyedEffect>, String> {
        let rights = Rights {
            granted: manifest.capabilities.clone(),
        };
        effects(manifest, &rights, HookName::Events, from)
    }

    fn target() -> device::Target {
        device::Target {
            device: DEVICE.into(),
            channel: device::Channel::Device,
        }
    }

    fn request(request_type: &str, payload_json: &str) -> command::Request {
        command::Request {
            request_type: request_type.into(),
            payload_json: payload_json.into(),
            not_after_ms: None,
            reason: String::new(),
        }
    }

    fn told(manifest: &Manifest, key: &str, item: effect::Item) -> String {
        let keyed = effect::Keyed {
            key: key.into(),
            item,
        };
        match carried(manifest, vec![keyed]) {
            Ok(effects) => format!("{:?}", effects[0].effect),
            Err(problem) => problem,
        }
    }

    #[test]
    fn an_effect_needs_its_right() {
        let none = manifest("");
        let lock = || effect::Item::Enqueue((target(), request("DeviceLock", "{}")));
        let fact = || effect::Item::SetFact((target(), "n".into(), "1".into()));
        let wake = || effect::Item::Wake(target());
        for (item, right) in [
            (
                lock(),
                "DeviceLock in capabilities.commands.enqueue is not granted",
            ),
            (fact(), "capabilities.facts.set"),
            (wake(), "capabilities.commands.wake"),
        ] {
            let told = told(&none, "k", item);
            assert!(told.contains(right), "{told}");
        }
        let erase = effect::Item::Enqueue((target(), request("EraseDevice", "{}")));
        assert!(told(&all(), "k", erase).contains("EraseDevice in capabilities"));
        for (item, done) in [
            (lock(), "Enqueue"),
            (fact(), "org.example.a.n"),
            (wake(), "Wake"),
        ] {
            let told = told(&all(), "k", item);
            assert!(told.contains(done), "{told}");
        }
    }

    #[test]
    fn what_cannot_be_carried_out_is_said_and_nothing_is_done() {
        let long = "k".repeat(MAX_KEY + 1);
        let elsewhere = |channel| device::Target {
            device: DEVICE.into(),
            channel,
        };
        let emit = |device: &str, topic: &str, body: &str| {
            effect::Item::Emit((device.into(), topic.into(), body.into()))
        };
        let other = device::Channel::Other("watch".into());
        let cases = [
            ("", emit(DEVICE, "t", "{}"), "the key of an effect"),
            (
                long.as_str(),
                emit(DEVICE, "t", "{}"),
                "the key of an effect",
            ),
            ("k", emit("ipad", "t", "{}"), "no id of a device"),
            ("k", emit(DEVICE, "", "{}"), "must be of letters"),
            ("k", emit(DEVICE, "a b", "{}"), "must be of letters"),
            ("k", emit(DEVICE, &long, "{}"), "must be of letters"),
            ("k", emit(DEVICE, "t", "{"), "the body is no JSON"),
            ("k", effect::Item::Wake(elsewhere(other)), "no channel"),
            (
                "k",
                effect::Item::Enqueue((target(), request("DeviceLock", "[]"))),
                "no JSON object",
            ),
            (
                "k",
                effect::Item::Enqueue((target(), request("DeviceLock", "{\"A\": null}"))),
                "null",
            ),
            (
                "k",
                effect::Item::KvDelete("x".into()),
                "capabilities.kv is not granted",
            ),
            (
                "k",
                effect::Item::Other("dance".into()),
                "does not carry out dance",
            ),
        ];
        for (key, item, expected) in cases {
            let told = told(&all(), key, item);
            assert!(told.contains(expected), "{told}\nshould hold: {expected}");
        }
        let many = vec![
            effect::Keyed {
                key: "k".into(),
                item: effect::Item::Wake(target()),
            };
            MAX_EFFECTS + 1
        ];
        assert!(carried(&all(), many).is_err());
    }

    #[test]
    fn names_stand_below_the_plugins_id() {
        let manifest = all();
        for (name, full) in [
            ("seen", "org.example.a.seen"),
            ("org.example.a.seen", "org.example.a.seen"),
            ("org.example.ab", "org.example.a.org.example.ab"),
            ("org.other.seen", "org.example.a.org.other.seen"),
        ] {
            assert_eq!(below(&manifest, name).as_deref(), Ok(full));
        }
    }

    #[test]
    fn a_change_names_one_key_and_is_a_value_of_a_property_list() {
        let set =
            |pointer: &str, json: &str| change(command::Change::Set((pointer.into(), json.into())));
        let good = set("/Queries", "[\"UDID\"]").unwrap();
        let list = plist::Value::Array(vec!["UDID".into()]);
        assert_eq!(good, engine::Change::Set("Queries".into(), list));
        let gone = change(command::Change::Remove("/a~1b".into()));
        assert_eq!(gone, Ok(engine::Change::Remove("a/b".into())));
        for (pointer, json) in [
            ("Queries", "1"),
            ("/", "1"),
            ("/a/b", "1"),
            ("/a", "{"),
            ("/a", "null"),
        ] {
            assert!(set(pointer, json).is_err(), "{pointer} {json}");
        }
    }

    #[test]
    fn a_device_is_shown_as_far_as_the_manifest_asks() {
        let fact = |name: &str, value: Value| engine::KnownFact {
            name: name.into(),
            value,
            source: "admin".into(),
            observed_at: 5_000_000,
        };
        let from = DeviceSnapshot {
            product_name: Some("iPad13,18".into()),
            facts: vec![
                fact("time-zone", "Europe/Berlin".into()),
                fact("supervised", true.into()),
                fact("owner", "Ada".into()),
            ],
            ..DeviceSnapshot::default()
        };
        let asks = manifest("[capabilities.devices]\nread = [\"fact:time-zone\"]\n");
        let seen = snapshot(&asks.capabilities, &from);
        assert!(matches!(seen.platform, device::Platform::Ipados));
        assert!(seen.supervised.is_none() && seen.model.is_empty() && seen.time_zone.is_none());
        let core = manifest("[capabilities.devices]\nread = [\"core\"]\n");
        let whole = snapshot(&core.capabilities, &from);
        assert_eq!(whole.supervised, Some(true));
        assert_eq!(whole.time_zone.as_deref(), Some("Europe/Berlin"));
        assert!(whole.facts.is_empty());
        let keys: Vec<&str> = seen.facts.iter().map(|fact| fact.key.as_str()).collect();
        assert_eq!(keys, ["time-zone"], "no other fact is shown");
        assert_eq!(seen.facts[0].observed_ms, 5_000);
    }
}
