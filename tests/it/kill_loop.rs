//! The server is killed twenty times under load, on both back ends; the books must agree afterwards.
//!
//! Owns the number of rounds (`POMONA_TEST_KILL_ROUNDS`, or `cargo xtask kill-loop --rounds N`) and the verdict. How it is done is in the library.

use std::sync::Arc;

use pomona_tests::{
    PostgresServer, TestDatabase,
    kill_loop::{self, KillLoop},
    pomona_binary,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_the_server_is_killed_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("server");
    loses_nothing(&TestDatabase::sqlite(&dir), &dir, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_the_server_is_killed_on_postgresql() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("server");
    let server = Arc::new(PostgresServer::start_temporary().unwrap());
    let database = TestDatabase::postgres(&server, "kill_loop").unwrap();
    loses_nothing(&database, &dir, 2).await;
}

async fn loses_nothing(database: &TestDatabase, dir: &std::path::Path, seed: u64) {
    let rounds = std::env::var("POMONA_TEST_KILL_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(20);
    let options = KillLoop {
        rounds,
        devices: 12,
        seed,
    };
    let binary = pomona_binary().unwrap();
    let report = kill_loop::run(&options, &binary, dir, database, |_| {})
        .await
        .unwrap();
    println!("{}: {report}", database.back_end().name());
    assert_eq!(report.kills, rounds);
    assert!(report.findings.answered > 0, "no work was done");
    assert!(report.is_clean(), "{report}");
}
