//! What is new in what a device tells.

use serde_json::{Map, Value, json};

use super::read::Seen;

/// Keys that are others each time; they are kept, and nobody is told.
const RESTLESS: &[&str] = &[
    "AvailableDeviceCapacity",
    "BatteryLevel",
    "LastCloudBackupDate",
];
/// The same within the entries of lists.
const RESTLESS_IN_LISTS: &[&str] = &["DynamicSize"];
/// Keys of a section, at most; new ones are not kept beyond that.
const MOST_KEYS: usize = 400;
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
            for (key, value) in told {
                if now.contains_key(key) || now.len() < MOST_KEYS {
                    now.insert(key.clone(), value.clone());
                }
            }
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
            if before.as_ref().map(settled) != Some(settled(told)) {
                // What a list holds is told by the section itself; an event says that it is another one.
                changes.note("", before.as_ref(), Some(told));
            }
            (told.clone(), changes)
        }
    }
}

/// Whether a key is another each time.
pub(crate) fn restless(key: &str) -> bool {
    RESTLESS.contains(&key)
}

/// A list without what is another each time, in an order of its own: devices list things in any order.
fn settled(list: &Value) -> Vec<String> {
    let entry = |item: &Value| match item {
        Value::Object(members) => {
            let mut members = members.clone();
            members.retain(|key, _| !RESTLESS_IN_LISTS.contains(&key.as_str()));
            Value::Object(members).to_string()
        }
        other => other.to_string(),
    };
    let mut entries: Vec<String> = match list {
        Value::Array(items) => items.iter().map(entry).collect(),
        other => vec![other.to_string()],
    };
    entries.sort_unstable();
    entries
}

impl Changes {
    fn note(&mut self, key: &str, before: Option<&Value>, after: Option<&Value>) {
        if restless(key) {
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
    fn a_list_in_another_order_or_of_other_sizes_is_the_same_list() {
        let before = json!([{"Identifier": "a", "DynamicSize": 1}, {"Identifier": "b"}]);
        let after = json!([{"Identifier": "b"}, {"Identifier": "a", "DynamicSize": 2}]);
        let (now, changes) = merge(Some(before.clone()), &seen("apps", after.clone()));
        assert_eq!(now, after);
        assert!(!changes.any());
        let other = json!([{"Identifier": "b"}, {"Identifier": "c"}]);
        assert!(merge(Some(before), &seen("apps", other)).1.any());
    }

    #[test]
    fn a_section_does_not_grow_for_ever() {
        let mut known = None;
        for round in 0..10 {
            let many: Map<String, Value> = (0..100)
                .map(|n| (format!("k{round}-{n}"), json!(n)))
                .collect();
            known = Some(merge(known, &seen(DEVICE, Value::Object(many))).0);
        }
        assert_eq!(known.unwrap().as_object().unwrap().len(), MOST_KEYS);
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
