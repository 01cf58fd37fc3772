//! What the reference model and other tests found, each kept as a test of its own.

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use pomona_engine::hooks::Hooks;
use pomona_engine::{Actor, Cause, CommandBody, Enqueue, Enqueued, EnrollmentId, Error};
use support::*;

const A: &str = "00000000-0000-0000-0000-00000000000A";
const SECOND: i64 = 1_000_000;

fn request(target: EnrollmentId) -> Enqueue {
    let mut dictionary = plist::Dictionary::new();
    dictionary.insert("RequestType".into(), "DeviceInformation".into());
    Enqueue::new(CommandBody::Dictionary(dictionary), vec![target])
}

async fn enqueue(stage: &Stage, request: Enqueue) -> Result<Enqueued, Error> {
    stage
        .engine
        .enqueue(stage.tenant, Actor::SYSTEM, Cause::default(), request)
        .await
}

/// A stage on which background work looks only once, at the start.
async fn calm(backend: Backend) -> Stage {
    let tune: Tune = Arc::new(|options| options.poll_interval = Duration::from_secs(100_000));
    Stage::tuned(backend, Hooks::default(), tune).await
}

#[tokio::test]
async fn who_asks_again_under_a_key_gets_the_first_answer_also_after_the_end_of_the_command() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let (_, enrollment) = stage.enroll(A).await;
        let mut order = request(enrollment);
        order.idempotency_key = Some("key".into());
        order.not_after = Some(stage.now() + SECOND);
        let first = enqueue(&stage, order.clone()).await.unwrap();
        stage.clock.advance(2 * SECOND);
        let again = enqueue(&stage, order.clone()).await.unwrap();
        assert!(again.repeated);
        assert_eq!(again.command_uuid, first.command_uuid);
        order.idempotency_key = Some("other".into());
        let late = enqueue(&stage, order).await;
        assert!(matches!(late, Err(Error::Invalid(_))), "{late:?}");
    }
}

#[tokio::test]
async fn commands_whose_time_has_passed_do_not_hide_those_behind_them() {
    for backend in backends() {
        let stage = calm(backend).await;
        let (card, enrollment) = stage.enroll(A).await;
        for _ in 0..10 {
            let mut order = request(enrollment);
            order.not_after = Some(stage.now() + SECOND);
            enqueue(&stage, order).await.unwrap();
        }
        let good = enqueue(&stage, request(enrollment)).await.unwrap();
        stage.clock.advance(SECOND);
        let (status, body) = stage.send(&card, false, idle(A)).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(command_uuid(&body), Some(good.command_uuid));
        assert_eq!(stage.engine.expire().await.unwrap(), 10);
    }
}
