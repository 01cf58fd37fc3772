//! What one topic has been through lately.
//!
//! Owns: the outage of a topic (no connection, no answer, trouble at APNs) with its growing pauses, and the count of
//! refused tokens among the last answers. Pure: time and dice are handed in. Lost with the process, which costs a
//! few attempts.

use std::collections::VecDeque;

use super::rules::{micros, too_many_refused};
use crate::clock::{MINUTE, Micros, SECOND};
use std::time::Duration;

const WINDOW: usize = 50;
/// After this many broken connections or silent ones in a row the whole topic pauses.
const PATIENCE: u32 = 3;
const SHORTEST_PAUSE: Micros = SECOND / 2;
/// Short enough that after a network fault the first attempt comes within five seconds.
const LONGEST_PAUSE: Micros = 4 * SECOND;
const LONGEST_PAUSE_OF_SERVER: Micros = 30 * SECOND;
const LONGEST_ASKED_PAUSE: Micros = 10 * MINUTE;

/// What one ring said about its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// APNs took it.
    Accepted,
    /// APNs answered about the token alone, so the line is good.
    Answered {
        /// The token was refused, which may mean a wrong certificate.
        refused: bool,
    },
    /// APNs has trouble (5xx) and may ask for a pause.
    Trouble { retry_after: Option<Duration> },
    /// No connection could be made.
    Unreachable,
    /// A connection broke or stayed silent.
    Broken,
}

/// What follows for the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Nothing,
    /// It went out of service just now.
    Out,
    /// It is back, after so long.
    Back {
        after: Micros,
    },
    /// So many tokens were refused that it must stop.
    TooManyRefused {
        refused: usize,
        of: usize,
    },
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    since: Micros,
    until: Micros,
}

/// The memory of one topic under one certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topic {
    failures: u32,
    pause: Option<Pause>,
    window: VecDeque<bool>,
}

impl Topic {
    /// Since when it has been out of service.
    pub(crate) fn out_since(&self) -> Option<Micros> {
        self.pause.map(|pause| pause.since)
    }

    /// When it may be tried again, if it is pausing.
    pub(crate) fn paused_until(&self) -> Option<Micros> {
        self.pause.map(|pause| pause.until)
    }

    /// How many rings may be begun, with `in_flight` of at most `limit` under way. During an outage one at a time, after
    /// each pause.
    pub(crate) fn room(&self, now: Micros, in_flight: usize, limit: usize) -> usize {
        match self.pause {
            None => limit.saturating_sub(in_flight),
            Some(pause) if now >= pause.until && in_flight == 0 => 1,
            Some(_) => 0,
        }
    }

    /// Takes in what one ring said. `dice` spreads the pauses of several topics.
    pub(crate) fn note(&mut self, sign: Sign, now: Micros, dice: u8) -> Turn {
        match sign {
            Sign::Accepted | Sign::Answered { .. } => {
                let back = self.back(now);
                let refused = sign == (Sign::Answered { refused: true });
                self.count(refused).unwrap_or(back)
            }
            Sign::Trouble { retry_after } => {
                let asked = retry_after.map(|wait| micros(wait).min(LONGEST_ASKED_PAUSE));
                self.fail(now, dice, PATIENCE, LONGEST_PAUSE_OF_SERVER, asked)
            }
            Sign::Unreachable => self.fail(now, dice, 1, LONGEST_PAUSE, None),
            Sign::Broken => self.fail(now, dice, PATIENCE, LONGEST_PAUSE, None),
        }
    }

    fn back(&mut self, now: Micros) -> Turn {
        self.failures = 0;
        match self.pause.take() {
            Some(pause) => Turn::Back {
                after: now.saturating_sub(pause.since),
            },
            None => Turn::Nothing,
        }
    }

    fn count(&mut self, refused: bool) -> Option<Turn> {
        self.window.push_back(refused);
        if self.window.len() > WINDOW {
            self.window.pop_front();
        }
        let of = self.window.len();
        let refused = self.window.iter().filter(|refused| **refused).count();
        too_many_refused(refused, of).then_some(Turn::TooManyRefused { refused, of })
    }

    fn fail(
        &mut self,
        now: Micros,
        dice: u8,
        patience: u32,
        longest: Micros,
        asked: Option<Micros>,
    ) -> Turn {
        // Rings that were under way when the pause began say nothing new.
        if self.pause.is_some_and(|pause| now < pause.until) {
            return Turn::Nothing;
        }
        self.failures = self.failures.saturating_add(1);
        if self.pause.is_none() && asked.is_none() && self.failures < patience {
            return Turn::Nothing;
        }
        let doublings = self.failures.saturating_sub(patience).min(10);
        let pause = (SHORTEST_PAUSE << doublings).min(longest);
        let pause = pause + pause / 4 * Micros::from(dice) / 255;
        let until = now + pause.max(asked.unwrap_or(0));
        match &mut self.pause {
            Some(already) => {
                already.until = until;
                Turn::Nothing
            }
            none => {
                *none = Some(Pause { since: now, until });
                Turn::Out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Sign = Sign::Answered { refused: true };

    #[test]
    fn one_failure_to_connect_pauses_the_topic_and_one_ring_at_a_time_tries_again() {
        let mut topic = Topic::default();
        assert_eq!(topic.room(0, 3, 10), 7);
        assert_eq!(topic.note(Sign::Unreachable, 0, 0), Turn::Out);
        assert_eq!(topic.room(0, 0, 10), 0);
        assert_eq!(topic.room(SHORTEST_PAUSE, 0, 10), 1);
        assert_eq!(topic.room(SHORTEST_PAUSE, 1, 10), 0);
        let mut at = SHORTEST_PAUSE;
        for seconds in [1, 2, 4, 4, 4] {
            assert_eq!(topic.note(Sign::Unreachable, at, 0), Turn::Nothing);
            assert_eq!(topic.paused_until(), Some(at + seconds * SECOND));
            at += seconds * SECOND;
        }
        assert_eq!(topic.out_since(), Some(0));
        assert_eq!(topic.note(Sign::Accepted, at, 0), Turn::Back { after: at });
        assert_eq!(topic.room(at, 0, 10), 10);
    }

    #[test]
    fn a_pause_after_a_network_fault_is_never_longer_than_five_seconds() {
        let mut topic = Topic::default();
        let mut at = 0;
        for _ in 0..100 {
            topic.note(Sign::Unreachable, at, 255);
            let until = topic.paused_until().unwrap();
            assert!(until - at <= 5 * SECOND);
            at = until;
        }
    }

    #[test]
    fn failures_of_one_moment_count_once() {
        let mut topic = Topic::default();
        for _ in 0..1_000 {
            topic.note(Sign::Unreachable, 0, 0);
        }
        assert_eq!(topic.paused_until(), Some(SHORTEST_PAUSE));
    }

    #[test]
    fn a_broken_connection_among_good_ones_pauses_nothing() {
        let mut topic = Topic::default();
        for _ in 0..10 {
            assert_eq!(topic.note(Sign::Broken, 0, 0), Turn::Nothing);
            assert_eq!(topic.note(Sign::Broken, 0, 0), Turn::Nothing);
            assert_eq!(topic.note(Sign::Accepted, 0, 0), Turn::Nothing);
        }
        topic.note(Sign::Broken, 0, 0);
        topic.note(Sign::Broken, 0, 0);
        assert_eq!(topic.note(Sign::Broken, 0, 0), Turn::Out);
    }

    #[test]
    fn trouble_at_apns_pauses_for_as_long_as_it_asks_within_reason() {
        let asked = |seconds| Sign::Trouble {
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let mut topic = Topic::default();
        assert_eq!(topic.note(asked(20), 0, 0), Turn::Out);
        assert_eq!(topic.paused_until(), Some(20 * SECOND));
        let mut topic = Topic::default();
        topic.note(asked(86_400), 0, 0);
        assert_eq!(topic.paused_until(), Some(LONGEST_ASKED_PAUSE));
        let mut topic = Topic::default();
        let plain = Sign::Trouble { retry_after: None };
        assert_eq!(topic.note(plain, 0, 0), Turn::Nothing);
        assert_eq!(topic.note(plain, 0, 0), Turn::Nothing);
        assert_eq!(topic.note(plain, 0, 0), Turn::Out);
    }

    #[test]
    fn five_refused_tokens_out_of_twenty_five_stop_the_topic() {
        let mut topic = Topic::default();
        for _ in 0..20 {
            topic.note(Sign::Accepted, 0, 0);
        }
        for _ in 0..4 {
            assert_eq!(topic.note(REFUSED, 0, 0), Turn::Nothing);
        }
        assert_eq!(
            topic.note(REFUSED, 0, 0),
            Turn::TooManyRefused { refused: 5, of: 25 }
        );
    }

    #[test]
    fn old_refusals_leave_the_window() {
        let mut topic = Topic::default();
        for _ in 0..20 {
            for _ in 0..2 {
                assert_eq!(topic.note(REFUSED, 0, 0), Turn::Nothing);
            }
            for _ in 0..25 {
                assert_eq!(topic.note(Sign::Accepted, 0, 0), Turn::Nothing);
            }
        }
    }
}
