//! The demo's plugins.
//!
//! Owns: which are built, installed and switched on, with what settings, and what is told of them at the end. A machine
//! that cannot build them still has its demo.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use pomona_tests::{Lab, guest_by};
use serde_json::Value;

use crate::table::Table;

/// An example: the same in Rust where another tool chain cannot be had, and its settings.
struct Example {
    name: &'static str,
    in_rust: &'static str,
    settings: &'static str,
}

/// One for each language.
const PLUGINS: [Example; 3] = [
    Example {
        name: "compliance-hook",
        in_rust: "compliance-hook",
        settings: r#"{"minimum_os": "26.0"}"#,
    },
    Example {
        name: "welcome-javascript",
        in_rust: "welcome",
        settings: "{}",
    },
    Example {
        name: "quiet-hours-python",
        in_rust: "quiet-hours",
        settings: r#"{"windows": [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "00:00"}]}"#,
    },
];

/// What a rule can say of a device.
const VERDICTS: [&str; 4] = ["pass", "fail", "unknown", "not-applicable"];

/// Builds the plugins and switches them on; why not, where that cannot be done.
pub(super) async fn switch_on(lab: &Lab, binary: &Path, dir: &Path) -> Result<()> {
    for Example {
        name,
        in_rust,
        settings,
    } in PLUGINS
    {
        println!("building the plugin {name}");
        let (name, package) = match guest_by(binary, name) {
            Ok(package) => (name, package),
            Err(error) if name != in_rust => {
                println!("{error:#}; {in_rust} does the same in Rust");
                (in_rust, guest_by(binary, in_rust)?)
            }
            Err(error) => return Err(error),
        };
        let id = format!("org.pomona.{name}");
        let file = dir.join(format!("{name}.settings.json"));
        std::fs::write(&file, settings).context("write the settings of a plugin")?;
        verb(
            lab,
            binary,
            &["plugin", "install", &package.to_string_lossy()],
        )
        .await?;
        let file = file.to_string_lossy().into_owned();
        verb(lab, binary, &["plugin", "enable", &id, "--settings", &file]).await?;
    }
    Ok(())
}

async fn verb(lab: &Lab, binary: &Path, arguments: &[&str]) -> Result<()> {
    let (good, said) = lab.verb(binary, arguments).await?;
    if !good {
        bail!("{}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}

/// What each plugin was asked, what that cost, and what the rules say of the fleet.
pub(super) async fn told(lab: &Lab) -> Result<String> {
    let admin = lab.tenant.admin();
    let list = admin.list(&lab.tenant.path("plugins")).await?;
    let findings = admin.list(&lab.tenant.path("findings")).await?;
    Ok(table(&list) + &rules(&findings))
}

/// How many devices pass each rule.
fn rules(findings: &[Value]) -> String {
    let mut counted: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for finding in findings {
        let title = finding["title"].as_str().unwrap_or_default();
        let verdict = finding["verdict"].as_str();
        let place = VERDICTS.iter().position(|word| Some(*word) == verdict);
        if let Some(count) = place.and_then(|n| counted.entry(title).or_default().get_mut(n)) {
            *count += 1;
        }
    }
    if counted.is_empty() {
        return String::new();
    }
    let mut table =
        Table::new(["rule", "pass", "fail", "unknown", "not applicable"]).right([1, 2, 3, 4]);
    for (title, counts) in counted {
        let [pass, fail, unknown, other] = counts.map(|count| count.to_string());
        table.row([title.to_owned(), pass, fail, unknown, other]);
    }
    format!("\n{}", table.text())
}

fn table(plugins: &[Value]) -> String {
    if plugins.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        "plugin",
        "state",
        "calls",
        "failures",
        "a call",
        "99 of 100",
        "memory",
    ])
    .right([2, 3, 4, 5, 6]);
    for plugin in plugins {
        let health = &plugin["health"];
        table.row([
            plugin["title"].as_str().unwrap_or_default().to_owned(),
            health["state"].as_str().unwrap_or("off").to_owned(),
            health["calls"].to_string(),
            health["failures"].to_string(),
            micros(&health["mean_micros"]),
            micros(&health["p99_micros"]),
            format!(
                "{} KiB",
                health["memory_high_bytes"].as_u64().unwrap_or(0) / 1024
            ),
        ]);
    }
    table.text()
}

/// A time, or a dash where nothing was called.
fn micros(time: &Value) -> String {
    time.as_u64()
        .map_or("–".into(), |time| format!("{time} µs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plugin_is_told_with_its_cost() {
        let plugin = json!({
            "title": "Quiet hours",
            "health": {
                "state": "active", "calls": 12, "failures": 0, "mean_micros": 87, "p99_micros": 256,
                "memory_high_bytes": 2_097_152,
            },
        });
        let told = table(&[plugin]);
        assert!(
            told.contains("Quiet hours  active     12         0   87 µs     256 µs  2048 KiB"),
            "{told}"
        );
        let idle = json!({ "title": "Idle", "health": { "state": "active", "calls": 0, "mean_micros": 0, "p99_micros": null } });
        let told = table(&[idle]);
        assert!(told.contains('–') && !told.contains("null µs"), "{told}");
        assert_eq!(table(&[]), "");
        let finding = |verdict: &str| json!({ "title": "A passcode is set", "verdict": verdict });
        let told = rules(&[finding("pass"), finding("pass"), finding("unknown")]);
        assert!(
            told.contains("A passcode is set     2     0        1"),
            "{told}"
        );
        assert_eq!(rules(&[]), "");
    }
}
