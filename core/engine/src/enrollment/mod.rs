//! The rules of enrollment and identity, as pure functions over values.
//!
//! Owns: whether a certificate may act for an enrollment (`bind`), what an `Authenticate` opens
//! (`authenticate`), what a `TokenUpdate` turns it into (`token_update`). Never sees a transaction, a clock or a
//! row. The numbers E1 to E11 in comments are the invariants that these rules carry.
//!
//! Source: Apple, "Check-in" (Authenticate, TokenUpdate, CheckOut); the generations are ours.

mod authenticate;
mod bind;
#[cfg(test)]
mod tests;
mod token_update;

pub(crate) use authenticate::{Opening, authenticate};
pub(crate) use bind::{Standing, bind};
pub(crate) use token_update::{Enabling, token_update};

use crate::clock::Micros;
use crate::ids::{CertificateId, EnrollmentId};

/// Where a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateState {
    /// Issued, or seen for the first time; no `Authenticate` was accepted under it.
    Issued,
    /// `Authenticate` was accepted; the `TokenUpdate` is awaited.
    Pending,
    /// It acts for its enrollment.
    Active,
    /// A renewal took its place; it may act until the new one's first report (E5).
    Superseded,
    /// It never acts again (E7).
    Revoked,
}

impl CertificateState {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Issued => 0,
            Self::Pending => 1,
            Self::Active => 2,
            Self::Superseded => 3,
            Self::Revoked => 4,
        }
    }

    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            0 => Self::Issued,
            1 => Self::Pending,
            2 => Self::Active,
            3 => Self::Superseded,
            _ => Self::Revoked,
        }
    }
}

/// Where an enrollment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnrollmentState {
    /// Opened by an `Authenticate`, awaiting its `TokenUpdate`. Nothing is delivered (E4).
    Pending,
    /// Enrolled, but gets no command, no secret and no token until it is released (E3).
    Quarantined,
    /// Enrolled.
    Enabled,
    /// Over.
    Ended,
}

impl EnrollmentState {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Quarantined => 1,
            Self::Enabled => 2,
            Self::Ended => 3,
        }
    }

    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            0 => Self::Pending,
            1 => Self::Quarantined,
            2 => Self::Enabled,
            _ => Self::Ended,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Quarantined => "quarantined",
            Self::Enabled => "enabled",
            Self::Ended => "ended",
        }
    }
}

/// Why a certificate exists, and for which device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An enrollment link, an external authority or an import. It may name its device.
    Enrollment {
        ident: Option<String>,
        serial_number: Option<String>,
    },
    /// The renewal of this enrollment's certificate (E5).
    Renewal { enrollment: EnrollmentId },
}

/// A certificate and its grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) id: CertificateId,
    pub(crate) state: CertificateState,
    pub(crate) origin: Origin,
    /// The grant has not been ended, and a link's or an authority's has not run out.
    pub(crate) grant_open: bool,
    /// The device-channel enrollment it was bound to.
    pub(crate) enrollment: Option<EnrollmentId>,
}

/// A device-channel enrollment of the claimed device that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) id: EnrollmentId,
    pub(crate) generation: i64,
    pub(crate) state: EnrollmentState,
}

/// What is known of the claimed device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    /// The device exists.
    pub(crate) known: bool,
    /// When it left (CheckOut or removal), if it has not come back since.
    pub(crate) left_at: Option<Micros>,
    /// When it last spoke on an enabled channel.
    pub(crate) last_seen_at: Option<Micros>,
    /// The highest generation it ever had.
    pub(crate) generation: i64,
    /// Its device-channel enrollments that have not ended.
    pub(crate) current: Vec<Current>,
}

/// Why a request is refused. Never says more to the device than that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The certificate is not one of this tenant's.
    #[error("unknown_certificate")]
    UnknownCertificate,
    /// The certificate was revoked.
    #[error("revoked_certificate")]
    RevokedCertificate,
    /// The certificate belongs to another device than the body names.
    #[error("foreign_device")]
    ForeignDevice,
    /// The grant ran out or was ended before it was used.
    #[error("grant_ended")]
    GrantEnded,
    /// No `Authenticate` came before, or the enrollment is over.
    #[error("not_enrolled")]
    NotEnrolled,
    /// The `Topic` is not the one of this generation's profile (E11).
    #[error("foreign_topic")]
    ForeignTopic,
    /// Too many enrollments of this device wait in quarantine.
    #[error("quarantine_full")]
    QuarantineFull,
    /// A hook denied the enrollment.
    #[error("denied")]
    Denied,
}

impl Refusal {
    /// The stable word for logs, metrics and events.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::UnknownCertificate => "unknown_certificate",
            Self::RevokedCertificate => "revoked_certificate",
            Self::ForeignDevice => "foreign_device",
            Self::GrantEnded => "grant_ended",
            Self::NotEnrolled => "not_enrolled",
            Self::ForeignTopic => "foreign_topic",
            Self::QuarantineFull => "quarantine_full",
            Self::Denied => "denied",
        }
    }
}
