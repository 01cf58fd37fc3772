//! The rows of a database as text, to see whether anything changed.
//!
//! Owns: which tables count as state. A digest would say that something differs; the rows say what.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::{BTreeMap, BTreeSet};

use crate::support::Sql;

/// What a device's or an enrollment's state consists of.
pub const STATE: [&str; 5] = [
    "enrollment",
    "delivery",
    "delivery_history",
    "certificate",
    "device",
];
/// What else a request could leave behind.
pub const BESIDE: [&str; 10] = [
    "identity_grant",
    "enrollment_link",
    "orphan_report",
    "declarative_status",
    "command",
    "command_body",
    "fact",
    "ca",
    "tenant",
    "audit",
];
/// The counters of a channel's sessions, which move with every accepted report.
pub const MOVING: [&str; 2] = ["channel", "session"];
pub const EVENT: &str = "event";

/// The rows of each table, each row as one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows(BTreeMap<String, BTreeSet<String>>);

/// The statement that reads everything; made once for each database.
#[derive(Clone, Debug)]
pub struct Reader(String);

impl Reader {
    pub async fn new(sql: &Sql) -> Self {
        let tables = STATE.iter().chain(&BESIDE).chain(&MOVING).chain([&EVENT]);
        let mut parts = Vec::new();
        for table in tables {
            parts.push(match sql {
                Sql::Postgres(_) => format!("SELECT '{table}', t::text FROM {table} t"),
                Sql::Sqlite(pool) => {
                    let names: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                        "SELECT name FROM pragma_table_info('{table}')"
                    )))
                    .fetch_all(pool)
                    .await
                    .unwrap();
                    let columns: Vec<String> =
                        names.iter().map(|name| format!("quote({name})")).collect();
                    format!("SELECT '{table}', {} FROM {table}", columns.join("||','||"))
                }
            });
        }
        Self(parts.join(" UNION ALL "))
    }

    pub async fn read(&self, sql: &Sql) -> Rows {
        let text = sqlx::AssertSqlSafe(self.0.clone());
        let rows: Vec<(String, String)> = match sql {
            Sql::Sqlite(pool) => sqlx::query_as(text).fetch_all(pool).await.unwrap(),
            Sql::Postgres(pool) => sqlx::query_as(text).fetch_all(pool).await.unwrap(),
        };
        let mut out = Rows::default();
        for (table, row) in rows {
            out.0.entry(table).or_default().insert(row);
        }
        out
    }
}

impl Rows {
    pub fn of(&self, table: &str) -> impl Iterator<Item = &String> {
        self.0.get(table).into_iter().flatten()
    }

    /// The first of these tables that differs, and how.
    pub fn difference(&self, other: &Self, tables: &[&str]) -> Option<String> {
        tables.iter().find_map(|table| {
            let (gone, new) = (self.minus(other, table), other.minus(self, table));
            (!gone.is_empty() || !new.is_empty())
                .then(|| format!("{table}: gone {gone:?}, new {new:?}"))
        })
    }

    /// The rows of a table that the other does not have.
    pub fn minus(&self, other: &Self, table: &str) -> Vec<&String> {
        let there: BTreeSet<&String> = other.of(table).collect();
        self.of(table).filter(|row| !there.contains(row)).collect()
    }
}
