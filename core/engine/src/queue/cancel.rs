//! What cancelling a command does (Q10).

use super::{Disposition, Open, OpenState};

/// What a cancellation could still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancellation {
    /// The device will never get it (again).
    Cancelled,
    /// It is not sent again; the device may still have run it.
    Withdrawn,
}

impl Cancellation {
    pub(crate) fn disposition(self) -> Disposition {
        match self {
            Self::Cancelled => Disposition::Cancelled,
            Self::Withdrawn => Disposition::Withdrawn,
        }
    }

    /// The word that the caller is told. It never claims more than is known.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Cancels an open delivery. A device that answered `NotNow` keeps no copy, so that is as good as never sent.
pub(crate) fn cancel(open: &Open) -> Cancellation {
    match open.state {
        OpenState::Queued | OpenState::NotNow => Cancellation::Cancelled,
        OpenState::Sent => Cancellation::Withdrawn,
    }
}
