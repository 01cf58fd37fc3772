//! The breaker: a plugin that keeps failing is left alone for a while.
//!
//! Owns: when calls are let through. Five failures within a minute open it; after half a minute one call is let through as a
//! trial. The time is given from outside.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const FAILURES: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_secs(30);

/// The breaker of one plugin for one tenant.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: VecDeque<Instant>,
    opened: Option<Instant>,
    trial: bool,
}

impl Breaker {
    /// Whether a call may be made now.
    pub(crate) fn lets_through(&mut self, now: Instant) -> bool {
        match self.opened {
            None => true,
            Some(opened) if now.duration_since(opened) >= REST && !self.trial => {
                self.trial = true;
                true
            }
            Some(_) => false,
        }
    }

    /// Notes how a call ended.
    pub(crate) fn note(&mut self, now: Instant, good: bool) {
        if good {
            if self.trial {
                *self = Self::default();
            }
            return;
        }
        if self.trial {
            self.opened = Some(now);
            self.trial = false;
            return;
        }
        self.failures.push_back(now);
        while self
            .failures
            .front()
            .is_some_and(|first| now.duration_since(*first) > WINDOW)
        {
            self.failures.pop_front();
        }
        if self.failures.len() >= FAILURES {
            self.opened = Some(now);
        }
    }

    /// Whether calls are held back now. When its rest is over, the next call is the trial.
    pub(crate) fn holds_back(&self, now: Instant) -> bool {
        self.opened
            .is_some_and(|opened| self.trial || now.duration_since(opened) < REST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_minute_open_it_and_a_good_trial_closes_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut breaker = Breaker::default();
        for n in 0..4 {
            breaker.note(at(n), false);
        }
        assert!(breaker.lets_through(at(5)));
        breaker.note(at(5), false);
        assert!(!breaker.lets_through(at(6)), "open");
        assert!(breaker.lets_through(at(36)), "one trial");
        assert!(!breaker.lets_through(at(36)), "and no second");
        breaker.note(at(37), false);
        assert!(!breaker.lets_through(at(40)), "open again");
        assert!(breaker.lets_through(at(68)));
        breaker.note(at(68), true);
        assert!(breaker.lets_through(at(68)) && !breaker.holds_back(at(68)));
    }

    #[test]
    fn failures_far_apart_do_not_open_it() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for n in 0..20 {
            breaker.note(start + Duration::from_secs(n * 20), false);
            assert!(breaker.lets_through(start + Duration::from_secs(n * 20)));
        }
    }
}
