//! What a device is asked on schedule.
//!
//! Owns: the questions, by what a device may answer as the catalogue says. Pure.

use plist::{Dictionary, Value};
use pomona_catalogue::{Catalogue, Class, Form, Target, Verdict};

use crate::judged::members;

/// What every device is asked about itself. It answers those that it knows and leaves out the others.
/// Source: Apple, "Device Information" command, `Queries`.
const QUERIES: [&str; 20] = [
    "UDID",
    "SerialNumber",
    "DeviceName",
    "Model",
    "ModelName",
    "ProductName",
    "OSVersion",
    "BuildVersion",
    "SupplementalOSVersionExtra",
    "SupplementalBuildVersion",
    "DeviceCapacity",
    "AvailableDeviceCapacity",
    "BatteryLevel",
    "IsSupervised",
    "IsMultiUser",
    "IsAppleSilicon",
    "IsActivationLockEnabled",
    "TimeZone",
    "WiFiMAC",
    "AwaitingConfiguration",
];
/// What a device that is enrolled for its user's own things is asked; the rest is not our business.
const QUERIES_OF_USERS: [&str; 6] = [
    "DeviceName",
    "Model",
    "ModelName",
    "ProductName",
    "OSVersion",
    "BuildVersion",
];

/// The questions for a device; one that has never said what it is is asked for that.
pub(crate) fn questions(target: Option<&Target>, user_enrollment: bool) -> Vec<Dictionary> {
    let queries: &[&str] = match user_enrollment {
        true => &QUERIES_OF_USERS,
        false => &QUERIES,
    };
    let queries = queries.iter().map(|name| Value::from(*name)).collect();
    let mut asked = vec![question("DeviceInformation", Some(("Queries", queries)))];
    if let Some(target) = target {
        let apps = match user_enrollment {
            true => "ManagedApplicationList",
            false => "InstalledApplicationList",
        };
        for name in ["SecurityInfo", "ProfileList", apps] {
            asked.push(question(name, None));
        }
        asked.retain(|command| answers(target, command));
    }
    asked
}

fn question(request_type: &str, list: Option<(&str, Vec<Value>)>) -> Dictionary {
    let mut command = Dictionary::new();
    command.insert("RequestType".into(), request_type.into());
    if let Some((key, values)) = list {
        command.insert(key.into(), Value::Array(values));
    }
    command
}

fn answers(target: &Target, command: &Dictionary) -> bool {
    let Some(name) = command.get("RequestType").and_then(Value::as_string) else {
        return false;
    };
    let told = Catalogue::shipped().preflight(
        target,
        Class::Command,
        name,
        &members(command),
        Form::Marked,
    );
    told.verdict != Verdict::Refused
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pomona_catalogue::{EnrollmentKind, Platform};

    use super::*;

    fn asked(target: Option<&Target>, user: bool) -> Vec<String> {
        let name = |command: &Dictionary| command["RequestType"].as_string().unwrap().to_owned();
        questions(target, user).iter().map(name).collect()
    }

    #[test]
    fn a_device_is_asked_what_it_may_answer() {
        assert_eq!(asked(None, false), ["DeviceInformation"]);
        let four = [
            "DeviceInformation",
            "SecurityInfo",
            "ProfileList",
            "InstalledApplicationList",
        ];
        for platform in Platform::ALL {
            let mut target = Target::of(platform);
            target.version = Some("18.3".parse().unwrap());
            let told = asked(Some(&target), false);
            assert_eq!(told, four, "{platform:?}");
        }
        let mut own = Target::of(Platform::Ios);
        own.enrollment = EnrollmentKind::User;
        own.version = Some("18.3".parse().unwrap());
        let told = asked(Some(&own), true);
        assert_eq!(
            told,
            [
                "DeviceInformation",
                "SecurityInfo",
                "ProfileList",
                "ManagedApplicationList"
            ]
        );
        let first = questions(Some(&own), true).remove(0);
        let queries = first["Queries"].as_array().unwrap().len();
        assert_eq!(queries, QUERIES_OF_USERS.len());
    }
}
