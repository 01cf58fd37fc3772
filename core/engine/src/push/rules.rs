//! The rules of ringing, as pure functions over values.
//!
//! Owns: whether a channel that is due is rung now, when it is rung again, and what each answer of APNs leads to.
//! Never sees a transaction, a connection or a clock.
//!
//! Source: Apple, "Handling notification responses from APNs"; the pacing and the growing gaps are ours.

use std::time::Duration;

use uuid::Uuid;

use super::apple::Fault;
use crate::clock::{DAY, HOUR, MINUTE, Micros, SECOND};

/// How long after its last request a device counts as being here, and is not rung.
pub(crate) const PRESENT: Micros = 2 * SECOND;
/// How long after it was enabled an enrollment counts as fresh: a push can be lost in a race with the enrollment.
pub(crate) const FRESH: Micros = MINUTE;
/// The longest time between two rings, and between two looks at a channel that cannot be rung.
pub(crate) const LONGEST: Micros = 6 * HOUR;
/// Another node leaves a claimed channel alone for this long. Shorter than the time in which a server that was killed
/// must have rung again; a ring that takes longer may be doubled by another node, which does no harm.
pub(crate) const LEASE: Micros = 4 * SECOND;

/// The gaps between rings, of which the last stays.
pub(crate) const GAPS: [Micros; 5] = [2 * MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, LONGEST];
const FRESH_GAP: Micros = 15 * SECOND;
const LONGEST_THROTTLE: Micros = DAY;

/// The time from an accepted push to the next, if the device does not come. `attempts` counts this one, from 1.
pub(crate) fn next_gap(attempts: i64, fresh: bool) -> Micros {
    let place = usize::try_from(attempts.max(1) - 1).unwrap_or(usize::MAX);
    if fresh {
        match place.checked_sub(1) {
            None => FRESH_GAP,
            Some(place) => GAPS.get(place).copied().unwrap_or(LONGEST),
        }
    } else {
        GAPS.get(place).copied().unwrap_or(LONGEST)
    }
}

/// The time to the next try after an answer that says nothing about the device: seconds first, a quarter of an hour
/// at most.
pub(crate) fn retry_gap(attempts: i64) -> Micros {
    let doublings = u32::try_from(attempts.clamp(1, 20) - 1).unwrap_or(0);
    ((2 * SECOND) << doublings).min(15 * MINUTE)
}

/// Adds up to a fifth, by `dice` from 0 to 255, so that what began together does not stay together.
pub(crate) fn jittered(gap: Micros, dice: u8) -> Micros {
    gap + gap / 5 * Micros::from(dice) / 255
}

/// What is known of a channel that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due<'a> {
    /// 0 pending, 1 quarantined, 2 enabled, 3 ended.
    pub(crate) state: i64,
    /// Push token and magic are both there.
    pub(crate) reachable: bool,
    pub(crate) token_hash: Option<&'a [u8]>,
    pub(crate) token_updated_at: Option<Micros>,
    pub(crate) last_seen_at: Option<Micros>,
    pub(crate) last_push_at: Option<Micros>,
    pub(crate) refused_token_hash: Option<&'a [u8]>,
    pub(crate) refused_certificate: Option<Uuid>,
}

/// What to do with a channel that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ring now.
    Ring,
    /// It is here; look again then.
    Wait { until: Micros },
    /// It cannot be rung until something changes, which makes it due at once; look again at the latest then.
    Park { until: Micros },
    /// It never comes again.
    Drop,
}

/// Whether to ring a channel now, with the certificate of this id.
pub(crate) fn verdict(due: Due<'_>, certificate: Uuid, now: Micros) -> Verdict {
    let park = Verdict::Park {
        until: now + LONGEST,
    };
    match due.state {
        2 => {}
        0 | 1 => return park,
        _ => return Verdict::Drop,
    }
    if !due.reachable || refused(due, certificate) {
        return park;
    }
    match due.last_seen_at {
        Some(seen) if seen <= now && now - seen < PRESENT => Verdict::Wait {
            until: seen + PRESENT,
        },
        _ => Verdict::Ring,
    }
}

/// A refusal counts for its token under its certificate; a `TokenUpdate` that came later lifts it, even with the
/// same token.
fn refused(due: Due<'_>, certificate: Uuid) -> bool {
    due.refused_certificate == Some(certificate)
        && due.refused_token_hash.is_some()
        && due.refused_token_hash == due.token_hash
        && due.token_updated_at <= due.last_push_at
}

/// What an answer other than 200 leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// This token is wrong under this certificate. Remember; count it, since many at once mean a wrong certificate.
    RefuseToken,
    /// This token is dead. Remember, stop ringing it; the enrollment stays.
    TokenGone,
    /// The token died, but a `TokenUpdate` came after: go on as after an accepted push.
    TokenRenewed,
    /// The certificate or we are at fault: ringing on would fail for every device.
    StopTopic,
    /// Leave this token alone for so long.
    Throttle { wait: Micros },
    /// APNs has trouble; try this channel again soon.
    Retry,
    /// Nobody knows this answer: try again with growing gaps.
    Odd,
}

/// What APNs said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) fault: Fault,
    pub(crate) retry_after: Option<Duration>,
    /// When the token was last known to be dead (410).
    pub(crate) dead_since: Option<Micros>,
}

/// What to do after `answer`. `attempts` counts this one, from 1.
pub(crate) fn reaction(
    answer: Answer,
    attempts: i64,
    token_updated_at: Option<Micros>,
) -> Reaction {
    match answer.fault {
        Fault::Token => Reaction::RefuseToken,
        Fault::Gone => match (answer.dead_since, token_updated_at) {
            (Some(dead), Some(updated)) if updated > dead => Reaction::TokenRenewed,
            _ => Reaction::TokenGone,
        },
        Fault::Certificate | Fault::Request => Reaction::StopTopic,
        Fault::Throttled => Reaction::Throttle {
            wait: throttle(answer.retry_after, attempts),
        },
        Fault::Server | Fault::Connection => Reaction::Retry,
        Fault::Unknown => Reaction::Odd,
    }
}

/// The longer of what APNs asks for and a minute that doubles with each attempt, an hour at most.
fn throttle(retry_after: Option<Duration>, attempts: i64) -> Micros {
    let doublings = u32::try_from(attempts.clamp(1, 7) - 1).unwrap_or(0);
    let ours = (MINUTE << doublings).min(HOUR);
    let theirs = retry_after.map(micros).unwrap_or(0);
    ours.max(theirs).min(LONGEST_THROTTLE)
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX / 4)
}

/// Whether so many refused tokens stop the topic: a fifth of the last answers, and five at least.
pub(crate) fn too_many_refused(refused: usize, of: usize) -> bool {
    refused >= 5 && refused.saturating_mul(5) >= of
}

/// The warning that is due for a certificate which ends then: 60, 30, 14, 7 or 1 days before, or 0 when it has ended.
pub(crate) fn expiry_warning(not_after: Micros, now: Micros) -> Option<i64> {
    let left = not_after.saturating_sub(now);
    if left <= 0 {
        return Some(0);
    }
    [1, 7, 14, 30, 60]
        .into_iter()
        .find(|days| left <= days * DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_000 * DAY;

    fn certificate(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn enabled() -> Due<'static> {
        Due {
            state: 2,
            reachable: true,
            token_hash: Some(b"token"),
            token_updated_at: Some(NOW - DAY),
            last_seen_at: Some(NOW - HOUR),
            last_push_at: None,
            refused_token_hash: None,
            refused_certificate: None,
        }
    }

    #[test]
    fn gaps_grow_to_six_hours_and_begin_short_after_an_enrollment() {
        let gaps = |fresh| (1..=7).map(|n| next_gap(n, fresh)).collect::<Vec<_>>();
        assert_eq!(
            gaps(false),
            [
                2 * MINUTE,
                5 * MINUTE,
                15 * MINUTE,
                HOUR,
                LONGEST,
                LONGEST,
                LONGEST
            ]
        );
        assert_eq!(
            gaps(true),
            [
                15 * SECOND,
                2 * MINUTE,
                5 * MINUTE,
                15 * MINUTE,
                HOUR,
                LONGEST,
                LONGEST
            ]
        );
        assert_eq!(next_gap(0, false), 2 * MINUTE);
        assert_eq!(next_gap(i64::MAX, true), LONGEST);
    }

    #[test]
    fn retries_double_from_two_seconds_to_a_quarter_of_an_hour() {
        let gaps: Vec<_> = [1, 2, 5, 9, 10, 11, i64::MAX]
            .into_iter()
            .map(|n| retry_gap(n) / SECOND)
            .collect();
        assert_eq!(gaps, [2, 4, 32, 512, 900, 900, 900]);
    }

    #[test]
    fn jitter_adds_a_fifth_at_most() {
        assert_eq!(jittered(100, 0), 100);
        assert_eq!(jittered(100, 255), 120);
        assert!(jittered(LONGEST, 128) < LONGEST + LONGEST / 5);
    }

    #[test]
    fn an_enabled_channel_that_is_away_is_rung() {
        assert_eq!(verdict(enabled(), certificate(1), NOW), Verdict::Ring);
    }

    #[test]
    fn a_channel_seen_within_two_seconds_waits() {
        let due = Due {
            last_seen_at: Some(NOW - SECOND),
            ..enabled()
        };
        let until = NOW + SECOND;
        assert_eq!(verdict(due, certificate(1), NOW), Verdict::Wait { until });
        assert_eq!(verdict(due, certificate(1), until), Verdict::Ring);
    }

    #[test]
    fn only_enabled_channels_are_rung() {
        let park = Verdict::Park {
            until: NOW + LONGEST,
        };
        for (state, expected) in [(0, park), (1, park), (3, Verdict::Drop), (9, Verdict::Drop)] {
            let due = Due { state, ..enabled() };
            assert_eq!(verdict(due, certificate(1), NOW), expected, "state {state}");
        }
        let unreachable = Due {
            reachable: false,
            ..enabled()
        };
        assert_eq!(verdict(unreachable, certificate(1), NOW), park);
    }

    #[test]
    fn a_refusal_holds_for_its_token_under_its_certificate_until_a_token_update() {
        let refused = Due {
            refused_token_hash: Some(b"token"),
            refused_certificate: Some(certificate(1)),
            last_push_at: Some(NOW - HOUR),
            ..enabled()
        };
        let park = Verdict::Park {
            until: NOW + LONGEST,
        };
        assert_eq!(verdict(refused, certificate(1), NOW), park);
        assert_eq!(verdict(refused, certificate(2), NOW), Verdict::Ring);
        let other_token = Due {
            token_hash: Some(b"other"),
            ..refused
        };
        assert_eq!(verdict(other_token, certificate(1), NOW), Verdict::Ring);
        let updated = Due {
            token_updated_at: Some(NOW - MINUTE),
            ..refused
        };
        assert_eq!(verdict(updated, certificate(1), NOW), Verdict::Ring);
    }

    fn answer(fault: Fault) -> Answer {
        Answer {
            fault,
            retry_after: None,
            dead_since: None,
        }
    }

    #[test]
    fn each_fault_has_its_reaction() {
        for (fault, expected) in [
            (Fault::Token, Reaction::RefuseToken),
            (Fault::Gone, Reaction::TokenGone),
            (Fault::Certificate, Reaction::StopTopic),
            (Fault::Request, Reaction::StopTopic),
            (Fault::Server, Reaction::Retry),
            (Fault::Connection, Reaction::Retry),
            (Fault::Unknown, Reaction::Odd),
            (Fault::Throttled, Reaction::Throttle { wait: MINUTE }),
        ] {
            assert_eq!(reaction(answer(fault), 1, Some(NOW)), expected, "{fault:?}");
        }
    }

    #[test]
    fn a_token_update_after_the_death_of_the_token_keeps_it_ringing() {
        let gone = Answer {
            dead_since: Some(NOW),
            ..answer(Fault::Gone)
        };
        assert_eq!(reaction(gone, 1, Some(NOW + 1)), Reaction::TokenRenewed);
        assert_eq!(reaction(gone, 1, Some(NOW)), Reaction::TokenGone);
        assert_eq!(reaction(gone, 1, None), Reaction::TokenGone);
    }

    #[test]
    fn a_throttled_token_waits_for_what_apns_asks_and_longer_each_time() {
        let wait = |seconds: Option<u64>, attempts| {
            let asked = Answer {
                retry_after: seconds.map(Duration::from_secs),
                ..answer(Fault::Throttled)
            };
            match reaction(asked, attempts, None) {
                Reaction::Throttle { wait } => wait,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(wait(None, 1), MINUTE);
        assert_eq!(wait(None, 3), 4 * MINUTE);
        assert_eq!(wait(None, 50), HOUR);
        assert_eq!(wait(Some(1_800), 1), 30 * MINUTE);
        assert_eq!(wait(Some(u64::MAX), 1), DAY);
    }

    #[test]
    fn a_fifth_and_at_least_five_refused_tokens_stop_a_topic() {
        for (refused, of, expected) in [
            (4, 4, false),
            (5, 5, true),
            (5, 25, true),
            (5, 26, false),
            (9, 50, false),
            (10, 50, true),
            (0, 0, false),
        ] {
            assert_eq!(too_many_refused(refused, of), expected, "{refused} of {of}");
        }
    }

    #[test]
    fn expiry_warns_at_sixty_thirty_fourteen_seven_and_one_days() {
        for (days, expected) in [
            (61, None),
            (60, Some(60)),
            (31, Some(60)),
            (30, Some(30)),
            (14, Some(14)),
            (7, Some(7)),
            (2, Some(7)),
            (1, Some(1)),
            (0, Some(0)),
            (-3, Some(0)),
        ] {
            assert_eq!(
                expiry_warning(NOW + days * DAY, NOW),
                expected,
                "{days} days"
            );
        }
    }
}
