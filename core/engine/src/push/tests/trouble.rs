//! What each answer of APNs leads to, in the database.

use super::*;
use crate::clock::MINUTE;
use crate::event::EventKind;
use crate::push::resume_topic;

#[test]
fn an_unregistered_token_is_not_rung_again_and_its_enrollment_stays() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.apns.answer(refusal(410, "Unregistered"));
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        let event = world.events.lock().pop().unwrap();
        assert_eq!(event.kind, EventKind::PushRefused);
        assert_eq!(event.body["status"], 410);
        assert_eq!(event.body["reason"], "Unregistered");
        world.pass(7 * HOUR);
        assert_eq!(world.ring().await, 0);
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 0);
        let row = world.row(device).await;
        assert!(row.due_at.is_some());
        assert_eq!(row.last_reason.as_deref(), Some("Unregistered"));
        let mut tx = world.store.begin_read().await.unwrap();
        let state = tx
            .query_one("SELECT state FROM enrollment WHERE id = ?", args![device])
            .await
            .unwrap();
        assert_eq!(state.unwrap().int(0).unwrap(), ENABLED);
        tx.rollback().await.unwrap();
        // The same token, announced again after the refusal, is good again.
        let updated = "UPDATE enrollment SET token_updated_at = ? WHERE id = ?";
        world.sql(updated, args![world.now(), device]).await;
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        assert_eq!(world.row(device).await.last_status, Some(200));
    });
}

#[test]
fn a_token_announced_after_it_was_reported_dead_goes_on_ringing() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.apns.answer(PushFailure::Refused(Refusal {
            dead_since: Some(START - 2 * DAY),
            ..refused(410, "Unregistered")
        }));
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        world.pass(2 * MINUTE + 24 * SECOND);
        assert_eq!(world.ring().await, 1);
        assert_eq!(world.row(device).await.last_status, Some(200));
    });
}

#[test]
fn a_refused_token_is_rung_at_once_under_another_certificate() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.apns.answer(refusal(400, "BadDeviceToken"));
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        world.pass(HOUR);
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 0);
        world.apns.heard();
        let renewed = world.import(TOPIC).await;
        assert_eq!(world.ring().await, 1);
        assert_eq!(world.apns.heard()[0].certificate, renewed);
    });
}

#[test]
fn a_refused_token_that_waits_for_nothing_is_not_rung_under_another_certificate() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.apns.answer(refusal(400, "DeviceTokenNotForTopic"));
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        world.came(device).await;
        world.import(TOPIC).await;
        assert_eq!(world.ring().await, 0);
    });
}

#[test]
fn many_refused_tokens_stop_the_topic_and_a_new_certificate_starts_it() {
    on_both(|world| async move {
        world.import(TOPIC).await;
        let mut devices = Vec::new();
        for n in 0..20_u8 {
            devices.push(world.enroll(&[n; 32], "magic").await);
        }
        world
            .apns
            .always(Some(refusal(400, "DeviceTokenNotForTopic")));
        world.due(&devices).await;
        let one_by_one = world.another_pusher(PushOptions {
            in_flight: 1,
            ..PushOptions::default()
        });
        let mut rung = 0;
        while one_by_one.run_once().await.unwrap() == 1 {
            rung += 1;
        }
        assert_eq!(rung, 5);
        let status = one_by_one.status();
        let (_, reason) = status.topics[0].stopped.clone().unwrap();
        assert!(reason.contains("5 of the last 5"), "{reason}");
        // Every other node sees it.
        assert_eq!(world.ring().await, 0);
        assert!(world.pusher.status().topics[0].stopped.is_some());
        world.pass(DAY);
        assert_eq!(one_by_one.run_once().await.unwrap(), 0);
        world.apns.always(None);
        world.import(TOPIC).await;
        assert_eq!(world.ring().await, 20);
    });
}

#[test]
fn a_rejected_certificate_stops_the_topic_and_loses_nothing() {
    on_both(|world| async move {
        for failure in [
            refusal(403, "BadCertificateEnvironment"),
            refusal(403, "SomethingNew"),
            refusal(400, "BadTopic"),
            refusal(400, "InvalidPushType"),
            refusal(405, "MethodNotAllowed"),
            PushFailure::CertificateRejected("CertificateExpired".to_owned()),
        ] {
            world.import(TOPIC).await;
            let first = world.enroll(b"first", "magic").await;
            let second = world.enroll(b"second", "magic").await;
            world.due(&[first, second]).await;
            let due_at = world.row(first).await.due_at;
            let one_by_one = world.another_pusher(PushOptions {
                in_flight: 1,
                ..PushOptions::default()
            });
            world.apns.answer(failure.clone());
            assert_eq!(one_by_one.run_once().await.unwrap(), 1, "{failure}");
            for _ in 0..3 {
                world.pass(HOUR);
                assert_eq!(one_by_one.run_once().await.unwrap(), 0, "{failure}");
            }
            for device in [first, second] {
                let row = world.row(device).await;
                assert_eq!((row.due_at, row.attempts), (due_at, 0), "{failure}");
            }
            world.import(TOPIC).await;
            world.pass(SECOND);
            assert_eq!(world.ring().await, 2, "{failure}");
            world.came(first).await;
            world.came(second).await;
        }
    });
}

#[test]
fn a_stopped_topic_can_be_resumed_with_the_certificate_that_it_has() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        let resume = async || {
            resume_topic(&world.store, world.tenant, Actor::SYSTEM, TOPIC)
                .await
                .unwrap()
        };
        assert!(!resume().await);
        world.apns.answer(refusal(403, "Forbidden"));
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        assert_eq!(world.ring().await, 0);
        assert!(resume().await);
        assert_eq!(world.ring().await, 1);
        let unknown = resume_topic(&world.store, world.tenant, Actor::SYSTEM, OTHER_TOPIC).await;
        assert!(matches!(unknown, Err(crate::Error::NotFound(_))));
    });
}

#[test]
fn one_tenants_trouble_is_its_own() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        let other = tenant(&world.store, "other").await;
        let pem = push_pem(OTHER_TOPIC);
        import_certificate(&world.store, other, Actor::SYSTEM, pem.as_bytes(), false)
            .await
            .unwrap();
        let theirs = enroll(&world.store, other, b"their token", "magic").await;
        let topic = "UPDATE enrollment SET topic = ? WHERE id = ?";
        world.sql(topic, args![OTHER_TOPIC, theirs]).await;
        world.apns.answer(refusal(403, "BadCertificate"));
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        world.apns.heard();
        world.due(&[device, theirs]).await;
        assert_eq!(world.ring().await, 1);
        assert_eq!(world.apns.heard()[0].token, b"their token");
    });
}

#[test]
fn a_throttled_token_is_left_alone_even_if_its_device_comes() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.apns.answer(PushFailure::Refused(Refusal {
            retry_after: Some(Duration::from_secs(1_800)),
            ..refused(429, "TooManyRequests")
        }));
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        world.pass(MINUTE);
        world.came(device).await;
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 0);
        world.pass(20 * MINUTE);
        assert_eq!(world.ring().await, 0);
        world.pass(15 * MINUTE);
        assert_eq!(world.ring().await, 1);
    });
}

#[test]
fn trouble_at_apns_is_tried_again_after_seconds() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.apns.answer(refusal(500, "InternalServerError"));
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        assert_eq!(world.ring().await, 0);
        world.pass(3 * SECOND);
        assert_eq!(world.ring().await, 1);
        assert_eq!(world.row(device).await.last_status, Some(200));
    });
}

#[test]
fn an_unknown_answer_is_kept_and_tried_again_later() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.apns.answer(refusal(418, "Teapot"));
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        assert_eq!(
            world.row(device).await.last_reason.as_deref(),
            Some("Teapot")
        );
        world.pass(MINUTE);
        assert_eq!(world.ring().await, 0);
        world.pass(2 * MINUTE);
        assert_eq!(world.ring().await, 1);
    });
}

#[test]
fn without_a_connection_one_channel_at_a_time_is_tried_and_all_are_rung_when_it_is_back() {
    on_both(|world| async move {
        world.import(TOPIC).await;
        let mut devices = Vec::new();
        for n in 0..10_u8 {
            devices.push(world.enroll(&[n; 32], "magic").await);
        }
        world
            .apns
            .always(Some(PushFailure::Connect("refused".to_owned())));
        world.due(&devices).await;
        assert_eq!(world.ring().await, 10);
        assert_eq!(world.pusher.status().outage_since, Some(START));
        for _ in 0..20 {
            world.pass(5 * SECOND);
            assert_eq!(world.ring().await, 1);
            assert_eq!(world.ring().await, 0);
        }
        assert!(world.events.lock().is_empty());
        let row = world.row(devices[0]).await;
        assert_eq!(row.last_reason.as_deref(), Some("no_connection"));
        assert_eq!(row.attempts, 0);
        world.apns.always(None);
        // Within five seconds of the recovery the first attempt, and then the rest.
        world.pass(5 * SECOND);
        assert_eq!(world.ring().await, 1);
        assert_eq!(world.pusher.status().outage_since, None);
        assert_eq!(world.ring().await, 9);
    });
}

#[test]
fn a_push_without_an_answer_is_tried_again() {
    on_both(|world| async move {
        for failure in [
            PushFailure::Timeout,
            PushFailure::Broken("reset".to_owned()),
        ] {
            let (world, device) = (&world, world.enroll(b"token", "magic").await);
            world.import(TOPIC).await;
            world.apns.answer(failure);
            world.due(&[device]).await;
            assert_eq!(world.ring().await, 1);
            world.pass(3 * SECOND);
            assert_eq!(world.ring().await, 1);
            assert_eq!(world.row(device).await.last_status, Some(200));
            world.came(device).await;
        }
    });
}

#[test]
fn a_certificate_that_has_ended_stops_its_topic() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.pass(365 * DAY);
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 0);
        let (_, reason) = world.pusher.status().topics[0].stopped.clone().unwrap();
        assert!(reason.contains("expired"), "{reason}");
        let resumed = resume_topic(&world.store, world.tenant, Actor::SYSTEM, TOPIC).await;
        assert!(matches!(resumed, Err(crate::Error::Conflict(_))));
    });
}

#[test]
fn a_token_that_cannot_be_opened_is_set_aside_and_blocks_nobody() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        let good = world.enroll(b"good", "magic").await;
        let broken = "UPDATE enrollment SET push_magic_sealed = ? WHERE id = ?";
        world.sql(broken, args![vec![1_u8, 2, 3], device]).await;
        world.due(&[device, good]).await;
        assert_eq!(world.ring().await, 2);
        assert_eq!(world.apns.heard().len(), 1);
        world.pass(MINUTE);
        assert_eq!(world.ring().await, 0);
        assert_eq!(
            world.row(device).await.last_reason.as_deref(),
            Some("unusable")
        );
    });
}
