//! What differs from device to device inside of a profile.
//!
//! Owns: the names `{{device.…}}`, `{{user.…}}` and `{{fact.…}}` in the texts of a profile, and filling them in. It works on texts of a
//! property list and not on its bytes, so that a value is never anything but a text. Knows no store; what a device is called comes with its
//! snapshot.

use std::collections::BTreeSet;

use plist::{Dictionary, Value};
use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::hooks::DeviceSnapshot;

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
/// Groups of names.
const GROUPS: [&str; 3] = ["device.", "user.", "fact."];
/// Names in the groups `device` and `user`.
const KNOWN: [&str; 6] = [
    "device.id",
    "device.udid",
    "device.serial-number",
    "device.product-name",
    "device.os-version",
    "user.id",
];
/// Variables of a profile, at most, repeats counted.
const MOST: usize = 1_000;
/// Bytes of a name, at most.
const MOST_NAME: usize = 128;
/// Bytes that a value may have, at most.
const MOST_VALUE: usize = 4_096;

/// The names that a profile's texts hold.
///
/// # Errors
/// [`Error::Invalid`] for a name that there is not, and for one in the name of a key.
pub(crate) fn names(dictionary: &Dictionary) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut left = MOST;
    gather_in(dictionary, &mut found, &mut left)?;
    Ok(found)
}

fn gather_in(
    dictionary: &Dictionary,
    found: &mut BTreeSet<String>,
    left: &mut usize,
) -> Result<()> {
    for (key, value) in dictionary {
        if variable(key).is_some() {
            return Err(Error::Invalid(format!(
                "a variable stands for a value, not for the name of a key: {}",
                key.chars().take(80).collect::<String>()
            )));
        }
        gather(value, found, left)?;
    }
    Ok(())
}

fn gather(value: &Value, found: &mut BTreeSet<String>, left: &mut usize) -> Result<()> {
    match value {
        Value::Dictionary(inner) => gather_in(inner, found, left),
        Value::Array(items) => items.iter().try_for_each(|item| gather(item, found, left)),
        Value::String(text) => {
            let mut rest = text.as_str();
            while let Some((_, name, after)) = variable(rest) {
                *left = left.checked_sub(1).ok_or_else(|| {
                    Error::Invalid(format!("a profile has at most {MOST} variables"))
                })?;
                let fact = name
                    .strip_prefix("fact.")
                    .is_some_and(|key| !key.is_empty());
                if !fact && !KNOWN.contains(&name) {
                    return Err(Error::Invalid(format!(
                        "there is no variable {{{{{name}}}}}: write fact.NAME, {}, or say that the profile is meant literally",
                        KNOWN.join(", ")
                    )));
                }
                found.insert(name.to_owned());
                rest = after;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The first variable of a text: what stands before it, its name, what stands after it. Other braces are none.
fn variable(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find(OPEN)?;
        let inside = text.get(at + OPEN.len()..)?;
        let is_name = |name: &str| {
            (1..=MOST_NAME).contains(&name.len())
                && GROUPS.iter().any(|group| name.starts_with(group))
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        // Not further than a name can be long: a text of braces alone would be walked through again and again.
        let near = inside.as_bytes().iter().take(MOST_NAME + CLOSE.len());
        let end = near.take_while(|byte| **byte != b'}').count();
        match (inside.get(..end), inside.get(end..)) {
            (Some(name), Some(rest)) if rest.starts_with(CLOSE) && is_name(name) => {
                return Some((text.get(..at)?, name, rest.get(CLOSE.len()..)?));
            }
            _ => from = at + OPEN.len(),
        }
    }
}

/// Fills the variables in for a device.
///
/// # Errors
/// A sentence that names those for which the device has no value, or no usable one.
pub(crate) fn fill(dictionary: &Dictionary, device: &DeviceSnapshot) -> Result<Dictionary, String> {
    let mut missing = BTreeSet::new();
    let filled = fill_in(dictionary, device, &mut missing);
    match missing.is_empty() {
        true => Ok(filled),
        false => {
            let told: Vec<String> = missing.into_iter().take(10).collect();
            Err(format!("no value for {}", told.join(", ")))
        }
    }
}

fn fill_in(
    dictionary: &Dictionary,
    device: &DeviceSnapshot,
    missing: &mut BTreeSet<String>,
) -> Dictionary {
    let pairs = dictionary.iter();
    pairs
        .map(|(key, value)| (key.clone(), fill_value(value, device, missing)))
        .collect()
}

fn fill_value(value: &Value, device: &DeviceSnapshot, missing: &mut BTreeSet<String>) -> Value {
    match value {
        Value::Dictionary(inner) => Value::Dictionary(fill_in(inner, device, missing)),
        Value::Array(items) => {
            let items = items.iter();
            Value::Array(
                items
                    .map(|item| fill_value(item, device, missing))
                    .collect(),
            )
        }
        Value::String(text) => {
            let mut out = String::with_capacity(text.len());
            let mut rest = text.as_str();
            while let Some((before, name, after)) = variable(rest) {
                out.push_str(before);
                match of_device(name, device) {
                    Some(value) => out.push_str(&value),
                    None => {
                        missing.insert(name.to_owned());
                    }
                }
                rest = after;
            }
            out.push_str(rest);
            Value::String(out)
        }
        other => other.clone(),
    }
}

fn of_device(name: &str, device: &DeviceSnapshot) -> Option<String> {
    let value = match name {
        "device.id" => device.device.map(|id| id.to_string()),
        "device.udid" => Some(device.ident.clone()),
        "device.serial-number" => device.serial_number.clone(),
        "device.product-name" => device.product_name.clone(),
        "device.os-version" => device.os_version.clone(),
        "user.id" => Some(device.user_key.clone()),
        _ => {
            let key = name.strip_prefix("fact.")?;
            // A user's own fact stands before the device's.
            let fact = device.facts.iter().rev().find(|fact| fact.name == key)?;
            match &fact.value {
                Json::String(text) => Some(text.clone()),
                Json::Number(number) => Some(number.to_string()),
                Json::Bool(truth) => Some(truth.to_string()),
                _ => None,
            }
        }
    };
    // A property list knows no control characters; a value that is filled in is not read for variables once more.
    value.filter(|text| {
        !text.is_empty() && text.len() <= MOST_VALUE && !text.chars().any(char::is_control)
    })
}
