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
    ("ber", checks::ber),
    ("check_in", checks::check_in),
    ("cms_verify", checks::cms_verify),
    ("command", checks::command),
    ("csr", checks::csr),
    ("header_certificate", checks::header_certificate),
    ("report", checks::report),
    ("scep_message", checks::scep_message),
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
fn the_seeds_of_every_target_hold_and_reach_its_decoder() {
    for (name, check) in CHECKS {
        let folder = format!("fuzz/seeds/{name}");
        let accepted = replay(&folder, *check);
        // A folder of its own holds good messages only; a linked one is shared with other targets.
        let shared = checkout().join(&folder).is_symlink();
        assert!(accepted.iter().any(|accepted| *accepted), "{name}");
        assert!(
            shared || accepted.iter().all(|accepted| *accepted),
            "{name}"
        );
    }
}

/// Runs `check` on each file of `folder`; whether the decoder took it.
fn replay(folder: &str, check: Check) -> Vec<bool> {
    let mut accepted = Vec::new();
    for path in entries(folder) {
        let input = fs::read(&path).unwrap();
        let before = checks::accepted_so_far();
        let held = std::panic::catch_unwind(|| check(&input));
        assert!(held.is_ok(), "{}", path.display());
        accepted.push(checks::accepted_so_far() > before);
    }
    accepted
}

fn entries(folder: &str) -> Vec<PathBuf> {
    fs::read_dir(checkout().join(folder))
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect()
}
