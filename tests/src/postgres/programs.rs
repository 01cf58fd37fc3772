//! Where PostgreSQL's programs are, and as whom they run.
//!
//! Owns the search (Debian keeps the server's programs off the path, in a folder per version) and the step
//! down from root. It never starts anything itself.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// The folder of PostgreSQL's programs and the user who may run the server.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    folder: PathBuf,
    /// Set when we are root: the user and group to become.
    step_down: Option<(u32, u32)>,
}

impl Programs {
    pub(super) fn find() -> Result<Self> {
        let folder = candidate_folders()
            .into_iter()
            .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
            .context(
                "PostgreSQL's server is not installed (looked for initdb and postgres in \
                 /usr/lib/postgresql/*/bin and on PATH); on Debian: apt-get install postgresql",
            )?;
        let step_down = if we_are_root()? {
            Some(user_postgres()?)
        } else {
            None
        };
        Ok(Self { folder, step_down })
    }

    /// A program of the server, run as the user who may run it.
    pub(super) fn command(&self, program: &str) -> Command {
        let path = self.folder.join(program);
        let mut command = if let Some((user, group)) = self.step_down {
            // setpriv replaces itself by the program: the child's id is the server's own.
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", &user.to_string(), "--regid", &group.to_string()])
                .args(["--clear-groups", "--"])
                .arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir("/");
        command
    }

    /// A client program; those run as anybody.
    pub(super) fn client(&self, program: &str) -> Command {
        let beside = self.folder.join(program);
        Command::new(if beside.is_file() {
            beside
        } else {
            program.into()
        })
    }

    /// Shuts others out of a file or folder and gives it to the user of the server.
    pub(super) fn hand_over(&self, path: &Path) -> Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("close {} to others", path.display()))?;
        if let Some((user, group)) = self.step_down {
            chown(path, Some(user), Some(group))
                .with_context(|| format!("give {} to the user postgres", path.display()))?;
        }
        Ok(())
    }
}

/// Folders that may hold the programs: Debian's, newest version first, then the path.
fn candidate_folders() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by(|left, right| right.cmp(left));
    let mut folders: Vec<PathBuf> = versions.into_iter().map(|(_, path)| path).collect();
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    folders
}

/// The owner of our own entry under /proc is the user we run as.
fn we_are_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")
        .context("look at /proc/self")?
        .uid()
        == 0)
}

fn user_postgres() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    if let Some(found) = user_in(&users, "postgres") {
        return Ok(found);
    }
    bail!("PostgreSQL does not run as root, and there is no user named postgres to run it as")
}

fn user_in(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some((user, group))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:7:7::/:\npostgres:x:101:104:PG:/v:/bin/sh\n";
        assert_eq!(user_in(users, "postgres"), Some((101, 104)));
        assert_eq!(user_in(users, "nobody"), None);
    }
}
