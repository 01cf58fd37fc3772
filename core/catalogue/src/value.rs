//! Whether a value is one that its key may have.
//!
//! Owns: the rules over one value, and how JSON writes what it has no type for. What a value holds is walked through by `preflight`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use crate::object::{Key, KeyType};

/// How data and dates stand in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Data are a text in base64, dates a text as in RFC 3339: as people write them, where the key says what is meant.
    Plain,
    /// Data are `{"$data": "BASE64"}`, dates `{"$date": "2026-09-01T08:00:00Z"}`, and a text is a text: as a property list is read, where
    /// a text that should have been data is a fault.
    Marked,
}

/// The member that marks data, and the one that marks a date.
const MARKS: [&str; 2] = ["$data", "$date"];

/// Looks at a value.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that names the key.
pub(crate) fn check(key: &Key, value: &Value, form: Form) -> Result<(), String> {
    kind(key.kind, value, form)?;
    if !key.values.is_empty() && !key.values.iter().any(|one| same(one, value)) {
        let all: Vec<String> = key.values.iter().map(Value::to_string).collect();
        return Err(format!("may be {}", all.join(", ")));
    }
    if let Some(number) = value.as_f64() {
        let bound = |bound: &Option<Number>| bound.as_ref().and_then(Number::as_f64);
        if bound(&key.min).is_some_and(|min| number < min)
            || bound(&key.max).is_some_and(|max| number > max)
        {
            let word = |bound: &Option<Number>| {
                bound
                    .as_ref()
                    .map_or_else(|| "any".to_owned(), Number::to_string)
            };
            return Err(format!(
                "lies between {} and {}",
                word(&key.min),
                word(&key.max)
            ));
        }
    }
    if let (Some((least, most)), Value::Array(items)) = (key.length, value) {
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        if !(least..=most).contains(&count) {
            return Err(format!(
                "holds between {least} and {most} values, not {count}"
            ));
        }
    }
    Ok(())
}

/// What is marked, and with what; nothing where the value stands for itself.
fn marked(value: &Value, form: Form) -> Option<(&'static str, &str)> {
    let members = value.as_object().filter(|_| form == Form::Marked)?;
    let (name, text) = members.iter().next().filter(|_| members.len() == 1)?;
    let mark = MARKS.into_iter().find(|mark| mark == name)?;
    Some((mark, text.as_str()?))
}

fn kind(kind: KeyType, value: &Value, form: Form) -> Result<(), String> {
    let good = match (marked(value, form), kind) {
        (_, KeyType::Any) => true,
        (Some(("$data", text)), kind) => kind == KeyType::Data && STANDARD.decode(text).is_ok(),
        (Some((_, text)), kind) => kind == KeyType::Date && date(text),
        (None, KeyType::Data | KeyType::Date) if form == Form::Marked => false,
        (None, kind) => unmarked(kind, value),
    };
    if good {
        return Ok(());
    }
    Err(match kind {
        KeyType::Data if form == Form::Marked => "must be data, not another value".to_owned(),
        KeyType::Date if form == Form::Marked => "must be a date, not another value".to_owned(),
        KeyType::Data => "must be data, written in base64".to_owned(),
        KeyType::Date => "must be a date, written as 2026-09-01T08:00:00Z".to_owned(),
        KeyType::Integer => "must be a whole number".to_owned(),
        KeyType::Real => "must be a number".to_owned(),
        KeyType::Boolean => "must be true or false".to_owned(),
        KeyType::Array => "must be an array".to_owned(),
        kind => format!("must be a {}", kind.as_str()),
    })
}

/// Whether a value stands for itself as one of a type.
fn unmarked(kind: KeyType, value: &Value) -> bool {
    match (kind, value) {
        (KeyType::Any, _)
        | (KeyType::String, Value::String(_))
        | (KeyType::Boolean, Value::Bool(_))
        | (KeyType::Real, Value::Number(_))
        | (KeyType::Array, Value::Array(_))
        | (KeyType::Dictionary, Value::Object(_)) => true,
        (KeyType::Integer, Value::Number(number)) => number.is_i64() || number.is_u64(),
        (KeyType::Data, Value::String(text)) => STANDARD.decode(text).is_ok(),
        (KeyType::Date, Value::String(text)) => date(text),
        _ => false,
    }
}

/// A date of a property list: whole seconds, in UTC.
fn date(text: &str) -> bool {
    let shape = |(place, byte): (usize, u8)| match place {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        19 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    let number = |from: usize| {
        text.get(from..from + 2)
            .and_then(|two| two.parse::<u8>().ok())
    };
    let within = |from, most| number(from).is_some_and(|number| number <= most);
    text.len() == 20
        && text.bytes().enumerate().all(shape)
        && number(5).is_some_and(|month| (1..=12).contains(&month))
        && number(8).is_some_and(|day| (1..=31).contains(&day))
        && within(11, 23)
        && within(14, 59)
        && within(17, 60)
}

/// Numbers are alike by what they are worth.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
