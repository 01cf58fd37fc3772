//! What a device has lost of what it was.
//!
//! Owns: holding what a device is now against the best that was ever known of it, which stands in a fact of the plugin's own. What was
//! never so is not lost, and what is not known is neither.

use pomona_sdk::Snapshot;

use crate::known::{self, State};

impl State {
    /// The rule that says whether it is lost.
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Self::Supervised => "drift.unsupervised",
            Self::Automated => "drift.not_ade",
            Self::Approved => "drift.not_approved",
            Self::Shared => "drift.not_shared",
        }
    }

    /// What it is called in a sentence: `it is …`.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Supervised => "supervised",
            Self::Automated => "enrolled by Automated Device Enrollment",
            Self::Approved => "approved by its user",
            Self::Shared => "a Shared iPad",
        }
    }
}

/// What a device was at its best, with what it is now.
pub(crate) fn best(device: &Snapshot) -> Vec<State> {
    let known = known::states(device, known::BEST);
    let is = |state: &State| known.contains(state) || state.now(device) == Some(true);
    State::ALL.into_iter().filter(is).collect()
}

/// What of that it is not any more.
pub(crate) fn lost(device: &Snapshot) -> Vec<State> {
    let best = best(device).into_iter();
    best.filter(|state| state.now(device) == Some(false))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::serde_json::json;
    use pomona_sdk::testing::{self, fact};

    #[test]
    fn only_what_was_is_lost_and_only_by_a_no() {
        let device = |best: &[&str], now: Option<bool>| Snapshot {
            supervised: now,
            facts_json: testing::facts(&[fact("org.pomona.supervision-guard.best", &json!(best))]),
            ..testing::device()
        };
        for (was, now, known, gone) in [
            (&[][..], None, &[][..], &[][..]),
            (&[], Some(false), &[], &[]),
            (&[], Some(true), &[State::Supervised], &[]),
            (&["supervised"], Some(true), &[State::Supervised], &[]),
            (&["supervised"], None, &[State::Supervised], &[]),
            (
                &["supervised"],
                Some(false),
                &[State::Supervised],
                &[State::Supervised],
            ),
        ] {
            let device = device(was, now);
            assert_eq!(best(&device), known, "{was:?} {now:?}");
            assert_eq!(lost(&device), gone, "{was:?} {now:?}");
        }
    }
}
