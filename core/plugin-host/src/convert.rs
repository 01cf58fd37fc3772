//! The engine's values in the contract's words, and back.
//!
//! Owns: the translation of devices, commands, events and findings, and with it what a plugin gets to see. Decides nothing. Effects
//! are in `effects`.

mod effects;

use pomona_engine::clock::{Micros, SECOND};
use pomona_engine::hooks::{self as engine, DeviceSnapshot};
use pomona_engine::{ActorKind, Event};
use serde_json::{Map, Value};

use crate::bindings::exports::pomona::hooks::{compliance, events};
use crate::bindings::pomona::types::{command, common, device};
use crate::rights::Capabilities;

pub(crate) use effects::effects;

const MILLI: Micros = SECOND / 1_000;
/// Longest JSON text of a fact or an event.
const MAX_VALUE: usize = 16 << 10;
/// The longest reason that a plugin may give.
const MAX_REASON: usize = 500;

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

/// A JSON text of the guest.
fn value(what: &str, json: &str) -> Result<Value, String> {
    if json.len() > MAX_VALUE {
        return Err(format!("{what} has more than {MAX_VALUE} bytes"));
    }
    serde_json::from_str(json).map_err(|error| format!("{what} is no JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn manifest(capabilities: &str) -> Manifest {
        Manifest::parse(&format!(
            "id = \"org.example.a\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"A\"\n[hooks.events]\n{capabilities}"
        ))
        .unwrap()
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
