//! What kinds of devices there are: models, systems, identifiers, as their makers print them.
//!
//! Owns the believable facts of a device that never change. Never holds state. The rest of the
//! device folder reads from it. Source: Apple, "Authenticate" and "DeviceInformation".

use crate::dice::Dice;

/// The kind of device, which decides what it sends and what it can do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Platform {
    /// iOS
    IPhone,
    /// iPadOS, one user
    IPad,
    /// iPadOS, many users
    SharedIpad,
    /// macOS
    Mac,
    /// tvOS
    AppleTv,
    /// watchOS
    Watch,
    /// visionOS
    VisionPro,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::IPhone,
        Self::IPad,
        Self::SharedIpad,
        Self::Mac,
        Self::AppleTv,
        Self::Watch,
        Self::VisionPro,
    ];

    /// Its name on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IPhone => "iphone",
            Self::IPad => "ipad",
            Self::SharedIpad => "shared-ipad",
            Self::Mac => "mac",
            Self::AppleTv => "apple-tv",
            Self::Watch => "watch",
            Self::VisionPro => "vision-pro",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|platform| platform.name() == name)
    }

    /// The User-Agent of its management client.
    pub(crate) const fn agent(self) -> &'static str {
        match self {
            Self::Mac => "MDM-OSX/1.0 mdmclient/1.0",
            _ => "MDM/1.0",
        }
    }

    /// A device token can be unlocked by the server.
    pub(crate) const fn has_unlock_token(self) -> bool {
        matches!(
            self,
            Self::IPhone | Self::IPad | Self::Watch | Self::VisionPro
        )
    }

    pub(crate) const fn is_ipad(self) -> bool {
        matches!(self, Self::IPad | Self::SharedIpad)
    }

    pub(crate) const fn is_mobile(self) -> bool {
        matches!(self, Self::IPhone | Self::IPad | Self::SharedIpad)
    }
}

/// The unchanging facts of one device.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// The kind.
    pub platform: Platform,
    /// The unique device identifier.
    pub udid: String,
    /// The serial number.
    pub serial_number: String,
    /// `iPhone16,1` and the like.
    pub product_name: &'static str,
    /// The order number.
    pub model: &'static str,
    /// `iPhone`, `iPad`, `MacBook Pro` …
    pub model_name: &'static str,
    /// The system's version.
    pub os_version: &'static str,
    /// The system's build.
    pub build_version: &'static str,
    /// Only with a cellular radio.
    pub imei: Option<String>,
    /// Only with a cellular radio.
    pub meid: Option<String>,
    /// The Wi-Fi address.
    pub wifi_mac: String,
    /// In decimal gigabytes.
    pub capacity_gb: u32,
}

/// Product name, order number, model name, first half of the UDID.
type Model = (&'static str, &'static str, &'static str, &'static str);

const IPHONES: [Model; 4] = [
    ("iPhone14,5", "MLPK3", "iPhone", "00008110"),
    ("iPhone15,2", "MQ0G3", "iPhone", "00008120"),
    ("iPhone16,1", "MTUX3", "iPhone", "00008130"),
    ("iPhone17,3", "MYEF3", "iPhone", "00008140"),
];
const IPADS: [Model; 3] = [
    ("iPad13,18", "MPQ03", "iPad", "00008101"),
    ("iPad14,3", "MNXE3", "iPad Pro", "00008112"),
    ("iPad15,7", "MD3Y4", "iPad", "00008120"),
];
const MACS: [Model; 4] = [
    ("MacBookAir10,1", "MGN63", "MacBook Air", ""),
    ("Mac14,2", "MLY33", "MacBook Air", ""),
    ("Mac15,6", "MRX33", "MacBook Pro", ""),
    ("Macmini9,1", "MGNR3", "Mac mini", ""),
];
const TELEVISIONS: [Model; 2] = [
    ("AppleTV11,1", "MXGY2", "Apple TV", "00008020"),
    ("AppleTV14,1", "MN873", "Apple TV", "00008110"),
];
const WATCHES: [Model; 2] = [
    ("Watch6,18", "MNHH3", "Apple Watch", "00008301"),
    ("Watch7,5", "MREJ3", "Apple Watch", "00008310"),
];
const GOGGLES: [Model; 1] = [("RealityDevice14,1", "MQL83", "Apple Vision Pro", "00008112")];

const PHONE_SYSTEMS: [(&str, &str); 5] = [
    ("16.7.10", "20H350"),
    ("17.6.1", "21G93"),
    ("18.3", "22D63"),
    ("18.5", "22F76"),
    ("26.0", "23A341"),
];
const MAC_SYSTEMS: [(&str, &str); 4] = [
    ("13.7.2", "22H313"),
    ("14.7.2", "23H311"),
    ("15.3", "24D60"),
    ("26.0", "25A354"),
];
const TV_SYSTEMS: [(&str, &str); 2] = [("17.6.1", "21M80"), ("18.3", "22K557")];
const WATCH_SYSTEMS: [(&str, &str); 2] = [("10.6.1", "21U580"), ("11.3", "22S553")];
const GOGGLE_SYSTEMS: [(&str, &str); 2] = [("2.3", "22N895"), ("26.0", "23M336")];

/// No letter that reads like a digit.
const SERIAL_ALPHABET: &[u8] = b"0123456789CDFGHJKLMNPQRTVWXY";

impl Hardware {
    /// A device of this kind, its identifiers drawn from the dice.
    #[must_use]
    pub fn draw(platform: Platform, dice: &mut Dice) -> Self {
        let (models, systems): (&[Model], &[(&str, &str)]) = match platform {
            Platform::IPhone => (&IPHONES, &PHONE_SYSTEMS),
            Platform::IPad | Platform::SharedIpad => (&IPADS, &PHONE_SYSTEMS),
            Platform::Mac => (&MACS, &MAC_SYSTEMS),
            Platform::AppleTv => (&TELEVISIONS, &TV_SYSTEMS),
            Platform::Watch => (&WATCHES, &WATCH_SYSTEMS),
            Platform::VisionPro => (&GOGGLES, &GOGGLE_SYSTEMS),
        };
        let fallback = ("iPhone16,1", "MTUX3", "iPhone", "00008130");
        let (product_name, model, model_name, chip) =
            dice.choose(models).copied().unwrap_or(fallback);
        let (os_version, build_version) =
            dice.choose(systems).copied().unwrap_or(("18.3", "22D63"));
        let udid = match platform {
            Platform::Mac => dice.uuid(),
            _ => format!("{chip}-{}", dice.text(b"0123456789ABCDEF", 16)),
        };
        let cellular = match platform {
            Platform::IPhone => true,
            Platform::IPad | Platform::Watch => dice.chance(0.3),
            _ => false,
        };
        let imei = cellular.then(|| imei(dice));
        let meid = imei
            .as_ref()
            .and_then(|imei| imei.get(..14).map(str::to_owned));
        let mac: [u8; 3] = dice.bytes();
        let [a, b, c] = mac;
        Self {
            platform,
            udid,
            serial_number: dice.text(SERIAL_ALPHABET, 10),
            product_name,
            model,
            model_name,
            os_version,
            build_version,
            imei,
            meid,
            wifi_mac: format!("f0:18:98:{a:02x}:{b:02x}:{c:02x}"),
            capacity_gb: dice.choose(&[64, 128, 256, 512]).copied().unwrap_or(128),
        }
    }

    /// The major version of the system.
    #[must_use]
    pub fn major(&self) -> u32 {
        let major = self.os_version.split('.').next();
        major.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The system speaks declarative management.
    pub(crate) fn declarative(&self) -> bool {
        let since = match self.platform {
            Platform::Mac => 13,
            Platform::AppleTv => 16,
            Platform::VisionPro => 1,
            Platform::Watch => 10,
            _ => 15,
        };
        self.major() >= since
    }
}

/// Fifteen digits that pass the Luhn check, in groups as devices write them.
fn imei(dice: &mut Dice) -> String {
    let mut digits = vec![3, 5];
    while digits.len() < 14 {
        digits.push(u32::try_from(dice.below(10)).unwrap_or(0));
    }
    let sum: u32 = digits
        .iter()
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 => *digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    digits.push((10 - sum % 10) % 10);
    digits.iter().map(u32::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn identifiers_are_unique_in_a_large_fleet() {
        let mut seen = HashSet::new();
        for index in 0..20_000_u64 {
            let mut dice = Dice::part(1, index);
            let platform = *dice.choose(&Platform::ALL).unwrap();
            let hardware = Hardware::draw(platform, &mut dice);
            assert!(seen.insert(hardware.udid), "UDID twice");
            assert!(seen.insert(hardware.serial_number), "serial twice");
        }
    }

    #[test]
    fn names_find_their_platforms() {
        for platform in Platform::ALL {
            assert_eq!(Platform::from_name(platform.name()), Some(platform));
        }
        assert_eq!(Platform::from_name("newton"), None);
    }

    #[test]
    fn an_imei_passes_the_luhn_check() {
        let imei = imei(&mut Dice::new(3));
        let sum: u32 = imei
            .chars()
            .rev()
            .enumerate()
            .map(|(at, c)| match (at % 2, c.to_digit(10).unwrap()) {
                (0, digit) => digit,
                (_, digit) => digit * 2 / 10 + digit * 2 % 10,
            })
            .sum();
        assert_eq!((imei.len(), sum % 10), (15, 0));
    }
}
