//! Live figures of a running fleet, for a board.
//!
//! Owns counters that many devices raise at once. Never a source for checks: those read the
//! records.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a fleet; all only grow, but `online`.
#[derive(Debug, Default)]
pub struct Counters {
    enrolled: AtomicU64,
    online: AtomicU64,
    requests: AtomicU64,
    round_trips: AtomicU64,
    pushes: AtomicU64,
    not_now: AtomicU64,
    errors: AtomicU64,
    faults: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    /// Enrollments completed.
    pub enrolled: u64,
    /// Devices in a session right now.
    pub online: u64,
    /// Requests sent to the server.
    pub requests: u64,
    /// Commands answered for good.
    pub round_trips: u64,
    /// Pushes received.
    pub pushes: u64,
    /// Commands put off.
    pub not_now: u64,
    /// Requests without a usable answer, cuts on purpose excluded.
    pub errors: u64,
    /// Faults of the server.
    pub faults: u64,
}

impl Counters {
    pub(crate) const fn new() -> Self {
        Self {
            enrolled: AtomicU64::new(0),
            online: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            pushes: AtomicU64::new(0),
            not_now: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }

    /// Reads all of them.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            enrolled: read(&self.enrolled),
            online: read(&self.online),
            requests: read(&self.requests),
            round_trips: read(&self.round_trips),
            pushes: read(&self.pushes),
            not_now: read(&self.not_now),
            errors: read(&self.errors),
            faults: read(&self.faults),
        }
    }

    pub(crate) fn enrolled(&self) {
        self.enrolled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn round_trip(&self) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn push(&self) {
        self.pushes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn not_now(&self) {
        self.not_now.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a device as online until the guard is dropped.
    pub(crate) fn online(&self) -> Online<'_> {
        self.online.fetch_add(1, Ordering::Relaxed);
        Online(&self.online)
    }
}

pub(crate) struct Online<'a>(&'a AtomicU64);

impl Drop for Online<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
