//! What changes about a device: its name, locks, apps, users, profiles, channels.
//!
//! Owns the state that answers are made from, and its loss by an erase. Never talks to anyone.
//! Stands below the answers and the session.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::apns::Registration;
use crate::device::declarations::Declarations;
use crate::device::hardware::{Hardware, Platform};
use crate::dice::Dice;
use crate::reading::ConfigurationProfile;
use crate::record::Record;

/// An app on the device.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) identifier: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) size_bytes: i64,
    pub(crate) managed: bool,
}

/// A person with an account on a Mac or a Shared iPad.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// All F on a Shared iPad.
    pub(crate) id: String,
    /// On a Shared iPad the Managed Apple Account.
    pub(crate) short_name: String,
    pub(crate) long_name: String,
    pub(crate) logged_in: bool,
}

/// What a channel needs to be rung.
pub(crate) struct Bell {
    pub(crate) token: [u8; 32],
    pub(crate) magic: String,
    pub(crate) registration: Option<Registration>,
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}

/// A report as it was sent, for sending it again.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) uuid: String,
    pub(crate) status: &'static str,
    pub(crate) body: Bytes,
}

/// One way to talk to the device: itself, or a user of it.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) user: Option<User>,
    pub(crate) bell: Option<Bell>,
    pub(crate) record: Record,
    pub(crate) profiles: Vec<ConfigurationProfile>,
    pub(crate) declarations: Declarations,
    pub(crate) last_report: Option<Sent>,
}

impl Channel {
    pub(crate) fn new(udid: &str, user: Option<User>) -> Self {
        let name = user.as_ref().map(|user| user.short_name.as_str());
        Self {
            record: Record::new(udid, name),
            user,
            bell: None,
            profiles: Vec::new(),
            declarations: Declarations::default(),
            last_report: None,
        }
    }

    /// Forgets all but the evidence.
    pub(crate) fn wipe(&mut self) {
        self.bell = None;
        self.profiles.clear();
        self.declarations = Declarations::default();
        self.last_report = None;
    }
}

/// Device-wide state.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) host_name: Option<String>,
    pub(crate) supervised: bool,
    pub(crate) passcode: bool,
    pub(crate) locked: bool,
    pub(crate) lost_mode: bool,
    pub(crate) awaiting_configuration: bool,
    pub(crate) apps: Vec<App>,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) unlock_token: Option<Vec<u8>>,
    pub(crate) bootstrap_token: Option<Vec<u8>>,
    pub(crate) battery_percent: u32,
    pub(crate) restarts: u32,
}

impl State {
    pub(crate) fn fresh(hardware: &Hardware, supervised: bool, dice: &mut Dice) -> Self {
        let owner = dice.choose(&NAMES).copied().unwrap_or("Alex");
        let unlock_token = hardware
            .platform
            .has_unlock_token()
            .then(|| dice.bytes::<128>().to_vec());
        let bootstrap_token =
            matches!(hardware.platform, Platform::Mac).then(|| dice.bytes::<32>().to_vec());
        Self {
            name: format!("{owner}’s {}", hardware.model_name),
            host_name: None,
            supervised,
            passcode: dice.chance(0.8),
            locked: false,
            lost_mode: false,
            awaiting_configuration: false,
            apps: built_in_apps(hardware.platform, dice),
            settings: BTreeMap::new(),
            unlock_token,
            bootstrap_token,
            battery_percent: u32::try_from(dice.below(80))
                .unwrap_or(0)
                .saturating_add(20),
            restarts: 0,
        }
    }
}

const NAMES: [&str; 12] = [
    "Alex", "Björn", "Chloé", "Deniz", "Elif", "Farah", "Grace", "Hiro", "Ines", "Jürgen", "Kim",
    "Łukasz",
];

fn built_in_apps(platform: Platform, dice: &mut Dice) -> Vec<App> {
    let names: &[(&str, &str)] = match platform {
        Platform::Mac => &[
            ("com.apple.Safari", "Safari"),
            ("com.apple.mail", "Mail"),
            ("com.microsoft.Word", "Microsoft Word"),
            ("org.mozilla.firefox", "Firefox"),
            ("us.zoom.xos", "zoom.us"),
        ],
        Platform::AppleTv => &[("com.netflix.Netflix", "Netflix")],
        _ => &[
            ("com.apple.Pages", "Pages"),
            ("com.apple.Keynote", "Keynote"),
            ("com.google.Docs", "Google Docs & Co."),
            ("org.whispersystems.signal", "Signal"),
        ],
    };
    let mut apps = Vec::new();
    for (identifier, name) in names {
        if dice.chance(0.8) {
            apps.push(App {
                identifier: (*identifier).to_owned(),
                name: (*name).to_owned(),
                version: format!("{}.{}", dice.below(20), dice.below(10)),
                size_bytes: i64::try_from(dice.below(900_000_000)).unwrap_or(1),
                managed: false,
            });
        }
    }
    apps
}

/// Users as a device of this kind would have them.
pub(crate) fn draw_users(platform: Platform, count: usize, dice: &mut Dice) -> Vec<User> {
    let user = |index: usize, dice: &mut Dice| {
        let first = dice.choose(&NAMES).copied().unwrap_or("Alex");
        let short: String = first
            .to_lowercase()
            .chars()
            .filter(char::is_ascii)
            .collect();
        let (id, short_name) = match platform {
            Platform::SharedIpad => (
                "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF".to_owned(),
                format!("{short}{index}.{}@school.example", dice.below(10_000)),
            ),
            _ => (dice.uuid(), format!("{short}{index}")),
        };
        User {
            id,
            short_name,
            long_name: format!("{first} Example"),
            logged_in: index == 0,
        }
    };
    match platform {
        Platform::Mac | Platform::SharedIpad => (0..count).map(|index| user(index, dice)).collect(),
        _ => Vec::new(),
    }
}
