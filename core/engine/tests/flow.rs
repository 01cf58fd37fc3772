//! Enrollment and the command loop through the device's URL, on both back ends.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

#[path = "flow/brake.rs"]
mod brake;
#[path = "flow/profiles.rs"]
mod profiles;
#[path = "flow/rounds.rs"]
mod rounds;
mod support;
#[path = "flow/told.rs"]
mod told;

use axum::http::StatusCode;
use pomona_engine::{Actor, Cause, CommandBody, Enqueue};
use support::*;

const A: &str = "00000000-0000-0000-0000-00000000000A";

fn command(request_type: &str) -> CommandBody {
    let dictionary = dictionary(request_type);
    CommandBody::Dictionary(dictionary)
}

async fn queue(
    stage: &Stage,
    request_type: &str,
    enrollment: pomona_engine::EnrollmentId,
) -> String {
    let request = Enqueue::new(command(request_type), vec![enrollment]);
    let done = stage
        .engine
        .enqueue(stage.tenant, Actor::SYSTEM, Cause::default(), request)
        .await
        .unwrap();
    assert!(done.targets[0].accepted, "{done:?}");
    done.command_uuid
}

#[tokio::test]
async fn a_device_enrolls_fetches_its_commands_in_order_and_reports() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let (card, enrollment) = stage.enroll(A).await;
        assert_eq!(
            stage.send(&card, false, idle(A)).await,
            (StatusCode::OK, String::new())
        );
        let first = queue(&stage, "DeviceInformation", enrollment).await;
        let second = queue(&stage, "SecurityInfo", enrollment).await;
        let (_, body) = stage.send(&card, false, idle(A)).await;
        assert_eq!(command_uuid(&body).as_deref(), Some(first.as_str()));
        let (_, again) = stage.send(&card, false, idle(A)).await;
        assert_eq!(
            again, body,
            "an unanswered command is sent again, byte for byte"
        );
        let (_, body) = stage
            .send(&card, false, answer(A, "Acknowledged", &first))
            .await;
        assert_eq!(command_uuid(&body).as_deref(), Some(second.as_str()));
        let (_, body) = stage.send(&card, false, answer(A, "NotNow", &second)).await;
        assert_eq!(body, "", "a deferred command waits for the next poll");
        let (_, body) = stage.send(&card, false, idle(A)).await;
        assert_eq!(command_uuid(&body).as_deref(), Some(second.as_str()));
        let (status, body) = stage.send(&card, false, answer(A, "Error", &second)).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
        assert_eq!(stage.sql.number("SELECT count(*) FROM delivery").await, 0);
        assert_eq!(
            stage
                .sql
                .number("SELECT count(*) FROM delivery_history WHERE outcome = 1")
                .await,
            1
        );
        assert_eq!(
            stage
                .sql
                .number("SELECT count(*) FROM delivery_history WHERE outcome = 2")
                .await,
            1
        );
        let last = stage.sql.number("SELECT max(seq) FROM event").await;
        assert_eq!(
            stage.sql.number("SELECT count(*) FROM event").await,
            last,
            "events are gapless"
        );
    }
}

#[tokio::test]
async fn a_deferred_command_stays_out_of_the_way_of_the_others_until_the_next_poll() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let (card, enrollment) = stage.enroll(A).await;
        let first = queue(&stage, "DeviceInformation", enrollment).await;
        let second = queue(&stage, "SecurityInfo", enrollment).await;
        let third = queue(&stage, "ProfileList", enrollment).await;
        let given = |body: &str| command_uuid(body);
        let (_, body) = stage.send(&card, false, idle(A)).await;
        assert_eq!(given(&body), Some(first.clone()));
        let (_, body) = stage.send(&card, false, answer(A, "NotNow", &first)).await;
        assert_eq!(given(&body), Some(second.clone()));
        let report = answer(A, "Acknowledged", &second);
        let (_, body) = stage.send(&card, false, report).await;
        assert_eq!(given(&body), Some(third.clone()), "not the deferred one");
        let report = answer(A, "Acknowledged", &third);
        let (_, body) = stage.send(&card, false, report).await;
        assert_eq!(given(&body), None, "this poll is over for it");
        let (_, body) = stage.send(&card, false, idle(A)).await;
        assert_eq!(given(&body), Some(first));
    }
}

#[tokio::test]
async fn after_a_check_out_the_old_certificate_is_refused_for_ever() {
    for backend in backends() {
        let mut stage = Stage::new(backend).await;
        let (card, enrollment) = stage.enroll(A).await;
        queue(&stage, "DeviceInformation", enrollment).await;
        let (status, _) = stage
            .send(&card, true, simple_check_in("CheckOut", A))
            .await;
        assert_eq!(status, StatusCode::OK);
        for round in 0..2 {
            assert_eq!(
                stage.send(&card, false, idle(A)).await.0,
                StatusCode::FORBIDDEN
            );
            assert_eq!(
                stage.send(&card, true, token_update(A, "02")).await.0,
                StatusCode::FORBIDDEN
            );
            assert_eq!(
                stage.send(&card, true, authenticate(A)).await.0,
                StatusCode::FORBIDDEN
            );
            if round == 0 {
                // As after a restore of an older backup: the database forgets, the journal does not.
                stage
                    .sql
                    .run("UPDATE certificate SET state = 2, end_reason = NULL")
                    .await;
                stage.sql.run("UPDATE enrollment SET state = 2").await;
                stage.restart().await;
            }
        }
    }
}

#[tokio::test]
async fn a_renewal_keeps_the_queue_and_ends_the_old_certificate_at_the_first_report() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let (old, enrollment) = stage.enroll(A).await;
        let uuid = queue(&stage, "DeviceInformation", enrollment).await;
        let new = stage.card("renewal", Some(A), Some(enrollment)).await;
        let older = "UPDATE device SET os_version = '26.0', marks = 3";
        stage.sql.run(older).await;
        assert_eq!(
            stage.send(&new, true, authenticate(A)).await.0,
            StatusCode::OK
        );
        // A renewal tells which version the device has by now; what is known of it otherwise stays.
        let known = "SELECT os_version || ' ' || marks FROM device";
        assert_eq!(stage.sql.texts(known).await, ["27.0 3"]);
        let (status, body) = stage.send(&old, false, idle(A)).await;
        assert_eq!(
            (status, command_uuid(&body)),
            (StatusCode::OK, Some(uuid.clone()))
        );
        assert_eq!(
            stage.send(&new, true, token_update(A, "02")).await.0,
            StatusCode::OK
        );
        assert_eq!(stage.enabled(A).await, enrollment);
        assert_eq!(stage.send(&old, false, idle(A)).await.0, StatusCode::OK);
        let (_, body) = stage.send(&new, false, idle(A)).await;
        assert_eq!(command_uuid(&body), Some(uuid));
        assert_eq!(
            stage.send(&old, false, idle(A)).await.0,
            StatusCode::FORBIDDEN
        );
        assert_eq!(stage.send(&new, false, idle(A)).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_second_enrollment_of_an_enabled_device_waits_in_quarantine() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let (old, enrollment) = stage.enroll(A).await;
        let uuid = queue(&stage, "DeviceInformation", enrollment).await;
        let new = stage.card("link", None, None).await;
        assert_eq!(
            stage.send(&new, true, authenticate(A)).await.0,
            StatusCode::OK
        );
        assert_eq!(
            stage.send(&new, true, token_update(A, "02")).await.0,
            StatusCode::OK
        );
        assert_eq!(
            stage.send(&new, false, idle(A)).await,
            (StatusCode::OK, String::new())
        );
        assert_eq!(
            stage.enabled(A).await,
            enrollment,
            "the old enrollment is untouched"
        );
        let (_, body) = stage.send(&old, false, idle(A)).await;
        assert_eq!(command_uuid(&body), Some(uuid));
        let waiting = stage
            .sql
            .number("SELECT count(*) FROM enrollment WHERE state = 1")
            .await;
        assert_eq!(waiting, 1);
        let named = stage.card("link", Some(A), None).await;
        assert_eq!(
            stage.send(&named, true, authenticate(A)).await.0,
            StatusCode::OK
        );
        assert_eq!(
            stage.send(&old, false, idle(A)).await.0,
            StatusCode::OK,
            "nothing is destroyed yet"
        );
        assert_eq!(
            stage.send(&named, true, token_update(A, "03")).await.0,
            StatusCode::OK
        );
        assert_eq!(
            stage.send(&old, false, idle(A)).await.0,
            StatusCode::FORBIDDEN
        );
        assert_eq!(
            stage.send(&named, false, idle(A)).await,
            (StatusCode::OK, String::new())
        );
    }
}
