//! What is new in what a device tells.

use serde_json::{Map, Value, json};

use super::read::Seen;

/// Keys that are others each time; they are kept, and nobody is told.
const RESTLESS: &[&str] = &[
    "AvailableDeviceCapacity",
    "BatteryLevel",
    "LastCloudBackupDate",
];
/// Keys that an event names, at most.
const MOST_NAMED: usize = 32;
/// Bytes of a value that an event shows, at most.
const MOST_SHOWN: usize = 128;

/// What has changed in a section.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// For an event: each key with its value before and after, where they are short.
    pub(crate) shown: Vec<Value>,
    /// How many more there are.
    pub(crate) more: usize,
}

impl Changes {
    /// Whether there is anything to tell.
    pub(crate) fn any(&self) -> bool {
        !self.shown.is_empty()
    }
}

/// The section as it is now, and what is new about it.
pub(crate) fn merge(before: Option<Value>, seen: &Seen) -> (Value, Changes) {
    let mut changes = Changes::default();
    match (before, &seen.value) {
        (before @ (None | Some(Value::Object(_))), Value::Object(told)) => {
            let before = match before {
                Some(Value::Object(before)) => before,
                _ => Map::new(),
            };
            let mut now = match seen.in_parts() {
                true => before.clone(),
                false => Map::new(),
            };
            now.extend(told.clone());
            let gone = before.iter().filter(|(key, _)| !now.contains_key(*key));
            for (key, old) in gone {
                changes.note(key, Some(old), None);
            }
            for (key, new) in &now {
                let old = before.get(key);
                if old != Some(new) {
                    changes.note(key, old, Some(new));
                }
            }
            (Value::Object(now), changes)
        }
        (before, told) => {
            if before.as_ref() != Some(told) {
                // What a list holds is told by the section itself; an event says that it is another one.
                changes.note("", before.as_ref(), Some(told));
            }
            (told.clone(), changes)
        }
    }
}

impl Changes {
    fn note(&mut self, key: &str, before: Option<&Value>, after: Option<&Value>) {
        if RESTLESS.contains(&key) {
            return;
        }
        if self.shown.len() >= MOST_NAMED {
            self.more += 1;
            return;
        }
        let mut one = Map::new();
        if !key.is_empty() {
            one.insert("key".into(), key.into());
        }
        for (name, value) in [("before", before), ("after", after)] {
            if let Some(value) = value {
                one.insert(name.into(), short(value));
            }
        }
        self.shown.push(Value::Object(one));
    }
}

fn short(value: &Value) -> Value {
    match value {
        Value::Array(items) => json!({ "items": items.len() }),
        Value::Object(members) => json!({ "keys": members.len() }),
        Value::String(text) if text.len() > MOST_SHOWN => {
            let cut = text.char_indices().take_while(|(at, _)| *at < MOST_SHOWN);
            Value::String(cut.map(|(_, c)| c).chain(['…']).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::read::{DEVICE, SECURITY};

    fn seen(section: &'static str, value: Value) -> Seen {
        Seen {
            section,
            source: "",
            value,
        }
    }

    #[test]
    fn what_was_not_asked_for_stays_and_what_is_the_same_is_no_change() {
        let first = seen(DEVICE, json!({"OSVersion": "26.0", "BatteryLevel": 0.9}));
        let (now, changes) = merge(None, &first);
        assert_eq!(
            changes.shown,
            vec![json!({"key": "OSVersion", "after": "26.0"})]
        );
        let (now, changes) = merge(Some(now), &seen(DEVICE, json!({"BatteryLevel": 0.8})));
        assert_eq!(now, json!({"OSVersion": "26.0", "BatteryLevel": 0.8}));
        assert!(!changes.any());
        let (now, changes) = merge(Some(now), &seen(DEVICE, json!({"OSVersion": "26.1"})));
        assert_eq!(now, json!({"OSVersion": "26.1", "BatteryLevel": 0.8}));
        assert_eq!(
            changes.shown,
            vec![json!({"key": "OSVersion", "before": "26.0", "after": "26.1"})]
        );
    }

    #[test]
    fn a_whole_answer_takes_the_place_of_the_one_before() {
        let before = json!({"FDE_Enabled": true, "Old": 1});
        let (now, changes) = merge(Some(before), &seen(SECURITY, json!({"FDE_Enabled": false})));
        assert_eq!(now, json!({"FDE_Enabled": false}));
        assert_eq!(
            changes.shown,
            vec![
                json!({"key": "Old", "before": 1}),
                json!({"key": "FDE_Enabled", "before": true, "after": false})
            ]
        );
        let (now, changes) = merge(Some(json!(["a"])), &seen("apps", json!(["a", "b"])));
        assert_eq!(now, json!(["a", "b"]));
        assert_eq!(
            changes.shown,
            vec![json!({"before": {"items": 1}, "after": {"items": 2}})]
        );
        let (_, changes) = merge(Some(now.clone()), &seen("apps", now));
        assert!(!changes.any());
    }

    #[test]
    fn an_event_stays_small() {
        let many: Map<String, Value> = (0..100)
            .map(|n| (format!("k{n}"), json!("x".repeat(500))))
            .collect();
        let (_, changes) = merge(None, &seen(SECURITY, Value::Object(many)));
        assert_eq!(
            (changes.shown.len(), changes.more),
            (MOST_NAMED, 100 - MOST_NAMED)
        );
        assert!(Value::from(changes.shown).to_string().len() < 8_000);
    }
}
