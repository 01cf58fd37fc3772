//! Where two JSON values differ.
//!
//! Owns: finding the places, and naming them by JSON pointers.

use serde_json::Value;

/// A place at which two values differ.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// JSON pointer to it.
    pub(super) pointer: String,
    /// What one has there; none when it has nothing.
    pub(super) left: Option<Value>,
    /// What the other has there.
    pub(super) right: Option<Value>,
}

impl Difference {
    /// What one and the other have, in a line.
    pub(super) fn told(&self, left: &str, right: &str) -> String {
        let shown = |value: &Option<Value>| match value {
            None => "nothing".to_owned(),
            Some(value) => value.to_string(),
        };
        format!(
            "{left} {}, {right} {}",
            shown(&self.left),
            shown(&self.right)
        )
    }
}

/// The places at which the values differ, each as deep as both have something.
pub(super) fn differences(left: &Value, right: &Value, at: &str) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(Some(left), Some(right), at, &mut found);
    found
}

fn walk(left: Option<&Value>, right: Option<&Value>, at: &str, found: &mut Vec<Difference>) {
    match (left, right) {
        (left, right) if left == right => {}
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let added = other.keys().filter(|name| !one.contains_key(*name));
            for name in one.keys().chain(added) {
                let step = name.replace('~', "~0").replace('/', "~1");
                walk(
                    one.get(name),
                    other.get(name),
                    &format!("{at}/{step}"),
                    found,
                );
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for n in 0..one.len().max(other.len()) {
                walk(one.get(n), other.get(n), &format!("{at}/{n}"), found);
            }
        }
        _ => found.push(Difference {
            pointer: at.to_owned(),
            left: left.cloned(),
            right: right.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_places_are_named() {
        let left = json!({"a": [1, {"b/c": true}], "d": null, "e": {"ok": 1}});
        let right = json!({"a": [1, {"b/c": false}, 3], "d": null, "e": {"err": 1}});
        let told: Vec<String> = differences(&left, &right, "/expect")
            .iter()
            .map(|one| format!("{}: {}", one.pointer, one.told("expected", "got")))
            .collect();
        assert_eq!(
            told,
            [
                "/expect/a/1/b~1c: expected true, got false",
                "/expect/a/2: expected nothing, got 3",
                "/expect/e/ok: expected 1, got nothing",
                "/expect/e/err: expected nothing, got 1",
            ]
        );
        assert_eq!(differences(&left, &left, ""), Vec::new());
    }
}
