//! The batch writer's own connection to PostgreSQL.
//!
//! Owns: the connection, which stays open with its prepared statements, and the turn to use it. A pool asks the database
//! whether it is still there each time a connection comes and goes; here the statement that begins a transaction
//! asks. Holds no statement of its own but those that begin and end a transaction.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::fault;
use crate::error::{Error, Result};

/// Between tries to connect to a database that is starting.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The way to the connection.
#[derive(Clone)]
pub(crate) struct Keeper {
    slot: Arc<Mutex<Option<PgConnection>>>,
    options: Arc<PgConnectOptions>,
    /// Run on each new connection.
    settings: &'static str,
}

impl Keeper {
    /// Connects.
    pub(crate) async fn open(
        options: PgConnectOptions,
        settings: &'static str,
        patience: Duration,
    ) -> Result<Self> {
        let keeper = Self {
            slot: Arc::default(),
            options: Arc::new(options),
            settings,
        };
        *keeper.slot.lock().await = Some(keeper.connect_in(patience).await?);
        Ok(keeper)
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        connection.execute(self.settings).await?;
        Ok(connection)
    }

    /// Connects to a database that may just be starting, for at most `patience`.
    async fn connect_in(&self, patience: Duration) -> Result<PgConnection, sqlx::Error> {
        // What kept it away says more than that time is up.
        let mut reason = sqlx::Error::PoolTimedOut;
        let tries = async {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.connect().await {
                    Err(error) if fault::passes(&error) => reason = error,
                    other => return other,
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        match tokio::time::timeout(patience, tries).await {
            Ok(connected) => connected,
            Err(_) => Err(reason),
        }
    }

    /// Waits for the turn and begins a transaction, over a new connection when the old one is gone.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when turn or connection take longer than `patience` each, or the database does not answer.
    pub(crate) async fn begin(&self, patience: Duration) -> Result<Kept> {
        let turn = tokio::time::timeout(patience, Arc::clone(&self.slot).lock_owned());
        let mut slot = turn
            .await
            .map_err(|_| Error::storage(sqlx::Error::PoolTimedOut))?;
        if let Some(mut connection) = slot.take() {
            // It may have been closed by the other side since it was last used; a new one will tell.
            if connection.execute("BEGIN").await.is_ok() {
                return Ok(Kept { connection, slot });
            }
        }
        let mut connection = self.connect_in(patience).await?;
        connection.execute("BEGIN").await?;
        Ok(Kept { connection, slot })
    }

    /// Closes the connection.
    pub(crate) async fn close(&self) {
        if let Some(connection) = self.slot.lock().await.take() {
            // The database undoes what a broken connection left.
            let _ = connection.close().await;
        }
    }
}

/// An open transaction. Dropped before it is committed, it is undone, since its connection is closed.
pub(crate) struct Kept {
    connection: PgConnection,
    /// Empty until the connection comes back.
    slot: OwnedMutexGuard<Option<PgConnection>>,
}

impl Deref for Kept {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Kept {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Kept {
    /// Makes everything durable.
    pub(crate) async fn commit(self) -> Result<()> {
        self.end("COMMIT").await
    }

    /// Undoes everything.
    pub(crate) async fn rollback(self) -> Result<()> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<()> {
        self.connection.execute(how).await?;
        *self.slot = Some(self.connection);
        Ok(())
    }
}
