//! No 200 leaves before the flush that covers it.
//!
//! SQLite: this test runs itself again under `strace`, which sees the writes to the log, the flushes and the moment of
//! each answer in their order. PostgreSQL: right after each answer the server's flushed position must lie behind
//! the commit record of the request's transaction, which `pg_walinspect` finds in the log.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use pomona_engine::hooks::Hooks;
use pomona_engine::{Actor, Cause, CommandBody, Enqueue, EnrollmentId};
use support::*;

const A: &str = "00000000-0000-0000-0000-00000000000A";
/// Set for the run under `strace`.
const CHILD: &str = "POMONA_DURABILITY_CHILD";
/// What the child writes the moment that it has an answer.
const MARK: &str = "the answer is here: ";
const ROUNDS: usize = 12;

/// A stage on which background work writes nothing in between.
async fn calm(backend: Backend) -> Stage {
    let tune: Tune = Arc::new(|options| options.poll_interval = Duration::from_secs(100_000));
    Stage::tuned(backend, Hooks::default(), tune).await
}

async fn enqueue(stage: &Stage, target: EnrollmentId) -> String {
    let dictionary = dictionary("DeviceInformation");
    let request = Enqueue::new(CommandBody::Dictionary(dictionary), vec![target]);
    let done = stage
        .engine
        .enqueue(stage.tenant, Actor::SYSTEM, Cause::default(), request)
        .await
        .unwrap();
    assert!(done.targets[0].accepted);
    done.command_uuid
}

async fn send(stage: &Stage, card: &Card, check_in: bool, body: String) -> Option<String> {
    let (status, body) = stage.send(card, check_in, body).await;
    assert_eq!(status, StatusCode::OK);
    command_uuid(&body)
}

// SQLite.

/// The part that runs under `strace`; on its own it has nothing to do.
#[tokio::test]
async fn child_that_is_watched() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mark = |what: &str| {
        use std::io::Write as _;
        // One write for one line.
        std::io::stderr()
            .write_all(format!("{MARK}{what}\n").as_bytes())
            .unwrap();
    };
    let stage = calm(Backend::Sqlite).await;
    let card = stage.card("link", None, None).await;
    mark("begin");
    send(&stage, &card, true, authenticate(A)).await;
    mark("authenticate");
    send(&stage, &card, true, token_update(A, "01")).await;
    mark("token update");
    let enrollment = stage.enabled(A).await;
    for _ in 0..ROUNDS {
        let uuid = enqueue(&stage, enrollment).await;
        mark("enqueue");
        assert_eq!(
            send(&stage, &card, false, idle(A)).await.as_ref(),
            Some(&uuid)
        );
        mark("idle");
        send(&stage, &card, false, answer(A, "NotNow", &uuid)).await;
        mark("not now");
        assert_eq!(
            send(&stage, &card, false, idle(A)).await.as_ref(),
            Some(&uuid)
        );
        mark("idle");
        send(&stage, &card, false, answer(A, "Acknowledged", &uuid)).await;
        mark("report");
    }
    send(&stage, &card, true, simple_check_in("CheckOut", A)).await;
    mark("check out");
}

#[test]
fn on_sqlite_each_answer_comes_after_a_flush_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let child = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-s",
            "64",
            "-e",
            "trace=write,pwrite64,fsync,fdatasync",
            "-o",
        ])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_watched", "--nocapture"])
        .env(CHILD, "1")
        .output();
    let child = match child {
        Ok(child) => child,
        Err(error) => panic!(
            "strace is missing ({error}); this test cannot tell without it: install the package strace"
        ),
    };
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "the watched run failed: {said}");
    let trace = std::fs::read_to_string(trace).unwrap();
    let answers = check(&trace).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(answers, 3 + ROUNDS * 5, "every answer was seen");
}

/// What a line of the trace tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// A write to the log begins.
    Write,
    /// A flush of the log is done.
    Flushed,
    Answer,
}

/// Reads a trace: between two answers the log must have been written, and flushed after the last write.
fn check(trace: &str) -> Result<usize, String> {
    let (mut begun, mut wrote, mut flushed, mut answers) = (false, false, false, 0);
    for (seen, line) in read(trace) {
        match seen {
            Seen::Write => (wrote, flushed) = (true, false),
            Seen::Flushed => flushed = true,
            Seen::Answer if !begun => begun = true,
            Seen::Answer if !wrote => return Err(format!("nothing was written before: {line}")),
            Seen::Answer if !flushed => return Err(format!("not flushed before: {line}")),
            Seen::Answer => answers += 1,
        }
        if seen == Seen::Answer {
            (wrote, flushed) = (false, false);
        }
    }
    Ok(answers)
}

fn read(trace: &str) -> Vec<(Seen, &str)> {
    let mut flushing: BTreeMap<&str, bool> = BTreeMap::new();
    let mut out = Vec::new();
    for line in trace.lines() {
        let Some((process, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        let log = call.contains("-wal>");
        let flush = call.starts_with("fsync(") || call.starts_with("fdatasync(");
        let resumed = call.starts_with("<... fsync") || call.starts_with("<... fdatasync");
        if call.contains(MARK) {
            out.push((Seen::Answer, line));
        } else if log && (call.starts_with("write(") || call.starts_with("pwrite64(")) {
            out.push((Seen::Write, line));
        } else if log && flush && call.contains("unfinished") {
            flushing.insert(process, true);
        } else if (log && flush || resumed && flushing.remove(process).is_some())
            && call.ends_with("= 0")
        {
            out.push((Seen::Flushed, line));
        }
    }
    out
}

#[test]
fn a_trace_without_a_flush_in_its_place_is_found_out() {
    let write = "7 pwrite64(9</d/pomona.db-wal>, \"..\", 4096, 0) = 4096\n";
    let flush = "7 fdatasync(9</d/pomona.db-wal>) = 0\n";
    let apart =
        "7 fdatasync(9</d/pomona.db-wal> <unfinished ...>\n7 <... fdatasync resumed>) = 0\n";
    let other = "7 fdatasync(8</d/pomona.db>) = 0\n";
    let failed = "7 fdatasync(9</d/pomona.db-wal>) = -1 EIO (Input/output error)\n";
    let answer = format!("8 write(2</dev/null>, \"{MARK}idle\\n\", 25) = 25\n");
    let table = [
        (vec![write, flush], Ok(1)),
        (vec![write, apart], Ok(1)),
        (vec![write, write, flush], Ok(1)),
        (vec![write], Err(())),
        (vec![flush], Err(())),
        (vec![flush, write], Err(())),
        (vec![write, flush, write], Err(())),
        (vec![write, other], Err(())),
        (vec![write, failed], Err(())),
        (
            vec![write, "7 fdatasync(9</d/pomona.db-wal> <unfinished ...>\n"],
            Err(()),
        ),
    ];
    for (lines, expected) in table {
        let trace = format!("{answer}{}{answer}", lines.concat());
        assert_eq!(check(&trace).map_err(drop), expected, "{trace}");
    }
}

// PostgreSQL.

struct Log {
    pool: sqlx::PgPool,
}

impl Log {
    async fn text(&self, sql: &str) -> String {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    /// How far the log was flushed the moment that the answer came, and the end of the commit record of the transaction
    /// that wrote the row.
    async fn check(&self, from: &str, what: &str, row: &str) {
        let flushed = self
            .text("SELECT CAST(pg_current_wal_flush_lsn() AS text)")
            .await;
        let writer = self
            .text(&format!("SELECT CAST(xmin AS text) FROM {row}"))
            .await;
        // The record must be on disk for the reader of the log; a flush of our own does no harm any more.
        self.text("SELECT CAST(pg_logical_emit_message(true, 'test', '') AS text)")
            .await;
        let covered = self
            .text(&format!(
                "SELECT CAST(count(*) AS text) || ' ' || CAST(coalesce(bool_and(end_lsn <= '{flushed}'), false) AS text)
                 FROM pg_get_wal_records_info('{from}', pg_current_wal_flush_lsn())
                 WHERE resource_manager = 'Transaction' AND record_type LIKE 'COMMIT%' AND xid = '{writer}'"
            ))
            .await;
        assert_eq!(
            covered, "1 true",
            "{what}: its commit was flushed before the answer (flushed {flushed})"
        );
    }

    async fn position(&self) -> String {
        self.text("SELECT CAST(pg_current_wal_flush_lsn() AS text)")
            .await
    }
}

#[tokio::test]
async fn on_postgres_each_answer_comes_after_the_flush_of_its_commit() {
    if !backends().contains(&Backend::Postgres) {
        return;
    }
    let stage = calm(Backend::Postgres).await;
    let Sql::Postgres(pool) = &stage.sql else {
        panic!("the stage is on PostgreSQL");
    };
    if let Err(error) = sqlx::raw_sql("CREATE EXTENSION pg_walinspect")
        .execute(pool)
        .await
    {
        panic!(
            "pg_walinspect is missing ({error}); this test cannot tell without it: install PostgreSQL's contrib modules, version 15 or later"
        );
    }
    let log = Log { pool: pool.clone() };
    let card = stage.card("link", None, None).await;
    let from = log.position().await;
    send(&stage, &card, true, authenticate(A)).await;
    log.check(&from, "authenticate", "enrollment").await;
    let from = log.position().await;
    send(&stage, &card, true, token_update(A, "01")).await;
    log.check(&from, "token update", "enrollment").await;
    let enrollment = stage.enabled(A).await;
    for _ in 0..ROUNDS {
        let from = log.position().await;
        let uuid = enqueue(&stage, enrollment).await;
        log.check(&from, "enqueue", "delivery").await;
        for (what, body) in [
            ("idle", idle(A)),
            ("not now", answer(A, "NotNow", &uuid)),
            ("idle", idle(A)),
            ("report", answer(A, "Acknowledged", &uuid)),
        ] {
            let from = log.position().await;
            send(&stage, &card, false, body).await;
            log.check(&from, what, "channel").await;
        }
    }
    let from = log.position().await;
    send(&stage, &card, true, simple_check_in("CheckOut", A)).await;
    log.check(&from, "check out", "enrollment").await;
}
