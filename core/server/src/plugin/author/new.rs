//! `pomona plugin new`: a project to begin with.
//!
//! Owns: writing the project, whole: the SDK is in it, and a folder anywhere will do. What stands in its files is in `template`.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;

use super::super::build::{self, Language};
use super::template::{First, project, ways};
use crate::client::Output;

/// `pomona plugin new`
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// The folder of the project, which must not be there yet.
    folder: PathBuf,
    /// The plugin's id, such as org.example.lunch.
    #[arg(long, required_unless_present = "refresh")]
    id: Option<String>,
    /// The language it is written in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    language: Language,
    /// The hook it begins with.
    #[arg(long, value_enum, default_value_t = First::CommandValidate)]
    hook: First,
    /// Put this version's SDK into a project that is there, and change nothing else.
    #[arg(long, conflicts_with_all = ["id", "language", "hook"])]
    refresh: bool,
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
        let language = Language::of(folder)?;
        let changed = language.place_sdk(folder)?;
        let told = json!({ "folder": folder.display().to_string(), "changed": changed });
        let said = format!("{} is that of this version", language.sdk_folder());
        return out.said(&said, &told);
    }
    if folder.exists() && std::fs::read_dir(folder).map_or(true, |mut all| all.next().is_some()) {
        bail!(
            "{} is there already; name a folder that is not",
            folder.display()
        );
    }
    let id = asked.id.as_deref().unwrap_or_default();
    for (name, text) in project(folder, id, asked.hook, asked.language)? {
        build::write(&folder.join(name), &text)?;
    }
    asked.language.place_sdk(folder)?;
    let told = json!({ "folder": folder.display().to_string(), "id": id });
    let folder = folder.display();
    let (rules, tests) = ways(asked.language);
    let said = format!(
        "{id} is in {folder}\n  pomona plugin test {folder}     builds it and asks it its fixtures\n  \
         {tests}     in {folder}: its own tests\n  {rules} is where its rules go"
    );
    out.said(&said, &told)
}
