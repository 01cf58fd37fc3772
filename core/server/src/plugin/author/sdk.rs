//! The SDK for Rust and the contract, as they come with the program.
//!
//! Owns: their files, and writing them below a project, where cargo finds them. They belong to the program: what is there is replaced
//! by what this version brings.

use std::path::Path;

use pomona_plugin_host::contract;

use super::super::build::renew as renew_file;

/// The folder below a project.
pub(crate) const FOLDER: &str = ".pomona/sdk";

macro_rules! sources {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../../sdk/rust/", $name)))),+]
    };
}

/// The SDK's package, by path within it.
const RUST: &[(&str, &str)] = sources![
    "Cargo.toml",
    "src/arena.rs",
    "src/bindings.rs",
    "src/export.rs",
    "src/facts.rs",
    "src/hooks.rs",
    "src/host.rs",
    "src/lib.rs",
    "src/subject.rs",
    "src/testing.rs",
    "src/testing/calls.rs",
];

/// The versions of other packages that the SDK was built with.
pub(super) const LOCK: &str = include_str!("../../../../../sdk/rust/Cargo.lock");

const README: &str = "The SDK of Pomona for Rust and the contract of its plugins, as they came with `pomona`.\n\n\
    Change nothing here: `pomona plugin build` and `pomona plugin new --refresh` put the files of their own version into this place.\n";

/// Every file below [`FOLDER`], by path within it.
fn files() -> Vec<(String, &'static str)> {
    let mut files = vec![("README.md".to_owned(), README)];
    files.extend(
        RUST.iter()
            .map(|(name, text)| (format!("rust/{name}"), *text)),
    );
    for package in contract::PACKAGES {
        for (name, text) in package {
            let name = match name.contains('/') {
                true => format!("wit/0.9/deps/{name}"),
                false => format!("wit/0.9/{name}"),
            };
            files.push((name, *text));
        }
    }
    files
}

/// Writes the files below `project`, those that are not as they should be. Whether there were any.
pub(crate) fn write(project: &Path) -> anyhow::Result<bool> {
    let mut changed = false;
    for (name, text) in files() {
        let path = project.join(FOLDER).join(name);
        // What keeps its time is not built anew by cargo.
        changed |= renew_file(&path, text)?;
    }
    Ok(changed)
}

/// As [`write()`], in a project that has the folder already.
pub(crate) fn renew(project: &Path) -> anyhow::Result<()> {
    if project.join(FOLDER).is_dir() && write(project)? {
        eprintln!("{FOLDER} is now that of this version of pomona");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The files below a folder of the repository, as far as cargo or the generators read them.
    fn below(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let within = format!("{prefix}/{name}");
            if path.is_dir() && name != "target" {
                below(&path, &within, found);
            } else if ["rs", "wit"].contains(&name.rsplit('.').next().unwrap())
                || name == "Cargo.toml"
            {
                found.insert(within, std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn nothing_of_the_sdk_is_left_out() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk");
        let mut expected = BTreeMap::new();
        below(&sdk.join("rust"), "rust", &mut expected);
        below(&sdk.join("wit/0.9"), "wit/0.9", &mut expected);
        let mut brought: BTreeMap<String, String> = files()
            .into_iter()
            .map(|(name, text)| (name, text.to_owned()))
            .collect();
        brought.remove("README.md");
        assert_eq!(
            brought.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>()
        );
        assert_eq!(brought, expected);
    }
}
