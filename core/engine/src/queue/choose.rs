//! Which command is next.

use std::collections::BTreeMap;

use super::{Disposition, Open, OpenState};
use crate::clock::Micros;

/// What the choice depends on besides the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The present time.
    pub(crate) now: Micros,
    /// The channel's running poll.
    pub(crate) poll: i64,
    /// After so many unanswered sendings a command without an end is set aside (Q9).
    pub(crate) max_sendings: i64,
}

/// What the delivery hooks said about one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Send it, if that happens before `until`.
    Allow { until: Micros },
    /// Do not send it, now or later.
    Refuse { reason: String },
    /// Ask again at `until`.
    Hold { until: Micros, reason: String },
}

/// Verdicts by the number of the delivery they were given for.
pub(crate) type Verdicts = BTreeMap<i64, Verdict>;

/// A delivery that leaves the queue without being sent (again).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drop {
    pub(crate) seq: i64,
    pub(crate) disposition: Disposition,
    pub(crate) reason: String,
}

/// The choice, and what was found on the way to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// These leave the queue.
    pub(crate) drops: Vec<Drop>,
    /// These wait until the given time.
    pub(crate) holds: Vec<(i64, Micros, String)>,
    /// This one is sent.
    pub(crate) send: Option<i64>,
    /// This one would be sent, but a hook must be asked first.
    pub(crate) judge: Option<i64>,
}

/// Chooses the next command of a channel.
///
/// `open` holds the outstanding command first, if there is one, then others by priority and number, each at
/// most once. `judged` says which of them a delivery hook has to see.
pub(crate) fn choose(
    rules: Rules,
    open: &[Open],
    judged: impl Fn(&Open) -> bool,
    verdicts: &Verdicts,
) -> Choice {
    let mut choice = Choice::default();
    for delivery in open {
        let sent = delivery.state == OpenState::Sent;
        // Q11: judged by the clock at the moment of sending, also for a re-sending.
        if delivery.not_after.is_some_and(|end| end <= rules.now) {
            choice.drop(delivery, Disposition::Expired, "its time has passed");
            continue;
        }
        if sent && delivery.not_after.is_none() && delivery.sends >= rules.max_sendings {
            choice.drop(
                delivery,
                Disposition::Withdrawn,
                "sent too often without an answer",
            );
            continue;
        }
        if !sent && !eligible(rules, delivery) {
            continue;
        }
        if judged(delivery) {
            match verdicts.get(&delivery.seq) {
                Some(Verdict::Allow { until }) if *until > rules.now => {}
                Some(Verdict::Refuse { reason }) => {
                    let disposition = match delivery.state {
                        OpenState::Sent => Disposition::Withdrawn,
                        OpenState::Queued | OpenState::NotNow => Disposition::Cancelled,
                    };
                    choice.drop(delivery, disposition, reason);
                    continue;
                }
                Some(Verdict::Hold { until, reason }) if *until > rules.now => {
                    if sent {
                        // It stays outstanding: one on a channel (Q9).
                        return choice;
                    }
                    choice.holds.push((delivery.seq, *until, reason.clone()));
                    continue;
                }
                Some(_) | None => {
                    choice.judge = Some(delivery.seq);
                    return choice;
                }
            }
        }
        choice.send = Some(delivery.seq);
        return choice;
    }
    choice
}

fn eligible(rules: Rules, delivery: &Open) -> bool {
    let deferred = delivery.state == OpenState::NotNow && delivery.notnow_poll >= rules.poll;
    delivery.not_before <= rules.now && !delivery.waits && !deferred
}

impl Choice {
    fn drop(&mut self, delivery: &Open, disposition: Disposition, reason: &str) {
        self.drops.push(Drop {
            seq: delivery.seq,
            disposition,
            reason: reason.to_owned(),
        });
    }
}
