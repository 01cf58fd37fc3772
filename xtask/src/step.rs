//! One program run as a step: announced, its output passed through, its time and its test counts taken.
//!
//! Owns how a step is run and told. It never decides which steps there are.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
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
    /// Whether tests have passed, and none has failed.
    const fn good(self) -> bool {
        self.passed > 0 && self.failed == 0
    }

    /// Reads a line of cargo's test programs, of Node's (TAP), of Python's unittest or of `pomona plugin test`.
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
        } else if let Some((passed, all)) = fixtures(line) {
            self.programs += 1;
            self.passed += passed;
            self.failed += all.saturating_sub(passed);
        } else if let Some(number) = number(line, "# pass ", "") {
            self.programs += 1;
            self.passed += number;
        } else if let Some(number) = number(line, "# fail ", "") {
            self.failed += number;
        } else if let Some(number) = number(line, "# skipped ", "") {
            self.ignored += number;
        } else if let Some(number) = number(line, "Ran ", " test") {
            self.programs += 1;
            self.passed += number;
        } else if let Some(parts) = ["OK (", "FAILED (", "NO TESTS RAN ("]
            .iter()
            .find_map(|word| line.strip_prefix(word))
        {
            // Those that did not pass are among those that ran.
            for part in parts.split([',', ')']) {
                let Some((what, Ok(number))) = part
                    .split_once('=')
                    .map(|(what, number)| (what.trim(), number.parse::<u64>()))
                else {
                    continue;
                };
                match what {
                    "failures" | "errors" | "unexpected successes" => self.failed += number,
                    "skipped" => self.ignored += number,
                    _ => continue,
                }
                self.passed = self.passed.saturating_sub(number);
            }
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

/// How many fixtures of how many passed.
fn fixtures(line: &str) -> Option<(u64, u64)> {
    let (passed, all) = line.strip_suffix(" fixtures passed")?.split_once(" of ")?;
    Some((passed.parse().ok()?, all.parse().ok()?))
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
    let counts = pass_on(&mut child, &mut std::io::stdout())?;
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

/// As [`run`], for a step whose tests have to show something: it has failed unless one of them passed.
///
/// # Errors
/// As those of [`run`].
pub(crate) fn run_tests(name: &'static str, command: &mut Command) -> Result<Outcome> {
    let mut outcome = run(name, command)?;
    if outcome.counts.passed == 0 {
        eprintln!("error: no test has passed in {}", shown(command));
    }
    outcome.passed &= outcome.counts.good();
    Ok(outcome)
}

/// Writes to `to` what the program prints, until it prints no more, and counts its tests.
///
/// # Errors
/// The output cannot be read or written, such as to a broken pipe; the program has been ended then.
fn pass_on(child: &mut Child, to: &mut impl Write) -> Result<Counts> {
    let mut counts = Counts::default();
    let Some(output) = child.stdout.take() else {
        return Ok(counts);
    };
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    let mut pass = || -> Result<()> {
        while lines.read_until(b'\n', &mut line).context("read output")? > 0 {
            to.write_all(&line).context("write output")?;
            counts.add_line(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(())
    };
    if let Err(error) = pass() {
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok(counts)
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
            "ok   first\n",
            "2 of 3 fixtures passed\n",
        ] {
            counts.add_line(line);
        }
        let expected = Counts {
            programs: 3,
            passed: 6,
            failed: 5,
            ignored: 0,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn what_is_skipped_has_not_passed() {
        let counted = |lines: &[&str]| {
            let mut counts = Counts::default();
            for line in lines {
                counts.add_line(line);
            }
            (counts.passed, counts.failed, counts.ignored)
        };
        for (lines, expected) in [
            (["Ran 5 tests in 0.014s", "OK"], (5, 0, 0)),
            (["Ran 5 tests in 0.014s", "OK (skipped=2)"], (3, 0, 2)),
            (
                [
                    "Ran 5 tests in 0.014s",
                    "OK (skipped=1, expected failures=1)",
                ],
                (4, 0, 1),
            ),
            (
                [
                    "Ran 5 tests in 0.014s",
                    "FAILED (failures=1, skipped=1, unexpected successes=1)",
                ],
                (2, 2, 1),
            ),
            // All of a module, which is told as one and has not run.
            (["Ran 0 tests in 0.000s", "OK (skipped=1)"], (0, 0, 1)),
            (
                ["Ran 0 tests in 0.000s", "NO TESTS RAN (skipped=1)"],
                (0, 0, 1),
            ),
            (["# pass 3", "# skipped 2"], (3, 0, 2)),
        ] {
            assert_eq!(counted(&lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn tests_that_vanished_are_no_success() {
        // Nothing is printed here as a runner prints it: whoever runs this test counts, too.
        let good = |lines: &[&str]| {
            let mut counts = Counts::default();
            for line in lines {
                counts.add_line(line);
            }
            counts.good()
        };
        assert!(good(&["# pass 1"]));
        assert!(!good(&["# pass 0"]));
        assert!(!good(&["# pass 1", "# fail 1"]));
        assert!(!good(&["0 of 1 fixtures passed"]));
        assert!(good(&["Ran 1 test in 0.000s", "OK"]));
        assert!(!good(&["Ran 0 tests in 0.000s", "OK"]));
        assert!(!good(&["Ran 1 test in 0.000s", "OK (skipped=1)"]));
        let outcome = run_tests("tests", &mut Command::new("true")).unwrap();
        assert!(!outcome.passed);
    }

    #[test]
    fn a_program_whose_output_nobody_takes_is_ended() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        // It would go on for ever.
        let mut child = Command::new("sh")
            .args(["-c", "echo a line; while :; do sleep 1; done"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = pass_on(&mut child, &mut Broken).unwrap_err();
        assert_eq!(told.to_string(), "write output");
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_program_that_ends_badly_is_an_outcome() {
        let outcome = run("no", &mut Command::new("false")).unwrap();
        assert!(!outcome.passed);
    }
}
