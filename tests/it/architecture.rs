//! Who may use whom, checked on the sources and manifests of the checkout.
//!
//! Owns the table of forbidden edges (ARCHITECTURE.md, section 1). It reads text only: it compiles nothing, and
//! it sees every path in the code, not only those of `use` lines. Comments and strings do not count.

mod scan;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use pomona_tests::{checkout, tracked_files};
use scan::{crates_named, dependencies_in, modules_named};

/// A crate that may be named under some folders only.
struct OnlyUnder {
    name: &'static str,
    folders: &'static [&'static str],
}

/// A folder that may not name some crates; a name that ends with `*` stands for all that begin so.
struct Never {
    folder: &'static str,
    names: &'static [&'static str],
}

/// A module of the engine that only some parts of the engine may name.
struct Inward {
    module: &'static str,
    users: &'static [&'static str],
}

const ONLY_UNDER: &[OnlyUnder] = &[
    OnlyUnder {
        name: "sea_orm",
        folders: &["core/engine/src/store", "migrations"],
    },
    OnlyUnder {
        name: "sea_orm_migration",
        folders: &["core/engine/src/store", "migrations"],
    },
    OnlyUnder {
        name: "rusqlite",
        folders: &["core/engine/src/store"],
    },
    OnlyUnder {
        name: "sqlx",
        folders: &["core/engine/src/store", "migrations"],
    },
    OnlyUnder {
        name: "axum",
        folders: &["core/engine/src/http", "core/server"],
    },
    OnlyUnder {
        name: "a2",
        folders: &["core/engine/src/push"],
    },
    OnlyUnder {
        name: "wasmtime",
        folders: &["core/plugin-host"],
    },
    OnlyUnder {
        name: "pomona_catalogue",
        folders: &[
            "core/catalogue",
            "core/engine",
            "core/plugin-host",
            "core/server",
            "xtask",
        ],
    },
];

const NEVER: &[Never] = &[
    Never {
        folder: "core/protocol",
        names: &["tokio", "hyper", "sea_orm", "axum", "pomona_*", "pomona"],
    },
    Never {
        folder: "core/catalogue",
        names: &["tokio", "hyper", "sea_orm", "axum", "pomona_*", "pomona"],
    },
    Never {
        folder: "core/cms",
        names: &["tokio", "hyper", "sea_orm", "axum", "pomona_*", "pomona"],
    },
    Never {
        folder: "core/engine",
        names: &["wasmtime", "pomona_plugin_host", "pomona_server", "pomona"],
    },
    // What a plugin is made of knows the contract and nothing of the server.
    Never {
        folder: "sdk",
        names: NO_SERVER,
    },
    Never {
        folder: "examples",
        names: NO_SERVER,
    },
    // Ours are made as anybody's.
    Never {
        folder: "plugins",
        names: NO_SERVER,
    },
    // The other side of the wire must not share our mistakes.
    Never {
        folder: "core/simulator",
        names: &["pomona_*", "pomona"],
    },
    Never {
        folder: "migrations",
        names: &["pomona_*", "pomona"],
    },
];

/// What nothing names that runs as a plugin.
const NO_SERVER: &[&str] = &[
    "pomona_catalogue",
    "pomona_engine",
    "pomona_plugin_host",
    "pomona_protocol",
    "wasmtime",
    "pomona",
];

/// Inside the engine the edges run http → engine → the domain → store.
const INWARD: &[Inward] = &[Inward {
    module: "http",
    users: &["core/engine/src/http", "core/engine/src/lib.rs"],
}];

#[test]
fn no_source_file_names_a_crate_it_may_not_use() {
    let mut forbidden = Vec::new();
    for (path, text) in rust_files() {
        for name in crates_named(&text) {
            forbidden.extend(
                broken_rule(&path, own_crate(&path), &name)
                    .map(|why| format!("{}: {why}", path.display())),
            );
        }
    }
    assert!(forbidden.is_empty(), "{}", forbidden.join("\n"));
}

#[test]
fn no_manifest_depends_on_a_crate_it_may_not_use() {
    let mut forbidden = Vec::new();
    for path in files_named("Cargo.toml") {
        let text = read(&path);
        for name in dependencies_in(&text).expect("a manifest is TOML") {
            for rule in NEVER.iter().filter(|rule| path.starts_with(rule.folder)) {
                if matches_any(rule.names, &name) {
                    forbidden.push(format!("{}: depends on {name}", path.display()));
                }
            }
        }
    }
    assert!(forbidden.is_empty(), "{}", forbidden.join("\n"));
}

#[test]
fn only_one_file_names_the_push_library() {
    let users: Vec<_> = rust_files()
        .filter(|(_, text)| crates_named(text).contains("a2"))
        .map(|(path, _)| path)
        .collect();
    assert!(users.len() <= 1, "{users:?}");
}

#[test]
fn inside_the_engine_the_edges_run_inward() {
    let mut forbidden = Vec::new();
    let engine = rust_files().filter(|(path, _)| path.starts_with("core/engine/src"));
    for (path, text) in engine.filter(|(path, _)| !is_test_code(path)) {
        let modules = modules_named(&text);
        for rule in INWARD {
            let may = rule.users.iter().any(|user| path.starts_with(user));
            if !may && modules.contains(rule.module) {
                forbidden.push(format!("{}: names crate::{}", path.display(), rule.module));
            }
        }
    }
    assert!(forbidden.is_empty(), "{}", forbidden.join("\n"));
}

#[test]
fn a_forbidden_sample_is_seen() {
    let cases = [
        ("core/engine/src/queue/mod.rs", "sea_orm"),
        ("core/engine/src/enrollment/mod.rs", "axum"),
        ("core/engine/src/engine.rs", "wasmtime"),
        ("core/simulator/src/lib.rs", "pomona_protocol"),
        ("core/protocol/src/lib.rs", "tokio"),
        ("core/server/src/main.rs", "sqlx"),
        ("migrations/src/lib.rs", "pomona_engine"),
        ("plugins/supervision-guard/src/lib.rs", "pomona_catalogue"),
        ("core/simulator/src/lib.rs", "pomona_catalogue"),
        ("core/engine/src/http/mdm.rs", "a2"),
        // Not even in its tests.
        ("core/simulator/tests/fleet.rs", "pomona_engine"),
    ];
    for (path, name) in cases {
        let path = Path::new(path);
        assert!(
            broken_rule(path, own_crate(path), name).is_some(),
            "{} may not use {name}",
            path.display()
        );
    }
}

#[test]
fn an_allowed_sample_is_let_through() {
    let cases = [
        ("core/engine/src/store/mod.rs", "sea_orm"),
        ("core/engine/src/http/mdm.rs", "axum"),
        ("core/engine/src/push/apns.rs", "a2"),
        ("core/server/src/main.rs", "pomona_engine"),
        ("core/simulator/src/lib.rs", "tokio"),
        ("core/plugin-host/src/catalogue.rs", "pomona_catalogue"),
        ("core/engine/src/engine.rs", "pomona_protocol"),
        // Tests of a crate in its own `tests` folder name the crate itself.
        ("core/simulator/tests/fleet.rs", "pomona_simulator"),
        ("core/engine/tests/support/mod.rs", "axum"),
        ("core/engine/src/identity/tests/links.rs", "axum"),
    ];
    for (path, name) in cases {
        let path = Path::new(path);
        assert_eq!(broken_rule(path, own_crate(path), name), None);
    }
}

/// Which rule `name` breaks in the file at `path`, in words.
fn broken_rule(path: &Path, own: Option<String>, name: &str) -> Option<String> {
    if own.as_deref() == Some(name) {
        return None;
    }
    let confined = ONLY_UNDER
        .iter()
        .filter(|_| !is_test_code(path))
        .find(|rule| rule.name == name && !rule.folders.iter().any(|at| path.starts_with(at)))
        .map(|rule| format!("names {name}, which belongs under {:?}", rule.folders));
    confined.or_else(|| {
        NEVER
            .iter()
            .find(|rule| path.starts_with(rule.folder) && matches_any(rule.names, name))
            .map(|rule| format!("names {name}, which {} may never use", rule.folder))
    })
}

/// A crate's tests look at it from outside as well, with whatever tools that takes; what it may never use, they may not
/// either.
fn is_test_code(path: &Path) -> bool {
    path.iter()
        .any(|part| part == "tests" || part == "tests.rs")
}

fn matches_any(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| {
        pattern
            .strip_suffix('*')
            .map_or(*pattern == name, |prefix| name.starts_with(prefix))
    })
}

/// The crate that `core/<unit>/…` and `migrations/…` build.
fn own_crate(path: &Path) -> Option<String> {
    let mut parts = path.iter().filter_map(|part| part.to_str());
    let unit = match parts.next()? {
        "core" => parts.next()?,
        "migrations" => "migrations",
        _ => return None,
    };
    Some(format!("pomona_{}", unit.replace('-', "_")))
}

fn rust_files() -> impl Iterator<Item = (PathBuf, String)> {
    // This suite names forbidden crates on purpose, in strings; those do not count, so it is scanned as well.
    files_ending("rs").into_iter().map(|path| {
        let text = read(&path);
        (path, text)
    })
}

fn files_ending(extension: &str) -> BTreeSet<PathBuf> {
    files(|path| path.extension().is_some_and(|found| found == extension))
}

fn files_named(name: &str) -> BTreeSet<PathBuf> {
    files(|path| path.file_name().is_some_and(|found| found == name))
}

fn files(wanted: impl Fn(&Path) -> bool) -> BTreeSet<PathBuf> {
    tracked_files()
        .expect("the checkout is a repository")
        .into_iter()
        .filter(|path| wanted(path) && checkout().join(path).is_file())
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(checkout().join(path)).expect("a tracked file can be read")
}
