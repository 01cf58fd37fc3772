//! Plugins from the operator's side: a package is built, installed, switched on, obeyed, watched, stopped and taken out.

use pomona_tests::{TestDatabase, guest, pomona_binary};
use serde_json::{Value, json};

use crate::outside::{rewritten, rewritten_file};
use crate::stage::{Stage, of, shown};

const QUIET: &str = "org.pomona.quiet-hours";
const WELCOME: &str = "org.pomona.welcome";

/// Windows that are open at every time of the day, and ones that never are.
const OPEN: &str =
    r#"{"windows": [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "00:00"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_installed_obeyed_suspended_and_taken_out() {
    let package = shown(&guest("quiet-hours").unwrap());
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let fleet = stage.fleet(1).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    let restart = ["command", "send", "RestartDevice", "--device", &device];

    stage.good(&["plugin", "install", &package]).await;
    let refused = stage.bad(&["plugin", "enable", QUIET]).await;
    assert!(
        refused.contains("\"windows\" is a required property"),
        "{refused}"
    );
    let strange = stage.file(
        "strange.json",
        r#"{"windows": [{"from": "29:99", "to": "07:00"}]}"#,
    );
    let refused = stage
        .bad(&["plugin", "enable", QUIET, "--settings", &strange])
        .await;
    assert!(
        refused.contains("/windows/0/from"),
        "the plugin's own look: {refused}"
    );

    // A schema that is none is told when the package comes, not when somebody needs it.
    let odd = rewritten_file(
        std::path::Path::new(&package),
        "settings.schema.json",
        |_| r#"{"type": "thing"}"#.into(),
    );
    let odd = stage.file("odd.pomona", odd);
    for verb in ["install", "check"] {
        let refused = stage.bad(&["plugin", verb, &odd]).await;
        assert!(
            refused.contains("settings.schema.json is no schema"),
            "{refused}"
        );
    }

    // A command that nobody knows would never be asked about.
    let typo = rewritten(std::path::Path::new(&package), |text| {
        text.replace("\"RestartDevice\"", "\"RestartDevices\"")
    });
    let typo = stage.file("typo.pomona", typo);
    let checked = stage.json(&["plugin", "check", &typo]).await;
    let warning = checked["warnings"][0].as_str().unwrap();
    assert!(warning.contains("did you mean RestartDevice?"), "{warning}");

    // No window is for this device's groups: whatever the time, the command is refused with the plugin's reason.
    let never = r#"{"windows": [{"group": "nobody", "from": "00:00", "to": "01:00"}]}"#;
    let never = stage.file("never.json", never);
    stage
        .good(&["plugin", "enable", QUIET, "--settings", &never])
        .await;
    let refused = stage.bad(&restart).await;
    assert!(
        refused.contains("no window is set for this device"),
        "{refused}"
    );

    let open = stage.file("open.json", OPEN);
    stage
        .good(&["plugin", "enable", QUIET, "--settings", &open])
        .await;
    stage.good(&restart).await;
    stage
        .wait_for(&device, of("command_outcome", "RestartDevice"))
        .await;
    let timeline = stage.timeline(&device).await;
    let trace = timeline
        .iter()
        .find(|event| event["kind"] == "command_refused");
    let trace = trace.unwrap_or_else(|| panic!("a refusal leaves a trace: {timeline:#?}"));
    assert_eq!(trace["body"]["request_type"], "RestartDevice");
    let why = trace["body"]["reason"].as_str().unwrap();
    assert!(why.contains("no window is set for this device"), "{why}");
    let listed: Value =
        serde_json::from_str(&stage.good(&["plugin", "list", "--json"]).await).unwrap();
    let plugin = &listed[0];
    assert_eq!(
        (&plugin["state"], &plugin["failures"]),
        (&json!("active"), &json!(0))
    );
    // Changed and judged while it was queued; not judged again before it was sent, since nothing has changed in between.
    assert_eq!(plugin["calls"], 2, "{plugin}");
    let told = stage.lab.tenant.admin().get("/metrics").await.unwrap();
    let active = format!("pomona_plugin_tenants{{plugin=\"{QUIET}\",state=\"active\"}} 1");
    assert!(told.as_str().unwrap().contains(&active), "{told}");

    stage
        .good(&["plugin", "enable", QUIET, "--settings", &never])
        .await;
    stage.good(&["plugin", "suspend", "--all"]).await;
    let sent = stage.good(&restart).await;
    assert!(sent.contains("1 of 1"), "nobody is asked any more: {sent}");
    let told = stage.lab.tenant.admin().get("/metrics").await.unwrap();
    let suspended = active.replace("active", "suspended");
    assert!(told.as_str().unwrap().contains(&suspended), "{told}");
    assert!(
        told.as_str()
            .unwrap()
            .contains(&active.replace("} 1", "} 0")),
        "{told}"
    );
    stage.good(&["plugin", "resume", QUIET]).await;
    let refused = stage.bad(&restart).await;
    assert!(refused.contains("no window is set"), "{refused}");

    // A server that starts again takes up what was switched on; one without plugins does not even load them.
    stage.lab.stop().await.unwrap();
    stage.lab.start().await.unwrap();
    let refused = stage.bad(&restart).await;
    assert!(refused.contains("no window is set"), "{refused}");
    // What is suspended is not even loaded.
    stage.good(&["plugin", "suspend", QUIET]).await;
    stage.lab.stop().await.unwrap();
    let code = stage.files.path().join("server/plugin-cache");
    std::fs::remove_dir_all(&code).unwrap();
    stage.lab.start().await.unwrap();
    let listed = stage.json(&["plugin", "list"]).await;
    assert_eq!(listed[0]["state"], "suspended", "{listed}");
    let told = stage.lab.tenant.admin().get("/metrics").await.unwrap();
    assert!(told.as_str().unwrap().contains(&suspended), "{told}");
    assert_eq!(std::fs::read_dir(&code).unwrap().count(), 0);
    stage.good(&["plugin", "resume", QUIET]).await;
    let refused = stage.bad(&restart).await;
    assert!(refused.contains("no window is set"), "{refused}");
    assert_eq!(std::fs::read_dir(&code).unwrap().count(), 1);

    stage.lab.stop().await.unwrap();
    stage.lab.set("--plugins-enabled", "false");
    stage.lab.start().await.unwrap();
    stage.good(&restart).await;
    let refused = stage.bad(&["plugin", "install", &package]).await;
    assert!(refused.contains("plugins.enabled"), "{refused}");
    stage.good(&["plugin", "remove", QUIET]).await;
    let gone = stage.bad(&["plugin", "enable", QUIET]).await;
    assert!(gone.contains("not found"), "{gone}");
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

/// A window that is closed for hours to come.
fn later() -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    let hour = |ahead: u64| (since.as_secs() / 3_600 + ahead) % 24;
    format!(
        r#"{{"time_zone": "UTC", "windows": [{{"from": "{:02}:00", "to": "{:02}:00"}}]}}"#,
        hour(3),
        hour(4)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_holds_goes_when_it_has_no_say_any_more() {
    let package = shown(&guest("quiet-hours").unwrap());
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let fleet = stage.fleet(1).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    let settings = stage.file("later.json", later());
    let enable = ["plugin", "enable", QUIET, "--settings", &settings];
    let restart = ["command", "send", "RestartDevice", "--device", &device];
    stage.good(&["plugin", "install", &package]).await;
    for let_go in [
        &["plugin", "suspend", "--all"][..],
        &["plugin", "disable", QUIET],
    ] {
        stage.good(&enable).await;
        let sent = stage.json(&restart).await;
        let id = sent["command_id"].clone();
        let about = |kind: &'static str| {
            let id = id.clone();
            move |event: &Value| event["kind"] == kind && event["command_id"] == id
        };
        let queued = stage.wait_for(&device, about("command_queued")).await;
        assert!(queued["body"]["held_until"].is_string(), "{queued}");
        let why = sent["targets"][0]["reason"].as_str().unwrap();
        assert!(why.starts_with("held until "), "{why}");
        // With the same hooks it stays held.
        let shown = stage.json(&["command", "show", id.as_str().unwrap()]).await;
        assert_eq!(shown["deliveries"][0]["state"], "queued", "{shown}");
        stage.good(let_go).await;
        stage.wait_for(&device, about("command_outcome")).await;
        if let_go[1] == "suspend" {
            stage.good(&["plugin", "resume", "--all"]).await;
        }
    }
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

/// What an event says of changes of a command: the key, who changed it, and over whom.
fn amended(event: &Value) -> (&Value, &Value, &Value) {
    let change = &event["body"]["amended"][0];
    (&change["key"], &change["by"], &change["over"])
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_plugins_that_change_a_command_the_later_one_in_the_order_holds() {
    const OTHER: &str = "org.example.daytime";
    let package = guest("quiet-hours").unwrap();
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let fleet = stage.fleet(1).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    let other = rewritten(&package, |manifest| manifest.replace(QUIET, OTHER));
    let other = stage.file("other.pomona", other);
    for (id, package, asks) in [(QUIET, shown(&package), true), (OTHER, other, false)] {
        stage.good(&["plugin", "install", &package]).await;
        let mut rules: Value = serde_json::from_str(OPEN).unwrap();
        rules["notify_user"] = json!(asks);
        let rules = stage.file("rules.json", rules.to_string());
        stage
            .good(&["plugin", "enable", id, "--settings", &rules])
            .await;
    }
    let restart = ["command", "send", "RestartDevice", "--device", &device];
    stage.good(&restart).await;
    let by = |who: &'static str| {
        move |event: &Value| event["kind"] == "command_queued" && amended(event).1 == who
    };
    // Without an order of their own they are asked by id.
    let event = stage.wait_for(&device, by(QUIET)).await;
    assert_eq!(amended(&event).0, "NotifyUser", "{event:#}");
    assert_eq!(amended(&event).2, &json!([OTHER]), "{event:#}");

    let refused = ["plugin", "order", OTHER, "--priority", "1001"];
    let refused = stage.bad(&refused).await;
    assert!(refused.contains("from -1000 to 1000"), "{refused}");
    let order = ["plugin", "order", OTHER, "--phase", "late"];
    let shown = stage.json(&order).await;
    assert_eq!(shown["order"]["phase"], "late", "{shown:#}");
    stage.good(&restart).await;
    let event = stage.wait_for(&device, by(OTHER)).await;
    assert_eq!(amended(&event).2, &json!([QUIET]), "{event:#}");

    // Within a phase the higher priority is asked first, and the other holds again.
    let order = ["plugin", "order", OTHER, "--priority", "10"];
    stage.good(&order).await;
    stage.good(&restart).await;
    let timeline = stage.timeline(&device).await;
    assert_eq!(timeline.iter().filter(|event| by(QUIET)(event)).count(), 2);
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_installed_while_the_program_is_being_replaced_on_the_disk() {
    let package = shown(&guest("welcome").unwrap());
    let files = tempfile::tempdir().unwrap();
    let server = files.path().join("pomona");
    std::fs::copy(pomona_binary().unwrap(), &server).unwrap();
    let settings = [("--plugins-allow-unsigned", "true")];
    let mut stage = Stage::open_with(server.clone(), files, &settings).await;
    std::fs::remove_file(&server).unwrap();
    stage.good(&["plugin", "install", &package]).await;
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_gate_does_not_let_in_waits_in_quarantine_with_the_reason() {
    const GATE: &str = "org.pomona.enrollment-gate";
    let package = shown(&guest("enrollment-gate").unwrap());
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    stage.good(&["plugin", "install", &package]).await;
    let strange = stage.file("strange.json", r#"{"minimum_os": {"iPad": "27"}}"#);
    let refused = stage
        .bad(&["plugin", "enable", GATE, "--settings", &strange])
        .await;
    assert!(refused.contains("iPad is no family"), "{refused}");
    let future = stage.file("future.json", r#"{"minimum_os": {"ios": "99.1"}}"#);
    stage
        .good(&["plugin", "enable", GATE, "--settings", &future])
        .await;
    let fleet = stage.fleet(1).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0);
    assert_eq!(device.state, "quarantined");
    stage
        .wait_for(&device.id, |event| {
            event.to_string().contains("at least 99.1 is let in")
        })
        .await;
    // What the plugin did and what it cost can be seen.
    let listed = stage.json(&["plugin", "list"]).await;
    let health = &listed[0];
    assert_eq!(
        (health["calls"].as_u64(), health["failures"].as_u64()),
        (Some(1), Some(0))
    );
    assert_eq!(health["latency"][0]["calls"], 1, "{health}");
    assert!(
        health["memory_high_bytes"].as_u64() > Some(60_000),
        "{health}"
    );
    assert_eq!(health["refusals"], json!({}));
    // The next start finds its code where this one has put it.
    let kept = stage.files.path().join("server/plugin-cache");
    assert_eq!(
        std::fs::read_dir(&kept).unwrap().count(),
        1,
        "{}",
        kept.display()
    );
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

/// A package whose manifest asks for a contract of the future, as one may seem to a later version of the server.
fn outdated(package: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(package).unwrap();
    let (now, then) = (br#"api = "0.9""#, br#"api = "9.9""#);
    let at = bytes.windows(now.len()).position(|part| part == now);
    let at = at.expect("the manifest names its API");
    bytes[at..at + then.len()].copy_from_slice(then);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_is_not_taken_any_more_fails_with_its_hooks_and_can_be_replaced() {
    const GATE: &str = "org.pomona.enrollment-gate";
    let package = shown(&guest("enrollment-gate").unwrap());
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    stage.good(&["plugin", "install", &package]).await;
    stage.good(&["plugin", "enable", GATE]).await;
    let database = TestDatabase::sqlite(&stage.files.path().join("server"));
    for (damaged, reason) in [
        (outdated(&package), "9.9"),
        (b"nothing".to_vec(), "no plugin package"),
    ] {
        stage.lab.stop().await.unwrap();
        let file = stage.files.path().join("damaged");
        std::fs::write(&file, damaged).unwrap();
        let put = format!("UPDATE plugin SET package = readfile('{}')", file.display());
        database.query(&put).unwrap();
        stage.lab.start().await.unwrap();
        let listed = stage.json(&["plugin", "list"]).await;
        assert_eq!(listed[0]["state"], "failed", "{listed}");
        assert!(
            listed[0]["reason"].as_str().unwrap().contains(reason),
            "{listed}"
        );
        if reason == "9.9" {
            // It would let everybody in. It is not asked, so nobody comes in unseen.
            let fleet = stage.fleet(1).await;
            let device = stage.lab.tenant.devices().await.unwrap().remove(0);
            assert_eq!(device.state, "quarantined");
            let told = |event: &Value| event.to_string().contains("could not be asked");
            stage.wait_for(&device.id, told).await;
            fleet.stop().await;
        }
        stage.good(&["plugin", "install", &package]).await;
        let listed = stage.json(&["plugin", "list"]).await;
        assert_eq!(listed[0]["state"], "active", "{listed}");
    }
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_returns_for_events_is_carried_out_once_and_in_its_name() {
    let package = shown(&guest("welcome").unwrap());
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    stage.good(&["plugin", "install", &package]).await;
    stage.good(&["plugin", "enable", WELCOME]).await;
    let fleet = stage.fleet(3).await;
    for device in stage.lab.tenant.devices().await.unwrap() {
        let queued = stage
            .wait_for(&device.id, of("command_queued", "DeviceInformation"))
            .await;
        assert_eq!(queued["actor_kind"], "plugin");
        stage
            .wait_for(&device.id, of("command_outcome", "DeviceInformation"))
            .await;
        let path = stage
            .lab
            .tenant
            .path(&format!("devices/{}/facts", device.id));
        let facts = stage.lab.tenant.admin().get(&path).await.unwrap();
        let fact = &facts["items"][0];
        assert_eq!(fact["name"], "org.pomona.welcome.since-ms", "{facts}");
        let timeline = stage.timeline(&device.id).await;
        let asked = timeline
            .iter()
            .filter(|e| of("command_queued", "DeviceInformation")(e));
        assert_eq!(asked.count(), 1);
    }
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_refused_where_unsigned_ones_are_not_taken_or_when_it_is_damaged() {
    let path = guest("welcome").unwrap();
    let mut stage = Stage::open(&[]).await;
    let refused = stage.bad(&["plugin", "install", &shown(&path)]).await;
    assert!(refused.contains("not signed"), "{refused}");
    let key = stage.files.path().join("publisher.key");
    let told = stage
        .good(&["plugin", "keygen", &shown(&key), "--json"])
        .await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let public = told["public_key"].as_str().unwrap();
    let signed = stage.files.path().join("signed.pomona");
    std::fs::copy(&path, &signed).unwrap();
    stage
        .good(&["plugin", "sign", &shown(&signed), "--key", &shown(&key)])
        .await;
    let refused = stage.bad(&["plugin", "install", &shown(&signed)]).await;
    assert!(refused.contains("does not trust"), "{refused}");
    stage.lab.stop().await.unwrap();
    stage.lab.set("--plugins-trusted-keys", public);
    stage.lab.start().await.unwrap();
    let installed = stage
        .good(&["plugin", "install", &shown(&signed), "--json"])
        .await;
    let installed: Value = serde_json::from_str(&installed).unwrap();
    assert_eq!(installed["trust"], "verified", "{installed}");
    stage.good(&["plugin", "remove", WELCOME]).await;
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    let cut = stage.files.path().join("cut.pomona");
    std::fs::write(&cut, &bytes).unwrap();
    let refused = stage.bad(&["plugin", "install", &shown(&cut)]).await;
    assert!(refused.contains("no plugin package"), "{refused}");
    let listed = stage
        .good(&["plugin", "list", "--installed", "--json"])
        .await;
    assert_eq!(listed.trim(), "[]");
    stage.lab.stop().await.unwrap();
}
