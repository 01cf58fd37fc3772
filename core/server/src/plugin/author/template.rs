//! The files of a new project, in each language.
//!
//! Owns: which files there are and what is filled into them. What a hook sees and must answer (its part of plugin.toml, and its
//! fixture) is the same in every language. Writes nothing.

use std::path::Path;

use anyhow::bail;
use clap::ValueEnum;
use pomona_plugin_host::Manifest;

use super::super::build::Language;
use super::sdk;

/// Hooks to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum First {
    /// Decides about new enrollments.
    Enrollment,
    /// Changes commands while they are queued.
    CommandAmend,
    /// Judges commands for a device.
    CommandValidate,
    /// Hears what happened.
    Events,
    /// Measures devices against rules.
    Compliance,
}

/// What belongs to a hook: what plugin.toml says of it, a fixture, and the code in each language, with its tests where they stand
/// in a file of their own.
struct Template {
    manifest: &'static str,
    fixture: &'static str,
    rust: &'static str,
    javascript: [&'static str; 2],
    python: [&'static str; 2],
}

impl First {
    fn template(self) -> Template {
        macro_rules! of {
            ($name:literal) => {
                Template {
                    manifest: include_str!(concat!("template/", $name, ".toml")),
                    fixture: include_str!(concat!("template/", $name, ".json")),
                    rust: include_str!(concat!("template/rust/", $name, ".rs")),
                    javascript: [
                        include_str!(concat!("template/javascript/", $name, ".js")),
                        include_str!(concat!("template/javascript/", $name, ".test.js")),
                    ],
                    python: [
                        include_str!(concat!("template/python/", $name, ".py")),
                        include_str!(concat!("template/python/test_", $name, ".py")),
                    ],
                }
            };
        }
        match self {
            Self::Enrollment => of!("enrollment"),
            Self::CommandAmend => of!("command-amend"),
            Self::CommandValidate => of!("command-validate"),
            Self::Events => of!("events"),
            Self::Compliance => of!("compliance"),
        }
    }
}

/// The file in which the rules of a new project stand, and how its tests are run.
pub(super) fn ways(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::Rust => ("src/lib.rs", "cargo test"),
        Language::JavaScript => ("src/plugin.js", "node --test"),
        Language::Python => (
            "plugin.py",
            "PYTHONPATH=target/pomona/python python3 -m unittest",
        ),
    }
}

/// The project's own files. Its name is that of the folder.
pub(super) fn project(
    folder: &Path,
    id: &str,
    hook: First,
    language: Language,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let name = folder
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(word) {
        bail!("the folder {name:?} cannot name a package; use a name such as lunch or quiet-hours");
    }
    let template = hook.template();
    let filled = |text: &str| text.replace("{name}", name).replace("{id}", id);
    let manifest = filled(include_str!("template/plugin.toml")) + &filled(template.manifest);
    Manifest::parse(&manifest)?;
    let mut files = vec![
        ("plugin.toml", manifest),
        ("fixtures/first.json", filled(template.fixture)),
    ];
    let own = match language {
        Language::Rust => vec![
            (
                "Cargo.toml",
                filled(include_str!("template/rust/cargo.toml")),
            ),
            ("Cargo.lock", lock(name)),
            ("README.md", filled(include_str!("template/rust/readme.md"))),
            (".gitignore", "/target\n".to_owned()),
            ("src/lib.rs", filled(template.rust)),
        ],
        Language::JavaScript => {
            let package = filled(include_str!("template/javascript/package.json"));
            let readme = filled(include_str!("template/javascript/readme.md"));
            let [code, tests] = template.javascript.map(filled);
            vec![
                ("package.json", package),
                ("README.md", readme),
                (".gitignore", "/node_modules\n/target\n".to_owned()),
                ("src/plugin.js", code),
                ("test/plugin.test.js", tests),
            ]
        }
        Language::Python => {
            let readme = filled(include_str!("template/python/readme.md"));
            let [code, tests] = template.python.map(filled);
            vec![
                ("README.md", readme),
                (".gitignore", "/target\n__pycache__/\n".to_owned()),
                ("plugin.py", code),
                ("test_plugin.py", tests),
            ]
        }
    };
    files.extend(own);
    Ok(files)
}

/// The versions of everything that the SDK for Rust was tested with, and the project itself.
fn lock(name: &str) -> String {
    let sdk = sdk::LOCK;
    format!(
        "{sdk}\n[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n \"pomona-sdk\",\n]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_plugin_host::Fixture;
    use std::collections::BTreeSet;

    /// The rules of a project without their tests.
    fn rules(language: Language, text: &str) -> usize {
        let code = match language {
            Language::Rust => text.split("#[cfg(test)]").next().unwrap(),
            Language::JavaScript | Language::Python => text,
        };
        code.lines().filter(|line| !line.trim().is_empty()).count()
    }

    #[test]
    fn every_template_has_a_manifest_and_a_fixture_of_its_hook() {
        for language in Language::value_variants() {
            for hook in First::value_variants() {
                let folder = Path::new("/x/lunch");
                let files = project(folder, "org.example.lunch", *hook, *language).unwrap();
                let names: BTreeSet<&str> = files.iter().map(|file| file.0).collect();
                assert_eq!(names.len(), files.len(), "a file is written once");
                let text = |name: &str| &files.iter().find(|file| file.0 == name).unwrap().1;
                let manifest = Manifest::parse(text("plugin.toml")).unwrap();
                let fixture = Fixture::read("first.json", text("fixtures/first.json")).unwrap();
                let hooks: Vec<&str> = manifest.hooks.keys().map(|hook| hook.as_str()).collect();
                assert_eq!(hooks, [fixture.hook()]);
                assert!(fixture.expect().is_some());
                let lines = rules(*language, text(ways(*language).0));
                assert!(lines <= 30, "{language:?} {hook:?}: {lines} lines");
                assert!(text("README.md").contains(ways(*language).1));
                assert!(
                    files
                        .iter()
                        .all(|(_, text)| !text.contains("{id}") && !text.contains("{name}"))
                );
                if *language == Language::Rust {
                    assert!(text("Cargo.lock").contains("name = \"lunch\""));
                }
            }
        }
    }

    #[test]
    fn a_project_is_one_of_its_language() {
        for language in Language::value_variants() {
            let folder = tempfile::tempdir().unwrap();
            let place = Path::new("/x/lunch");
            let files = project(place, "org.example.lunch", First::Events, *language).unwrap();
            for (name, text) in files.iter().filter(|(name, _)| !name.contains('/')) {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            assert_eq!(Language::of(folder.path()).unwrap(), *language);
        }
    }

    #[test]
    fn a_name_or_an_id_that_cannot_be_is_refused() {
        let told = |folder: &str, id: &str| {
            project(Path::new(folder), id, First::Events, Language::Rust)
                .unwrap_err()
                .to_string()
        };
        assert!(told("Lunch Break", "org.example.lunch").contains("such as lunch"));
        assert!(told("lunch", "Lunch").contains("id"));
    }
}
