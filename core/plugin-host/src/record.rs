//! What is noted of a plugin's calls for one tenant: how long they took, how much memory they had, what was refused and why
//! calls gave no answer.
//!
//! Owns: the figures and their bounds. What a plugin says is part of some of them, so their number and length are limited here.
//! Decides nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::manifest::HookName;

/// Steps of the latencies: up to 16 µs, and twice as much with each further one; the last has no end.
const STEPS: usize = 24;
const FIRST_STEP: u64 = 16;
/// Different refusals that are told apart.
const MOST_REFUSALS: usize = 32;
/// Characters of a refusal.
const LONGEST_REFUSAL: usize = 160;
/// What stands for the refusals beyond them.
const OTHERS: &str = "others";

/// How long calls took: a count for each step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies([u64; STEPS]);

impl Latencies {
    /// Notes one call.
    pub(crate) fn note(&mut self, taken: Duration) {
        let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        let step = (0..STEPS)
            .find(|step| Self::end(*step).is_none_or(|end| micros <= end))
            .unwrap_or(STEPS - 1);
        if let Some(count) = self.0.get_mut(step) {
            *count += 1;
        }
    }

    /// Where a step ends, in microseconds; the last one does not.
    fn end(step: usize) -> Option<u64> {
        (step < STEPS - 1).then(|| FIRST_STEP << step)
    }

    /// The steps that have calls: the end of each in microseconds, and their number.
    pub fn steps(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let counted = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(step, count)| (Self::end(step), *count))
    }

    /// The end, in microseconds, of the step in which the call stands that so many thousandths of all calls are not slower
    /// than; nothing without calls, and in the step without an end.
    #[must_use]
    pub fn within(&self, thousandths: u64) -> Option<u64> {
        let all: u64 = self.0.iter().sum();
        let wanted = (all * thousandths).div_ceil(1_000).max(1);
        let mut so_far = 0;
        let step = self.0.iter().position(|count| {
            so_far += count;
            so_far >= wanted
        })?;
        Self::end(step)
    }
}

/// How a plugin has done for a tenant.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Calls that were made.
    pub calls: u64,
    /// Calls without an answer.
    pub failures: u64,
    /// The same by what ended them, such as `time`, `memory` or `trap`, or by what the plugin said itself: `retryable`, `permanent`
    /// or `misconfigured`.
    pub failed_by: BTreeMap<&'static str, u64>,
    /// The last failure.
    pub last_failure: Option<String>,
    /// Microseconds that calls took, together.
    pub micros: u64,
    /// How long they took.
    pub latencies: Latencies,
    /// The most memory that a call had, in bytes.
    pub memory_high: u64,
    /// What was refused for want of a right, and how often.
    pub refusals: BTreeMap<String, u64>,
    /// Whether the breaker is open.
    pub held_back: bool,
}

impl Figures {
    /// Notes a call without an answer.
    pub(crate) fn failed(&mut self, hook: HookName, kind: &'static str, why: &str) {
        self.failures += 1;
        *self.failed_by.entry(kind).or_default() += 1;
        self.last_failure = Some(format!("{}: {why}", hook.as_str()));
    }
}

/// What is noted while a call is under way.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    memory: AtomicU64,
    refusals: Mutex<BTreeMap<String, u64>>,
}

impl Seen {
    /// Notes how much memory a call had.
    pub(crate) fn memory(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.memory.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Notes a refusal.
    pub(crate) fn refused(&self, why: &str) {
        let mut refusals = self.refusals.lock();
        let why: String = why.chars().take(LONGEST_REFUSAL).collect();
        if let Some(count) = refusals.get_mut(&why) {
            *count += 1;
            return;
        }
        let name = match refusals.len() < MOST_REFUSALS {
            true => why,
            false => OTHERS.into(),
        };
        *refusals.entry(name).or_default() += 1;
    }

    /// Puts what was noted into the figures.
    pub(crate) fn put_into(&self, figures: &mut Figures) {
        figures.memory_high = self.memory.load(Ordering::Relaxed);
        figures.refusals = self.refusals.lock().clone();
    }
}

/// The operator's metrics of a plugin's hook. They are looked up once: each look makes texts of the labels.
pub(crate) struct Instruments {
    pub(crate) seconds: metrics::Histogram,
    pub(crate) failures: metrics::Counter,
}

impl Instruments {
    pub(crate) fn of(plugin: &str, hook: HookName) -> Self {
        let labels = [
            ("plugin", plugin.to_owned()),
            ("hook", hook.as_str().to_owned()),
        ];
        Self {
            seconds: metrics::histogram!("pomona_plugin_call_seconds", &labels),
            failures: metrics::counter!("pomona_plugin_failures_total", &labels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_stands_in_its_step() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.within(500), None);
        for micros in [1, 16, 17, 1_000, 3_600_000_000] {
            latencies.note(Duration::from_micros(micros));
        }
        let steps: Vec<_> = latencies.steps().collect();
        let expected = [(Some(16), 2), (Some(32), 1), (Some(1_024), 1), (None, 1)];
        assert_eq!(steps, expected);
        assert_eq!(latencies.within(0), Some(16));
        assert_eq!(latencies.within(400), Some(16));
        assert_eq!(latencies.within(401), Some(32));
        assert_eq!(latencies.within(800), Some(1_024));
        assert_eq!(latencies.within(990), None);
    }

    #[test]
    fn what_a_guest_makes_up_does_not_fill_the_memory() {
        let seen = Seen::default();
        for n in 0..1_000 {
            seen.refused(&format!("fact:{n} {}", "x".repeat(10_000)));
        }
        seen.refused(&format!("fact:0 {}", "x".repeat(10_000)));
        let mut figures = Figures::default();
        seen.put_into(&mut figures);
        assert_eq!(figures.refusals.len(), MOST_REFUSALS + 1);
        assert_eq!(figures.refusals.values().sum::<u64>(), 1_001);
        assert_eq!(figures.refusals.get(OTHERS), Some(&968));
        let longest = figures.refusals.keys().map(String::len).max();
        assert_eq!(longest, Some(LONGEST_REFUSAL));
    }
}
