//! Rules between the keys of a command, which the rows of the schema do not have.
//!
//! Owns: these rules, each with the command it is of. One that needs to know more of the device than is known does not speak.
//!
//! Source: the pages of the commands in Apple's device management documentation.

use serde_json::{Map, Value};

use crate::judge::Target;
use crate::platform::Platform;

/// A rule that is broken: the key, and the end of a sentence that names it.
pub(crate) type Broken = (&'static str, &'static str);

type Body = Map<String, Value>;

/// Keys without which a command does something that nobody wants who has set them.
const MEANS_ELSE: &[(&str, &str)] = &[
    ("EraseDevice", "ReturnToService"),
    ("EraseDevice", "ObliterationBehavior"),
];

/// Whether a command without this key is another command.
pub(crate) fn means_else(id: &str, key: &str) -> bool {
    MEANS_ELSE.contains(&(id, key))
}

/// Which rules of a command its keys break.
pub(crate) fn broken(id: &str, body: &Body, target: &Target) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut wrong = |holds: bool, key: &'static str, why: &'static str| {
        if !holds {
            broken.push((key, why));
        }
    };
    match id {
        "EnableLostMode" => wrong(
            any(body, &["Message", "PhoneNumber"]),
            "Message",
            "must be there, or PhoneNumber",
        ),
        "DeviceLock" | "EraseDevice" => {
            // Only a Mac looks at it.
            if let Some(pin) = body.get("PIN").and_then(Value::as_str)
                && target.platform == Platform::Macos
            {
                wrong(pin.chars().count() == 6, "PIN", "must have six characters");
            }
            if let Some(service) = body.get("ReturnToService").and_then(Value::as_object) {
                wrong(
                    !is(service, "Enabled")
                        || target.ade != Some(false)
                        || service.contains_key("MDMProfileData"),
                    "ReturnToService/MDMProfileData",
                    "must be there on a device that did not come by Automated Device Enrollment",
                );
            }
        }
        "DeleteUser" => {
            wrong(
                any(body, &["UserName"]) || is(body, "DeleteAllUsers"),
                "UserName",
                "must be there, or DeleteAllUsers must be true",
            );
        }
        "InstallApplication" => {
            let ways = ["iTunesStoreID", "Identifier", "ManifestURL"];
            wrong(
                any(body, &ways),
                "Identifier",
                "must be there, or iTunesStoreID or ManifestURL",
            );
            wrong(
                secure(body, "ManifestURL"),
                "ManifestURL",
                "must begin with https:",
            );
            wrong(
                !body.contains_key("ChangeManagementState")
                    || is(body, "InstallAsManaged")
                    || target.platform != Platform::Macos,
                "InstallAsManaged",
                "must be true where ChangeManagementState is there",
            );
        }
        "InstallEnterpriseApplication" => {
            wrong(
                any(body, &["Manifest", "ManifestURL"]),
                "Manifest",
                "must be there, or ManifestURL",
            );
            wrong(
                secure(body, "ManifestURL"),
                "ManifestURL",
                "must begin with https:",
            );
        }
        "RotateFileVaultKey" => rotate(body, &mut wrong),
        "SetFirmwarePassword" => {
            let text = body.get("NewPassword").and_then(Value::as_str);
            wrong(
                text.is_none_or(|text| text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))),
                "NewPassword",
                "may hold printable ASCII characters only: others cannot be typed at start-up",
            );
        }
        "AccountConfiguration" => {
            let admin = body
                .get("AutoSetupAdminAccounts")
                .and_then(Value::as_array)
                .is_some_and(|accounts| !accounts.is_empty());
            for key in [
                "SkipPrimarySetupAccountCreation",
                "SetPrimarySetupAccountAsRegularUser",
            ] {
                wrong(
                    !is(body, key) || admin,
                    "AutoSetupAdminAccounts",
                    "must name an account where no administrator would be made otherwise",
                );
            }
            wrong(
                !(is(body, "LockPrimaryAccountInfo")
                    && is(body, "DontAutoPopulatePrimaryAccountInfo")),
                "LockPrimaryAccountInfo",
                "and DontAutoPopulatePrimaryAccountInfo may not both be true",
            );
        }
        "InstallMedia" => wrong(
            any(body, &["iTunesStoreID", "MediaURL"]),
            "iTunesStoreID",
            "must be there, or MediaURL",
        ),
        "Settings" => settings(body, &mut wrong),
        _ => {}
    }
    broken.dedup();
    broken
}

fn rotate(body: &Body, wrong: &mut impl FnMut(bool, &'static str, &'static str)) {
    let none = Map::new();
    let unlock = body.get("FileVaultUnlock").and_then(Value::as_object);
    let unlock = unlock.unwrap_or(&none);
    let both =
        unlock.contains_key("PrivateKeyExport") && unlock.contains_key("PrivateKeyExportPassword");
    wrong(
        unlock.contains_key("Password") || both,
        "FileVaultUnlock/Password",
        "must be there, or both PrivateKeyExport and PrivateKeyExportPassword",
    );
    if body.get("KeyType").and_then(Value::as_str) == Some("institutional") {
        wrong(
            body.contains_key("NewCertificate"),
            "NewCertificate",
            "must be there where KeyType is institutional",
        );
    }
}

fn settings(body: &Body, wrong: &mut impl FnMut(bool, &'static str, &'static str)) {
    let items = body.get("Settings").and_then(Value::as_array);
    let shared = |item: &&Value| {
        item.get("Item").and_then(Value::as_str) == Some("SharedDeviceConfiguration")
    };
    for item in items.into_iter().flatten().filter(shared) {
        let number = |name: &str| item.get(name).and_then(Value::as_i64);
        for (name, path) in [
            (
                "UserSessionTimeout",
                "Settings/SharedDeviceConfiguration/UserSessionTimeout",
            ),
            (
                "TemporarySessionTimeout",
                "Settings/SharedDeviceConfiguration/TemporarySessionTimeout",
            ),
        ] {
            wrong(
                number(name).is_none_or(|seconds| seconds == 0 || seconds >= 30),
                path,
                "must be 30 seconds or more, or 0 for none",
            );
        }
    }
}

fn any(body: &Body, names: &[&str]) -> bool {
    names.iter().any(|name| body.contains_key(*name))
}

fn is(body: &Body, name: &str) -> bool {
    body.get(name).and_then(Value::as_bool) == Some(true)
}

/// What is not there is no wrong address.
fn secure(body: &Body, name: &str) -> bool {
    let url = body.get(name).and_then(Value::as_str);
    url.is_none_or(|url| {
        url.get(..6)
            .is_some_and(|head| head.eq_ignore_ascii_case("https:"))
    })
}
