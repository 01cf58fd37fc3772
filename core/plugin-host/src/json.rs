//! JSON for values of the contract, and back, led by the component's own types.
//!
//! Owns: how an author writes a question by hand and reads an answer. Names are spelt as in the contract. A variant is its
//! case's name, or `{"case": payload}`; an option is its value or null; a result is `{"ok": …}` or `{"err": …}`; bytes are
//! `{"text": …}` where they are one, else `{"base64": …}`. What an author leaves out has its type's plainest value. For tools: the
//! hooks themselves are called with typed values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wasmtime::component::Val;
use wasmtime::component::types::{Case, Type};

/// A value that does not fit its type.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{pointer}: {problem}")]
pub struct JsonError {
    /// JSON pointer to it, from where the reading began.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

fn wrong(at: &str, problem: impl Into<String>) -> JsonError {
    let pointer = if at.is_empty() { "/" } else { at };
    JsonError {
        pointer: pointer.into(),
        problem: problem.into(),
    }
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// To be read: a JSON text in a member `…-json` is shown as what it says.
    Readable,
    /// To be compared: every byte as it came.
    Exact,
}

/// The value that JSON stands for. `at` is the JSON pointer to it, for errors.
pub(crate) fn lower(value: &Value, ty: &Type, at: &str) -> Result<Val, JsonError> {
    lower_as(value, ty, at, "")
}

/// As [`lower`], for a member of this name: a time may be written as a text, a JSON text as what it says.
pub(crate) fn lower_as(value: &Value, ty: &Type, at: &str, name: &str) -> Result<Val, JsonError> {
    let misfit = || wrong(at, format!("expected {}, got {}", wanted(ty), shown(value)));
    Ok(match ty {
        Type::Bool => Val::Bool(value.as_bool().ok_or_else(misfit)?),
        Type::S8 => Val::S8(integer(value).ok_or_else(misfit)?),
        Type::U8 => Val::U8(integer(value).ok_or_else(misfit)?),
        Type::S16 => Val::S16(integer(value).ok_or_else(misfit)?),
        Type::U16 => Val::U16(integer(value).ok_or_else(misfit)?),
        Type::S32 => Val::S32(integer(value).ok_or_else(misfit)?),
        Type::U32 => Val::U32(integer(value).ok_or_else(misfit)?),
        Type::S64 => Val::S64(integer(value).ok_or_else(misfit)?),
        Type::U64 => match value {
            Value::String(text) if name.ends_with("-ms") => Val::U64(
                milliseconds(text)
                    .ok_or_else(|| wrong(at, format!("{text:?} is no time such as 2026-11-25T07:30:00Z or a number of milliseconds")))?,
            ),
            _ => Val::U64(value.as_u64().ok_or_else(misfit)?),
        },
        #[expect(clippy::cast_possible_truncation, reason = "the contract asks for no more")]
        Type::Float32 => Val::Float32(value.as_f64().ok_or_else(misfit)? as f32),
        Type::Float64 => Val::Float64(value.as_f64().ok_or_else(misfit)?),
        Type::Char => {
            let mut letters = value.as_str().ok_or_else(misfit)?.chars();
            match (letters.next(), letters.next()) {
                (Some(letter), None) => Val::Char(letter),
                _ => return Err(misfit()),
            }
        }
        Type::String => match value {
            Value::String(text) => Val::String(text.clone()),
            other if name.ends_with("-json") => Val::String(other.to_string()),
            _ => return Err(misfit()),
        },
        Type::List(list) => lower_list(value, &list.ty(), at)?,
        Type::Record(record) => {
            let members = value.as_object().ok_or_else(misfit)?;
            let fields: Vec<(&str, Type)> = record.fields().map(|f| (f.name, f.ty)).collect();
            known(members, fields.iter().map(|(name, _)| *name), at)?;
            let mut values = Vec::with_capacity(fields.len());
            for (name, ty) in &fields {
                let at = below(at, name);
                let value = match members.get(*name) {
                    Some(value) => lower_as(value, ty, &at, name)?,
                    None => plainest(ty, &at)?,
                };
                values.push(((*name).to_owned(), value));
            }
            Val::Record(values)
        }
        Type::Tuple(tuple) => {
            let items = value.as_array().ok_or_else(misfit)?;
            let types: Vec<Type> = tuple.types().collect();
            if items.len() != types.len() {
                let problem = format!("expected {} items, got {}", types.len(), items.len());
                return Err(wrong(at, problem));
            }
            let items = items.iter().zip(&types).enumerate();
            Val::Tuple(
                items
                    .map(|(n, (item, ty))| lower(item, ty, &below(at, &n.to_string())))
                    .collect::<Result<_, _>>()?,
            )
        }
        Type::Variant(variant) => {
            let cases: Vec<Case<'_>> = variant.cases().collect();
            lower_variant(value, &cases, at)?
        }
        Type::Enum(words) => {
            let word = value.as_str().ok_or_else(misfit)?;
            if !words.names().any(|name| name == word) {
                return Err(misfit());
            }
            Val::Enum(word.to_owned())
        }
        Type::Option(option) => Val::Option(match value {
            Value::Null => None,
            value => Some(Box::new(lower_as(value, &option.ty(), at, name)?)),
        }),
        Type::Result(result) => {
            let (word, payload) = only_member(value).ok_or_else(misfit)?;
            let lowered = |ty: Option<Type>| match ty {
                None => Ok(None),
                Some(ty) => lower(payload, &ty, &below(at, word)).map(|v| Some(Box::new(v))),
            };
            Val::Result(match word {
                "ok" => Ok(lowered(result.ok())?),
                "err" => Err(lowered(result.err())?),
                _ => return Err(misfit()),
            })
        }
        Type::Flags(flags) => {
            let words = value.as_array().ok_or_else(misfit)?;
            let words = words.iter().map(|word| word.as_str().map(str::to_owned));
            let words: Vec<String> = words.collect::<Option<_>>().ok_or_else(misfit)?;
            if words.iter().any(|word| flags.names().all(|name| name != word)) {
                return Err(misfit());
            }
            Val::Flags(words)
        }
        _ => return Err(wrong(at, "a value of this type cannot be written in JSON")),
    })
}

/// Bytes as they are written in JSON.
pub(crate) fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    match only_member(value) {
        Some(("text", Value::String(text))) => Some(text.clone().into_bytes()),
        Some(("base64", Value::String(text))) => STANDARD.decode(text).ok(),
        _ => value.as_array()?.iter().map(integer).collect(),
    }
}

fn lower_list(value: &Value, item: &Type, at: &str) -> Result<Val, JsonError> {
    if *item == Type::U8 {
        let written = r#"bytes are written {"text": …}, {"base64": …} or as a list of numbers"#;
        let bytes = bytes_of(value).ok_or_else(|| wrong(at, written))?;
        return Ok(Val::List(bytes.into_iter().map(Val::U8).collect()));
    }
    let items = value
        .as_array()
        .ok_or_else(|| wrong(at, format!("expected a list, got {}", shown(value))))?;
    let items = items.iter().enumerate();
    let items = items.map(|(n, value)| lower(value, item, &below(at, &n.to_string())));
    Ok(Val::List(items.collect::<Result<_, _>>()?))
}

fn lower_variant(value: &Value, cases: &[Case<'_>], at: &str) -> Result<Val, JsonError> {
    let misfit = || {
        let problem = format!("expected {}, got {}", of_cases(cases), shown(value));
        wrong(at, problem)
    };
    let (name, payload) = match value {
        Value::String(name) => (name.as_str(), None),
        _ => only_member(value)
            .map(|(name, payload)| (name, Some(payload)))
            .ok_or_else(misfit)?,
    };
    let case = cases.iter().find(|case| case.name == name);
    let case = case.ok_or_else(misfit)?;
    let payload = match (&case.ty, payload) {
        (None, None | Some(Value::Null)) => None,
        (None, Some(_)) => {
            let problem = format!("the case {name} carries nothing; write {name:?}");
            return Err(wrong(at, problem));
        }
        (Some(Type::Option(_)), None) => Some(Val::Option(None)),
        (Some(ty), None) => {
            let problem = format!(
                "the case {name} carries {}; write {{{name:?}: …}}",
                wanted(ty)
            );
            return Err(wrong(at, problem));
        }
        (Some(ty), Some(payload)) => Some(lower(payload, ty, &below(at, name))?),
    };
    Ok(Val::Variant(name.to_owned(), payload.map(Box::new)))
}

/// The plainest value of a type: nothing, empty, 0, or the first case.
pub(crate) fn plainest(ty: &Type, at: &str) -> Result<Val, JsonError> {
    Ok(match ty {
        Type::Bool => Val::Bool(false),
        Type::String => Val::String(String::new()),
        Type::List(_) => Val::List(Vec::new()),
        Type::Flags(_) => Val::Flags(Vec::new()),
        Type::Option(_) => Val::Option(None),
        Type::Record(record) => {
            let fields = record.fields();
            let fields = fields.map(|field| {
                let at = below(at, field.name);
                plainest(&field.ty, &at).map(|value| (field.name.to_owned(), value))
            });
            Val::Record(fields.collect::<Result<_, _>>()?)
        }
        Type::Tuple(tuple) => {
            let items = tuple.types().map(|ty| plainest(&ty, at));
            Val::Tuple(items.collect::<Result<_, _>>()?)
        }
        Type::Variant(variant) => {
            let first = variant.cases().next();
            let first = first.ok_or_else(|| wrong(at, "it must be given"))?;
            let payload = first.ty.map(|ty| plainest(&ty, at)).transpose()?;
            Val::Variant(first.name.to_owned(), payload.map(Box::new))
        }
        Type::Enum(words) => {
            let first = words.names().next();
            Val::Enum(
                first
                    .ok_or_else(|| wrong(at, "it must be given"))?
                    .to_owned(),
            )
        }
        Type::Result(_) | Type::Char => return Err(wrong(at, "it must be given")),
        number => return lower(&json!(0), number, at),
    })
}

/// What a value says, as JSON.
pub(crate) fn lift(value: &Val, style: Style) -> Value {
    lift_as(value, style, "")
}

fn lift_as(value: &Val, style: Style, name: &str) -> Value {
    let plain = |value: &Val| lift_as(value, style, "");
    let payload = |value: &Option<Box<Val>>| value.as_deref().map_or(Value::Null, plain);
    match value {
        Val::Bool(truth) => json!(truth),
        Val::S8(number) => json!(number),
        Val::U8(number) => json!(number),
        Val::S16(number) => json!(number),
        Val::U16(number) => json!(number),
        Val::S32(number) => json!(number),
        Val::U32(number) => json!(number),
        Val::S64(number) => json!(number),
        Val::U64(number) => json!(number),
        Val::Float32(number) => float(f64::from(*number)),
        Val::Float64(number) => float(*number),
        Val::Char(letter) => json!(letter),
        Val::String(text) => text_of(text, style, name),
        Val::Enum(text) => json!(text),
        Val::List(items) | Val::FixedLengthList(items) => bytes(items)
            .map(|bytes| lift_bytes(&bytes))
            .unwrap_or_else(|| Value::Array(items.iter().map(plain).collect())),
        Val::Tuple(items) => Value::Array(items.iter().map(plain).collect()),
        Val::Record(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.clone(), lift_as(value, style, name)));
            Value::Object(fields.collect())
        }
        Val::Variant(case, None) => json!(case),
        Val::Variant(case, Some(payload)) => json!({ case: plain(payload) }),
        Val::Option(inner) => {
            let inner = inner.as_deref();
            inner.map_or(Value::Null, |value| lift_as(value, style, name))
        }
        Val::Result(Ok(value)) => json!({ "ok": payload(value) }),
        Val::Result(Err(value)) => json!({ "err": payload(value) }),
        Val::Flags(words) => json!(words),
        // The contract has none of these; nothing is made up for them.
        Val::Map(_) | Val::Resource(_) | Val::Future(_) | Val::Stream(_) | Val::ErrorContext(_) => {
            Value::Null
        }
    }
}

/// A text; one that holds JSON as what it says, unless that would be read back as another text.
fn text_of(text: &str, style: Style, name: &str) -> Value {
    if style == Style::Readable
        && name.ends_with("-json")
        && let Ok(said) = serde_json::from_str::<Value>(text)
        && !said.is_string()
        && !said.is_null()
    {
        return said;
    }
    json!(text)
}

/// The bytes of a list, if it is one of bytes. An empty list is no bytes: both are written `[]`.
fn bytes(items: &[Val]) -> Option<Vec<u8>> {
    let bytes = items.iter().map(|item| match item {
        Val::U8(byte) => Some(*byte),
        _ => None,
    });
    bytes.collect::<Option<Vec<u8>>>().filter(|b| !b.is_empty())
}

pub(crate) fn lift_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c.is_control() && c != '\n') => {
            json!({ "text": text })
        }
        _ => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn integer<N: TryFrom<i64>>(value: &Value) -> Option<N> {
    N::try_from(value.as_i64()?).ok()
}

/// Milliseconds since 1970 UTC of a time as RFC 3339 writes it; none where it is no such or before 1970.
#[must_use]
pub fn milliseconds(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The only member of an object.
fn only_member(value: &Value) -> Option<(&str, &Value)> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    members
        .iter()
        .next()
        .map(|(name, value)| (name.as_str(), value))
}

/// Refuses members that the contract does not have.
pub(crate) fn known<'a>(
    members: &Map<String, Value>,
    names: impl Iterator<Item = &'a str>,
    at: &str,
) -> Result<(), JsonError> {
    let names: Vec<&str> = names.collect();
    match members.keys().find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(strange) if names.is_empty() => Err(wrong(
            &below(at, strange),
            "nothing is expected here; remove it",
        )),
        Some(strange) => {
            let problem = format!("there is no such member; there are {}", names.join(", "));
            Err(wrong(&below(at, strange), problem))
        }
    }
}

pub(crate) fn below(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn of_cases(cases: &[Case<'_>]) -> String {
    let cases = cases.iter().map(|case| match &case.ty {
        None => format!("{:?}", case.name),
        Some(ty) => format!("{{{:?}: {}}}", case.name, wanted(ty)),
    });
    format!("one of {}", cases.collect::<Vec<_>>().join(", "))
}

/// A type in the words of an author.
fn wanted(ty: &Type) -> String {
    match ty {
        Type::Bool => "true or false".into(),
        Type::S8 => "a number from -128 to 127".into(),
        Type::U8 => "a number from 0 to 255".into(),
        Type::S16 => "a number from -32768 to 32767".into(),
        Type::U16 => "a number from 0 to 65535".into(),
        Type::S32 => "a whole number of 32 bits".into(),
        Type::U32 => "a number from 0 to 4294967295".into(),
        Type::S64 => "a whole number".into(),
        Type::U64 => "a whole number that is not negative".into(),
        Type::Float32 | Type::Float64 => "a number".into(),
        Type::Char => "a text of one character".into(),
        Type::String => "a text".into(),
        Type::List(list) if list.ty() == Type::U8 => "bytes".into(),
        Type::List(list) => format!("a list, each item {}", wanted(&list.ty())),
        Type::Record(record) => {
            let names: Vec<&str> = record.fields().map(|field| field.name).collect();
            format!("an object with {}", names.join(", "))
        }
        Type::Tuple(tuple) => {
            let items: Vec<String> = tuple.types().map(|ty| wanted(&ty)).collect();
            format!("[{}]", items.join(", "))
        }
        Type::Variant(variant) => of_cases(&variant.cases().collect::<Vec<_>>()),
        Type::Enum(words) => {
            let words: Vec<String> = words.names().map(|word| format!("{word:?}")).collect();
            format!("one of {}", words.join(", "))
        }
        Type::Option(option) => format!("{} or null", wanted(&option.ty())),
        Type::Result(_) => r#"{"ok": …} or {"err": …}"#.into(),
        Type::Flags(flags) => {
            let words: Vec<String> = flags.names().map(|word| format!("{word:?}")).collect();
            format!("a list of {}", words.join(", "))
        }
        _ => "something that JSON cannot hold".into(),
    }
}

/// What was written instead, cut.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        None => text,
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}
