//! A plugin on its way from one version to the next and back, as an operator does it: settings and values come along, and what goes
//! wrong leaves the running version going.

use std::path::Path;
use std::process::Command;

use pomona_tests::{checkout, pomona_binary};
use serde_json::{Value, json};

use crate::stage::{Stage, shown};

const ID: &str = "org.example.ledger";

const MANIFEST: &str = r#"id = "org.example.ledger"
version = "VERSION"
api = "0.9"
title = "Ledger"

[hooks.routes]

[settings]
schema = "settings.schema.json"

[capabilities.kv]
quota-kib = 64
schema = SCHEMA
"#;

/// What both versions do: tell their version, settings and what was noted; and note something.
const COMMON: &str = r#"
use pomona_sdk::{CallContext, Diagnostic, Effect, HookError, Keyed, RouteRequest, RouteResponse, Routes, Settings, host};
use pomona_sdk::serde_json::{Value, json};

struct Ledger;
pomona_sdk::export!(Ledger: Settings, Routes);

impl Routes for Ledger {
    fn handle(context: &CallContext, request: &RouteRequest) -> Result<RouteResponse, HookError> {
        let mut effects = Vec::new();
        if request.method == "POST" {
            let item = Effect::KvPut(("noted".into(), request.body.clone()));
            effects.push(Keyed { key: context.call_id.clone(), item });
        }
        let noted = host::kv::get("noted").map_err(|error| HookError::Retryable(format!("{error:?}")))?;
        let body = json!({
            "version": VERSION,
            "settings": host::settings::<Value>()?,
            "noted": noted.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        });
        let headers = vec![("content-type".into(), "application/json".into())];
        Ok(RouteResponse { status: 200, headers, body: body.to_string().into_bytes(), effects })
    }
}
"#;

const FIRST: &str = r#"
const VERSION: &str = "0.1.0";

impl Settings for Ledger {
    fn validate(_: &str) -> Vec<Diagnostic> {
        Vec::new()
    }
}
"#;
const FIRST_SCHEMA: &str = r#"{
    "type": "object", "properties": { "limit": { "type": "integer" } },
    "required": ["limit"], "additionalProperties": false
}"#;

/// Has a list of limits, in which none may be negative, and cannot do with a large one.
const SECOND: &str = r#"
const VERSION: &str = "0.2.0";

impl Settings for Ledger {
    fn validate(json: &str) -> Vec<Diagnostic> {
        let settings: Value = pomona_sdk::serde_json::from_str(json).unwrap_or_default();
        match settings["limits"][0].as_i64() {
            Some(limit) if limit < 0 => vec![pomona_sdk::refuse("/limits/0", "a limit is not negative")],
            _ => Vec::new(),
        }
    }
    fn migrate(from_version: &str, json: &str) -> Result<String, String> {
        let settings: Value = pomona_sdk::serde_json::from_str(json).map_err(|error| error.to_string())?;
        if from_version != "0.1.0" {
            return Err(format!("{from_version} is not the version before"));
        }
        match settings["limit"].as_i64() {
            Some(500) => Ok(json!({ "limits": "none" }).to_string()),
            Some(limit) if limit > 100 => Err(format!("{limit} is more than 100")),
            limit => Ok(json!({ "limits": [limit] }).to_string()),
        }
    }
}
"#;
const SECOND_SCHEMA: &str = r#"{
    "type": "object", "properties": { "limits": { "type": "array", "items": { "type": "integer" } } },
    "required": ["limits"], "additionalProperties": false
}"#;

const MIGRATION: &str = r#"{
    "hook": "settings", "function": "migrate",
    "input": { "from-version": "0.1.0", "json": "{\"limit\": 5}" },
    "expect": { "ok": "{\"limits\":[5]}" }
}"#;

fn pomona(arguments: &[&str]) {
    let output = Command::new(pomona_binary().unwrap())
        .args(arguments)
        .env("CARGO_TARGET_DIR", checkout().join("target/guests"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

/// Builds a version as its author would; gives the package.
fn build(folder: &Path, version: &str, schema: u32, code: &str, settings: &str) -> String {
    let project = folder.join("ledger");
    if !project.exists() {
        pomona(&["plugin", "new", &shown(&project), "--id", ID]);
        std::fs::remove_dir_all(project.join("fixtures")).unwrap();
    }
    let manifest = MANIFEST
        .replace("VERSION", version)
        .replace("SCHEMA", &schema.to_string());
    std::fs::write(project.join("plugin.toml"), manifest).unwrap();
    std::fs::write(project.join("src/lib.rs"), format!("{COMMON}{code}")).unwrap();
    std::fs::write(project.join("settings.schema.json"), settings).unwrap();
    let package = shown(&folder.join(format!("ledger-{version}.pomona")));
    pomona(&["plugin", "build", &shown(&project), "--out", &package]);
    package
}

impl Stage {
    async fn ledger(&self, method: &str, body: &str) -> Value {
        let page = self.page(ID, method, "x", &[], body, true).await;
        assert_eq!(page.status, 200, "{}", page.body);
        serde_json::from_str(&page.body).unwrap()
    }

    /// Says a verb, and looks meanwhile that nobody sees the code of one version with the settings of the other.
    async fn watched(&self, verb: &[&str], first: &Value, second: &Value) {
        let verb = self.good(verb);
        tokio::pin!(verb);
        loop {
            let now = tokio::select! {
                _ = &mut verb => return,
                now = self.ledger("GET", "") => now,
            };
            let expected = match now["version"] == "0.1.0" {
                true => first,
                false => second,
            };
            assert_eq!(&now["settings"], expected, "{now}");
        }
    }

    async fn set(&self, settings: &Value) {
        let file = self.file("settings.json", settings.to_string());
        self.good(&["plugin", "enable", ID, "--settings", &file])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_comes_with_migrated_settings_and_goes_back_with_those_that_were() {
    let files = tempfile::tempdir().unwrap();
    let first = build(files.path(), "0.1.0", 1, FIRST, FIRST_SCHEMA);
    let second = build(files.path(), "0.2.0", 2, SECOND, SECOND_SCHEMA);
    // Its author tries the migration beforehand.
    let project = files.path().join("ledger");
    std::fs::create_dir(project.join("fixtures")).unwrap();
    std::fs::write(project.join("fixtures/migrate.json"), MIGRATION).unwrap();
    pomona(&["plugin", "test", &shown(&project)]);
    let mut stage = Stage::open(&[("--plugins-allow-unsigned", "true")]).await;
    let none = stage.bad(&["plugin", "rollback", ID]).await;
    assert!(none.contains("not found"), "{none}");
    stage.good(&["plugin", "install", &first]).await;
    let none = stage.bad(&["plugin", "rollback", ID]).await;
    assert!(none.contains("no version of org.example.ledger"), "{none}");

    // A migration that fails, gives what is no settings, or gives what the plugin itself does not take.
    for (limit, why) in [
        (101, "101 is more than 100"),
        (500, "is not of type"),
        (-1, "a limit is not negative"),
    ] {
        let settings = json!({ "limit": limit });
        stage.set(&settings).await;
        let refused = stage.bad(&["plugin", "install", &second]).await;
        assert!(
            refused.contains(why) && refused.contains("the tenant main"),
            "{refused}"
        );
        let now = stage.ledger("GET", "").await;
        assert_eq!(
            (&now["version"], &now["settings"]),
            (&json!("0.1.0"), &settings)
        );
        let listed = stage.json(&["plugin", "list", "--installed"]).await;
        assert_eq!(listed[0]["version"], "0.1.0");
        assert!(listed[0].get("previous").is_none(), "{listed}");
    }

    let old = json!({ "limit": 5 });
    stage.set(&old).await;
    stage.ledger("POST", "old").await;
    let new = json!({ "limits": [5] });
    stage
        .watched(&["plugin", "install", &second], &old, &new)
        .await;
    let now = stage.ledger("POST", "new").await;
    assert_eq!(
        now,
        json!({ "version": "0.2.0", "settings": new, "noted": "old" })
    );
    let listed = stage.json(&["plugin", "list", "--installed"]).await;
    assert_eq!(listed[0]["previous"]["version"], "0.1.0", "{listed}");
    let shown = stage.good(&["plugin", "list", "--installed"]).await;
    assert!(
        shown.contains("BEFORE") && shown.contains("0.1.0"),
        "{shown}"
    );

    // Back, and the way back undone: each version with the settings and values that it had.
    stage.good(&["plugin", "rollback", ID]).await;
    let now = stage.ledger("GET", "").await;
    assert_eq!(
        now,
        json!({ "version": "0.1.0", "settings": old, "noted": "old" })
    );
    stage.good(&["plugin", "rollback", ID]).await;
    let now = stage.ledger("GET", "").await;
    assert_eq!(
        now,
        json!({ "version": "0.2.0", "settings": new, "noted": "new" })
    );

    // Settings that were changed since are nothing for the version before.
    stage.set(&json!({ "limits": [1, 2] })).await;
    let refused = stage.bad(&["plugin", "rollback", ID]).await;
    assert!(
        refused.contains("the tenant main") && refused.contains("limit"),
        "{refused}"
    );
    stage.set(&new).await;
    let listed = stage.json(&["plugin", "list", "--installed"]).await;
    let digest = listed[0]["previous"]["digest"].as_str().unwrap();
    let revoked = ["--digest", digest];
    let revoke = ["plugin", "revoke", "--reason", "it was a bad one"];
    stage.good(&[&revoke[..], &revoked].concat()).await;
    let refused = stage.bad(&["plugin", "rollback", ID]).await;
    assert!(refused.contains("it was a bad one"), "{refused}");
    stage
        .good(&[&["plugin", "unrevoke"][..], &revoked].concat())
        .await;

    // Nor does one come back that would not be taken today.
    stage.lab.stop().await.unwrap();
    stage.lab.set("--plugins-allow-unsigned", "false");
    stage.lab.start().await.unwrap();
    let refused = stage.bad(&["plugin", "rollback", ID]).await;
    assert!(refused.contains("not signed"), "{refused}");
    assert_eq!(stage.ledger("GET", "").await["version"], "0.2.0");
    stage.lab.stop().await.unwrap();
}
