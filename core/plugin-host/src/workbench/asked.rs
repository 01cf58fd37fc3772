//! What a server makes of a question before it asks it.
//!
//! Owns: reading from a question in JSON whether it would be asked at all, and how much it counts for. The rules are those of the
//! hooks.

use serde_json::{Map, Value};

use super::Question;
use crate::convert::family;
use crate::hooks::size_of_question;
use crate::manifest::{HookName, Manifest, Matching, Traits};
use crate::plugin::Plugin;

/// The function of `compliance` that is asked about no device.
const RULES: &str = "rules";

impl Plugin {
    /// Whether a server asks this question: the manifest has the hook, and what it wants to see covers the type of the command
    /// or the family of the device. Settings are always looked at.
    #[must_use]
    pub fn is_asked(&self, question: &Question) -> bool {
        is_asked(self.manifest(), question)
    }
}

fn is_asked(manifest: &Manifest, question: &Question) -> bool {
    let Some(hook) = HookName::from_word(&question.hook) else {
        return true;
    };
    let Some(matching) = manifest.hooks.get(&hook) else {
        return false;
    };
    match hook {
        HookName::CommandAmend => matching.wants(type_in(question)),
        HookName::CommandValidate => {
            matching.wants(type_in(question)) && concerns(hook, matching, question)
        }
        HookName::Enrollment | HookName::Compliance | HookName::Declarations => {
            about_no_device(question) || concerns(hook, matching, question)
        }
        HookName::Events | HookName::Jobs | HookName::Routes | HookName::Panels => true,
    }
}

/// The type of the command that a question is about.
fn type_in(question: &Question) -> &str {
    let command = question.input.get("command");
    let request_type = command.and_then(|command| command.get("request-type"));
    request_type.and_then(Value::as_str).unwrap_or_default()
}

fn concerns(hook: HookName, matching: &Matching, question: &Question) -> bool {
    let device = device_in(question);
    let facts = device.map(facts_of).unwrap_or_default();
    let groups = device.and_then(|device| device.get("groups")?.as_array());
    let groups = groups.into_iter().flatten().filter_map(Value::as_str);
    let traits = Traits {
        family: device.and_then(family_in),
        groups: Some(groups.collect()),
        facts: Some(facts.keys().map(String::as_str).collect()),
    };
    matching.concerns(hook, &traits)
}

/// The device that a question is about.
fn device_in(question: &Question) -> Option<&Map<String, Value>> {
    let asked = match question.input.get("request") {
        Some(request) => request.get("device"),
        None => question.input.get("device"),
    };
    asked?.as_object()
}

/// Bytes of a question to a deterministic hook, counted as on a server.
pub(super) fn size(question: &Question) -> usize {
    let settings = question.settings.to_string().len();
    if about_no_device(question) {
        return settings;
    }
    let device = question.input.get("device");
    let facts = device.and_then(|device| device.get("facts-json"));
    settings + size_of_question(&text(facts))
}

/// The facts of a device in a question, which are written as an object or as the text of one; none where there is no such.
#[must_use]
pub fn facts_of(device: &Map<String, Value>) -> Map<String, Value> {
    match device.get("facts-json") {
        Some(Value::Object(facts)) => facts.clone(),
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        _ => Map::new(),
    }
}

fn about_no_device(question: &Question) -> bool {
    question.function.as_deref() == Some(RULES)
}

/// The family of a device in a question.
fn family_in(device: &Map<String, Value>) -> Option<&str> {
    match device.get("platform") {
        Some(platform) => platform.as_str(),
        None => device.get("model")?.as_str().and_then(family),
    }
}

/// A text as the guest is given it: JSON may be written as it is.
fn text(written: Option<&Value>) -> String {
    match written {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert;
    use pomona_engine::hooks::{DeviceSnapshot, KnownFact};
    use serde_json::json;

    fn question(hook: &str, input: Value) -> Question {
        Question {
            hook: hook.into(),
            function: None,
            settings: json!({}),
            context: Map::new(),
            input: input.as_object().unwrap().clone(),
            services: None,
        }
    }

    fn manifest(hooks: &str) -> Manifest {
        Manifest::parse(&format!(
            "id = \"org.example.a\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"A\"\n{hooks}"
        ))
        .unwrap()
    }

    #[test]
    fn a_question_is_asked_as_the_manifest_wants_it() {
        let manifest = manifest(
            "[hooks.command-validate]\nrequest-types = [\"EraseDevice\"]\n\
             platforms = [\"ipados\"]\n[hooks.enrollment]\nplatforms = [\"ipados\"]\n\
             [hooks.compliance]\nplatforms = [\"ipados\"]\n[hooks.declarations]\ngroups = [\"a\", \"b\"]\n\
             facts = [\"x.*\", \"y\"]\n[capabilities.devices]\nread = [\"core\", \"fact:x.*\", \"fact:y\"]\n",
        );
        let of = |request_type: &str| json!({ "command": { "request-type": request_type } });
        let ipad = json!({ "device": { "platform": "ipados" } });
        let mac = json!({ "device": { "platform": "macos", "model": "iPad13,18" } });
        let car = json!({ "device": { "platform": { "other": "Car1,1" } } });
        for (hook, input, expected) in [
            ("command-validate", of("EraseDevice"), true),
            ("command-validate", of("DeviceLock"), false),
            ("command-amend", of("EraseDevice"), false),
            ("compliance", ipad, true),
            (
                "compliance",
                json!({ "device": { "model": "iPad13,18" } }),
                true,
            ),
            ("compliance", json!({}), false),
            ("compliance", mac.clone(), false),
            ("compliance", car.clone(), false),
            (
                "command-validate",
                json!({ "command": { "request-type": "EraseDevice" }, "device": { "platform": "macos" } }),
                false,
            ),
            ("enrollment", json!({ "request": mac }), false),
            (
                "enrollment",
                json!({ "request": { "device": { "model": "iPad13,18" } } }),
                true,
            ),
            ("enrollment", json!({ "request": { "device": {} } }), true),
            ("declarations", mac, false),
            (
                "declarations",
                json!({ "device": { "groups": ["b", "c"], "facts-json": { "x.y": {} } } }),
                true,
            ),
            (
                "declarations",
                json!({ "device": { "groups": ["b"], "facts-json": { "y": {} } } }),
                true,
            ),
            (
                "declarations",
                json!({ "device": { "groups": ["c"], "facts-json": { "y": {} } } }),
                false,
            ),
            (
                "declarations",
                json!({ "device": { "groups": ["a"], "facts-json": { "yy": {}, "x": {} } } }),
                false,
            ),
            ("settings", json!({}), true),
        ] {
            let question = question(hook, input);
            let told = is_asked(&manifest, &question);
            assert_eq!(told, expected, "{hook} {:?}", question.input);
        }
        let rules = Question {
            function: Some(RULES.into()),
            ..question("compliance", json!({}))
        };
        assert!(is_asked(&manifest, &rules));
    }

    #[test]
    fn a_question_counts_for_what_it_counts_for_on_a_server() {
        let fact = |name: &str, value: Value| KnownFact {
            name: name.into(),
            value,
            source: "device".into(),
            observed_at: 0,
        };
        let from = DeviceSnapshot {
            facts: vec![fact("a.b", json!({ "c": [1, 2] })), fact("a.d", json!("x"))],
            ..DeviceSnapshot::default()
        };
        let asks = "[hooks.compliance]\n[capabilities.devices]\nread = [\"fact:a.*\"]\n";
        let seen = convert::snapshot(&manifest(asks).capabilities, &from);
        let on_a_server = size_of_question(&seen.facts_json) + "{}".len();
        let written = json!({
            "a.b": { "value": { "c": [1, 2] }, "source": "device", "observed-ms": 0 },
            "a.d": { "value": "x", "source": "device", "observed-ms": 0 },
        });
        for facts in [json!(written.to_string()), written] {
            let asked = question("compliance", json!({ "device": { "facts-json": facts } }));
            assert_eq!(size(&asked), on_a_server);
        }
        assert_eq!(size(&question("compliance", json!({}))), 1_024 + 2);
        let rules = Question {
            function: Some(RULES.into()),
            ..question("compliance", json!({}))
        };
        assert_eq!(size(&rules), 2);
    }
}
