//! `pomona plugin bench`: what calls cost, against what they may have.
//!
//! Owns: the measuring and its table. Every call has a fresh instance, as on a server without the right `reuse`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{open, play};
use crate::client::{Column, Output};

/// From here on, in percent of a budget, a busy machine may be too slow.
const MUCH: u128 = 70;

const COLUMNS: &[Column] = &[
    Column("FIXTURE", "fixture"),
    Column("MEDIAN µs", "median_us"),
    Column("99 % µs", "p99_us"),
    Column("CPU µs", "cpu_us"),
    Column("INSTRUCTIONS", "instructions"),
    Column("MEMORY KiB", "memory_kib"),
    Column("HOST CALLS", "host_calls"),
    Column("% TIME", "percent/wall"),
    Column("% CPU", "percent/cpu"),
    Column("% INSTRUCTIONS", "percent/instructions"),
    Column("% MEMORY", "percent/memory"),
];

/// `pomona plugin bench`
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// The folder of a plugin, which is built, or a package.
    #[arg(default_value = ".")]
    plugin: PathBuf,
    /// This fixture alone: the file's name without its ending.
    #[arg(long)]
    only: Option<String>,
    /// Calls of each fixture.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    calls: u32,
}

/// Measures the fixtures.
pub(super) async fn bench(asked: &Bench, out: &Output) -> anyhow::Result<()> {
    let opened = open(&asked.plugin).await?;
    let plugin = &opened.plugin;
    let mut rows = Vec::new();
    for (_, fixture) in opened.fixtures(asked.only.as_deref())? {
        let budget = plugin.budget_of(&fixture.question().0);
        let (mut wall, mut cpu) = (Vec::new(), Vec::new());
        let (mut fuel, mut memory, mut host_calls) = (None, 0, 0);
        for _ in 0..asked.calls {
            let played = play::play(plugin, &fixture, 1)
                .await
                .map_err(|error| anyhow::anyhow!("{}: {error}", fixture.file))?;
            play::answered(&played.called).map_err(|error| error.context(fixture.file.clone()))?;
            let cost = played.called.cost;
            wall.push(cost.wall);
            cpu.push(cost.cpu);
            fuel = fuel.max(cost.fuel);
            memory = memory.max(cost.memory);
            host_calls = host_calls.max(cost.host_calls);
        }
        let [median, p99] = [50, 99].map(|percent| share(&mut wall, percent));
        let (middle, most) = (share(&mut cpu, 50), share(&mut cpu, 99));
        let fuel_share = fuel
            .zip(budget.fuel)
            .map(|(used, all)| percent(u128::from(used), u128::from(all)));
        let shares = json!({
            "wall": percent(p99.as_micros(), budget.wall.as_micros()),
            "cpu": percent(most.as_micros(), budget.cpu.as_micros()),
            "instructions": fuel_share,
            "memory": percent(memory as u128, plugin.memory_limit() as u128),
        });
        rows.push(json!({
            "fixture": fixture.name,
            "calls": asked.calls,
            "median_us": micros(median),
            "p99_us": micros(p99),
            "cpu_us": micros(middle),
            "instructions": fuel,
            "memory_kib": memory >> 10,
            "host_calls": host_calls,
            "percent": shares,
        }));
    }
    out.list(&rows, COLUMNS)?;
    for row in &rows {
        if let Some((what, percent)) = tight(&row["percent"]) {
            eprintln!(
                "warning: {} uses {percent} % of its {what}; a busy server may end it. Do less in this hook, or leave work to events or jobs",
                row["fixture"].as_str().unwrap_or_default()
            );
        }
    }
    Ok(())
}

/// What a call has the least left of, if that is little.
fn tight(percent: &Value) -> Option<(&'static str, u64)> {
    [
        ("wall", "time"),
        ("cpu", "processor time"),
        ("instructions", "instructions"),
        ("memory", "memory"),
    ]
    .into_iter()
    .filter_map(|(member, word)| Some((word, percent.get(member)?.as_u64()?)))
    .filter(|(_, percent)| u128::from(*percent) >= MUCH)
    .max_by_key(|(_, percent)| *percent)
}

/// The time within which so many percent of the calls are.
fn share(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let last = (times.len() * percent).div_ceil(100).max(1) - 1;
    times.get(last).copied().unwrap_or_default()
}

/// In whole percent, rounded up, so that nothing is 0 that is used.
fn percent(used: u128, all: u128) -> u64 {
    let percent = used.saturating_mul(100).div_ceil(all.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_calls_and_of_the_budget() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_micros).collect();
        assert_eq!(share(&mut times, 50), Duration::from_micros(100));
        assert_eq!(share(&mut times, 99), Duration::from_micros(198));
        assert_eq!(share(&mut times[..1], 99), Duration::from_micros(1));
        assert_eq!(percent(1, 1_000), 1);
        assert_eq!(percent(700, 1_000), 70);
        assert_eq!(percent(5, 0), 500);
    }

    #[test]
    fn little_room_is_told() {
        let row =
            |wall, memory| json!({"wall": wall, "cpu": 1, "instructions": null, "memory": memory});
        assert_eq!(tight(&row(69, 3)), None);
        assert_eq!(tight(&row(70, 3)), Some(("time", 70)));
        assert_eq!(tight(&row(70, 99)), Some(("memory", 99)));
    }
}
