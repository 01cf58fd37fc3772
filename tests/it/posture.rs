//! What plugins find out about devices, and what plugins may do, from the administrator's side.

use pomona_tests::guest;
use serde_json::{Value, json};

use crate::outside::rewritten;
use crate::stage::{Stage, shown};

const RULES: &str = "org.pomona.compliance-hook";
const WELCOME: &str = "org.pomona.welcome";

fn verdicts(findings: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (text(&finding["rule"]), text(&finding["verdict"])))
        .collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_a_plugin_are_kept_as_findings_that_can_be_explained() {
    let package = shown(&guest("compliance-hook").unwrap());
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let fleet = stage.fleet(2).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    stage.good(&["plugin", "install", &package]).await;
    let strict = stage.file("strict.json", r#"{"minimum_os": "99.0"}"#);
    stage
        .good(&["plugin", "enable", RULES, "--settings", &strict])
        .await;
    let failed = ["posture", "findings", "--verdict", "fail"];
    let found = stage
        .until(&failed, |found| found.as_array().unwrap().len() == 2)
        .await;
    assert_eq!(found[0]["rule"], "os-current");
    assert!(
        found[0]["message"]
            .as_str()
            .unwrap()
            .contains("older than 99.0")
    );
    let everything = stage.json(&["posture", "findings", "--limit", "4"]).await;
    assert_eq!(everything.as_array().unwrap().len(), 4, "of ten");

    // What nobody has said is unknown; once it is said, the rule is asked again by itself.
    let shown = stage.json(&["posture", "show", &device]).await;
    let unknown = ("passcode".to_owned(), "unknown".to_owned());
    assert!(verdicts(&shown["findings"]).contains(&unknown), "{shown:#}");
    let fact = format!("devices/{device}/facts/security.passcode-present");
    let path = stage.lab.tenant.path(&fact);
    stage
        .lab
        .tenant
        .admin()
        .put(&path, &json!({ "value": false }))
        .await
        .unwrap();
    let show = ["posture", "show", &device];
    let fails = ("passcode".to_owned(), "fail".to_owned());
    let shown = stage
        .until(&show, |shown| verdicts(&shown["findings"]).contains(&fails))
        .await;
    let findings = shown["findings"].as_array().unwrap();
    let passcode = findings.iter().find(|one| one["rule"] == "passcode");
    let passcode = passcode.unwrap();
    assert_eq!(
        passcode["remedies"][0]["request_type"], "SecurityInfo",
        "{passcode:#}"
    );
    assert_eq!(passcode["evidence"][0]["name"], "security.passcode-present");
    let told =
        |event: &Value| event["kind"] == "finding_changed" && event["body"]["was"] == "unknown";
    stage.wait_for(&device, told).await;

    let explained = stage.json(&["posture", "explain", &device, RULES]).await;
    assert_eq!(explained["same"], true, "{explained:#}");
    assert_eq!(explained["answer"].as_array().unwrap().len(), 5);

    // Other settings: every device is measured anew.
    let mild = stage.file("mild.json", r#"{"minimum_os": "1"}"#);
    stage
        .good(&["plugin", "enable", RULES, "--settings", &mild])
        .await;
    let passes = [
        "posture",
        "findings",
        "--rule",
        "os-current",
        "--verdict",
        "pass",
    ];
    stage
        .until(&passes, |found| found.as_array().unwrap().len() == 2)
        .await;
    let now = stage.json(&["posture", "show", &device, "--now"]).await;
    assert_eq!(now["assessments"][0]["state"], "answered", "{now:#}");
    stage.good(&["plugin", "disable", RULES]).await;
    let all = stage.json(&["posture", "findings"]).await;
    assert_eq!(all, json!([]), "what it said is gone with it");
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_shows_a_panel_and_answers_requests_as_far_as_it_is_open() {
    const ID: &str = "org.pomona.lost-and-found";
    let package = shown(&guest("lost-and-found").unwrap());
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let fleet = stage.fleet(2).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    stage.good(&["plugin", "install", &package]).await;
    stage.good(&["plugin", "enable", ID]).await;
    let admin = stage.lab.tenant.admin();
    let panel = stage
        .lab
        .tenant
        .path(&format!("plugins/{ID}/panels/silent"));
    let asked = "?parameters=%7B%22days%22%3A0%7D";
    let board = admin.get(&format!("{panel}{asked}")).await.unwrap();
    assert_eq!(
        board["content"]["rows"].as_array().unwrap().len(),
        2,
        "{board:#}"
    );
    let no = stage.lab.tenant.path(&format!("plugins/{ID}/panels/other"));
    assert!(admin.get(&no).await.is_err());
    let nonsense = format!("{panel}?parameters=x");
    assert!(admin.get(&nonsense).await.is_err());

    // Behind a token, and for nobody without one.
    let page = stage.page(ID, "GET", "silent.csv", &[], "", true).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.body, "serial,model,days\n");
    assert!(page.header("content-security-policy").contains("sandbox"));
    let page = stage.page(ID, "GET", "silent.csv", &[], "", false).await;
    assert_eq!(page.status, 401);
    let page = stage
        .page("org.example.none", "GET", "x", &[], "", false)
        .await;
    assert_eq!(
        page.status, 401,
        "a stranger does not learn what is installed"
    );
    let page = stage
        .page("org.example.none", "GET", "x", &[], "", true)
        .await;
    assert_eq!(page.status, 404);

    // Open, but signed. Without its secret the plugin gives no answer.
    let body = format!(r#"{{"device": "{device}", "at": "Room 12"}}"#);
    let page = stage.page(ID, "POST", "found", &[], &body, false).await;
    assert_eq!(page.status, 502, "{}", page.body);
    let secret = stage.file("secret", "hush\n");
    stage
        .good(&[
            "plugin",
            "secret",
            "set",
            ID,
            "front-desk",
            "--host",
            "desk.example.org",
            "--file",
            &secret,
        ])
        .await;
    let listed = stage.json(&["plugin", "secret", "list", ID]).await;
    assert_eq!(listed[0]["name"], "front-desk");
    assert!(!listed.to_string().contains("hush"));
    let page = stage.page(ID, "POST", "found", &[], &body, false).await;
    assert_eq!(page.status, 403, "{}", page.body);
    let signature = hmac("hush", &body);
    let signed = [("x-signature", signature.as_str())];
    let page = stage.page(ID, "POST", "found", &signed, &body, false).await;
    assert_eq!((page.status, page.body.as_str()), (202, "noted"));
    let path = stage.lab.tenant.path(&format!("devices/{device}/facts"));
    let facts = admin.get(&path).await.unwrap();
    assert_eq!(facts["items"][0]["value"], "Room 12", "{facts:#}");
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

/// HMAC-SHA-256 in hexadecimal.
fn hmac(secret: &str, body: &str) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, body.as_bytes());
    tag.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_asks_for_more_waits_and_a_right_that_is_not_granted_is_not_there() {
    let package = guest("welcome").unwrap();
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    stage.good(&["plugin", "install", &shown(&package)]).await;
    stage.good(&["plugin", "enable", WELCOME]).await;
    let wider = rewritten(&package, |toml| {
        toml.replace("version = \"0.1.0\"", "version = \"0.2.0\"")
            .replace(
                "[\"DeviceInformation\"]",
                "[\"DeviceInformation\", \"EraseDevice\"]",
            )
    });
    let path = stage.files.path().join("wider.pomona");
    std::fs::write(&path, wider).unwrap();
    let installed = stage.json(&["plugin", "install", &shown(&path)]).await;
    assert_eq!(installed["version"], "0.1.0", "the one before goes on");
    assert_eq!(installed["waiting"]["version"], "0.2.0");
    assert_eq!(
        installed["waiting"]["asks_for"],
        json!(["send EraseDevice"])
    );
    stage.good(&["plugin", "decline", WELCOME]).await;
    let gone = stage.bad(&["plugin", "approve", WELCOME]).await;
    assert!(gone.contains("a version that waits"), "{gone}");
    stage.good(&["plugin", "install", &shown(&path)]).await;
    let approved = stage.json(&["plugin", "approve", WELCOME]).await;
    assert_eq!(approved["version"], "0.2.0", "{approved:#}");
    assert_eq!(approved.get("waiting"), None);

    // The operator takes a right back: what the plugin returns is refused as a whole, by the name of the right.
    let narrow = stage.file(
        "narrow.json",
        r#"{"commands": {"enqueue": ["DeviceInformation"]}}"#,
    );
    stage
        .good(&["plugin", "grant", WELCOME, "--rights", &narrow])
        .await;
    let fleet = stage.fleet(1).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    let refused = stage
        .bad(&["plugin", "rehearse", WELCOME, "--device", &device])
        .await;
    assert!(
        refused.contains("capabilities.facts.set is not granted"),
        "{refused}"
    );
    let nonsense = stage.file("nonsense.json", r#"{"root": true}"#);
    let refused = stage
        .bad(&["plugin", "grant", WELCOME, "--rights", &nonsense])
        .await;
    assert!(refused.contains("unknown field `root`"), "{refused}");

    // With the right given back a rehearsal shows what would be done, and does nothing.
    let wide = r#"{"commands": {"enqueue": ["DeviceInformation"]}, "facts": {"set": true}}"#;
    let wide = stage.file("wide.json", wide);
    stage.good(&["plugin", "disable", WELCOME]).await;
    stage
        .good(&["plugin", "grant", WELCOME, "--rights", &wide])
        .await;
    stage.good(&["plugin", "enable", WELCOME]).await;
    let rehearse = ["plugin", "rehearse", WELCOME, "--device", &device];
    let differences = stage.json(&rehearse).await;
    assert_eq!(differences[0]["outcome"], "done", "{differences:#}");
    assert_eq!(
        differences[1]["effect"]["set-fact"]["name"],
        "org.pomona.welcome.since-ms"
    );
    let again = stage.json(&rehearse).await;
    assert_eq!(
        again[0]["outcome"], "done",
        "nothing was done the first time"
    );
    let path = stage.lab.tenant.path(&format!("devices/{device}/facts"));
    let facts = stage.lab.tenant.admin().get(&path).await.unwrap();
    assert_eq!(facts["items"], json!([]));

    // Rights are members by name: a list would be taken in their order, and nothing at all would be left.
    for (name, text, why) in [
        ("list.json", "[]", "rights is a list"),
        (
            "inner.json",
            r#"{"devices": [["core"]]}"#,
            "rights.devices is a list",
        ),
        (
            "word.json",
            r#"{"devices": {"read": ["everything"]}}"#,
            "is none of core",
        ),
        ("name.json", r#"{"device": {"read": []}}"#, "unknown field"),
    ] {
        let file = stage.file(name, text);
        for verb in ["enable", "grant"] {
            let refused = stage
                .bad(&["plugin", verb, WELCOME, "--rights", &file])
                .await;
            assert!(refused.contains(why), "{verb} {name}: {refused}");
        }
    }
    let refused = stage
        .bad(&[
            "plugin",
            "rehearse",
            "org.pomona.nobody",
            "--device",
            &device,
        ])
        .await;
    assert!(refused.contains("enable it first"), "{refused}");

    // A tenant grants less than the operator, never more, and keeps to it until it says otherwise.
    let erase = stage.file(
        "erase.json",
        r#"{"commands": {"enqueue": ["EraseDevice", "DeviceLock"]}}"#,
    );
    let refused = stage
        .bad(&["plugin", "enable", WELCOME, "--rights", &erase])
        .await;
    assert!(refused.contains("the operator does not grant"), "{refused}");
    stage
        .good(&["plugin", "enable", WELCOME, "--rights", &narrow])
        .await;
    for _ in 0..2 {
        let refused = stage.bad(&rehearse).await;
        assert!(
            refused.contains("capabilities.facts.set is not granted"),
            "{refused}"
        );
        // Said again without rights, those that stand stay.
        stage.good(&["plugin", "enable", WELCOME]).await;
    }
    stage
        .good(&["plugin", "enable", WELCOME, "--all-rights"])
        .await;
    assert_eq!(stage.json(&rehearse).await[0]["outcome"], "done");
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}
