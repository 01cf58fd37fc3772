//! How fast a tenant's devices are woken.
//!
//! Owns: a token bucket whose rate halves under pressure and grows back. Pure: the time is handed in.

use crate::clock::{Micros, SECOND};

const SLOWEST: f64 = 1.0 / 16.0;
const GROWTH: f64 = 0.1;

/// A token bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    /// The share of the rate that is used, from [`SLOWEST`] to 1.
    share: f64,
    tokens: f64,
    at: Micros,
}

impl Bucket {
    /// A full bucket. Both bounds are at least 1.
    pub(crate) fn new(per_second: u32, burst: u32, now: Micros) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            per_second: f64::from(per_second.max(1)),
            burst,
            share: 1.0,
            tokens: burst,
            at: now,
        }
    }

    /// How many may be taken now.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "bounded by the burst, which came from a u32, and never negative"
    )]
    pub(crate) fn available(&mut self, now: Micros) -> usize {
        let passed = now.saturating_sub(self.at).max(0);
        self.at = self.at.max(now);
        let gained = passed as f64 / SECOND as f64 * self.per_second * self.share;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.tokens.max(0.0) as usize
    }

    /// Takes `n`.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn take(&mut self, n: usize) {
        self.tokens -= n as f64;
    }

    /// Whether answers to devices come in time: grows back by a tenth of the full rate, or halves.
    pub(crate) fn pressure(&mut self, in_time: bool) {
        self.share = if in_time {
            (self.share + GROWTH).min(1.0)
        } else {
            (self.share / 2.0).max(SLOWEST)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_at_its_rate_up_to_its_burst() {
        let mut bucket = Bucket::new(100, 10, 0);
        assert_eq!(bucket.available(0), 10);
        bucket.take(10);
        assert_eq!(bucket.available(0), 0);
        assert_eq!(bucket.available(SECOND / 20), 5);
        assert_eq!(bucket.available(10 * SECOND), 10);
    }

    #[test]
    fn a_clock_that_stands_still_or_runs_back_gives_nothing() {
        let mut bucket = Bucket::new(100, 10, SECOND);
        bucket.take(10);
        assert_eq!(bucket.available(0), 0);
        assert_eq!(bucket.available(SECOND), 0);
    }

    #[test]
    fn pressure_halves_the_rate_and_ease_restores_it_slowly() {
        let filled = |bucket: &mut Bucket, at: &mut Micros| {
            let full = bucket.available(*at);
            bucket.take(full);
            *at += SECOND;
            let n = bucket.available(*at);
            bucket.take(n);
            n
        };
        let mut at = 0;
        let mut bucket = Bucket::new(1_000, 10_000, at);
        assert_eq!(filled(&mut bucket, &mut at), 1_000);
        bucket.pressure(false);
        assert_eq!(filled(&mut bucket, &mut at), 500);
        for _ in 0..10 {
            bucket.pressure(false);
        }
        assert_eq!(filled(&mut bucket, &mut at), 62);
        for _ in 0..10 {
            bucket.pressure(true);
        }
        assert_eq!(filled(&mut bucket, &mut at), 1_000);
    }
}
