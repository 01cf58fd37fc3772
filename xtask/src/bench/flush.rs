//! How long the disk takes to make 8 KiB durable: the floor under every commit.
//!
//! Owns one loop: write 8 KiB into a file of fixed size, as a database does with its log, and `fdatasync`.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::Figure;

const BLOCK_BYTES: usize = 8 * 1024;
const FILE_BLOCKS: u64 = 2048;
const FLUSHES: u64 = 1000;

/// The median and the 99th percentile of the flush on the disk of `dir`.
pub(super) fn figures(dir: &Path) -> Result<Vec<Figure>> {
    let path = dir.join(format!("pomona-flush-{}", std::process::id()));
    let measured = measure(&path);
    let _ = fs::remove_file(&path);
    let mut times = measured.with_context(|| format!("measure flushes in {}", dir.display()))?;
    times.sort_unstable();
    let figure = |name: &str, share: f64| Figure {
        name: name.to_owned(),
        value: at(&times, share).as_secs_f64() * 1000.0,
        unit: "ms",
        conditions: format!("8 KiB fdatasync, {} times", times.len()),
    };
    Ok(vec![figure("flush p50", 0.5), figure("flush p99", 0.99)])
}

fn measure(path: &Path) -> std::io::Result<Vec<Duration>> {
    let block = [0x5a_u8; BLOCK_BYTES];
    let file = File::create_new(path)?;
    for number in 0..FILE_BLOCKS {
        file.write_all_at(&block, number * BLOCK_BYTES as u64)?;
    }
    file.sync_all()?;
    (0..FLUSHES)
        .map(|number| {
            let started = Instant::now();
            file.write_all_at(&block, number * BLOCK_BYTES as u64)?;
            file.sync_data()?;
            Ok(started.elapsed())
        })
        .collect()
}

/// The value below which `share` of the sorted `times` lie.
pub(super) fn at(times: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a position in a slice of a few thousand"
    )]
    let position = (share * times.len() as f64) as usize;
    times
        .get(position.min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_positions_in_the_sorted_times() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(at(&times, 0.5), Duration::from_millis(51));
        assert_eq!(at(&times, 0.99), Duration::from_millis(100));
        assert_eq!(at(&[], 0.5), Duration::ZERO);
    }
}
