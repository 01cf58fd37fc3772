//! Developer tasks, started as `cargo xtask <task>`.
//!
//! Owns what a person or the build machine does with this checkout: test it, measure it, fuzz it, see it run.
//! It never holds a rule of the protocol; it starts programs and reads what they say.

mod bench;
mod build;
mod catalogue;
mod demo;
mod frozen;
mod fuzz;
mod kill;
mod packages;
mod step;
mod table;
mod test;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Pomona's developer tasks"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the server, enroll a simulated fleet, send it commands, and compare the records at the end.
    Demo(demo::Arguments),
    /// Set up what the tests need and run every check: format, clippy, build, tests.
    Test(test::Arguments),
    /// Kill the server again and again under load, on both back ends, and check the books.
    KillLoop(kill::Arguments),
    /// Measure; every figure is printed beside the flush latency of the disk.
    Bench(bench::Arguments),
    /// Run a fuzz target, or list them.
    Fuzz(fuzz::Arguments),
    /// Make the catalogue of what Apple allows from the facts beside it, or take facts out of a new schema.
    Catalogue(catalogue::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the task reached what it is for; what went wrong has been printed.
fn run(task: Task) -> Result<bool> {
    match task {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::KillLoop(arguments) => kill::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Catalogue(arguments) => catalogue::run(&arguments),
    }
}

/// A length of time as people read it: `0.4 s`, `12.3 s`, `3 min 2 s`.
fn readable(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!(readable(Duration::from_millis(420)), "0.4 s");
        assert_eq!(readable(Duration::from_secs(182)), "3 min 2 s");
    }
}
