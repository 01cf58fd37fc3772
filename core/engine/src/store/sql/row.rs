//! Reading a row of either engine by position.
//!
//! Owns: how a value of each driver becomes one of ours. Knows no statement.

use rusqlite::types::Value;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::{Error, Result};

/// A row of either engine, read by position.
pub(crate) enum Row {
    Postgres(PgRow),
    Sqlite(SqliteRow),
    Lite(Vec<Value>),
}

macro_rules! readers {
    ($($name:ident -> $type:ty: $lite:expr),+ $(,)?) => {$(
        pub(crate) fn $name(&self, at: usize) -> Result<$type> {
            match self {
                Self::Postgres(row) => row.try_get(at),
                Self::Sqlite(row) => row.try_get(at),
                Self::Lite(row) => {
                    let read: fn(Option<&Value>) -> Option<$type> = $lite;
                    return read(row.get(at))
                        .ok_or_else(|| Error::internal("reading a row", UNEXPECTED));
                }
            }
            .map_err(|source| Error::internal("reading a row", source))
        }
    )+};
}

const UNEXPECTED: &str = "a column holds something else than was expected";

/// Reads a value that may be NULL.
macro_rules! or_null {
    ($read:expr) => {
        |value| match value {
            Some(Value::Null) => Some(None),
            value => $read(value).map(Some),
        }
    };
}

impl Row {
    readers! {
        int -> i64: int,
        opt_int -> Option<i64>: or_null!(int),
        uuid -> Uuid: uuid,
        opt_uuid -> Option<Uuid>: or_null!(uuid),
        bytes -> Vec<u8>: bytes,
        opt_bytes -> Option<Vec<u8>>: or_null!(bytes),
        text -> String: text,
        opt_text -> Option<String>: or_null!(text),
    }
}

fn int(value: Option<&Value>) -> Option<i64> {
    match value {
        Some(Value::Integer(number)) => Some(*number),
        _ => None,
    }
}

fn uuid(value: Option<&Value>) -> Option<Uuid> {
    match value {
        Some(Value::Blob(bytes)) => Uuid::from_slice(bytes).ok(),
        _ => None,
    }
}

fn bytes(value: Option<&Value>) -> Option<Vec<u8>> {
    match value {
        Some(Value::Blob(bytes)) => Some(bytes.clone()),
        _ => None,
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    match value {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}
