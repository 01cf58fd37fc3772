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
