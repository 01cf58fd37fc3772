//! One thin layer over the two SQL drivers, for the hot path.
//!
//! Owns: binding values, reading rows, and the one trick that makes many rows one statement: a `WITH` table
//! that is an `unnest` of arrays on PostgreSQL (one text and one plan for every size) and a `VALUES` list on
//! SQLite. Never decides anything; holds no statement of its own.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Executor, Postgres, Row as _, SqlSafeStr, Sqlite};
use uuid::Uuid;

use crate::error::{Error, Result};

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

/// An open transaction on either engine.
pub(crate) enum Tx {
    Postgres(sqlx::Transaction<'static, Postgres>),
    Sqlite(sqlx::Transaction<'static, Sqlite>),
}

impl Tx {
    /// Whether this is PostgreSQL.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Runs a query; `?` marks a value.
    pub(crate) async fn query(&mut self, sql: &str, args: Vec<Arg>) -> Result<Vec<Row>> {
        match self {
            Self::Postgres(tx) => pg_query(tx, number(sql, 0), pg_args(args)?).await,
            Self::Sqlite(tx) => sqlite_query(tx, sql.to_owned(), sqlite_args(args)?).await,
        }
    }

    /// Runs a query that gives at most one row.
    pub(crate) async fn query_one(&mut self, sql: &str, args: Vec<Arg>) -> Result<Option<Row>> {
        Ok(self.query(sql, args).await?.into_iter().next())
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: &str, args: Vec<Arg>) -> Result<u64> {
        match self {
            Self::Postgres(tx) => {
                let query = sqlx::query_with(AssertSqlSafe(number(sql, 0)), pg_args(args)?);
                Ok(tx.execute(query).await?.rows_affected())
            }
            Self::Sqlite(tx) => {
                let query = sqlx::query_with(AssertSqlSafe(sql.to_owned()), sqlite_args(args)?);
                Ok(tx.execute(query).await?.rows_affected())
            }
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
        match self {
            Self::Postgres(tx) => {
                let Some((sql, all)) = pg_over(rows, statement, args)? else {
                    return Ok(Vec::new());
                };
                pg_query(tx, sql, all).await
            }
            Self::Sqlite(tx) => {
                let mut out = Vec::new();
                for (sql, all) in sqlite_over(rows, statement, &args)? {
                    out.extend(sqlite_query(tx, sql, all).await?);
                }
                Ok(out)
            }
        }
    }

    /// As [`query_over`](Self::query_over), for a statement that changes rows; says how many.
    pub(crate) async fn execute_over(
        &mut self,
        rows: Rows,
        statement: &str,
        args: Vec<Arg>,
    ) -> Result<u64> {
        match self {
            Self::Postgres(tx) => {
                let Some((sql, all)) = pg_over(rows, statement, args)? else {
                    return Ok(0);
                };
                let query = sqlx::query_with(AssertSqlSafe(sql), all);
                Ok(tx.execute(query).await?.rows_affected())
            }
            Self::Sqlite(tx) => {
                let mut changed = 0;
                for (sql, all) in sqlite_over(rows, statement, &args)? {
                    let query = sqlx::query_with(AssertSqlSafe(sql), all);
                    changed += tx.execute(query).await?.rows_affected();
                }
                Ok(changed)
            }
        }
    }

    /// Makes everything durable.
    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Postgres(tx) => tx.commit().await?,
            Self::Sqlite(tx) => tx.commit().await?,
        }
        Ok(())
    }

    /// Undoes everything.
    pub(crate) async fn rollback(self) -> Result<()> {
        match self {
            Self::Postgres(tx) => tx.rollback().await?,
            Self::Sqlite(tx) => tx.rollback().await?,
        }
        Ok(())
    }
}

/// A row of either engine, read by position.
pub(crate) enum Row {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

macro_rules! readers {
    ($($name:ident -> $type:ty),+ $(,)?) => {$(
        pub(crate) fn $name(&self, at: usize) -> Result<$type> {
            match self {
                Self::Postgres(row) => row.try_get(at),
                Self::Sqlite(row) => row.try_get(at),
            }
            .map_err(|source| Error::internal("reading a row", source))
        }
    )+};
}

impl Row {
    readers! {
        int -> i64,
        opt_int -> Option<i64>,
        uuid -> Uuid,
        opt_uuid -> Option<Uuid>,
        bytes -> Vec<u8>,
        opt_bytes -> Option<Vec<u8>>,
        text -> String,
        opt_text -> Option<String>,
    }
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

fn pg_over(rows: Rows, statement: &str, args: Vec<Arg>) -> Result<Option<(String, PgArguments)>> {
    if height(&rows) == 0 {
        return Ok(None);
    }
    let width = rows.len();
    let sources: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(n, (_, column))| format!("${}::{}[]", n + 1, column.pg_type()))
        .collect();
    let sql = format!(
        "WITH i ({}) AS (SELECT * FROM unnest({})) {}",
        heading(&rows),
        sources.join(", "),
        number(statement, width)
    );
    let mut all = PgArguments::default();
    for (_, column) in rows {
        match column {
            Column::Uuid(v) => all.add(v),
            Column::OptUuid(v) => all.add(v),
            Column::Bytes(v) => all.add(v),
            Column::OptBytes(v) => all.add(v),
            Column::Int(v) => all.add(v),
            Column::OptInt(v) => all.add(v),
            Column::Text(v) => all.add(v),
            Column::OptText(v) => all.add(v),
        }
        .map_err(bind_error)?;
    }
    pg_add(&mut all, args)?;
    Ok(Some((sql, all)))
}

fn sqlite_over(
    mut rows: Rows,
    statement: &str,
    args: &[Arg],
) -> Result<Vec<(String, SqliteArguments)>> {
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
        let mut all = SqliteArguments::default();
        for row in from..to {
            let line = rows
                .iter_mut()
                .map(|(_, column)| column.take(row))
                .collect();
            sqlite_add(&mut all, line)?;
        }
        sqlite_add(&mut all, args.to_vec())?;
        out.push((sql, all));
        from = to;
    }
    Ok(out)
}
