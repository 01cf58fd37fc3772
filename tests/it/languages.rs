//! Plugins that are not in Rust, from the operator's side: their tools are fetched, they are built, installed and obeyed.

use std::path::Path;

use pomona_tests::guest;
use serde_json::{Value, json};

use crate::stage::{Stage, of, shown};

/// An engine is compiled at installing, which takes long where the compiler of plugins is not optimised or the machine is busy.
const UNSIGNED: &[(&str, &str)] = &[
    ("--plugins-allow-unsigned", "true"),
    ("--limits-request-seconds", "900"),
];

/// The verdicts of the rules of our examples about a device with an old system, without a passcode, that nobody supervises.
async fn rules_are_obeyed(stage: &Stage, plugin: &str, device: &str) {
    let strict = stage.file("strict.json", r#"{"minimum_os": "99.0"}"#);
    stage
        .good(&["plugin", "enable", plugin, "--settings", &strict])
        .await;
    let fact = format!("devices/{device}/facts/security.passcode-present");
    let path = stage.lab.tenant.path(&fact);
    let said = json!({ "value": false });
    stage.lab.tenant.admin().put(&path, &said).await.unwrap();
    let verdict = |shown: &Value, rule: &str| {
        let findings = shown["findings"].as_array().unwrap();
        let found = findings
            .iter()
            .find(|one| one["rule"] == rule && one["plugin"] == plugin);
        found.cloned().unwrap_or_default()
    };
    let show = ["posture", "show", device];
    let shown = stage
        .until(&show, |shown| {
            verdict(shown, "passcode")["verdict"] == "fail"
        })
        .await;
    let passcode = verdict(&shown, "passcode");
    assert_eq!(passcode["evidence"][0]["name"], "security.passcode-present");
    assert_eq!(passcode["remedies"][0]["request_type"], "SecurityInfo");
    let system = verdict(&shown, "os-current");
    assert_eq!(system["verdict"], "fail", "{system}");
    assert!(
        system["message"]
            .as_str()
            .unwrap()
            .contains("older than 99.0")
    );
    let explained = stage.json(&["posture", "explain", device, plugin]).await;
    assert_eq!(explained["same"], true, "{explained:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_in_javascript_is_built_and_its_effects_and_findings_are_kept() {
    const WELCOME: &str = "org.pomona.welcome-javascript";
    const RULES: &str = "org.pomona.compliance-hook-javascript";
    let mut stage = Stage::open(UNSIGNED).await;
    for name in ["welcome-javascript", "compliance-hook-javascript"] {
        let package = shown(&guest(name).unwrap());
        stage.good(&["plugin", "install", &package]).await;
    }
    stage.good(&["plugin", "enable", WELCOME]).await;
    let fleet = stage.fleet(1).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    let queued = stage
        .wait_for(&device, of("command_queued", "DeviceInformation"))
        .await;
    assert_eq!(queued["actor_kind"], "plugin");
    let path = stage.lab.tenant.path(&format!("devices/{device}/facts"));
    let facts = stage.lab.tenant.admin().get(&path).await.unwrap();
    assert_eq!(facts["items"][0]["name"], format!("{WELCOME}.since-ms"));
    rules_are_obeyed(&stage, RULES, &device).await;
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

/// A plugin in TypeScript of an author's own, outside of any checkout, that fails on purpose.
fn failing(folder: &Path) {
    std::fs::create_dir_all(folder.join("src")).unwrap();
    for (name, text) in [
        (
            "plugin.toml",
            "id = \"org.example.failing\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"Failing\"\n[hooks.command-validate]\nrequest-types = [\"RestartDevice\"]\n",
        ),
        ("package.json", r#"{"main": "src/plugin.ts"}"#),
        (
            "src/plugin.ts",
            "import type { CommandValidate, Snapshot } from \"pomona\";\nimport { judged } from \"./judged\";\n\nexport const commandValidate: CommandValidate = {\n  validate: (_context, _stage, device: Snapshot) => judged(device),\n};\n",
        ),
        (
            "src/judged.ts",
            "import { allow, type Snapshot, type Verdict } from \"pomona\";\n\nexport function judged(device: Snapshot): Verdict {\n  if (device.id !== \"\") throw new RangeError(\"nobody knows this device\");\n  return allow();\n}\n",
        ),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_in_typescript_throws_is_told_with_its_own_files_and_lines() {
    let mut stage = Stage::open(UNSIGNED).await;
    let folder = stage.files.path().join("failing");
    failing(&folder);
    let build = ["plugin", "build", &shown(&folder)];
    stage.good(&build).await;
    assert!(folder.join("node_modules/pomona/index.d.ts").is_file());
    let package = folder.join("target/pomona/org.example.failing-1.0.0.pomona");
    stage.good(&["plugin", "install", &shown(&package)]).await;
    stage
        .good(&["plugin", "enable", "org.example.failing"])
        .await;
    let fleet = stage.fleet(1).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    let restart = ["command", "send", "RestartDevice", "--device", &device];
    let _ = stage.lab.verb(&stage.binary, &restart).await.unwrap();
    let listed = stage.good(&["plugin", "list", "--json"]).await;
    let told = "RangeError: nobody knows this device; at judged (src/judged.ts:4); at validate (src/plugin.ts:5)";
    assert!(listed.contains(told), "{listed}");

    // What the code lacks is said at the build, and what is missing there is named.
    std::fs::write(folder.join("src/plugin.ts"), "export {};").unwrap();
    let refused = stage.bad(&build).await;
    assert!(
        refused.contains("`export const commandValidate`"),
        "{refused}"
    );
    std::fs::write(
        folder.join("src/plugin.ts"),
        "import fs from \"node:fs\";\nexport const commandValidate = fs;",
    )
    .unwrap();
    let refused = stage.bad(&build).await;
    assert!(refused.contains("src/plugin.ts:1"), "{refused}");
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_in_python_is_built_and_judges_commands_and_devices() {
    const QUIET: &str = "org.pomona.quiet-hours-python";
    const RULES: &str = "org.pomona.compliance-hook-python";
    let mut stage = Stage::open(UNSIGNED).await;
    for name in ["quiet-hours-python", "compliance-hook-python"] {
        let package = shown(&guest(name).unwrap());
        stage.good(&["plugin", "install", &package]).await;
    }
    let fleet = stage.fleet(1).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    let restart = ["command", "send", "RestartDevice", "--device", &device];
    // Only the plugin itself knows which zones there are.
    let windows = r#"[{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "00:00"}]"#;
    let strange = format!(r#"{{"time_zone": "Atlantis", "windows": {windows}}}"#);
    let strange = stage.file("strange.json", &strange);
    let refused = stage
        .bad(&["plugin", "enable", QUIET, "--settings", &strange])
        .await;
    assert!(refused.contains("/time_zone"), "{refused}");
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
    let open = format!(r#"{{"time_zone": "Europe/Berlin", "windows": {windows}}}"#);
    let open = stage.file("open.json", &open);
    stage
        .good(&["plugin", "enable", QUIET, "--settings", &open])
        .await;
    stage.good(&restart).await;
    stage
        .wait_for(&device, of("command_outcome", "RestartDevice"))
        .await;
    rules_are_obeyed(&stage, RULES, &device).await;
    let plugins = stage.json(&["plugin", "list"]).await;
    for plugin in plugins.as_array().unwrap() {
        assert_eq!(plugin["failures"], 0, "{plugin}");
    }
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}
