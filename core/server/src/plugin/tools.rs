//! Programs that a build needs, and the cache folder of those that are fetched.
//!
//! Owns: what is fetched once stands in the cache whole or not at all; how a program is run and what it says when it
//! fails. Knows no language.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The folder `name` in the cache, filled by `fill` when it is not there.
pub(super) fn kept(
    name: &str,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("pomona");
    kept_in(&cache, name, fill)
}

fn kept_in(
    cache: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let root = cache.join(name);
    if root.is_dir() {
        return Ok(root);
    }
    // Whole or not at all: a folder under its final name is complete.
    let part = cache.join(format!("{name}.{}", std::process::id()));
    std::fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
    if let Err(error) = fill(&part) {
        // What is left of it helps nobody.
        let _ = std::fs::remove_dir_all(&part);
        return Err(error);
    }
    match std::fs::rename(&part, &root) {
        Ok(()) => {}
        // Another build has been quicker.
        Err(_) if root.is_dir() => std::fs::remove_dir_all(&part).context("cannot tidy up")?,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot keep {}", root.display()));
        }
    }
    Ok(root)
}

/// Runs a program and gives what it printed.
pub(super) fn done(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be started"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program can be started and ends well.
pub(super) fn works(command: &mut Command) -> bool {
    let silent = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_could_not_be_filled_is_not_there() {
        let cache = tempfile::tempdir().unwrap();
        let refused = kept_in(cache.path(), "tools", |part| {
            std::fs::write(part.join("half"), "").unwrap();
            bail!("the network is closed")
        });
        assert_eq!(refused.unwrap_err().to_string(), "the network is closed");
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
        let root = kept_in(cache.path(), "tools", |part| {
            Ok(std::fs::write(part.join("whole"), "")?)
        });
        assert!(root.unwrap().join("whole").is_file());
        kept_in(cache.path(), "tools", |_| panic!("it is there already")).unwrap();
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
