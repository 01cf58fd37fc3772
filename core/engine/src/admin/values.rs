//! Property lists as JSON, and back.
//!
//! Owns: the one convention of the admin API. Dictionaries, lists, texts, numbers and truth values are themselves.
//! What JSON lacks is an object with one member: `{"data": "BASE64"}` and `{"date": "2026-03-01T08:00:00Z"}`. A
//! dictionary that would read like one of these is wrapped: `{"dict": {"data": "x"}}`. There is no `null`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plist::{Dictionary, Value as Plist};
use serde_json::{Map, Number, Value as Json, json};
use time::OffsetDateTime;

use super::instant::Instant;
use crate::error::{Error, Result};

const DATA: &str = "data";
const DATE: &str = "date";
const DICT: &str = "dict";

/// Levels of nesting, at most.
const DEEPEST: usize = 64;

/// Turns the members of a JSON object into a dictionary.
///
/// # Errors
/// [`Error::Invalid`] names the place of what has no counterpart.
pub fn dictionary(members: &Map<String, Json>) -> Result<Dictionary> {
    to_dictionary(members, "parameters", 0)
}

fn to_dictionary(members: &Map<String, Json>, place: &str, depth: usize) -> Result<Dictionary> {
    members
        .iter()
        .map(|(name, value)| {
            let value = to_plist(value, &format!("{place}.{name}"), depth + 1)?;
            Ok((name.clone(), value))
        })
        .collect()
}

fn to_plist(value: &Json, place: &str, depth: usize) -> Result<Plist> {
    if depth > DEEPEST {
        return Err(Error::Invalid(format!("{place} is nested too deep")));
    }
    Ok(match value {
        Json::Null => {
            return Err(Error::Invalid(format!(
                "{place} is null, which a property list does not have; leave it out"
            )));
        }
        Json::Bool(value) => Plist::Boolean(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Plist::Integer(value.into()),
            (_, Some(value), _) => Plist::Integer(value.into()),
            (_, _, Some(value)) => Plist::Real(value),
            _ => return Err(Error::Invalid(format!("{place} is no number that fits"))),
        },
        Json::String(text) => Plist::String(text.clone()),
        Json::Array(items) => Plist::Array(
            items
                .iter()
                .enumerate()
                .map(|(n, item)| to_plist(item, &format!("{place}[{n}]"), depth + 1))
                .collect::<Result<_>>()?,
        ),
        Json::Object(members) => match single(members) {
            Some((DATA, Json::String(text))) => Plist::Data(
                STANDARD
                    .decode(text)
                    .map_err(|_| Error::Invalid(format!("{place}.data is not base64")))?,
            ),
            Some((DATE, Json::String(text))) => date(text).ok_or_else(|| {
                Error::Invalid(format!(
                    "{place}.date is not a time like 2026-03-01T08:00:00Z"
                ))
            })?,
            Some((DICT, Json::Object(members))) => {
                Plist::Dictionary(to_dictionary(members, place, depth)?)
            }
            _ => Plist::Dictionary(to_dictionary(members, place, depth)?),
        },
    })
}

fn single(members: &Map<String, Json>) -> Option<(&str, &Json)> {
    let mut all = members.iter();
    let (name, value) = all.next()?;
    all.next().is_none().then_some((name.as_str(), value))
}

fn date(text: &str) -> Option<Plist> {
    let at = Instant::parse(text)?;
    let since = std::time::Duration::from_micros(u64::try_from(at.0).ok()?);
    let at = std::time::UNIX_EPOCH.checked_add(since)?;
    Some(Plist::Date(at.into()))
}

/// Turns a property list into JSON. A number that JSON cannot say becomes a text.
pub fn json(value: &Plist) -> Json {
    match value {
        Plist::Array(items) => Json::Array(items.iter().map(json).collect()),
        Plist::Dictionary(members) => {
            let object: Map<String, Json> = members
                .iter()
                .map(|(name, value)| (name.clone(), json(value)))
                .collect();
            match single(&object) {
                Some((DATA | DATE, Json::String(_)) | (DICT, Json::Object(_))) => {
                    json!({ DICT: object })
                }
                _ => Json::Object(object),
            }
        }
        Plist::Boolean(value) => Json::Bool(*value),
        Plist::Data(bytes) => json!({ DATA: STANDARD.encode(bytes) }),
        Plist::Date(at) => {
            let at: std::time::SystemTime = (*at).into();
            let at = OffsetDateTime::from(at).unix_timestamp_nanos() / 1_000;
            json!({ DATE: Instant(i64::try_from(at).unwrap_or_default()) })
        }
        Plist::Real(value) => match Number::from_f64(*value) {
            Some(number) => Json::Number(number),
            None => Json::String(value.to_string()),
        },
        Plist::Integer(value) => match (value.as_signed(), value.as_unsigned()) {
            (Some(value), _) => value.into(),
            (_, Some(value)) => value.into(),
            _ => Json::Null,
        },
        Plist::String(text) => Json::String(text.clone()),
        Plist::Uid(uid) => uid.get().into(),
        _ => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(value: Json) -> Json {
        json(&to_plist(&value, "x", 0).unwrap())
    }

    #[test]
    fn every_kind_of_value_comes_back_as_it_went() {
        for value in [
            json!({"Queries": ["UDID", "OSVersion"], "Force": true, "N": -7, "Big": u64::MAX, "F": 0.5}),
            json!({"Payload": {"data": "aGVsbG8="}}),
            json!({"When": {"date": "2026-03-01T08:00:00Z"}}),
            json!({"dict": {"data": "not base64"}}),
            json!({"dict": {"dict": {}}}),
            json!({"data": 7}),
            json!({"data": "aGVsbG8=", "more": 1}),
            json!([[], {}]),
        ] {
            assert_eq!(round(value.clone()), value);
        }
    }

    #[test]
    fn data_and_dates_are_really_those() {
        let members =
            json!({"Payload": {"data": "aGVsbG8="}, "When": {"date": "1970-01-01T00:00:01Z"}});
        let dictionary = dictionary(members.as_object().unwrap()).unwrap();
        assert_eq!(
            dictionary.get("Payload").and_then(Plist::as_data),
            Some(&b"hello"[..])
        );
        assert!(dictionary.get("When").and_then(Plist::as_date).is_some());
    }

    #[test]
    fn what_has_no_counterpart_is_refused_by_its_place() {
        for (value, place) in [
            (json!({"A": null}), "parameters.A"),
            (json!({"A": [1, {"B": null}]}), "parameters.A[1].B"),
            (json!({"A": {"data": "%%"}}), "parameters.A.data"),
            (json!({"A": {"date": "soon"}}), "parameters.A.date"),
        ] {
            let error = dictionary(value.as_object().unwrap()).unwrap_err();
            assert!(error.to_string().contains(place), "{error}");
        }
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert!(to_plist(&deep, "x", 0).is_err());
    }
}
