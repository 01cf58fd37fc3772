//! `cargo xtask fuzz`: the fuzz targets under `fuzz/`.
//!
//! Owns how cargo-fuzz is found, where a run keeps what it learns, and the list of targets. Seeds are tracked files
//! under `fuzz/seeds`; the growing corpus and the inputs that fail stay below `fuzz/target`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::step;
use pomona_tests::cargo;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The target to run; `list` names them, `all` runs each.
    name: String,
    /// How long a target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs a target, all of them, or names them; whether none failed.
///
/// # Errors
/// There is no such target, or cargo-fuzz can be neither found nor installed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let targets = targets()?;
    let chosen: Vec<&String> = match arguments.name.as_str() {
        "list" => {
            println!("{}", targets.join("\n"));
            return Ok(true);
        }
        "all" => targets.iter().collect(),
        name => targets.iter().filter(|target| *target == name).collect(),
    };
    if chosen.is_empty() {
        bail!(
            "no fuzz target named {}; `cargo xtask fuzz list`",
            arguments.name
        );
    }
    let program = cargo_fuzz()?;
    let mut passed = true;
    for target in chosen {
        passed &= run_target(&program, target, arguments.seconds)?;
    }
    Ok(passed)
}

fn run_target(program: &Path, target: &str, seconds: u64) -> Result<bool> {
    let folder = fuzz_folder();
    let corpus = folder.join("target/corpus").join(target);
    let artifacts = folder.join("target/artifacts").join(target);
    for needed in [&corpus, &artifacts] {
        fs::create_dir_all(needed).with_context(|| format!("create {}", needed.display()))?;
    }
    let outcome = step::run(
        "fuzz",
        // The sanitizers are unstable options; the pinned tool chain has them, and this opens them.
        Command::new(program)
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(&folder)
            .args(["fuzz", "run", "--fuzz-dir", ".", target])
            .arg(&corpus)
            .args(given_inputs(&folder, target))
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-print_final_stats=1", "-timeout=10"]),
    )?;
    if !outcome.passed {
        println!(
            "{target}: an input failed; it lies in {}. Copy it to fuzz/regressions/{target}/ and mend the code",
            artifacts.display()
        );
    }
    Ok(outcome.passed)
}

/// The folders of tracked inputs that a run begins from: seeds, and what once failed.
fn given_inputs(folder: &Path, target: &str) -> Vec<PathBuf> {
    ["seeds", "regressions"]
        .iter()
        .map(|kind| folder.join(kind).join(target))
        .filter(|path| path.is_dir())
        .collect()
}

/// The targets are the source files in `fuzz/targets`.
fn targets() -> Result<Vec<String>> {
    let folder = fuzz_folder().join("targets");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .with_context(|| format!("read {}", folder.display()))?
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".rs").map(ToOwned::to_owned)
        })
        .collect();
    names.sort();
    Ok(names)
}

/// cargo-fuzz from the path, or from our own folder of tools, installed there when it is missing.
fn cargo_fuzz() -> Result<PathBuf> {
    let on_path = Command::new("cargo-fuzz")
        .args(["fuzz", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if on_path {
        return Ok("cargo-fuzz".into());
    }
    let root = pomona_tests::checkout().join("target/tools");
    let program = root.join("bin/cargo-fuzz");
    if !program.is_file() {
        let installed = step::run(
            "tools",
            cargo()
                .args(["install", "--locked", "cargo-fuzz", "--root"])
                .arg(&root),
        )?;
        if !installed.passed {
            bail!("cargo-fuzz could not be installed");
        }
    }
    Ok(program)
}

fn fuzz_folder() -> PathBuf {
    pomona_tests::checkout().join("fuzz")
}
