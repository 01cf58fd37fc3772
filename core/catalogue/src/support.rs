//! Where something is supported: one row a platform, in which a key says only what differs from what it stands in.
//!
//! Owns: the rows and how they inherit. Judges nothing: `judge` does.
//!
//! Source: Apple's device management schema, `supportedOS`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::platform::Platform;
use crate::version::OsVersion;

/// Support by platform. On an object a platform without a row does not have it; on a key it is as for what the key stands in.
pub type Support = BTreeMap<Platform, Row>;

/// Since when something exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Since {
    /// Never, on this platform.
    Never,
    /// From this version on.
    Version(OsVersion),
}

impl From<Since> for String {
    fn from(since: Since) -> Self {
        match since {
            Since::Never => "-".to_owned(),
            Since::Version(version) => version.to_string(),
        }
    }
}

impl TryFrom<String> for Since {
    type Error = crate::version::NotAVersion;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "-" => Ok(Self::Never),
            text => Ok(Self::Version(text.parse()?)),
        }
    }
}

/// The right of the enrollment that a command takes, as a bit of `AccessRights`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "i16", from = "i16")]
pub enum Right {
    /// None.
    None,
    /// This bit.
    Bit(u16),
    /// What each key asks for.
    PerKey,
}

impl From<Right> for i16 {
    fn from(right: Right) -> Self {
        match right {
            Right::None => 0,
            // The highest bit of AccessRights is 4096.
            Right::Bit(bit) => Self::try_from(bit).unwrap_or(0),
            Right::PerKey => -1,
        }
    }
}

impl From<i16> for Right {
    fn from(number: i16) -> Self {
        match u16::try_from(number) {
            Ok(0) => Self::None,
            Ok(bit) => Self::Bit(bit),
            Err(_) => Self::PerKey,
        }
    }
}

/// The rights that the MDM payload's `AccessRights` adds up, with Apple's names.
pub const RIGHTS: [(u16, &str); 13] = [
    (1, "AllowInspection"),
    (2, "AllowInstallationRemoval"),
    (4, "AllowPasscodeRemovalAndLock"),
    (8, "AllowDeviceErase"),
    (16, "AllowQueryDeviceInformation"),
    (32, "AllowQueryNetworkInformation"),
    (64, "AllowProvisioningInspection"),
    (128, "AllowProvisioningInstallationRemoval"),
    (256, "AllowQueryApplications"),
    (512, "AllowQueryRestrictions"),
    (1024, "AllowQuerySecurity"),
    (2048, "AllowSettings"),
    (4096, "AllowAppInstallation"),
];

/// What a kind of enrollment does with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It works.
    Allowed,
    /// It works only there.
    Required,
    /// It is refused there.
    Forbidden,
    /// It is taken there and does nothing.
    Ignored,
}

impl Mode {
    /// Apple's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Required => "required",
            Self::Forbidden => "forbidden",
            Self::Ignored => "ignored",
        }
    }
}

/// Enrollments that take a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enrollment {
    /// Device enrollments of supervised devices.
    Supervised,
    /// Other device enrollments.
    Device,
    /// User enrollments.
    User,
    /// None: the declaration stands in a profile on the device.
    Local,
}

impl Enrollment {
    /// Apple's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Supervised => "supervised",
            Self::Device => "device",
            Self::User => "user",
            Self::Local => "local",
        }
    }
}

/// Channels that take a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The device's.
    System,
    /// A user's.
    User,
}

impl Scope {
    /// Apple's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
        }
    }
}

/// What a Shared iPad does with something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedIpad {
    /// Whether it takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether on the device's channel.
    #[serde(rename = "dev", skip_serializing_if = "Option::is_none")]
    pub device_channel: Option<bool>,
    /// Whether on a user's channel.
    #[serde(rename = "user", skip_serializing_if = "Option::is_none")]
    pub user_channel: Option<bool>,
    /// For declarations: on which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
}

/// What a platform supports. What is not said is as for what this stands in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Since when.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub introduced: Option<Since>,
    /// From when on it is discouraged.
    #[serde(rename = "dep", skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<OsVersion>,
    /// From when on it is gone.
    #[serde(rename = "rem", skip_serializing_if = "Option::is_none")]
    pub removed: Option<OsVersion>,
    /// The right that it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<Right>,
    /// Only on supervised devices.
    #[serde(rename = "sup", skip_serializing_if = "Option::is_none")]
    pub supervised: Option<bool>,
    /// Only on devices that came by Automated Device Enrollment.
    #[serde(rename = "ade", skip_serializing_if = "Option::is_none")]
    pub requires_ade: Option<bool>,
    /// Only in enrollments that the Mac's user has approved.
    #[serde(rename = "uam", skip_serializing_if = "Option::is_none")]
    pub user_approved: Option<bool>,
    /// Profiles: whether it may be installed by hand.
    #[serde(rename = "hand", skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<bool>,
    /// Profiles: whether several may be installed.
    #[serde(rename = "multi", skip_serializing_if = "Option::is_none")]
    pub multiple: Option<bool>,
    /// macOS: whether the device's channel takes it.
    #[serde(rename = "dev", skip_serializing_if = "Option::is_none")]
    pub device_channel: Option<bool>,
    /// macOS: whether a user's channel takes it.
    #[serde(rename = "user", skip_serializing_if = "Option::is_none")]
    pub user_channel: Option<bool>,
    /// What a Shared iPad does.
    #[serde(rename = "si", skip_serializing_if = "Option::is_none")]
    pub shared_ipad: Option<SharedIpad>,
    /// What a user enrollment does.
    #[serde(rename = "ue", skip_serializing_if = "Option::is_none")]
    pub user_enrollment: Option<Mode>,
    /// Declarations: which enrollments take it.
    #[serde(rename = "enr", skip_serializing_if = "Option::is_none")]
    pub enrollments: Option<Vec<Enrollment>>,
    /// Declarations: which channels take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
    /// Skip keys: whether the pane is skipped in every case.
    #[serde(rename = "skip", skip_serializing_if = "Option::is_none")]
    pub always_skippable: Option<bool>,
}

impl Row {
    /// A platform that does not have it.
    #[must_use]
    pub fn never() -> Self {
        Self {
            introduced: Some(Since::Never),
            ..Self::default()
        }
    }

    /// Since which version it exists, if it does.
    #[must_use]
    pub fn since(&self) -> Option<OsVersion> {
        match self.introduced {
            Some(Since::Version(version)) => Some(version),
            Some(Since::Never) | None => None,
        }
    }

    /// The whole of what holds where this stands in something with the row `outer`. What does not exist there does not exist here.
    #[must_use]
    pub fn within(&self, outer: &Self) -> Self {
        match outer.since() {
            Some(_) => self.over(outer),
            None => Self::never(),
        }
    }

    /// What this says, and for the rest what `outer` says.
    #[must_use]
    pub fn over(&self, outer: &Self) -> Self {
        let shared_ipad = match (&self.shared_ipad, &outer.shared_ipad) {
            (Some(own), Some(outer)) => Some(SharedIpad {
                mode: own.mode.or(outer.mode),
                device_channel: own.device_channel.or(outer.device_channel),
                user_channel: own.user_channel.or(outer.user_channel),
                scopes: own.scopes.clone().or_else(|| outer.scopes.clone()),
            }),
            (own, outer) => own.clone().or_else(|| outer.clone()),
        };
        Self {
            introduced: self.introduced.or(outer.introduced),
            deprecated: self.deprecated.or(outer.deprecated),
            removed: self.removed.or(outer.removed),
            right: self.right.or(outer.right),
            supervised: self.supervised.or(outer.supervised),
            requires_ade: self.requires_ade.or(outer.requires_ade),
            user_approved: self.user_approved.or(outer.user_approved),
            by_hand: self.by_hand.or(outer.by_hand),
            multiple: self.multiple.or(outer.multiple),
            device_channel: self.device_channel.or(outer.device_channel),
            user_channel: self.user_channel.or(outer.user_channel),
            shared_ipad,
            user_enrollment: self.user_enrollment.or(outer.user_enrollment),
            enrollments: self
                .enrollments
                .clone()
                .or_else(|| outer.enrollments.clone()),
            scopes: self.scopes.clone().or_else(|| outer.scopes.clone()),
            always_skippable: self.always_skippable.or(outer.always_skippable),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn row(json: &str) -> Row {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_key_says_only_what_differs() {
        let outer = row(
            r#"{"in":"4.0","right":4,"sup":false,"si":{"mode":"allowed","dev":true,"user":false},"ue":"allowed"}"#,
        );
        let own = row(r#"{"in":"7.0","sup":true,"si":{"mode":"ignored"}}"#);
        let whole = own.within(&outer);
        assert_eq!(
            whole,
            row(
                r#"{"in":"7.0","right":4,"sup":true,"si":{"mode":"ignored","dev":true,"user":false},"ue":"allowed"}"#
            )
        );
        assert_eq!(Row::default().within(&outer), outer);
        assert_eq!(own.within(&Row::never()), Row::never());
        assert_eq!(Row::never().within(&outer).since(), None);
    }

    #[test]
    fn rows_are_written_as_they_are_read() {
        for text in [
            r#"{"in":"-"}"#,
            r#"{"in":"10.13.4","dep":"12.0","rem":"15.0","right":-1,"sup":true,"ade":true,"uam":true,"hand":false,"multi":true,"dev":true,"user":false,"si":{"mode":"required","scopes":["system"]},"ue":"forbidden","enr":["supervised","local"],"scopes":["user"],"skip":false}"#,
        ] {
            assert_eq!(serde_json::to_string(&row(text)).unwrap(), text);
        }
        assert!(serde_json::from_str::<Row>(r#"{"supervised":true}"#).is_err());
    }
}
