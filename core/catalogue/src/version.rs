//! Versions of operating systems, and which of them a release of Apple's brings to each platform.
//!
//! Owns: reading, ordering and writing a version. Numbers are compared one by one, so that 10.10 comes after 10.9.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::platform::Platform;

/// A version: up to four numbers; those that are not named are zero.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct OsVersion([u16; 4]);

/// A text that names no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no version: write numbers with dots between, such as 17.4.1")]
pub struct NotAVersion(String);

impl OsVersion {
    /// A version of two numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self([major, minor, 0, 0])
    }

    /// Its first number.
    #[must_use]
    pub const fn major(self) -> u16 {
        self.0[0]
    }

    /// The version of a platform that Apple brought out together with this version of iOS. Until 18 each platform counted by itself:
    /// iOS 18.3 came with macOS 15.3, tvOS 18.3, visionOS 2.3 and watchOS 11.3.
    #[must_use]
    pub fn on(self, platform: Platform) -> Self {
        let behind = match platform {
            _ if self.major() >= 26 => 0,
            Platform::Ios | Platform::Tvos => 0,
            Platform::Macos => 3,
            Platform::Visionos => 16,
            Platform::Watchos => 7,
        };
        let mut numbers = self.0;
        numbers[0] = numbers[0].saturating_sub(behind);
        Self(numbers)
    }
}

impl FromStr for OsVersion {
    type Err = NotAVersion;

    /// Reads `17`, `17.4` or `17.4.1`. What Apple adds behind a blank, as in `16.1 (a)`, is left out.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let wrong = || NotAVersion(text.chars().take(40).collect());
        let plain = text.split(' ').next().unwrap_or_default();
        let mut numbers = [0; 4];
        let mut places = numbers.iter_mut();
        for part in plain.split('.') {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let place = places.next().filter(|_| digits).ok_or_else(wrong)?;
            *place = part.parse().map_err(|_| wrong())?;
        }
        Ok(Self(numbers))
    }
}

impl TryFrom<String> for OsVersion {
    type Error = NotAVersion;

    fn try_from(text: String) -> Result<Self, NotAVersion> {
        text.parse()
    }
}

impl From<OsVersion> for String {
    fn from(version: OsVersion) -> Self {
        version.to_string()
    }
}

impl fmt::Display for OsVersion {
    /// As Apple writes it: two numbers, and more where they are not zero.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch, last] = self.0;
        write!(out, "{major}.{minor}")?;
        if patch > 0 || last > 0 {
            write!(out, ".{patch}")?;
        }
        if last > 0 {
            write!(out, ".{last}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_number_by_number() {
        let v = |text: &str| text.parse::<OsVersion>().unwrap();
        assert!(v("10.10") > v("10.9"));
        assert!(v("10.13.4") > v("10.13"));
        assert_eq!(v("17"), v("17.0.0"));
        assert_eq!(v("16.1 (a)"), v("16.1"));
        for (text, shown) in [("4", "4.0"), ("10.13.4", "10.13.4"), ("1.2.0.3", "1.2.0.3")] {
            assert_eq!(v(text).to_string(), shown);
        }
        for wrong in [
            "",
            "n/a",
            "1.",
            ".1",
            "1.2.3.4.5",
            "70000",
            "-1",
            "+1",
            "1.x",
        ] {
            assert!(wrong.parse::<OsVersion>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_release_is_another_version_on_each_platform_until_26() {
        let on = |text: &str| {
            Platform::ALL
                .map(|platform| text.parse::<OsVersion>().unwrap().on(platform).to_string())
        };
        assert_eq!(on("18.3"), ["18.3", "15.3", "18.3", "2.3", "11.3"]);
        assert_eq!(on("26.4"), ["26.4"; 5]);
    }
}
