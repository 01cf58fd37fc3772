//! Makes a profile of payloads that are given as JSON.
//!
//! Owns: what need not be written: versions, identifiers and UUIDs, which are the same for the same content. Judges nothing.

use plist::{Dictionary, Value};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{payload_uuid, written};
use crate::admin::values;
use crate::error::{Error, Result};

/// A profile to make.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewProfile {
    /// `PayloadIdentifier`, by which devices know it; under it another content is a new version.
    pub(crate) identifier: String,
    /// `PayloadDisplayName`.
    #[serde(default)]
    pub(crate) display_name: Option<String>,
    /// `PayloadOrganization`.
    #[serde(default)]
    pub(crate) organization: Option<String>,
    /// `PayloadScope`: `System` or `User`; only macOS knows it.
    #[serde(default)]
    pub(crate) scope: Option<String>,
    /// `PayloadRemovalDisallowed`.
    #[serde(default)]
    pub(crate) removal_disallowed: bool,
    /// The payloads, each with its `PayloadType` and Apple's keys; data as `{"data": "BASE64"}`, dates as `{"date": "TIME"}`.
    #[schema(value_type = Vec<Object>)]
    pub(crate) payloads: Vec<Map<String, Json>>,
}

/// Writes the profile. `hash` is keyed, for its UUIDs.
///
/// # Errors
/// [`Error::Invalid`] names the payload that is none.
pub(crate) fn build(new: &NewProfile, hash: &dyn Fn(&[u8]) -> [u8; 32]) -> Result<Vec<u8>> {
    let mut content = Vec::with_capacity(new.payloads.len());
    for (at, payload) in new.payloads.iter().enumerate() {
        if payload.values().any(marked) {
            return Err(Error::Invalid(format!(
                "payload {} holds a key that begins with $; data is written as {{\"data\": \"BASE64\"}}, a date as {{\"date\": \"TIME\"}}",
                at + 1
            )));
        }
        let mut dictionary = values::dictionary(payload)?;
        let Some(kind) = dictionary.get("PayloadType").and_then(Value::as_string) else {
            return Err(Error::Invalid(format!(
                "payload {} has no PayloadType",
                at + 1
            )));
        };
        let identifier = format!("{}.{kind}.{}", new.identifier, at + 1);
        fill(&mut dictionary, &identifier, hash)?;
        content.push(Value::Dictionary(dictionary));
    }
    let mut profile = Dictionary::new();
    profile.insert("PayloadType".into(), "Configuration".into());
    let texts = [
        ("PayloadDisplayName", &new.display_name),
        ("PayloadOrganization", &new.organization),
        ("PayloadScope", &new.scope),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            profile.insert(key.into(), text.as_str().into());
        }
    }
    if new.removal_disallowed {
        profile.insert("PayloadRemovalDisallowed".into(), true.into());
    }
    profile.insert("PayloadContent".into(), Value::Array(content));
    fill(&mut profile, &new.identifier, hash)?;
    xml(&profile)
}

/// Whether a value holds a key by which others mark data and dates.
fn marked(value: &Json) -> bool {
    match value {
        Json::Object(members) => members
            .iter()
            .any(|(key, value)| key.starts_with('$') || marked(value)),
        Json::Array(items) => items.iter().any(marked),
        _ => false,
    }
}

/// Adds what is missing of what every payload has.
fn fill(
    payload: &mut Dictionary,
    identifier: &str,
    hash: &dyn Fn(&[u8]) -> [u8; 32],
) -> Result<()> {
    let mut missing = |key: &str, value: Value| {
        if !payload.contains_key(key) {
            payload.insert(key.to_owned(), value);
        }
    };
    missing("PayloadVersion", 1.into());
    missing("PayloadIdentifier", identifier.into());
    if !payload.contains_key("PayloadUUID") {
        let id = payload_uuid(&hash(&xml(payload)?));
        payload.insert("PayloadUUID".into(), id.into());
    }
    Ok(())
}

fn xml(dictionary: &Dictionary) -> Result<Vec<u8>> {
    written(dictionary)
        .map_err(|error| Error::Invalid(format!("the profile cannot be written: {error}")))
}
