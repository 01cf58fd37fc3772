//! New projects in languages other than Rust: they build and pass their tests at once, and the author's verbs are theirs too.

use std::path::Path;

use serde_json::json;

use crate::authors::Desk;

const HOOKS: [&str; 5] = [
    "command-amend",
    "command-validate",
    "compliance",
    "enrollment",
    "events",
];

impl Desk {
    /// Begins a project and gives its name.
    fn begun(&self, language: &str, hook: &str) -> String {
        let name = format!("{hook}-{language}");
        let id = format!("org.example.{name}");
        let told = self.good(&[
            "new",
            &name,
            "--id",
            &id,
            "--language",
            language,
            "--hook",
            hook,
        ]);
        assert!(told.contains("its own tests"), "{told}");
        name
    }

    /// Runs the tests of a project as its readme says.
    fn tested(&self, name: &str, program: &str, arguments: &[&str]) -> String {
        let folder = self.files.path().join(name);
        let said = self.run(Path::new(program), arguments, &folder);
        assert!(said.good, "{name}: {}", said.all());
        said.all()
    }
}

#[test]
fn a_project_in_javascript_passes_with_every_hook_and_is_measured_and_compared() {
    let desk = Desk::new();
    for hook in HOOKS {
        let name = desk.begun("javascript", hook);
        let said = desk.tested(&name, "node", &["--test", "--test-reporter=tap"]);
        assert!(said.contains("# fail 0"), "{said}");
        assert!(!said.contains("# pass 0"), "{said}");
        let said = desk.good(&["test", &name]);
        assert!(said.contains("1 of 1 fixtures passed"), "{said}");
    }
    compared(&desk, "javascript", "src/plugin.js", "\"Kitchen\"");
    desk.change(
        "events-javascript/src/plugin.js",
        "import {",
        "import \"pomona/testing\";\nimport {",
    );
    let said = desk.bad(&["build", "events-javascript"]);
    assert!(
        said.contains("src/plugin.js:4: pomona/testing is for tests alone"),
        "{said}"
    );
}

#[test]
fn a_project_in_python_passes_answers_requests_of_pages_and_is_measured_and_compared() {
    let desk = Desk::new();
    for hook in HOOKS {
        let name = desk.begun("python", hook);
        let unittest = [
            "PYTHONPATH=target/pomona/python",
            "python3",
            "-m",
            "unittest",
        ];
        let said = desk.tested(&name, "env", &unittest);
        assert!(said.contains("OK"), "{said}");
        assert!(!said.contains("Ran 0 tests"), "{said}");
    }
    // One component stands for all, since making it takes long; it has pages as well.
    let name = "command-validate-python";
    pages(&desk.files.path().join(name));
    let said = desk.good(&["test", name]);
    assert!(said.contains("2 of 2 fixtures passed"), "{said}");
    compared(&desk, "python", "plugin.py", "\"Kitchen\"");
}

/// A rule that rests on nothing but what the catalogue says.
const BY_THE_CATALOGUE: [(&str, &str, &str); 2] = [
    (
        "javascript",
        "src/plugin.js",
        r#"import { allow, catalogue, subject, veto } from "pomona";
export const commandValidate = {
  validate(context, stage, device, command) {
    const name = command.requestType;
    const told = catalogue.preflight(subject(device), "command", name, command.payloadJson);
    const known = JSON.parse(catalogue.lookup("command", name))[0].about.name;
    const there = catalogue.names("command").includes(name) && catalogue.lookup("command", "Zap") == null;
    if (told.verdict !== "refused") return allow();
    const { cause, weight, ask } = told.objections[0];
    return veto(`${known} ${there} ${cause} ${weight} ${ask == null}`);
  },
};
"#,
    ),
    (
        "python",
        "plugin.py",
        r#"import json

import pomona


class CommandValidate(pomona.CommandValidate):
    def validate(self, context, stage, device, command):
        name = command.request_type
        told = pomona.catalogue.preflight(pomona.subject(device), "command", name, command.payload_json)
        known = json.loads(pomona.catalogue.lookup("command", name))[0]["about"]["name"]
        there = name in pomona.catalogue.names("command") and pomona.catalogue.lookup("command", "Zap") is None
        if told.verdict != "refused":
            return pomona.allow()
        first = told.objections[0]
        said = [known, json.dumps(there), first.cause, first.weight, json.dumps(first.ask is None)]
        return pomona.veto(" ".join(said))
"#,
    ),
];

#[test]
fn a_project_in_any_language_asks_the_catalogue_without_a_right() {
    let desk = Desk::new();
    for (language, file, source) in BY_THE_CATALOGUE {
        let name = desk.begun(language, "command-validate");
        let folder = desk.files.path().join(&name);
        let manifest = std::fs::read_to_string(folder.join("plugin.toml")).unwrap();
        let (without_rights, _) = manifest.split_once("[capabilities").unwrap();
        std::fs::write(folder.join("plugin.toml"), without_rights).unwrap();
        std::fs::write(folder.join(file), source).unwrap();
        let of = |kind: &str, expect: serde_json::Value| {
            json!({
                "hook": "command-validate",
                "input": {
                    "device": { "id": "d", "platform": "ios", "kind": kind },
                    "command": { "request-type": "EraseDevice" },
                },
                "expect": expect,
            })
        };
        let refused = json!({ "ok": { "veto": "EraseDevice true user-enrollment refuses true" } });
        for (fixture, question) in [
            ("first", of("account-driven-user", refused)),
            ("second", of("profile", json!({ "ok": { "allow": null } }))),
        ] {
            let path = folder.join(format!("fixtures/{fixture}.json"));
            std::fs::write(path, question.to_string()).unwrap();
        }
        let said = desk.good(&["test", &name]);
        assert!(said.contains("2 of 2 fixtures passed"), "{said}");
    }
}

/// Adds the hook `routes` to a project in Python, and a fixture of it.
fn pages(folder: &Path) {
    let add = |file: &str, text: &str| {
        let path = folder.join(file);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, before + text).unwrap();
    };
    add(
        "plugin.toml",
        "\n[hooks.routes]\n\n[capabilities.facts]\nset = true\n",
    );
    add(
        "plugin.py",
        r#"

class Routes(pomona.Routes):
    def handle(self, context, request):
        found = pomona.set_fact("found", pomona.target(request.query), "at", request.body.decode())
        headers = [*request.headers, ("x-actor", request.actor)]
        return pomona.RouteResponse(202, headers, ",".join(request.roles).encode(), [found])
"#,
    );
    add(
        "fixtures/page.json",
        r#"{
  "hook": "routes",
  "input": {
    "request": {
      "method": "POST",
      "path": "found",
      "query": "d",
      "headers": [["x-a", "1"]],
      "body": { "text": "Room 12" },
      "actor": "ada",
      "roles": ["viewer", "operator"]
    }
  },
  "expect": {
    "ok": {
      "status": 202,
      "headers": [["x-a", "1"], ["x-actor", "ada"]],
      "body": { "text": "viewer,operator" },
      "effects": [{ "key": "found", "item": { "set-fact": [{ "device": "d" }, "at", "\"Room 12\""] } }]
    }
  }
}
"#,
    );
}

/// Measures the first version, and holds a second against it that looks at another group.
fn compared(desk: &Desk, language: &str, file: &str, group: &str) {
    let name = format!("command-validate-{language}");
    let package = format!("{name}/target/pomona/org.example.{name}-0.1.0.pomona");
    let figures = desk.answer(&["bench", &package, "--calls", "5"]);
    let first = &figures[0];
    assert_eq!(first["fixture"], "first");
    for member in ["median_us", "cpu_us", "memory_kib"] {
        assert!(first[member].as_u64().unwrap() > 0, "{member}: {first}");
    }
    desk.change(&format!("{name}/{file}"), group, "\"Bakery\"");
    let device = |id: &str, group: &str| json!({"id": id, "groups": [group]}).to_string();
    let lines = [
        device("a", "Kitchen"),
        device("b", "Bakery"),
        device("c", "Office"),
    ];
    std::fs::write(desk.files.path().join("fleet.jsonl"), lines.join("\n")).unwrap();
    let said = desk.good(&["diff", &package, &name, "--fleet", "fleet.jsonl"]);
    assert!(
        said.contains("EraseDevice: 2 of 3 devices differ"),
        "{said}"
    );
}

#[test]
fn the_sdk_of_a_project_is_renewed_in_its_own_language() {
    let desk = Desk::new();
    for (language, file) in [
        ("javascript", "node_modules/pomona/index.js"),
        ("python", "target/pomona/python/pomona/host.py"),
        ("rust", ".pomona/sdk/rust/src/lib.rs"),
    ] {
        let name = desk.begun(language, "events");
        let path = desk.files.path().join(&name).join(file);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        desk.good(&["new", &name, "--refresh"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    }
    let refused = desk.bad(&["new", "x", "--id", "org.example.x", "--language", "perl"]);
    assert!(refused.contains("rust, javascript, python"), "{refused}");
}
