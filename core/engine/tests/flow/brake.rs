//! The brake: however they were queued, only so many destructive commands leave a tenant in an hour, unless a second person lets them go.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use futures_util::future::join_all;
use pomona_engine::{
    Actor, ActorKind, Cause, CommandBody, CommandId, Engine, Enqueue, Enqueued, EnrollmentId,
    TokenId,
};
use uuid::Uuid;

use super::support::*;

const HOUR: i64 = 3_600_000_000;

fn udid(n: usize) -> String {
    format!("00000000-0000-0000-0000-{n:012}")
}

fn person(n: u128) -> Actor {
    Actor {
        kind: ActorKind::Person,
        id: Some(Uuid::from_u128(n)),
    }
}

async fn erase(
    stage: &Stage,
    actor: Actor,
    token: Option<TokenId>,
    channels: Vec<EnrollmentId>,
) -> Enqueued {
    let body = CommandBody::Dictionary(dictionary("EraseDevice"));
    let mut request = Enqueue::new(body, channels);
    // Whatever rights the sender has: the brake holds all the same.
    request.force = true;
    request.break_glass = true;
    request.token = token;
    let cause = Cause::default();
    let done = stage
        .engine
        .enqueue(stage.tenant, actor, cause, request)
        .await
        .unwrap();
    assert!(done.targets.iter().all(|target| target.accepted));
    done
}

async fn fleet(stage: &Stage, devices: usize) -> BTreeMap<String, (Card, EnrollmentId)> {
    let mut fleet = BTreeMap::new();
    for n in 0..devices {
        let udid = udid(n);
        let enrolled = stage.enroll(&udid).await;
        fleet.insert(udid, enrolled);
    }
    fleet
}

/// Every device asks at once, by turns at one of these engines; says how many were given a command.
async fn poll(
    stage: &Stage,
    engines: &[&Engine],
    fleet: &BTreeMap<String, (Card, EnrollmentId)>,
) -> usize {
    let asks = fleet.iter().enumerate().map(|(n, (udid, (card, _)))| {
        let engine = engines[n % engines.len()];
        send_to(engine, stage.tenant, card, false, idle(udid))
    });
    let answers = join_all(asks).await;
    let given = answers.iter().filter(|(status, body)| {
        assert_eq!(*status, StatusCode::OK);
        command_uuid(body).is_some()
    });
    given.count()
}

async fn token(stage: &Stage, n: u128) -> TokenId {
    let token = Uuid::from_u128(n);
    let (id, tenant) = (stage.sql.id(token), stage.sql.id(stage.tenant.0));
    let now = stage.now();
    let hash = stage.sql.blob(&n.to_be_bytes());
    stage
        .sql
        .run(&format!(
            "INSERT INTO api_token (id, tenant_id, principal_id, name, hash, scopes, created_at, expires_at)
             VALUES ({id}, {tenant}, {id}, 't', {hash}, '[]', {now}, {})",
            now + 1_000 * HOUR
        ))
        .await;
    TokenId(token)
}

async fn count(stage: &Stage, kind: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM event WHERE kind = '{kind}'");
    stage.sql.number(&sql).await
}

#[tokio::test]
async fn ten_leave_in_an_hour_however_they_were_queued_and_wherever_they_are_asked_for() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let fleet = fleet(&stage, 13).await;
        let second = stage.second().await;
        let engines = [&stage.engine, &second];
        let channels: Vec<EnrollmentId> = fleet.values().map(|(_, channel)| *channel).collect();
        // Some in bulk, some one by one, by a person, by a plugin and by the server itself.
        erase(&stage, person(1), None, channels[..6].to_vec()).await;
        let plugin = Actor {
            kind: ActorKind::Plugin,
            id: Some(Uuid::from_u128(2)),
        };
        for channel in &channels[6..10] {
            erase(&stage, plugin, None, vec![*channel]).await;
        }
        erase(&stage, Actor::SYSTEM, None, channels[10..].to_vec()).await;
        assert_eq!(poll(&stage, &engines, &fleet).await, 10);
        assert_eq!(count(&stage, "command_held").await, 3, "and it is told");
        // Who has been given one is given the same again; the others wait, and are rung when their time comes.
        assert_eq!(poll(&stage, &engines, &fleet).await, 10);
        assert_eq!(count(&stage, "command_delivered").await, 20);
        stage.clock.advance(HOUR - 1);
        assert_eq!(poll(&stage, &engines, &fleet).await, 10);
        stage.clock.advance(1);
        assert_eq!(poll(&stage, &engines, &fleet).await, 13);
        let left = stage.sql.number("SELECT count(*) FROM brake_left").await;
        assert_eq!(left, 13);
    }
}

#[tokio::test]
async fn a_second_person_lets_a_command_go_and_the_first_cannot() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        stage
            .sql
            .run(&format!(
                "INSERT INTO brake (tenant_id, per_hour) VALUES ({}, 0)",
                stage.sql.id(stage.tenant.0)
            ))
            .await;
        let fleet = fleet(&stage, 2).await;
        let engines = [&stage.engine];
        let channels: Vec<EnrollmentId> = fleet.values().map(|(_, channel)| *channel).collect();
        let old = token(&stage, 7).await;
        let senders = token(&stage, 9).await;
        let by_young = erase(&stage, person(1), Some(senders), channels.clone()).await;
        stage.clock.advance(24 * HOUR);
        let new = token(&stage, 8).await;
        let sent = erase(&stage, person(1), Some(senders), channels.clone()).await;
        let sent = sent.command_id;
        let plugin = Actor {
            kind: ActorKind::Plugin,
            id: Some(Uuid::from_u128(4)),
        };
        let by_plugin = erase(&stage, plugin, None, channels).await.command_id;
        let harmless = CommandBody::Dictionary(dictionary("SecurityInfo"));
        let mut harmless = Enqueue::new(harmless, vec![fleet[&udid(0)].1]);
        harmless.token = Some(senders);
        let cause = Cause::default();
        let harmless = stage
            .engine
            .enqueue(stage.tenant, person(1), cause, harmless)
            .await
            .unwrap();
        assert_eq!(poll(&stage, &engines, &fleet).await, 0, "nothing leaves");
        // Each of the three is held once; then the way is free for what is not destructive.
        assert_eq!(poll(&stage, &engines, &fleet).await, 0);
        assert_eq!(poll(&stage, &engines, &fleet).await, 0);
        assert_eq!(poll(&stage, &engines, &fleet).await, 1);

        let approve = |actor, token, command: CommandId| {
            let engine = stage.engine.clone();
            let tenant = stage.tenant;
            async move {
                let done = engine.approve(tenant, actor, token, command).await;
                done.map(|done| done.enrollments.len())
                    .map_err(|error| error.to_string())
            }
        };
        for (actor, token, command, said) in [
            (person(1), old, sent, "second person"),
            (Actor::SYSTEM, old, sent, "second person"),
            (person(2), new, sent, "24 hours"),
            (person(2), TokenId(Uuid::from_u128(99)), sent, "24 hours"),
            // Who has stolen a token that makes tokens, or that installs plugins, has no second person.
            (person(2), old, by_young.command_id, "24 hours old"),
            (person(2), old, by_plugin, "24 hours old"),
            (person(2), old, harmless.command_id, "not destructive"),
            (person(2), old, CommandId(Uuid::from_u128(5)), "not"),
        ] {
            let error = approve(actor, token, command).await.unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(count(&stage, "command_approved").await, 0);
        assert_eq!(approve(person(2), old, sent).await, Ok(2));
        assert_eq!(count(&stage, "command_approved").await, 2);
        // The first device still has the harmless one to answer.
        let uuid = harmless.command_uuid;
        let (card, _) = &fleet[&udid(0)];
        let (_, body) = stage
            .send(card, false, answer(&udid(0), "Acknowledged", &uuid))
            .await;
        assert!(command_uuid(&body).is_some(), "{body}");
        assert_eq!(poll(&stage, &engines, &fleet).await, 2);
        let error = approve(person(3), old, sent).await.unwrap_err();
        assert!(error.contains("has left already"), "{error}");
    }
}
