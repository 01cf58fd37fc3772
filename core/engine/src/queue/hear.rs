//! What a report from the device means for the queue.

use super::{Disposition, Open, OpenState, Outcome};

/// What the device said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// `Idle`: it asks for work.
    Idle,
    /// A final status of one command; `digest` tells equal reports from different ones.
    Final { outcome: Outcome, digest: [u8; 32] },
    /// `NotNow` for one command.
    NotNow,
}

/// What is known of the command that the report names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is in the open queue of this channel.
    Open(Open),
    /// It has left the open queue.
    Finished {
        disposition: Disposition,
        outcome: Option<(Outcome, [u8; 32])>,
        sends: i64,
    },
    /// It was never queued for this enrollment in this generation.
    Nothing,
}

/// What follows from the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// A new poll begins; what was deferred may be offered again (Q7).
    Polled,
    /// The delivery is done.
    Finished(Outcome),
    /// The delivery is deferred until the next poll.
    Deferred,
    /// The first outcome of something withdrawn, expired or cancelled after it had been sent: recorded, nothing else (Q5).
    Late(Outcome),
    /// Nothing new (Q5).
    Repeated,
    /// The report differs from the first one; the first stays (Q5).
    Conflict(Outcome),
    /// The command was not sent to this enrollment; kept aside (Q6).
    Orphan,
}

/// Judges a report (Q5, Q6, Q7).
pub(crate) fn hear(heard: Heard, known: &Known) -> Hearing {
    match (heard, known) {
        (Heard::Idle, _) => Hearing::Polled,
        (_, Known::Nothing) => Hearing::Orphan,
        (_, Known::Open(open)) if open.sends == 0 => Hearing::Orphan,
        (Heard::Final { outcome, .. }, Known::Open(_)) => Hearing::Finished(outcome),
        (Heard::NotNow, Known::Open(open)) => match open.state {
            OpenState::Sent => Hearing::Deferred,
            OpenState::NotNow | OpenState::Queued => Hearing::Repeated,
        },
        (_, Known::Finished { sends: 0, .. }) => Hearing::Orphan,
        (Heard::NotNow, Known::Finished { .. }) => Hearing::Repeated,
        (Heard::Final { outcome, digest }, Known::Finished { outcome: first, .. }) => match first {
            None => Hearing::Late(outcome),
            Some((_, first)) if *first == digest => Hearing::Repeated,
            Some(_) => Hearing::Conflict(outcome),
        },
    }
}
