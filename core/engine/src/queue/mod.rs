//! The rules of the command queue, as pure functions over values.
//!
//! Owns: what a report means (`hear`), which command is next (`choose`), what cancelling does
//! (`cancel`), and which commands are destructive and when the next of them may leave (`brake`). Never sees a transaction, a clock or a row. The numbers Q1 to Q15 in comments are the
//! invariants that these rules carry; ARCHITECTURE.md lists them.
//!
//! Two things are kept apart: the server's *disposition* of a delivery, and the device's *first outcome*. An
//! expiry or a withdrawal never hides what the device did after all.
//!
//! Source: Apple, "Sending MDM commands to a device" (status values, `NotNow`).

pub(crate) mod brake;
mod cancel;
mod choose;
mod hear;
#[cfg(test)]
mod tests;

pub(crate) use cancel::cancel;
pub(crate) use choose::{Choice, Rules, Verdict, Verdicts, choose};
pub(crate) use hear::{Heard, Hearing, Known, hear};

use crate::clock::Micros;
use crate::ids::CommandId;

/// The footing of what is not to be judged again: it was forced, or stood in the queue before footings were kept.
pub(crate) const NEVER: i64 = -1;

/// Where an open delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenState {
    /// Never sent.
    Queued,
    /// Sent, no answer yet. At most one on a channel (Q9).
    Sent,
    /// The device answered `NotNow`.
    NotNow,
}

impl OpenState {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Queued => 0,
            Self::Sent => 1,
            Self::NotNow => 2,
        }
    }

    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Sent,
            2 => Self::NotNow,
            _ => Self::Queued,
        }
    }
}

/// How a delivery ended, as the server sees it. Absorbing (Q5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The device reported a final status.
    Done,
    /// Taken back before the device could get it (again).
    Cancelled,
    /// Not sent any more, but the device may have run it.
    Withdrawn,
    /// Its not-after time passed.
    Expired,
}

impl Disposition {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Done => 3,
            Self::Cancelled => 4,
            Self::Withdrawn => 5,
            Self::Expired => 6,
        }
    }

    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            4 => Self::Cancelled,
            5 => Self::Withdrawn,
            6 => Self::Expired,
            _ => Self::Done,
        }
    }
}

/// What the device did with a command, as it told us first. Absorbing (Q5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    Error,
    CommandFormatError,
}

impl Outcome {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Acknowledged => 1,
            Self::Error => 2,
            Self::CommandFormatError => 3,
        }
    }

    pub(crate) fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Acknowledged),
            2 => Some(Self::Error),
            3 => Some(Self::CommandFormatError),
            _ => None,
        }
    }

    /// Apple's word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "Acknowledged",
            Self::Error => "Error",
            Self::CommandFormatError => "CommandFormatError",
        }
    }
}

/// An open delivery, as far as the rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// Its number in the channel's queue; first sendings of one priority follow it (Q3).
    pub(crate) seq: i64,
    /// The command.
    pub(crate) command: CommandId,
    /// The command's `RequestType`.
    pub(crate) request_type: String,
    /// Higher goes first.
    pub(crate) priority: i64,
    /// Not offered before this time; 0 for at once.
    pub(crate) not_before: Micros,
    /// Not offered at or after this time (Q11).
    pub(crate) not_after: Option<Micros>,
    /// Whether the command it comes after is still open.
    pub(crate) waits: bool,
    /// On which footing of its device it was judged; [`NEVER`] if it is not to be judged again.
    pub(crate) footing: i64,
    /// Where it stands with the brake.
    pub(crate) braking: brake::Braking,
    /// Where it stands.
    pub(crate) state: OpenState,
    /// How often it was sent.
    pub(crate) sends: i64,
    /// The poll in which it was last answered `NotNow`.
    pub(crate) notnow_poll: i64,
}

impl Open {
    /// Whether it was judged on another footing than this one, and may not stand.
    pub(crate) fn moved(&self, footing: i64) -> bool {
        self.footing != NEVER && self.footing != footing
    }
}
