//! Plugins from the author's side: a project in an empty folder, its tests, its figures, and what is said when something is wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

use pomona_tests::{checkout, guest, pomona_binary};
use serde_json::{Value, json};

use crate::outside::rewritten_file;
use crate::stage::{Stage, shown};

/// A folder outside of the checkout, and the program. What is built for all tests of a run is built once.
pub(crate) struct Desk {
    pub(crate) files: tempfile::TempDir,
    binary: PathBuf,
}

/// How a program ended, and what it said on each of its outputs.
pub(crate) struct Said {
    pub(crate) good: bool,
    output: String,
    errors: String,
}

impl Said {
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.output, self.errors)
    }
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            files: tempfile::tempdir().unwrap(),
            binary: pomona_binary().unwrap(),
        }
    }

    /// Runs a program in the folder.
    pub(crate) fn run(&self, program: &Path, arguments: &[&str], folder: &Path) -> Said {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", checkout().join("target/guests"))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said {
            good: output.status.success(),
            output: text(output.stdout),
            errors: text(output.stderr),
        }
    }

    fn plugin(&self, arguments: &[&str]) -> Said {
        let arguments = [&["plugin"], arguments].concat();
        self.run(&self.binary, &arguments, self.files.path())
    }

    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let said = self.plugin(arguments);
        assert!(said.good, "{arguments:?}: {}", said.all());
        said.all()
    }

    /// What a program answered with `--json`; warnings stand on the other output.
    pub(crate) fn answer(&self, arguments: &[&str]) -> Value {
        let said = self.plugin(&[arguments, &["--json"]].concat());
        assert!(said.good, "{arguments:?}: {}", said.all());
        serde_json::from_str(&said.output).unwrap()
    }

    pub(crate) fn bad(&self, arguments: &[&str]) -> String {
        let said = self.plugin(arguments);
        assert!(!said.good, "{arguments:?}: {}", said.all());
        said.all()
    }

    pub(crate) fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.files.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}: {text}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }
}

#[test]
fn the_examples_give_the_answers_of_their_fixtures() {
    let desk = Desk::new();
    for entry in std::fs::read_dir(checkout().join("examples")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let files = std::fs::read_dir(folder.join("fixtures"));
        let fixtures = files.map_or(0, Iterator::count);
        assert!(fixtures > 0, "{name} has no fixtures");
        // The components of the other languages are asked where they are made, by the check `examples`.
        if !folder.join("Cargo.toml").is_file() {
            continue;
        }
        let package = guest(name).unwrap();
        // What an author publishes does not tell of his machine.
        let bytes = std::fs::read(&package).unwrap();
        for place in [std::env::var("HOME").unwrap(), shown(checkout())] {
            let told = bytes.windows(place.len()).any(|at| at == place.as_bytes());
            assert!(!told, "{name} tells of {place}");
        }
        let said = desk.good(&["test", &shown(&package)]);
        let expected = format!("{fixtures} of {fixtures} fixtures passed");
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn a_new_project_passes_and_what_is_wrong_with_it_is_told() {
    // Another name than that of the guide: both are built in one target folder, at the same time.
    let desk = Desk::new();
    desk.good(&["new", "supper", "--id", "org.example.supper"]);
    let said = desk.good(&["test", "supper"]);
    assert!(said.contains("1 of 1 fixtures passed"), "{said}");
    let refused = desk.bad(&["new", "supper", "--id", "org.example.supper"]);
    assert!(refused.contains("is there already"), "{refused}");

    let package = "supper/target/pomona/org.example.supper-0.1.0.pomona";
    let figures = desk.answer(&["bench", package, "--calls", "20"]);
    let first = &figures[0];
    assert_eq!(first["fixture"], "first");
    for member in ["median_us", "p99_us", "cpu_us", "memory_kib"] {
        assert!(first[member].as_u64().unwrap() > 0, "{member}: {first}");
    }

    // Who asks a signed plugin has it signed still; what changes is signed anew.
    desk.good(&["keygen", "supper.key"]);
    desk.good(&["sign", package, "--key", "supper.key"]);
    desk.good(&["test", "supper"]);
    let checked = desk.answer(&["check", package]);
    assert!(checked["signed_by"].is_string(), "{checked}");

    // The kitchen's second version looks at another group.
    let old = desk.files.path().join("old.pomona");
    std::fs::copy(desk.files.path().join(package), &old).unwrap();
    desk.change(
        "supper/src/lib.rs",
        "group == \"Kitchen\"",
        "group == \"Bakery\"",
    );
    let said = desk.bad(&["test", "supper"]);
    for part in [
        "supper/fixtures/first.json:8: /expect/ok",
        "expected",
        "1 of 1 fixtures failed",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let fleet = desk.files.path().join("fleet.jsonl");
    let device = |id: &str, group: &str| json!({"id": id, "groups": [group]}).to_string();
    let lines = [
        device("a", "Kitchen"),
        device("b", "Bakery"),
        device("c", "Office"),
    ];
    std::fs::write(&fleet, lines.join("\n")).unwrap();
    let said = desk.good(&["diff", "old.pomona", package, "--fleet", "fleet.jsonl"]);
    assert!(
        said.contains("EraseDevice: 2 of 3 devices differ"),
        "{said}"
    );

    desk.good(&["test", "supper", "--bless"]);
    // The package that stands there was made before; the next build takes the answer in.
    desk.good(&["test", "supper"]);
    let said = desk.good(&["test", package, "--only", "first"]);
    assert!(said.contains("1 of 1 fixtures passed"), "{said}");

    // A question that no server asks is answered, and noted.
    desk.change(
        "supper/fixtures/first.json",
        "\"EraseDevice\"",
        "\"DeviceLock\"",
    );
    let said = desk.plugin(&["test", "supper"]).all();
    assert!(said.contains("a server never asks this"), "{said}");
    desk.change(
        "supper/fixtures/first.json",
        "\"DeviceLock\"",
        "\"EraseDevice\"",
    );
    let said = desk.good(&["test", "supper"]);
    assert!(!said.contains("a server never asks this"), "{said}");

    desk.change(
        "supper/src/lib.rs",
        "Ok(allow())",
        "panic!(\"the kettle boils over\")",
    );
    let said = desk.bad(&["run", "supper", "--hook", "command-validate"]);
    assert!(said.contains("the kettle boils over"), "{said}");
    assert!(
        said.contains("src/lib.rs:"),
        "the place of the panic: {said}"
    );
    assert!(
        said.contains("in <supper::Plugin as") && !said.contains("Shim"),
        "the way to it: {said}"
    );

    desk.change("supper/fixtures/first.json", "\"ipados\"", "\"ipadsos\"");
    let said = desk.bad(&["test", "supper"]);
    assert!(
        said.contains("first.json:5: /input/device/platform: expected one of"),
        "{said}"
    );
}

#[test]
fn settings_that_a_server_would_refuse_fail_their_fixture() {
    let desk = Desk::new();
    let package = rewritten_file(
        &guest("quiet-hours").unwrap(),
        "fixtures/open.json",
        |text| text.replace("\"windows\": [{", "\"windows\": 7, \"was\": [{"),
    );
    let file = desk.files.path().join("wrong.pomona");
    std::fs::write(&file, package).unwrap();
    let said = desk.bad(&["test", "wrong.pomona", "--only", "open"]);
    assert!(said.contains("/settings/windows"), "{said}");
    assert!(said.contains("the settings' schema refuses it"), "{said}");
}

#[test]
fn one_question_is_answered_by_hand() {
    let desk = Desk::new();
    let package = shown(&guest("compliance-hook").unwrap());
    let input = desk.files.path().join("input.json");
    std::fs::write(&input, r#"{"device": {"os-version": "27.1"}}"#).unwrap();
    let asked = [
        "run",
        &package,
        "--hook",
        "compliance",
        "--input",
        "input.json",
    ];
    let said = desk.good(&asked);
    assert!(said.contains("\"27.1 is 26.0 or newer\""), "{said}");
    assert!(said.contains(" instructions"), "{said}");
    let said = desk.bad(&["run", &package, "--hook", "events"]);
    assert!(said.contains("it has compliance"), "{said}");
}

/// The commands of the guide's walk, block by block, and the files that it has written in between.
fn walk() -> (Vec<Vec<String>>, String) {
    let guide = std::fs::read_to_string(checkout().join("sdk/README.md")).unwrap();
    let section = guide
        .split("\n## ")
        .find(|part| part.starts_with("From nothing"));
    let parts: Vec<&str> = section.unwrap().split("\n```").collect();
    let block = |word: &'static str| {
        let blocks = parts.iter().filter_map(move |part| part.strip_prefix(word));
        blocks
            .map(|block| block.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let lines = |block: &String| block.lines().map(str::to_owned).collect();
    let commands = block("sh\n").iter().map(lines).collect();
    (commands, block("json\n").remove(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_walk_leads_to_a_signed_plugin_that_is_obeyed() {
    let mut stage = Stage::open(&[]).await;
    let mut folder = stage.files.path().to_owned();
    let (blocks, fixture) = walk();
    assert_eq!(blocks.len(), 4, "{blocks:?}");
    let mut public = String::new();
    for (n, block) in blocks.iter().enumerate() {
        if n == 1 {
            std::fs::write(folder.join("fixtures/office.json"), &fixture).unwrap();
        }
        if n == 3 {
            stage.lab.stop().await.unwrap();
            stage.lab.set("--plugins-trusted-keys", &public);
            stage.lab.start().await.unwrap();
        }
        for line in block {
            let mut words = line.split(' ');
            let (program, arguments) = (words.next().unwrap(), words.collect::<Vec<_>>());
            let program = match program {
                "cd" => {
                    folder.push(arguments[0]);
                    continue;
                }
                "pomona" => stage.binary.clone(),
                "cargo" => std::env::var_os("CARGO").map_or("cargo".into(), PathBuf::from),
                other => panic!("the guide runs {other}"),
            };
            let output = tokio::process::Command::new(program)
                .args(&arguments)
                .current_dir(&folder)
                .env("POMONA_DIR", stage.lab.folder().dir())
                .env("CARGO_TARGET_DIR", checkout().join("target/guests"))
                .output()
                .await
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{line}: {said}{error}");
            if let Some(key) = said.strip_prefix("public key ") {
                public = key.trim().to_owned();
            }
        }
    }
    let blessed = std::fs::read_to_string(folder.join("fixtures/office.json")).unwrap();
    assert!(blessed.contains("\"allow\""), "{blessed}");
    let listed = stage.json(&["plugin", "list"]).await;
    assert_eq!(listed[0]["state"], "active", "{listed}");
    stage.lab.stop().await.unwrap();
}
