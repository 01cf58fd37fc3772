//! Two servers on one database answer the same device at once.
//!
//! What must hold then is read from the device's numbered events, which are the order in which things were committed:
//! one command outstanding at a time (Q9), first sendings in order (Q3), one outcome for each command (Q5), none lost.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::StatusCode;
use pomona_engine::{Actor, Cause, CommandBody, Engine, Enqueue, Enqueued, EnrollmentId, TenantId};
use support::*;

const A: &str = "00000000-0000-0000-0000-00000000000A";
const COMMANDS: usize = 24;
const CLIENTS: usize = 8;
const REQUESTS: usize = 30;

async fn enqueue(
    engine: &Engine,
    tenant: TenantId,
    enrollment: EnrollmentId,
    key: Option<&str>,
) -> Enqueued {
    let dictionary = dictionary("DeviceInformation");
    let mut request = Enqueue::new(CommandBody::Dictionary(dictionary), vec![enrollment]);
    request.idempotency_key = key.map(str::to_owned);
    engine
        .enqueue(tenant, Actor::SYSTEM, Cause::default(), request)
        .await
        .unwrap()
}

/// The device's events in their order: kind, and the `CommandUUID` and other facts of the body.
async fn events(stage: &Stage) -> Vec<(String, serde_json::Value)> {
    let rows = stage
        .sql
        .texts("SELECT kind || ' ' || body FROM event ORDER BY event.seq")
        .await;
    rows.iter()
        .map(|row| {
            let (kind, body) = row.split_once(' ').unwrap();
            (kind.to_owned(), serde_json::from_str(body).unwrap())
        })
        .collect()
}

fn uuid_of(body: &serde_json::Value) -> String {
    body["command_uuid"].as_str().unwrap_or_default().to_owned()
}

/// Q3, Q5 and Q9 over the events of one channel. Returns how often something was sent.
fn check_order(events: &[(String, serde_json::Value)], queued: &[String]) -> usize {
    let mut outstanding: Option<String> = None;
    let mut first_sent: Vec<String> = Vec::new();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut sendings = 0;
    for (kind, body) in events {
        let uuid = uuid_of(body);
        match kind.as_str() {
            "command_delivered" => {
                sendings += 1;
                assert!(
                    outstanding.as_ref().is_none_or(|out| *out == uuid),
                    "{uuid} was sent while {outstanding:?} was outstanding"
                );
                assert!(
                    !outcomes.contains_key(&uuid),
                    "{uuid} was sent after its outcome"
                );
                if body["again"] == false {
                    first_sent.push(uuid.clone());
                }
                outstanding = Some(uuid);
            }
            "command_not_now" => {
                assert_eq!(
                    outstanding.take(),
                    Some(uuid),
                    "only what is outstanding is deferred"
                );
            }
            "command_outcome" => {
                if outstanding.as_ref() == Some(&uuid) {
                    outstanding = None;
                }
                *outcomes.entry(uuid).or_default() += 1;
            }
            _ => {}
        }
    }
    assert_eq!(
        first_sent, queued,
        "first sendings follow the order of the queue"
    );
    assert_eq!(
        outcomes,
        queued.iter().map(|uuid| (uuid.clone(), 1)).collect(),
        "each command has one outcome"
    );
    sendings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_device_that_asks_two_servers_at_once_gets_each_command_once_and_in_order() {
    for backend in backends() {
        let stage = Arc::new(Stage::new(backend).await);
        let nodes = [stage.engine.clone(), stage.second().await];
        let (card, enrollment) = stage.enroll(A).await;
        let mut queued = Vec::new();
        for n in 0..COMMANDS {
            let done = enqueue(&nodes[n % 2], stage.tenant, enrollment, None).await;
            queued.push(done.command_uuid);
        }
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            let (stage, card, nodes) = (stage.clone(), card.clone(), nodes.clone());
            clients.push(tokio::spawn(async move {
                let mut bodies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
                let mut last: Option<String> = None;
                for n in 0..REQUESTS {
                    let report = match (&last, (client + n) % 5) {
                        (None, _) | (_, 0) => idle(A),
                        (Some(uuid), 1) => answer(A, "NotNow", uuid),
                        (Some(uuid), 2) => answer(A, "Error", uuid),
                        (Some(uuid), _) => answer(A, "Acknowledged", uuid),
                    };
                    let node = &nodes[(client + n) % 2];
                    let (status, body) = send_to(node, stage.tenant, &card, false, report).await;
                    assert_eq!(status, StatusCode::OK);
                    if let Some(uuid) = command_uuid(&body) {
                        bodies.entry(uuid.clone()).or_default().insert(body);
                        last = Some(uuid);
                    }
                }
                bodies
            }));
        }
        let mut bodies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for client in clients {
            for (uuid, seen) in client.await.unwrap() {
                bodies.entry(uuid).or_default().extend(seen);
            }
        }
        assert!(
            bodies.values().all(|seen| seen.len() == 1),
            "the same bytes each time"
        );
        drain(&stage, &nodes, &card).await;
        assert!(check_order(&events(&stage).await, &queued) >= COMMANDS);
        assert_eq!(stage.sql.number("SELECT count(*) FROM delivery").await, 0);
        let kept = stage
            .sql
            .number("SELECT count(*) FROM delivery_history WHERE disposition = 3 AND outcome <> 0")
            .await;
        assert_eq!(kept, COMMANDS as i64);
        nodes[1].stop().await;
    }
}

/// Answers everything that is left, by turns with both servers.
async fn drain(stage: &Stage, nodes: &[Engine; 2], card: &Card) {
    let mut report = idle(A);
    for n in 0..COMMANDS * 4 {
        let (status, body) = send_to(&nodes[n % 2], stage.tenant, card, false, report).await;
        assert_eq!(status, StatusCode::OK);
        match command_uuid(&body) {
            Some(uuid) => report = answer(A, "Acknowledged", &uuid),
            // What had been deferred comes with the next poll.
            None if stage.sql.number("SELECT count(*) FROM delivery").await > 0 => report = idle(A),
            None => return,
        }
    }
    panic!("the queue does not drain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_that_races_a_report_leaves_one_end() {
    for backend in backends() {
        let stage = Arc::new(Stage::new(backend).await);
        let nodes = [stage.engine.clone(), stage.second().await];
        let (card, enrollment) = stage.enroll(A).await;
        for round in 0..20 {
            let done = enqueue(&nodes[round % 2], stage.tenant, enrollment, None).await;
            let (_, body) = stage.send(&card, false, idle(A)).await;
            assert_eq!(
                command_uuid(&body).as_deref(),
                Some(done.command_uuid.as_str())
            );
            let report = answer(A, "Acknowledged", &done.command_uuid);
            let (said, told) = tokio::join!(
                nodes[0].cancel(
                    stage.tenant,
                    Actor::SYSTEM,
                    done.command_id,
                    Some(vec![enrollment])
                ),
                send_to(&nodes[1], stage.tenant, &card, false, report),
            );
            assert_eq!(told, (StatusCode::OK, String::new()));
            let disposition = stage
                .sql
                .number(&format!(
                    "SELECT disposition FROM delivery_history WHERE command_uuid = '{}' AND outcome = 1",
                    done.command_uuid
                ))
                .await;
            let expected = match said.unwrap()[0].disposition {
                "withdrawn" => 5,
                "already_finished" => 3,
                other => panic!("{other}"),
            };
            assert_eq!(
                disposition, expected,
                "what the canceller was told is what is kept"
            );
        }
        let ends = events(&stage)
            .await
            .iter()
            .filter(|(kind, _)| kind == "command_outcome")
            .count();
        assert_eq!(ends, 20, "each report counts once");
        nodes[1].stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_idempotency_key_queues_once_however_many_ask_at_once() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let nodes = [stage.engine.clone(), stage.second().await];
        let (_, enrollment) = stage.enroll(A).await;
        for round in 0..5 {
            let key = format!("key {round}");
            let mut asked = Vec::new();
            for n in 0..CLIENTS {
                let (node, key, tenant) = (nodes[n % 2].clone(), key.clone(), stage.tenant);
                asked.push(tokio::spawn(async move {
                    enqueue(&node, tenant, enrollment, Some(&key)).await
                }));
            }
            let mut uuids = BTreeSet::new();
            let mut first = 0;
            for one in asked {
                let done = one.await.unwrap();
                uuids.insert(done.command_uuid);
                first += usize::from(!done.repeated);
            }
            assert_eq!((uuids.len(), first), (1, 1));
        }
        assert_eq!(stage.sql.number("SELECT count(*) FROM delivery").await, 5);
        nodes[1].stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_number_what_both_queue_without_gaps_or_doubles() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let nodes = [stage.engine.clone(), stage.second().await];
        let (_, enrollment) = stage.enroll(A).await;
        let mut asked = Vec::new();
        for n in 0..24 {
            let (node, tenant) = (nodes[n % 2].clone(), stage.tenant);
            asked.push(tokio::spawn(async move {
                enqueue(&node, tenant, enrollment, None).await
            }));
        }
        for one in asked {
            assert!(one.await.unwrap().targets[0].accepted);
        }
        let numbers = stage
            .sql
            .texts("SELECT CAST(seq AS text) FROM delivery ORDER BY delivery.seq")
            .await;
        let expected: Vec<String> = (1..=24).map(|n| n.to_string()).collect();
        assert_eq!(numbers, expected);
        let last = stage.sql.number("SELECT max(seq) FROM event").await;
        assert_eq!(stage.sql.number("SELECT count(*) FROM event").await, last);
        nodes[1].stop().await;
    }
}
