//! What can go wrong at the push service, by script or by chance.
//!
//! Owns the answers that Apple documents, with their statuses, and the choice of one. Never
//! decides about a well-formed push without being told to. Source: Apple, "Handling notification
//! responses from APNs".

use std::collections::VecDeque;
use std::time::Duration;

use crate::dice::Dice;

/// Why a notification is refused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the names are Apple's and say it all")]
pub enum Reason {
    BadCertificate,
    BadCertificateEnvironment,
    BadDeviceToken,
    BadExpirationDate,
    BadMessageId,
    BadPath,
    BadPriority,
    BadTopic,
    DeviceTokenNotForTopic,
    DuplicateHeaders,
    ExpiredToken,
    Forbidden,
    IdleTimeout,
    InternalServerError,
    InvalidPushType,
    MethodNotAllowed,
    MissingDeviceToken,
    MissingTopic,
    PayloadEmpty,
    PayloadTooLarge,
    ServiceUnavailable,
    Shutdown,
    TooManyRequests,
    TopicDisallowed,
    Unregistered,
    /// None of Apple's: the body is not exactly `{"mdm":"…"}`. Apple would deliver it, and the
    /// device would ignore it.
    NotAnMdmPayload,
}

impl Reason {
    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadCertificate | Self::BadCertificateEnvironment | Self::Forbidden => 403,
            Self::BadPath => 404,
            Self::MethodNotAllowed => 405,
            Self::ExpiredToken | Self::Unregistered => 410,
            Self::PayloadTooLarge => 413,
            Self::TooManyRequests => 429,
            Self::InternalServerError => 500,
            Self::ServiceUnavailable | Self::Shutdown => 503,
            _ => 400,
        }
    }

    /// The text in the answer.
    #[must_use]
    pub fn text(self) -> String {
        format!("{self:?}")
    }
}

/// What the service does with a request instead of handling it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reaction {
    /// Nothing special.
    Deliver,
    /// Handles it after this time.
    Slow(Duration),
    /// Refuses it.
    Answer(Reason),
    /// Cuts the connection with all requests on it.
    Drop,
    /// Handles it and asks the client to leave the connection (GOAWAY).
    GoAway,
}

/// Chances of mischief, and a script that comes before them.
#[derive(Clone, Debug, Default)]
pub struct ApnsFaults {
    /// What happens to the next requests, one entry for each.
    pub script: VecDeque<Reaction>,
    /// Chance of each of these answers.
    pub random: Vec<(Reason, f64)>,
    /// Chance of a cut connection.
    pub drop: f64,
    /// Chance of a slow answer, and how slow.
    pub slow: Option<(f64, Duration)>,
    /// GOAWAY after this many requests on a connection.
    pub go_away_after: Option<u64>,
    /// Accepts pushes within this time after a token's registration, and loses them.
    pub push_race: Duration,
}

impl ApnsFaults {
    /// What happens to the next request.
    pub(crate) fn next(&mut self, dice: &mut Dice) -> Reaction {
        if let Some(reaction) = self.script.pop_front() {
            return reaction;
        }
        if dice.chance(self.drop) {
            return Reaction::Drop;
        }
        for (reason, rate) in &self.random {
            if dice.chance(*rate) {
                return Reaction::Answer(*reason);
            }
        }
        match self.slow {
            Some((rate, time)) if dice.chance(rate) => Reaction::Slow(time),
            _ => Reaction::Deliver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_comes_before_chance() {
        let mut faults = ApnsFaults {
            script: [Reaction::GoAway].into(),
            drop: 1.0,
            ..ApnsFaults::default()
        };
        let mut dice = Dice::new(1);
        assert_eq!(faults.next(&mut dice), Reaction::GoAway);
        assert_eq!(faults.next(&mut dice), Reaction::Drop);
    }

    #[test]
    fn statuses_are_those_that_apple_lists() {
        for (reason, status) in [
            (Reason::BadDeviceToken, 400),
            (Reason::BadCertificate, 403),
            (Reason::Unregistered, 410),
            (Reason::PayloadTooLarge, 413),
            (Reason::TooManyRequests, 429),
            (Reason::Shutdown, 503),
        ] {
            assert_eq!(reason.status(), status, "{}", reason.text());
        }
    }
}
