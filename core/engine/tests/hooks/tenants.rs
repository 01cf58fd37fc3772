//! Hooks of one tenant, put in force and taken away while the engine runs.

use std::collections::HashMap;

use axum::http::StatusCode;
use pomona_engine::TenantId;
use pomona_engine::hooks::{CommandVerdict, Hooks};

use super::stubs::{Act, Judge, Watcher};
use super::support::*;
use super::{A, B, becomes, enqueue, judges, person, queue, request, watchers};

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
