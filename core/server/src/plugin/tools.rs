//! Programs that a build needs, and the cache folder of those that are fetched.
//!
//! Owns: what is fetched once stands in the cache whole or not at all; how a program is run and what it says when it fails.
//! Knows no language.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

/// How the name of a folder ends that is being filled.
const PART: &str = ".part";
/// How long nobody can still be filling one.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// The folder `name` in the cache, filled by `fill` when it is not there.
pub(super) fn kept(
    name: &str,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    kept_in(&cache()?, name, fill)
}

/// The cache folder of this user.
pub(super) fn cache() -> anyhow::Result<PathBuf> {
    Ok(std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("pomona"))
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
    std::fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    tidy(cache);
    // Whole or not at all: a folder under its final name is complete. Until then it is new and nobody else's, and it goes
    // when this function fails.
    let part = tempfile::Builder::new()
        .prefix(&format!("{name}."))
        .suffix(PART)
        .tempdir_in(cache)
        .with_context(|| format!("cannot make a folder in {}", cache.display()))?;
    fill(part.path())?;
    match std::fs::rename(part.path(), &root) {
        Ok(()) => {
            // Nothing is left under its first name.
            let _ = part.keep();
        }
        // Another build has been quicker.
        Err(_) if root.is_dir() => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot keep {}", root.display()));
        }
    }
    Ok(root)
}

/// Removes what builds left that were killed.
fn tidy(cache: &Path) {
    let Ok(entries) = std::fs::read_dir(cache) else {
        return;
    };
    for entry in entries.flatten() {
        let part = entry.file_name().to_string_lossy().ends_with(PART);
        let filled = entry.metadata().and_then(|about| about.modified());
        let age = filled.ok().and_then(|at| at.elapsed().ok());
        if part && age.is_some_and(|age| age > STALE) {
            // The next build tries again.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
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
    use std::time::SystemTime;

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

    #[test]
    fn what_a_killed_build_left_is_not_used_and_goes_after_a_day() {
        let cache = tempfile::tempdir().unwrap();
        let left = |name: &str, age: Duration| {
            let folder = cache.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("half"), "").unwrap();
            let filled = SystemTime::now() - age;
            let handle = std::fs::File::open(&folder).unwrap();
            handle.set_modified(filled).unwrap();
            folder
        };
        let minute = Duration::from_secs(60);
        let old = left("tools.aaaaaa.part", STALE + minute);
        let new = left("tools.bbbbbb.part", minute);
        let kept = left("others", STALE + minute);
        let root = kept_in(cache.path(), "tools", |part| {
            assert_eq!(std::fs::read_dir(part)?.count(), 0);
            Ok(std::fs::write(part.join("whole"), "")?)
        });
        assert!(!root.unwrap().join("half").exists());
        assert!(!old.exists());
        assert!(new.is_dir(), "it may still be filled");
        assert!(kept.is_dir());
    }

    #[test]
    fn a_quicker_build_wins() {
        let cache = tempfile::tempdir().unwrap();
        let root = kept_in(cache.path(), "tools", |part| {
            std::fs::write(part.join("slow"), "")?;
            let quick = cache.path().join("tools");
            std::fs::create_dir(&quick)?;
            Ok(std::fs::write(quick.join("quick"), "")?)
        });
        assert!(root.unwrap().join("quick").is_file());
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
