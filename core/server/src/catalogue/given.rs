//! Values on a command line, as KEY=VALUE.
//!
//! Owns: reading each as its key in the catalogue wants it, and keys in keys. Judges nothing.

use anyhow::Context as _;
use pomona_catalogue::{Key, KeyType, Object};
use serde_json::{Map, Value};

use crate::client::UsageError;

/// All values that were given for an object.
pub(crate) fn body(object: &Object, given: &[String]) -> anyhow::Result<Map<String, Value>> {
    let mut body = Map::new();
    for pair in given {
        let Some((path, text)) = pair.split_once('=') else {
            return Err(UsageError(format!("\"{pair}\" is not KEY=VALUE")).into());
        };
        let key = object
            .find(path)
            .and_then(|found| found.way.last().copied());
        put(&mut body, path, value(key, text))?;
    }
    Ok(body)
}

/// A text as its key wants it; what does not read so stays a text, and is judged as one.
fn value(key: Option<&Key>, text: &str) -> Value {
    let plain = || Value::String(text.to_owned());
    match key.map(|key| key.kind) {
        Some(KeyType::String | KeyType::Data | KeyType::Date) | None => plain(),
        Some(_) => serde_json::from_str(text).unwrap_or_else(|_| plain()),
    }
}

fn put(body: &mut Map<String, Value>, path: &str, value: Value) -> anyhow::Result<()> {
    match path.split_once('/') {
        None => {
            body.insert(path.to_owned(), value);
            Ok(())
        }
        Some((name, rest)) => {
            let inner = body
                .entry(name)
                .or_insert_with(|| Value::Object(Map::new()));
            let inner = inner.as_object_mut();
            put(
                inner.with_context(|| format!("{name} is set twice"))?,
                rest,
                value,
            )
        }
    }
}
