//! What two profiles on one device do to one another.
//!
//! Owns: payloads of which a device takes one only, and keys that both set in another way. Told before an assignment; what the device makes of it
//! is the device's.

use std::collections::BTreeMap;

use plist::{Dictionary, Value};
use pomona_catalogue::{Catalogue, Class};
use serde::Serialize;

/// Payloads of which a device takes several and makes one policy of them.
const MERGED: [&str; 2] = [
    "com.apple.applicationaccess",
    "com.apple.mobiledevice.passwordpolicy",
];
/// Keys that are named, at most.
const MOST_KEYS: usize = 20;

/// Two profiles that meet on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Conflict {
    /// The other profile's name.
    pub(crate) with: String,
    /// The payload that both hold.
    pub(crate) payload_type: String,
    /// What is the matter: `single` (a device takes one such payload) or `values` (both set a key, in another way).
    pub(crate) kind: String,
    /// The keys that both set in another way.
    pub(crate) keys: Vec<String>,
}

/// Compares two profiles.
pub(crate) fn between(one: &Dictionary, other: &Dictionary, with: &str) -> Vec<Conflict> {
    let (one, other) = (payloads(one), payloads(other));
    let mut found = Vec::new();
    for (payload_type, mine) in &one {
        let Some(theirs) = other.get(payload_type) else {
            continue;
        };
        let single = single(payload_type);
        if !single && !MERGED.contains(payload_type) {
            continue;
        }
        let mut keys: Vec<String> = (mine.iter())
            .flat_map(|mine| theirs.iter().map(move |theirs| (mine, theirs)))
            .flat_map(|(mine, theirs)| different(mine, theirs))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(MOST_KEYS);
        if single || !keys.is_empty() {
            found.push(Conflict {
                with: with.to_owned(),
                payload_type: (*payload_type).to_owned(),
                kind: if single { "single" } else { "values" }.to_owned(),
                keys,
            });
        }
    }
    found
}

fn payloads(profile: &Dictionary) -> BTreeMap<&str, Vec<&Dictionary>> {
    let mut found: BTreeMap<&str, Vec<&Dictionary>> = BTreeMap::new();
    if let Some(Value::Array(payloads)) = profile.get("PayloadContent") {
        for payload in payloads.iter().filter_map(Value::as_dictionary) {
            if let Some(kind) = payload.get("PayloadType").and_then(Value::as_string) {
                found.entry(kind).or_default().push(payload);
            }
        }
    }
    found
}

fn different<'a>(mine: &'a Dictionary, theirs: &'a Dictionary) -> impl Iterator<Item = String> {
    let common = mine.iter().filter(|(key, _)| !key.starts_with("Payload"));
    common
        .filter(|(key, value)| theirs.get(key).is_some_and(|theirs| theirs != *value))
        .map(|(key, _)| key.clone())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Whether no platform takes more than one of a payload.
fn single(payload_type: &str) -> bool {
    let mut rows = Catalogue::shipped()
        .named(Class::Profile, payload_type)
        .flat_map(|object| object.os.values())
        .filter_map(|row| row.multiple)
        .peekable();
    rows.peek().is_some() && rows.all(|multiple| !multiple)
}
