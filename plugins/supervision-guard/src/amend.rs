//! Takes out of a command what no device that it is for would do anything with.
//!
//! Owns: which parts those are, and the changes that take them out. A command is changed for all its devices at once, so a part that one of them
//! uses stays. What a device refuses is never taken out unless an override names the key: without it the command may mean something else.

use pomona_sdk::host::catalogue::{self, Judgement, Objection, Subject, Weight};
use pomona_sdk::host::recipients;
use pomona_sdk::serde_json::{self, Map, Value};
use pomona_sdk::{Change, Draft};

use crate::settings::{Action, Settings};
use crate::validate::{LARGEST, does_nothing};

/// The changes; none where there is nothing to take out, or it is not known for which devices the command is.
pub(crate) fn amend(settings: &Settings, command: &Draft) -> Vec<Change> {
    let rewrites = settings.action == Action::Rewrite
        || settings
            .overrides
            .iter()
            .any(|one| one.action == Action::Rewrite);
    if !rewrites || command.payload_json.len() > LARGEST {
        return Vec::new();
    }
    let Ok(payload) = serde_json::from_str::<Map<String, Value>>(&command.payload_json) else {
        return Vec::new();
    };
    let Ok(kinds) = recipients::kinds() else {
        return Vec::new();
    };
    let name = command.request_type.as_str();
    let Some(before) = judged(&kinds, name, &payload) else {
        return Vec::new();
    };
    let mut paths = common(settings, name, &before);
    // What lies in something else goes first, and later items before earlier ones.
    paths.sort_by_key(|path| std::cmp::Reverse(order(path)));
    let mut left = Value::Object(payload.clone());
    for path in &paths {
        take_out(&mut left, path);
    }
    let Value::Object(left) = left else {
        return Vec::new();
    };
    let sound = judged(&kinds, name, &left).is_some_and(|after| no_worse(&before, &after));
    match sound {
        true => changes(&payload, &left),
        false => Vec::new(),
    }
}

/// Whether no device has more to refuse than before.
fn no_worse(before: &[Judgement], after: &[Judgement]) -> bool {
    let refusals = |told: &Judgement| told.of(Weight::Refuses).count();
    let mut pairs = before.iter().zip(after);
    pairs.all(|(before, after)| refusals(after) <= refusals(before))
}

/// What the catalogue says for each kind of device; none where it cannot judge, or there is no device.
fn judged(kinds: &[Subject], name: &str, payload: &Map<String, Value>) -> Option<Vec<Judgement>> {
    let body = Value::Object(payload.clone()).to_string();
    let told = kinds
        .iter()
        .map(|kind| catalogue::preflight(kind, "command", name, &body).ok());
    let told: Option<Vec<Judgement>> = told.collect();
    told.filter(|told| !told.is_empty())
}

/// The keys that may be taken out for every kind.
fn common(settings: &Settings, name: &str, told: &[Judgement]) -> Vec<String> {
    let out = |one: &Objection| {
        let action = settings.action(None, name, &one.cause, &one.key);
        // Only what somebody has named by its key may change what a command does.
        let named = settings
            .overrides
            .iter()
            .any(|by| by.key.as_ref() == Some(&one.key) && by.command.as_deref() == Some(name));
        let idle = does_nothing(one) || (one.weight == Weight::Refuses && named);
        !one.key.is_empty() && idle && action == Action::Rewrite
    };
    let Some((first, others)) = told.split_first() else {
        return Vec::new();
    };
    let in_all = |key: &str| {
        let mut others = others.iter();
        others.all(|told| told.objections.iter().any(|one| one.key == key && out(one)))
    };
    let first = first.objections.iter().filter(|one| out(one));
    let mut keys: Vec<String> = first
        .map(|one| one.key.clone())
        .filter(|key| in_all(key))
        .collect();
    keys.dedup();
    keys
}

/// Numbers of items as numbers, so that 10 comes after 9.
fn order(path: &str) -> Vec<(usize, String)> {
    let parts = path.split('/');
    parts
        .map(|part| (part.parse().unwrap_or(0), part.to_owned()))
        .collect()
}

/// Takes out what stands at a path. What would be left empty stays whole: an empty list asks for something else.
fn take_out(value: &mut Value, path: &str) {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match value {
        Value::Object(members) if rest.is_empty() => {
            members.remove(first);
        }
        Value::Object(members) => {
            if let Some(inner) = members.get_mut(first) {
                take_out_of(inner, rest);
            }
        }
        _ => take_out_of(value, path),
    }
}

fn take_out_of(value: &mut Value, path: &str) {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match value {
        Value::Array(items) => match first.parse::<usize>() {
            Ok(place) if rest.is_empty() && place < items.len() && items.len() > 1 => {
                items.remove(place);
            }
            // A word of a list is named behind its place.
            Ok(place) if items.get(place).and_then(Value::as_str) == Some(rest) => {
                take_out_of(value, first);
            }
            Ok(place) => {
                if let Some(item) = items.get_mut(place).filter(|_| !rest.is_empty()) {
                    take_out_of(item, rest);
                }
            }
            Err(_) => {}
        },
        Value::Object(members) if rest.is_empty() && members.len() > 1 => {
            members.remove(first);
        }
        Value::Object(members) => {
            if let Some(inner) = members.get_mut(first).filter(|_| !rest.is_empty()) {
                take_out_of(inner, rest);
            }
        }
        _ => {}
    }
}

/// The changes from one payload to another: the contract names a key of the payload and nothing below one.
fn changes(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Change> {
    let pointer = |key: &str| format!("/{}", key.replace('~', "~0").replace('/', "~1"));
    let differ = before
        .iter()
        .filter(|(key, value)| after.get(*key) != Some(value));
    let differ = differ.map(|(key, _)| match after.get(key) {
        Some(value) => Change::Set((pointer(key), value.to_string())),
        None => Change::Remove(pointer(key)),
    });
    differ.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::host::catalogue::Verdict;
    use pomona_sdk::serde_json::json;
    use pomona_sdk::testing::{self, Host, objection};

    fn out(before: &Value, paths: &[&str]) -> Value {
        let mut paths: Vec<&str> = paths.to_vec();
        paths.sort_by_key(|path| std::cmp::Reverse(order(path)));
        let mut left = before.clone();
        for path in paths {
            take_out(&mut left, path);
        }
        left
    }

    #[test]
    fn what_is_named_goes_and_nothing_is_left_empty() {
        let body = json!({ "A": 1, "B": { "C": 1, "D": 2 }, "Queries": ["x", "y", "z"], "S": [{ "Item": "q" }] });
        for (paths, expected) in [
            (
                &["A"][..],
                json!({ "B": { "C": 1, "D": 2 }, "Queries": ["x", "y", "z"], "S": [{ "Item": "q" }] }),
            ),
            (
                &["B/C"],
                json!({ "A": 1, "B": { "D": 2 }, "Queries": ["x", "y", "z"], "S": [{ "Item": "q" }] }),
            ),
            (
                &["Queries/0/x", "Queries/2/z"],
                json!({ "A": 1, "B": { "C": 1, "D": 2 }, "Queries": ["y"], "S": [{ "Item": "q" }] }),
            ),
            (&["S/0"], body.clone()),
            (&["S/0/Item"], body.clone()),
            (&["Z", "Queries/9", "A/x"], body.clone()),
        ] {
            assert_eq!(out(&body, paths), expected, "{paths:?}");
        }
        let many: Vec<u32> = (0..12).collect();
        let left = out(&json!({ "L": many }), &["L/10", "L/9", "L/2"]);
        assert_eq!(left, json!({ "L": [0, 1, 3, 4, 5, 6, 7, 8, 11] }));
    }

    #[test]
    fn a_change_names_a_key_of_the_payload() {
        let before = json!({ "a/b": 1, "c": [1, 2], "d": 3 });
        let after = json!({ "c": [1], "d": 3 });
        let told = changes(before.as_object().unwrap(), after.as_object().unwrap());
        assert_eq!(
            told,
            [
                Change::Remove("/a~1b".into()),
                Change::Set(("/c".into(), "[1]".into()))
            ]
        );
    }

    fn told(settings: &Value, objections: Vec<Objection>, kinds: usize) -> Vec<Change> {
        let settings = pomona_sdk::host::read_settings(&settings.to_string()).unwrap();
        let judgement = Judgement {
            verdict: Verdict::AllowedWithWarning,
            objections,
        };
        let subject = testing::device().subject();
        let host = Host::default()
            .judged("command", "DeviceLock", judgement)
            .recipients(vec![subject; kinds]);
        let draft = testing::draft("DeviceLock", &json!({ "PIN": "1", "Message": "m" }));
        host.run(|| amend(&settings, &draft)).0
    }

    #[test]
    fn what_would_be_refused_for_want_of_a_key_is_worse() {
        let told = |refused: usize| Judgement {
            verdict: Verdict::Refused,
            objections: vec![objection("missing", Weight::Refuses, "PIN"); refused],
        };
        assert!(no_worse(&[told(1), told(1)], &[told(1), told(0)]));
        assert!(!no_worse(&[told(1), told(0)], &[told(0), told(1)]));
    }

    #[test]
    fn only_what_does_nothing_is_taken_out_and_only_where_that_is_wanted() {
        let idle = || vec![objection("platform", Weight::Warns, "PIN")];
        let gone = [Change::Remove("/PIN".into())];
        let rewrite = json!({ "action": "rewrite" });
        assert_eq!(told(&rewrite, idle(), 2), gone);
        assert_eq!(told(&rewrite, idle(), 0), [], "for nobody that is known");
        assert_eq!(told(&json!({}), idle(), 1), []);
        let by_key = json!({ "overrides": [{ "command": "DeviceLock", "key": "PIN", "action": "rewrite" }] });
        assert_eq!(told(&by_key, idle(), 1), gone);
        let deprecated = vec![objection("deprecated", Weight::Warns, "PIN")];
        assert_eq!(told(&rewrite, deprecated, 1), []);
        let refused = || vec![objection("supervision", Weight::Refuses, "PIN")];
        assert_eq!(told(&rewrite, refused(), 1), [], "it may mean something");
        assert_eq!(told(&by_key, refused(), 1), gone, "somebody has named it");
    }
}
