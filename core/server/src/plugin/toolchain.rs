//! The tool chain that turns Rust into WebAssembly.
//!
//! Owns: finding one. The tool chain that is active in the plugin's folder may have the target; rustup may be able to fetch it; else Debian's packages of the
//! compiler are unpacked into a cache folder, not installed, and the standard library is built from its source.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::tools::{self, done, works};

/// The target of guests.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's package of the compiler's libraries; which versions go with it, it says itself.
const LIBRARIES: &str = "libstd-rust-web-dev";

/// A way to build guests.
pub(super) enum Toolchain {
    /// The tool chain that is active in the plugin's folder has the target.
    Active,
    /// A compiler of its own, with the standard library as source.
    Unpacked {
        /// Where Debian's packages were unpacked.
        root: PathBuf,
        /// The linker of the active tool chain.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// Finds one for the plugin in `folder`, whose files may name a tool chain; fetches what is missing.
    pub(super) fn find(folder: &Path) -> anyhow::Result<Self> {
        let sysroot = sysroot(folder)?;
        let target = sysroot.join("lib/rustlib").join(TARGET);
        if target.is_dir() || (rustup_adds(folder) && target.is_dir()) {
            return Ok(Self::Active);
        }
        let linker = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
        if !linker.is_file() {
            bail!(
                "the Rust tool chain has no {TARGET} and no rust-lld; run `rustup target add {TARGET}`"
            );
        }
        Ok(Self::Unpacked {
            root: unpacked()?,
            linker,
        })
    }

    /// `cargo build --release` for guests.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in std::env::vars_os() {
            // What an outer cargo told of its own package would make build scripts run again.
            let known = name.to_string_lossy();
            if known.starts_with("CARGO_PKG_") || known.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(&name);
            }
        }
        cargo.args(["build", "--release", "--target", TARGET]);
        if let Self::Unpacked { root, linker } = self {
            cargo
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", root.join("usr/bin/rustc"))
                .env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"))
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        cargo
    }
}

/// Where the tool chain is that a build in `folder` uses.
fn sysroot(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]).current_dir(folder);
    let told = done(&mut rustc).with_context(|| {
        format!(
            "a Rust plugin needs a Rust tool chain; there is none for {}",
            folder.display()
        )
    })?;
    Ok(PathBuf::from(told.trim()))
}

/// Asks rustup for the target; a closed network is no error here.
fn rustup_adds(folder: &Path) -> bool {
    works(
        Command::new("rustup")
            .args(["target", "add", TARGET])
            .current_dir(folder),
    )
}

/// The folder with Debian's compiler, filled when it is not there.
fn unpacked() -> anyhow::Result<PathBuf> {
    tools::kept("rust-web", |part| {
        let debs = part.join("debs");
        std::fs::create_dir_all(&debs)
            .with_context(|| format!("cannot make {}", debs.display()))?;
        fill(part, &debs)?;
        std::fs::remove_dir_all(&debs).context("cannot tidy up")
    })
}

fn fill(part: &Path, debs: &Path) -> anyhow::Result<()> {
    eprintln!("fetching a compiler for WebAssembly from Debian (140 MB, once)");
    let fetched = fetch(debs).or_else(|_| {
        // A machine that has never asked what there is knows no package; only its root may ask.
        done(Command::new("apt-get").args(["-qq", "update"]))?;
        fetch(debs)
    });
    fetched.with_context(|| {
        format!(
            "the compiler for WebAssembly cannot be fetched; run `rustup target add {TARGET}`, or on Debian `apt-get update` as root"
        )
    })?;
    for entry in std::fs::read_dir(debs).context("cannot read what was fetched")? {
        let deb = entry.context("cannot read what was fetched")?.path();
        done(Command::new("dpkg").arg("-x").arg(&deb).arg(part))?;
    }
    Ok(())
}

/// Fetches the compiler, its libraries and its sources.
fn fetch(debs: &Path) -> anyhow::Result<()> {
    let runtime = dependency(LIBRARIES, "libstd-rust-web-")?;
    let backend = dependency(&runtime, "libllvm")?;
    let mut fetch = Command::new("apt-get");
    fetch
        .arg("download")
        .args(["rustc-web", LIBRARIES, "rust-web-src", &runtime, &backend])
        .current_dir(debs);
    done(&mut fetch).map(drop)
}

/// The package whose name begins with `prefix` among those that `package` depends on.
fn dependency(package: &str, prefix: &str) -> anyhow::Result<String> {
    let told = done(Command::new("apt-cache").args(["depends", package]))?;
    told.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .with_context(|| format!("Debian's {package} names no {prefix}*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_chain_is_that_of_the_plugins_folder() {
        let place = tempfile::tempdir().unwrap();
        assert!(sysroot(place.path()).unwrap().is_dir());
        let none = place.path().join("none");
        let told = sysroot(&none).unwrap_err().to_string();
        assert!(told.contains(&none.display().to_string()), "{told}");
    }
}
