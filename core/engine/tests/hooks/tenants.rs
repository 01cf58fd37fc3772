//! Hooks of one tenant, put in force and taken away while the engine runs; and what hooks are told and may undo.

use std::collections::HashMap;

use axum::http::StatusCode;
use pomona_engine::hooks::{CommandVerdict, Effect, EnrollmentDecision, Hooks, KeyedEffect};
use pomona_engine::{EventKind, TenantId};

use super::stubs::{Act, Gate, Judge, Watcher};
use super::support::*;
use super::{A, B, becomes, enqueue, events, gates, judges, person, queue, request, watchers};

/// Who waits for events, and how many rows wait.
const WAITING: &str = "SELECT count(*) FROM outbox";

fn quiet() -> std::sync::Arc<Watcher> {
    Watcher::new(&[], |_| Act::Say(Vec::new()))
}

/// Enrolls a device in another tenant.
async fn enroll_in(stage: &Stage, tenant: TenantId, udid: &str) {
    let card = stage.card_in(tenant, "link", None, None).await;
    for body in [authenticate(udid), token_update(udid, "01")] {
        let (status, _) = send_to(&stage.engine, tenant, &card, true, body).await;
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test]
async fn an_observer_of_a_tenant_hears_of_its_devices_alone_for_as_long_as_it_is_in_force() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let other = stage.add_tenant().await;
        let (mine, theirs) = (quiet(), quiet());
        // Both have the same name, as the same plugin has in two tenants.
        stage.engine.hooks().replace(HashMap::from([
            (stage.tenant, watchers(&mine)),
            (other, watchers(&theirs)),
        ]));
        stage.enroll(A).await;
        becomes(&stage, WAITING, 0).await;
        assert!(mine.count() > 0 && theirs.count() == 0);
        enroll_in(&stage, other, B).await;
        becomes(&stage, WAITING, 0).await;
        let (before, told) = (mine.count(), theirs.count());
        assert!(told > 0);
        assert!(mine.seen.lock().iter().all(|e| e.tenant_id == stage.tenant));
        assert!(theirs.seen.lock().iter().all(|e| e.tenant_id == other));

        // Another takes the place of one, and the other tenant has none any more.
        let next = quiet();
        stage
            .engine
            .hooks()
            .replace(HashMap::from([(stage.tenant, watchers(&next))]));
        let enrollment = stage.enabled(A).await;
        queue(&stage, "Settings", enrollment).await;
        becomes(&stage, WAITING, 0).await;
        assert_eq!((mine.count(), next.count()), (before, 1));
        stage.engine.hooks().replace(HashMap::new());
        queue(&stage, "Settings", enrollment).await;
        assert_eq!(stage.sql.number(WAITING).await, 0, "nobody reads");
        assert_eq!((next.count(), theirs.count()), (1, told));
    }
}

#[tokio::test]
async fn a_judge_of_a_tenant_is_asked_there_alone_after_those_of_everybody() {
    for backend in backends() {
        let everywhere = Judge::new(|q| {
            Act::Say(CommandVerdict::Allow {
                valid_until: q.now + 1,
            })
        });
        let stage = Stage::with_hooks(backend, judges(&everywhere)).await;
        let other = stage.add_tenant().await;
        let strict = Judge::new(|_| Act::Say(CommandVerdict::Veto("no".into())));
        let (_, enrollment) = stage.enroll(A).await;
        let own = |tenant, hooks: Hooks| {
            stage
                .engine
                .hooks()
                .replace(HashMap::from([(tenant, hooks)]))
        };
        own(other, judges(&strict));
        queue(&stage, "Settings", enrollment).await;
        assert!(strict.asked.lock().is_empty());
        own(stage.tenant, judges(&strict));
        let done = enqueue(&stage, person(), request("Settings", enrollment)).await;
        assert!(!done.targets[0].accepted, "{done:?}");
        assert_eq!(everywhere.asked.lock().len(), 2, "it was asked as well");
    }
}

#[tokio::test]
async fn a_fact_that_is_set_to_null_is_gone() {
    for backend in backends() {
        let watcher = Watcher::new(&[EventKind::Enrolled, EventKind::TokenUpdated], |batch| {
            let first = &batch[0];
            let value = match first.kind {
                EventKind::Enrolled => 4.into(),
                _ => serde_json::Value::Null,
            };
            Act::Say(vec![KeyedEffect {
                key: format!("at {}", first.seq),
                effect: Effect::SetFact {
                    device: first.device_id,
                    user_key: String::new(),
                    name: "room".into(),
                    value,
                },
            }])
        });
        let stage = Stage::with_hooks(backend, watchers(&watcher)).await;
        let (card, _) = stage.enroll(A).await;
        becomes(&stage, "SELECT count(*) FROM fact", 1).await;
        stage.send(&card, true, token_update(A, "02")).await;
        becomes(&stage, "SELECT count(*) FROM fact", 0).await;
        becomes(&stage, WAITING, 0).await;
        assert_eq!(events(&stage, "fact_set").await, 2);
    }
}

#[tokio::test]
async fn an_enrollment_hook_is_told_of_a_device_that_would_wait_anyway() {
    for backend in backends() {
        let told = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
        let gate = Gate::new({
            let told = told.clone();
            move |request| {
                told.lock().push(request.quarantine);
                Act::Say(EnrollmentDecision::Allow)
            }
        });
        let stage = Stage::with_hooks(backend, gates(vec![gate])).await;
        stage.enroll(A).await;
        // The same device again, under a grant that does not name it.
        let stranger = stage.card("link", None, None).await;
        stage.send(&stranger, true, authenticate(A)).await;
        assert_eq!(*told.lock(), [false, true]);
    }
}
