//! `pomona plugin build`: from a folder to a package.
//!
//! Owns: what is the same for every language: the manifest, the schema and the fixtures, the trial run and the package. Which
//! language it is, `language` finds; each has a file of its own that makes the component. The plugin's own world is composed of
//! its manifest, so that it can import what it asks for and nothing else.

mod javascript;
mod language;
mod python;
mod rust;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
pub(super) use language::Language;
use pomona_plugin_host::{Manifest, Package, Plugin, contract};

/// What was built.
pub(super) struct Built {
    pub(super) path: PathBuf,
    pub(super) package: Package,
    /// The plugin, loaded.
    pub(super) plugin: Plugin,
}

/// Builds the plugin in `folder`, checks that it runs here, and writes its package.
pub(super) async fn build(folder: &Path, out: Option<&Path>) -> anyhow::Result<Built> {
    let toml = folder.join("plugin.toml");
    let text = std::fs::read_to_string(&toml).with_context(|| {
        format!(
            "cannot read {}; name the folder of a plugin",
            toml.display()
        )
    })?;
    let manifest = Manifest::parse(&text).with_context(|| toml.display().to_string())?;
    // The tools run in folders of their own.
    let folder = &folder
        .canonicalize()
        .with_context(|| folder.display().to_string())?;
    let component = match Language::of(folder)? {
        Language::Rust => rust::component(folder, &manifest)?,
        Language::JavaScript => javascript::component(folder, &manifest)?,
        Language::Python => python::component(folder, &manifest)?,
    };
    let schema = match &manifest.settings.schema {
        None => None,
        Some(name) => {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Some(text)
        }
    };
    let package = Package::new(&text, component, schema, fixtures(folder)?)?;
    super::manager::schema_of(&package).map_err(anyhow::Error::msg)?;
    let plugin = super::load(&package)
        .await
        .context("the plugin was built, but cannot be run")?;
    let name = format!("{}-{}.pomona", manifest.id, manifest.version);
    let path = out.map_or_else(
        || folder.join("target/pomona").join(name),
        Path::to_path_buf,
    );
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    // What somebody has signed stays signed where nothing has changed.
    let signed = std::fs::read(&path)
        .ok()
        .and_then(|bytes| Package::read(&bytes).ok());
    let package = match signed {
        Some(signed) if signed.digest() == package.digest() => signed,
        _ => {
            std::fs::write(&path, package.write()?)
                .with_context(|| format!("cannot write {}", path.display()))?;
            package
        }
    };
    Ok(Built {
        path,
        package,
        plugin,
    })
}

/// A folder of files in the making, gone when the build ends.
struct Work(PathBuf);

impl Work {
    /// An empty one below the plugin's own `target`, with the plugin's world in `wit` and the one with the hook `settings`
    /// in `wit-settings`.
    fn new(folder: &Path, manifest: &Manifest) -> anyhow::Result<Self> {
        let path = folder.join(format!("target/pomona/work-{}", std::process::id()));
        let work = Self(path);
        for (name, settings) in [("wit", false), ("wit-settings", true)] {
            for (file, text) in contract::files_of(manifest, settings) {
                write(&work.0.join(name).join(file), &text)?;
            }
        }
        Ok(work)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes a file and the folders above it.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// As [`write()`], unless the file is as it should be: then it keeps its time. Whether it was not.
pub(super) fn renew(path: &Path, text: &str) -> anyhow::Result<bool> {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(false);
    }
    write(path, text)?;
    Ok(true)
}

/// Runs a driver, which reads a job as JSON and answers with JSON: `problem` is what the author has to mend.
fn drive(
    command: &mut std::process::Command,
    job: &serde_json::Value,
) -> anyhow::Result<serde_json::Value> {
    use std::io::Write;
    use std::process::Stdio;
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name} cannot be started"))?;
    if let Some(mut input) = child.stdin.take() {
        // One that has ended already says why.
        let _ = input.write_all(job.to_string().as_bytes());
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("{name} cannot be waited for"))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    let answer = answer
        .lines()
        .rev()
        .find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    match answer {
        Some(answer) if output.status.success() => match answer["problem"].as_str() {
            Some(problem) => bail!("{problem}"),
            None => Ok(answer),
        },
        _ => bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()),
    }
}

fn fixtures(folder: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let folder = folder.join("fixtures");
    let mut fixtures = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(fixtures);
    }
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && name.ends_with(".json")
        {
            let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
            fixtures.insert(name.to_owned(), content);
        }
    }
    Ok(fixtures)
}
