//! The author's tools: a project to begin with, and asking a plugin by hand.
//!
//! Owns: the verbs that need neither a server nor a tenant, and opening what they are pointed at. A call goes through the same sandbox as
//! on a server, with the rights that the manifest asks for.

mod bench;
mod compare;
mod diff;
mod explain;
mod new;
mod play;
mod run;
pub(super) mod sdk;
mod template;
mod test;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use pomona_plugin_host::{Fixture, Package, Plugin};

use crate::client::Output;

/// The author's verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthorVerb {
    /// Begin a plugin in Rust, JavaScript or Python: a project that builds and passes its tests at once.
    New(new::New),
    /// Ask a plugin one question by hand, and show its answer and what it cost.
    Run(run::Run),
    /// Ask a plugin the questions of its fixtures, and compare the answers.
    Test(test::Test),
    /// Measure what the questions of the fixtures cost, against what a call may have.
    Bench(bench::Bench),
    /// Ask the question of one fixture again, and show all that belongs to its answer.
    Explain(explain::Explain),
    /// Compare the decisions of two versions over an exported fleet.
    Diff(diff::Diff),
}

/// Runs an author's verb.
pub(super) async fn run(verb: AuthorVerb, out: &Output) -> anyhow::Result<()> {
    match verb {
        AuthorVerb::New(asked) => new::new(&asked, out),
        AuthorVerb::Run(asked) => run::run(&asked, out).await,
        AuthorVerb::Test(asked) => test::test(&asked, out).await,
        AuthorVerb::Bench(asked) => bench::bench(&asked, out).await,
        AuthorVerb::Explain(asked) => explain::explain(&asked, out).await,
        AuthorVerb::Diff(asked) => diff::diff(&asked, out).await,
    }
}

/// A plugin that can be asked, with the texts of its fixtures by the names that messages use.
struct Opened {
    plugin: Plugin,
    fixtures: Vec<(PathBuf, String)>,
    /// What settings must look like, where the package says so.
    schema: Option<jsonschema::Validator>,
}

/// Builds the plugin of a folder, or takes a package as it is.
async fn open(path: &Path) -> anyhow::Result<Opened> {
    if path.is_dir() {
        let built = super::build::build(path, None).await?;
        let fixtures = fixtures_of(&built.package, path)?;
        return Ok(Opened {
            schema: schema_of(&built.package)?,
            plugin: built.plugin,
            fixtures,
        });
    }
    let package = Package::read(&super::read(path)?).with_context(|| path.display().to_string())?;
    let plugin = super::load(&package)
        .await
        .with_context(|| path.display().to_string())?;
    Ok(Opened {
        plugin,
        fixtures: fixtures_of(&package, Path::new(""))?,
        schema: schema_of(&package)?,
    })
}

fn schema_of(package: &Package) -> anyhow::Result<Option<jsonschema::Validator>> {
    super::manager::schema_of(package).map_err(anyhow::Error::msg)
}

fn fixtures_of(package: &Package, folder: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let texts = package.fixtures().map(|(name, content)| {
        let file = folder.join("fixtures").join(name);
        let text = String::from_utf8(content.to_vec())
            .with_context(|| format!("{} is no UTF-8", file.display()))?;
        Ok((file, text))
    });
    texts.collect()
}

impl Opened {
    /// The fixtures; all, or those of one name. An error of one is the error of all.
    fn fixtures(&self, only: Option<&str>) -> anyhow::Result<Vec<(PathBuf, Fixture)>> {
        let mut fixtures = Vec::new();
        for (file, text) in &self.fixtures {
            let fixture = Fixture::read(&file.display().to_string(), text)?;
            if only.is_none_or(|only| only == fixture.name) {
                fixtures.push((file.clone(), fixture));
            }
        }
        if fixtures.is_empty() {
            let names: Vec<String> = self
                .fixtures
                .iter()
                .map(|f| f.0.display().to_string())
                .collect();
            match only {
                Some(only) => bail!("no fixture is named {only}; there are {}", names.join(", ")),
                None => bail!(
                    "there are no fixtures; write fixtures/NAME.json such as {{\"hook\": \"command-validate\", \"input\": {{…}}}} and run \
                     `pomona plugin test --bless`"
                ),
            }
        }
        Ok(fixtures)
    }
}
