//! The languages of plugins.
//!
//! Owns: which one a folder is in, and where the SDK of this program stands in it, so that tests and editors find it. Builds nothing.

use std::path::Path;

use anyhow::bail;
use clap::ValueEnum;

use super::super::author::sdk;
use super::{javascript, python};

/// The languages of plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::plugin) enum Language {
    /// Rust.
    Rust,
    /// JavaScript; a plugin in TypeScript is the same with other endings of its files.
    #[value(name = "javascript")]
    JavaScript,
    /// Python.
    Python,
}

/// The files that show a language.
const MARKS: [(&str, Language); 4] = [
    ("Cargo.toml", Language::Rust),
    ("package.json", Language::JavaScript),
    ("pyproject.toml", Language::Python),
    ("plugin.py", Language::Python),
];

impl Language {
    /// The language of the plugin in `folder`.
    pub(in crate::plugin) fn of(folder: &Path) -> anyhow::Result<Self> {
        let mut found = MARKS
            .iter()
            .filter(|(file, _)| folder.join(file).is_file())
            .collect::<Vec<_>>();
        found.dedup_by_key(|(_, language)| *language);
        match found[..] {
            [(_, language)] => Ok(*language),
            [] => bail!(
                "{} shows no language: a plugin in Rust has a Cargo.toml, one in JavaScript or TypeScript a package.json, one in Python a plugin.py",
                folder.display()
            ),
            [(one, _), (other, _), ..] => bail!(
                "{} has both {one} and {other}; keep what belongs to the plugin's own language",
                folder.display()
            ),
        }
    }

    /// Puts the SDK into the plugin's folder; whether anything there was not as it should be.
    pub(in crate::plugin) fn place_sdk(self, folder: &Path) -> anyhow::Result<bool> {
        match self {
            Self::Rust => sdk::write(folder),
            Self::JavaScript => javascript::place_sdk(folder),
            Self::Python => python::place_sdk(folder),
        }
    }

    /// Where [`Self::place_sdk`] puts it, below the plugin's folder.
    pub(in crate::plugin) fn sdk_folder(self) -> &'static str {
        match self {
            Self::Rust => sdk::FOLDER,
            Self::JavaScript => javascript::SDK_FOLDER,
            Self::Python => python::SDK_FOLDER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_folder_show_its_language() {
        let folder = tempfile::tempdir().unwrap();
        let mark = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        let told = |result: anyhow::Result<Language>| result.unwrap_err().to_string();
        assert!(told(Language::of(folder.path())).contains("shows no language"));
        mark("plugin.py");
        mark("pyproject.toml");
        assert_eq!(Language::of(folder.path()).unwrap(), Language::Python);
        mark("package.json");
        let both = told(Language::of(folder.path()));
        assert!(
            both.contains("both package.json and pyproject.toml"),
            "{both}"
        );
    }

    #[test]
    fn the_sdk_is_put_in_place_and_renewed() {
        for language in Language::value_variants() {
            let folder = tempfile::tempdir().unwrap();
            let place = |language: &Language| language.place_sdk(folder.path()).unwrap();
            assert!(place(language));
            assert!(!place(language), "nothing is to be done");
            let root = folder.path().join(language.sdk_folder());
            let file = ["rust/src/lib.rs", "index.js", "pomona/__init__.py"]
                .iter()
                .map(|name| root.join(name))
                .find(|path| path.is_file())
                .unwrap();
            std::fs::write(&file, "old").unwrap();
            assert!(place(language), "{}", file.display());
            assert_ne!(std::fs::read_to_string(&file).unwrap(), "old");
        }
    }
}
