//! Kinds of devices in the contract's words.
//!
//! Owns: the way from what the catalogue judges by to what a plugin hands back to it. Judges nothing: `catalogue` does.

use pomona_catalogue::{Channel, EnrollmentKind, Platform};
use pomona_engine::hooks::DeviceKind;

use crate::bindings::pomona::host::catalogue::Subject;
use crate::bindings::pomona::types::device;

/// A kind of device as a plugin asks about it.
pub(crate) fn subject(kind: &DeviceKind) -> Subject {
    let target = &kind.target;
    Subject {
        platform: match target.platform {
            Platform::Ios if kind.ipad => device::Platform::Ipados,
            Platform::Ios => device::Platform::Ios,
            Platform::Macos => device::Platform::Macos,
            Platform::Tvos => device::Platform::Tvos,
            Platform::Visionos => device::Platform::Visionos,
            Platform::Watchos => device::Platform::Watchos,
        },
        os_version: target
            .version
            .map(|version| version.to_string())
            .unwrap_or_default(),
        user_channel: target.channel == Channel::User,
        user_enrollment: target.enrollment == EnrollmentKind::User,
        supervised: target.supervised,
        automated: target.ade,
        user_approved: target.user_approved,
        shared_ipad: target.shared_ipad,
        access_rights: target.rights,
    }
}
