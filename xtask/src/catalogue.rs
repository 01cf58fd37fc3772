//! Makes the catalogue's data from the facts that lie beside it, and takes facts out of a schema that Apple has published.
//!
//! Owns: the files of `core/catalogue`. Building the project needs only what is committed there; the same facts give the same bytes.

mod delta;
mod extract;
mod merge;
mod yaml;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pomona_catalogue::{Class, Object, Source};
use pomona_tests::checkout;
use serde::Deserialize;

/// What the task takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Take the facts of this source anew, as `facts/sources.toml` names it.
    #[arg(long, requires = "from")]
    extract: Option<String>,
    /// The folder with the schema: the one in which `mdm` and `declarative` lie.
    #[arg(long, requires = "extract")]
    from: Option<PathBuf>,
    /// Write nothing; fail where the data are not what the facts give.
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources {
    source: Vec<Source>,
}

/// Whether the data are what the facts give.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let home = checkout().join("core/catalogue");
    let sources = sources(&home)?;
    if let (Some(name), Some(from)) = (&arguments.extract, &arguments.from) {
        if !sources.iter().any(|source| source.name == *name) {
            bail!("facts/sources.toml names no source \"{name}\": write it there first");
        }
        let objects = extract::tree(from, name)?;
        let path = facts(&home, name);
        std::fs::write(&path, lines(&objects)?).with_context(|| path.display().to_string())?;
        println!("{}: {} objects", path.display(), objects.len());
    }
    let mut good = true;
    for (path, text) in made(&home)? {
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        if before == text {
            continue;
        }
        if arguments.check {
            println!("{} is not what the facts give", path.display());
            good = false;
        } else {
            std::fs::write(&path, &text).with_context(|| path.display().to_string())?;
            println!("{}: {} bytes", path.display(), text.len());
        }
    }
    Ok(good)
}

fn sources(home: &Path) -> Result<Vec<Source>> {
    let path = home.join("facts/sources.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let sources: Sources = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(sources.source)
}

fn facts(home: &Path, name: &str) -> PathBuf {
    home.join("facts").join(format!("{name}.jsonl"))
}

/// The files of the data, and what the facts give for them.
fn made(home: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut releases = Vec::new();
    for source in sources(home)? {
        let path = facts(home, &source.name);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let objects: Vec<Object> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .with_context(|| path.display().to_string())?;
        releases.push((source, objects));
    }
    let mut objects = merge::merge(&releases)?;
    let path = home.join("facts/delta.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let delta = toml::from_str(&text).with_context(|| path.display().to_string())?;
    delta::apply(&mut objects, &delta)?;
    let sources: Vec<Source> = releases.into_iter().map(|(source, _)| source).collect();
    let mut files = vec![(home.join("data/sources.jsonl"), lines(&sources)?)];
    for class in Class::ALL {
        let of_class: Vec<_> = objects.iter().filter(|one| one.class == class).collect();
        let path = home.join("data").join(format!("{}.jsonl", class.as_str()));
        files.push((path, lines(&of_class)?));
    }
    Ok(files)
}

/// One line each.
fn lines<T: serde::Serialize>(items: &[T]) -> Result<String> {
    let mut text = String::new();
    for item in items {
        writeln!(text, "{}", serde_json::to_string(item)?)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_are_what_the_facts_give() {
        for (path, text) in made(&checkout().join("core/catalogue")).unwrap() {
            let committed = std::fs::read_to_string(&path).unwrap();
            assert!(
                committed == text,
                "{} is not what the facts give: run `cargo xtask catalogue`",
                path.display()
            );
        }
    }
}
