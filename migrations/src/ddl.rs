//! Writes one DDL text for both engines.
//!
//! Owns the names of column types: `{uuid}`, `{bytes}`, `{int}` in a statement become what the engine at
//! hand calls them. Never holds a statement of its own.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend};

/// What a table needs beyond its columns on PostgreSQL.
pub(crate) enum Shape {
    /// An ordinary table.
    Plain,
    /// Short rows, changed all the time. PostgreSQL leaves room in each page; SQLite keeps the rows in the order of
    /// their key, so that a change touches one page less.
    Hot,
    /// Short rows that are written once; SQLite keeps them in the order of their key.
    InOrder,
    /// Partitioned on PostgreSQL by ranges of the named column of microseconds; begins with one default partition.
    ByTime(&'static str),
    /// As `ByTime`, with short rows that SQLite keeps in the order of their key.
    ByTimeInOrder(&'static str),
}

/// Creates the table `name` with the given columns and constraints.
pub(crate) async fn table(
    manager: &SchemaManager<'_>,
    name: &str,
    shape: Shape,
    columns: &str,
) -> Result<(), DbErr> {
    let backend = manager.get_database_backend();
    let columns = spell(backend, columns);
    let connection = manager.get_connection();
    if backend == DbBackend::Sqlite {
        let order = match shape {
            Shape::Hot | Shape::InOrder | Shape::ByTimeInOrder(_) => ", WITHOUT ROWID",
            Shape::Plain | Shape::ByTime(_) => "",
        };
        let sql = format!("CREATE TABLE {name} ({columns}) STRICT{order}");
        connection.execute_unprepared(&sql).await?;
        return Ok(());
    }
    match shape {
        Shape::Plain | Shape::InOrder => {
            let sql = format!("CREATE TABLE {name} ({columns})");
            connection.execute_unprepared(&sql).await?;
        }
        Shape::Hot => {
            let sql = format!("CREATE TABLE {name} ({columns}) WITH (fillfactor = 50)");
            connection.execute_unprepared(&sql).await?;
        }
        Shape::ByTime(column) | Shape::ByTimeInOrder(column) => {
            let sql = format!("CREATE TABLE {name} ({columns}) PARTITION BY RANGE ({column})");
            connection.execute_unprepared(&sql).await?;
            let sql = format!("CREATE TABLE {name}_default PARTITION OF {name} DEFAULT");
            connection.execute_unprepared(&sql).await?;
        }
    }
    Ok(())
}

/// Runs statements that read alike on both engines, such as `CREATE INDEX`.
pub(crate) async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let backend = manager.get_database_backend();
    for statement in statements {
        let sql = spell(backend, statement);
        manager.get_connection().execute_unprepared(&sql).await?;
    }
    Ok(())
}

fn spell(backend: DbBackend, text: &str) -> String {
    let (uuid, bytes, int) = match backend {
        DbBackend::Sqlite => ("BLOB", "BLOB", "INTEGER"),
        _ => ("uuid", "bytea", "bigint"),
    };
    text.replace("{uuid}", uuid)
        .replace("{bytes}", bytes)
        .replace("{int}", int)
}
