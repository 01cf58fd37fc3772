//! What is known of a device.
//!
//! Owns: reading facts out of the one text in which they cross the border. A look at one fact passes over the others and keeps
//! nothing of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{Fact, Snapshot};

/// A fact as the text has it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(borrow, default)]
    source: Cow<'a, str>,
    #[serde(default)]
    observed_ms: u64,
}

impl Written<'_> {
    fn named(self, key: &str) -> Fact {
        Fact {
            key: key.into(),
            value_json: self.value.get().into(),
            source: self.source.into(),
            observed_ms: self.observed_ms,
        }
    }
}

impl Snapshot {
    /// The value of a fact, read from its JSON; none when it is not known or is something else.
    #[must_use]
    pub fn fact<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.written(key)?.value.get()).ok()
    }

    /// A fact with its source and time, as evidence of a finding; none when it is not known.
    #[must_use]
    pub fn known(&self, key: &str) -> Option<Fact> {
        self.written(key).map(|written| written.named(key))
    }

    /// All facts, sorted by key.
    #[must_use]
    pub fn facts(&self) -> Vec<Fact> {
        let all: BTreeMap<String, Written<'_>> =
            serde_json::from_str(&self.facts_json).unwrap_or_default();
        all.into_iter()
            .map(|(key, written)| written.named(&key))
            .collect()
    }

    /// A fact as it stands in the text. A text that is no object, as a test may have it, has none.
    fn written(&self, key: &str) -> Option<Written<'_>> {
        let mut text = serde_json::Deserializer::from_str(&self.facts_json);
        text.deserialize_map(Sought(key)).ok()?
    }
}

/// Looks for one key of an object.
struct Sought<'k>(&'k str);

impl<'a> Visitor<'a> for Sought<'_> {
    type Value = Option<Written<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of facts")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(same) = map.next_key_seed(Same(self.0))? {
            if same {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key is this one.
struct Same<'k>(&'k str);

impl<'a> DeserializeSeed<'a> for Same<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'a>>(self, key: D) -> Result<bool, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Same<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key of a fact")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use serde_json::{Value, json};

    fn knowing(facts: &Value) -> Snapshot {
        Snapshot {
            facts_json: facts.to_string(),
            ..testing::device()
        }
    }

    #[test]
    fn a_fact_is_found_by_its_key_alone() {
        let device = knowing(&json!({
            "a": { "value": { "b": 1 }, "source": "device", "observed-ms": 7 },
            "a.b": { "value": [true, null], "source": "a \"person\"", "observed-ms": 8 },
            "k\"ey": { "value": "text" },
        }));
        assert_eq!(device.fact::<Value>("a"), Some(json!({ "b": 1 })));
        assert_eq!(device.fact::<String>("k\"ey").as_deref(), Some("text"));
        assert_eq!(device.fact::<u8>("a"), None, "it is no number");
        assert_eq!(device.fact::<u8>("b"), None, "it is a member of another");
        let known = device.known("a.b").unwrap();
        assert_eq!(
            (known.value_json.as_str(), known.source.as_str()),
            ("[true,null]", "a \"person\"")
        );
        assert_eq!(known.observed_ms, 8);
        let all = device.facts();
        let keys: Vec<&str> = all.iter().map(|fact| fact.key.as_str()).collect();
        assert_eq!(keys, ["a", "a.b", "k\"ey"]);
        assert_eq!(all[1], known);
        assert_eq!((all[2].source.as_str(), all[2].observed_ms), ("", 0));
    }

    #[test]
    fn a_text_that_holds_no_facts_has_none() {
        for text in ["", "{}", "[]", "null", "{\"a\"", "{\"a\": 1}"] {
            let device = Snapshot {
                facts_json: text.into(),
                ..testing::device()
            };
            assert_eq!(device.known("a"), None, "{text}");
            assert_eq!(device.facts(), [], "{text}");
        }
    }
}
