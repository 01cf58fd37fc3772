//! One thin layer over three SQL drivers, for the hot path.
//!
//! Owns: what a transaction can be asked, whatever it runs on: PostgreSQL over the pool or over the batch writer's own
//! connection, SQLite over the pool (reading) or over the one connection that writes. Never decides anything; holds no
//! statement of its own. The texts are made in `text` and `batch`.

use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Executor, Postgres, SqlSafeStr, Sqlite};

use super::fault;
use super::kept::Kept;
use super::lite::{Done, LiteTx};
use crate::error::{Error, Result};

mod batch;
mod row;
mod text;
pub(crate) mod value;

pub(crate) use batch::Batch;
pub(crate) use row::Row;
use text::{each, number, once, pg_args, pg_over, sqlite_args, values};
pub(crate) use value::{Arg, Column, Rows, args};

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
            Engine::Sqlite(_) => Err(reading()),
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
            Engine::Sqlite(_) => Err(reading()),
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
            Engine::Sqlite(_) => return Err(reading()),
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
                    other.give_up(&error).await;
                    Err(error)
                }
            },
        }
    }

    /// Undoes everything after `error`, which is what matters: that undoing fails too says nothing new. When the database
    /// is out of reach the connection may be what is wrong; then it is closed, and the next transaction gets a new one.
    pub(crate) async fn give_up(self, error: &Error) {
        if !fault::out_of_reach(error) {
            let _ = self.rollback().await;
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

/// On SQLite a transaction of the pool does not write: it would stand in the way of the one connection that does.
fn reading() -> Error {
    Error::internal("writing", "the transaction is for reading")
}

fn lite_rows(done: Vec<Done>) -> Vec<Row> {
    let rows = done.into_iter().flat_map(|done| done.rows);
    rows.map(Row::Lite).collect()
}

fn lite_changed(done: &[Done]) -> u64 {
    done.iter().map(|done| done.changed).sum()
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
