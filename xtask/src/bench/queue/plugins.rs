//! The queue with plugins on every command: five that answer, and five that never end. The latter are held back after their first
//! calls, as on any server; a few calls are let through every half minute.
//!
//! Owns: those plugins, which are the example `quiet-hours` asked about the commands of the load. The same plugins are suspended and
//! let go on turn about, so that the machine is the same for both.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use pomona_tests::guest_variant_by;
use serde_json::json;

use super::{Bench, Figure, PLAIN, RUNS, middle};

/// How many.
const PLUGINS: usize = 5;
const ID: &str = "org.pomona.quiet-hours";

/// One of the plugins, as the example with other wishes; one that never ends where that is wanted.
fn package(binary: &Path, number: usize, endless: bool) -> Result<PathBuf> {
    let id = format!("id = \"{ID}\"");
    let own = format!("id = \"org.example.hours-{number}\"");
    let mut changes = vec![
        ("plugin.toml", id.as_str(), own.as_str()),
        (
            "plugin.toml",
            "request-types = [\"RestartDevice\", \"ShutDownDevice\", \"ScheduleOSUpdate\", \"EraseDevice\"]",
            "request-types = [\"DeviceInformation\"]",
        ),
    ];
    if endless {
        changes.push(("plugin.toml", "version = \"0.1.0\"", "version = \"0.2.0\""));
        changes.push((
            "src/lib.rs",
            "        judge(&host::settings()?, context.now_ms, device)",
            "        let _ = judge(&host::settings()?, context.now_ms, device);\n        loop {\n            std::hint::spin_loop();\n        }",
        ));
    }
    let kind = if endless { "endless" } else { "busy" };
    guest_variant_by(
        binary,
        "quiet-hours",
        &format!("{kind}-hours-{number}"),
        &changes,
    )
}

/// Round trips without plugins, with five, and with five that never end.
pub(super) async fn figures(binary: &Path, bench: &mut Bench) -> Result<Vec<Figure>> {
    let name = bench.database.back_end().name();
    println!("{name}: {PLUGINS} plugins on every command, suspended and not, turn about");
    bench.lab.stop().await?;
    bench.lab.set("--plugins-allow-unsigned", "true");
    bench.lab.start().await?;
    for number in 0..PLUGINS {
        install(binary, bench, number, false).await?;
    }
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        verb(binary, bench, &["plugin", "suspend", "--all"]).await?;
        without.push(bench.run(&PLAIN).await?);
        verb(binary, bench, &["plugin", "resume", "--all"]).await?;
        with.push(bench.run(&PLAIN).await?);
    }
    let mut figures = bench.tell("plugins suspended", &middle(without));
    figures.extend(bench.tell("five plugins", &middle(with)));
    for number in 0..PLUGINS {
        install(binary, bench, number, true).await?;
    }
    let mut hostile = Vec::new();
    for _ in 0..RUNS {
        hostile.push(bench.run(&PLAIN).await?);
    }
    figures.extend(bench.tell("five plugins that never end", &middle(hostile)));
    Ok(figures)
}

async fn install(binary: &Path, bench: &Bench, number: usize, endless: bool) -> Result<()> {
    let package = package(binary, number, endless)?.display().to_string();
    verb(binary, bench, &["plugin", "install", &package]).await?;
    let day = json!({ "windows": [{ "from": "00:00", "to": "12:00" }, { "from": "12:00", "to": "00:00" }] });
    let path = bench
        .lab
        .tenant
        .path(&format!("plugins/org.example.hours-{number}"));
    let switch = json!({ "settings": day });
    bench.lab.tenant.admin().put(&path, &switch).await.map(drop)
}

async fn verb(binary: &Path, bench: &Bench, arguments: &[&str]) -> Result<()> {
    let (good, said) = bench.lab.verb(binary, arguments).await?;
    ensure!(good, "{}: {said}", arguments.join(" "));
    Ok(())
}
