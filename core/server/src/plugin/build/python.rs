//! A plugin in Python.
//!
//! Owns: the tool (CPython as a component), installed once by pip at the version and with the checksums of its requirements,
//! the packages that a plugin names in `requirements.txt` (pure Python only), and the SDK's files, put where the plugin, its
//! tests and an editor find them. What the tool does is in `python/driver.py`, which Python runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use pomona_plugin_host::{HookName, Manifest};
use serde_json::json;

use super::super::tools::{self, done, works};
use super::{Work, drive, renew, write};

/// The folder of the tool in the cache; a new version is a new folder.
const TOOLS: &str = "python-componentize-0.25.1";
const REQUIREMENTS: &str = include_str!("python/requirements.txt");
const DRIVER: &str = include_str!("python/driver.py");
/// Prints the X.Y of the Python that runs it.
const VERSION: &str = "import sys; print('%d.%d' % sys.version_info[:2])";
/// The Python inside the component, for which packages are chosen.
const GUEST: &str = "3.14";

/// Where the SDK and the packages of a plugin stand below its folder.
pub(super) const SDK_FOLDER: &str = "target/pomona/python";
const SDK: [(&str, &str); 7] = [
    (
        "pomona/__init__.py",
        include_str!("../../../../../sdk/python/pomona/__init__.py"),
    ),
    (
        "pomona/guest.py",
        include_str!("../../../../../sdk/python/pomona/guest.py"),
    ),
    (
        "pomona/hooks.py",
        include_str!("../../../../../sdk/python/pomona/hooks.py"),
    ),
    (
        "pomona/host.py",
        include_str!("../../../../../sdk/python/pomona/host.py"),
    ),
    (
        "pomona/types.py",
        include_str!("../../../../../sdk/python/pomona/types.py"),
    ),
    (
        "pomona/words.py",
        include_str!("../../../../../sdk/python/pomona/words.py"),
    ),
    (
        "pomona/py.typed",
        include_str!("../../../../../sdk/python/pomona/py.typed"),
    ),
];

/// The component of the plugin in `folder`.
pub(super) fn component(folder: &Path, manifest: &Manifest) -> anyhow::Result<Vec<u8>> {
    if !folder.join("plugin.py").is_file() {
        bail!(
            "{} has no plugin.py; the classes of the hooks stand there",
            folder.display()
        );
    }
    let tools = tools()?;
    let library = library(folder)?;
    let work = Work::new(folder, manifest)?;
    let hooks: Vec<serde_json::Value> = manifest.hooks.keys().map(|hook| hook_of(*hook)).collect();
    let job = json!({
        "folder": folder,
        "hooks": hooks,
        "settings": { "class": "Settings", "functions": ["validate", "migrate"] },
        "library": library,
        "wit": work.path("wit"),
        "wit_with_settings": work.path("wit-settings"),
        "work": work.0,
    });
    let mut python = Command::new("python3");
    python
        .args(["-c", DRIVER])
        .current_dir(&work.0)
        .env("PYTHONPATH", &tools)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONNOUSERSITE", "1");
    drive(&mut python, &job).context("the plugin cannot be built")?;
    let made = work.path("plugin.wasm");
    std::fs::read(&made).with_context(|| format!("cannot read {}", made.display()))
}

/// The class of a hook and its functions, as the bindings look for them.
fn hook_of(hook: HookName) -> serde_json::Value {
    let (class, functions): (&str, &[&str]) = match hook {
        HookName::Enrollment => ("Enrollment", &["decide"]),
        HookName::CommandAmend => ("CommandAmend", &["amend"]),
        HookName::CommandValidate => ("CommandValidate", &["validate"]),
        HookName::Events => ("Events", &["on_events"]),
        HookName::Compliance => ("Compliance", &["rules", "evaluate"]),
        HookName::Declarations => ("Declarations", &["contribute"]),
        HookName::Jobs => ("Jobs", &["run"]),
        HookName::Routes => ("Routes", &["handle"]),
        HookName::Panels => ("Panels", &["render"]),
    };
    json!({ "class": class, "functions": functions })
}

/// The folder of the tool, filled when it is not there.
fn tools() -> anyhow::Result<PathBuf> {
    if !works(Command::new("python3").args(["-c", "import sys; assert sys.version_info >= (3, 9)"]))
    {
        bail!(
            "a plugin in Python needs Python 3.9 or newer; python3 cannot be started, or is older"
        );
    }
    tools::kept(TOOLS, |part| {
        eprintln!("fetching the tools for Python with pip (70 MB, once)");
        let requirements = part.join("requirements.txt");
        write(&requirements, REQUIREMENTS)?;
        let mut pip = pip()?;
        pip.args(["--require-hashes", "--only-binary", ":all:", "--target"])
            .arg(part)
            .arg("--requirement")
            .arg(&requirements);
        done(&mut pip)
            .map(drop)
            .context("the tools for Python cannot be fetched; pip must reach its registry")
    })
}

/// The name of the folder of a virtual environment, from what [`VERSION`] printed.
fn environment(told: &str) -> anyhow::Result<String> {
    let version = told.trim();
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match version.split_once('.') {
        Some((major, minor)) if number(major) && number(minor) => {
            Ok(format!("python-pip-{version}"))
        }
        _ => bail!("python3 says that its version is {version:?}"),
    }
}

/// `pip install`: Python's own, or that of a virtual environment where a distribution took it out.
fn pip() -> anyhow::Result<Command> {
    let mut program = PathBuf::from("python3");
    if !works(Command::new(&program).args(["-m", "pip", "--version"])) {
        // A virtual environment belongs to the Python that made it: one of another version would not find its pip.
        let told = done(Command::new("python3").args(["-c", VERSION]))?;
        let made = tools::kept(&environment(&told)?, |part| {
            done(Command::new("python3").args(["-m", "venv"]).arg(part)).map(drop)
        });
        program = made
            .context("python3 has neither pip nor venv; install one (on Debian: python3-pip or python3-venv)")?
            .join("bin/python3");
    }
    let mut pip = Command::new(program);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"]);
    Ok(pip)
}

/// Puts the SDK where the plugin's tests and an editor find it. Whether anything there was not as it should be.
pub(super) fn place_sdk(folder: &Path) -> anyhow::Result<bool> {
    let mut changed = false;
    for (name, text) in SDK {
        changed |= renew(&folder.join(SDK_FOLDER).join(name), text)?;
    }
    Ok(changed)
}

/// The folder with the SDK and the packages that the plugin asks for, made anew; also for its tests and an editor.
fn library(folder: &Path) -> anyhow::Result<PathBuf> {
    let place = folder.join(SDK_FOLDER);
    if place.is_dir() {
        std::fs::remove_dir_all(&place)
            .with_context(|| format!("cannot make {} anew", place.display()))?;
    }
    place_sdk(folder)?;
    let requirements = folder.join("requirements.txt");
    if requirements.is_file() {
        // Nothing that was compiled for a machine runs inside.
        let mut pip = pip()?;
        pip.args(["--only-binary", ":all:", "--platform", "any"])
            .args(["--implementation", "py", "--abi", "none"])
            .args(["--python-version", GUEST, "--target"])
            .arg(&place)
            .arg("--requirement")
            .arg(&requirements);
        done(&mut pip).with_context(|| {
            format!(
                "the packages of {} cannot be had; only those that are pure Python (a wheel for `any` platform) run inside a plugin",
                requirements.display()
            )
        })?;
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_folder_is_named_after_what_is_in_it_and_the_wheel_has_its_checksums() {
        let version = TOOLS.rsplit('-').next().unwrap();
        assert!(REQUIREMENTS.contains(&format!("componentize-py=={version} ")));
        assert!(REQUIREMENTS.matches("--hash=sha256:").count() >= 5);
    }

    #[test]
    fn a_virtual_environment_is_named_after_its_python() {
        assert_eq!(environment("3.11\n").unwrap(), "python-pip-3.11");
        for told in ["", "3", "3.", "3.11.2", "3.x", "3.1/../.."] {
            let refused = environment(told).unwrap_err().to_string();
            assert!(refused.contains("version"), "{told}: {refused}");
        }
    }
}
