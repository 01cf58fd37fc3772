//! Latencies in logarithmic buckets.
//!
//! Owns a fixed table of counts: sixteen buckets for every doubling, so that a quantile is
//! accurate to 6 %. Never allocates while recording.

use std::time::Duration;

/// Sixteen buckets for each power of two of microseconds.
const SUB_BITS: u32 = 4;
const BUCKETS: usize = (64 - SUB_BITS as usize) << SUB_BITS;

pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            max_us: 0,
        }
    }
}

impl Histogram {
    pub(super) fn record(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(us)) {
            *count = count.saturating_add(1);
        }
        self.total = self.total.saturating_add(1);
        self.max_us = self.max_us.max(us);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (to, from) in self.counts.iter_mut().zip(&other.counts) {
            *to = to.saturating_add(*from);
        }
        self.total = self.total.saturating_add(other.total);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// The time that this share of the requests did not exceed, in milliseconds.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is accurate enough as a double, and lies between 0 and the total"
    )]
    pub(super) fn quantile_ms(&self, share: f64) -> f64 {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0_u64;
        for (index, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if *count > 0 && seen >= rank {
                return upper(index).min(self.max_us) as f64 / 1_000.0;
            }
        }
        0.0
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of a request fit a double"
    )]
    pub(super) fn max_ms(&self) -> f64 {
        self.max_us as f64 / 1_000.0
    }
}

fn bucket(us: u64) -> usize {
    let value = us.max(1);
    let exponent = 63 - value.leading_zeros();
    let index = if exponent < SUB_BITS {
        value
    } else {
        let shift = exponent - SUB_BITS;
        (u64::from(shift) << SUB_BITS) + (value >> shift)
    };
    usize::try_from(index).unwrap_or(BUCKETS)
}

/// The largest value in a bucket.
fn upper(index: usize) -> u64 {
    let index = index as u64;
    let size = 1_u64 << SUB_BITS;
    if index < 2 * size {
        return index;
    }
    let shift = (index >> SUB_BITS) - 1;
    let base = index - (shift << SUB_BITS);
    ((base + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_within_six_percent() {
        let mut us = 1_u64;
        while us < 1 << 40 {
            let index = bucket(us);
            assert!(upper(index) >= us, "{us} in {index}");
            assert!(index == 0 || upper(index - 1) < us, "{us} in {index}");
            assert!(upper(index) - us <= us / 16, "{us} in {index}");
            us += us / 7 + 1;
        }
    }

    #[test]
    fn quantiles_follow_the_ranks() {
        let mut histogram = Histogram::default();
        for ms in 1..=100 {
            histogram.record(Duration::from_millis(ms));
        }
        let near = |got: f64, expected: f64| (got - expected).abs() <= expected * 0.07;
        assert!(near(histogram.quantile_ms(0.5), 50.0));
        assert!(near(histogram.quantile_ms(0.99), 99.0));
        assert_eq!(histogram.max_ms(), 100.0);
        assert_eq!(Histogram::default().quantile_ms(0.5), 0.0);
    }
}
