//! Time and randomness, handed in.
//!
//! Owns: the two sources that a decision may depend on besides its arguments. Nothing else in the engine
//! asks the system for the time or for random bytes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

/// Microseconds since 1970-01-01 UTC.
pub type Micros = i64;

/// One second in [`Micros`].
pub const SECOND: Micros = 1_000_000;
/// One minute in [`Micros`].
pub const MINUTE: Micros = 60 * SECOND;
/// One hour in [`Micros`].
pub const HOUR: Micros = 60 * MINUTE;
/// One day in [`Micros`].
pub const DAY: Micros = 24 * HOUR;

/// Tells the time; never runs backwards within one process.
pub trait Clock: Send + Sync {
    /// The present time.
    fn now(&self) -> Micros;

    /// Never reads earlier than `at` from now on. The engine calls it at start with the newest time in the
    /// database. A clock that is moved by hand need not obey.
    fn raise(&self, _at: Micros) {}
}

/// The system's clock, held back from running backwards: a step back stands still until it is caught up.
///
/// The floor is set at start from the newest time in the database, so that a clock that was set back
/// while the server was down cannot revive what had expired (invariant Q11).
#[derive(Debug, Default)]
pub struct SystemClock {
    floor: AtomicI64,
}

impl SystemClock {
    /// A clock that never reads earlier than `floor`.
    pub fn starting_at(floor: Micros) -> Self {
        Self {
            floor: AtomicI64::new(floor),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that asks the system for the time"
        )]
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let read = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        self.floor.fetch_max(read, Ordering::Relaxed).max(read)
    }

    fn raise(&self, at: Micros) {
        self.floor.fetch_max(at, Ordering::Relaxed);
    }
}

/// A clock that tests move by hand.
#[derive(Debug)]
pub struct ManualClock {
    at: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `at`.
    pub fn at(at: Micros) -> Self {
        Self {
            at: AtomicI64::new(at),
        }
    }

    /// Moves the clock on by `by` microseconds.
    pub fn advance(&self, by: Micros) {
        self.at.fetch_add(by, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Micros {
        self.at.load(Ordering::Relaxed)
    }
}

/// Fills buffers with unpredictable bytes.
pub trait Random: Send + Sync {
    /// Fills `buffer`.
    fn fill(&self, buffer: &mut [u8]);

    /// A UUID of version 7 for the time `now`.
    fn uuid(&self, now: Micros) -> Uuid {
        let mut bytes = [0u8; 10];
        self.fill(&mut bytes);
        let millis = u64::try_from(now / 1_000).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }
}

/// The system's random source.
#[derive(Debug, Default)]
pub struct SystemEntropy(SystemRandom);

impl Random for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        if self.0.fill(buffer).is_err() {
            // Without randomness no key, nonce or challenge may be made; there is nothing to fall back to.
            std::process::abort();
        }
    }
}
