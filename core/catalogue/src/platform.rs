//! Apple's platforms, as its schema tells them apart.
//!
//! Owns: their names, and which devices run them. iPadOS is iOS here, as it is there.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Platform {
    /// iOS and iPadOS.
    #[serde(rename = "iOS")]
    Ios,
    /// macOS.
    #[serde(rename = "macOS")]
    Macos,
    /// tvOS.
    #[serde(rename = "tvOS")]
    Tvos,
    /// visionOS.
    #[serde(rename = "visionOS")]
    Visionos,
    /// watchOS.
    #[serde(rename = "watchOS")]
    Watchos,
}

/// A word that names no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no platform: write iOS, iPadOS, macOS, tvOS, visionOS or watchOS")]
pub struct NotAPlatform(String);

impl Platform {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 5] = [
        Self::Ios,
        Self::Macos,
        Self::Tvos,
        Self::Visionos,
        Self::Watchos,
    ];

    /// The platform of a device by its `ProductName`, such as `iPad13,18`; none where no family is known.
    #[must_use]
    pub fn of_product(name: &str) -> Option<Self> {
        const FAMILIES: [(&str, Platform); 7] = [
            ("iPhone", Platform::Ios),
            ("iPad", Platform::Ios),
            ("iPod", Platform::Ios),
            ("AppleTV", Platform::Tvos),
            ("AudioAccessory", Platform::Tvos),
            ("Watch", Platform::Watchos),
            ("RealityDevice", Platform::Visionos),
        ];
        let family = FAMILIES.iter().find(|(family, _)| name.starts_with(family));
        let mac = || name.contains("Mac").then_some(Self::Macos);
        family.map(|(_, platform)| *platform).or_else(mac)
    }

    /// Apple's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ios => "iOS",
            Self::Macos => "macOS",
            Self::Tvos => "tvOS",
            Self::Visionos => "visionOS",
            Self::Watchos => "watchOS",
        }
    }
}

impl FromStr for Platform {
    type Err = NotAPlatform;

    fn from_str(word: &str) -> Result<Self, NotAPlatform> {
        if word.eq_ignore_ascii_case("iPadOS") {
            return Ok(Self::Ios);
        }
        Self::ALL
            .into_iter()
            .find(|platform| platform.as_str().eq_ignore_ascii_case(word))
            .ok_or_else(|| NotAPlatform(word.chars().take(40).collect()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_by_apples_word_in_any_case() {
        for platform in Platform::ALL {
            assert_eq!(platform.as_str().to_lowercase().parse(), Ok(platform));
        }
        assert_eq!("ipados".parse(), Ok(Platform::Ios));
        assert!("Android".parse::<Platform>().is_err());
    }

    #[test]
    fn product_names_tell_the_platform() {
        for (name, expected) in [
            ("iPhone16,1", Some(Platform::Ios)),
            ("iPad13,18", Some(Platform::Ios)),
            ("MacBookPro18,3", Some(Platform::Macos)),
            ("iMac21,1", Some(Platform::Macos)),
            ("VirtualMac2,1", Some(Platform::Macos)),
            ("Mac14,2", Some(Platform::Macos)),
            ("AppleTV14,1", Some(Platform::Tvos)),
            ("Watch7,5", Some(Platform::Watchos)),
            ("RealityDevice14,1", Some(Platform::Visionos)),
            ("Toaster1,1", None),
        ] {
            assert_eq!(Platform::of_product(name), expected, "{name}");
        }
    }
}
