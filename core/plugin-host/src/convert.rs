//! The engine's values in the contract's words, and back.
//!
//! Owns: the translation of devices, events and findings, and with it what a plugin gets to see. Decides nothing. Commands and
//! their changes are in `commands`, effects in `effects`.

mod commands;
mod effects;
mod subjects;

use std::collections::BTreeMap;

use pomona_engine::Event;
use pomona_engine::clock::{Micros, SECOND};
use pomona_engine::hooks::{self as engine, DeviceSnapshot};
use serde::{Serialize, Serializer as _};
use serde_json::{Value, json};

use crate::bindings::exports::pomona::hooks::{compliance, events};
use crate::bindings::pomona::types::{common, device};
use crate::rights::{Capabilities, DeviceRights};

pub use commands::amended;
pub(crate) use commands::{change, draft};
pub(crate) use effects::effects;
pub(crate) use subjects::subject;

const MILLI: Micros = SECOND / 1_000;
/// Longest JSON text of a fact or an event.
const MAX_VALUE: usize = 16 << 10;
/// The longest reason that a plugin may give.
const MAX_REASON: usize = 500;
/// What is told of a device without the right `core`. The kind is the same for all.
const WITHOUT_CORE: [&str; 6] = [
    "id",
    "channel",
    "platform",
    "kind",
    "revision",
    "facts-json",
];

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

/// Whether a member of a device's snapshot is told to a plugin with these rights. Which facts are told, [`DeviceRights::shows`]
/// says.
#[must_use]
pub fn shows_member(rights: &DeviceRights, member: &str) -> bool {
    rights.core() || WITHOUT_CORE.contains(&member)
}

/// A device as a plugin may see it.
pub(crate) fn snapshot(granted: &Capabilities, from: &DeviceSnapshot) -> device::Snapshot {
    let rights = &granted.devices;
    let shown = |member: &str| shows_member(rights, member);
    // What the contract has as a member, the engine has as a fact.
    let known = |member: &str| {
        from.facts
            .iter()
            .find(|fact| fact.name == member && shown(member))
            .map(|fact| &fact.value)
    };
    let truth = |member: &str| known(member).and_then(Value::as_bool);
    let text = |member: &str| known(member).and_then(Value::as_str).map(str::to_owned);
    let model = from.product_name.clone().unwrap_or_default();
    let os_version = from.os_version.clone();
    device::Snapshot {
        id: from.device.map(|id| id.to_string()).unwrap_or_default(),
        channel: if from.user_key.is_empty() {
            device::Channel::Device
        } else {
            device::Channel::User(from.user_key.clone())
        },
        udid: Some(from.ident.clone())
            .filter(|ident| shown("udid") && !ident.is_empty() && !from.user_enrollment),
        serial: from.serial_number.clone().filter(|_| shown("serial")),
        platform: platform(&model),
        model: Some(model).filter(|_| shown("model")).unwrap_or_default(),
        os_version: os_version
            .filter(|_| shown("os-version"))
            .unwrap_or_default(),
        os_build: text("os-build").unwrap_or_default(),
        supervised: truth("supervised"),
        shared_ipad: truth("shared-ipad"),
        // What the device says; the engine itself enrolls by profile only.
        kind: match from.marks.ade {
            _ if from.user_enrollment => device::EnrollmentKind::AccountDrivenUser,
            Some(true) => device::EnrollmentKind::Automated,
            _ => device::EnrollmentKind::Profile,
        },
        time_zone: text("time-zone"),
        groups: match shown("groups") {
            true => from.groups.clone(),
            false => Vec::new(),
        },
        seen_ms: match shown("seen-ms") {
            true => millis(from.seen_at),
            false => 0,
        },
        revision: u64::try_from(from.revision).unwrap_or(0),
        facts_json: facts_text(from.facts.iter().filter(|fact| rights.shows(&fact.name))),
    }
}

/// One fact of a device; on a user's channel rather the user's own than the device's.
pub(crate) fn fact(
    rights: &DeviceRights,
    from: &DeviceSnapshot,
    key: &str,
) -> Option<common::Fact> {
    let mut named = from.facts.iter().filter(|fact| fact.name == key);
    let fact = named.next_back().filter(|_| rights.shows(key))?;
    Some(common::Fact {
        key: fact.name.clone(),
        value_json: fact.value.to_string(),
        source: fact.source.clone(),
        observed_ms: millis(fact.observed_at),
    })
}

/// A fact as the text of all of them tells it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Told<'a> {
    value: &'a Value,
    source: &'a str,
    observed_ms: u64,
}

/// The facts of a device as one text: a guest asks for few of many, and each text that crosses the border costs a call into it.
/// On a user's channel the user's own stands before the device's.
fn facts_text<'a>(facts: impl Iterator<Item = &'a engine::KnownFact>) -> String {
    let facts: BTreeMap<&str, _> = facts.map(|fact| (fact.name.as_str(), fact)).collect();
    let mut text = Vec::with_capacity(1_024);
    let told = facts.into_iter().map(|(name, fact)| {
        let told = Told {
            value: &fact.value,
            source: &fact.source,
            observed_ms: millis(fact.observed_at),
        };
        (name, told)
    });
    match serde_json::Serializer::new(&mut text).collect_map(told) {
        Ok(()) => String::from_utf8(text).unwrap_or_default(),
        // Texts and numbers in memory are always written.
        Err(_) => "{}".into(),
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

/// The family of a device by its `ProductName`, as a manifest names it; none where no family is known.
pub(crate) fn family(product_name: &str) -> Option<&'static str> {
    Some(match platform(product_name) {
        device::Platform::Ios => "ios",
        device::Platform::Ipados => "ipados",
        device::Platform::Macos => "macos",
        device::Platform::Tvos => "tvos",
        device::Platform::Watchos => "watchos",
        device::Platform::Visionos => "visionos",
        device::Platform::Other(_) => return None,
    })
}

/// The family of a device by its `ProductName`, as the contract's `platform` is written in JSON.
#[must_use]
pub fn platform_of(product_name: &str) -> Value {
    match family(product_name) {
        Some(family) => json!(family),
        None => json!({ "other": product_name }),
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
        body_json: shown_body(from).to_string(),
    }
}

/// What an event tells. Of what a device has told the keys alone: the values are facts, which a plugin sees as far as its rights reach.
fn shown_body(from: &Event) -> Value {
    let mut body = from.body.clone();
    if from.kind == pomona_engine::EventKind::DeviceTold
        && let Some(changes) = body.get_mut("changes").and_then(Value::as_array_mut)
    {
        for change in changes.iter_mut().filter_map(Value::as_object_mut) {
            change.retain(|name, _| name == "key");
        }
    }
    body
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
    fn of_what_a_device_has_told_an_event_shows_the_keys_alone() {
        let from = |kind| Event {
            device_id: pomona_engine::DeviceId(Default::default()),
            seq: 1,
            at: 0,
            tenant_id: pomona_engine::TenantId(Default::default()),
            enrollment_id: None,
            user_key: String::new(),
            kind,
            command_id: None,
            actor_kind: "device",
            actor_id: None,
            body: json!({ "section": "device", "changes": [{ "key": "PhoneNumber", "before": "1", "after": "2" }] }),
        };
        let shown = |kind| serde_json::from_str::<Value>(&event(&from(kind)).body_json).unwrap();
        let told = shown(pomona_engine::EventKind::DeviceTold);
        assert_eq!(
            told,
            json!({ "section": "device", "changes": [{ "key": "PhoneNumber" }] })
        );
        let other = shown(pomona_engine::EventKind::Emitted);
        assert_eq!(other["changes"][0]["after"], "2");
    }

    #[test]
    fn a_family_is_told_by_the_name_of_the_product() {
        for (name, expected) in [
            ("iPhone17,1", json!("ios")),
            ("iPod9,1", json!("ios")),
            ("iPad13,18", json!("ipados")),
            ("Mac14,2", json!("macos")),
            ("MacBookPro18,3", json!("macos")),
            ("AppleTV14,1", json!("tvos")),
            ("Watch7,1", json!("watchos")),
            ("RealityDevice14,1", json!("visionos")),
            ("Car1,1", json!({ "other": "Car1,1" })),
            ("", json!({ "other": "" })),
        ] {
            assert_eq!(platform_of(name), expected, "{name}");
            assert_eq!(json!(family(name)).is_null(), expected.is_object());
        }
    }

    #[test]
    fn a_user_enrollment_is_shown_as_one_and_its_id_is_no_udid() {
        let all = manifest("[capabilities.devices]\nread = [\"core\"]\n").capabilities;
        let from = |user_enrollment, ade| DeviceSnapshot {
            ident: "U".into(),
            user_enrollment,
            marks: pomona_engine::Marks {
                ade,
                ..pomona_engine::Marks::default()
            },
            ..DeviceSnapshot::default()
        };
        for (user_enrollment, ade, udid, expected) in [
            (false, None, Some("U"), "Profile"),
            (false, Some(true), Some("U"), "Automated"),
            (true, None, None, "AccountDrivenUser"),
        ] {
            let seen = snapshot(&all, &from(user_enrollment, ade));
            assert_eq!(seen.udid.as_deref(), udid);
            let kind = format!("{:?}", seen.kind);
            assert!(kind.ends_with(expected), "{kind}");
        }
    }

    #[test]
    fn without_core_a_member_is_empty_that_is_not_told() {
        let fact = |name: &str, value: Value| engine::KnownFact {
            name: name.into(),
            value,
            source: String::new(),
            observed_at: 0,
        };
        let from = DeviceSnapshot {
            ident: "U".into(),
            serial_number: Some("C02".into()),
            product_name: Some("iPad13,18".into()),
            os_version: Some("27.0".into()),
            facts: vec![
                fact("supervised", true.into()),
                fact("shared-ipad", false.into()),
                fact("time-zone", "Europe/Berlin".into()),
                fact("os-build", "24A300".into()),
            ],
            groups: vec!["Kitchen".into()],
            seen_at: 5_000,
            revision: 7,
            ..DeviceSnapshot::default()
        };
        for (text, core) in [
            ("", false),
            ("[capabilities.devices]\nread = [\"core\"]\n", true),
        ] {
            let granted = manifest(text).capabilities;
            let seen = snapshot(&granted, &from);
            for (member, told) in [
                ("udid", seen.udid.is_some()),
                ("serial", seen.serial.is_some()),
                ("model", !seen.model.is_empty()),
                ("os-version", !seen.os_version.is_empty()),
                ("os-build", !seen.os_build.is_empty()),
                ("supervised", seen.supervised.is_some()),
                ("shared-ipad", seen.shared_ipad.is_some()),
                ("time-zone", seen.time_zone.is_some()),
                ("groups", !seen.groups.is_empty()),
                ("seen-ms", seen.seen_ms > 0),
            ] {
                assert_eq!(told, core, "{member}");
                assert_eq!(shows_member(&granted.devices, member), core, "{member}");
            }
            assert!(matches!(seen.platform, device::Platform::Ipados));
            assert!(matches!(seen.kind, device::EnrollmentKind::Profile));
            let mut by_school = from.clone();
            by_school.marks.ade = Some(true);
            let seen = snapshot(&granted, &by_school);
            assert!(matches!(seen.kind, device::EnrollmentKind::Automated));
            assert_eq!(seen.revision, 7);
            assert!(shows_member(&granted.devices, "revision"));
        }
    }

    #[test]
    fn a_device_is_shown_as_far_as_the_manifest_asks() {
        let known = |name: &str, value: Value| engine::KnownFact {
            name: name.into(),
            value,
            source: "admin".into(),
            observed_at: 5_000_000,
        };
        let from = DeviceSnapshot {
            product_name: Some("iPad13,18".into()),
            facts: vec![
                known("time-zone", "Europe/Berlin".into()),
                known("supervised", true.into()),
                known("owner", "Ada".into()),
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
        assert_eq!(whole.facts_json, "{}");
        let facts: Value = serde_json::from_str(&seen.facts_json).unwrap();
        let told = json!({ "value": "Europe/Berlin", "source": "admin", "observed-ms": 5_000 });
        assert_eq!(
            facts,
            json!({ "time-zone": told }),
            "no other fact is shown"
        );
        let one = |key: &str| fact(&asks.capabilities.devices, &from, key);
        assert_eq!(one("time-zone").unwrap().value_json, "\"Europe/Berlin\"");
        assert!(one("owner").is_none());
    }

    #[test]
    fn what_is_known_of_a_user_stands_before_what_is_known_of_the_device() {
        let known = |value: &str| engine::KnownFact {
            name: "home".into(),
            value: json!(value),
            source: "admin".into(),
            observed_at: 0,
        };
        let from = DeviceSnapshot {
            facts: vec![known("the device's"), known("the user's")],
            ..DeviceSnapshot::default()
        };
        let asks = manifest("[capabilities.devices]\nread = [\"fact:home\"]\n").capabilities;
        let facts = snapshot(&asks, &from).facts_json;
        assert_eq!(facts.matches("home").count(), 1, "{facts}");
        assert!(facts.contains("the user's"), "{facts}");
        let one = fact(&asks.devices, &from, "home").unwrap();
        assert_eq!(one.value_json, "\"the user's\"");
    }
}
