//! `cargo xtask bench`: figures with their conditions.
//!
//! Owns the register of benches and how a figure is told: a table for people and a JSON file for comparisons. Each
//! report carries the flush latency of the disk it was taken on, since a figure of a store means nothing without.

mod flush;
mod machine;
mod plugin;
mod profiles;
mod queue;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use pomona_tests::cargo;
use serde_json::{Value, json};

use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The bench to run; `list` names them all.
    name: String,
    /// Also write the report to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The folder whose disk is measured and holds the databases.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What was set up and how much was asked, in words.
    pub(crate) conditions: String,
}

/// What a bench is given.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// A folder for databases, on the disk whose flush latency the report carries.
    pub(crate) dir: PathBuf,
}

struct Bench {
    name: &'static str,
    measures: &'static str,
    /// Whether this program must be optimised too, because it makes the load.
    makes_load: bool,
    run: fn(&Surroundings) -> Result<Vec<Figure>>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "flush",
        measures: "fdatasync of 8 KiB on the disk of --dir",
        makes_load: false,
        // Every report begins with the flush.
        run: |_| Ok(Vec::new()),
    },
    Bench {
        name: "queue",
        measures: "round trips of commands: five cases on both back ends",
        makes_load: true,
        run: |surroundings| queue::figures(surroundings, queue::Cases::Plain),
    },
    Bench {
        name: "queue-plugins",
        measures: "the same with five plugins that judge every command, with five that never end, and without",
        makes_load: true,
        run: |surroundings| queue::figures(surroundings, queue::Cases::Plugins),
    },
    Bench {
        name: "profiles",
        measures: "one profile for 10,000 simulated devices: assigned, verified, repaired where it is lost",
        makes_load: true,
        run: profiles::figures,
    },
    Bench {
        name: "plugin",
        measures: "compiling, loading and calling plugins through the engine's hooks",
        makes_load: false,
        run: plugin::figures,
    },
];

/// Runs one bench and tells its figures.
///
/// # Errors
/// There is no such bench, it could not run, or the report cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.name == "list" {
        let mut table = Table::new(["bench", "measures"]);
        for bench in BENCHES {
            table.row([bench.name.to_owned(), bench.measures.to_owned()]);
        }
        print!("{}", table.text());
        return Ok(true);
    }
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == arguments.name) else {
        bail!(
            "no bench named {}; `cargo xtask bench list`",
            arguments.name
        );
    };
    if bench.makes_load && cfg!(debug_assertions) {
        return optimised(arguments);
    }
    let surroundings = Surroundings {
        dir: arguments.dir.clone(),
    };
    let mut figures = flush::figures(&surroundings.dir)?;
    figures.extend((bench.run)(&surroundings)?);
    print!("{}", table(&figures));
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report(bench.name, &figures))?;
        fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
    }
    Ok(true)
}

/// The same call by an optimised build of this program.
fn optimised(arguments: &Arguments) -> Result<bool> {
    let mut command = cargo();
    command
        .args([
            "run",
            "--quiet",
            "--release",
            "--locked",
            "--package",
            "xtask",
            "--",
        ])
        .args(["bench", &arguments.name, "--dir"])
        .arg(&arguments.dir);
    if let Some(path) = &arguments.json {
        let path = std::path::absolute(path).context("the report's path")?;
        command.arg("--json").arg(path);
    }
    let status = command.status().context("start the optimised build")?;
    Ok(status.success())
}

fn table(figures: &[Figure]) -> String {
    let mut table = Table::new(["figure", "value", "unit", "conditions"]).right([1]);
    for figure in figures {
        table.row([
            figure.name.clone(),
            shown(figure.value),
            figure.unit.to_owned(),
            figure.conditions.clone(),
        ]);
    }
    table.text()
}

/// Three digits that count, and no more.
fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn report(name: &str, figures: &[Figure]) -> Value {
    let rows: Vec<Value> = figures
        .iter()
        .map(|figure| {
            json!({
                "name": figure.name,
                "value": figure.value,
                "unit": figure.unit,
                "conditions": figure.conditions,
            })
        })
        .collect();
    json!({
        "bench": name,
        "processors": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "figures": rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_carries_every_figure_with_its_conditions() {
        let figures = [Figure {
            name: "round trips".into(),
            value: 9500.5,
            unit: "1/s",
            conditions: "64 connections".into(),
        }];
        let told = report("queue", &figures);
        assert_eq!(told["bench"], "queue");
        assert_eq!(told["figures"][0]["value"], 9500.5);
        assert_eq!(told["figures"][0]["conditions"], "64 connections");
        assert!(table(&figures).contains("9500"));
    }

    #[test]
    fn values_keep_the_digits_that_count() {
        let cases = [
            (9500.4, "9500"),
            (12.34, "12.3"),
            (3.456, "3.46"),
            (0.0912, "0.091"),
        ];
        for (value, expected) in cases {
            assert_eq!(shown(value), expected);
        }
    }
}
