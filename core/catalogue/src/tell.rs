//! What the catalogue has of one thing, of all that has a word in its name, of what a release changes, and since when each platform has what: as JSON
//! for readers.
//!
//! Owns: the words for a row of support and the form of what is told. Looks things up and judges nothing.

use serde_json::{Value, json};

use crate::catalogue::{Catalogue, Found};
use crate::object::{Class, Key, Object};
use crate::platform::Platform;
use crate::support::{RIGHTS, Right, Row};
use crate::version::OsVersion;

impl Catalogue {
    /// Everything of a name, or of a key in it; where several share the name, each. Empty: there is no such thing.
    #[must_use]
    pub fn tell(&self, name: &str, class: Option<Class>, key: Option<&str>) -> Vec<Value> {
        let mut all = Vec::new();
        for object in self.objects().iter().filter(|object| object.id == name) {
            if class.is_some_and(|class| class != object.class) {
                continue;
            }
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
        all
    }

    /// Objects and keys that have a word in their names, in any case; without a word, all objects.
    #[must_use]
    pub fn tell_named(&self, word: &str, class: Option<Class>) -> Vec<Value> {
        let word = word.to_lowercase();
        let mut found = Vec::new();
        for object in self.objects() {
            if class.is_some_and(|class| class != object.class) {
                continue;
            }
            let hit = |key: &str, kind: &str| {
                json!({
                    "class": object.class, "id": object.id, "variant": object.variant, "key": key, "type": kind,
                })
            };
            if object.id.to_lowercase().contains(&word) {
                found.push(hit("", ""));
            }
            if word.is_empty() {
                continue;
            }
            for keys in [&object.keys, &object.answer] {
                for (path, key) in Key::all(keys) {
                    if key.name.to_lowercase().contains(&word) {
                        found.push(hit(&path, key.kind.as_str()));
                    }
                }
            }
        }
        found
    }

    /// What changes from one release to a later one, counted as iOS counts; with the keys, or the objects alone.
    #[must_use]
    pub fn tell_changes(
        &self,
        from: OsVersion,
        to: OsVersion,
        class: Option<Class>,
        with_keys: bool,
    ) -> Vec<Value> {
        let mut rows = Vec::new();
        for changed in self.changes(from, to) {
            let other = class.is_some_and(|class| class != changed.class);
            if other || (!with_keys && !changed.key.is_empty()) {
                continue;
            }
            let on = changed.on.iter();
            let on: Vec<String> = on
                .map(|(platform, version)| format!("{} {version}", platform.as_str()))
                .collect();
            rows.push(json!({
                "class": changed.class, "id": changed.id, "variant": changed.variant, "key": changed.key,
                "change": changed.change, "on": on.join(", "),
            }));
        }
        rows.sort_by_key(|row| row["change"].as_str().map(str::to_owned));
        rows
    }

    /// Since when each platform has each object of a class, with letters for its conditions: S supervised, A by Automated Device Enrollment, U
    /// approved by the Mac's user.
    #[must_use]
    pub fn tell_matrix(&self, class: Class) -> Vec<Value> {
        let objects = self.objects().iter().filter(|object| object.class == class);
        objects.map(matrix_row).collect()
    }
}

fn matrix_row(object: &Object) -> Value {
    let mut row = json!({ "id": object.id, "variant": object.variant });
    for platform in Platform::ALL {
        row[platform.as_str()] = json!(match object.os.get(&platform) {
            Some(support) => short(support),
            None if object.name_only => "?".to_owned(),
            None => String::new(),
        });
    }
    row
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
fn short(row: &Row) -> String {
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
