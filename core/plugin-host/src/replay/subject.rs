//! Kinds of devices in a record.
//!
//! Owns: making the engine's kind of device of what `recipients.kinds` gives in the contract's words, as far as a test needs to give it.

use pomona_catalogue::{Channel, EnrollmentKind, OsVersion, Platform, Target};
use pomona_engine::hooks::DeviceKind;
use serde_json::Value;
use wasmtime::component::Val;
use wasmtime::component::types::Type;

use super::members::{Members, Read, misfit};
use crate::json::below;

/// Members of a kind.
const SUBJECT: [&str; 9] = [
    "platform",
    "os-version",
    "user-channel",
    "user-enrollment",
    "supervised",
    "automated",
    "user-approved",
    "shared-ipad",
    "access-rights",
];

/// The kinds of devices that a command is for.
pub(super) fn kinds(told: &Value, at: &str) -> Read<Vec<DeviceKind>> {
    let items = told
        .as_array()
        .ok_or_else(|| misfit(at, "a list of kinds of devices", told))?;
    let items = items.iter().enumerate();
    items
        .map(|(n, one)| kind(one, &format!("{at}/{n}")))
        .collect()
}

fn kind(told: &Value, at: &str) -> Read<DeviceKind> {
    let told = Members::of(told, at, &SUBJECT)?;
    let family = told.text("platform")?.unwrap_or_default();
    let platform: Platform = family.parse().map_err(|_| {
        let expected = "ios, ipados, macos, tvos, visionos or watchos";
        let got = told.get("platform").unwrap_or(&Value::Null);
        misfit(&below(at, "platform"), expected, got)
    })?;
    let version = told.filled("os-version")?;
    let version = version.as_deref().map(str::parse::<OsVersion>).transpose();
    let version = version.map_err(|_| {
        let got = told.get("os-version").unwrap_or(&Value::Null);
        misfit(&below(at, "os-version"), "a version such as 17.4", got)
    })?;
    let truth = |name: &str| {
        Ok(match told.read(name, &Type::Bool)? {
            Some(Val::Bool(truth)) => Some(truth),
            _ => None,
        })
    };
    let user = |name: &str| Ok(truth(name)?.unwrap_or(false));
    Ok(DeviceKind {
        ipad: family == "ipados",
        target: Target {
            version,
            enrollment: match user("user-enrollment")? {
                true => EnrollmentKind::User,
                false => EnrollmentKind::Device,
            },
            channel: match user("user-channel")? {
                true => Channel::User,
                false => Channel::Device,
            },
            supervised: truth("supervised")?,
            ade: truth("automated")?,
            user_approved: truth("user-approved")?,
            shared_ipad: truth("shared-ipad")?,
            rights: match told.read("access-rights", &Type::U16)? {
                Some(Val::U16(rights)) => Some(rights),
                _ => None,
            },
            ..Target::of(platform)
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kind_is_read_as_far_as_it_is_given_and_what_is_none_is_named() {
        let read = kinds(
            &json!([
                { "platform": "ipados", "os-version": "17.4", "supervised": false, "automated": null },
                { "platform": "macos", "user-channel": true, "access-rights": 8191 },
            ]),
            "/answer/ok",
        )
        .unwrap();
        assert!(read[0].ipad);
        assert_eq!(read[0].target.supervised, Some(false));
        assert_eq!(read[0].target.ade, None);
        assert_eq!(read[1].target.channel, Channel::User);
        assert_eq!(read[1].target.rights, Some(8191));
        for (written, expected) in [
            (json!({}), "/a: expected a list of kinds"),
            (json!([{}]), "/a/0/platform: expected ios, ipados"),
            (
                json!([{ "platform": "ios", "os-version": "new" }]),
                "/a/0/os-version: expected a version",
            ),
            (
                json!([{ "platform": "ios", "color": 1 }]),
                "/a/0/color: there is no such member",
            ),
            (
                json!([{ "platform": "ios", "supervised": 1 }]),
                "/a/0/supervised: expected",
            ),
        ] {
            let told = kinds(&written, "/a").unwrap_err().to_string();
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
