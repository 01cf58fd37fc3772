//! What is rung and when.

use super::*;
use crate::clock::MINUTE;
use crate::event::EventKind;

#[test]
fn a_due_channel_is_rung_again_and_again_until_its_device_comes() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        assert_eq!(world.ring().await, 0);
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        let heard = world.apns.heard();
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].token, b"a token");
        assert_eq!(heard[0].magic, "a magic");
        assert_eq!(heard[0].topic, TOPIC);
        assert_eq!(heard[0].expires_at, START + 7 * DAY);
        for (attempts, gap) in [
            (1, 2 * MINUTE),
            (2, 5 * MINUTE),
            (3, 15 * MINUTE),
            (4, HOUR),
            (5, 6 * HOUR),
            (6, 6 * HOUR),
        ] {
            let row = world.row(device).await;
            assert_eq!(row.attempts, attempts);
            assert_eq!(row.last_status, Some(200));
            let due = row.due_at.unwrap() - world.now();
            assert!(due >= gap && due <= gap + gap / 5, "{due} after {attempts}");
            assert_eq!(world.ring().await, 0);
            world.pass(due);
            assert_eq!(world.ring().await, 1);
        }
        world.came(device).await;
        world.pass(DAY);
        assert_eq!(world.ring().await, 0);
        assert_eq!(world.row(device).await.attempts, 0);
    });
}

#[test]
fn an_accepted_push_is_told_without_token_or_magic() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.due(&[device]).await;
        world.ring().await;
        let events = std::mem::take(&mut *world.events.lock());
        assert_eq!(events.len(), 1);
        let event = &events[0];
        assert_eq!(event.kind, EventKind::PushAccepted);
        assert_eq!(event.enrollment_id, Some(device));
        assert_eq!(event.seq, 1);
        assert_eq!(event.body["status"], 200);
        assert_eq!(event.body["apns_id"], "id-1");
        assert_eq!(event.body["attempt"], 1);
        let text = format!("{event:?} {}", event.body);
        assert!(!text.contains("a magic") && !text.contains(&hex::encode("a token")));
        assert_eq!(
            world.row(device).await.last_apns_id.as_deref(),
            Some("id-1")
        );
    });
}

#[test]
fn what_is_queued_while_a_wake_up_is_outstanding_rings_no_second_time() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        for _ in 0..9 {
            world.pass(SECOND);
            world.due(&[device]).await;
            assert_eq!(world.ring().await, 0);
        }
        world.pass(SECOND);
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
    });
}

#[test]
fn a_device_that_came_is_rung_at_once_for_what_is_queued_next() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        world.pass(SECOND);
        world.came(device).await;
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        assert_eq!(world.row(device).await.attempts, 1);
    });
}

#[test]
fn a_device_seen_within_two_seconds_is_not_rung() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        let seen = "UPDATE channel SET last_seen_at = ? WHERE enrollment_id = ?";
        world.sql(seen, args![world.now(), device]).await;
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 0);
        world.pass(SECOND);
        assert_eq!(world.ring().await, 0);
        world.pass(SECOND);
        assert_eq!(world.ring().await, 1);
    });
}

#[test]
fn a_fresh_enrollment_is_rung_again_after_fifteen_seconds() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        let enabled = "UPDATE enrollment SET enabled_at = ? WHERE id = ?";
        world
            .sql(enabled, args![world.now() - SECOND, device])
            .await;
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        world.pass(18 * SECOND);
        assert_eq!(world.ring().await, 1);
    });
}

#[test]
fn only_enabled_enrollments_are_rung() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        let state = "UPDATE enrollment SET state = ? WHERE id = ?";
        for waiting in [0_i64, 1] {
            world.sql(state, args![waiting, device]).await;
            world.due(&[device]).await;
            assert_eq!(world.ring().await, 0, "state {waiting}");
            assert!(world.row(device).await.due_at.is_some());
        }
        world.sql(state, args![ENABLED, device]).await;
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        world.sql(state, args![3_i64, device]).await;
        world.pass(DAY);
        assert_eq!(world.ring().await, 0);
        assert_eq!(world.row(device).await.due_at, None);
    });
}

#[test]
fn a_need_that_arises_while_a_push_is_under_way_is_rung_for() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.due(&[device]).await;
        let mut claimed = world.pusher.claim().await.unwrap();
        assert_eq!(claimed.len(), 1);
        world.pass(SECOND);
        world.came(device).await;
        world.pass(SECOND);
        world.due(&[device]).await;
        let rung = world.pusher.ring(claimed.remove(0)).await;
        world.pusher.write(vec![rung]).await.unwrap();
        assert_eq!(world.row(device).await.last_status, Some(200));
        assert_eq!(world.ring().await, 1);
    });
}

#[test]
fn a_device_that_comes_while_its_push_is_under_way_is_done() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.due(&[device]).await;
        let mut claimed = world.pusher.claim().await.unwrap();
        world.came(device).await;
        let rung = world.pusher.ring(claimed.remove(0)).await;
        world.pusher.write(vec![rung]).await.unwrap();
        let row = world.row(device).await;
        assert_eq!((row.due_at, row.attempts), (None, 0));
        world.pass(DAY);
        assert_eq!(world.ring().await, 0);
    });
}

#[test]
fn two_nodes_share_the_work_and_one_takes_over_from_one_that_died() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        let other = world.another_pusher(PushOptions::default());
        world.due(&[device]).await;
        let claimed = world.pusher.claim().await.unwrap();
        assert_eq!(claimed.len(), 1);
        assert_eq!(other.run_once().await.unwrap(), 0);
        // The first node dies here. Another attempt follows within five seconds.
        world.pass(4 * SECOND);
        assert_eq!(other.run_once().await.unwrap(), 1);
        assert_eq!(world.apns.heard().len(), 1);
    });
}

#[test]
fn a_channel_that_is_being_rung_is_not_rung_by_the_same_node_when_its_lease_ends() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.due(&[device]).await;
        let mut claimed = world.pusher.claim().await.unwrap();
        world.pass(MINUTE);
        assert_eq!(world.ring().await, 0);
        let rung = world.pusher.ring(claimed.remove(0)).await;
        world.pusher.write(vec![rung]).await.unwrap();
        assert_eq!(world.apns.heard().len(), 1);
    });
}

#[test]
fn a_tenant_is_rung_at_its_pace_and_slower_under_pressure() {
    on_both(|world| async move {
        world.import(TOPIC).await;
        let mut devices = Vec::new();
        for n in 0..60_u8 {
            devices.push(world.enroll(&[n; 32], "magic").await);
        }
        world.due(&devices).await;
        let pusher = world.another_pusher(PushOptions {
            per_second: 20,
            burst: 20,
            ..PushOptions::default()
        });
        assert_eq!(pusher.run_once().await.unwrap(), 20);
        assert_eq!(pusher.run_once().await.unwrap(), 0);
        world.pass(SECOND / 2);
        assert_eq!(pusher.run_once().await.unwrap(), 10);
        pusher.lines.lock().pressure(false);
        world.pass(SECOND);
        assert_eq!(pusher.run_once().await.unwrap(), 10);
    });
}

#[test]
fn pushes_under_way_are_bounded() {
    on_both(|world| async move {
        world.import(TOPIC).await;
        let mut devices = Vec::new();
        for n in 0..5_u8 {
            devices.push(world.enroll(&[n; 32], "magic").await);
        }
        world.due(&devices).await;
        let pusher = world.another_pusher(PushOptions {
            in_flight: 3,
            ..PushOptions::default()
        });
        let first = pusher.claim().await.unwrap();
        assert_eq!(first.len(), 3);
        assert_eq!(pusher.claim().await.unwrap().len(), 0);
        for ring in first {
            let rung = pusher.ring(ring).await;
            pusher.write(vec![rung]).await.unwrap();
        }
        assert_eq!(pusher.run_once().await.unwrap(), 2);
    });
}

#[test]
fn a_device_that_puts_off_its_work_is_rung_after_growing_gaps() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        for gap in [5 * MINUTE, 15 * MINUTE, HOUR] {
            // It comes, makes three requests and leaves work undone.
            let due = world.row(device).await.due_at.unwrap();
            world.pass(due - world.now());
            world.postponed(device).await;
            world.postponed(device).await;
            world.postponed(device).await;
            let row = world.row(device).await;
            assert_eq!(row.due_at, Some(world.now() + gap));
        }
        world.due(&[device]).await;
        assert_eq!(world.ring().await, 1);
        world.came(device).await;
        world.postponed(device).await;
        let row = world.row(device).await;
        assert_eq!(row.due_at, Some(world.now() + 2 * MINUTE));
        assert_eq!(row.attempts, 1);
    });
}

#[test]
fn marking_for_later_never_delays_what_is_due() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        let mark = async |at| {
            let mut tx = world.store.begin().await.unwrap();
            rows::mark_due(&mut tx, at, &[device, device])
                .await
                .unwrap();
            tx.commit().await.unwrap();
            world.row(device).await.due_at
        };
        let now = world.now();
        assert_eq!(mark(now + HOUR).await, Some(now + HOUR));
        assert_eq!(world.ring().await, 0);
        assert_eq!(mark(now).await, Some(now));
        assert_eq!(mark(now + HOUR).await, Some(now));
        assert_eq!(world.ring().await, 1);
    });
}

#[test]
fn the_worker_rings_when_woken_and_ends_when_told() {
    on_both(|world| async move {
        let (world, device) = world.with_device().await;
        let cancel = tokio_util::sync::CancellationToken::new();
        let options = PushOptions {
            poll: Duration::from_secs(3_600),
            ..PushOptions::default()
        };
        let handle = Pusher::start(
            world.store.clone(),
            world.apns.clone(),
            options,
            |_| (),
            cancel.clone(),
        );
        world.due(&[device]).await;
        handle.wake();
        let soon = Duration::from_secs(30);
        tokio::time::timeout(soon, world.apns.arrived.notified())
            .await
            .unwrap();
        cancel.cancel();
        tokio::time::timeout(soon, handle.stopped()).await.unwrap();
        assert_eq!(world.row(device).await.last_status, Some(200));
        let status = handle.status();
        assert_eq!(status.outage_since, None);
        assert_eq!(status.topics.len(), 1);
    });
}
