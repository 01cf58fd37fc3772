//! One thin layer over the two SQL drivers, for the hot path.
//!
//! Owns: binding values, reading rows, and the one trick that makes many rows one statement: a `WITH` table
//! that is an `unnest` of arrays on PostgreSQL (one text and one plan for every size) and, on SQLite, a `VALUES` list
//! or one run for each row. Never decides anything; holds no statement of its own. Long, since every kind of call stands
//! here for four kinds of connection; the texts of PostgreSQL and SQLite below it could move out.

use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Executor, Postgres, SqlSafeStr, Sqlite};
use uuid::Uuid;

use super::kept::Kept;
use super::lite::{Done, LiteTx, Step};
use crate::error::{Error, Result};

mod batch;
mod row;

pub(crate) use batch::Batch;
pub(crate) use row::Row;

/// A value to bind.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Uuid(Uuid),
    OptUuid(Option<Uuid>),
    Bytes(Vec<u8>),
    OptBytes(Option<Vec<u8>>),
    Int(i64),
    OptInt(Option<i64>),
    Text(String),
    OptText(Option<String>),
}

macro_rules! arg_from {
    ($($from:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$from> for Arg {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )+};
}

arg_from! {
    Uuid => Uuid,
    Option<Uuid> => OptUuid,
    Vec<u8> => Bytes,
    [u8; 32] => Bytes,
    &[u8] => Bytes,
    Option<Vec<u8>> => OptBytes,
    i64 => Int,
    u32 => Int,
    Option<i64> => OptInt,
    String => Text,
    &str => Text,
    Option<String> => OptText,
}

macro_rules! arg_from_id {
    ($($id:ident),+) => {$(
        impl From<crate::ids::$id> for Arg {
            fn from(value: crate::ids::$id) -> Self {
                Self::Uuid(value.0)
            }
        }
        impl From<Option<crate::ids::$id>> for Arg {
            fn from(value: Option<crate::ids::$id>) -> Self {
                Self::OptUuid(value.map(|id| id.0))
            }
        }
    )+};
}

arg_from_id!(
    TenantId,
    DeviceId,
    EnrollmentId,
    CommandId,
    GrantId,
    CertificateId,
    CaId,
    LinkId
);

/// `args![a, b, c]`: a list of values to bind, each converted.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::sql::Arg::from($value)),*] };
}
pub(crate) use args;

/// One column of a `WITH` table.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    Uuid(Vec<Uuid>),
    OptUuid(Vec<Option<Uuid>>),
    Bytes(Vec<Vec<u8>>),
    OptBytes(Vec<Option<Vec<u8>>>),
    Int(Vec<i64>),
    OptInt(Vec<Option<i64>>),
    Text(Vec<String>),
    OptText(Vec<Option<String>>),
}

impl Column {
    fn pg_type(&self) -> &'static str {
        match self {
            Self::Uuid(_) | Self::OptUuid(_) => "uuid",
            Self::Bytes(_) | Self::OptBytes(_) => "bytea",
            Self::Int(_) | Self::OptInt(_) => "bigint",
            Self::Text(_) | Self::OptText(_) => "text",
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Uuid(v) => v.len(),
            Self::OptUuid(v) => v.len(),
            Self::Bytes(v) => v.len(),
            Self::OptBytes(v) => v.len(),
            Self::Int(v) => v.len(),
            Self::OptInt(v) => v.len(),
            Self::Text(v) => v.len(),
            Self::OptText(v) => v.len(),
        }
    }

    fn take(&mut self, row: usize) -> Arg {
        fn at<T: Default>(list: &mut [T], row: usize) -> T {
            list.get_mut(row).map(std::mem::take).unwrap_or_default()
        }
        match self {
            Self::Uuid(v) => Arg::Uuid(at(v, row)),
            Self::OptUuid(v) => Arg::OptUuid(at(v, row)),
            Self::Bytes(v) => Arg::Bytes(at(v, row)),
            Self::OptBytes(v) => Arg::OptBytes(at(v, row)),
            Self::Int(v) => Arg::Int(at(v, row)),
            Self::OptInt(v) => Arg::OptInt(at(v, row)),
            Self::Text(v) => Arg::Text(at(v, row)),
            Self::OptText(v) => Arg::OptText(at(v, row)),
        }
    }
}

/// The rows that a statement refers to as `i`, column by column.
pub(crate) type Rows = Vec<(&'static str, Column)>;

/// SQLite takes this many values in one statement; larger sets of rows are split.
const SQLITE_VALUES: usize = 30_000;

/// An open transaction on either engine. Dropped before it is committed, it is undone.
pub(crate) enum Tx {
    Postgres(sqlx::Transaction<'static, Postgres>),
    /// On the batch writer's own connection.
    Kept(Kept),
    /// For reading only.
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    /// On the one connection that writes.
    Lite(LiteTx),
}

impl Tx {
    /// Whether this is PostgreSQL.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_) | Self::Kept(_))
    }

    /// The PostgreSQL connection, or what else it is.
    fn engine(&mut self) -> Engine<'_> {
        match self {
            Self::Postgres(tx) => Engine::Postgres(tx),
            Self::Kept(tx) => Engine::Postgres(tx),
            Self::Sqlite(tx) => Engine::Sqlite(tx),
            Self::Lite(tx) => Engine::Lite(tx),
        }
    }

    /// Runs a query; `?` marks a value.
    pub(crate) async fn query(&mut self, sql: &str, args: Vec<Arg>) -> Result<Vec<Row>> {
        match self.engine() {
            Engine::Postgres(tx) => pg_query(tx, number(sql, 0), pg_args(args)?).await,
            Engine::Sqlite(tx) => sqlite_query(tx, sql.to_owned(), sqlite_args(args)?).await,
            Engine::Lite(tx) => Ok(lite_rows(tx.run(vec![once(sql, args)]).await?)),
        }
    }

    /// Runs a query that gives at most one row.
    pub(crate) async fn query_one(&mut self, sql: &str, args: Vec<Arg>) -> Result<Option<Row>> {
        Ok(self.query(sql, args).await?.into_iter().next())
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: &str, args: Vec<Arg>) -> Result<u64> {
        match self.engine() {
            Engine::Postgres(tx) => {
                let query = sqlx::query_with(AssertSqlSafe(number(sql, 0)), pg_args(args)?);
                Ok(tx.execute(query).await?.rows_affected())
            }
            Engine::Sqlite(tx) => {
                let query = sqlx::query_with(AssertSqlSafe(sql.to_owned()), sqlite_args(args)?);
                Ok(tx.execute(query).await?.rows_affected())
            }
            Engine::Lite(tx) => Ok(lite_changed(&tx.run(vec![once(sql, args)]).await?)),
        }
    }

    /// Runs `statement` over `rows`, known to it as the table `i`; `args` follow for its own `?`.
    /// With no rows it does nothing.
    pub(crate) async fn query_over(
        &mut self,
        rows: Rows,
        statement: &str,
        args: Vec<Arg>,
    ) -> Result<Vec<Row>> {
        match self.engine() {
            Engine::Postgres(tx) => {
                let Some((sql, all)) = pg_over(rows, statement, args)? else {
                    return Ok(Vec::new());
                };
                pg_query(tx, sql, all).await
            }
            Engine::Sqlite(tx) => {
                let mut out = Vec::new();
                for (sql, all) in values(rows, statement, &args) {
                    out.extend(sqlite_query(tx, sql, sqlite_args(all)?).await?);
                }
                Ok(out)
            }
            Engine::Lite(tx) => {
                let steps = values(rows, statement, &args).into_iter();
                let steps = steps.map(|(sql, all)| once(&sql, all)).collect();
                Ok(lite_rows(tx.run(steps).await?))
            }
        }
    }

    /// As [`query_over`](Self::query_over), for a statement that treats each row of `i` by itself: no order, no
    /// grouping, no limit over all of them. SQLite then needs one plan for every number of rows.
    pub(crate) async fn query_each(
        &mut self,
        rows: Rows,
        statement: &str,
        args: Vec<Arg>,
    ) -> Result<Vec<Row>> {
        match self {
            Self::Lite(tx) => Ok(lite_rows(tx.run(vec![each(rows, statement, &args)]).await?)),
            other => other.query_over(rows, statement, args).await,
        }
    }

    /// Two queries of the kind of [`query_each`](Self::query_each), the second on a snapshot that is not older than the
    /// first one's locks.
    pub(crate) async fn query_two(
        &mut self,
        first: (Rows, &str),
        second: (Rows, &str),
    ) -> Result<(Vec<Row>, Vec<Row>)> {
        if let Self::Lite(tx) = self {
            let steps = vec![each(first.0, first.1, &[]), each(second.0, second.1, &[])];
            let mut done = tx.run(steps).await?;
            let rest = done.split_off(done.len().min(1));
            return Ok((lite_rows(done), lite_rows(rest)));
        }
        let found = self.query_over(first.0, first.1, Vec::new()).await?;
        Ok((
            found,
            self.query_over(second.0, second.1, Vec::new()).await?,
        ))
    }

    /// As [`query_each`](Self::query_each), for a statement that changes rows; says how many.
    pub(crate) async fn execute_over(
        &mut self,
        rows: Rows,
        statement: &str,
        args: Vec<Arg>,
    ) -> Result<u64> {
        match self.engine() {
            Engine::Postgres(tx) => {
                let Some((sql, all)) = pg_over(rows, statement, args)? else {
                    return Ok(0);
                };
                let query = sqlx::query_with(AssertSqlSafe(sql), all);
                Ok(tx.execute(query).await?.rows_affected())
            }
            Engine::Sqlite(tx) => {
                let mut changed = 0;
                for (sql, all) in values(rows, statement, &args) {
                    let query = sqlx::query_with(AssertSqlSafe(sql), sqlite_args(all)?);
                    changed += tx.execute(query).await?.rows_affected();
                }
                Ok(changed)
            }
            Engine::Lite(tx) => {
                let steps = vec![each(rows, statement, &args)];
                Ok(lite_changed(&tx.run(steps).await?))
            }
        }
    }

    /// Runs all of a batch.
    pub(crate) async fn run(&mut self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        match self.engine() {
            Engine::Lite(tx) => {
                tx.run(batch.steps()).await?;
            }
            Engine::Sqlite(_) => {
                return Err(Error::internal("writing", "the transaction is for reading"));
            }
            Engine::Postgres(tx) => {
                let (sql, all) = batch.statement()?;
                tx.execute(sqlx::query_with(AssertSqlSafe(sql), all))
                    .await?;
            }
        }
        Ok(())
    }

    /// Runs all of a batch, and makes everything durable.
    pub(crate) async fn finish(self, batch: Batch) -> Result<()> {
        match self {
            Self::Lite(tx) => tx.finish(batch.steps()).await,
            mut other => match other.run(batch).await {
                Ok(()) => other.commit().await,
                Err(error) => {
                    // The error that matters is the first one.
                    let _ = other.rollback().await;
                    Err(error)
                }
            },
        }
    }

    /// Makes everything durable.
    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Postgres(tx) => tx.commit().await?,
            Self::Kept(tx) => tx.commit().await?,
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Lite(tx) => tx.finish(Vec::new()).await?,
        }
        Ok(())
    }

    /// Undoes everything.
    pub(crate) async fn rollback(self) -> Result<()> {
        match self {
            Self::Postgres(tx) => tx.rollback().await?,
            Self::Kept(tx) => tx.rollback().await?,
            Self::Sqlite(tx) => tx.rollback().await?,
            Self::Lite(tx) => tx.rollback().await?,
        }
        Ok(())
    }
}

/// What a transaction runs on.
enum Engine<'a> {
    Postgres(&'a mut sqlx::PgConnection),
    Sqlite(&'a mut sqlx::SqliteConnection),
    Lite(&'a mut LiteTx),
}

fn lite_rows(done: Vec<Done>) -> Vec<Row> {
    let rows = done.into_iter().flat_map(|done| done.rows);
    rows.map(Row::Lite).collect()
}

fn lite_changed(done: &[Done]) -> u64 {
    done.iter().map(|done| done.changed).sum()
}

fn once(sql: &str, args: Vec<Arg>) -> Step {
    Step {
        sql: sql.to_owned(),
        runs: vec![args],
    }
}

/// One statement that is run for each row.
fn each(mut rows: Rows, statement: &str, args: &[Arg]) -> Step {
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

async fn pg_query(
    connection: &mut sqlx::PgConnection,
    sql: String,
    args: PgArguments,
) -> Result<Vec<Row>> {
    let rows = connection
        .fetch_all(sqlx::query_with(AssertSqlSafe(sql).into_sql_str(), args))
        .await?;
    Ok(rows.into_iter().map(Row::Postgres).collect())
}

async fn sqlite_query(
    connection: &mut sqlx::SqliteConnection,
    sql: String,
    args: SqliteArguments,
) -> Result<Vec<Row>> {
    let rows = connection
        .fetch_all(sqlx::query_with(AssertSqlSafe(sql).into_sql_str(), args))
        .await?;
    Ok(rows.into_iter().map(Row::Sqlite).collect())
}

/// Turns each `?` into `$n`, counting from `after + 1`.
fn number(sql: &str, after: usize) -> String {
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

fn bind_error(source: sqlx::error::BoxDynError) -> Error {
    Error::internal("binding a value", source)
}

fn pg_args(args: Vec<Arg>) -> Result<PgArguments> {
    let mut out = PgArguments::default();
    pg_add(&mut out, args)?;
    Ok(out)
}

fn pg_add(out: &mut PgArguments, args: Vec<Arg>) -> Result<()> {
    for arg in args {
        match arg {
            Arg::Uuid(v) => out.add(v),
            Arg::OptUuid(v) => out.add(v),
            Arg::Bytes(v) => out.add(v),
            Arg::OptBytes(v) => out.add(v),
            Arg::Int(v) => out.add(v),
            Arg::OptInt(v) => out.add(v),
            Arg::Text(v) => out.add(v),
            Arg::OptText(v) => out.add(v),
        }
        .map_err(bind_error)?;
    }
    Ok(())
}

fn sqlite_args(args: Vec<Arg>) -> Result<SqliteArguments> {
    let mut out = SqliteArguments::default();
    sqlite_add(&mut out, args)?;
    Ok(out)
}

fn sqlite_add(out: &mut SqliteArguments, args: Vec<Arg>) -> Result<()> {
    for arg in args {
        match arg {
            Arg::Uuid(v) => out.add(v),
            Arg::OptUuid(v) => out.add(v),
            Arg::Bytes(v) => out.add(v),
            Arg::OptBytes(v) => out.add(v),
            Arg::Int(v) => out.add(v),
            Arg::OptInt(v) => out.add(v),
            Arg::Text(v) => out.add(v),
            Arg::OptText(v) => out.add(v),
        }
        .map_err(bind_error)?;
    }
    Ok(())
}

fn height(rows: &Rows) -> usize {
    rows.first().map(|(_, column)| column.len()).unwrap_or(0)
}

fn heading(rows: &Rows) -> String {
    let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// The table `i` of these rows, its values numbered from `after + 1`.
fn pg_table(rows: &Rows, after: usize) -> String {
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

fn pg_add_columns(out: &mut PgArguments, rows: Rows) -> Result<()> {
    for (_, column) in rows {
        match column {
            Column::Uuid(v) => out.add(v),
            Column::OptUuid(v) => out.add(v),
            Column::Bytes(v) => out.add(v),
            Column::OptBytes(v) => out.add(v),
            Column::Int(v) => out.add(v),
            Column::OptInt(v) => out.add(v),
            Column::Text(v) => out.add(v),
            Column::OptText(v) => out.add(v),
        }
        .map_err(bind_error)?;
    }
    Ok(())
}

fn pg_over(rows: Rows, statement: &str, args: Vec<Arg>) -> Result<Option<(String, PgArguments)>> {
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
fn values(mut rows: Rows, statement: &str, args: &[Arg]) -> Vec<(String, Vec<Arg>)> {
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
