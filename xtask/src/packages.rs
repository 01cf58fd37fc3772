//! The system packages that the tests need: whether they are there, and fetching them where we may.
//!
//! Owns the list of packages. It installs as root on Debian only, and never lets Debian create or start a
//! PostgreSQL cluster or a registry of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use pomona_tests::{postgres_missing, registry_folder, registry_program};

/// A Debian package, what the tests need of it, and how its presence shows.
struct Package {
    name: &'static str,
    purpose: &'static str,
    fetch: Fetch,
    present: fn() -> bool,
}

/// How a package gets here.
enum Fetch {
    /// Installed, which only root may do.
    Install,
    /// Unpacked into this folder, which anybody may do: installed, it would start a service.
    Unpack(fn() -> PathBuf),
}

const PACKAGES: &[Package] = &[
    Package {
        name: "postgresql",
        purpose: "the second back end of every storage test",
        fetch: Fetch::Install,
        present: || postgres_missing().is_none(),
    },
    Package {
        name: "strongswan-pki",
        purpose: "a SCEP client that is not ours",
        fetch: Fetch::Install,
        present: || on_path("pki"),
    },
    Package {
        name: "libstrongswan-extra-plugins",
        purpose: "the HTTP transport of that SCEP client",
        fetch: Fetch::Install,
        present: || Path::new("/usr/lib/ipsec/plugins/libstrongswan-curl.so").is_file(),
    },
    Package {
        name: "libstrongswan-standard-plugins",
        purpose: "elliptic curves for that SCEP client",
        fetch: Fetch::Install,
        present: || Path::new("/usr/lib/ipsec/plugins/libstrongswan-openssl.so").is_file(),
    },
    Package {
        name: "openssl",
        purpose: "certificates and signed messages that are not ours",
        fetch: Fetch::Install,
        present: || on_path("openssl"),
    },
    Package {
        name: "sqlite3",
        purpose: "a look into the database that is not ours",
        fetch: Fetch::Install,
        present: || on_path("sqlite3"),
    },
    Package {
        name: "strace",
        purpose: "seeing that an answer leaves after its flush",
        fetch: Fetch::Install,
        present: || on_path("strace"),
    },
    Package {
        name: "nodejs",
        purpose: "plugins in JavaScript, and their tests",
        fetch: Fetch::Install,
        present: || on_path("node"),
    },
    Package {
        name: "npm",
        purpose: "the tools for plugins in JavaScript",
        fetch: Fetch::Install,
        present: || on_path("npm"),
    },
    Package {
        name: "python3",
        purpose: "plugins in Python, and their tests",
        fetch: Fetch::Install,
        present: || on_path("python3"),
    },
    Package {
        name: "python3-pip",
        purpose: "the tools for plugins in Python",
        fetch: Fetch::Install,
        present: has_pip,
    },
    Package {
        name: "xz-utils",
        purpose: "unpacking test data",
        fetch: Fetch::Install,
        present: || on_path("xz"),
    },
    Package {
        name: "docker-registry",
        purpose: "a container registry that is not ours",
        fetch: Fetch::Unpack(registry_folder),
        present: || registry_program().is_some(),
    },
];

/// Fetches what is missing on Debian when `install` allows it; what has to be installed, as root only.
///
/// # Errors
/// Something is missing that we may not or could not install; the error names each package and its purpose.
pub(crate) fn ensure(install: bool) -> Result<()> {
    if install && on_path("apt-get") {
        fetch(&missing())?;
    }
    let still = missing();
    if !still.is_empty() {
        bail!(
            "missing Debian packages: {}. Install them, or run as root on Debian",
            told(&still)
        );
    }
    Ok(())
}

fn told(packages: &[&Package]) -> String {
    let each = packages
        .iter()
        .map(|package| format!("{} ({})", package.name, package.purpose));
    each.collect::<Vec<_>>().join(", ")
}

fn fetch(missing: &[&Package]) -> Result<()> {
    let names = to_install(missing);
    if !names.is_empty() && we_are_root() {
        println!("==> packages: apt-get install {}", names.join(" "));
        keep_debian_from_making_a_cluster()?;
        apt_get(&["update"])?;
        apt_get(&[&["install", "--no-install-recommends"], names.as_slice()].concat())?;
    }
    for package in missing {
        if let Fetch::Unpack(folder) = package.fetch
            && let Err(error) = unpack(package.name, &folder())
        {
            // As with those that are installed, what is missing then is told by the caller.
            eprintln!("{}: {error:#}", package.name);
        }
    }
    Ok(())
}

/// The names of those that are installed.
fn to_install(packages: &[&Package]) -> Vec<&'static str> {
    packages
        .iter()
        .filter(|package| matches!(package.fetch, Fetch::Install))
        .map(|package| package.name)
        .collect()
}

/// Fetches a package and unpacks it into a folder.
fn unpack(name: &str, folder: &Path) -> Result<()> {
    println!("==> packages: apt-get download {name}");
    fs::create_dir_all(folder).context("make the folder of the package")?;
    let download = || {
        Command::new("apt-get")
            .args(["-qq", "download", name])
            .current_dir(folder)
            .status()
            .context("run apt-get")
    };
    if !download()?.success() && we_are_root() {
        apt_get(&["update"])?;
        download()?;
    }
    let packages = fs::read_dir(folder).context("look for the package")?;
    let package = packages
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("it cannot be fetched")?;
    let status = Command::new("dpkg-deb")
        .arg("--extract")
        .arg(&package)
        .arg(folder)
        .status()
        .context("run dpkg-deb")?;
    if !status.success() {
        bail!("dpkg-deb ended with {status}");
    }
    fs::remove_file(&package).context("remove the package")
}

fn missing() -> Vec<&'static Package> {
    PACKAGES
        .iter()
        .filter(|package| !(package.present)())
        .collect()
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(["-qq", "--yes", "-o", "Dpkg::Use-Pty=0"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("run apt-get")?;
    if !status.success() {
        // A stale list of packages is no reason to stop: the installation itself tells.
        eprintln!("apt-get {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}

/// The packaging reads this folder before it creates the cluster `main`; a machine that has one keeps it.
fn keep_debian_from_making_a_cluster() -> Result<()> {
    if postgres_missing().is_none() {
        return Ok(());
    }
    let folder = Path::new("/etc/postgresql-common/createcluster.d");
    fs::create_dir_all(folder).context("create the folder of PostgreSQL's packaging settings")?;
    fs::write(
        folder.join("pomona.conf"),
        "# The tests of Pomona start private clusters.\ncreate_main_cluster = false\n",
    )
    .context("keep Debian from creating a cluster")
}

fn on_path(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).is_file())
}

/// Also where it did not come from Debian.
fn has_pip() -> bool {
    Command::new("python3")
        .args(["-m", "pip", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn we_are_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|owner| owner.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_start_a_service_is_not_installed_and_told_with_its_purpose() {
        let all: Vec<&Package> = PACKAGES.iter().collect();
        let names = to_install(&all);
        assert!(names.contains(&"postgresql"));
        assert!(!names.contains(&"docker-registry"));
        assert_eq!(names.len() + 1, PACKAGES.len());
        let told = told(&all);
        assert!(
            told.contains("docker-registry (a container registry"),
            "{told}"
        );
    }
}
