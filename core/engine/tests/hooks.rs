//! Each hook, by native hooks of this test: what it may do, when it is asked, and what holds when it fails. Longer than
//! most files, so that all promises about hooks stand in one place.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

#[path = "hooks/posture.rs"]
mod posture;
#[path = "hooks/stubs.rs"]
mod stubs;
mod support;
#[path = "hooks/tenants.rs"]
mod tenants;
#[path = "hooks/verdicts.rs"]
mod verdicts;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use pomona_engine::hooks::{
    Change, Channel, CommandVerdict, Effect, EnrollmentDecision, Hooks, KeyedEffect,
    Stage as Moment,
};
use pomona_engine::{
    Actor, Cause, CommandBody, Enqueue, Enqueued, EnrollmentId, Error, EventKind, PrincipalId,
};
use stubs::{Act, Editor, Gate, Judge, Watcher};
use support::*;

const A: &str = "00000000-0000-0000-0000-00000000000A";
const B: &str = "00000000-0000-0000-0000-00000000000B";
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

fn request(request_type: &str, target: EnrollmentId) -> Enqueue {
    let dictionary = dictionary(request_type);
    Enqueue::new(CommandBody::Dictionary(dictionary), vec![target])
}

async fn enqueue(stage: &Stage, actor: Actor, request: Enqueue) -> Enqueued {
    let cause = Cause::default();
    let done = stage
        .engine
        .enqueue(stage.tenant, actor, cause, request)
        .await;
    done.unwrap()
}

async fn queue(stage: &Stage, request_type: &str, target: EnrollmentId) -> String {
    let done = enqueue(stage, Actor::SYSTEM, request(request_type, target)).await;
    assert!(done.targets[0].accepted, "{done:?}");
    done.command_uuid
}

fn person() -> Actor {
    Actor::person(PrincipalId(uuid::Uuid::from_u128(7)))
}

async fn ask(stage: &Stage, card: &Card) -> Option<String> {
    let (status, body) = stage.send(card, false, idle(A)).await;
    assert_eq!(status, StatusCode::OK);
    command_uuid(&body)
}

async fn report(stage: &Stage, card: &Card, status: &str, uuid: &str) -> Option<String> {
    let (code, body) = stage.send(card, false, answer(A, status, uuid)).await;
    assert_eq!(code, StatusCode::OK);
    command_uuid(&body)
}

async fn history(stage: &Stage, uuid: &str) -> Vec<String> {
    let sql = format!(
        "SELECT CAST(disposition AS text) || ' ' || coalesce(reason, '') FROM delivery_history WHERE command_uuid = '{uuid}'"
    );
    stage.sql.texts(&sql).await
}

async fn events(stage: &Stage, kind: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM event WHERE kind = '{kind}'");
    stage.sql.number(&sql).await
}

/// Waits until the query gives `wanted`; what is waited for happens in the background. Where the machine has stalled, what timed out is
/// tried again after some time, which is ours to let pass.
async fn becomes(stage: &Stage, sql: &str, wanted: i64) {
    let look = async {
        let mut looks = 0_u32;
        while stage.sql.number(sql).await != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
            looks += 1;
            if looks.is_multiple_of(1_000) {
                stage.clock.advance(2 * SECOND);
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), look)
        .await
        .is_err()
    {
        panic!("{sql}: is {}, not {wanted}", stage.sql.number(sql).await);
    }
}

fn gates(gates: Vec<Arc<Gate>>) -> Hooks {
    let mut hooks = Hooks::default();
    for gate in gates {
        hooks.enrollment.push(gate);
    }
    hooks
}

fn judges(judge: &Arc<Judge>) -> Hooks {
    let mut hooks = Hooks::default();
    hooks.validate.push(judge.clone());
    hooks
}

fn watchers(watcher: &Arc<Watcher>) -> Hooks {
    let mut hooks = Hooks::default();
    hooks.observers.push(watcher.clone());
    hooks
}

// Enrollment.

#[tokio::test]
async fn an_enrollment_hook_lets_in_holds_back_or_denies_and_holds_back_when_it_fails() {
    type Make = fn() -> Act<EnrollmentDecision>;
    let table: [(&str, Make, StatusCode, i64); 5] = [
        (
            "allow",
            || Act::Say(EnrollmentDecision::Allow),
            StatusCode::OK,
            0,
        ),
        (
            "hold",
            || Act::Say(EnrollmentDecision::Hold("look".into())),
            StatusCode::OK,
            1,
        ),
        (
            "deny",
            || Act::Say(EnrollmentDecision::Deny("no".into())),
            StatusCode::FORBIDDEN,
            -1,
        ),
        ("fail", || Act::Fail, StatusCode::OK, 1),
        ("hang", || Act::Hang, StatusCode::OK, 1),
    ];
    for backend in backends() {
        for (name, make, status, state) in table {
            let gate = Gate::new(move |_| make());
            let stage = Stage::with_hooks(backend, gates(vec![gate.clone()])).await;
            let card = stage.card("link", None, None).await;
            let (said, _) = stage.send(&card, true, authenticate(A)).await;
            assert_eq!(said, status, "{name}");
            let found = stage
                .sql
                .number("SELECT coalesce(max(state), -1) FROM enrollment")
                .await;
            assert_eq!(found, state, "{name}");
            assert_eq!(*gate.asked.lock(), 1, "{name}");
        }
    }
}

#[tokio::test]
async fn of_several_enrollment_hooks_the_strictest_answer_holds() {
    let allow = Gate::new(|_| Act::Say(EnrollmentDecision::Allow));
    let hold = Gate::new(|_| Act::Say(EnrollmentDecision::Hold("look".into())));
    let deny = Gate::new(|_| Act::Say(EnrollmentDecision::Deny("no".into())));
    let stage = Stage::with_hooks(Backend::Sqlite, gates(vec![hold.clone(), allow.clone()])).await;
    let card = stage.card("link", None, None).await;
    stage.send(&card, true, authenticate(A)).await;
    assert_eq!(stage.sql.number("SELECT state FROM enrollment").await, 1);
    let stage = Stage::with_hooks(Backend::Sqlite, gates(vec![hold, deny, allow])).await;
    let card = stage.card("link", None, None).await;
    let (status, _) = stage.send(&card, true, authenticate(A)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_enrollment_hook_is_asked_once_and_never_at_a_renewal_or_another_lifeline() {
    for backend in backends() {
        let gate = Gate::new(|_| Act::Say(EnrollmentDecision::Allow));
        let stage = Stage::with_hooks(backend, gates(vec![gate.clone()])).await;
        let (card, enrollment) = stage.enroll(A).await;
        assert_eq!(*gate.asked.lock(), 1);
        let renewal = stage.card("renewal", Some(A), Some(enrollment)).await;
        for (card, body) in [
            (&card, authenticate(A)),
            (&renewal, authenticate(A)),
            (&renewal, token_update(A, "02")),
            (&renewal, token_update(A, "03")),
            (&renewal, simple_check_in("CheckOut", A)),
        ] {
            assert_eq!(stage.send(card, true, body).await.0, StatusCode::OK);
        }
        assert_eq!(*gate.asked.lock(), 1);
    }
}

// Amending.

#[tokio::test]
async fn amending_hooks_change_the_command_one_after_the_other_but_never_its_type() {
    let first = Editor::new("first", |_| {
        Act::Say(vec![
            Change::Set("Room".into(), "4".into()),
            Change::Set("RequestType".into(), "EraseDevice".into()),
        ])
    });
    let second = Editor::new("second", |draft| {
        let room = draft.command.get("Room").and_then(plist::Value::as_string);
        let seen = format!("saw {}", room.unwrap_or("nothing"));
        Act::Say(vec![
            Change::Set("Note".into(), seen.into()),
            Change::Remove("Room".into()),
        ])
    });
    let mut hooks = Hooks::default();
    hooks.amend.push(first);
    hooks.amend.push(second);
    let stage = Stage::with_hooks(Backend::Sqlite, hooks).await;
    let (card, enrollment) = stage.enroll(A).await;
    let done = enqueue(&stage, Actor::SYSTEM, request("Settings", enrollment)).await;
    let reason = done.targets[0].reason.clone().unwrap_or_default();
    assert!(
        reason.contains("second changed Note")
            && reason.contains("second changed Room, which first wanted otherwise"),
        "{reason}"
    );
    let (_, body) = stage.send(&card, false, idle(A)).await;
    assert!(body.contains("saw 4") && !body.contains("Room"), "{body}");
    assert!(
        body.contains("Settings") && !body.contains("EraseDevice"),
        "{body}"
    );
    report(&stage, &card, "Acknowledged", &done.command_uuid).await;
    // A lifeline, a type that no hook wants, and a whole command go as they are.
    let mut glass = request("Settings", enrollment);
    glass.break_glass = true;
    let raw = "<plist version=\"1.0\"><dict><key>Command</key><dict><key>RequestType</key><string>Settings</string>\
               </dict><key>CommandUUID</key><string>mine</string></dict></plist>";
    let raw = Enqueue::new(CommandBody::Raw(raw.into()), vec![enrollment]);
    for one in [glass, request("ProfileList", enrollment), raw] {
        let done = enqueue(&stage, person(), one).await;
        let (_, body) = stage.send(&card, false, idle(A)).await;
        assert!(!body.contains("saw"), "{body}");
        report(&stage, &card, "Acknowledged", &done.command_uuid).await;
    }
}

#[tokio::test]
async fn the_changes_of_an_amending_hook_that_fails_or_hangs_are_left_out() {
    for act in [|| Act::Fail, || Act::Hang] {
        let bad = Editor::new("bad", move |_| act());
        let good = Editor::new("good", |_| {
            Act::Say(vec![Change::Set("Room".into(), "4".into())])
        });
        let mut hooks = Hooks::default();
        hooks.amend.push(bad);
        hooks.amend.push(good);
        let stage = Stage::with_hooks(Backend::Sqlite, hooks).await;
        let (card, enrollment) = stage.enroll(A).await;
        queue(&stage, "Settings", enrollment).await;
        let (_, body) = stage.send(&card, false, idle(A)).await;
        assert!(body.contains("Room"), "{body}");
    }
}

// Judging.

#[tokio::test]
async fn a_veto_while_queueing_refuses_and_a_deferral_waits() {
    for backend in backends() {
        let judge = Judge::new(|q| {
            Act::Say(match (q.moment, q.request_type.as_str()) {
                (Moment::Enqueue, "Settings") => CommandVerdict::Veto("not in class".into()),
                (Moment::Enqueue, "SecurityInfo") => {
                    CommandVerdict::Defer(NEW_YEAR + HOUR, "after class".into())
                }
                _ => CommandVerdict::Allow {
                    valid_until: q.now + HOUR,
                },
            })
        });
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let done = enqueue(&stage, person(), request("Settings", enrollment)).await;
        assert!(!done.targets[0].accepted);
        assert_eq!(
            done.targets[0].reason.as_deref(),
            Some("judge: not in class")
        );
        assert_eq!(stage.sql.number("SELECT count(*) FROM delivery").await, 0);
        let later = queue(&stage, "SecurityInfo", enrollment).await;
        assert_eq!(ask(&stage, &card).await, None);
        stage.clock.advance(HOUR - 1);
        assert_eq!(ask(&stage, &card).await, None);
        stage.clock.advance(1);
        assert_eq!(ask(&stage, &card).await, Some(later));
    }
}

// Observing.

#[tokio::test]
async fn an_observer_sees_every_event_of_a_device_in_order_after_its_commit() {
    for backend in backends() {
        let watcher = Watcher::new(&[], |_| Act::Say(Vec::new()));
        let stage = Stage::with_hooks(backend, watchers(&watcher)).await;
        let (card, enrollment) = stage.enroll(A).await;
        stage.enroll(B).await;
        for _ in 0..3 {
            let uuid = queue(&stage, "Settings", enrollment).await;
            assert_eq!(ask(&stage, &card).await.as_deref(), Some(uuid.as_str()));
            report(&stage, &card, "Acknowledged", &uuid).await;
        }
        becomes(&stage, "SELECT count(*) FROM outbox", 0).await;
        let total = stage.sql.number("SELECT count(*) FROM event").await;
        let seen = watcher.seen.lock().clone();
        assert_eq!(seen.len() as i64, total);
        for device in seen.iter().map(|event| event.device_id) {
            let numbers: Vec<i64> = seen
                .iter()
                .filter(|event| event.device_id == device)
                .map(|event| event.seq)
                .collect();
            let expected: Vec<i64> = (1..=numbers.len() as i64).collect();
            assert_eq!(numbers, expected);
        }
    }
}

#[tokio::test]
async fn effects_are_committed_once_for_their_key_with_the_plugin_as_actor() {
    for backend in backends() {
        let watcher = Watcher::new(&[EventKind::Enrolled, EventKind::TokenUpdated], |batch| {
            let (device, enrollment) = (batch[0].device_id, batch[0].enrollment_id.unwrap());
            let command = dictionary("SecurityInfo");
            let effects = [
                (
                    "a",
                    Effect::Enqueue {
                        channel: Channel::Enrollment(enrollment),
                        not_after: None,
                        reason: "it is new".into(),
                        command,
                    },
                ),
                (
                    "b",
                    Effect::SetFact {
                        device,
                        user_key: String::new(),
                        name: "room".into(),
                        value: 4.into(),
                    },
                ),
                (
                    "c",
                    Effect::Emit {
                        device,
                        topic: "greeting".into(),
                        body: serde_json::json!({ "hello": true }),
                    },
                ),
                (
                    "d",
                    Effect::Wake {
                        channel: Channel::Enrollment(enrollment),
                    },
                ),
            ];
            Act::Say(
                effects
                    .map(|(key, effect)| KeyedEffect {
                        key: key.into(),
                        effect,
                    })
                    .into(),
            )
        });
        let stage = Stage::with_hooks(backend, watchers(&watcher)).await;
        let (card, _) = stage.enroll(A).await;
        becomes(&stage, "SELECT count(*) FROM outbox", 0).await;
        // The same effects are returned again for another event, and done once.
        assert_eq!(
            stage.send(&card, true, token_update(A, "02")).await.0,
            StatusCode::OK
        );
        becomes(&stage, "SELECT count(*) FROM outbox", 0).await;
        assert_eq!(watcher.count(), 2);
        assert_eq!(stage.sql.number("SELECT count(*) FROM command").await, 1);
        assert_eq!(stage.sql.number("SELECT count(*) FROM delivery").await, 1);
        assert_eq!(
            stage
                .sql
                .texts("SELECT value FROM fact WHERE name = 'room'")
                .await,
            ["4"]
        );
        for kind in ["command_queued", "fact_set", "emitted"] {
            let mine = format!(
                "SELECT count(*) FROM event WHERE kind = '{kind}' AND actor_kind = 'plugin' AND actor_id = {}",
                stage.sql.id(watcher.principal.0)
            );
            assert_eq!(stage.sql.number(&mine).await, 1, "{kind}");
            assert_eq!(events(&stage, kind).await, 1, "{kind}");
        }
        let why = "SELECT body FROM event WHERE kind = 'command_queued'";
        assert!(stage.sql.texts(why).await[0].contains("it is new"));
        let actor = "SELECT count(*) FROM command WHERE actor_kind = 'plugin' AND depth = 1";
        assert_eq!(stage.sql.number(actor).await, 1);
        let due = "SELECT count(*) FROM push_state WHERE due_at IS NOT NULL";
        assert_eq!(stage.sql.number(due).await, 1);
        assert!(ask(&stage, &card).await.is_some());
    }
}

#[tokio::test]
async fn effects_that_cause_effects_are_cut_after_three() {
    for backend in backends() {
        let watcher = Watcher::new(&[EventKind::Enrolled, EventKind::Emitted], |batch| {
            let last = &batch[batch.len() - 1];
            Act::Say(vec![KeyedEffect {
                key: format!("after {}", last.seq),
                effect: Effect::Emit {
                    device: last.device_id,
                    topic: "echo".into(),
                    body: serde_json::json!({}),
                },
            }])
        });
        let stage = Stage::with_hooks(backend, watchers(&watcher)).await;
        stage.enroll(A).await;
        becomes(&stage, "SELECT count(*) FROM outbox", 0).await;
        assert_eq!(events(&stage, "emitted").await, 3);
        assert_eq!(
            watcher.count(),
            4,
            "the last one was seen, and its effect cut"
        );
    }
}

#[tokio::test]
async fn an_observer_that_fails_is_asked_again_and_leaves_nothing_half_done() {
    for backend in backends() {
        let watcher = Watcher::new(&[EventKind::Enrolled], {
            let calls = std::sync::atomic::AtomicUsize::new(0);
            move |batch| {
                let fact = |name: &str| KeyedEffect {
                    key: name.into(),
                    effect: Effect::SetFact {
                        device: batch[0].device_id,
                        user_key: String::new(),
                        name: name.into(),
                        value: 1.into(),
                    },
                };
                match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                    0 => Act::Fail,
                    // The second effect cannot be done: then the first is not either.
                    1 => Act::Say(vec![fact("first"), fact("")]),
                    _ => Act::Say(vec![fact("first"), fact("second")]),
                }
            }
        });
        let stage = Stage::with_hooks(backend, watchers(&watcher)).await;
        stage.enroll(A).await;
        becomes(&stage, "SELECT coalesce(max(attempts), 0) FROM outbox", 1).await;
        stage.clock.advance(2 * SECOND);
        becomes(&stage, "SELECT coalesce(max(attempts), 0) FROM outbox", 2).await;
        assert_eq!(stage.sql.number("SELECT count(*) FROM fact").await, 0);
        assert_eq!(events(&stage, "fact_set").await, 0);
        stage.clock.advance(4 * SECOND);
        becomes(&stage, "SELECT count(*) FROM outbox WHERE dead = 0", 0).await;
        assert_eq!(stage.sql.number("SELECT count(*) FROM fact").await, 2);
        assert_eq!(watcher.count(), 3, "at least once, here three times");
    }
}

#[tokio::test]
async fn an_observer_that_never_succeeds_has_its_events_put_aside_and_goes_on_with_others() {
    for backend in backends() {
        let watcher = Watcher::new(&[EventKind::Enrolled], |batch| {
            let broken = batch.iter().any(|event| event.seq < 3);
            if broken {
                Act::Fail
            } else {
                Act::Say(Vec::new())
            }
        });
        let stage = Stage::with_hooks(backend, watchers(&watcher)).await;
        let (card, _) = stage.enroll(A).await;
        for attempts in 1..=12 {
            becomes(
                &stage,
                "SELECT coalesce(max(attempts), 0) FROM outbox",
                attempts,
            )
            .await;
            stage.clock.advance(HOUR);
        }
        becomes(&stage, "SELECT count(*) FROM outbox WHERE dead = 0", 0).await;
        let aside = stage
            .sql
            .number("SELECT count(*) FROM outbox WHERE dead = 1")
            .await;
        assert!(aside > 0, "nothing is thrown away");
        let reason = stage
            .sql
            .texts("SELECT last_error FROM outbox LIMIT 1")
            .await;
        assert_eq!(reason, ["the test says so"]);
        // What comes after is handled.
        assert_eq!(
            stage.send(&card, true, token_update(A, "02")).await.0,
            StatusCode::OK
        );
        becomes(&stage, "SELECT count(*) FROM outbox WHERE dead = 0", 0).await;
        assert_eq!(stage.sql.number("SELECT count(*) FROM outbox").await, aside);
    }
}

#[tokio::test]
async fn events_wait_for_an_observer_over_a_restart() {
    for backend in backends() {
        let open = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let watcher = Watcher::new(&[EventKind::Enrolled], {
            let open = open.clone();
            move |_| {
                if open.load(std::sync::atomic::Ordering::SeqCst) {
                    Act::Say(Vec::new())
                } else {
                    Act::Fail
                }
            }
        });
        let mut stage = Stage::with_hooks(backend, watchers(&watcher)).await;
        stage.enroll(A).await;
        becomes(&stage, "SELECT coalesce(max(attempts), 0) FROM outbox", 1).await;
        open.store(true, std::sync::atomic::Ordering::SeqCst);
        stage.restart().await;
        stage.clock.advance(2 * SECOND);
        becomes(&stage, "SELECT count(*) FROM outbox", 0).await;
        assert!(watcher.count() >= 2);
    }
}

/// The engine says what it refuses.
#[tokio::test]
async fn a_veto_of_every_target_leaves_no_command_behind() {
    let judge = Judge::new(|_| Act::Say(CommandVerdict::Veto("never".into())));
    let stage = Stage::with_hooks(Backend::Sqlite, judges(&judge)).await;
    let (_, enrollment) = stage.enroll(A).await;
    let done = enqueue(&stage, person(), request("Settings", enrollment)).await;
    assert_eq!(stage.sql.number("SELECT count(*) FROM command").await, 0);
    let cancelled = stage
        .engine
        .cancel(stage.tenant, person(), done.command_id, None)
        .await;
    assert!(matches!(cancelled, Err(Error::NotFound(_))));
}
