//! Lays out what the catalogue has of one thing.
//!
//! Owns: the words for a row of support. Looks nothing up.

use anyhow::bail;
use pomona_catalogue::{Found, Key, Object, Platform, RIGHTS, Right, Row};
use serde_json::{Value, json};

use crate::client::{Column, Output};

const SUPPORT: &[Column] = &[
    Column("PLATFORM", "platform"),
    Column("SINCE", "since"),
    Column("DEPRECATED", "deprecated"),
    Column("REMOVED", "removed"),
    Column("CONDITIONS", "conditions"),
];
const KEYS: &[Column] = &[
    Column("KEY", "key"),
    Column("TYPE", "type"),
    Column("REQUIRED", "required"),
    Column("VALUES", "values"),
    Column("WHERE", "where"),
];

/// Shows objects of one name, or a key in them.
pub(super) fn show(objects: &[&Object], key: Option<&str>, output: &Output) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for object in objects {
        let (part, found) = match key {
            None => ("", object.find("")),
            Some(key) => match object.find(key) {
                Some(found) => ("request", Some(found)),
                None => ("answer", object.find_answer(key)),
            },
        };
        if let Some(found) = found {
            all.push(told(&found, key.unwrap_or_default(), part));
        }
    }
    if all.is_empty() {
        bail!(
            "it has no key \"{}\": leave the key out to see all of them",
            key.unwrap_or_default()
        );
    }
    if output.is_json() {
        return output.value(&Value::Array(all));
    }
    for told in &all {
        output.members(&told["about"])?;
        output.said("", &Value::Null)?;
        output.list(array(told, "support"), SUPPORT)?;
        for (part, heading) in [
            ("keys", "Keys"),
            ("answer", "Answer"),
            ("reasons", "Reasons"),
        ] {
            let rows = array(told, part);
            if !rows.is_empty() {
                output.said(&format!("\n{heading}"), &Value::Null)?;
                output.list(rows, KEYS)?;
            }
        }
    }
    Ok(())
}

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn told(found: &Found<'_>, path: &str, part: &str) -> Value {
    let object = found.object;
    let mut about = json!({ "name": object.id, "class": object.class, "from": object.from });
    for (name, value) in [
        ("variant", object.variant.as_str()),
        ("key", path),
        ("part", part),
        ("apply", &object.apply),
    ] {
        if !value.is_empty() {
            about[name] = json!(value);
        }
    }
    if !object.status.is_empty() {
        about["status_items"] = json!(object.status);
    }
    if object.name_only {
        about["known"] = json!("its name alone: whether it works cannot be told");
    }
    let support: Vec<Value> = Platform::ALL
        .into_iter()
        .map(|platform| (platform, found.row(platform)))
        .filter(|(_, row)| row.since().is_some())
        .map(|(platform, row)| {
            json!({
                "platform": platform,
                "since": row.since(),
                "deprecated": row.deprecated,
                "removed": row.removed,
                "conditions": conditions(&row).join(", "),
            })
        })
        .collect();
    let of = |keys: &[Key]| {
        let all = Key::all(keys).into_iter();
        all.map(|(path, key)| row(&path, key)).collect::<Vec<_>>()
    };
    match found.way.last() {
        Some(key) => {
            about["type"] = json!(key.kind.as_str());
            for (name, value) in row(path, key).as_object().into_iter().flatten() {
                if matches!(name.as_str(), "required" | "values") && *value != json!("") {
                    about[name] = value.clone();
                }
            }
            json!({ "about": about, "support": support, "keys": of(object.held_by(key)) })
        }
        None => {
            let reasons: Vec<Value> = object
                .reasons
                .iter()
                .map(|reason| json!({ "key": reason.code, "values": reason.details.join(", ") }))
                .collect();
            json!({
                "about": about, "support": support, "keys": of(&object.keys), "answer": of(&object.answer), "reasons": reasons,
            })
        }
    }
}

fn row(path: &str, key: &Key) -> Value {
    let mut values = Vec::new();
    if !key.values.is_empty() {
        let words = key.values.iter().map(|value| match value {
            Value::String(word) => word.clone(),
            other => other.to_string(),
        });
        values.push(words.collect::<Vec<_>>().join(" | "));
    }
    match (&key.min, &key.max) {
        (Some(min), Some(max)) => values.push(format!("{min} to {max}")),
        (Some(min), None) => values.push(format!("{min} or more")),
        (None, Some(max)) => values.push(format!("{max} or less")),
        (None, None) => {}
    }
    if let Some(default) = &key.default {
        values.push(format!("else {default}"));
    }
    let differs: Vec<String> = key
        .os
        .iter()
        .map(|(platform, row)| {
            let mut words = conditions(row);
            match (row.since(), row.introduced) {
                (Some(since), _) => words.insert(0, since.to_string()),
                (None, Some(_)) => words.insert(0, "never".to_owned()),
                (None, None) => {}
            }
            words.extend(row.removed.map(|version| format!("until {version}")));
            format!("{} {}", platform.as_str(), words.join(" "))
        })
        .collect();
    let known = if key.name_only {
        "?"
    } else {
        key.kind.as_str()
    };
    json!({
        "key": path, "type": known, "required": key.required, "values": values.join(", "), "where": differs.join("; "),
    })
}

/// The conditions of a row, in words.
fn conditions(row: &Row) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let flag = |yes: Option<bool>| yes == Some(true);
    for (holds, word) in [
        (flag(row.supervised), "supervised"),
        (flag(row.requires_ade), "Automated Device Enrollment"),
        (flag(row.user_approved), "user-approved"),
        (row.by_hand == Some(false), "not by hand"),
        (flag(row.multiple), "several allowed"),
    ] {
        words.extend(holds.then(|| word.to_owned()));
    }
    match row.right {
        Some(Right::Bit(bit)) => {
            let name = RIGHTS.iter().find(|(other, _)| *other == bit);
            let name = name.map_or_else(|| bit.to_string(), |(_, name)| (*name).to_owned());
            words.push(format!("right {name}"));
        }
        Some(Right::PerKey) => words.push("rights by key".to_owned()),
        Some(Right::None) | None => {}
    }
    match (row.device_channel, row.user_channel) {
        (Some(true), Some(false)) => words.push("device channel".to_owned()),
        (Some(false), Some(true)) => words.push("user channel".to_owned()),
        (Some(true), Some(true)) => words.push("both channels".to_owned()),
        _ => {}
    }
    if let Some(shared) = &row.shared_ipad {
        let mode = shared.mode.map(|mode| mode.as_str());
        words.extend(mode.map(|mode| format!("Shared iPad {mode}")));
    }
    words.extend(
        row.user_enrollment
            .map(|mode| format!("user enrollment {}", mode.as_str())),
    );
    if let Some(kinds) = &row.enrollments {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        words.push(format!("enrollments {}", kinds.join("/")));
    }
    if let Some(scopes) = &row.scopes {
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        words.push(format!("scopes {}", scopes.join("/")));
    }
    words
}

/// A row as a cell: since when, until when, and letters for what it needs.
pub(super) fn short(row: &Row) -> String {
    let mut text = row
        .since()
        .map_or_else(String::new, |since| since.to_string());
    if let Some(removed) = row.removed {
        text.push_str(&format!("–{removed}"));
    }
    let flags = [
        (row.supervised, 'S'),
        (row.requires_ade, 'A'),
        (row.user_approved, 'U'),
    ];
    let letters: String = flags
        .into_iter()
        .filter(|(holds, _)| *holds == Some(true))
        .map(|(_, letter)| letter)
        .collect();
    if !letters.is_empty() {
        text.push(' ');
        text.push_str(&letters);
    }
    text
}

/// Visits all keys of an object with their paths; the last argument says whether the key is of the answer.
pub(super) fn walk(object: &Object, visit: &mut impl FnMut(&str, &Key, bool)) {
    for (keys, answer) in [(&object.keys, false), (&object.answer, true)] {
        for (path, key) in Key::all(keys) {
            visit(&path, key, answer);
        }
    }
}
