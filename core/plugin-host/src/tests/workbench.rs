//! Questions by hand: what is filled in, what is told of a call, and what is refused.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{component, load, module};
use crate::error::PluginError;
use crate::plugin::Plugin;
use crate::replay::{HostCall, Replay};
use crate::runtime::Runtime;
use crate::workbench::Question;

/// Answers `veto` with the text that is at 64.
const VETO: &str =
    "(i32.store8 (i32.const 1032) (i32.const 1)) (i32.store (i32.const 1040) (i32.const 64))
     (i32.store (i32.const 1044) (i32.const 2)) (i32.const 1024)";

async fn plugin(fields: &str, body: &str) -> Plugin {
    let runtime = Runtime::new().unwrap();
    load(&runtime, &component(&module(fields, body)).unwrap())
        .await
        .unwrap()
}

fn question(input: Value, context: Value) -> Question {
    Question {
        hook: "command-validate".into(),
        function: None,
        settings: json!({}),
        context: context.as_object().unwrap().clone(),
        input: input.as_object().unwrap().clone(),
        services: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_needs_no_more_than_its_hook_and_its_cost_is_told() {
    let guest = plugin(
        "(data (i32.const 64) \"no\")",
        &format!(
            "(call $log (i32.const 2) (i32.const 64) (i32.const 2) (i32.const 0) (i32.const 0)) {VETO}"
        ),
    )
    .await;
    let asked = question(json!({}), json!({}));
    let mut called = guest.call_json(&[asked]).await.unwrap();
    let called = called.pop().unwrap();
    assert_eq!(
        called.outcome.unwrap().readable,
        json!({ "ok": { "veto": "no" } })
    );
    let [line] = &called.log[..] else {
        panic!("{:?}", called.log);
    };
    assert_eq!((line.level, line.message.as_str()), ("warn", "no"));
    assert_eq!(called.cost.host_calls, 1);
    assert!(called.cost.memory >= 128 << 10, "{:?}", called.cost);
    assert!(called.cost.cpu > std::time::Duration::ZERO);
    assert!(called.cost.wall >= called.cost.cpu, "{:?}", called.cost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_question_on_the_same_instance_meets_what_the_first_left() {
    let guest = plugin(
        "(global $n (mut i32) (i32.const 0)) (data (i32.const 64) \"no\")",
        &format!(
            "(global.set $n (i32.add (global.get $n) (i32.const 1)))
             (if (i32.eq (global.get $n) (i32.const 1)) (then (return (i32.const 1024)))) {VETO}"
        ),
    )
    .await;
    let asked = question(json!({}), json!({}));
    let called = guest
        .call_json(&[asked.clone(), asked.clone()])
        .await
        .unwrap();
    let answers: Vec<Value> = called
        .iter()
        .map(|one| one.outcome.as_ref().unwrap().exact.clone())
        .collect();
    let allow = json!({ "ok": { "allow": null } });
    assert_eq!(answers, [allow.clone(), json!({ "ok": { "veto": "no" } })]);
    // A round of its own begins anew.
    let called = guest.call_json(&[asked]).await.unwrap();
    assert_eq!(called[0].outcome.as_ref().unwrap().exact, allow);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_ends_itself_is_told_with_its_functions() {
    let guest = plugin(
        "(func $judge (unreachable))",
        "(call $judge) (i32.const 1024)",
    )
    .await;
    let asked = question(json!({}), json!({}));
    let called = guest.call_json(&[asked.clone(), asked]).await.unwrap();
    assert_eq!(called.len(), 1, "the round ends with it");
    assert!(
        matches!(called[0].outcome, Err(PluginError::Trap(_))),
        "{:?}",
        called[0].outcome
    );
    assert_eq!(called[0].trace, ["judge", "validate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_told_as_on_a_server() {
    let guest = plugin("", "(loop $l (br $l)) (unreachable)").await;
    let called = guest
        .call_json(&[question(json!({}), json!({}))])
        .await
        .unwrap();
    let told = called[0].outcome.as_ref().unwrap_err();
    // Which of the two comes first is up to how busy the machine is.
    assert!(
        matches!(
            told,
            PluginError::Exhausted("processor time") | PluginError::Time(_)
        ),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_refused_with_what_can() {
    let guest = plugin("", "(i32.const 1024)").await;
    let asked = |hook: &str, function: Option<&str>, input: Value, context: Value| Question {
        hook: hook.into(),
        function: function.map(str::to_owned),
        ..question(input, context)
    };
    let (none, validate) = (json!({}), "command-validate");
    for (question, expected) in [
        (
            asked("events", None, none.clone(), none.clone()),
            "no hook \"events\"; it has command-validate",
        ),
        (
            asked(validate, Some("judge"), none.clone(), none.clone()),
            "no function \"judge\"; it has validate",
        ),
        (
            asked(validate, None, json!({ "devise": {} }), none.clone()),
            "/input/devise: there is no such member; there are stage, device, command",
        ),
        (
            asked(validate, None, json!({ "stage": "later" }), none.clone()),
            "/input/stage: expected one of \"enqueue\", \"delivery\"",
        ),
        (
            asked(validate, None, none.clone(), json!({ "now": 1 })),
            "/context/now: there is no such member",
        ),
    ] {
        let told = guest.call_json(&[question]).await.unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    }
    let (one, other) = (
        asked(validate, None, none.clone(), none.clone()),
        asked("settings", None, none.clone(), none),
    );
    let told = guest
        .call_json(&[one, other])
        .await
        .unwrap_err()
        .to_string();
    assert!(told.contains("of one hook"), "{told}");
    assert_eq!(guest.call_json(&[]).await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_by_hand_is_read_as_the_plugin_would_give_it() {
    let guest = plugin("", "(i32.const 1024)").await;
    let read = |answer: Value| guest.read_answer("command-validate", None, &answer, "/expect");
    let deferred = json!({ "ok": { "defer": [7, "later"] } });
    assert_eq!(read(deferred.clone()).unwrap(), deferred);
    let short = json!({ "ok": "allow" });
    assert_eq!(read(short).unwrap(), json!({ "ok": { "allow": null } }));
    let told = read(json!({ "ok": { "defer": [7] } })).unwrap_err();
    assert_eq!(
        told.to_string(),
        "/expect/ok/defer: expected 2 items, got 1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_host_serves_a_plugin_within_its_rights() {
    let call = HostCall {
        call: "pomona:host/kv.get".into(),
        arguments: vec![json!("no")],
        answer: json!({ "ok": { "text": "kept" } }),
    };
    let runtime = Runtime::new().unwrap();
    let granted = "id = \"org.example.guest\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"Guest\"\n[hooks.command-validate]\n\
                   [capabilities.kv]\nquota-kib = 64\n";
    let manifest = crate::manifest::Manifest::parse(granted).unwrap();
    let body = format!("(call $get (i32.const 64) (i32.const 2) (i32.const 2048)) {VETO}");
    // Imports stand before everything else.
    let import =
        "(module (import \"pomona:host/kv@0.9.0\" \"get\" (func $get (param i32 i32 i32)))";
    let text = module("(data (i32.const 64) \"no\")", &body).replacen("(module", import, 1);
    let mut core = wat::parse_str(&text).unwrap();
    let (resolve, world) = crate::contract::world_of(&manifest, false).unwrap();
    wit_component::embed_component_metadata(
        &mut core,
        &resolve,
        world,
        wit_component::StringEncoding::UTF8,
    )
    .unwrap();
    let mut encoder = wit_component::ComponentEncoder::default()
        .module(&core)
        .unwrap();
    let guest = super::load_as(&runtime, manifest, &encoder.encode().unwrap())
        .await
        .unwrap();
    let host = Arc::new(Replay::new(vec![call.clone()]));
    let asked = Question {
        services: Some(host.clone()),
        ..question(json!({}), json!({}))
    };
    let called = guest.call_json(&[asked]).await.unwrap();
    assert!(called[0].outcome.is_ok(), "{:?}", called[0].outcome);
    assert_eq!(host.made(), [call]);
    assert_eq!(host.unanswered(), []);
}
