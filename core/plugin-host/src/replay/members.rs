//! Members of an object in a record.
//!
//! Owns: reading one by its type, and naming the place of what cannot be read.

use serde_json::{Map, Value};
use wasmtime::component::Val;
use wasmtime::component::types::Type;

use crate::convert::short;
use crate::json::{JsonError, below, known, lower_as};

pub(super) type Read<T> = Result<T, JsonError>;

/// Members that may be null.
const OPTIONAL: [&str; 8] = [
    "udid",
    "serial",
    "supervised",
    "automated",
    "user-approved",
    "shared-ipad",
    "access-rights",
    "time-zone",
];

/// The members of an object, and the pointer to it.
pub(super) struct Members<'a> {
    members: &'a Map<String, Value>,
    pub(super) at: &'a str,
}

impl<'a> Members<'a> {
    /// Those of an object that has no other than these.
    pub(super) fn of(told: &'a Value, at: &'a str, names: &[&str]) -> Read<Self> {
        let expected = || format!("an object with {}", names.join(", "));
        let members = told.as_object();
        let members = members.ok_or_else(|| misfit(at, &expected(), told))?;
        known(members, names.iter().copied(), at)?;
        Ok(Self { members, at })
    }

    /// A member, unless it is absent.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let absent = |value: &Value| value.is_null() && OPTIONAL.contains(&name);
        self.members.get(name).filter(|value| !absent(value))
    }

    /// A member of this type.
    pub(super) fn read(&self, name: &str, ty: &Type) -> Read<Option<Val>> {
        let value = self.get(name);
        let value = value.map(|value| lower_as(value, ty, &below(self.at, name), name));
        value.transpose()
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Read<Option<String>> {
        Ok(match self.read(name, &Type::String)? {
            Some(Val::String(text)) => Some(text),
            _ => None,
        })
    }

    /// A text that says something: the contract has an empty one for what is not known.
    pub(super) fn filled(&self, name: &str) -> Read<Option<String>> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    /// A number, or a time in milliseconds; 0 when it is absent.
    pub(super) fn number(&self, name: &str) -> Read<u64> {
        Ok(match self.read(name, &Type::U64)? {
            Some(Val::U64(number)) => number,
            _ => 0,
        })
    }

    /// A list; empty when it is absent.
    pub(super) fn list(&self, name: &str) -> Read<&'a [Value]> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(misfit(&below(self.at, name), "a list", other)),
        }
    }
}

/// The only member of an object.
pub(super) fn only_member(value: &Value) -> Option<(&str, &Value)> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let (name, value) = members.iter().next()?;
    Some((name.as_str(), value))
}

/// What stands at `at` instead of what was expected.
pub(super) fn misfit(at: &str, expected: &str, got: &Value) -> JsonError {
    JsonError {
        pointer: at.to_owned(),
        problem: format!("expected {expected}, got {}", short(&got.to_string())),
    }
}
