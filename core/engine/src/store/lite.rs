//! The one connection that writes on SQLite, on a thread of its own.
//!
//! Owns: the thread, the connection, and the turn to use it, which is given in the order of asking. A statement over
//! many rows is prepared once and run for each of them without leaving the thread; what it finds comes back in one
//! answer. Knows no statement of its own but those that begin and end a transaction. Reading beside the writer goes
//! over the pool in `store`.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::sql::value::Arg;
use crate::error::{Error, Result};

/// Prepared statements that are kept.
const STATEMENTS: usize = 256;
/// When the write-ahead log has grown by this many pages it is copied into the file: after the answer to a commit has
/// left, so that only what comes next waits for it.
const CHECKPOINT_PAGES: i64 = 8_000;

thread_local! {
    /// Pages in the write-ahead log after the last commit of this thread's connection.
    static LOG_PAGES: Cell<i64> = const { Cell::new(0) };
}

/// A statement and the values of each of its runs.
pub(crate) struct Step {
    pub(crate) sql: String,
    pub(crate) runs: Vec<Vec<Arg>>,
}

impl Step {
    fn plain(sql: &str) -> Self {
        Self {
            sql: sql.to_owned(),
            runs: vec![Vec::new()],
        }
    }
}

/// What one step found and changed.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) rows: Vec<Vec<Value>>,
    pub(crate) changed: u64,
}

enum Order {
    Run(Vec<Step>, oneshot::Sender<rusqlite::Result<Vec<Done>>>),
    /// Undoes what a dropped transaction left; nobody waits.
    Undo,
    Close(oneshot::Sender<()>),
}

/// The way to the thread.
#[derive(Clone)]
pub(crate) struct Lite {
    orders: mpsc::Sender<Order>,
    turn: Arc<Mutex<()>>,
}

impl Lite {
    /// Opens the file at `path`, with these pragmas, on a new thread.
    pub(crate) async fn open(
        path: &Path,
        busy: Duration,
        pragmas: &'static [(&'static str, &'static str)],
    ) -> Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let (ready, opened) = oneshot::channel();
        let path = path.to_owned();
        std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || match connect(&path, busy, pragmas) {
                Ok(connection) => {
                    // Whoever asked may be gone; the orders are then closed as well.
                    let _ = ready.send(Ok(()));
                    serve(connection, &inbox);
                }
                Err(error) => drop(ready.send(Err(error))),
            })
            .map_err(|source| Error::internal("starting the writing thread", source))?;
        opened
            .await
            .map_err(|source| Error::internal("starting the writing thread", source))?
            .map_err(Error::storage)?;
        Ok(Self {
            orders,
            turn: Arc::new(Mutex::new(())),
        })
    }

    /// Waits for the turn. The transaction begins with its first steps.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the turn does not come within `patience`.
    pub(crate) async fn begin(&self, patience: Duration) -> Result<LiteTx> {
        let turn = tokio::time::timeout(patience, Arc::clone(&self.turn).lock_owned())
            .await
            .map_err(|_| Error::storage(sqlx::Error::PoolTimedOut))?;
        Ok(LiteTx {
            orders: self.orders.clone(),
            begun: false,
            failed: false,
            open: true,
            _turn: turn,
        })
    }

    /// Closes the connection; what is asked later is refused.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.orders.send(Order::Close(done)).is_ok() {
            // Nothing can be done about a thread that has ended.
            let _ = closed.await;
        }
    }
}

/// An open transaction. Dropped before it is committed, it is undone.
pub(crate) struct LiteTx {
    orders: mpsc::Sender<Order>,
    begun: bool,
    /// A step failed, or its answer was not waited for: nothing but undoing is left.
    failed: bool,
    open: bool,
    _turn: OwnedMutexGuard<()>,
}

impl LiteTx {
    /// Runs the steps in their order; the answers stand in that order.
    pub(crate) async fn run(&mut self, mut steps: Vec<Step>) -> Result<Vec<Done>> {
        let first = !self.begun;
        if first {
            // A transaction that reads first and writes later fails under concurrency.
            steps.insert(0, Step::plain("BEGIN IMMEDIATE"));
            self.begun = true;
        }
        if std::mem::replace(&mut self.failed, true) {
            // SQLite may have ended the transaction by itself; what followed would stand alone.
            return Err(Error::storage("an earlier step of the transaction failed"));
        }
        let (reply, answer) = oneshot::channel();
        self.orders
            .send(Order::Run(steps, reply))
            .map_err(|_| Error::storage(sqlx::Error::WorkerCrashed))?;
        let mut done = answer
            .await
            .map_err(|_| Error::storage(sqlx::Error::WorkerCrashed))??;
        self.failed = false;
        if first {
            done.remove(0);
        }
        Ok(done)
    }

    /// Runs the last steps and makes everything durable.
    pub(crate) async fn finish(mut self, mut steps: Vec<Step>) -> Result<()> {
        if self.begun || !steps.is_empty() {
            steps.push(Step::plain("COMMIT"));
            self.run(steps).await?;
        }
        self.open = false;
        Ok(())
    }

    /// Undoes everything.
    pub(crate) async fn rollback(mut self) -> Result<()> {
        // After a failure there may be nothing left to undo; the order that stands in line when this is dropped looks.
        if self.begun && !self.failed {
            self.run(vec![Step::plain("ROLLBACK")]).await?;
            self.open = false;
        }
        Ok(())
    }
}

impl Drop for LiteTx {
    fn drop(&mut self) {
        if self.open && self.begun {
            // The turn is given back after this order stands in line. A thread that has ended has nothing to undo.
            let _ = self.orders.send(Order::Undo);
        }
    }
}

fn connect(path: &Path, busy: Duration, pragmas: &[(&str, &str)]) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(busy)?;
    for (name, value) in pragmas {
        connection.pragma_update(None, name, value)?;
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // In place of SQLite's own, which would copy within the commit.
    connection.wal_hook(Some(|_, pages| {
        LOG_PAGES.set(pages.into());
        Ok(())
    }));
    Ok(connection)
}

/// Takes orders until nobody can give any, or it is told to close.
fn serve(connection: Connection, inbox: &mpsc::Receiver<Order>) {
    let mut checkpoints = Checkpoints::default();
    while let Ok(order) = inbox.recv() {
        match order {
            Order::Run(steps, reply) => {
                // Whoever went away has dropped the transaction, and the order to undo it follows.
                let _ = reply.send(run(&connection, steps));
                if checkpoints.due(LOG_PAGES.get()) {
                    checkpoints.done(checkpoint(&connection));
                }
            }
            Order::Undo => {
                if !connection.is_autocommit()
                    && let Err(error) = connection.execute_batch("ROLLBACK")
                {
                    tracing::error!(error = %error, "a transaction could not be undone");
                }
            }
            Order::Close(done) => {
                if let Err((_, error)) = connection.close() {
                    tracing::warn!(error = %error, "the database was not closed cleanly");
                }
                let _ = done.send(());
                return;
            }
        }
    }
}

/// When the log is copied.
#[derive(Default)]
struct Checkpoints {
    /// Pages of the log that stood in the way of the last copy: a reader needed what lies behind them.
    kept: i64,
}

impl Checkpoints {
    /// Whether a log of so many pages is copied now. While a reader keeps it from beginning anew, it is tried again only
    /// when it has grown by as much again.
    fn due(&mut self, pages: i64) -> bool {
        if pages < self.kept {
            self.kept = 0;
        }
        pages - self.kept >= CHECKPOINT_PAGES
    }

    /// `left` is the length of a log that could not be copied whole, else 0.
    fn done(&mut self, left: i64) {
        self.kept = left;
    }
}

/// Copies the write-ahead log into the file, as far as no reader needs it. Gives the length of the log when something is
/// left in it, else 0.
fn checkpoint(connection: &Connection) -> i64 {
    let pages = LOG_PAGES.replace(0);
    let copied = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    match copied {
        Ok((log, copied)) if copied >= log => 0,
        Ok((log, _)) => log,
        Err(error) => {
            // Nothing is lost: the log keeps it, and it is tried again when it has grown.
            tracing::warn!(error = %error, "the write-ahead log could not be copied into the database file");
            pages
        }
    }
}

fn run(connection: &Connection, steps: Vec<Step>) -> rusqlite::Result<Vec<Done>> {
    let mut all = Vec::with_capacity(steps.len());
    for step in steps {
        let mut done = Done::default();
        let mut statement = connection.prepare_cached(&step.sql)?;
        let columns = statement.column_count();
        for values in step.runs {
            for (at, value) in values.iter().enumerate() {
                statement.raw_bind_parameter(at + 1, value)?;
            }
            if columns == 0 {
                done.changed += statement.raw_execute()? as u64;
                continue;
            }
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                let mut values = Vec::with_capacity(columns);
                for at in 0..columns {
                    values.push(row.get(at)?);
                }
                done.rows.push(values);
            }
        }
        all.push(done);
    }
    Ok(all)
}

impl ToSql for Arg {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        fn blob(bytes: &[u8]) -> ToSqlOutput<'_> {
            ToSqlOutput::Borrowed(ValueRef::Blob(bytes))
        }
        fn text(words: &str) -> ToSqlOutput<'_> {
            ToSqlOutput::Borrowed(ValueRef::Text(words.as_bytes()))
        }
        let null = ToSqlOutput::Borrowed(ValueRef::Null);
        Ok(match self {
            Self::Uuid(id) => blob(id.as_bytes()),
            Self::OptUuid(id) => id.as_ref().map_or(null, |id| blob(id.as_bytes())),
            Self::Bytes(bytes) => blob(bytes),
            Self::OptBytes(bytes) => bytes.as_deref().map_or(null, blob),
            Self::Int(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::OptInt(number) => {
                number.map_or(null, |number| ToSqlOutput::Owned(Value::Integer(number)))
            }
            Self::Text(words) => text(words),
            Self::OptText(words) => words.as_deref().map_or(null, text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_a_reader_holds_is_copied_again_only_when_it_has_grown() {
        let mut checkpoints = Checkpoints::default();
        assert!(!checkpoints.due(CHECKPOINT_PAGES - 1));
        assert!(checkpoints.due(CHECKPOINT_PAGES));
        // A reader holds it: not at every commit that follows.
        checkpoints.done(CHECKPOINT_PAGES);
        assert!(!checkpoints.due(CHECKPOINT_PAGES + 1));
        assert!(checkpoints.due(2 * CHECKPOINT_PAGES));
        checkpoints.done(2 * CHECKPOINT_PAGES);
        // The reader has gone, and the log begins anew.
        assert!(!checkpoints.due(1));
        assert!(checkpoints.due(CHECKPOINT_PAGES));
        checkpoints.done(0);
        assert!(!checkpoints.due(1));
    }

    #[test]
    fn a_checkpoint_says_what_a_reader_kept_in_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let pragmas = &[("journal_mode", "WAL")];
        let writer = connect(&path, Duration::ZERO, pragmas).unwrap();
        writer.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
        let reader = connect(&path, Duration::ZERO, pragmas).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        writer
            .execute_batch("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)")
            .unwrap();
        let held = checkpoint(&writer);
        assert!(held > 0, "{held}");
        reader.execute_batch("COMMIT").unwrap();
        assert_eq!(checkpoint(&writer), 0);
    }
}
