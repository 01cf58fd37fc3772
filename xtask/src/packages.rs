//! The system packages that the tests need: whether they are there, and fetching them where we may.
//!
//! Owns the list of packages. It installs as root on Debian only, and never lets Debian create or start a
//! PostgreSQL cluster or a registry of its own.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use pomona_tests::{postgres_missing, registry_folder, registry_program};

/// A Debian package, what the tests need of it, and how its presence shows.
struct Package {
    name: &'static str,
    purpose: &'static str,
    present: fn() -> bool,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "postgresql",
        purpose: "the second back end of every storage test",
        present: || postgres_missing().is_none(),
    },
    Package {
        name: "strongswan-pki",
        purpose: "a SCEP client that is not ours",
        present: || on_path("pki"),
    },
    Package {
        name: "libstrongswan-extra-plugins",
        purpose: "the HTTP transport of that SCEP client",
        present: || Path::new("/usr/lib/ipsec/plugins/libstrongswan-curl.so").is_file(),
    },
    Package {
        name: "libstrongswan-standard-plugins",
        purpose: "elliptic curves for that SCEP client",
        present: || Path::new("/usr/lib/ipsec/plugins/libstrongswan-openssl.so").is_file(),
    },
    Package {
        name: "openssl",
        purpose: "certificates and signed messages that are not ours",
        present: || on_path("openssl"),
    },
    Package {
        name: "sqlite3",
        purpose: "a look into the database that is not ours",
        present: || on_path("sqlite3"),
    },
    Package {
        name: "strace",
        purpose: "seeing that an answer leaves after its flush",
        present: || on_path("strace"),
    },
    Package {
        name: "nodejs",
        purpose: "plugins in JavaScript, and their tests",
        present: || on_path("node"),
    },
    Package {
        name: "npm",
        purpose: "the tools for plugins in JavaScript",
        present: || on_path("npm"),
    },
    Package {
        name: "python3",
        purpose: "plugins in Python, and their tests",
        present: || on_path("python3"),
    },
    Package {
        name: "python3-pip",
        purpose: "the tools for plugins in Python",
        present: has_pip,
    },
    Package {
        name: "xz-utils",
        purpose: "unpacking test data",
        present: || on_path("xz"),
    },
];

/// Installs what is missing when we are root on Debian and `install` allows it.
///
/// # Errors
/// Something is missing that we may not or could not install; the error names each package and its purpose.
pub(crate) fn ensure(install: bool) -> Result<()> {
    let missing = missing();
    if !missing.is_empty() && install && we_are_root() && on_path("apt-get") {
        let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
        println!("==> packages: apt-get install {}", names.join(" "));
        keep_debian_from_making_a_cluster()?;
        apt_get(&["update"])?;
        apt_get(&[&["install", "--no-install-recommends"], names.as_slice()].concat())?;
    }
    if install && registry_program().is_none() {
        unpack_registry()?;
    }
    let still: Vec<String> = self::missing()
        .iter()
        .map(|package| format!("{} ({})", package.name, package.purpose))
        .collect();
    if !still.is_empty() {
        bail!(
            "missing Debian packages: {}. Install them, or run as root on Debian",
            still.join(", ")
        );
    }
    Ok(())
}

/// Fetches the package and unpacks it into the target folder, which anybody may do: installed, it would start a service.
fn unpack_registry() -> Result<()> {
    const PACKAGE: &str = "docker-registry";
    println!("==> packages: apt-get download {PACKAGE}");
    let folder = registry_folder();
    fs::create_dir_all(&folder).context("make the folder of the registry")?;
    let download = || {
        Command::new("apt-get")
            .args(["-qq", "download", PACKAGE])
            .current_dir(&folder)
            .status()
            .context("run apt-get")
    };
    if !download()?.success() && we_are_root() {
        apt_get(&["update"])?;
        download()?;
    }
    let packages = fs::read_dir(&folder).context("look for the package")?;
    let package = packages
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("docker-registry (a registry that is not ours) cannot be fetched; install it")?;
    let status = Command::new("dpkg-deb")
        .arg("--extract")
        .arg(&package)
        .arg(&folder)
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
