//! The two connections that write, and the batches they take, on either engine.

mod trials;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::fault;
use super::sql::{Batch, Column, Rows, Tx, args};
use super::{Pools, Store, StoreOptions};
use crate::clock::{ManualClock, SystemEntropy};
use crate::seal::{Keyring, RootKey};

/// Runs `test` on SQLite, and on PostgreSQL where that is installed.
fn on_both<F: Future<Output = ()>>(test: impl Fn(Store) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite:{}", folder.path().join("store.db").display());
    runtime.block_on(async { test(open(&sqlite).await).await });
    if pomona_tests::postgres_missing().is_none() {
        let database = pomona_tests::shared_postgres().unwrap();
        runtime.block_on(async { test(open(&database.url).await).await });
    }
}

async fn open(url: &str) -> Store {
    let options = StoreOptions {
        url: url.to_owned(),
        connections: 2,
        commit_delay: Duration::ZERO,
    };
    let root = RootKey::from_bytes(&[7; 32]).unwrap();
    Store::connect(
        &options,
        Arc::new(Keyring::new(&root).unwrap()),
        Arc::new(ManualClock::at(1)),
        Arc::new(SystemEntropy::default()),
    )
    .await
    .unwrap()
}

const TENANT: uuid::Uuid = uuid::Uuid::from_u128(7);

/// Rows of `idempotency` with these keys and responses.
fn rows(all: &[(&str, &str)]) -> Rows {
    vec![
        ("tenant_id", Column::Uuid(vec![TENANT; all.len()])),
        (
            "idempotency_key",
            Column::Text(all.iter().map(|(key, _)| (*key).to_owned()).collect()),
        ),
        ("request_hash", Column::Bytes(vec![vec![1]; all.len()])),
        (
            "response",
            Column::Text(all.iter().map(|(_, what)| (*what).to_owned()).collect()),
        ),
        ("created_at", Column::Int(vec![3; all.len()])),
    ]
}

fn keys(all: &[&str]) -> Rows {
    let mut rows = rows(&all.iter().map(|key| (*key, "")).collect::<Vec<_>>());
    rows.truncate(2);
    rows
}

fn inserting(all: &[(&str, &str)]) -> Batch {
    let mut batch = Batch::default();
    batch.insert("idempotency", rows(all));
    batch
}

/// What a reader beside the writer sees.
async fn seen(store: &Store) -> Vec<String> {
    let mut tx = store.begin_read().await.unwrap();
    let sql = "SELECT idempotency_key || '=' || response FROM idempotency ORDER BY 1";
    let rows = tx.query(sql, args![]).await.unwrap();
    tx.rollback().await.unwrap();
    rows.iter().map(|row| row.text(0).unwrap()).collect()
}

/// The transactions of the batch writer and of everybody else.
async fn transactions(store: &Store) -> [Tx; 2] {
    // On SQLite both are the same connection, so that only one is open at a time.
    if store.is_postgres() {
        [
            store.begin_group().await.unwrap(),
            store.begin().await.unwrap(),
        ]
    } else {
        let first = store.begin_group().await.unwrap();
        let waiting = store.begin();
        let (first, second) = tokio::join!(
            async {
                first.rollback().await.unwrap();
                store.begin_read().await.unwrap()
            },
            waiting
        );
        [first, second.unwrap()]
    }
}

#[test]
fn a_dropped_transaction_leaves_nothing_and_the_next_goes_on() {
    on_both(|store| async move {
        for _ in 0..2 {
            let mut tx = store.begin_group().await.unwrap();
            tx.run(inserting(&[("a", "1")])).await.unwrap();
            drop(tx);
            assert_eq!(seen(&store).await, Vec::<String>::new());
        }
        let tx = store.begin_group().await.unwrap();
        tx.finish(inserting(&[("a", "2")])).await.unwrap();
        assert_eq!(seen(&store).await, ["a=2"]);
    });
}

#[test]
fn the_turn_is_given_when_the_transaction_before_has_ended() {
    on_both(|store| async move {
        let first = store.begin_group().await.unwrap();
        let mut second = Box::pin(store.begin_group());
        assert!(futures_util::poll!(&mut second).is_pending());
        first.finish(inserting(&[("a", "1")])).await.unwrap();
        let mut second = second.await.unwrap();
        let sql = "SELECT response FROM idempotency WHERE idempotency_key = ?";
        let row = second.query_one(sql, args!["a"]).await.unwrap().unwrap();
        assert_eq!(row.text(0).unwrap(), "1");
        second.rollback().await.unwrap();
    });
}

#[test]
fn a_batch_happens_whole_or_not_at_all() {
    on_both(|store| async move {
        let mut batch = inserting(&[("a", "1"), ("b", "2")]);
        batch.insert("idempotency", rows(&[("a", "again")]));
        let tx = store.begin_group().await.unwrap();
        let error = tx.finish(batch).await.unwrap_err();
        // Another try may win; that there is such a row is told from a database that is away.
        assert!(!fault::out_of_reach(&error));
        assert_eq!(seen(&store).await, Vec::<String>::new());
        let tx = store.begin_group().await.unwrap();
        tx.finish(inserting(&[("a", "1")])).await.unwrap();
        assert_eq!(seen(&store).await, ["a=1"]);
    });
}

#[test]
fn each_kind_of_change_treats_its_rows_alike_on_both_engines() {
    on_both(|store| async move {
        let tx = store.begin_group().await.unwrap();
        let all: Vec<(String, String)> =
            (0..40).map(|n| (format!("k{n:02}"), "0".into())).collect();
        let all: Vec<(&str, &str)> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        tx.finish(inserting(&all)).await.unwrap();
        let mut batch = Batch::default();
        let gone: Vec<&str> = all.iter().skip(4).map(|(key, _)| *key).collect();
        batch.delete("idempotency", keys(&gone));
        let mut changed = rows(&[("k01", "changed"), ("nobody", "nothing")]);
        changed.remove(2);
        batch.update("idempotency", 2, changed);
        batch.insert_new("idempotency", rows(&[("k00", "kept out"), ("new", "5")]));
        batch.other(
            keys(&["k02"]),
            "INSERT INTO idempotency (tenant_id, idempotency_key, request_hash, response, created_at)
             SELECT i.tenant_id, i.idempotency_key || '-copy', ?, ?, 4 FROM i WHERE 1 = 1 ON CONFLICT DO NOTHING"
                .into(),
            args![vec![9u8], "6"],
        );
        let tx = store.begin_group().await.unwrap();
        tx.finish(batch).await.unwrap();
        let expected = [
            "k00=0",
            "k01=changed",
            "k02-copy=6",
            "k02=0",
            "k03=0",
            "new=5",
        ];
        let mut seen = seen(&store).await;
        seen.sort();
        assert_eq!(seen, expected);
    });
}

#[test]
fn two_queries_at_once_keep_their_answers_apart() {
    on_both(|store| async move {
        let tx = store.begin_group().await.unwrap();
        tx.finish(inserting(&[("a", "1"), ("b", "2"), ("c", "3")]))
            .await
            .unwrap();
        let find = "SELECT d.response FROM i JOIN idempotency d
            ON d.tenant_id = i.tenant_id AND d.idempotency_key = i.idempotency_key";
        let mut tx = store.begin_group().await.unwrap();
        let (first, second) = tx
            .query_two((keys(&["a", "none", "c"]), find), (keys(&["b"]), find))
            .await
            .unwrap();
        let texts = |rows: &[super::sql::Row]| -> Vec<String> {
            rows.iter().map(|row| row.text(0).unwrap()).collect()
        };
        assert_eq!(texts(&first), ["1", "3"]);
        assert_eq!(texts(&second), ["2"]);
        let (none, one) = tx
            .query_two((keys(&[]), find), (keys(&["a"]), find))
            .await
            .unwrap();
        assert_eq!((none.len(), one.len()), (0, 1));
        tx.rollback().await.unwrap();
    });
}

#[test]
fn values_come_back_as_what_they_were() {
    on_both(|store| async move {
        for tx in transactions(&store).await {
            let mut tx = tx;
            let row = tx
                .query_one(
                    "SELECT CAST(? AS bigint), CAST(? AS text), CAST(? AS bigint), CAST(NULL AS bigint), CAST(NULL AS text)",
                    args![i64::MIN, "naïve \u{1F34E}", i64::MAX],
                )
                .await
                .unwrap()
                .unwrap();
            assert_eq!(row.int(0).unwrap(), i64::MIN);
            assert_eq!(row.text(1).unwrap(), "naïve \u{1F34E}");
            assert_eq!(row.opt_int(2).unwrap(), Some(i64::MAX));
            assert_eq!(row.opt_int(3).unwrap(), None);
            assert_eq!(row.opt_text(4).unwrap(), None);
            assert!(row.text(0).is_err());
            assert!(row.int(9).is_err());
            tx.rollback().await.unwrap();
        }
    });
}

#[test]
fn a_connection_that_the_database_closed_is_replaced() {
    on_both(|store| async move {
        if !store.is_postgres() {
            return;
        }
        let mut tx = store.begin_group().await.unwrap();
        let row = tx.query_one("SELECT CAST(pg_backend_pid() AS bigint)", args![]);
        let pid = row.await.unwrap().unwrap().int(0).unwrap();
        tx.rollback().await.unwrap();
        let mut other = store.begin().await.unwrap();
        let end = "SELECT pg_terminate_backend(CAST(? AS integer), 10000)";
        other.query(end, args![pid]).await.unwrap();
        other.commit().await.unwrap();
        let tx = store.begin_group().await.unwrap();
        tx.finish(inserting(&[("a", "1")])).await.unwrap();
        assert_eq!(seen(&store).await, ["a=1"]);
    });
}

#[test]
fn after_the_end_nothing_is_taken_and_the_reason_is_the_database() {
    on_both(|store| async move {
        if let Pools::Sqlite { writer, .. } = &store.pools {
            let tx = store.begin_group().await.unwrap();
            writer.close().await;
            let error = tx.finish(inserting(&[("a", "1")])).await.unwrap_err();
            assert!(fault::out_of_reach(&error));
        }
    });
}

#[test]
fn a_full_disk_is_told_apart_from_a_database_that_is_away() {
    let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
    let table = [
        // SQLite's code, the message for the caller, out of reach, worth another try
        (13, "the disk of the database is full", true, false),
        (10, "the database did not answer", true, false),
        (5, "the database did not answer", false, true),
        (1_555, "the database did not answer", false, false),
    ];
    for (code, message, away, again) in table {
        let error = crate::Error::from(failure(code));
        assert_eq!(error.to_string(), message, "{code}");
        assert_eq!(fault::out_of_reach(&error), away, "{code}");
        assert_eq!(fault::lost_a_race(&error), again, "{code}");
    }
}
