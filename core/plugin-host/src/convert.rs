//! The engine's values in the contract's words, and back.
//!
//! Owns: the translation of devices, commands, events and effects, and with it what a plugin gets to see. Decides nothing.

use pomona_engine::clock::{Micros, SECOND};
use pomona_engine::hooks::{self as engine, DeviceSnapshot};
use pomona_engine::{ActorKind, DeviceId, Event};
use serde_json::{Map, Value};

use crate::bindings::exports::pomona::hooks::events;
use crate::bindings::pomona::types::{command, common, device, effect};
use crate::manifest::Manifest;

const MILLI: Micros = SECOND / 1_000;
/// Longest key of an effect, fact or topic.
const MAX_KEY: usize = 128;
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

/// A device as a plugin may see it.
pub(crate) fn snapshot(manifest: &Manifest, from: &DeviceSnapshot) -> device::Snapshot {
    let known = |name: &str| {
        from.facts
            .iter()
            .find(|fact| fact.name == name)
            .map(|fact| &fact.value)
    };
    let truth = |name| known(name).and_then(Value::as_bool);
    let rights = &manifest.capabilities.devices;
    let model = from.product_name.clone().unwrap_or_default();
    device::Snapshot {
        id: from.device.map(|id| id.to_string()).unwrap_or_default(),
        channel: if from.user_key.is_empty() {
            device::Channel::Device
        } else {
            device::Channel::User(from.user_key.clone())
        },
        udid: Some(from.ident.clone()).filter(|ident| !ident.is_empty()),
        serial: from.serial_number.clone(),
        platform: platform(&model),
        model,
        os_version: from.os_version.clone().unwrap_or_default(),
        os_build: known("os-build")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        supervised: truth("supervised"),
        shared_ipad: truth("shared-ipad"),
        kind: device::EnrollmentKind::Profile,
        time_zone: known("time-zone").and_then(Value::as_str).map(Into::into),
        groups: from.groups.clone(),
        seen_ms: millis(from.seen_at),
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
    }
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
            ActorKind::Person => command::Actor::Person(String::new()),
            ActorKind::Plugin => command::Actor::Plugin(String::new()),
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
        user: body("user").and_then(Value::as_str).map(Into::into),
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

/// The effects of a call, each within the plugin's rights and name space.
///
/// # Errors
/// The first that is not allowed, by its key, with the right that is missing.
pub(crate) fn effects(
    manifest: &Manifest,
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
            one_effect(manifest, keyed.item)
                .map(|effect| engine::KeyedEffect {
                    key: key.clone(),
                    effect,
                })
                .map_err(|problem| format!("effect {key:?}: {problem}"))
        })
        .collect()
}

fn one_effect(manifest: &Manifest, item: effect::Item) -> Result<engine::Effect, String> {
    let rights = &manifest.capabilities;
    match item {
        effect::Item::Enqueue((target, request)) => {
            let allowed = &rights.commands.enqueue;
            if !allowed.contains(&request.request_type) {
                return Err(format!(
                    "{} is not in capabilities.commands.enqueue",
                    request.request_type
                ));
            }
            let payload: Map<String, Value> = serde_json::from_str(&request.payload_json)
                .map_err(|error| format!("the payload is no JSON object: {error}"))?;
            let mut command =
                pomona_engine::dictionary_from_json(&payload).map_err(|error| error.to_string())?;
            command.insert("RequestType".into(), request.request_type.into());
            Ok(engine::Effect::Enqueue {
                channel: channel(target)?,
                not_after: request.not_after_ms.map(micros),
                command,
            })
        }
        effect::Item::Emit((device, topic, body)) => Ok(engine::Effect::Emit {
            device: device_id(&device)?,
            topic: below(manifest, &topic)?,
            body: serde_json::from_str(&body)
                .map_err(|error| format!("the body is no JSON: {error}"))?,
        }),
        effect::Item::SetFact((target, name, value)) => {
            if !rights.facts.set {
                return Err("capabilities.facts.set is not asked for".into());
            }
            Ok(engine::Effect::SetFact {
                device: device_id(&target.device)?,
                user_key: user_key(target.channel)?,
                name: below(manifest, &name)?,
                value: serde_json::from_str(&value)
                    .map_err(|error| format!("the value is no JSON: {error}"))?,
            })
        }
        effect::Item::Wake(target) => {
            if !rights.commands.wake {
                return Err("capabilities.commands.wake is not asked for".into());
            }
            Ok(engine::Effect::Wake {
                channel: channel(target)?,
            })
        }
        effect::Item::KvPut(_) | effect::Item::KvDelete(_) => Err(unknown("kv")),
        effect::Item::Notify(_) => Err(unknown("notify")),
        effect::Item::Schedule(_) => Err(unknown("schedule")),
        effect::Item::Other(what) => Err(unknown(&what)),
    }
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
