//! Time partitions on PostgreSQL.
//!
//! Owns: making the monthly partitions of `event` and `delivery_history` ahead of time. A default partition catches what
//! no partition covers, so that a server that was off for long still writes. On SQLite there is nothing to do.

use time::{Date, Month};

use super::Store;
use super::sql::args;
use crate::clock::Micros;
use crate::error::{Error, Result};

/// Partitioned tables and their time column.
const TABLES: [&str; 2] = ["event", "delivery_history"];
/// Months ahead of the present one.
const AHEAD: usize = 2;

/// Makes the partitions of this month and the next two, where they are missing.
pub(crate) async fn ensure(store: &Store) -> Result<()> {
    if !store.is_postgres() {
        return Ok(());
    }
    let mut month = first_of_month(store.clock().now())?;
    // The present month began in the default partition on a new database; only months without rows there can be split off.
    for _ in 0..=AHEAD {
        let next = following(month)?;
        for table in TABLES {
            make(store, table, month, next).await?;
        }
        month = next;
    }
    Ok(())
}

async fn make(store: &Store, table: &str, from: Date, to: Date) -> Result<()> {
    let name = format!("{table}_{:04}_{:02}", from.year(), u8::from(from.month()));
    let mut tx = store.begin().await?;
    let there = tx
        .query_one(
            "SELECT CAST(1 AS bigint) FROM pg_class WHERE relname = ?",
            args![name.as_str()],
        )
        .await?;
    if there.is_some() {
        return tx.rollback().await;
    }
    let column = if table == "event" {
        "at"
    } else {
        "finished_at"
    };
    let (from, to) = (micros(from), micros(to));
    let covered = tx
        .query_one(
            &format!("SELECT CAST(1 AS bigint) FROM {table}_default WHERE {column} >= ? AND {column} < ? LIMIT 1"),
            args![from, to],
        )
        .await?;
    if covered.is_some() {
        // These rows are where they are; the month stays in the default partition.
        return tx.rollback().await;
    }
    let made = tx
        .execute(
            &format!("CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ({from}) TO ({to})"),
            args![],
        )
        .await;
    match made {
        Ok(_) => tx.commit().await,
        // Another node was faster, or a row arrived; the next round looks again.
        Err(_) => tx.rollback().await,
    }
}

fn first_of_month(now: Micros) -> Result<Date> {
    time::OffsetDateTime::from_unix_timestamp(now / 1_000_000)
        .and_then(|at| at.date().replace_day(1))
        .map_err(|source| Error::internal("reading the calendar", source))
}

fn following(month: Date) -> Result<Date> {
    let (year, next) = match month.month() {
        Month::December => (month.year() + 1, Month::January),
        other => (month.year(), other.next()),
    };
    Date::from_calendar_date(year, next, 1)
        .map_err(|source| Error::internal("reading the calendar", source))
}

fn micros(day: Date) -> Micros {
    day.midnight().assume_utc().unix_timestamp() * 1_000_000
}
