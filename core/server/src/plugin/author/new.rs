//! `pomona plugin new`: a project to begin with.
//!
//! Owns: the files of the project. It is whole: the SDK and the contract are in it, and a folder anywhere will do.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use pomona_plugin_host::Manifest;
use serde_json::json;

use super::sdk;
use crate::client::Output;

/// `pomona plugin new`
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// The folder of the project, which must not be there yet.
    folder: PathBuf,
    /// The plugin's id, such as org.example.lunch.
    #[arg(long, required_unless_present = "refresh")]
    id: Option<String>,
    /// The hook it begins with.
    #[arg(long, value_enum, default_value_t = First::CommandValidate)]
    hook: First,
    /// Put this version's SDK into a project that is there, and change nothing else.
    #[arg(long, conflicts_with = "id")]
    refresh: bool,
}

/// Hooks to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum First {
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

impl First {
    /// The code, what plugin.toml says of the hook, and a fixture.
    fn template(self) -> [&'static str; 3] {
        macro_rules! of {
            ($name:literal) => {
                [
                    include_str!(concat!("template/", $name, "/lib.rs")),
                    include_str!(concat!("template/", $name, "/hook.toml")),
                    include_str!(concat!("template/", $name, "/fixture.json")),
                ]
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

/// Makes the project.
pub(super) fn new(asked: &New, out: &Output) -> anyhow::Result<()> {
    let folder = &asked.folder;
    if asked.refresh {
        if !folder.join("plugin.toml").is_file() {
            bail!(
                "{} has no plugin.toml; name the folder of a plugin",
                folder.display()
            );
        }
        let changed = sdk::write(folder)?;
        let told = json!({ "folder": folder.display().to_string(), "changed": changed });
        return out.said(&format!("{} is that of this version", sdk::FOLDER), &told);
    }
    if folder.exists() && std::fs::read_dir(folder).map_or(true, |mut all| all.next().is_some()) {
        bail!(
            "{} is there already; name a folder that is not",
            folder.display()
        );
    }
    let id = asked.id.as_deref().unwrap_or_default();
    for (name, text) in project(folder, id, asked.hook)? {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    sdk::write(folder)?;
    let told = json!({ "folder": folder.display().to_string(), "id": id });
    let folder = folder.display();
    let said = format!(
        "{id} is in {folder}\n  pomona plugin test {folder}     builds it and asks it its fixtures\n  \
         cargo test                 in {folder}: the tests beside the code\n  src/lib.rs is where its rules go"
    );
    out.said(&said, &told)
}

/// The project's own files.
fn project(folder: &Path, id: &str, hook: First) -> anyhow::Result<Vec<(&'static str, String)>> {
    let name = folder
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(word) {
        bail!(
            "the folder {name:?} cannot name a package of Rust; use a name such as lunch or quiet-hours"
        );
    }
    let [code, hook, fixture] = hook.template();
    let filled = |text: &str| text.replace("{name}", name).replace("{id}", id);
    let manifest = filled(include_str!("template/plugin.toml")) + &filled(hook);
    Manifest::parse(&manifest)?;
    Ok(vec![
        ("plugin.toml", manifest),
        ("Cargo.toml", filled(include_str!("template/cargo.toml"))),
        ("Cargo.lock", lock(name)),
        ("README.md", filled(include_str!("template/readme.md"))),
        (".gitignore", "/target\n".to_owned()),
        ("src/lib.rs", filled(code)),
        ("fixtures/first.json", filled(fixture)),
    ])
}

/// The versions of everything that the SDK was tested with, and the project itself.
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

    #[test]
    fn every_template_has_a_manifest_and_a_fixture_of_its_hook() {
        for hook in First::value_variants() {
            let files = project(Path::new("/x/lunch"), "org.example.lunch", *hook).unwrap();
            let names: BTreeSet<&str> = files.iter().map(|file| file.0).collect();
            assert_eq!(names.len(), files.len(), "a file is written once");
            let text = |name: &str| &files.iter().find(|file| file.0 == name).unwrap().1;
            assert!(text("Cargo.lock").contains("name = \"lunch\""));
            let manifest = Manifest::parse(text("plugin.toml")).unwrap();
            let fixture = Fixture::read("first.json", text("fixtures/first.json")).unwrap();
            let hooks: Vec<&str> = manifest.hooks.keys().map(|hook| hook.as_str()).collect();
            assert_eq!(hooks, [fixture.hook()]);
            assert!(fixture.expect().is_some());
            let rule = text("src/lib.rs").split("#[cfg(test)]").next().unwrap();
            let lines = rule.lines().filter(|line| !line.trim().is_empty()).count();
            assert!(lines <= 30, "{hook:?}: {lines} lines");
            assert!(
                files
                    .iter()
                    .all(|(_, text)| !text.contains("{id}") && !text.contains("{name}"))
            );
        }
    }

    #[test]
    fn a_name_or_an_id_that_cannot_be_is_refused() {
        let told = |folder: &str, id: &str| {
            project(Path::new(folder), id, First::Events)
                .unwrap_err()
                .to_string()
        };
        assert!(told("Lunch Break", "org.example.lunch").contains("such as lunch"));
        assert!(told("lunch", "Lunch").contains("id"));
    }
}
