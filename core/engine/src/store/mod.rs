//! Where state lives: SQLite or PostgreSQL.
//!
//! Owns: the connections, the checks at start-up, and every SQL statement. Decides nothing: rules are pure
//! functions in `queue` and `enrollment`, and the writer hands their effects down here. sea-orm is used only
//! under this folder.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use pomona_migrations::{Migrator, MigratorTrait};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Executor, PgPool, SqlitePool};

use crate::clock::{Clock, Random};
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::seal::{Keyring, TenantKeys};

pub(crate) mod admin_access;
pub(crate) mod admin_audit;
pub(crate) mod admin_commands;
pub(crate) mod admin_devices;
pub(crate) mod admin_events;
pub(crate) mod admin_groups;
pub(crate) mod assess;
pub(crate) mod brake;
pub(crate) mod certificates;
pub(crate) mod checkin;
pub(crate) mod entity;
pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod fault;
pub(crate) mod grants;
pub(crate) mod hot;
pub(crate) mod identity;
mod kept;
mod lite;
pub(crate) mod observations;
pub(crate) mod outbox;
pub(crate) mod partitions;
pub(crate) mod plugin_order;
pub(crate) mod plugin_trials;
pub(crate) mod plugin_versions;
pub(crate) mod plugins;
pub(crate) mod profiles;
pub(crate) mod push;
pub(crate) mod queue;
pub(crate) mod revocations;
pub(crate) mod rounds;
pub(crate) mod snapshot;
pub(crate) mod sql;
#[cfg(test)]
mod tests;
pub(crate) mod trial_counts;
pub(crate) mod upkeep;
pub(crate) mod values;

use kept::Keeper;
use lite::Lite;
use sql::Tx;

/// Whoever waits longer for a connection is told that the database does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: String,
    /// Connections for reading and, on PostgreSQL, for administration (the writer has its own): 1 to 64.
    pub connections: u32,
    /// Added to every commit of the writer; for measuring what a slow disk would do.
    pub commit_delay: Duration,
}

#[derive(Clone)]
enum Pools {
    Postgres { writer: Keeper, general: PgPool },
    Sqlite { writer: Lite, general: SqlitePool },
}

/// The database, and what is needed to read it: keys, clock and randomness.
#[derive(Clone)]
pub struct Store {
    pools: Pools,
    orm: DatabaseConnection,
    keys: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    commit_delay: Duration,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("postgres", &self.is_postgres())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Connects, checks that the database keeps what it acknowledges, and runs the migrations.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that is neither engine's, or a PostgreSQL whose `fsync`,
    /// `full_page_writes` or `synchronous_commit` is off; [`Error::Unavailable`] when it cannot be reached.
    pub async fn connect(
        options: &StoreOptions,
        keys: Arc<Keyring>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self> {
        let pools = if let Some(path) = options.url.strip_prefix("sqlite:") {
            sqlite(path.trim_start_matches("//"), options.connections).await?
        } else if options.url.starts_with("postgres://") || options.url.starts_with("postgresql://")
        {
            postgres(&options.url, options.connections).await?
        } else {
            return Err(Error::Invalid(
                "the database URL must begin with sqlite: or postgres://".into(),
            ));
        };
        let orm = match &pools {
            Pools::Postgres { general, .. } => {
                SqlxPostgresConnector::from_sqlx_postgres_pool(general.clone())
            }
            Pools::Sqlite { general, .. } => {
                SqlxSqliteConnector::from_sqlx_sqlite_pool(general.clone())
            }
        };
        let store = Self {
            pools,
            orm,
            keys,
            clock,
            random,
            commit_delay: options.commit_delay,
        };
        store.migrate().await?;
        Ok(store)
    }

    async fn migrate(&self) -> Result<()> {
        Migrator::up(&self.orm, None)
            .await
            .map_err(|source| Error::internal("migrating the database", source))
    }

    /// Whether this is PostgreSQL (and not SQLite).
    pub fn is_postgres(&self) -> bool {
        matches!(self.pools, Pools::Postgres { .. })
    }

    /// The connection for everything that is not the hot path.
    pub(crate) fn orm(&self) -> &DatabaseConnection {
        &self.orm
    }

    /// The present time.
    pub(crate) fn now(&self) -> crate::clock::Micros {
        self.clock.now()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn random(&self) -> &Arc<dyn Random> {
        &self.random
    }

    /// The key, derived from the root key, that vouches for native code of plugins which is kept on the disk.
    #[must_use]
    pub fn plugin_code_key(&self) -> [u8; 32] {
        self.keys.operator().hash("plugin code", b"")
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keys
    }

    pub(crate) fn commit_delay(&self) -> Duration {
        self.commit_delay
    }

    /// Begins a transaction that will write. On SQLite every writer takes its turn on one connection; a second would only
    /// wait for the first.
    pub(crate) async fn begin(&self) -> Result<Tx> {
        Ok(match &self.pools {
            Pools::Postgres { general, .. } => Tx::Postgres(general.begin().await?),
            Pools::Sqlite { writer, .. } => Tx::Lite(writer.begin(PATIENCE).await?),
        })
    }

    /// As [`begin`](Self::begin), on the batch writer's own connection with its pinned plans.
    pub(crate) async fn begin_group(&self) -> Result<Tx> {
        Ok(match &self.pools {
            Pools::Postgres { writer, .. } => Tx::Kept(writer.begin(PATIENCE).await?),
            Pools::Sqlite { writer, .. } => Tx::Lite(writer.begin(PATIENCE).await?),
        })
    }

    /// Begins a transaction that only reads.
    pub(crate) async fn begin_read(&self) -> Result<Tx> {
        Ok(match &self.pools {
            Pools::Postgres { general, .. } => Tx::Postgres(general.begin().await?),
            Pools::Sqlite { general, .. } => Tx::Sqlite(general.begin().await?),
        })
    }

    /// The keys of a tenant, unwrapped at first use.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a tenant that does not exist.
    pub(crate) async fn keys(&self, tenant: TenantId) -> Result<Arc<TenantKeys>> {
        if let Some(keys) = self.keys.cached(tenant) {
            return Ok(keys);
        }
        let mut tx = self.begin_read().await?;
        let row = tx
            .query_one(
                "SELECT data_key FROM tenant WHERE id = ?",
                sql::args![tenant],
            )
            .await?
            .ok_or(Error::NotFound("the tenant"))?;
        tx.rollback().await?;
        self.keys.unwrap(tenant, &row.bytes(0)?)
    }

    /// The newest time that the database has seen, or 0.
    pub(crate) async fn newest_time(&self) -> Result<crate::clock::Micros> {
        let mut tx = self.begin_read().await?;
        let mut newest = 0;
        for sql in [
            "SELECT max(last_seen_at) FROM channel",
            "SELECT max(created_at) FROM command",
        ] {
            if let Some(row) = tx.query_one(sql, sql::args![]).await? {
                newest = newest.max(row.opt_int(0)?.unwrap_or(0));
            }
        }
        tx.rollback().await?;
        Ok(newest)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<()> {
        match &self.pools {
            Pools::Postgres { general, .. } => general.execute("SELECT 1").await.map(|_| ())?,
            Pools::Sqlite { general, .. } => general.execute("SELECT 1").await.map(|_| ())?,
        }
        Ok(())
    }

    /// Closes every connection.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Postgres { writer, general } => {
                writer.close().await;
                general.close().await;
            }
            Pools::Sqlite { writer, general } => {
                general.close().await;
                writer.close().await;
            }
        }
    }
}

/// How the writing connection of SQLite is set up: what was committed has been flushed.
const WRITER_PRAGMAS: &[(&str, &str)] = &[
    ("journal_mode", "WAL"),
    ("synchronous", "FULL"),
    // KiB. A larger one costs at each commit: SQLite walks through all of it after a page was split.
    ("cache_size", "-16384"),
    ("temp_store", "MEMORY"),
];

/// How the writing connection of PostgreSQL is set up. The planner sees arrays of unknown length and small tables; left
/// alone it chooses sequential scans and hash joins. Nested loops over the arrays are always right here.
const WRITER_SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET enable_seqscan = off; SET synchronous_commit = on; SET lock_timeout = '10s'";

async fn sqlite(path: &str, connections: u32) -> Result<Pools> {
    if path.is_empty() || path.contains(":memory:") {
        return Err(Error::Invalid(
            "sqlite: needs the path of a file, since several connections share it".into(),
        ));
    }
    let options = SqliteConnectOptions::new()
        .filename(Path::new(path))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE)
        .auto_vacuum(SqliteAutoVacuum::None)
        .pragma("cache_size", "-16384")
        .pragma("temp_store", "MEMORY")
        .pragma("wal_autocheckpoint", "16000");
    let general = SqlitePoolOptions::new()
        .acquire_timeout(PATIENCE)
        .max_connections(connections.max(1))
        .connect_with(options)
        .await?;
    let writer = Lite::open(Path::new(path), PATIENCE, WRITER_PRAGMAS).await?;
    Ok(Pools::Sqlite { writer, general })
}

async fn postgres(url: &str, connections: u32) -> Result<Pools> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|source| Error::Invalid(format!("the database URL cannot be read: {source}")))?
        .application_name("pomona")
        .statement_cache_capacity(500);
    let writer = Keeper::open(options.clone(), WRITER_SETTINGS, PATIENCE).await?;
    let general = PgPoolOptions::new()
        .acquire_timeout(PATIENCE)
        .max_connections(connections.max(1))
        .connect_with(options)
        .await?;
    for (name, wanted) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
    ] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(name)
            .fetch_one(&general)
            .await?;
        let stronger = name == "synchronous_commit" && value.starts_with("remote");
        if value != wanted && !stronger {
            return Err(Error::Invalid(format!(
                "PostgreSQL runs with {name} = {value}; it must be {wanted}, or acknowledged work could be lost"
            )));
        }
    }
    Ok(Pools::Postgres { writer, general })
}
