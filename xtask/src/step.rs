//! One program run as a step: announced, its output passed through, its time and its test counts taken.
//!
//! Owns how a step is run and told. It never decides which steps there are.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// How a step ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) passed: bool,
    pub(crate) time: Duration,
    /// What the test programs counted, when the step ran any.
    pub(crate) counts: Counts,
}

/// What the `test result:` lines of a run add up to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) programs: u64,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Counts {
    /// Reads a line of cargo's test programs, of Node's (TAP) or of Python's unittest.
    fn add_line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(numbers) = line.strip_prefix("test result: ") {
            self.programs += 1;
            let numbers = numbers.split_once(". ").map_or("", |(_, rest)| rest);
            for part in numbers.split("; ") {
                let mut words = part.split(' ');
                let (Some(Ok(number)), Some(what)) =
                    (words.next().map(str::parse::<u64>), words.next())
                else {
                    continue;
                };
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" => self.ignored += number,
                    _ => {}
                }
            }
        } else if let Some(number) = number(line, "# pass ", "") {
            self.programs += 1;
            self.passed += number;
        } else if let Some(number) = number(line, "# fail ", "") {
            self.failed += number;
        } else if let Some(number) = number(line, "Ran ", " test") {
            self.programs += 1;
            self.passed += number;
        } else if let Some(bad) = line.strip_prefix("FAILED (") {
            let bad: u64 = bad
                .split([',', ')'])
                .filter_map(|part| part.split_once('='))
                .filter(|(what, _)| matches!(what.trim(), "failures" | "errors"))
                .filter_map(|(_, number)| number.parse::<u64>().ok())
                .sum();
            self.passed = self.passed.saturating_sub(bad);
            self.failed += bad;
        }
    }
}

/// The number between two texts at the beginning of a line.
fn number(line: &str, before: &str, after: &str) -> Option<u64> {
    let rest = line.strip_prefix(before)?;
    let end = if after.is_empty() {
        rest.len()
    } else {
        rest.find(after)?
    };
    rest.get(..end)?.parse().ok()
}

/// Runs `command` as the step `name`: prints what it runs, passes its output on, and counts its tests.
///
/// # Errors
/// The program cannot be started or waited for. A program that ends badly is an [`Outcome`], no error.
pub(crate) fn run(name: &'static str, command: &mut Command) -> Result<Outcome> {
    println!("==> {name}: {}", shown(command));
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start step {name}"))?;
    let mut counts = Counts::default();
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
            std::io::stdout().write_all(&line).context("write output")?;
            counts.add_line(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    let status = child
        .wait()
        .with_context(|| format!("wait for step {name}"))?;
    Ok(Outcome {
        name,
        passed: status.success(),
        time: started.elapsed(),
        counts,
    })
}

fn shown(command: &Command) -> String {
    let mut words: Vec<OsString> = vec![
        command
            .get_program()
            .to_string_lossy()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .into(),
    ];
    words.extend(command.get_args().map(ToOwned::to_owned));
    words
        .iter()
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_over_the_programs_of_a_run() {
        let mut counts = Counts::default();
        for line in [
            "running 2 tests\n",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.10s\n",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n",
        ] {
            counts.add_line(line);
        }
        let expected = Counts {
            programs: 2,
            passed: 15,
            failed: 2,
            ignored: 1,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn other_runners_are_counted_too() {
        let mut counts = Counts::default();
        for line in [
            "# tests 3\n",
            "# pass 2\n",
            "# fail 1\n",
            "Ran 5 tests in 0.014s\n",
            "FAILED (failures=1, errors=2)\n",
        ] {
            counts.add_line(line);
        }
        let expected = Counts {
            programs: 2,
            passed: 4,
            failed: 4,
            ignored: 0,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_program_that_ends_badly_is_an_outcome() {
        let outcome = run("no", &mut Command::new("false")).unwrap();
        assert!(!outcome.passed);
    }
}
