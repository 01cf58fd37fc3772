//! What the reference model and other tests found, each kept as a test of its own.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use pomona_engine::hooks::Hooks;
use pomona_engine::{Actor, Cause, CommandBody, Enqueue, Enqueued, EnrollmentId, Error};
use support::*;

const A: &str = "00000000-0000-0000-0000-00000000000A";
const B: &str = "00000000-0000-0000-0000-00000000000B";
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

fn request(target: EnrollmentId) -> Enqueue {
    let dictionary = dictionary("DeviceInformation");
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

async fn due(stage: &Stage, enrollment: EnrollmentId) -> bool {
    let sql = format!(
        "SELECT count(*) FROM push_state WHERE enrollment_id = {} AND due_at <= {}",
        stage.sql.id(enrollment.0),
        stage.now()
    );
    stage.sql.number(&sql).await == 1
}

#[tokio::test]
async fn what_waited_for_a_command_is_rung_for_when_that_is_over() {
    for backend in backends() {
        for how in ["cancelled", "expired", "expired while outstanding"] {
            let stage = calm(backend).await;
            let (card, enrollment) = stage.enroll(A).await;
            let mut first = request(enrollment);
            match how {
                "cancelled" => first.not_before = Some(stage.now() + 3_600 * SECOND),
                _ => first.not_after = Some(stage.now() + SECOND),
            }
            let first = enqueue(&stage, first).await.unwrap();
            let mut second = request(enrollment);
            second.after = Some(first.command_id);
            let second = enqueue(&stage, second).await.unwrap();
            if how == "expired while outstanding" {
                let (_, body) = stage.send(&card, false, idle(A)).await;
                assert_eq!(command_uuid(&body), Some(first.command_uuid));
                stage.clock.advance(SECOND);
                assert_eq!(stage.send(&card, false, idle(A)).await.1, "");
            } else {
                if how == "expired" {
                    stage.clock.advance(SECOND);
                }
                assert_eq!(stage.send(&card, false, idle(A)).await.1, "");
                assert!(!due(&stage, enrollment).await, "{how}");
                if how == "expired" {
                    assert_eq!(stage.engine.expire().await.unwrap(), 1);
                } else {
                    let id = first.command_id;
                    let done = stage
                        .engine
                        .cancel(stage.tenant, Actor::SYSTEM, id, None)
                        .await;
                    assert_eq!(done.unwrap().len(), 1);
                }
            }
            assert!(due(&stage, enrollment).await, "{how}");
            let (_, body) = stage.send(&card, false, idle(A)).await;
            assert_eq!(command_uuid(&body), Some(second.command_uuid), "{how}");
        }
    }
}

#[tokio::test]
async fn a_device_that_sends_tokens_is_not_silent() {
    for backend in backends() {
        for by_user in [false, true] {
            let stage = Stage::new(backend).await;
            let (card, _) = stage.enroll(A).await;
            stage.clock.advance(60 * DAY);
            let mut update = token_update(A, "02");
            if by_user {
                update = update.replace(
                    "<key>Token<",
                    "<key>UserID</key><string>U</string><key>Token<",
                );
            }
            assert_eq!(stage.send(&card, true, update).await.0, StatusCode::OK);
            stage.clock.advance(60 * DAY);
            // Somebody with an open grant names this device.
            let other = stage.card("link", None, None).await;
            stage.send(&other, true, authenticate(A)).await;
            stage.send(&other, true, token_update(A, "03")).await;
            assert_eq!(stage.send(&card, false, idle(A)).await.0, StatusCode::OK);
            let waiting = stage
                .sql
                .number("SELECT count(*) FROM enrollment WHERE state = 1");
            assert_eq!(waiting.await, 1, "it waits in quarantine");
            stage.clock.advance(90 * DAY);
            let third = stage.card("link", None, None).await;
            stage.send(&third, true, authenticate(A)).await;
            stage.send(&third, true, token_update(A, "04")).await;
            assert_eq!(
                stage.send(&card, false, idle(A)).await.0,
                StatusCode::FORBIDDEN
            );
        }
    }
}

#[tokio::test]
async fn a_release_gives_a_device_a_whole_day_to_complete() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let (old, _) = stage.enroll(A).await;
        let new = stage.card("link", None, None).await;
        stage.send(&new, true, authenticate(A)).await;
        let id = stage.in_state(A, 1).await;
        stage.clock.advance(5 * DAY);
        let other = stage.card("link", None, None).await;
        stage.send(&other, true, authenticate(B)).await;
        stage.clock.advance(3_600 * SECOND);
        let done = stage.engine.release(stage.tenant, Actor::SYSTEM, id).await;
        assert!(done.is_ok(), "{done:?}");
        stage.clock.advance(DAY - 1_800 * SECOND);
        // Background work has been here when the other device, which has had its day, is forgotten.
        let over = "SELECT count(*) FROM enrollment WHERE state = 3";
        while stage.sql.number(over).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(
            stage.send(&new, true, token_update(A, "02")).await.0,
            StatusCode::OK
        );
        assert_eq!(stage.send(&new, false, idle(A)).await.0, StatusCode::OK);
        assert_eq!(
            stage.send(&old, false, idle(A)).await.0,
            StatusCode::FORBIDDEN
        );
    }
}
