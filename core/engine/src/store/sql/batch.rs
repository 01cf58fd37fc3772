//! Changes of many rows that go to the database together.
//!
//! Owns: the texts of plain inserts, updates and deletes. On PostgreSQL a batch is one statement over arrays, whose text
//! does not depend on how many rows there are; on SQLite each change is prepared once and run for each row, without
//! the ephemeral tables that a set of rows would need. Never decides what is changed.

use sqlx::postgres::PgArguments;

use super::text::{each, number, pg_add, pg_add_columns, pg_table};
use super::value::{Arg, Rows, heading, height};
use crate::error::Result;
use crate::store::lite::Step;

/// Changes, each over rows of its own. None may read what another changes, nor change the same row: on PostgreSQL they
/// happen at once.
#[derive(Default)]
pub(crate) struct Batch {
    parts: Vec<(Rows, Change)>,
}

enum Change {
    /// Each row is written; with `false` one whose key is there already is left out.
    Insert(&'static str, bool),
    /// The first columns are the key.
    Update(&'static str, usize),
    /// The columns are the key.
    Delete(&'static str),
    /// A statement that knows the rows as the table `i` and treats each by itself, and values for its `?`.
    Other(String, Vec<Arg>),
}

impl Batch {
    fn push(&mut self, rows: Rows, change: Change) {
        if height(&rows) > 0 {
            self.parts.push((rows, change));
        }
    }

    /// Writes the rows into `table`.
    pub(crate) fn insert(&mut self, table: &'static str, rows: Rows) {
        self.push(rows, Change::Insert(table, true));
    }

    /// As [`insert`](Self::insert), leaving out rows whose key is there already.
    pub(crate) fn insert_new(&mut self, table: &'static str, rows: Rows) {
        self.push(rows, Change::Insert(table, false));
    }

    /// Sets the columns after the first `keys`, which say in which row.
    pub(crate) fn update(&mut self, table: &'static str, keys: usize, rows: Rows) {
        self.push(rows, Change::Update(table, keys));
    }

    /// Deletes the rows with these keys.
    pub(crate) fn delete(&mut self, table: &'static str, rows: Rows) {
        self.push(rows, Change::Delete(table));
    }

    /// Runs `statement` for each row, known to it as the table `i`.
    pub(crate) fn other(&mut self, rows: Rows, statement: String, args: Vec<Arg>) {
        self.push(rows, Change::Other(statement, args));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What SQLite runs.
    pub(super) fn steps(self) -> Vec<Step> {
        let parts = self.parts.into_iter();
        parts
            .map(|(mut rows, change)| {
                let sql = match &change {
                    Change::Other(statement, args) => return each(rows, statement, args),
                    Change::Insert(table, always) => {
                        let marks = vec!["?"; rows.len()].join(", ");
                        let or = if *always { "" } else { "OR IGNORE " };
                        format!(
                            "INSERT {or}INTO {table} ({}) VALUES ({marks})",
                            heading(&rows)
                        )
                    }
                    Change::Update(table, keys) => format!(
                        "UPDATE {table} SET {} WHERE {}",
                        numbered(&rows, *keys..rows.len(), ", "),
                        numbered(&rows, 0..*keys, " AND ")
                    ),
                    Change::Delete(table) => format!(
                        "DELETE FROM {table} WHERE {}",
                        numbered(&rows, 0..rows.len(), " AND ")
                    ),
                };
                let runs = (0..height(&rows))
                    .map(|row| rows.iter_mut().map(|(_, c)| c.take(row)).collect())
                    .collect();
                Step { sql, runs }
            })
            .collect()
    }

    /// What PostgreSQL runs: one statement of which each part is a changing `WITH` table.
    pub(super) fn statement(self) -> Result<(String, PgArguments)> {
        let mut tables = Vec::with_capacity(self.parts.len());
        let mut all = PgArguments::default();
        let mut after = 0;
        for (n, (rows, change)) in self.parts.into_iter().enumerate() {
            let heading = heading(&rows);
            let mut own = Vec::new();
            let inner = match change {
                Change::Insert(table, always) => {
                    let or = if always {
                        ""
                    } else {
                        " ON CONFLICT DO NOTHING"
                    };
                    format!("INSERT INTO {table} ({heading}) SELECT {heading} FROM i{or}")
                }
                Change::Update(table, keys) => {
                    let sets: Vec<String> = rows
                        .iter()
                        .skip(keys)
                        .map(|(name, _)| format!("{name} = i.{name}"))
                        .collect();
                    let of_key: Vec<String> = rows
                        .iter()
                        .take(keys)
                        .map(|(name, _)| format!("{table}.{name} = i.{name}"))
                        .collect();
                    format!(
                        "UPDATE {table} SET {} FROM i WHERE {}",
                        sets.join(", "),
                        of_key.join(" AND ")
                    )
                }
                Change::Delete(table) => {
                    format!("DELETE FROM {table} WHERE ({heading}) IN (SELECT {heading} FROM i)")
                }
                Change::Other(statement, args) => {
                    own = args;
                    number(&statement, after + rows.len())
                }
            };
            tables.push(format!("w{n} AS (WITH {} {inner})", pg_table(&rows, after)));
            after += rows.len() + own.len();
            pg_add_columns(&mut all, rows)?;
            pg_add(&mut all, own)?;
        }
        Ok((format!("WITH {} SELECT 1", tables.join(", ")), all))
    }
}

/// `name = ?n` for these columns.
fn numbered(rows: &Rows, which: std::ops::Range<usize>, between: &str) -> String {
    let terms: Vec<String> = rows
        .iter()
        .enumerate()
        .filter(|(n, _)| which.contains(n))
        .map(|(n, (name, _))| format!("{name} = ?{}", n + 1))
        .collect();
    terms.join(between)
}
