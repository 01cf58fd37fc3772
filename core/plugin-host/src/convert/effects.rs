//! What a plugin wants done, in the engine's words.
//!
//! Owns: the check of every effect against the plugin's rights, its name space and the bounds of keys and values. Carries nothing
//! out.

use pomona_engine::DeviceId;
use pomona_engine::hooks as engine;
use serde_json::{Map, Value};

use super::{micros, short, value};
use crate::bindings::pomona::types::{device, effect};
use crate::call::Whose;
use crate::imports::MAX_KEY as MAX_STORED_KEY;
use crate::manifest::{HookName, Manifest};
use crate::rights::Wish;

/// Longest key of an effect, fact or topic.
const MAX_KEY: usize = 128;
/// Most effects of one call.
const MAX_EFFECTS: usize = 256;

/// The effects of a call, each within the plugin's rights and name space.
///
/// # Errors
/// The first that is not allowed, by its key, with the right that is missing.
pub(crate) fn effects(
    manifest: &Manifest,
    whose: &Whose,
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
            one_effect(manifest, whose, hook, keyed.item)
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
    whose: &Whose,
    hook: HookName,
    item: effect::Item,
) -> Result<engine::Effect, String> {
    let allowed = |wish| whose.check(Some(hook), wish);
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
        effect::Item::KvPut((key, value)) => keep(whose, hook, key, Some(value)),
        effect::Item::KvDelete(key) => keep(whose, hook, key, None),
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
    whose: &Whose,
    hook: HookName,
    key: String,
    value: Option<Vec<u8>>,
) -> Result<engine::Effect, String> {
    whose.check(Some(hook), Wish::Keep)?;
    if key.is_empty() || key.len() > MAX_STORED_KEY || key.contains('\0') {
        return Err(format!(
            "the key of a value has 1 to {MAX_STORED_KEY} bytes without zero bytes"
        ));
    }
    let kv = whose
        .rights
        .granted
        .kv
        .ok_or("capabilities.kv is not granted")?;
    Ok(engine::Effect::Keep {
        schema: kv.schema,
        quota: usize::try_from(kv.quota_kib).unwrap_or(0) << 10,
        key,
        value,
    })
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
    use crate::bindings::pomona::types::command;

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

    fn carried(
        manifest: &Manifest,
        from: Vec<effect::Keyed>,
    ) -> Result<Vec<engine::KeyedEffect>, String> {
        let tenant = pomona_engine::TenantId(uuid::Uuid::nil());
        let granted = manifest.capabilities.clone();
        let whose = Whose::of(&manifest.id, tenant, "{}", granted, None);
        effects(manifest, &whose, HookName::Events, from)
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
}
