//! `cargo xtask test`: every check of the project, in one go.
//!
//! Owns the list of checks, their order and the summary. A failed check does not keep the others from running,
//! so that one run tells everything; the exit code is that of the worst. No check changes the sources.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::{Args, ValueEnum};
use pomona_tests::{PostgresServer, cargo, checkout};

use crate::{
    frozen, packages, readable,
    step::{self, Counts, Outcome},
    table::Table,
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run this check alone.
    #[arg(long, value_enum)]
    only: Option<Check>,
    /// Never install packages, only say what is missing.
    #[arg(long)]
    no_install: bool,
    /// Passed to `cargo test`, for example `-- --package pomona-engine queue`.
    #[arg(last = true)]
    filter: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// `cargo fmt --check`.
    Format,
    /// Lints, with warnings denied.
    Clippy,
    /// The workspace builds, and its tests do.
    Build,
    /// The SDK, the examples and our own plugins: format, native tests, packages, and their fixtures, and those of the components that are kept
    /// of each release of the contract. Each is a package of its own, as an author's is.
    Examples,
    /// All tests, against SQLite and a private PostgreSQL.
    Test,
}

const ALL: [Check; 5] = [
    Check::Format,
    Check::Clippy,
    Check::Build,
    Check::Examples,
    Check::Test,
];

/// Packages outside the workspace.
const APART: [&str; 7] = [
    "sdk/rust",
    "examples/compliance-hook",
    "examples/enrollment-gate",
    "examples/lost-and-found",
    "examples/quiet-hours",
    "examples/welcome",
    "plugins/supervision-guard",
];

/// Examples in JavaScript and in Python, below `examples`.
const JAVASCRIPT: [&str; 3] = [
    "compliance-hook-javascript",
    "ticket-bridge",
    "welcome-javascript",
];
const PYTHON: [&str; 3] = [
    "compliance-hook-python",
    "quiet-hours-python",
    "roster-sync",
];

/// Runs the checks and prints the summary; whether all passed.
///
/// # Errors
/// A check could not be started at all.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let started = Instant::now();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for check in ALL {
        if arguments.only.is_some_and(|only| only != check) {
            continue;
        }
        let built = outcomes
            .iter()
            .all(|outcome| outcome.passed || outcome.name != "build");
        if check == Check::Test && !built {
            println!("==> test: skipped, the build failed");
            continue;
        }
        outcomes.push(run_check(check, arguments)?);
    }
    Ok(summarize(&outcomes, started.elapsed()))
}

fn run_check(check: Check, arguments: &Arguments) -> Result<Outcome> {
    match check {
        Check::Format => step::run("format", cargo().args(["fmt", "--all", "--check"])),
        Check::Clippy => step::run(
            "clippy",
            cargo()
                .args(["clippy", "--workspace", "--all-targets", "--locked"])
                .args(["--", "-D", "warnings"]),
        ),
        Check::Build => build(),
        Check::Examples => examples(arguments),
        Check::Test => test(arguments),
    }
}

/// The server's binary first: the black-box suites start it.
fn build() -> Result<Outcome> {
    let binaries = step::run(
        "build",
        cargo().args(["build", "--workspace", "--bins", "--locked"]),
    )?;
    if !binaries.passed {
        return Ok(binaries);
    }
    let tests = step::run(
        "build",
        cargo().args(["test", "--workspace", "--no-run", "--locked"]),
    )?;
    Ok(Outcome {
        time: binaries.time + tests.time,
        ..tests
    })
}

/// How a command is judged.
enum Runner {
    /// By how it ends.
    Plain,
    /// Also by its tests: with none that passed it has shown nothing.
    Tests,
}

fn examples(arguments: &Arguments) -> Result<Outcome> {
    let started = Instant::now();
    let mut all = Outcome {
        name: "examples",
        passed: true,
        time: Duration::ZERO,
        counts: Counts::default(),
    };
    if let Err(error) = packages::ensure(!arguments.no_install) {
        eprintln!("error: {error:#}");
        all.passed = false;
        return Ok(all);
    }
    let mut checks = Vec::new();
    for folder in APART {
        let manifest = format!("{folder}/Cargo.toml");
        let mut format = cargo();
        format.args(["fmt", "--check", "--manifest-path", &manifest]);
        let mut test = cargo();
        test.args(["test", "--locked", "--manifest-path", &manifest])
            .env("CARGO_TARGET_DIR", checkout().join("target/guests"));
        checks.push((format, Runner::Plain));
        checks.push((test, Runner::Tests));
    }
    // Built here, so that no test has to share the machine with a compiler; and before the tests of the scripts, which
    // find the SDK where a build puts it.
    let folders = APART.iter().filter(|folder| !folder.starts_with("sdk/"));
    let names = folders.filter_map(|folder| Some(folder.rsplit_once('/')?.1));
    for name in names.chain(JAVASCRIPT).chain(PYTHON) {
        println!("==> examples: pomona plugin build {name}");
        match pomona_tests::guest(name).and_then(|package| fixture_tests(&package)) {
            Ok(tests) => checks.push((tests, Runner::Tests)),
            Err(error) => {
                eprintln!("error: {name}: {error:#}");
                all.passed = false;
            }
        }
    }
    match frozen::packages() {
        Ok(packages) => {
            for package in packages {
                checks.push((fixture_tests(&package)?, Runner::Tests));
            }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            all.passed = false;
        }
    }
    let example = |name: &str| checkout().join("examples").join(name);
    let scripts = JAVASCRIPT.map(|name| javascript_tests(&example(name)));
    checks.extend(scripts.map(|tests| (tests, Runner::Tests)));
    let scripts = PYTHON.map(|name| python_tests(&example(name), "target/pomona/python"));
    checks.extend(scripts.map(|tests| (tests, Runner::Tests)));
    // The SDKs' own.
    let javascript = javascript_tests(&checkout().join("sdk/javascript"));
    let python = python_tests(&checkout().join("sdk/python"), ".");
    checks.extend([(javascript, Runner::Tests), (python, Runner::Tests)]);
    for (mut command, runner) in checks {
        let outcome = match runner {
            Runner::Plain => step::run("examples", &mut command)?,
            Runner::Tests => step::run_tests("examples", &mut command)?,
        };
        all.passed &= outcome.passed;
        all.counts.passed += outcome.counts.passed;
        all.counts.failed += outcome.counts.failed;
        all.counts.ignored += outcome.counts.ignored;
        all.counts.programs += outcome.counts.programs;
    }
    all.time = started.elapsed();
    Ok(all)
}

/// The component of a package against its fixtures; one without any has failed.
fn fixture_tests(package: &Path) -> Result<Command> {
    let mut pomona = Command::new(pomona_tests::pomona_binary()?);
    pomona.args(["plugin", "test"]).arg(package);
    Ok(pomona)
}

fn javascript_tests(folder: &Path) -> Command {
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=tap"])
        .current_dir(folder);
    node
}

/// As `python3 -m unittest`, which writes where nobody counts. The SDK stands at this place in the folder.
fn python_tests(folder: &Path, sdk: &str) -> Command {
    const RUN: &str = "import sys, unittest; unittest.main(module=None, testRunner=unittest.TextTestRunner(stream=sys.stdout))";
    let mut python = Command::new("python3");
    python
        .args(["-c", RUN, "discover"])
        .env("PYTHONPATH", folder.join(sdk))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder);
    python
}

fn test(arguments: &Arguments) -> Result<Outcome> {
    let started = Instant::now();
    let ready = packages::ensure(!arguments.no_install).and_then(|()| {
        println!("==> test: starting a private PostgreSQL");
        PostgresServer::start_temporary()
    });
    let server = match ready {
        Ok(server) => server,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(Outcome {
                name: "test",
                passed: false,
                time: started.elapsed(),
                counts: Counts::default(),
            });
        }
    };
    let mut command = test_command(&arguments.filter);
    command.env("POMONA_TEST_POSTGRES", server.url("postgres"));
    step::run_tests("test", &mut command)
}

fn test_command(filter: &[String]) -> Command {
    let mut command = cargo();
    command.arg("test");
    if !filter
        .iter()
        .any(|word| word == "--package" || word == "-p")
    {
        command.arg("--workspace");
    }
    command.args(["--locked", "--no-fail-fast"]).args(filter);
    command
}

fn summarize(outcomes: &[Outcome], time: Duration) -> bool {
    let mut table = Table::new(["check", "result", "time", "tests"]).right([2]);
    for outcome in outcomes {
        table.row([
            outcome.name.to_owned(),
            if outcome.passed { "ok" } else { "FAILED" }.to_owned(),
            readable(outcome.time),
            told(outcome.counts),
        ]);
    }
    println!("\n{}", table.text());
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| !outcome.passed)
        .map(|outcome| outcome.name)
        .collect();
    if failed.is_empty() {
        println!("all checks passed in {}", readable(time));
    } else {
        println!("FAILED: {} (after {})", failed.join(", "), readable(time));
    }
    failed.is_empty()
}

fn told(counts: Counts) -> String {
    if counts.programs == 0 {
        return String::new();
    }
    format!(
        "{} passed, {} failed, {} ignored in {} programs",
        counts.passed, counts.failed, counts.ignored, counts.programs
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &'static str, passed: bool) -> Outcome {
        Outcome {
            name,
            passed,
            time: Duration::ZERO,
            counts: Counts::default(),
        }
    }

    #[test]
    fn one_failed_check_fails_the_run() {
        assert!(summarize(&[outcome("a", true)], Duration::ZERO));
        assert!(!summarize(
            &[outcome("a", false), outcome("b", true)],
            Duration::ZERO
        ));
    }

    #[test]
    fn every_example_and_every_plugin_of_ours_is_in_a_list() {
        let of_rust = |place: &'static str| {
            let folders = APART.iter();
            folders.filter_map(move |folder| folder.strip_prefix(place)?.strip_prefix('/'))
        };
        let examples = of_rust("examples").chain(JAVASCRIPT).chain(PYTHON);
        for (place, listed) in [
            ("examples", examples.collect::<Vec<_>>()),
            ("plugins", of_rust("plugins").collect()),
        ] {
            let entries = std::fs::read_dir(checkout().join(place)).unwrap();
            let entries = entries.map(Result::unwrap);
            let there: Vec<String> = entries
                .filter(|entry| entry.path().is_dir())
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect();
            assert_eq!(there.len(), listed.len());
            for name in there {
                assert!(listed.contains(&name.as_str()), "{place}/{name}");
            }
        }
    }

    #[test]
    fn a_named_package_is_tested_alone() {
        let words = |filter: &[&str]| {
            let filter: Vec<String> = filter.iter().map(|word| (*word).to_owned()).collect();
            let command = test_command(&filter);
            command
                .get_args()
                .map(|word| word.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        assert!(words(&[]).contains(&"--workspace".to_owned()));
        assert!(!words(&["-p", "xtask"]).contains(&"--workspace".to_owned()));
    }
}
