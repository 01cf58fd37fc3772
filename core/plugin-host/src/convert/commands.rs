//! Commands in the contract's words, and the changes that a plugin makes to them.
//!
//! Owns: what a change may be, and carrying changes out where no engine does. Decides nothing.

use pomona_engine::ActorKind;
use pomona_engine::hooks as engine;
use serde_json::{Map, Value};

use crate::bindings::pomona::types::command;

/// A command as a plugin sees it.
pub(crate) fn draft(from: &engine::CommandDraft) -> command::Draft {
    command::Draft {
        request_type: from.request_type.clone(),
        payload_json: Value::Object(payload(&from.command)).to_string(),
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

/// A command's payload after the changes that a plugin answered with, carried out by the rules of a server: a pointer names
/// one key, no value is null, and what changes `RequestType` is passed over. Changes are written as in an answer.
///
/// # Errors
/// The first change that is refused, and why. A server then carries out none of them.
pub fn amended(from: &Map<String, Value>, changes: &[Value]) -> Result<Map<String, Value>, String> {
    let mut command = pomona_engine::dictionary_from_json(from)
        .map_err(|error| format!("no command has this payload: {error}"))?;
    for written in changes {
        let refused = |problem: String| format!("the change {written} is refused: {problem}");
        let expected = r#"expected {"set": [pointer, JSON text]} or {"remove": pointer}"#;
        let asked = written_change(written).ok_or_else(|| refused(expected.into()))?;
        let _key = change(asked).map_err(refused)?.apply(&mut command);
    }
    Ok(payload(&command))
}

/// A change as it is written in JSON: `{"set": [pointer, JSON text]}` or `{"remove": pointer}`.
fn written_change(written: &Value) -> Option<command::Change> {
    let members = written.as_object().filter(|members| members.len() == 1)?;
    let (case, payload) = members.iter().next()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(match (case.as_str(), payload) {
        ("set", Value::Array(pair)) => match pair.as_slice() {
            [pointer, json] => command::Change::Set((text(pointer)?, text(json)?)),
            _ => return None,
        },
        ("remove", pointer) => command::Change::Remove(text(pointer)?),
        ("other", what) => command::Change::Other(text(what)?),
        _ => return None,
    })
}

/// The keys of a command's dictionary that a plugin sees.
fn payload(command: &plist::Dictionary) -> Map<String, Value> {
    let keys = command.iter().filter(|(key, _)| *key != "RequestType");
    keys.map(|(key, value)| (key.clone(), pomona_engine::json_from_plist(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
    fn changes_are_carried_out_as_on_a_server_or_refused_with_their_reason() {
        let members = |value: Value| value.as_object().cloned().unwrap_or_default();
        let from = members(json!({"a": {"b": [1, 2]}, "c": 1, "e": {"data": "aGVsbG8="}}));
        let changes = [
            json!({"set": ["/a", "{\"b\": []}"]}),
            json!({"set": ["/d~1e", "true"]}),
            json!({"remove": "/c"}),
            json!({"remove": "/absent"}),
            json!({"set": ["/RequestType", "\"EraseDevice\""]}),
            json!({"remove": "/RequestType"}),
        ];
        let expected = members(json!({"a": {"b": []}, "d/e": true, "e": {"data": "aGVsbG8="}}));
        assert_eq!(amended(&from, &changes), Ok(expected));
        assert_eq!(amended(&from, &[]), Ok(from.clone()));
        for (change, expected) in [
            (json!({"set": ["/a/b/0", "7"]}), "does not name a key"),
            (json!({"set": ["/a/b", "7"]}), "does not name a key"),
            (json!({"remove": "/a/b"}), "does not name a key"),
            (json!({"remove": ""}), "does not name a key"),
            (json!({"set": ["/a", "null"]}), "null"),
            (json!({"set": ["/a", "no json"]}), "no JSON"),
            (json!({"set": ["/a"]}), "expected"),
            (json!({"set": ["/a", 7]}), "expected"),
            (json!({"other": "x"}), "knows no change"),
            (json!("remove"), "expected"),
        ] {
            let told = amended(&from, std::slice::from_ref(&change)).unwrap_err();
            assert!(told.contains(expected), "{change}: {told}");
        }
        let none = members(json!({"a": null}));
        assert!(amended(&none, &[]).unwrap_err().contains("no command"));
    }
}
