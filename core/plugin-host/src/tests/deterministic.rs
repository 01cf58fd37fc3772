//! Hooks whose answer must be the same again: counted instructions, no clock, one form of what is not a number.

use std::sync::Arc;

use pomona_engine::hooks::{ComplianceHook, DeviceSnapshot, HookError, Question};

use super::{NOW, component_of, load_as, switched_on};
use crate::enabled::Enabled;
use crate::error::PluginError;
use crate::manifest::Manifest;
use crate::runtime::Runtime;

/// A guest whose `evaluate` has this body; zeroed memory at 1024 is the answer "no findings".
async fn guest(runtime: &Runtime, body: &str) -> Result<Enabled, PluginError> {
    let manifest = Manifest::parse(
        "id = \"org.example.guest\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"Guest\"\n[hooks.compliance]\n",
    )
    .unwrap();
    let text = format!(
        r#"(module
          (import "pomona:host/clock@0.9.0" "elapsed-ms" (func $elapsed (result i32)))
          (memory (export "memory") 2)
          (global $top (mut i32) (i32.const 4096))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
            (global.set $top (i32.add (local.get $at) (local.get 3)))
            (local.get $at))
          (func (export "pomona:hooks/compliance@0.9.0#rules") (result i32) (i32.const 1024))
          (func (export "pomona:hooks/compliance@0.9.0#evaluate") (param i32) (result i32)
            {body}))"#
    );
    let component = component_of(&manifest, &text).unwrap();
    let plugin = load_as(runtime, manifest.clone(), &component).await?;
    Ok(switched_on(manifest, plugin, None))
}

async fn ask(enabled: &Enabled) -> String {
    let question = Question {
        call_id: "the same".into(),
        now: NOW,
        device: DeviceSnapshot::default(),
    };
    match enabled.evaluate(&question).await {
        Ok(findings) => format!("{findings:?}"),
        Err(HookError::Permanent(why) | HookError::Retryable(why)) => why,
        Err(HookError::Budget) => "budget".into(),
    }
}

#[tokio::test]
async fn instructions_are_counted_and_what_differs_from_run_to_run_is_not_seen() {
    let runtime = Runtime::new().unwrap();
    let spins = |rounds: u32| {
        format!(
            "(local $n i32) (loop $l (local.set $n (i32.add (local.get $n) (i32.const 1)))
             (br_if $l (i32.lt_u (local.get $n) (i32.const {rounds})))) (i32.const 1024)"
        )
    };
    let cases = [
        ("(i32.const 1024)".to_owned(), "[]"),
        (spins(1_000_000), "[]"),
        (spins(100_000_000), "instructions"),
        ("(loop $l (br $l)) (unreachable)".into(), "instructions"),
        // The clock stands still.
        (
            "(if (call $elapsed) (then (unreachable))) (i32.const 1024)".into(),
            "[]",
        ),
        // Zero by zero is the one canonical not-a-number, whatever the processor makes of it.
        (
            "(if (i32.ne (i32.reinterpret_f32 (f32.div (f32.const 0) (f32.const -0))) (i32.const 0x7fc00000))
               (then (unreachable))) (i32.const 1024)"
                .into(),
            "[]",
        ),
    ];
    for (body, expected) in cases {
        let enabled = guest(&runtime, &body).await.unwrap();
        let told = ask(&enabled).await;
        assert!(told.contains(expected), "{body}: {told}");
        assert_eq!(ask(&enabled).await, told, "the same again");
    }
}

#[tokio::test]
async fn a_question_asked_again_is_answered_by_a_plugin_of_the_same_stamp_only() {
    let runtime = Runtime::new().unwrap();
    let one = guest(&runtime, "(i32.const 1024)").await.unwrap();
    let same = guest(&runtime, "(i32.const 1024)").await.unwrap();
    assert_eq!(one.stamp(), same.stamp());
    let manifest = one.manifest.clone();
    let switch = |settings: &str| crate::enabled::Switch {
        tenant: one.whose.tenant,
        principal: one.principal,
        settings: settings.into(),
        granted: manifest.capabilities.clone(),
    };
    let failed = || Err::<Arc<_>, _>(PluginError::BreakerOpen);
    let stamp = |digest: &str, settings: &str| {
        Enabled::new(manifest.clone(), digest, failed(), switch(settings), None).stamp()
    };
    assert_eq!(stamp("digest", "{}"), one.stamp());
    assert_ne!(stamp("digest", "{\"a\":1}"), one.stamp());
    assert_ne!(stamp("another", "{}"), one.stamp());
}
