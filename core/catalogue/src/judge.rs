//! Whether a device takes something, by the rows of what it is and of what it stands in.
//!
//! Owns: the rules over a row, in the order in which an administrator wants to hear of them: platform, version, channel, enrollment,
//! right, supervision, Automated Device Enrollment, approval, Shared iPad. What is not known of the device refuses nothing; it says what
//! to ask for first. Sentences are in `explain`.
//!
//! Source: Apple's device management schema, `supportedOS`.

use serde::{Deserialize, Serialize};

use crate::platform::Platform;
use crate::support::{Enrollment, Mode, Right, Row, Scope};
use crate::version::OsVersion;

/// How a device is enrolled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnrollmentKind {
    /// The whole device.
    #[default]
    Device,
    /// Only what its user has handed over: a user enrollment.
    User,
}

/// The channel that something is sent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The device's own.
    #[default]
    Device,
    /// A user's.
    User,
}

/// What is known of a device. What is `None` is not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its platform.
    pub platform: Platform,
    /// Its version.
    #[serde(default)]
    pub version: Option<OsVersion>,
    /// How it is enrolled.
    #[serde(default)]
    pub enrollment: EnrollmentKind,
    /// The channel.
    #[serde(default)]
    pub channel: Channel,
    /// Whether it is supervised.
    #[serde(default)]
    pub supervised: Option<bool>,
    /// Whether it came by Automated Device Enrollment.
    #[serde(default)]
    pub ade: Option<bool>,
    /// macOS: whether its user has approved the enrollment.
    #[serde(default)]
    pub user_approved: Option<bool>,
    /// iPadOS: whether it is a Shared iPad.
    #[serde(default)]
    pub shared_ipad: Option<bool>,
    /// The `AccessRights` of the enrollment.
    #[serde(default)]
    pub rights: Option<u16>,
}

impl Target {
    /// A device of which no more is known.
    #[must_use]
    pub fn of(platform: Platform) -> Self {
        Self {
            platform,
            version: None,
            enrollment: EnrollmentKind::default(),
            channel: Channel::default(),
            supervised: None,
            ade: None,
            user_approved: None,
            shared_ipad: None,
            rights: None,
        }
    }
}

/// What stands in the way, or might.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The platform does not have it.
    Platform,
    /// The device's version is older.
    Version,
    /// It is gone in the device's version.
    Removed,
    /// It is discouraged in the device's version.
    Deprecated,
    /// The channel does not carry it.
    Channel,
    /// A user enrollment refuses it.
    UserEnrollment,
    /// Only a user enrollment takes it.
    DeviceEnrollment,
    /// A user enrollment takes it and does nothing.
    IgnoredByUserEnrollment,
    /// The enrollment does not hold the right.
    AccessRight,
    /// The device is not supervised.
    Supervision,
    /// It did not come by Automated Device Enrollment.
    AutomatedEnrollment,
    /// Its user has not approved the enrollment.
    UserApproval,
    /// A Shared iPad refuses it.
    SharedIpad,
    /// Only a Shared iPad takes it.
    NoSharedIpad,
    /// A Shared iPad takes it and does nothing.
    IgnoredBySharedIpad,
    /// No more than the name is known.
    NameOnly,
    /// The catalogue knows no such thing.
    Unknown,
    /// A value is not as it must be.
    Value,
    /// Something that must be there is not.
    Missing,
}

/// What a cause does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// It works, and there is something to know.
    Warns,
    /// Whether it works cannot be told.
    Open,
    /// It does not work.
    Refuses,
}

/// A cause with its weight, and what says so.
pub(crate) type Judged = (Cause, Weight);

/// Judges one row.
pub(crate) fn row(target: &Target, row: &Row) -> Vec<Judged> {
    let mut found = Vec::new();
    let Some(since) = row.since() else {
        return vec![(Cause::Platform, Weight::Refuses)];
    };
    version(target, row, since, &mut found);
    enrollment(target, row, &mut found);
    if let (Some(Right::Bit(bit)), Some(held), EnrollmentKind::Device) =
        (row.right, target.rights, target.enrollment)
        && held & bit == 0
    {
        found.push((Cause::AccessRight, Weight::Refuses));
    }
    for (wanted, known, cause) in [
        (row.supervised, target.supervised, Cause::Supervision),
        (row.requires_ade, target.ade, Cause::AutomatedEnrollment),
        (
            row.user_approved,
            // Automated Device Enrollment needs no approval.
            target.user_approved.or(target.ade.filter(|ade| *ade)),
            Cause::UserApproval,
        ),
    ] {
        match (wanted, known) {
            (Some(true), Some(false)) => found.push((cause, Weight::Refuses)),
            (Some(true), None) => found.push((cause, Weight::Open)),
            _ => {}
        }
    }
    channel(target, row, &mut found);
    found.sort_by_key(|(cause, _)| *cause);
    found
}

fn version(target: &Target, row: &Row, since: OsVersion, found: &mut Vec<Judged>) {
    match target.version {
        None => {
            // Every device that speaks the protocol today is newer than this.
            let old = match target.platform {
                Platform::Ios | Platform::Macos | Platform::Tvos => OsVersion::new(11, 0),
                Platform::Visionos | Platform::Watchos => OsVersion::new(1, 0),
            };
            if since > old || row.removed.is_some() {
                found.push((Cause::Version, Weight::Open));
            }
        }
        Some(version) if version < since => found.push((Cause::Version, Weight::Refuses)),
        Some(version) if row.removed.is_some_and(|removed| version >= removed) => {
            found.push((Cause::Removed, Weight::Refuses));
        }
        Some(version) if row.deprecated.is_some_and(|since| version >= since) => {
            found.push((Cause::Deprecated, Weight::Warns));
        }
        Some(_) => {}
    }
}

fn enrollment(target: &Target, row: &Row, found: &mut Vec<Judged>) {
    let user = target.enrollment == EnrollmentKind::User;
    match row.user_enrollment {
        Some(Mode::Forbidden) if user => found.push((Cause::UserEnrollment, Weight::Refuses)),
        Some(Mode::Required) if !user => found.push((Cause::DeviceEnrollment, Weight::Refuses)),
        Some(Mode::Ignored) if user => {
            found.push((Cause::IgnoredByUserEnrollment, Weight::Warns));
        }
        _ => {}
    }
    let Some(kinds) = &row.enrollments else {
        return;
    };
    let takes = |kind: Enrollment| kinds.contains(&kind);
    match (user, target.supervised) {
        (true, _) if !takes(Enrollment::User) => {
            found.push((Cause::UserEnrollment, Weight::Refuses));
        }
        (false, _) if takes(Enrollment::Device) => {}
        (false, _) if !takes(Enrollment::Supervised) => {
            found.push((Cause::DeviceEnrollment, Weight::Refuses));
        }
        (false, Some(false)) => found.push((Cause::Supervision, Weight::Refuses)),
        (false, None) => found.push((Cause::Supervision, Weight::Open)),
        _ => {}
    }
}

/// Which channel carries it, where a platform has two: macOS, and an iPad that is shared.
fn channel(target: &Target, row: &Row, found: &mut Vec<Judged>) {
    let user = target.channel == Channel::User;
    let carried = |device: Option<bool>, users: Option<bool>, scopes: &Option<Vec<Scope>>| {
        let scope = match user {
            true => Scope::User,
            false => Scope::System,
        };
        match (scopes, user) {
            (Some(scopes), _) => scopes.contains(&scope),
            (None, true) => users.unwrap_or(false),
            (None, false) => device.unwrap_or(true),
        }
    };
    let wrong = (Cause::Channel, Weight::Refuses);
    match target.platform {
        Platform::Macos => {
            if !carried(row.device_channel, row.user_channel, &row.scopes) {
                found.push(wrong);
            }
        }
        Platform::Ios => {
            let shared = row.shared_ipad.clone().unwrap_or_default();
            let is_shared = match user {
                // Only a Shared iPad has channels of users.
                true => Some(true),
                false => target.shared_ipad,
            };
            match (shared.mode, is_shared) {
                (Some(Mode::Forbidden), Some(true)) => {
                    found.push((Cause::SharedIpad, Weight::Refuses));
                }
                (Some(Mode::Required), Some(false)) => {
                    found.push((Cause::NoSharedIpad, Weight::Refuses));
                }
                (Some(Mode::Required), None) => found.push((Cause::NoSharedIpad, Weight::Open)),
                (Some(Mode::Forbidden), None) => found.push((Cause::SharedIpad, Weight::Open)),
                (Some(Mode::Ignored), Some(true)) => {
                    found.push((Cause::IgnoredBySharedIpad, Weight::Warns));
                }
                (_, Some(true)) => {
                    let scopes = shared.scopes.or_else(|| row.scopes.clone());
                    if !carried(shared.device_channel, shared.user_channel, &scopes) {
                        found.push(wrong);
                    }
                }
                _ => {}
            }
        }
        Platform::Tvos | Platform::Visionos | Platform::Watchos if user => found.push(wrong),
        Platform::Tvos | Platform::Visionos | Platform::Watchos => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(target: &str, support: &str) -> Vec<String> {
        let target: Target = serde_json::from_str(target).unwrap();
        let found = row(&target, &serde_json::from_str(support).unwrap());
        found
            .iter()
            .map(|(cause, weight)| {
                let word = |value| serde_json::to_value(value).unwrap();
                format!(
                    "{} {}",
                    word(&serde_json::to_value(cause).unwrap())
                        .as_str()
                        .unwrap(),
                    word(&serde_json::to_value(weight).unwrap())
                        .as_str()
                        .unwrap()
                )
            })
            .collect()
    }

    #[test]
    fn each_condition_has_its_cause() {
        let ios = |more: &str| format!(r#"{{"platform":"iOS"{more}}}"#);
        let mac = |more: &str| format!(r#"{{"platform":"macOS"{more}}}"#);
        for (target, support, expected) in [
            (ios(""), r#"{"in":"-"}"#, vec!["platform refuses"]),
            (
                ios(r#","version":"16.7""#),
                r#"{"in":"17.0"}"#,
                vec!["version refuses"],
            ),
            (ios(r#","version":"17.0""#), r#"{"in":"17.0"}"#, vec![]),
            (ios(""), r#"{"in":"17.0"}"#, vec!["version open"]),
            (ios(""), r#"{"in":"4.0"}"#, vec![]),
            (
                ios(""),
                r#"{"in":"4.0","rem":"27.0"}"#,
                vec!["version open"],
            ),
            (
                ios(r#","version":"27.0""#),
                r#"{"in":"9.0","dep":"26.0","rem":"27.0"}"#,
                vec!["removed refuses"],
            ),
            (
                ios(r#","version":"26.9""#),
                r#"{"in":"9.0","dep":"26.0","rem":"27.0"}"#,
                vec!["deprecated warns"],
            ),
            (
                ios(r#","supervised":false"#),
                r#"{"in":"4.0","sup":true}"#,
                vec!["supervision refuses"],
            ),
            (
                ios(r#","supervised":true"#),
                r#"{"in":"4.0","sup":true}"#,
                vec![],
            ),
            (
                ios(""),
                r#"{"in":"4.0","sup":true}"#,
                vec!["supervision open"],
            ),
            (
                ios(r#","ade":false"#),
                r#"{"in":"4.0","ade":true}"#,
                vec!["automated-enrollment refuses"],
            ),
            (
                mac(r#","user_approved":false"#),
                r#"{"in":"10.14","uam":true}"#,
                vec!["user-approval refuses"],
            ),
            (mac(r#","ade":true"#), r#"{"in":"10.7","uam":true}"#, vec![]),
            (
                ios(r#","rights":4"#),
                r#"{"in":"4.0","right":8}"#,
                vec!["access-right refuses"],
            ),
            (
                ios(r#","rights":8191"#),
                r#"{"in":"4.0","right":8}"#,
                vec![],
            ),
            (
                ios(r#","rights":4,"enrollment":"user""#),
                r#"{"in":"4.0","right":8}"#,
                vec![],
            ),
            (
                ios(r#","enrollment":"user""#),
                r#"{"in":"4.0","ue":"forbidden"}"#,
                vec!["user-enrollment refuses"],
            ),
            (
                ios(r#","enrollment":"user""#),
                r#"{"in":"4.0","ue":"ignored"}"#,
                vec!["ignored-by-user-enrollment warns"],
            ),
            (
                ios(""),
                r#"{"in":"4.0","ue":"required"}"#,
                vec!["device-enrollment refuses"],
            ),
            (
                mac(r#","channel":"user""#),
                r#"{"in":"10.7","dev":true,"user":false}"#,
                vec!["channel refuses"],
            ),
            (
                mac(""),
                r#"{"in":"10.7","dev":false,"user":true}"#,
                vec!["channel refuses"],
            ),
            (
                ios(r#","channel":"user""#),
                r#"{"in":"4.0","si":{"mode":"allowed","dev":true,"user":false}}"#,
                vec!["channel refuses"],
            ),
            (
                ios(r#","channel":"user""#),
                r#"{"in":"4.0"}"#,
                vec!["channel refuses"],
            ),
            (
                ios(r#","shared_ipad":true"#),
                r#"{"in":"4.0","si":{"mode":"forbidden"}}"#,
                vec!["shared-ipad refuses"],
            ),
            (
                ios(r#","shared_ipad":false"#),
                r#"{"in":"4.0","si":{"mode":"required"}}"#,
                vec!["no-shared-ipad refuses"],
            ),
            (
                ios(""),
                r#"{"in":"4.0","si":{"mode":"required"}}"#,
                vec!["no-shared-ipad open"],
            ),
            (
                ios(r#","shared_ipad":true"#),
                r#"{"in":"4.0","si":{"mode":"ignored"}}"#,
                vec!["ignored-by-shared-ipad warns"],
            ),
            (
                r#"{"platform":"tvOS","channel":"user"}"#.into(),
                r#"{"in":"9.0"}"#,
                vec!["channel refuses"],
            ),
            (
                ios(r#","supervised":false"#),
                r#"{"in":"11.0","enr":["supervised"],"scopes":["system"]}"#,
                vec!["supervision refuses"],
            ),
            (
                ios(r#","supervised":false"#),
                r#"{"in":"11.0","enr":["supervised","device"]}"#,
                vec![],
            ),
            (
                ios(r#","enrollment":"user""#),
                r#"{"in":"11.0","enr":["supervised","device"]}"#,
                vec!["user-enrollment refuses"],
            ),
            (
                mac(r#","channel":"user","supervised":true"#),
                r#"{"in":"11.0","enr":["supervised"],"scopes":["system"]}"#,
                vec!["channel refuses"],
            ),
            (
                ios(r#","version":"16.0","supervised":false,"rights":1"#),
                r#"{"in":"17.0","sup":true,"right":2}"#,
                vec![
                    "version refuses",
                    "access-right refuses",
                    "supervision refuses",
                ],
            ),
        ] {
            assert_eq!(told(&target, support), expected, "{target} {support}");
        }
    }
}
