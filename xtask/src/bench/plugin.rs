//! What plugins cost: compiling, loading, and calls, with a fresh instance each and with one that has answered before.
//!
//! Owns: which packages are measured. The measuring is done by a program beside the plugin host, which calls plugins through the
//! engine's own hooks.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use pomona_tests::{cargo, guest_by};
use serde_json::Value;

use super::{Figure, Surroundings};
use crate::build;

/// The examples that are measured: house rules in three languages among them, five of them in Rust and three in the others.
const EXAMPLES: [&str; 5] = [
    "quiet-hours",
    "welcome",
    "compliance-hook",
    "compliance-hook-javascript",
    "compliance-hook-python",
];

pub(super) fn figures(_: &Surroundings) -> Result<Vec<Figure>> {
    let server = build::server(true)?;
    let packages: Vec<PathBuf> = EXAMPLES
        .into_iter()
        .map(|name| guest_by(&server, name))
        .collect::<Result<_>>()?;
    let mut figures = measured("call_speed", &packages)?;
    figures.extend(measured("kills", &[])?);
    Ok(figures)
}

/// What a program beside the plugin host tells.
fn measured(program: &str, packages: &[PathBuf]) -> Result<Vec<Figure>> {
    let output = cargo()
        .args(["run", "--quiet", "--release", "--locked"])
        .args(["--package", "pomona-plugin-host", "--example", program])
        .arg("--")
        .args(packages)
        .stderr(Stdio::inherit())
        .output()
        .context("start the measuring program")?;
    if !output.status.success() {
        bail!("the measuring program failed");
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(figure)
        .collect()
}

fn figure(line: &str) -> Result<Figure> {
    let told: Value = serde_json::from_str(line).with_context(|| format!("no figure: {line}"))?;
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let unit = match told["unit"].as_str() {
        Some("µs") => "µs",
        Some("ms") => "ms",
        Some("KiB") => "KiB",
        _ => "1/s",
    };
    Ok(Figure {
        name: text("name"),
        value: told["value"].as_f64().context("a figure without a value")?,
        unit,
        conditions: match text("name").contains("used again") {
            true => format!("{}, an instance that has answered before", text("plugin")),
            false => format!("{}, fresh instance", text("plugin")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_figure() {
        let line = r#"{"plugin":"org.a.b","name":"compliance, median","value":11.5,"unit":"µs"}"#;
        let told = figure(line).unwrap();
        assert_eq!((told.value, told.unit), (11.5, "µs"));
        assert_eq!(told.conditions, "org.a.b, fresh instance");
        let again = figure(&line.replace("compliance", "events, used again")).unwrap();
        assert!(again.conditions.contains("answered before"));
        assert!(figure("nonsense").is_err());
    }
}
