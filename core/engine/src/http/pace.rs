//! A limit on requests per certificate.
//!
//! Owns: one token bucket per certificate, so that one device, or one pipelining client, cannot take the server for
//! itself. Ordinary devices never come near it.

use parking_lot::Mutex;
use std::collections::HashMap;

use crate::clock::{Micros, SECOND};

/// Requests a second that one certificate may go on sending.
const RATE: i64 = 300;
/// Requests that it may send at once.
const BURST: i64 = 600;
/// Certificates that are remembered before idle ones are forgotten.
const REMEMBERED: usize = 100_000;

/// The buckets, in parts, so that threads seldom wait for each other.
pub(super) struct Pace {
    parts: Vec<Mutex<HashMap<[u8; 32], Bucket>>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Tokens, times one second in microseconds.
    filled: i64,
    at: Micros,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            parts: (0..16).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Pace {
    /// Takes one token; says whether there was one.
    pub(super) fn admit(&self, fingerprint: &[u8; 32], now: Micros) -> bool {
        let part = usize::from(fingerprint.first().copied().unwrap_or(0)) % self.parts.len().max(1);
        let Some(part) = self.parts.get(part) else {
            return true;
        };
        let mut buckets = part.lock();
        if buckets.len() > REMEMBERED / self.parts.len().max(1) {
            buckets.retain(|_, bucket| now.saturating_sub(bucket.at) < 10 * SECOND);
        }
        let full = BURST * SECOND;
        let bucket = buckets.entry(*fingerprint).or_insert(Bucket {
            filled: full,
            at: now,
        });
        let elapsed = now.saturating_sub(bucket.at).clamp(0, 60 * SECOND);
        bucket.filled = (bucket.filled + elapsed * RATE).min(full);
        bucket.at = now;
        if bucket.filled < SECOND {
            return false;
        }
        bucket.filled -= SECOND;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_the_rate_holds() {
        let pace = Pace::default();
        let admitted = (0..1_000).filter(|_| pace.admit(&[1; 32], 0)).count();
        assert_eq!(admitted, 600);
        assert!(pace.admit(&[2; 32], 0), "another certificate has its own");
        let later = (0..1_000).filter(|_| pace.admit(&[1; 32], SECOND)).count();
        assert_eq!(later, 300);
    }
}
