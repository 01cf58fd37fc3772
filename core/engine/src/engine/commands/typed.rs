//! Values as their keys want them: data, where a base64 text stands for them.
//!
//! Owns: what JSON cannot say by itself and the catalogue knows; dates and fractions are in no command, only in answers. What does not read so
//! stays as it is, and the preflight says what is wrong with it. In the flow: a dictionary from JSON -> here -> amending hooks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plist::{Dictionary, Value};
use pomona_catalogue::{Catalogue, Class, Key, KeyType, Object};

/// How deep values are followed.
const DEEPEST: u32 = 32;

/// Gives the values of a command the types of their keys.
pub(super) fn typed(request_type: &str, command: &mut Dictionary) {
    let objects = Catalogue::shipped().named(Class::Command, request_type);
    for object in objects {
        members(object, &object.keys, command, DEEPEST);
    }
}

fn members(object: &Object, keys: &[Key], command: &mut Dictionary, deep: u32) {
    let free = keys.iter().find(|key| key.name == Key::FREE);
    for (name, value) in command.iter_mut() {
        if let Some(key) = keys.iter().find(|key| key.name == *name).or(free) {
            one(object, key, value, deep);
        }
    }
}

fn one(object: &Object, key: &Key, value: &mut Value, deep: u32) {
    if let (KeyType::Data, Value::String(text)) = (key.kind, &*value)
        && let Ok(bytes) = STANDARD.decode(text)
    {
        *value = Value::Data(bytes);
    }
    let Some(deeper) = deep.checked_sub(1) else {
        return;
    };
    let held = object.held_by(key);
    match value {
        Value::Dictionary(inner) => members(object, held, inner, deeper),
        Value::Array(items) => {
            for item in items {
                let named = || item.as_dictionary()?.get("Item")?.as_string();
                if let Some(key) = Key::of_item(held, named) {
                    one(object, key, item, deeper);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::admin::values;

    fn round(request_type: &str, body: Json) -> Json {
        let mut command = values::dictionary(body.as_object().unwrap()).unwrap();
        typed(request_type, &mut command);
        values::json(&Value::Dictionary(command))
    }

    #[test]
    fn what_json_cannot_say_is_read_as_its_key_wants_it() {
        for (request_type, body, expected) in [
            (
                "ClearPasscode",
                json!({ "UnlockToken": "AAEC" }),
                json!({ "UnlockToken": { "data": "AAEC" } }),
            ),
            (
                "EraseDevice",
                json!({ "PIN": "123456", "ReturnToService": { "Enabled": true, "WiFiProfileData": "AAEC" } }),
                json!({ "PIN": "123456", "ReturnToService": { "Enabled": true, "WiFiProfileData": { "data": "AAEC" } } }),
            ),
            // What is said already stays, and so does what does not read.
            (
                "ClearPasscode",
                json!({ "UnlockToken": { "data": "AAEC" } }),
                json!({ "UnlockToken": { "data": "AAEC" } }),
            ),
            (
                "ClearPasscode",
                json!({ "UnlockToken": "not base64!" }),
                json!({ "UnlockToken": "not base64!" }),
            ),
            (
                "NoSuchCommand",
                json!({ "UnlockToken": "AAEC" }),
                json!({ "UnlockToken": "AAEC" }),
            ),
            // Of the kinds of a list the one that the item names.
            (
                "Settings",
                json!({ "Settings": [
                    { "Item": "Wallpaper", "Image": "AAEC", "Where": 1 },
                    { "Item": "Mood", "Image": "AAEC" },
                ] }),
                json!({ "Settings": [
                    { "Item": "Wallpaper", "Image": { "data": "AAEC" }, "Where": 1 },
                    { "Item": "Mood", "Image": "AAEC" },
                ] }),
            ),
        ] {
            assert_eq!(
                round(request_type, body.clone()),
                expected,
                "{request_type} {body}"
            );
        }
    }

    #[test]
    fn no_command_holds_what_is_not_read_here() {
        fn walk(object: &Object, keys: &[Key]) {
            for key in keys {
                let read = !matches!(key.kind, KeyType::Date | KeyType::Real);
                assert!(read, "{} of {} wants reading", key.name, object.id);
                walk(object, &key.keys);
            }
        }
        let objects = Catalogue::shipped().objects().iter();
        for object in objects.filter(|object| object.class == Class::Command) {
            walk(object, &object.keys);
        }
    }
}
