//! The processor time of a process, as the kernel counts it.
//!
//! Owns a reading of `/proc`. A process and its waited-for children count together, and with [`ProcessorTime::of_tree`]
//! all living descendants too: a database works in many processes.

use std::{fs, time::Duration};

/// The kernel's clock ticks in a second, in this interface, on all its systems.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessorTime {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl ProcessorTime {
    /// Both together.
    #[must_use]
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// What came on top of `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }

    /// The time of a process and of all its living descendants.
    #[must_use]
    pub fn of_tree(process: u32) -> Self {
        let children = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|id| stat(*id).is_some_and(|stat| stat.parent == process));
        children
            .map(Self::of_tree)
            .fold(processor_time(process), |sum, child| Self {
                user: sum.user + child.user,
                system: sum.system + child.system,
            })
    }
}

/// The time that all processes of this machine have used since it started; zero where the kernel does not tell.
#[must_use]
pub fn machine_time() -> ProcessorTime {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    machine(&text).unwrap_or_default()
}

/// The first line sums up all processors: user, nice, system, idle, iowait, irq, softirq, steal.
fn machine(text: &str) -> Option<ProcessorTime> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    let ticks = |indices: &[usize]| {
        let count: u64 = indices.iter().filter_map(|index| fields.get(*index)).sum();
        Duration::from_millis(count * 1000 / TICKS_PER_SECOND)
    };
    Some(ProcessorTime {
        user: ticks(&[0, 1]),
        system: ticks(&[2, 5, 6, 7]),
    })
}

/// The time that a process and its ended children have used; zero for a process that is gone.
#[must_use]
pub fn processor_time(process: u32) -> ProcessorTime {
    stat(process).map(|stat| stat.time).unwrap_or_default()
}

struct Stat {
    parent: u32,
    time: ProcessorTime,
}

fn stat(process: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    parse(&text)
}

/// The name in parentheses may hold spaces and parentheses; what we read follows the last one.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let ticks = |count: u64| Duration::from_millis(count * 1000 / TICKS_PER_SECOND);
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        time: ProcessorTime {
            user: ticks(number(11)? + number(13)?),
            system: ticks(number(12)? + number(14)?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_after_an_odd_name_are_found() {
        let text = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 150 20 10 5 20 0 1 0 9 9 9";
        let stat = parse(text).unwrap();
        assert_eq!(stat.parent, 7);
        assert_eq!(stat.time.user, Duration::from_millis(1600));
        assert_eq!(stat.time.system, Duration::from_millis(250));
    }

    #[test]
    fn idle_time_is_no_work_of_the_machine() {
        let time = machine("cpu  100 20 30 9999 8888 1 2 3 0 0\ncpu0 1 1 1\n").unwrap();
        assert_eq!(time.user, Duration::from_millis(1200));
        assert_eq!(time.system, Duration::from_millis(360));
    }

    #[test]
    fn a_process_that_is_gone_has_no_time() {
        assert_eq!(processor_time(u32::MAX), ProcessorTime::default());
    }
}
