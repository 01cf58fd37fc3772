//! What a database's error means.
//!
//! Owns: the reading of each driver's error codes, so that nobody else has to know a driver.

use crate::error::{Error, Source};

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        unavailable(source)
    }
}

impl From<sea_orm::DbErr> for Error {
    fn from(source: sea_orm::DbErr) -> Self {
        Self::storage(source)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        unavailable(source)
    }
}

/// The database did not answer; or it has no room, which an administrator can change.
fn unavailable(source: impl Into<Source>) -> Error {
    let error = Error::storage(source);
    match (code(&error).as_deref(), error) {
        (Some("53100" | "13"), Error::Unavailable { source, .. }) => Error::Unavailable {
            message: "the disk of the database is full",
            source,
        },
        (_, error) => error,
    }
}

/// Whether the transaction lost a race that another try may win.
pub(crate) fn lost_a_race(error: &Error) -> bool {
    matches!(
        code(error).as_deref(),
        // PostgreSQL: serialization failure, deadlock, unique violation by a racing node; SQLite: busy.
        Some("40001" | "40P01" | "23505" | "5" | "517")
    )
}

/// Whether the database itself is out of reach or out of space, so that trying each request alone is of no use.
pub(crate) fn out_of_reach(error: &Error) -> bool {
    let no_answer = matches!(
        cause(error),
        Some(
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed,
        )
    );
    no_answer
        || matches!(
            code(error).as_deref(),
            // PostgreSQL: disk full, too many connections, shutting down, crash, cannot connect now, read only.
            Some("53100" | "53300" | "57P01" | "57P02" | "57P03" | "25006")
                // SQLite: full, read only, cannot open, I/O error, and the I/O errors of reading, writing, flushing,
                // shared memory.
                | Some("13" | "8" | "14" | "10" | "266" | "778" | "1034" | "1290" | "1546" | "4874" | "522")
        )
}

/// Whether a connection is refused in a way that passes: the database is starting, or has no place at the moment.
pub(crate) fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some("53300" | "57P03"))
        }
        _ => false,
    }
}

fn cause<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    std::error::Error::source(error)?.downcast_ref()
}

fn code(error: &Error) -> Option<String> {
    if let Some(sqlx::Error::Database(error)) = cause::<sqlx::Error>(error) {
        return error.code().map(|code| code.into_owned());
    }
    let code = cause::<rusqlite::Error>(error)?.sqlite_error()?;
    Some(code.extended_code.to_string())
}
