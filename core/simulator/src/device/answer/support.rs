//! Which commands a kind of device knows.
//!
//! Owns the table. Never looks at a command's keys. Source: the platform columns of Apple's
//! command pages, as of version 18.3.

use crate::device::hardware::{Hardware, Platform};

const PHONE: u8 = 1;
const MAC: u8 = 2;
const TV: u8 = 4;
const WATCH: u8 = 8;
const GOGGLES: u8 = 16;
const ALL: u8 = PHONE | MAC | TV | WATCH | GOGGLES;

/// Name, platforms, needs supervision, exists on a user channel too.
const COMMANDS: &[(&str, u8, bool, bool)] = &[
    ("AccountConfiguration", MAC, false, false),
    (
        "ActivationLockBypassCode",
        PHONE | MAC | GOGGLES,
        true,
        false,
    ),
    ("AvailableOSUpdates", PHONE | MAC | TV, true, false),
    ("CertificateList", ALL, false, true),
    (
        "ClearActivationLockBypassCode",
        PHONE | MAC | GOGGLES,
        true,
        false,
    ),
    ("ClearPasscode", PHONE | WATCH | GOGGLES, false, false),
    ("ClearRestrictionsPassword", PHONE, true, false),
    ("DeclarativeManagement", ALL, false, true),
    ("DeviceConfigured", PHONE | MAC | TV | GOGGLES, false, false),
    ("DeviceInformation", ALL, false, true),
    ("DeviceLocation", PHONE, true, false),
    ("DeviceLock", PHONE | MAC | WATCH | GOGGLES, false, false),
    ("DisableLostMode", PHONE, true, false),
    ("DisableRemoteDesktop", MAC, true, false),
    ("EnableLostMode", PHONE, true, false),
    ("EnableRemoteDesktop", MAC, true, false),
    ("EraseDevice", ALL, false, false),
    ("InstallApplication", ALL, false, true),
    ("InstallEnterpriseApplication", MAC, false, false),
    ("InstallProfile", ALL, false, true),
    ("InstalledApplicationList", ALL, false, true),
    (
        "ManagedApplicationAttributes",
        PHONE | TV | WATCH | GOGGLES,
        false,
        false,
    ),
    ("ManagedApplicationConfiguration", ALL, false, false),
    (
        "ManagedApplicationFeedback",
        PHONE | MAC | TV | GOGGLES,
        false,
        true,
    ),
    ("ManagedApplicationList", ALL, false, true),
    ("ManagedMediaList", PHONE, false, false),
    ("OSUpdateStatus", PHONE | MAC | TV, true, false),
    ("PlayLostModeSound", PHONE, true, false),
    ("ProfileList", ALL, false, true),
    ("ProvisioningProfileList", ALL, false, false),
    ("RemoveApplication", ALL, false, false),
    ("RemoveProfile", ALL, false, true),
    ("RequestMirroring", PHONE | MAC, false, false),
    ("RestartDevice", PHONE | MAC | TV, true, false),
    ("Restrictions", PHONE | TV | WATCH | GOGGLES, false, true),
    ("RotateFileVaultKey", MAC, false, false),
    ("ScheduleOSUpdate", PHONE | MAC | TV, true, false),
    ("ScheduleOSUpdateScan", MAC, true, false),
    ("SecurityInfo", ALL, false, true),
    ("SetAutoAdminPassword", MAC, false, false),
    ("SetFirmwarePassword", MAC, false, false),
    ("SetRecoveryLock", MAC, false, false),
    ("Settings", ALL, false, true),
    ("ShutDownDevice", PHONE | MAC, true, false),
    ("StopMirroring", PHONE | MAC, false, false),
    ("UnlockUserAccount", MAC, false, false),
    ("VerifyFirmwarePassword", MAC, false, false),
    ("VerifyRecoveryLock", MAC, false, false),
];

/// Commands that a Shared iPad lacks on its device channel.
const NOT_SHARED: &[&str] = &[
    "ActivationLockBypassCode",
    "ClearActivationLockBypassCode",
    "ClearPasscode",
    "ClearRestrictionsPassword",
];

/// What a user of a Shared iPad can be sent.
const SHARED_USER: &[&str] = &[
    "DeclarativeManagement",
    "DeviceInformation",
    "InstallProfile",
    "ProfileList",
    "RemoveProfile",
    "Restrictions",
    "Settings",
];

/// True when a device of this kind carries the command out on this channel.
pub(super) fn supports(
    hardware: &Hardware,
    user_channel: bool,
    supervised: bool,
    command: &str,
) -> bool {
    let platform = hardware.platform;
    let bit = match platform {
        Platform::IPhone | Platform::IPad | Platform::SharedIpad => PHONE,
        Platform::Mac => MAC,
        Platform::AppleTv => TV,
        Platform::Watch => WATCH,
        Platform::VisionPro => GOGGLES,
    };
    match command {
        "DeclarativeManagement" if !hardware.declarative() => return false,
        // Known to iOS as such, but only where there are users.
        "UserList" | "DeleteUser" => {
            let has_users = matches!(platform, Platform::SharedIpad | Platform::Mac);
            return has_users && supervised && !user_channel;
        }
        "LogOutUser" => return platform == Platform::SharedIpad && !user_channel,
        "UserConfigured" => return platform == Platform::SharedIpad && user_channel,
        _ => {}
    }
    if platform == Platform::SharedIpad {
        if user_channel {
            return SHARED_USER.contains(&command);
        }
        if NOT_SHARED.contains(&command) {
            return false;
        }
    }
    let found = COMMANDS.iter().find(|(name, ..)| *name == command);
    found.is_some_and(|(_, platforms, needs_supervision, on_user)| {
        platforms & bit != 0 && (supervised || !needs_supervision) && (*on_user || !user_channel)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn support_depends_on_platform_channel_and_supervision() {
        for (platform, user, supervised, command, expected) in [
            (Platform::IPhone, false, true, "EnableLostMode", true),
            (Platform::IPhone, false, false, "EnableLostMode", false),
            (Platform::Mac, false, true, "ClearPasscode", false),
            (Platform::Mac, true, true, "InstallProfile", true),
            (Platform::Mac, true, true, "EraseDevice", false),
            (Platform::SharedIpad, false, true, "LogOutUser", true),
            (Platform::IPad, false, true, "LogOutUser", false),
            (Platform::SharedIpad, false, true, "ClearPasscode", false),
            (Platform::SharedIpad, true, true, "SecurityInfo", false),
            (Platform::AppleTv, false, true, "DeviceLock", false),
            (Platform::IPhone, false, true, "MakeCoffee", false),
        ] {
            let hardware = Hardware::draw(platform, &mut Dice::new(1));
            let supported = supports(&hardware, user, supervised, command);
            assert_eq!(
                supported, expected,
                "{platform:?} {user} {supervised} {command}"
            );
        }
    }
}
