//! What happened, as facts that are never changed.
//!
//! Owns: the kinds of events and the shape in which they are read. They are written by `store::events` in the
//! transaction of what they tell, numbered per device under the lock of its head row.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::actor::{Actor, Cause};
use crate::clock::Micros;
use crate::ids::{CommandId, DeviceId, EnrollmentId, TenantId};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal),+ $(,)?) => {
        /// What an event tells.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum EventKind {
            $($(#[doc = $doc])+ #[serde(rename = $word)] $name,)+
        }

        impl EventKind {
            /// All of them, in the order of a device's life.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word in tables, JSON and subscriptions.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// Reads the word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)+ _ => None }
            }

            /// What it tells, in a sentence.
            pub fn about(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

kinds! {
    /// A device asked to enroll (`Authenticate` was accepted).
    Authenticated = "authenticated",
    /// A generation became enabled by its first `TokenUpdate`.
    Enrolled = "enrolled",
    /// A renewed certificate took over; queue and tokens stayed.
    Renewed = "renewed",
    /// An enrollment waits in quarantine.
    Quarantined = "quarantined",
    /// An administrator or a hook released it.
    Released = "released",
    /// Push token, magic or unlock token changed.
    TokenUpdated = "token_updated",
    /// The device said that it leaves.
    CheckedOut = "checked_out",
    /// An administrator removed the enrollment.
    Removed = "removed",
    /// A pending or superseded enrollment ended.
    Ended = "ended",
    /// A bootstrap token was stored, replaced or deleted.
    BootstrapTokenSet = "bootstrap_token_set",
    /// A bootstrap token was handed to its device.
    BootstrapTokenRead = "bootstrap_token_read",
    /// A command was queued for this enrollment.
    CommandQueued = "command_queued",
    /// A command was sent for the first time or again.
    CommandDelivered = "command_delivered",
    /// The device answered `NotNow`.
    CommandNotNow = "command_not_now",
    /// The device's first outcome of a command.
    CommandOutcome = "command_outcome",
    /// A second, different report of the same command.
    ReportConflict = "report_conflict",
    /// A report of a command that was not sent to this enrollment.
    ReportOrphaned = "report_orphaned",
    /// A command was cancelled before the device could get it.
    CommandCancelled = "command_cancelled",
    /// A command was withdrawn after it had been sent.
    CommandWithdrawn = "command_withdrawn",
    /// A command was not wanted any more when its time came.
    CommandExpired = "command_expired",
    /// A hook refused a command before it was queued for this enrollment.
    CommandRefused = "command_refused",
    /// A second person has let a destructive command go.
    CommandApproved = "command_approved",
    /// A delivery hook, or the brake, held a command back.
    CommandHeld = "command_held",
    /// A session of the device began.
    SessionStarted = "session_started",
    /// APNs took a push.
    PushAccepted = "push_accepted",
    /// APNs refused a push.
    PushRefused = "push_refused",
    /// A request was refused because of who sent it.
    IdentityRefused = "identity_refused",
    /// An expired certificate was used by the enrollment that owns it.
    CertificateExpired = "certificate_expired",
    /// A certificate was issued to a device.
    CertificateIssued = "certificate_issued",
    /// A declarative status report arrived.
    DeclarativeStatus = "declarative_status",
    /// The device told something about itself that was not known, or is another than before.
    DeviceTold = "device_told",
    /// A profile that had been installed is not on the device any more; it is installed again.
    ProfileDrifted = "profile_drifted",
    /// A profile is not sent to the device as it is.
    ProfileRefused = "profile_refused",
    /// A profile is not tried any more, until somebody says so.
    ProfileGivenUp = "profile_given_up",
    /// A fact about the device was set.
    FactSet = "fact_set",
    /// A rule says something else of the device than before.
    FindingChanged = "finding_changed",
    /// A plugin wants another set of declarations on the device.
    DeclarationsChanged = "declarations_changed",
    /// A plugin could not say anything about the device; what it had said stands as unknown or stays.
    AssessmentFailed = "assessment_failed",
    /// A hook emitted its own event.
    Emitted = "emitted",
}

/// An event about to be written.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The tenant.
    pub tenant: TenantId,
    /// The device whose sequence it joins.
    pub device: DeviceId,
    /// The channel it concerns, if one.
    pub enrollment: Option<EnrollmentId>,
    /// What it tells.
    pub kind: EventKind,
    /// The command it concerns, if one.
    pub command: Option<CommandId>,
    /// Who did it.
    pub actor: Actor,
    /// What it follows from.
    pub cause: Cause,
    /// A few facts without secrets; `null` when there is nothing to add.
    pub body: serde_json::Value,
}

/// An event as it is read.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Event {
    /// The device whose sequence it belongs to.
    pub device_id: DeviceId,
    /// Its place in that sequence, from 1, without gaps.
    pub seq: i64,
    /// When, in microseconds since 1970.
    pub at: Micros,
    /// The tenant; not shown, since the path names it.
    #[serde(skip)]
    pub tenant_id: TenantId,
    /// The channel it concerns, if one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrollment_id: Option<EnrollmentId>,
    /// The user of that channel, for who watches events; empty for the device, and where it has only just been written.
    #[serde(skip)]
    pub user_key: String,
    /// What it tells.
    pub kind: EventKind,
    /// The command it concerns, if one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
    /// The kind of actor.
    pub actor_kind: &'static str,
    /// The actor's id, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<Uuid>,
    /// Facts without secrets.
    pub body: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Events\n\nWhat happened, as facts that are never changed: `pomona device timeline`, the admin API, and the hook `events` of plugins \
        (`kinds` in `[hooks.events]`). Each\nhas the device, a number in the device's sequence without gaps, the time, who did it, and a few facts without \
        secrets.\n\n| kind | what it tells |\n|---|---|\n";

    #[test]
    fn the_page_of_events_has_every_kind() {
        let rows = EventKind::ALL
            .iter()
            .map(|kind| format!("| `{}` | {} |\n", kind.as_str(), kind.about()));
        let page = format!("{HEAD}{}", rows.collect::<String>());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md");
        if std::env::var_os("POMONA_WRITE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).is_ok_and(|written| written == page),
            "run the tests with POMONA_WRITE_DOCS=1 to write docs/events.md again"
        );
    }
}
