//! The texts that make many rows one statement, and the binding of their values.
//!
//! Owns: the table `i` of a statement. On PostgreSQL it is an `unnest` of arrays, so that one text and one plan serve every
//! number of rows; on SQLite it is a list of `VALUES`, or a single row for a statement that is run for each. Runs nothing.

use sqlx::Arguments;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;

use super::value::{Arg, Column, Rows, heading, height};
use crate::error::{Error, Result};
use crate::store::lite::Step;

/// SQLite takes this many values in one statement; larger sets of rows are split.
const SQLITE_VALUES: usize = 30_000;

pub(super) fn once(sql: &str, args: Vec<Arg>) -> Step {
    Step {
        sql: sql.to_owned(),
        runs: vec![args],
    }
}

/// One statement that is run for each row.
pub(super) fn each(mut rows: Rows, statement: &str, args: &[Arg]) -> Step {
    let marks = vec!["?"; rows.len().max(1)].join(",");
    let sql = format!(
        "WITH i ({}) AS (VALUES ({marks})) {statement}",
        heading(&rows)
    );
    let runs = (0..height(&rows))
        .map(|row| {
            let mut all: Vec<Arg> = rows.iter_mut().map(|(_, c)| c.take(row)).collect();
            all.extend_from_slice(args);
            all
        })
        .collect();
    Step { sql, runs }
}

/// Turns each `?` into `$n`, counting from `after + 1`.
pub(super) fn number(sql: &str, after: usize) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    let mut n = after;
    for c in sql.chars() {
        if c == '?' {
            n += 1;
            out.push('$');
            out.push_str(&n.to_string());
        } else {
            out.push(c);
        }
    }
    out
}

/// Binds a value of any kind: `Arg` and `Column` have the same ones.
macro_rules! bind {
    ($out:expr, $kind:ident, $value:expr) => {
        match $value {
            $kind::Uuid(v) => $out.add(v),
            $kind::OptUuid(v) => $out.add(v),
            $kind::Bytes(v) => $out.add(v),
            $kind::OptBytes(v) => $out.add(v),
            $kind::Int(v) => $out.add(v),
            $kind::OptInt(v) => $out.add(v),
            $kind::Text(v) => $out.add(v),
            $kind::OptText(v) => $out.add(v),
        }
        .map_err(|source| Error::internal("binding a value", source))
    };
}

pub(super) fn pg_args(args: Vec<Arg>) -> Result<PgArguments> {
    let mut out = PgArguments::default();
    pg_add(&mut out, args)?;
    Ok(out)
}

pub(super) fn pg_add(out: &mut PgArguments, args: Vec<Arg>) -> Result<()> {
    args.into_iter().try_for_each(|arg| bind!(out, Arg, arg))
}

pub(super) fn pg_add_columns(out: &mut PgArguments, rows: Rows) -> Result<()> {
    rows.into_iter()
        .try_for_each(|(_, column)| bind!(out, Column, column))
}

pub(super) fn sqlite_args(args: Vec<Arg>) -> Result<SqliteArguments> {
    let mut out = SqliteArguments::default();
    args.into_iter().try_for_each(|arg| bind!(out, Arg, arg))?;
    Ok(out)
}

/// The table `i` of these rows, its values numbered from `after + 1`.
pub(super) fn pg_table(rows: &Rows, after: usize) -> String {
    let sources: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(n, (_, column))| format!("${}::{}[]", after + n + 1, column.pg_type()))
        .collect();
    format!(
        "i ({}) AS (SELECT * FROM unnest({}))",
        heading(rows),
        sources.join(", ")
    )
}

pub(super) fn pg_over(
    rows: Rows,
    statement: &str,
    args: Vec<Arg>,
) -> Result<Option<(String, PgArguments)>> {
    if height(&rows) == 0 {
        return Ok(None);
    }
    let sql = format!(
        "WITH {} {}",
        pg_table(&rows, 0),
        number(statement, rows.len())
    );
    let mut all = PgArguments::default();
    pg_add_columns(&mut all, rows)?;
    pg_add(&mut all, args)?;
    Ok(Some((sql, all)))
}

/// `statement` over a list of values, in as many parts as SQLite needs.
pub(super) fn values(mut rows: Rows, statement: &str, args: &[Arg]) -> Vec<(String, Vec<Arg>)> {
    let height = height(&rows);
    let width = rows.len().max(1);
    let heading = heading(&rows);
    let step = (SQLITE_VALUES / width).max(1);
    let mut out = Vec::new();
    let mut from = 0;
    while from < height {
        let to = height.min(from + step);
        let line = format!("({})", vec!["?"; width].join(","));
        let lines = vec![line.as_str(); to - from].join(",");
        let sql = format!("WITH i ({heading}) AS (VALUES {lines}) {statement}");
        let mut all = Vec::with_capacity((to - from) * width + args.len());
        for row in from..to {
            all.extend(rows.iter_mut().map(|(_, column)| column.take(row)));
        }
        all.extend_from_slice(args);
        out.push((sql, all));
        from = to;
    }
    out
}
