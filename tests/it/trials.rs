//! A version on trial from the operator's side: compared in shadow, let decide about some devices, put in force, withdrawn.

use pomona_tests::{guest, guest_variant};
use serde_json::{Value, json};

use crate::outside::rewritten_file;
use crate::stage::{Stage, of, shown};

const QUIET: &str = "org.pomona.quiet-hours";
const RULES: &str = "org.pomona.compliance-hook";
const WELCOME: &str = "org.pomona.welcome";
const OPEN: &str =
    r#"{"windows": [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "00:00"}]}"#;

const NEXT: (&str, &str, &str) = ("plugin.toml", "version = \"0.1.0\"", "version = \"0.2.0\"");

/// Quiet hours that refuse every restart, and fall over when a device is to be shut down.
fn stricter() -> String {
    let judge = "_command: &Draft,\n    ) -> Result<Verdict, HookError> {";
    let other = "command: &Draft,\n    ) -> Result<Verdict, HookError> {
        match command.request_type.as_str() {
            \"RestartDevice\" => return Ok(Verdict::Veto(\"0.2 refuses restarts\".into())),
            \"ShutDownDevice\" => panic!(\"0.2 falls over\"),
            _ => {}
        }";
    let changes = [NEXT, ("src/lib.rs", judge, other)];
    shown(&guest_variant("quiet-hours", "stricter-hours", &changes).unwrap())
}

async fn listed(stage: &Stage) -> Value {
    stage.json(&["plugin", "list"]).await[0].clone()
}

/// The report, once it says of a hook what is wanted.
async fn report(stage: &Stage, id: &str, hook: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let of_hook = |report: &Value| {
        let hooks = report["hooks"].as_array().unwrap();
        hooks.iter().find(|one| one["hook"] == hook).cloned()
    };
    let said = |report: &Value| of_hook(report).is_some_and(|hook| wanted(&hook));
    stage.until(&["plugin", "trial", id], said).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_compared_in_shadow_decides_for_a_group_and_is_put_in_force() {
    let active = shown(&guest("quiet-hours").unwrap());
    let next = stricter();
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let fleet = stage.fleet(2).await;
    let devices = stage.lab.tenant.devices().await.unwrap();
    let [first, second] = [0, 1].map(|n: usize| devices[n].id.clone());
    let restart = async |stage: &Stage, device: &str, good: bool| {
        let send = ["command", "send", "RestartDevice", "--device", device];
        if good {
            let sent = stage.good(&send).await;
            assert!(sent.contains("1 of 1"), "{sent}");
        } else {
            let refused = stage.bad(&send).await;
            assert!(refused.contains("0.2 refuses restarts"), "{refused}");
        }
    };
    let refused = stage.bad(&["plugin", "try", &next, "--shadow"]).await;
    assert!(
        refused.contains("not found"),
        "nothing stands beside it: {refused}"
    );
    stage.good(&["plugin", "install", &active]).await;
    let open = stage.file("open.json", OPEN);
    stage
        .good(&["plugin", "enable", QUIET, "--settings", &open])
        .await;
    for (arguments, told) in [
        (&[active.as_str(), "--shadow"][..], "in force already"),
        (&[QUIET, "--shadow"], "a version on trial was not found"),
        (&[&next, "--canary", "100%"], "1% to 99%"),
        (&[&next, "--canary-group", "early"], "no tenant has a group"),
        (&["none.pomona", "--shadow"], "there is no file"),
        (&[&next], "required"),
    ] {
        let refused = stage.bad(&[&["plugin", "try"], arguments].concat()).await;
        assert!(refused.contains(told), "{arguments:?}: {refused}");
    }

    // In shadow nothing is applied, and what would have been is noted.
    let tried = stage.json(&["plugin", "try", &next, "--shadow"]).await;
    assert_eq!(tried["version"], "0.1.0", "{tried:#}");
    assert_eq!(tried["trial"]["version"], "0.2.0", "{tried:#}");
    let digest = tried["trial"]["digest"].as_str().unwrap().to_owned();
    assert_eq!(listed(&stage).await["trial_health"]["state"], "shadow");
    restart(&stage, &first, true).await;
    stage
        .wait_for(&first, of("command_outcome", "RestartDevice"))
        .await;
    let hook = "command-validate";
    // While it was queued; what was allowed then holds for the sending.
    let told = report(&stage, QUIET, hook, |hook| hook["different"] == 1).await;
    let difference = &told["differences"][0];
    assert_eq!(difference["device"], first, "{told:#}");
    assert_eq!(difference["about"], "RestartDevice");
    assert_eq!(difference["trial"], "veto: 0.2 refuses restarts");
    assert!(difference["active"].as_str().unwrap().starts_with("allow"));
    assert_eq!(told["tenants"][0]["health"]["state"], "shadow", "{told:#}");
    let shut = ["command", "send", "ShutDownDevice", "--device", &first];
    stage.good(&shut).await;
    let told = report(&stage, QUIET, hook, |hook| hook["trial_failed"] != 0).await;
    let hooks = told["hooks"].as_array().unwrap();
    let asked = hooks.iter().find(|one| one["hook"] == hook).unwrap();
    let failure = asked["last_failure"].as_str().unwrap();
    assert!(failure.contains("0.2 falls over"), "{failure}");
    assert_eq!(asked["active_failed"], 0);
    assert_eq!(listed(&stage).await["failures"], 0, "of the active one");

    // A canary decides about the devices of its group, as long as it gives answers.
    stage.good(&["group", "create", "early"]).await;
    stage.good(&["group", "add", "early", &first]).await;
    let canary = ["plugin", "try", QUIET, "--canary-group", "early"];
    stage.good(&canary).await;
    restart(&stage, &first, false).await;
    restart(&stage, &second, true).await;
    stage.good(&shut).await;
    stage.lab.stop().await.unwrap();
    stage.lab.start().await.unwrap();
    assert_eq!(listed(&stage).await["trial_health"]["state"], "canary");
    restart(&stage, &first, false).await;
    restart(&stage, &second, true).await;
    let here = stage.json(&["plugin", "trial", QUIET, "--here"]).await;
    assert_eq!(here["trial"]["group"], "early", "{here:#}");
    let people = stage.good(&["plugin", "trial", QUIET]).await;
    assert!(people.contains("0.2.0 on trial as canary"), "{people}");

    // What is suspended or revoked decides nothing.
    stage.good(&["plugin", "suspend", QUIET]).await;
    assert_eq!(listed(&stage).await["trial_health"]["state"], "suspended");
    restart(&stage, &first, true).await;
    stage.good(&["plugin", "resume", QUIET]).await;
    restart(&stage, &first, false).await;
    let revoke = [
        "plugin",
        "revoke",
        "--digest",
        &digest,
        "--reason",
        "found out",
    ];
    stage.good(&revoke).await;
    let state = listed(&stage).await;
    assert_eq!(
        (&state["state"], &state["trial_health"]["state"]),
        (&json!("active"), &json!("failed"))
    );
    assert!(
        state["trial_health"]["reason"]
            .to_string()
            .contains("found out")
    );
    restart(&stage, &first, true).await;
    stage.bad(&["plugin", "promote", QUIET]).await;
    stage
        .good(&["plugin", "unrevoke", "--digest", &digest])
        .await;
    restart(&stage, &first, false).await;
    stage.good(&["plugin", "try", QUIET, "--shadow"]).await;
    restart(&stage, &first, true).await;

    let promoted = stage.json(&["plugin", "promote", QUIET]).await;
    assert_eq!(promoted["version"], "0.2.0", "{promoted:#}");
    assert_eq!(promoted.get("trial"), None, "{promoted:#}");
    restart(&stage, &second, false).await;
    for verb in ["trial", "promote", "withdraw"] {
        let gone = stage.bad(&["plugin", verb, QUIET]).await;
        assert!(
            gone.contains("a version on trial was not found"),
            "{verb}: {gone}"
        );
    }

    // The one before on trial beside it, and sent away.
    stage
        .good(&["plugin", "try", &active, "--canary-group", "early"])
        .await;
    restart(&stage, &first, true).await;
    stage.good(&["plugin", "withdraw", QUIET]).await;
    restart(&stage, &first, false).await;
    assert_eq!(listed(&stage).await.get("trial"), None);

    let audit = stage
        .lab
        .tenant
        .admin()
        .list("/api/v1/audit")
        .await
        .unwrap();
    let count = |action: &str| audit.iter().filter(|one| one["action"] == action).count();
    assert_eq!((count("plugin.try"), count("plugin.withdraw")), (4, 1));
    let install = audit
        .iter()
        .find(|one| !one["details"]["ends_trial"].is_null());
    let ended = &install.unwrap()["details"]["ends_trial"];
    assert_eq!(ended["version"], "0.2.0", "{ended:#}");
    assert!(ended["different"].as_u64() > Some(1), "{ended:#}");
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_asks_for_more_or_does_not_fit_the_settings_is_not_run() {
    let package = guest("quiet-hours").unwrap();
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    stage.good(&["plugin", "install", &shown(&package)]).await;
    let open = stage.file("open.json", OPEN);
    stage
        .good(&["plugin", "enable", QUIET, "--settings", &open])
        .await;
    let put = |name: &str, bytes: Vec<u8>| {
        let path = stage.files.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        shown(&path)
    };
    let more = rewritten_file(&package, "plugin.toml", |toml| {
        toml.replace(NEXT.1, NEXT.2)
            .replace("read = [\"core\"", "search = true\nread = [\"core\"")
    });
    let more = put("more.pomona", more);
    let refused = stage.bad(&["plugin", "try", &more, "--shadow"]).await;
    assert!(refused.contains("asks besides for"), "{refused}");
    let unfit = rewritten_file(&package, "settings.schema.json", |schema| {
        schema.replace("[\"windows\"]", "[\"windows\", \"calendar\"]")
    });
    let unfit = put("unfit.pomona", unfit);
    stage.good(&["plugin", "try", &unfit, "--shadow"]).await;
    let state = listed(&stage).await;
    assert_eq!(state["state"], "active");
    assert_eq!(state["trial_health"]["state"], "failed", "{state:#}");
    let reason = state["trial_health"]["reason"].to_string();
    assert!(reason.contains("calendar"), "{reason}");
    stage.good(&["plugin", "remove", QUIET]).await;
    stage.good(&["plugin", "install", &shown(&package)]).await;
    let again = stage.json(&["plugin", "list", "--installed"]).await;
    assert_eq!(again[0].get("trial"), None, "it went with the plugin");
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_a_canary_are_measured_by_its_rules_and_anew_when_it_ends() {
    let changes = [
        NEXT,
        (
            "src/lib.rs",
            "{version} is older than {minimum}",
            "{version} is too old for {minimum}",
        ),
        (
            "src/lib.rs",
            "        vec![\n            rule(\"passcode\"",
            "        vec![\n            rule(\"present\", \"It is there\", Severity::Low),\n            rule(\"passcode\"",
        ),
        (
            "src/lib.rs",
            "    vec![\n        passcode(device),",
            "    vec![\n        finding(\"present\", RuleVerdict::Pass, \"it is\"),\n        passcode(device),",
        ),
    ];
    let next = shown(&guest_variant("compliance-hook", "newer-rules", &changes).unwrap());
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let fleet = stage.fleet(2).await;
    let devices = stage.lab.tenant.devices().await.unwrap();
    let [first, second] = [0, 1].map(|n: usize| devices[n].id.clone());
    let package = shown(&guest("compliance-hook").unwrap());
    stage.good(&["plugin", "install", &package]).await;
    let strict = stage.file("strict.json", r#"{"minimum_os": "99.0"}"#);
    stage
        .good(&["plugin", "enable", RULES, "--settings", &strict])
        .await;
    let finding = |shown: &Value, rule: &str, member: &str| {
        let all = shown["findings"].as_array().unwrap();
        let one = all.iter().find(|one| one["rule"] == rule);
        one.map(|one| one[member].as_str().unwrap().to_owned())
    };
    let says = async |stage: &Stage, device: &str, message: &str, present: Option<&str>| {
        let wanted = |shown: &Value| {
            finding(shown, "os-current", "message").is_some_and(|told| told.contains(message))
                && finding(shown, "present", "verdict").as_deref() == present
        };
        stage.until(&["posture", "show", device], wanted).await
    };
    says(&stage, &first, "older than 99.0", None).await;
    says(&stage, &second, "older than 99.0", None).await;

    stage.good(&["group", "create", "early"]).await;
    stage.good(&["group", "add", "early", &first]).await;
    stage
        .good(&["plugin", "try", &next, "--canary-group", "early"])
        .await;
    says(&stage, &first, "too old for 99.0", Some("pass")).await;
    says(&stage, &second, "older than 99.0", Some("not-applicable")).await;
    let explained = stage.json(&["posture", "explain", &first, RULES]).await;
    assert_eq!(explained["same"], true, "{explained:#}");
    let told = report(&stage, RULES, "compliance", |hook| {
        hook["different"].as_u64() >= Some(2)
    })
    .await;
    let of_second = told["differences"].as_array().unwrap().iter();
    let of_second = of_second.filter(|one| one["device"] == second).count();
    assert!(of_second > 0, "{told:#}");
    let difference = told["differences"][0]["trial"].as_str().unwrap();
    assert!(difference.contains("present: pass: it is"), "{difference}");

    // Who joins the group is measured by the other rules; when the trial ends, nobody is.
    stage.good(&["group", "add", "early", &second]).await;
    says(&stage, &second, "too old for 99.0", Some("pass")).await;
    stage.good(&["plugin", "withdraw", RULES]).await;
    says(&stage, &first, "older than 99.0", None).await;
    says(&stage, &second, "older than 99.0", None).await;
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_in_shadow_are_compared_and_a_canarys_are_carried_out_for_its_devices() {
    let changes = [
        NEXT,
        (
            "plugin.toml",
            "[\"enrolled\"]",
            "[\"enrolled\", \"fact_set\"]",
        ),
        (
            "src/lib.rs",
            "event.kind == \"enrolled\" &&",
            "(event.kind == \"enrolled\" || event.kind == \"fact_set\") &&",
        ),
        ("src/lib.rs", "\"DeviceName\", ", ""),
    ];
    let next = shown(&guest_variant("welcome", "warmer-welcome", &changes).unwrap());
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let package = shown(&guest("welcome").unwrap());
    stage.good(&["plugin", "install", &package]).await;
    stage.good(&["plugin", "enable", WELCOME]).await;
    stage.good(&["plugin", "try", &next, "--shadow"]).await;
    let fleet = stage.fleet(2).await;
    let devices = stage.lab.tenant.devices().await.unwrap();
    let [first, second] = [0, 1].map(|n: usize| devices[n].id.clone());
    let told = report(&stage, WELCOME, "events", |hook| hook["different"] == 2).await;
    let difference = &told["differences"][0];
    let text = |member: &str| difference[member].as_str().unwrap().to_owned();
    assert!(
        text("active").contains(": enqueue DeviceInformation"),
        "{told:#}"
    );
    assert!(text("trial").ends_with("(with other content)"), "{told:#}");

    let asked = async |stage: &Stage, device: &str| {
        let timeline = stage.timeline(device).await;
        let queued = of("command_queued", "DeviceInformation");
        timeline.iter().filter(|event| queued(event)).count()
    };
    let set = async |stage: &Stage, device: &str, value: u32| {
        let path = stage
            .lab
            .tenant
            .path(&format!("devices/{device}/facts/org.x.n"));
        let body = json!({ "value": value });
        stage.lab.tenant.admin().put(&path, &body).await.unwrap();
    };
    // The active version does not even hear of it.
    set(&stage, &first, 1).await;
    let told = report(&stage, WELCOME, "events", |hook| hook["different"] == 3).await;
    assert_eq!(told["differences"][0]["active"], "nothing", "{told:#}");
    assert_eq!(
        (asked(&stage, &first).await, asked(&stage, &second).await),
        (1, 1)
    );

    stage.good(&["group", "create", "early"]).await;
    stage.good(&["group", "add", "early", &first]).await;
    stage
        .good(&["plugin", "try", WELCOME, "--canary-group", "early"])
        .await;
    let before = stage.timeline(&first).await;
    let last = before.iter().map(|event| event["seq"].as_i64()).max();
    set(&stage, &first, 2).await;
    set(&stage, &second, 2).await;
    let queued = stage
        .wait_for(&first, |event| {
            of("command_queued", "DeviceInformation")(event) && Some(event["seq"].as_i64()) > last
        })
        .await;
    assert_eq!(queued["actor_kind"], "plugin");
    report(&stage, WELCOME, "events", |hook| hook["different"] == 5).await;
    assert_eq!(
        (asked(&stage, &first).await, asked(&stage, &second).await),
        (2, 1)
    );
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}
