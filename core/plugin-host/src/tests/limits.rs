//! What one call may leave behind: nothing. And what a plugin that keeps failing costs: little.

use std::time::Duration;

use pomona_engine::TenantId;
use pomona_engine::hooks::{CommandVerdict, HookError};
use uuid::Uuid;

use super::{ask, component, enabled, load, module};
use crate::call::Whose;
use crate::rights::Capabilities;
use crate::runtime::Runtime;

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_one_call_is_seen_by_the_next() {
    let runtime = Runtime::new().unwrap();
    // It vetoes as soon as it finds what an earlier call wrote; the global and the memory are as new each time.
    let guest = enabled(
        &runtime,
        &module(
            "(global $seen (mut i32) (i32.const 0))",
            "(if (i32.or (global.get $seen) (i32.load (i32.const 70000))) (then (unreachable)))
             (global.set $seen (i32.const 1)) (i32.store (i32.const 70000) (i32.const 1)) (i32.const 1024)",
        ),
    )
    .await;
    for _ in 0..300 {
        let verdict = ask(&guest).await.unwrap();
        assert!(matches!(verdict, CommandVerdict::Allow { .. }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_keeps_failing_is_left_alone() {
    let runtime = Runtime::new().unwrap();
    let guest = enabled(&runtime, &module("", "(unreachable)")).await;
    for _ in 0..5 {
        ask(&guest).await.unwrap_err();
    }
    let told = ask(&guest).await.unwrap_err().to_string();
    assert!(told.contains("it keeps failing"), "{told}");
    let figures = guest.figures();
    assert!(figures.held_back && figures.calls == 5, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_turn_does_not_come_is_told_and_is_no_failure_of_its_plugin() {
    let runtime = Runtime::new().unwrap();
    let component = component(&module("", "(i32.const 1024)")).unwrap();
    let busy = load(&runtime, &component).await.unwrap();
    let guest = enabled(&runtime, &module("", "(i32.const 1024)")).await;
    let nil = TenantId(Uuid::nil());
    let others =
        [1, 2].map(|_| Whose::of("org.example.busy", nil, "{}", Capabilities::default(), None));
    let mut held = Vec::new();
    for whose in others.iter().flat_map(|whose| [whose; 8]) {
        held.push(busy.enter(Duration::from_secs(1), whose).await.unwrap());
    }
    for _ in 0..6 {
        let told = ask(&guest).await.unwrap_err();
        assert!(
            matches!(&told, HookError::Retryable(why) if why.contains("its turn did not come")),
            "{told:?}"
        );
    }
    let figures = guest.figures();
    assert!(!figures.held_back && figures.failures == 0, "{figures:?}");
    drop(held);
    ask(&guest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_veto_comes_with_its_reason_without_control_characters() {
    let runtime = Runtime::new().unwrap();
    let guest = enabled(
        &runtime,
        &module(
            "(data (i32.const 64) \"no\\0away\")",
            "(i32.store8 (i32.const 1032) (i32.const 1)) (i32.store (i32.const 1040) (i32.const 64))
             (i32.store (i32.const 1044) (i32.const 6)) (i32.const 1024)",
        ),
    )
    .await;
    let verdict = ask(&guest).await.unwrap();
    assert_eq!(verdict, CommandVerdict::Veto("no way".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_waits_for_counts_as_a_failure() {
    let runtime = Runtime::new().unwrap();
    let guest = enabled(&runtime, &module("", "(loop $l (br $l)) (unreachable)")).await;
    for _ in 0..5 {
        // As the engine does when the time of a whole chain is over: the call is polled once and dropped.
        let call = ask(&guest);
        tokio::select! {
            biased;
            _ = call => panic!("an endless loop has come to an end"),
            () = std::future::ready(()) => {}
        }
    }
    let figures = guest.figures();
    assert_eq!((figures.calls, figures.failures), (5, 5), "{figures:?}");
    assert!(figures.held_back, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_limited_is_limited_over_all_memories_and_tables_together() {
    let runtime = Runtime::new().unwrap();
    // Each alone would be within the limit; the guest ends itself where the second is given.
    let cases = [
        (
            "tables",
            "(table $a 1 funcref) (table $b 1 funcref)",
            "(if (i32.eq (table.grow $a (ref.null func) (i32.const 12000)) (i32.const -1)) (then (unreachable)))
             (if (i32.ne (table.grow $b (ref.null func) (i32.const 12000)) (i32.const -1)) (then (unreachable)))
             (i32.const 1024)",
        ),
        (
            "memories",
            "(memory $b 1)",
            "(if (i32.eq (memory.grow (i32.const 300)) (i32.const -1)) (then (unreachable)))
             (if (i32.ne (memory.grow $b (i32.const 300)) (i32.const -1)) (then (unreachable)))
             (i32.const 1024)",
        ),
    ];
    for (name, fields, body) in cases {
        let guest = enabled(&runtime, &module(fields, body)).await;
        ask(&guest)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
