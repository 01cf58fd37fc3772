//! A database of one server under test, on either back end, and a look into it from outside.
//!
//! Owns the choice of back end and reading by the back end's own command-line client. A suite looks in while the server
//! is down, or asks for nothing that changes; it never writes, but a bench that fills a history.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result, bail};

use crate::postgres::PostgresServer;

/// The kinds of databases that the server runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackEnd {
    /// A file in the server's folder.
    Sqlite,
    /// A private PostgreSQL server.
    Postgres,
}

impl BackEnd {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// One database.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    Server(Arc<PostgresServer>, String),
}

impl TestDatabase {
    /// The file that a server in the folder `dir` will make.
    #[must_use]
    pub fn sqlite(dir: &Path) -> Self {
        Self {
            place: Place::File(dir.join("pomona.db")),
        }
    }

    /// A new database named `name` on a private server.
    ///
    /// # Errors
    /// The database cannot be created.
    pub fn postgres(server: &Arc<PostgresServer>, name: &str) -> Result<Self> {
        server.create_database(name)?;
        Ok(Self {
            place: Place::Server(Arc::clone(server), name.to_owned()),
        })
    }

    /// Which back end it is on.
    #[must_use]
    pub const fn back_end(&self) -> BackEnd {
        match self.place {
            Place::File(_) => BackEnd::Sqlite,
            Place::Server(..) => BackEnd::Postgres,
        }
    }

    /// The setting that names it, where the server's default does not.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        match &self.place {
            Place::File(_) => None,
            Place::Server(server, name) => Some(server.url(name)),
        }
    }

    /// An expression for the UUID in `column` as 32 lower-case hex digits.
    #[must_use]
    pub fn uuid_text(&self, column: &str) -> String {
        match self.back_end() {
            BackEnd::Sqlite => format!("lower(hex({column}))"),
            BackEnd::Postgres => format!("replace({column}::text, '-', '')"),
        }
    }

    /// Runs SQL and gives the rows as text; no value may hold `|` or a line feed.
    ///
    /// # Errors
    /// The client is missing, or the statement failed; the error carries its message.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let text = match &self.place {
            Place::File(path) => sqlite(path, sql)?,
            Place::Server(server, name) => server.psql(name, sql)?,
        };
        Ok(text
            .lines()
            .map(|line| line.split('|').map(ToOwned::to_owned).collect())
            .collect())
    }
}

fn sqlite(path: &Path, sql: &str) -> Result<String> {
    let output = Command::new("sqlite3")
        .args([
            "-batch",
            "-bail",
            "-noheader",
            "-list",
            "-cmd",
            ".timeout 10000",
        ])
        .arg(path)
        .arg(sql)
        .output()
        .context("run sqlite3; on Debian: apt-get install sqlite3")?;
    if !output.status.success() {
        bail!(
            "sqlite3: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("sqlite3 printed no UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_both_back_ends_read_alike() {
        let folder = std::env::temp_dir().join(format!("pomona-database-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let server = Arc::new(PostgresServer::start_temporary().unwrap());
        for database in [
            TestDatabase::sqlite(&folder),
            TestDatabase::postgres(&server, "orchard").unwrap(),
        ] {
            database
                .query("create table tree (name text, age integer)")
                .unwrap();
            database
                .query("insert into tree values ('apple', 3), ('pear', 5)")
                .unwrap();
            let rows = database
                .query("select name, age from tree order by age")
                .unwrap();
            assert_eq!(rows, [["apple", "3"], ["pear", "5"]]);
            assert!(database.query("select * from nothing").is_err());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
