//! The supervision guard on a running server: what it refuses, what it takes out, and what it notices.

use pomona_simulator::Platform;
use pomona_tests::guest;
use serde_json::{Value, json};

use crate::stage::{Stage, shown};

const GUARD: &str = "org.pomona.supervision-guard";

/// A server with the guard, switched on with these settings.
async fn guarded(stage: &Stage, settings: &Value) {
    let package = shown(&guest("supervision-guard").unwrap());
    stage.good(&["plugin", "install", &package]).await;
    set(stage, settings).await;
}

async fn set(stage: &Stage, settings: &Value) {
    let file = stage.file("guard.json", settings.to_string());
    let enable = ["plugin", "enable", GUARD, "--settings", &file];
    stage.good(&enable).await;
}

/// Asks the device whether it is supervised, and waits for its answer.
async fn ask(stage: &Stage, device: &str) {
    let query = "Queries=[\"IsSupervised\",\"OSVersion\"]";
    let ask = [
        "command",
        "send",
        "DeviceInformation",
        "--parameter",
        query,
        "--wait",
    ];
    stage
        .good(&[&ask[..], &["--device", device]].concat())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_group_requires_is_refused_with_cause_and_fix() {
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let fleet = stage.fleet_of(1, |options| options.supervised = 0.0).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    // Without questions of its own, so that nobody has asked the device yet.
    let rules =
        json!({ "drift_poll_hours": 0, "require": [{ "group": "Lab", "supervised": true }] });
    guarded(&stage, &rules).await;
    let remove = [
        "command",
        "send",
        "RemoveApplication",
        "--parameter",
        "Identifier=org.example.app",
        "--device",
        &device,
    ];
    // Nobody requires anything of a device that is in no group.
    stage.good(&remove).await;
    stage.good(&["group", "create", "Lab"]).await;
    stage.good(&["group", "add", "Lab", &device]).await;
    let held = stage.json(&remove).await;
    let why = held["targets"][0]["reason"].as_str().unwrap();
    assert!(why.starts_with("held until "), "{why}");
    assert!(why.contains("whether this one is so is not known"), "{why}");

    // The question that tells it goes.
    ask(&stage, &device).await;
    let refused = stage.bad(&remove).await;
    for part in [
        "the group Lab requires a supervised device; this one is not so",
        "to mend it: assign its serial number",
        "instead: DeviceLock",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    let lock = ["command", "send", "DeviceLock", "--device", &device];
    stage.good(&lock).await;
    // The same is a finding, whose reason is the device's own word.
    let failed = [
        "posture",
        "findings",
        "--rule",
        "needs.supervision",
        "--verdict",
        "fail",
    ];
    let found = stage
        .until(&failed, |found| found.as_array().unwrap().len() == 1)
        .await;
    assert_eq!(found[0]["evidence"][0]["source"], "device", "{found:#}");

    // An exception for one command, and a policy of warnings.
    let spared = json!({ "drift_poll_hours": 0, "overrides": [{ "command": "RemoveApplication", "action": "warn" }],
        "require": [{ "group": "Lab", "supervised": true }] });
    set(&stage, &spared).await;
    stage.good(&remove).await;
    let typo = json!({ "require": [{ "supervised": true, "comands": [] }] });
    let file = stage.file("typo.json", typo.to_string());
    let refused = stage
        .bad(&["plugin", "enable", GUARD, "--settings", &file])
        .await;
    assert!(refused.contains("comands"), "{refused}");
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_do_nothing_is_taken_out_or_refused() {
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let fleet = stage.fleet(1).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    guarded(
        &stage,
        &json!({ "drift_poll_hours": 0, "action": "rewrite" }),
    )
    .await;
    let lock = [
        "command",
        "send",
        "DeviceLock",
        "--set",
        "PIN=123456",
        "--set",
        "Message=Back at nine",
        "--device",
        &device,
    ];
    stage.good(&lock).await;
    let changed = stage
        .wait_for(&device, |event| event["body"]["amended"].is_array())
        .await;
    let change = &changed["body"]["amended"][0];
    assert_eq!(
        (&change["key"], &change["by"]),
        (&json!("PIN"), &json!(GUARD))
    );
    // A Mac has a use for it: what goes to both stays as it is.
    let macs = stage.fleet_of(1, |options| {
        options.mix = vec![(Platform::Mac, 1)];
        options.seed += 1;
    });
    let macs = macs.await;
    let devices = stage.lab.tenant.devices().await.unwrap();
    let mac = &devices.iter().find(|one| one.id != device).unwrap().id;
    for (more, changed) in [(&["--device", mac][..], false), (&[], true)] {
        let sent = stage
            .json(&[&lock[..], more, &["--dry-run"]].concat())
            .await;
        let targets = sent["targets"].as_array().unwrap();
        let told = targets.iter().filter(|one| one["reason"].is_string());
        let expected = if changed { targets.len() } else { 0 };
        assert_eq!(told.count(), expected, "{sent:#}");
    }
    macs.stop().await;
    set(&stage, &json!({ "drift_poll_hours": 0 })).await;
    let refused = stage.bad(&lock).await;
    assert!(
        refused.contains("PIN of DeviceLock is not there on iOS"),
        "{refused}"
    );
    let board = stage
        .lab
        .tenant
        .path(&format!("plugins/{GUARD}/panels/sendable"));
    let asked = format!("{board}?parameters=%7B%22device%22%3A%22{device}%22%7D");
    let board = stage.lab.tenant.admin().get(&asked).await.unwrap();
    let rows = board["content"]["rows"].as_array().unwrap();
    let verdict = |name: &str| rows.iter().find(|row| row[0] == name).unwrap()[1].clone();
    assert_eq!(verdict("DeviceLock"), "allowed");
    assert_eq!(verdict("SetRecoveryLock"), "refused");
    assert_eq!(
        verdict("EnableLostMode"),
        "cannot be told",
        "nobody has asked"
    );
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_supervised_any_more_is_noticed() {
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let fleet = stage.fleet_of(1, |options| options.supervised = 1.0).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    guarded(&stage, &json!({})).await;
    ask(&stage, &device).await;
    let best = format!("{GUARD}.best");
    let noted = |event: &Value| event["kind"] == "fact_set" && event["body"]["name"] == *best;
    stage.wait_for(&device, noted).await;
    let is = |verdict: &'static str| move |found: &Value| found[0]["verdict"] == verdict;
    let drift = ["posture", "findings", "--rule", "drift.unsupervised"];
    stage.until(&drift, is("pass")).await;

    fleet.devices()[0].lock().await.set_supervised(false);
    ask(&stage, &device).await;
    let found = stage.until(&drift, is("fail")).await;
    assert!(
        found[0]["message"]
            .as_str()
            .unwrap()
            .contains("was supervised and is not any more"),
        "{found:#}"
    );
    let emitted = stage
        .wait_for(&device, |event| event["kind"] == "emitted")
        .await;
    assert_eq!(emitted["body"]["topic"], format!("{GUARD}.drift"));
    let notices = stage.json(&["plugin", "notices"]).await;
    assert_eq!(notices.as_array().unwrap().len(), 1, "{notices:#}");

    fleet.devices()[0].lock().await.set_supervised(true);
    ask(&stage, &device).await;
    stage.until(&drift, is("pass")).await;
    let mended = format!("{GUARD}.mended");
    stage
        .wait_for(&device, |event| event["body"]["topic"] == *mended)
        .await;
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}
