//! Says in sentences what stands in the way, what would mend it, and what works instead.
//!
//! Owns: the sentences, and the table of alternatives. Decides nothing.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::judge::{Cause, Channel, Target, Weight};
use crate::object::{Class, Object};
use crate::platform::Platform;
use crate::support::{RIGHTS, Right, Row};

/// One thing that an administrator should know before something is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub cause: Cause,
    /// What it does.
    pub weight: Weight,
    /// The key it concerns, as a path such as `ReturnToService/Enabled`; empty: the whole.
    pub key: String,
    /// What is the matter.
    pub message: String,
    /// What would mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What to ask the device for, where it is not known whether it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// What works on this device in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternative: Option<String>,
}

/// The finding for a cause.
pub(crate) fn finding(
    object: &Object,
    key: &str,
    target: &Target,
    row: &Row,
    (cause, weight): (Cause, Weight),
) -> Finding {
    let what = match key {
        "" => object.id.clone(),
        key => format!("{key} of {}", object.id),
    };
    let platform = name(target.platform);
    let since = row.since().map(|version| version.to_string());
    let since = since.as_deref().unwrap_or("a later version");
    let version = target.version.map(|version| version.to_string());
    let version = version.as_deref().unwrap_or("an unknown version");
    let message = match cause {
        Cause::Platform => format!("{what} is not there on {platform}"),
        Cause::Version if weight == Weight::Open => format!(
            "{what} works only on some versions of {platform}, and this device has not told its own"
        ),
        Cause::Version => format!("{what} needs {platform} {since}; this device has {version}"),
        Cause::Removed => format!(
            "{what} is gone since {platform} {}; this device has {version}",
            row.removed
                .map(|version| version.to_string())
                .unwrap_or_default()
        ),
        Cause::Deprecated => format!(
            "{what} is discouraged since {platform} {}",
            row.deprecated
                .map(|version| version.to_string())
                .unwrap_or_default()
        ),
        Cause::Channel => format!(
            "{what} is not carried by the channel of {}",
            match target.channel {
                Channel::Device => "the device",
                Channel::User => "a user",
            }
        ),
        Cause::UserEnrollment => format!("{what} is refused in a user enrollment"),
        Cause::DeviceEnrollment => format!("{what} is not taken by this kind of enrollment"),
        Cause::IgnoredByUserEnrollment => {
            format!("{what} is taken in a user enrollment and does nothing")
        }
        Cause::AccessRight => format!(
            "{what} takes the right {}, which the enrollment does not hold",
            right(row)
        ),
        Cause::Supervision if weight == Weight::Open => {
            format!(
                "{what} needs a supervised device, and whether this one is supervised is not known"
            )
        }
        Cause::Supervision => format!("{what} needs a supervised device; this one is not"),
        Cause::AutomatedEnrollment if weight == Weight::Open => format!(
            "{what} needs a device that came by Automated Device Enrollment, and how this one came is not known"
        ),
        Cause::AutomatedEnrollment => format!(
            "{what} needs a device that came by Automated Device Enrollment; this one was enrolled by a profile"
        ),
        Cause::UserApproval if weight == Weight::Open => format!(
            "{what} needs an enrollment that the Mac's user has approved, and whether this one is approved is not known"
        ),
        Cause::UserApproval => {
            format!("{what} needs an enrollment that the Mac's user has approved; this one is not")
        }
        Cause::SharedIpad if weight == Weight::Open => {
            format!(
                "{what} is refused by a Shared iPad, and whether this one is shared is not known"
            )
        }
        Cause::SharedIpad => format!("{what} is refused by a Shared iPad"),
        Cause::NoSharedIpad if weight == Weight::Open => {
            format!(
                "{what} works only on a Shared iPad, and whether this one is shared is not known"
            )
        }
        Cause::NoSharedIpad => {
            format!("{what} works only on a Shared iPad; this one is not shared")
        }
        Cause::IgnoredBySharedIpad => format!("{what} is taken by a Shared iPad and does nothing"),
        Cause::NameOnly => {
            format!("of {what} no more than the name is known: whether it works cannot be told")
        }
        Cause::Unknown => {
            format!("{what} is not known to this server: whether it works cannot be told")
        }
        Cause::Value => format!("{what} does not have a value that it may have"),
        Cause::Missing => format!("{what} must be there"),
    };
    let refused = weight == Weight::Refuses;
    Finding {
        cause,
        weight,
        key: key.to_owned(),
        message,
        fix: refused.then(|| fix(cause, target, row)).flatten(),
        // What may have changed since the device was last asked is worth asking again.
        ask: match (weight, cause) {
            (Weight::Open, _) | (Weight::Refuses, Cause::Version | Cause::UserApproval) => {
                ask(cause)
            }
            _ => None,
        },
        alternative: match weight {
            Weight::Open => None,
            Weight::Warns | Weight::Refuses => alternative(object, key, cause, target),
        },
    }
}

/// A platform as people say it.
fn name(platform: Platform) -> &'static str {
    match platform {
        Platform::Ios => "iOS and iPadOS",
        other => other.as_str(),
    }
}

fn right(row: &Row) -> String {
    let Some(Right::Bit(bit)) = row.right else {
        return String::new();
    };
    let mut text = bit.to_string();
    if let Some((_, name)) = RIGHTS.iter().find(|(other, _)| *other == bit) {
        let _ = write!(text, " ({name})");
    }
    text
}

fn fix(cause: Cause, target: &Target, row: &Row) -> Option<String> {
    let text = match cause {
        Cause::Version => match row.since() {
            Some(since) => format!("Update the device to {since} or later."),
            None => return None,
        },
        Cause::Supervision if target.platform == Platform::Macos => {
            "Enroll the Mac by Automated Device Enrollment, or have its user approve the enrollment in System Settings: \
             an approved Mac with macOS 11 or later counts as supervised."
                .into()
        }
        Cause::Supervision => {
            "Assign the device's serial number to this server in Apple School Manager or Apple Business Manager and enroll it by \
             Automated Device Enrollment, which erases it; or add it there with Apple Configurator."
                .into()
        }
        Cause::AutomatedEnrollment => {
            "Assign the device's serial number to this server in Apple School Manager or Apple Business Manager, erase it, and let \
             Setup Assistant enroll it."
                .into()
        }
        Cause::UserApproval => {
            "Have the Mac's user approve the enrollment in System Settings, or enroll it by Automated Device Enrollment.".into()
        }
        Cause::Channel => match target.channel {
            Channel::User => "Send it to the device instead of to a user.".into(),
            Channel::Device => "Send it to a user of the device.".into(),
        },
        Cause::AccessRight => {
            "Rights of an enrollment can only shrink: enroll the device again with a profile that asks for this right.".into()
        }
        Cause::UserEnrollment => {
            "A user enrollment stays one: enroll the device as a whole, with its owner's consent.".into()
        }
        Cause::NoSharedIpad => {
            "Enroll the iPad by Automated Device Enrollment with a profile that makes it shared.".into()
        }
        _ => return None,
    };
    Some(text)
}

/// Which query tells what is not known.
fn ask(cause: Cause) -> Option<String> {
    let text = match cause {
        Cause::Version => "DeviceInformation with the query OSVersion",
        Cause::Supervision => "DeviceInformation with the query IsSupervised",
        Cause::UserApproval | Cause::AutomatedEnrollment => {
            "SecurityInfo, whose ManagementStatus tells it on a Mac"
        }
        Cause::SharedIpad | Cause::NoSharedIpad => "DeviceInformation with the query IsMultiUser",
        _ => return None,
    };
    Some(text.to_owned())
}

/// What works in place of something that does not.
fn alternative(object: &Object, key: &str, cause: Cause, target: &Target) -> Option<String> {
    let shared = cause == Cause::SharedIpad;
    let text = match (object.class, object.id.as_str(), key) {
        (Class::Command, "EnableLostMode" | "DeviceLocation" | "PlayLostModeSound", "") => {
            "DeviceLock with a message and a phone number: the device must have a passcode."
        }
        (Class::Command, "RestartDevice" | "ShutDownDevice", "") => {
            "Ask the user to restart the device, or wait for the next update, which does."
        }
        (Class::Command, "ClearPasscode", "") if shared => {
            "Reset the passcode of the user's Managed Apple Account in Apple School Manager, and send LogOutUser."
        }
        (Class::Profile, "com.apple.mobiledevice.passwordpolicy", "") if shared => {
            "Settings with SharedDeviceConfiguration, whose PasscodePolicy holds for a Shared iPad."
        }
        (
            Class::Command,
            "ScheduleOSUpdate" | "ScheduleOSUpdateScan" | "AvailableOSUpdates" | "OSUpdateStatus",
            _,
        )
        | (Class::Profile, "com.apple.SoftwareUpdate", _) => {
            "The declarations com.apple.configuration.softwareupdate.enforcement.specific and \
             com.apple.configuration.softwareupdate.settings, and the status items softwareupdate.*."
        }
        (Class::Command, "Settings", key) if key.contains("SoftwareUpdateSettings") => {
            "The declaration com.apple.configuration.softwareupdate.settings."
        }
        (Class::Profile, "com.apple.app.lock", "") => {
            "An app that locks itself (Autonomous Single App Mode needs supervision too), or Guided Access by hand."
        }
        (Class::Profile, "com.apple.proxy.http.global", "") => {
            "A proxy in the Wi-Fi payload of each network."
        }
        (Class::Profile, "com.apple.applicationaccess", key) if key.contains("AppBundleIDs") => {
            "Deploy the apps that are wanted as managed apps, and restrict others by age rating."
        }
        (Class::Command, "SetFirmwarePassword" | "VerifyFirmwarePassword", "")
            if target.platform == Platform::Macos =>
        {
            "SetRecoveryLock, on a Mac with Apple silicon."
        }
        _ => return None,
    };
    Some(text.to_owned())
}
