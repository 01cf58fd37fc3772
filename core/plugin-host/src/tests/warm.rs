//! Instances that serve several calls: only where that is granted, in one tenant, for so long and so often, and never after a
//! call that did not end well.

use std::sync::Arc;
use std::time::Duration;

use pomona_engine::hooks::{
    CommandVerdict, ComplianceHook, DeviceSnapshot, EventObserver, HookError, Occasion, Question,
};
use pomona_engine::{DeviceId, Event, EventKind, PrincipalId, TenantId};
use uuid::Uuid;

use super::{NOW, ask, component, component_of, load_as, module, switched_on};
use crate::enabled::{Enabled, Switch};
use crate::manifest::Manifest;
use crate::runtime::Runtime;

/// A plugin that judges every command and asks for this.
fn manifest(wishes: &str) -> Manifest {
    Manifest::parse(&format!(
        "id = \"org.example.warm\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"Warm\"\n[hooks.command-validate]\n{wishes}"
    ))
    .unwrap()
}

const REUSE: &str = "[capabilities]\nreuse = true\n";

/// A guest that lets its first command go, and does this with the later ones.
fn remembers(later: &str) -> Vec<u8> {
    let fields = "(global $calls (mut i32) (i32.const 0)) (data (i32.const 64) \"again\")";
    let body = format!(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (i64.store (i32.const 1032) (i64.const 0))
         (if (i32.gt_u (global.get $calls) (i32.const 1)) (then {later}))
         (i32.const 1024)"
    );
    component(&module(fields, &body)).unwrap()
}

/// Vetoes with the word `again`.
const VETO: &str =
    "(i32.store8 (i32.const 1032) (i32.const 1)) (i32.store (i32.const 1040) (i32.const 64))
                    (i32.store (i32.const 1044) (i32.const 5))";

async fn guest(runtime: &Runtime, wishes: &str, later: &str) -> Enabled {
    let plugin = load_as(runtime, manifest(wishes), &remembers(later)).await;
    switched_on(manifest(wishes), plugin.unwrap(), None)
}

/// Whether the instance that answered was new.
async fn fresh(guest: &Enabled) -> bool {
    match ask(guest).await.unwrap() {
        CommandVerdict::Allow { .. } => true,
        CommandVerdict::Veto(why) if why == "again" => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_used_again_where_that_is_granted_and_a_bounded_number_of_times() {
    let runtime = Runtime::new().unwrap();
    let alone = guest(&runtime, "", VETO).await;
    assert!(fresh(&alone).await && fresh(&alone).await, "not asked for");
    let guest = guest(&runtime, REUSE, VETO).await;
    let mut runs = Vec::new();
    for _ in 0..400 {
        match fresh(&guest).await {
            true => runs.push(1),
            false => *runs.last_mut().unwrap() += 1,
        }
    }
    runs.pop();
    assert!(runs.len() >= 3, "{runs:?}");
    for run in &runs {
        assert!((50..100).contains(run), "{runs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_who_does_not_grant_it_and_another_tenant_get_nothing_of_it() {
    let runtime = Runtime::new().unwrap();
    let asks = manifest(REUSE);
    let plugin = load_as(&runtime, asks.clone(), &remembers(VETO)).await;
    let plugin = Arc::new(plugin.unwrap());
    let on = |tenant: u128, granted| {
        let switch = Switch {
            tenant: TenantId(Uuid::from_u128(tenant)),
            principal: PrincipalId(Uuid::nil()),
            settings: "{}".into(),
            granted,
        };
        Enabled::new(asks.clone(), "digest", Ok(plugin.clone()), switch, None)
    };
    let granted = asks.capabilities.clone();
    let (a, b) = (on(1, granted.clone()), on(2, granted));
    assert!(fresh(&a).await && !fresh(&a).await);
    assert!(fresh(&b).await, "an instance of another tenant");
    let narrowed = on(3, Default::default());
    assert!(fresh(&narrowed).await && fresh(&narrowed).await);
    // What is only compared leaves nothing, and finds nothing.
    let aside = a.aside();
    assert!(fresh(&aside).await && fresh(&aside).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_end_well_is_not_used_again() {
    let runtime = Runtime::new().unwrap();
    for (name, later) in [
        ("trap", "(unreachable)"),
        ("time", "(loop $l (br $l)) (unreachable)"),
    ] {
        let guest = guest(&runtime, REUSE, later).await;
        assert!(matches!(
            ask(&guest).await,
            Ok(CommandVerdict::Allow { .. })
        ));
        let told = ask(&guest).await.unwrap_err();
        assert!(
            matches!(
                told,
                HookError::Permanent(_) | HookError::Budget | HookError::Retryable(_)
            ),
            "{name}: {told:?}"
        );
        assert!(
            matches!(ask(&guest).await, Ok(CommandVerdict::Allow { .. })),
            "{name}"
        );
    }
    let guest = guest(&runtime, REUSE, "(loop $l (br $l)) (unreachable)").await;
    assert!(matches!(
        ask(&guest).await,
        Ok(CommandVerdict::Allow { .. })
    ));
    tokio::select! {
        biased;
        _ = ask(&guest) => panic!("an endless loop has come to an end"),
        () = std::future::ready(()) => {}
    }
    let next = ask(&guest).await;
    assert!(
        matches!(next, Ok(CommandVerdict::Allow { .. })),
        "a caller has left: {next:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_its_own_limits_however_many_went_before() {
    let runtime = Runtime::new().unwrap();
    // 300 host calls each: the fourth would be over the limit of one call, were they added up.
    let calls = "(local.set 1 (i32.const 300)) (loop $l (call $settings (i32.const 2048))
                 (local.set 1 (i32.sub (local.get 1) (i32.const 1))) (br_if $l (local.get 1)))";
    let fields = "(global $calls (mut i32) (i32.const 0)) (data (i32.const 64) \"again\")";
    let body = format!(
        "(local i32) {calls}
         (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (if (i32.gt_u (global.get $calls) (i32.const 1)) (then {VETO})) (i32.const 1024)"
    );
    let component = component(&module(fields, &body)).unwrap();
    let plugin = load_as(&runtime, manifest(REUSE), &component).await;
    let counts = switched_on(manifest(REUSE), plugin.unwrap(), None);
    assert!(fresh(&counts).await);
    for _ in 0..5 {
        assert!(!fresh(&counts).await);
    }
    // Memory is what the instance has, not what the call has added: past the half of it nothing is kept.
    let grows = "(drop (memory.grow (i32.const 300)))";
    let fields = "(global $calls (mut i32) (i32.const 0))";
    let body = format!(
        "(if (global.get $calls) (then (unreachable))) (global.set $calls (i32.const 1)) {grows} (i32.const 1024)"
    );
    let component = super::component(&module(fields, &body)).unwrap();
    let plugin = load_as(&runtime, manifest(REUSE), &component).await;
    let grown = switched_on(manifest(REUSE), plugin.unwrap(), None);
    for _ in 0..3 {
        assert!(fresh(&grown).await);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_needs_is_let_go() {
    let runtime = Runtime::new().unwrap();
    let guest = guest(&runtime, REUSE, VETO).await;
    assert!(fresh(&guest).await && !fresh(&guest).await);
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert!(!fresh(&guest).await, "in use");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(fresh(&guest).await, "it should have gone");
}

/// A guest that ends itself when it is asked anything for the second time.
fn once(hooks: &str, exports: &str) -> (Manifest, Vec<u8>) {
    let manifest = Manifest::parse(&format!(
        "id = \"org.example.once\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"Once\"\n{hooks}{REUSE}"
    ))
    .unwrap();
    let text = format!(
        r#"(module
          (memory (export "memory") 2)
          (global $top (mut i32) (i32.const 4096))
          (global $calls (mut i32) (i32.const 0))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
            (global.set $top (i32.add (local.get $at) (local.get 3)))
            (local.get $at))
          (func $once (result i32)
            (if (global.get $calls) (then (unreachable)))
            (global.set $calls (i32.const 1))
            (i32.const 1024))
          {exports})"#
    );
    let component = component_of(&manifest, &text).unwrap();
    (manifest, component)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deterministic_hook_begins_afresh_whatever_is_granted() {
    let runtime = Runtime::new().unwrap();
    let (manifest, component) = once(
        "[hooks.compliance]\n",
        r#"(func (export "pomona:hooks/compliance@0.9.0#rules") (result i32) (call $once))
           (func (export "pomona:hooks/compliance@0.9.0#evaluate") (param i32) (result i32) (call $once))"#,
    );
    let plugin = load_as(&runtime, manifest.clone(), &component)
        .await
        .unwrap();
    let guest = switched_on(manifest, plugin, None);
    for _ in 0..3 {
        let question = Question {
            call_id: "the same".into(),
            now: NOW,
            device: DeviceSnapshot::default(),
        };
        assert_eq!(guest.evaluate(&question).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_leaves_nothing_and_finds_nothing() {
    let runtime = Runtime::new().unwrap();
    let (manifest, component) = once(
        "[hooks.events]\n",
        r#"(func (export "pomona:hooks/events@0.9.0#on-events") (param i32) (result i32) (call $once))"#,
    );
    let plugin = load_as(&runtime, manifest.clone(), &component)
        .await
        .unwrap();
    let guest = switched_on(manifest, plugin, None);
    let event = Event {
        device_id: DeviceId(Uuid::nil()),
        seq: 1,
        at: NOW,
        tenant_id: TenantId(Uuid::nil()),
        enrollment_id: None,
        user_key: String::new(),
        kind: EventKind::Enrolled,
        command_id: None,
        actor_kind: "device",
        actor_id: None,
        body: serde_json::json!({}),
    };
    let hear = async |dry_run| {
        let occasion = Occasion {
            now: NOW,
            attempt: 1,
            dry_run,
        };
        guest
            .on_events(occasion, std::slice::from_ref(&event))
            .await
    };
    assert_eq!(hear(true).await.unwrap(), []);
    assert_eq!(hear(true).await.unwrap(), []);
    assert_eq!(hear(false).await.unwrap(), [], "the first one that counts");
    assert_eq!(hear(true).await.unwrap(), [], "beside the one that waits");
    hear(false).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_at_the_same_time_have_an_instance_each() {
    let runtime = Runtime::new().unwrap();
    let guest = guest(&runtime, REUSE, VETO).await;
    let (one, other) = tokio::join!(fresh(&guest), fresh(&guest));
    // The two run in one task, one after the other, unless they wait for each other.
    assert!(one, "the first of all");
    let mut calls = tokio::task::JoinSet::new();
    let guest = Arc::new(guest);
    for _ in 0..64 {
        let guest = guest.clone();
        calls.spawn(async move { fresh(&guest).await });
    }
    let answers = calls.join_all().await;
    assert_eq!(answers.len(), 64);
    let new = answers.iter().filter(|fresh| **fresh).count() + usize::from(other) + 1;
    assert!(new <= 8, "{new} instances for eight places");
}
