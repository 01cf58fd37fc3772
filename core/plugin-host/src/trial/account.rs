//! Takes down how two versions have answered one question.
//!
//! Owns: what counts as compared, as failed and as left out, and what is told of it. Decides nothing.

use pomona_engine::{TrialCount, TrialDifference};

use super::{Asked, Differ, Ledger, Timed, compare};
use crate::manifest::HookName;

/// Somebody waits for a decision. When he gives up, the version that he waited for has not answered in time, and that is
/// counted.
pub(super) struct Waiting<'a> {
    ledger: &'a dyn Ledger,
    hook: HookName,
    by_trial: bool,
    over: bool,
}

impl<'a> Waiting<'a> {
    pub(super) fn of(ledger: &'a dyn Ledger, hook: HookName) -> Self {
        Self {
            ledger,
            hook,
            by_trial: false,
            over: false,
        }
    }

    pub(super) fn over(&mut self) {
        self.over = true;
    }

    pub(super) fn for_trial(&mut self) {
        self.by_trial = true;
    }

    pub(super) fn for_active(&mut self) {
        self.by_trial = false;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            let awaited = if self.by_trial { "trial" } else { "active" };
            let why = "it took longer than its caller would wait";
            let count = TrialCount {
                active_failed: u64::from(!self.by_trial),
                trial_failed: u64::from(self.by_trial),
                last_failure: Some(format!("{awaited}: {why}")),
                ..TrialCount::default()
            };
            self.ledger.note(self.hook, count, None);
        }
    }
}

fn spent<T>(timed: &Timed<T>) -> (u64, u64) {
    (1, u64::try_from(timed.took.as_micros()).unwrap_or(u64::MAX))
}

/// What is counted when the version that does not decide was not asked.
pub(super) fn left_out<T>(asked: &Asked, decided: &Timed<T>) -> TrialCount {
    let mut count = TrialCount {
        left_out: 1,
        ..TrialCount::default()
    };
    match asked.by_trial {
        true => count.trial = spent(decided),
        false => count.active = spent(decided),
    }
    count
}

/// Takes two answers down.
pub(super) fn note<T>(
    ledger: &dyn Ledger,
    asked: Asked,
    active: &Timed<T>,
    trial: &Timed<T>,
    differ: Differ<T>,
) {
    let mut count = TrialCount {
        active: spent(active),
        trial: spent(trial),
        ..TrialCount::default()
    };
    let mut difference = None;
    match (&active.answer, &trial.answer) {
        (Ok(one), Ok(other)) => match differ(one, other) {
            None => count.same = 1,
            Some((active, trial)) => {
                count.different = 1;
                difference = Some(TrialDifference {
                    device: compare::bounded(&asked.device),
                    about: compare::bounded(&asked.about),
                    active: compare::bounded(&active),
                    trial: compare::bounded(&trial),
                    noted_at: asked.now,
                });
            }
        },
        (one, other) => {
            let mut failures = Vec::new();
            if let Err(error) = one {
                count.active_failed = 1;
                failures.push(format!("active: {error}"));
            }
            if let Err(error) = other {
                count.trial_failed = 1;
                failures.push(format!("trial: {error}"));
            }
            count.last_failure = Some(compare::bounded(&failures.join("; ")));
        }
    }
    ledger.note(asked.hook, count, difference);
}
