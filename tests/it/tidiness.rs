//! What no tracked file may hold: paths of one machine, hosts of a package registry, private keys.
//!
//! Owns rules over the text of tracked files. It never looks at build output or untracked files.

use std::fs;

use pomona_tests::{checkout, tracked_files};

/// Written in two parts, so that this file does not hold them itself.
const FORBIDDEN: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/tmp/", "brief"),
    concat!("/ro", "ot/"),
    concat!("crates", ".io"),
    concat!("static.rust-", "lang.org"),
];

#[test]
fn no_tracked_file_names_a_path_of_one_machine_or_a_registry() {
    let mut found = Vec::new();
    for path in tracked_files().expect("the checkout is a repository") {
        // The lock file names its registry by its nature.
        if path.file_name().is_some_and(|name| name == "Cargo.lock") {
            continue;
        }
        let Ok(bytes) = fs::read(checkout().join(&path)) else {
            continue;
        };
        for word in words_in(&String::from_utf8_lossy(&bytes)) {
            found.push(format!("{}: {word}", path.display()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_forbidden_word_is_seen() {
    for word in FORBIDDEN {
        assert_eq!(words_in(&format!("see {word}x for more")), vec![*word]);
    }
    assert!(words_in("the network of an orchard").is_empty());
}

fn words_in(text: &str) -> Vec<&'static str> {
    FORBIDDEN
        .iter()
        .filter(|word| text.contains(**word))
        .copied()
        .collect()
}
