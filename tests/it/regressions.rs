//! Replays the inputs of the fuzz targets: the seeds, and whatever once failed.
//!
//! Owns no property itself: the checks are those of the fuzz targets, compiled in here, so that a finding stays
//! found without a fuzzing engine.

#[path = "../../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    reason = "the same file is the library of the fuzz targets"
)]
mod checks;

use std::{collections::BTreeSet, fs, path::PathBuf};

use pomona_tests::checkout;

type Check = fn(&[u8]);

const CHECKS: &[(&str, Check)] = &[
    ("check_in", checks::check_in),
    ("command", checks::command),
    ("report", checks::report),
];

#[test]
fn every_fuzz_target_is_replayed() {
    let targets: BTreeSet<String> = entries("fuzz/targets")
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    let replayed = CHECKS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets, replayed);
}

#[test]
fn what_once_failed_fails_no_more() {
    for folder in entries("fuzz/regressions") {
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().and_then(|name| name.to_str());
        let (_, check) = CHECKS
            .iter()
            .find(|(known, _)| Some(*known) == name)
            .expect("a folder of regressions is named after a fuzz target");
        replay(&format!("fuzz/regressions/{}", name.unwrap()), *check);
    }
}

#[test]
fn the_seeds_of_every_target_hold() {
    for (name, check) in CHECKS {
        let inputs = replay(&format!("fuzz/seeds/{name}"), *check);
        assert!(inputs > 0, "{name} has no seeds");
    }
}

/// Runs `check` on each file of `folder`; how many there were.
fn replay(folder: &str, check: Check) -> usize {
    let inputs = entries(folder);
    for path in &inputs {
        let input = fs::read(path).unwrap();
        let held = std::panic::catch_unwind(|| check(&input));
        assert!(held.is_ok(), "{}", path.display());
    }
    inputs.len()
}

fn entries(folder: &str) -> Vec<PathBuf> {
    fs::read_dir(checkout().join(folder))
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect()
}
