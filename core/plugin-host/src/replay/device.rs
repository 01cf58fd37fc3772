//! A device in a record.
//!
//! Owns: making the engine's device of a snapshot in the contract's words, which may be given as far as a test needs it.

use pomona_engine::clock::Micros;
use pomona_engine::hooks::{DeviceSnapshot, KnownFact};
use pomona_engine::{DeviceId, Marks};
use serde_json::{Map, Value, json};
use wasmtime::component::types::Type;

use super::members::{Members, Read, misfit, only_member};
use crate::convert::{micros, platform_of};
use crate::json::below;

/// Members of a device.
const DEVICE: [&str; 16] = [
    "id",
    "channel",
    "udid",
    "serial",
    "platform",
    "model",
    "os-version",
    "os-build",
    "supervised",
    "shared-ipad",
    "kind",
    "time-zone",
    "groups",
    "seen-ms",
    "revision",
    "facts-json",
];

/// A device of the engine from a snapshot.
pub(super) fn device(told: &Value, at: &str) -> Read<DeviceSnapshot> {
    let told = Members::of(told, at, &DEVICE)?;
    let id = told.text("id")?.unwrap_or_default();
    let id: DeviceId = id
        .parse()
        .map_err(|_| misfit(&below(at, "id"), "a UUID", &json!(id)))?;
    let model = told.filled("model")?;
    if let Some(platform) = told.get("platform") {
        // Without a model, a server knows no family.
        let known = platform_of(model.as_deref().unwrap_or_default());
        if *platform != known {
            let expected = match &model {
                Some(model) => format!("{known}, as a server tells by the model {model}"),
                None => {
                    r#"a "model" such as "iPad13,18" beside it, by which a server tells it"#.into()
                }
            };
            return Err(misfit(&below(at, "platform"), &expected, platform));
        }
    }
    let (ade, user_enrollment) = match told.get("kind") {
        None => (None, false),
        Some(kind) if *kind == json!("profile") => (None, false),
        Some(kind) if *kind == json!("automated") => (Some(true), false),
        Some(kind) if *kind == json!("account-driven-user") => (None, true),
        Some(kind) => {
            let expected = r#""profile", "automated" or "account-driven-user""#;
            return Err(misfit(&below(at, "kind"), expected, kind));
        }
    };
    let mut groups = Vec::new();
    for (n, group) in told.list("groups")?.iter().enumerate() {
        let at = format!("{at}/groups/{n}");
        let name = group.as_str().ok_or_else(|| misfit(&at, "a text", group))?;
        groups.push(name.to_owned());
    }
    Ok(DeviceSnapshot {
        device: Some(id),
        user_key: user(&told)?,
        user_enrollment,
        ident: told.text("udid")?.unwrap_or_default(),
        serial_number: told.text("serial")?,
        product_name: model,
        os_version: told.filled("os-version")?,
        facts: facts(&told)?,
        groups,
        seen_at: micros(told.number("seen-ms")?),
        revision: i64::try_from(told.number("revision")?).unwrap_or(i64::MAX),
        marks: Marks {
            ade,
            ..Marks::default()
        },
        ..DeviceSnapshot::default()
    })
}

/// The facts of a device, with those that the contract has as members.
fn facts(told: &Members<'_>) -> Read<Vec<KnownFact>> {
    let mut facts = Vec::new();
    let at = below(told.at, "facts-json");
    if let Some(text) = told.filled("facts-json")? {
        let written: Map<String, Value> = serde_json::from_str(&text).map_err(|_| {
            let expected = r#"an object like {"security.passcode-present": {"value": true}}"#;
            misfit(
                &at,
                expected,
                told.get("facts-json").unwrap_or(&Value::Null),
            )
        })?;
        for (name, written) in &written {
            facts.push(fact(name, written, &below(&at, name))?);
        }
    }
    for (name, ty) in [
        ("supervised", Type::Bool),
        ("shared-ipad", Type::Bool),
        ("time-zone", Type::String),
        ("os-build", Type::String),
    ] {
        told.read(name, &ty)?;
        let Some(value) = told.get(name).filter(|value| **value != json!("")) else {
            continue;
        };
        match facts.iter().find(|fact| fact.name == name) {
            None => facts.push(KnownFact {
                name: name.to_owned(),
                value: value.clone(),
                source: String::new(),
                observed_at: Micros::default(),
            }),
            Some(fact) if fact.value != *value => {
                let expected = format!("{}, as its fact says", fact.value);
                return Err(misfit(&below(told.at, name), &expected, value));
            }
            Some(_) => {}
        }
    }
    Ok(facts)
}

fn fact(name: &str, told: &Value, at: &str) -> Read<KnownFact> {
    let members = Members::of(told, at, &["value", "source", "observed-ms"])?;
    let Some(value) = members.get("value") else {
        return Err(misfit(at, r#"an object with "value""#, told));
    };
    Ok(KnownFact {
        name: name.to_owned(),
        value: value.clone(),
        source: members.text("source")?.unwrap_or_default(),
        observed_at: micros(members.number("observed-ms")?),
    })
}

/// The user of a channel; empty for the device's own.
fn user(told: &Members<'_>) -> Read<String> {
    let Some(channel) = told.get("channel") else {
        return Ok(String::new());
    };
    match (channel.as_str(), only_member(channel)) {
        (Some("device"), _) => Ok(String::new()),
        (_, Some(("user", Value::String(user)))) if !user.is_empty() => Ok(user.clone()),
        _ => {
            let expected = r#""device" or {"user": text}"#;
            Err(misfit(&below(told.at, "channel"), expected, channel))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id() -> String {
        Uuid::from_u128(7).to_string()
    }

    #[test]
    fn a_device_is_read_as_far_as_it_is_given() {
        let written = json!({
            "id": id(),
            "channel": { "user": "ada" },
            "platform": "ipados",
            "model": "iPad13,18",
            "supervised": true,
            "kind": "automated",
            "serial": null,
            "os-build": "",
            "groups": ["Kitchen"],
            "seen-ms": "1970-01-01T00:00:01Z",
            "facts-json": { "a.b": { "value": [1] }, "a.c": { "value": 2, "observed-ms": 3 } },
        });
        let told = device(&written, "").unwrap();
        assert_eq!(told.groups, ["Kitchen"]);
        assert_eq!(told.user_key, "ada");
        assert_eq!(told.marks.ade, Some(true));
        assert_eq!(told.seen_at, micros(1_000));
        assert_eq!(told.serial_number, None);
        let facts: Vec<_> = told
            .facts
            .iter()
            .map(|fact| (fact.name.as_str(), fact.value.clone()))
            .collect();
        let expected = [
            ("a.b", json!([1])),
            ("a.c", json!(2)),
            ("supervised", json!(true)),
        ];
        assert_eq!(facts, expected);
        assert_eq!(told.facts[1].observed_at, micros(3));
        let user = json!({ "id": id(), "kind": "account-driven-user" });
        assert!(device(&user, "").unwrap().user_enrollment);
        let unknown = json!({ "id": id(), "platform": { "other": "" } });
        assert_eq!(device(&unknown, "").unwrap().product_name, None);
    }

    #[test]
    fn a_member_of_a_device_that_cannot_be_read_is_named() {
        for (member, value, expected) in [
            ("id", json!("kitchen"), "/id: expected a UUID"),
            (
                "modle",
                json!("iPad13,18"),
                "/modle: there is no such member",
            ),
            ("model", json!(7), "/model: expected a text, got 7"),
            ("model", json!(null), "/model: expected a text, got null"),
            (
                "platform",
                json!("ipados"),
                "/platform: expected a \"model\"",
            ),
            ("channel", json!("phone"), "/channel: expected \"device\""),
            ("kind", json!("gift"), "/kind: expected \"profile\""),
            (
                "supervised",
                json!("yes"),
                "/supervised: expected true or false",
            ),
            ("os-build", json!(1), "/os-build: expected a text"),
            ("groups", json!("Kitchen"), "/groups: expected a list"),
            ("groups", json!([1]), "/groups/0: expected a text"),
            ("seen-ms", json!("soon"), "/seen-ms: \"soon\" is no time"),
            ("revision", json!(-1), "/revision: expected a whole number"),
            (
                "facts-json",
                json!({ "a.b": { "source": "device" } }),
                "/facts-json/a.b: expected an object with \"value\"",
            ),
            (
                "facts-json",
                json!([{ "key": "a" }]),
                "/facts-json: expected an object like {",
            ),
            (
                "facts-json",
                json!("{"),
                "/facts-json: expected an object like {",
            ),
            (
                "facts-json",
                json!({ "a": { "value-json": 1 } }),
                "/facts-json/a/value-json: there is no such member",
            ),
        ] {
            let mut written = json!({ "id": id() });
            written[member] = value;
            let told = device(&written, "").unwrap_err().to_string();
            assert!(told.starts_with(expected), "{told}\nshould be: {expected}");
        }
        for (written, expected) in [
            (
                json!({ "id": id(), "model": "Mac14,2", "platform": "ios" }),
                "/platform: expected \"macos\"",
            ),
            (
                json!({ "id": id(), "time-zone": "a", "facts-json": { "time-zone": { "value": "b" } } }),
                "/time-zone: expected \"b\"",
            ),
            (json!([]), ": expected an object with id"),
        ] {
            let told = device(&written, "").unwrap_err().to_string();
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
