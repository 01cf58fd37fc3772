//! What a plugin says of itself: `plugin.toml`.
//!
//! Owns: reading and checking a manifest. A field that is not known is refused, since it may be a right that is misspelt.
//! Never grants anything.

use std::collections::BTreeMap;

use pomona_engine::clock::{DAY, HOUR, MINUTE, Micros};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::rights::{Capabilities, Origin};

/// The longest id.
const MAX_ID: usize = 128;
/// The largest manifest, in bytes.
const MAX_MANIFEST: usize = 64 << 10;

/// Why a manifest is refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ManifestError {
    /// It is no TOML, or a field is missing, unknown or of the wrong kind.
    #[error("plugin.toml: {0}")]
    Syntax(String),
    /// A field has a value that cannot be.
    #[error("plugin.toml: {field}: {problem}")]
    Field {
        /// The field, dotted.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The plugin was made for another contract.
    #[error(
        "this plugin asks for the plugin API {asked}, and this server speaks {offered}; {advice}"
    )]
    Api {
        /// What the plugin asks for.
        asked: String,
        /// What this host speaks.
        offered: String,
        /// What to do.
        advice: String,
    },
}

/// A hook of the contract, by the name of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookName {
    /// Decides about enrollments.
    Enrollment,
    /// Changes commands.
    CommandAmend,
    /// Judges commands.
    CommandValidate,
    /// Hears what happened.
    Events,
    /// Measures devices against rules.
    Compliance,
    /// Says which declarations devices should have.
    Declarations,
    /// Works in the background.
    Jobs,
    /// Answers requests below its address.
    Routes,
    /// Shows panels.
    Panels,
}

impl HookName {
    /// Every hook that this host calls.
    pub const ALL: [Self; 9] = [
        Self::Enrollment,
        Self::CommandAmend,
        Self::CommandValidate,
        Self::Events,
        Self::Compliance,
        Self::Declarations,
        Self::Jobs,
        Self::Routes,
        Self::Panels,
    ];

    /// Whether the same question must get the same answer: such a hook runs with counted instructions, without a clock,
    /// and sees nothing but the question and its settings.
    #[must_use]
    pub fn deterministic(self) -> bool {
        matches!(self, Self::Compliance | Self::Declarations)
    }

    /// Whether it may reach outside.
    #[must_use]
    pub fn connected(self) -> bool {
        matches!(self, Self::Events | Self::Jobs | Self::Routes)
    }

    /// The hook of this interface.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.as_str() == word)
    }

    /// The interface's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enrollment => "enrollment",
            Self::CommandAmend => "command-amend",
            Self::CommandValidate => "command-validate",
            Self::Events => "events",
            Self::Compliance => "compliance",
            Self::Declarations => "declarations",
            Self::Jobs => "jobs",
            Self::Routes => "routes",
            Self::Panels => "panels",
        }
    }
}

/// A plugin's manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Reverse DNS; facts, topics and effects of the plugin stand below it.
    pub id: String,
    /// Its version.
    pub version: Version,
    /// The contract it was made for: `0.9`.
    pub api: String,
    /// Its name, for people.
    pub title: String,
    /// What it is for, in a sentence.
    #[serde(default)]
    pub description: String,
    /// The licence, as SPDX writes it.
    #[serde(default)]
    pub license: String,
    /// Where its settings are described.
    #[serde(default)]
    pub settings: SettingsFile,
    /// Which hooks it has, and what they want to see.
    #[serde(default)]
    pub hooks: BTreeMap<HookName, Matching>,
    /// What it asks for.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Limits that differ from the defaults.
    #[serde(default)]
    pub limits: AskedLimits,
    /// Its jobs, for the hook `jobs`.
    #[serde(default)]
    pub jobs: Vec<Job>,
    /// Its address, for the hook `routes`.
    #[serde(default)]
    pub routes: Routes,
    /// Its panels, for the hook `panels`.
    #[serde(default)]
    pub panels: Vec<Panel>,
}

/// Who may ask a plugin's address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    /// Paths below the plugin's address that may be asked for without a token, each whole.
    #[serde(default)]
    pub open: Vec<String>,
}

/// A panel of the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Its name within the plugin.
    pub id: String,
    /// Its name for people.
    pub title: String,
}

/// Work in the background.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its name within the plugin.
    pub name: String,
    /// How often it runs: a number and `m`, `h` or `d`. Without it, only when an effect schedules it.
    #[serde(default)]
    pub every: Option<String>,
}

/// Where the schema of the settings is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsFile {
    /// A file beside the manifest.
    pub schema: Option<String>,
}

/// What a hook wants to see. What does not match costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Matching {
    /// `RequestType`s, for hooks of commands; all when empty.
    #[serde(default)]
    pub request_types: Vec<String>,
    /// Kinds of events, for `events`; all when empty.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Families of devices, for hooks that are asked about a device; all when empty.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// After this time a device is looked at again although nothing has changed, for `compliance` and `declarations`: a number and
    /// `m`, `h` or `d`.
    #[serde(default)]
    pub every: Option<String>,
}

impl Matching {
    /// Whether a command of this type is to be seen.
    #[must_use]
    pub fn wants(&self, request_type: &str) -> bool {
        self.request_types.is_empty() || self.request_types.iter().any(|t| t == request_type)
    }
}

/// Limits that a plugin asks for; the host has caps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AskedLimits {
    /// Linear memory, summed, in MiB.
    pub memory_mib: Option<u32>,
}

impl Manifest {
    /// Reads a `plugin.toml`.
    ///
    /// # Errors
    /// [`ManifestError`], naming the field and what would be right.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MAX_MANIFEST {
            return Err(ManifestError::Syntax(format!(
                "it has {} bytes; at most {MAX_MANIFEST} are read",
                text.len()
            )));
        }
        let manifest: Self =
            toml::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        check_id(&self.id)?;
        let title = self.title.trim();
        if title.is_empty() || self.title.len() > 200 || self.title.contains(char::is_control) {
            return Err(field(
                "title",
                "give it 1 to 200 bytes without control characters",
            ));
        }
        if self.hooks.is_empty() {
            let known: Vec<&str> = HookName::ALL.iter().map(|hook| hook.as_str()).collect();
            let advice = format!("name at least one of {}", known.join(", "));
            return Err(field("hooks", &advice));
        }
        for (hook, matching) in &self.hooks {
            for kind in &matching.kinds {
                if pomona_engine::EventKind::from_word(kind).is_none() {
                    let place = format!("hooks.{}.kinds", hook.as_str());
                    return Err(field(&place, &format!("there is no event {kind}")));
                }
            }
        }
        self.check_matching()?;
        self.check_rights()?;
        self.check_jobs()?;
        self.check_pages()?;
        if let Some(memory) = self.limits.memory_mib
            && !(1..=256).contains(&memory)
        {
            return Err(field("limits.memory-mib", "choose 1 to 256"));
        }
        self.check_api()
    }

    fn check_matching(&self) -> Result<(), ManifestError> {
        for (hook, matching) in &self.hooks {
            for platform in &matching.platforms {
                if !PLATFORMS.contains(&platform.as_str()) {
                    let place = format!("hooks.{}.platforms", hook.as_str());
                    let known = PLATFORMS.join(", ");
                    return Err(field(&place, &format!("{platform:?} is none of {known}")));
                }
            }
            if let Some(every) = &matching.every {
                let place = format!("hooks.{}.every", hook.as_str());
                if !hook.deterministic() {
                    return Err(field(&place, "only compliance and declarations look again"));
                }
                if interval(every).is_none() {
                    return Err(field(&place, EVERY));
                }
            }
        }
        Ok(())
    }

    fn check_rights(&self) -> Result<(), ManifestError> {
        let asked = &self.capabilities;
        for right in &asked.devices.read {
            let fact = right.strip_prefix("fact:").is_some_and(|name| {
                let name = name.strip_suffix('*').unwrap_or(name);
                !name.contains('*') && name.len() <= 128
            });
            if right != "core" && !fact {
                return Err(field(
                    "capabilities.devices.read",
                    &format!("{right:?} is none of core, fact:NAME and fact:PREFIX.*"),
                ));
            }
        }
        if (asked.devices.search || asked.devices.history) && asked.devices.read.is_empty() {
            let advice = "who searches devices or reads what happened to them must also read them: name core or facts";
            return Err(field("capabilities.devices.read", advice));
        }
        for host in &asked.http.hosts {
            if Origin::parse(host).is_none() {
                let advice = format!(
                    "{host:?} is no scheme, host and port like https://api.example.org:443 or https://*.example.org"
                );
                return Err(field("capabilities.http.hosts", &advice));
            }
        }
        for method in &asked.http.methods {
            if !METHODS.contains(&method.as_str()) {
                let advice = format!("{method:?} is none of {}", METHODS.join(", "));
                return Err(field("capabilities.http.methods", &advice));
            }
        }
        for (place, names) in [
            ("capabilities.secrets", &asked.secrets),
            ("capabilities.metrics", &asked.metrics),
        ] {
            if let Some(bad) = names.iter().find(|name| !plain(name)) {
                return Err(field(place, &format!("{bad:?}: {PLAIN}")));
            }
        }
        if let Some(kv) = &asked.kv
            && !(1..=65_536).contains(&kv.quota_kib)
        {
            return Err(field("capabilities.kv.quota-kib", "choose 1 to 65536"));
        }
        Ok(())
    }

    fn check_jobs(&self) -> Result<(), ManifestError> {
        if self.jobs.is_empty() == self.hooks.contains_key(&HookName::Jobs) {
            return Err(field(
                "jobs",
                "a plugin with [hooks.jobs] has at least one [[jobs]], and the other way round",
            ));
        }
        for (n, job) in self.jobs.iter().enumerate() {
            if !plain(&job.name) {
                return Err(field("jobs.name", &format!("{:?}: {PLAIN}", job.name)));
            }
            if self.jobs.iter().take(n).any(|other| other.name == job.name) {
                return Err(field(
                    "jobs.name",
                    &format!("{:?} is there twice", job.name),
                ));
            }
            if job
                .every
                .as_deref()
                .is_some_and(|every| interval(every).is_none())
            {
                return Err(field("jobs.every", EVERY));
            }
        }
        Ok(())
    }

    fn check_pages(&self) -> Result<(), ManifestError> {
        if !self.routes.open.is_empty() && !self.hooks.contains_key(&HookName::Routes) {
            return Err(field(
                "routes.open",
                "only a plugin with [hooks.routes] opens paths",
            ));
        }
        if let Some(path) = self.routes.open.iter().find(|path| path.starts_with('/')) {
            let advice = format!("{path:?}: write it without a slash before it");
            return Err(field("routes.open", &advice));
        }
        if self.panels.is_empty() == self.hooks.contains_key(&HookName::Panels) {
            return Err(field(
                "panels",
                "a plugin with [hooks.panels] has at least one [[panels]], and the other way round",
            ));
        }
        if let Some(panel) = self.panels.iter().find(|panel| !plain(&panel.id)) {
            return Err(field("panels.id", &format!("{:?}: {PLAIN}", panel.id)));
        }
        Ok(())
    }

    /// A plugin made for the same minor of the 0 line, and for none that is newer than this host.
    fn check_api(&self) -> Result<(), ManifestError> {
        let offered = Version::parse(crate::API)
            .map_err(|_| field("api", "this server does not know its own version"))?;
        let asked = Version::parse(&self.api)
            .or_else(|_| Version::parse(&format!("{}.0", self.api)))
            .map_err(|_| field("api", "write it like 0.9"))?;
        let same_line = asked.major == offered.major && asked.minor == offered.minor;
        if same_line && asked <= offered {
            return Ok(());
        }
        let advice = if asked > offered {
            "update the server, or build the plugin with an older SDK"
        } else {
            "build the plugin with the present SDK"
        };
        Err(ManifestError::Api {
            asked: self.api.clone(),
            offered: crate::API.into(),
            advice: advice.into(),
        })
    }
}

/// Families of devices, as the contract names them.
const PLATFORMS: [&str; 6] = ["ios", "ipados", "macos", "tvos", "watchos", "visionos"];
/// Methods of requests to the outside.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const EVERY: &str = "write a number and m, h or d, from 1m to 365d, such as 6h";
const PLAIN: &str = "use 1 to 64 of a-z, 0-9, - and _, beginning with a letter";

/// Reads an interval.
#[must_use]
pub(crate) fn interval(text: &str) -> Option<Micros> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok()?;
    let unit = match unit {
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return None,
    };
    let interval = number.checked_mul(unit)?;
    (MINUTE..=365 * DAY).contains(&interval).then_some(interval)
}

/// A name within a plugin.
fn plain(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    (1..=64).contains(&name.len())
        && name.bytes().all(fine)
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
}

/// Labels of letters, digits and hyphens, at least two, joined by dots.
fn check_id(id: &str) -> Result<(), ManifestError> {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels = id.split('.').count();
    if id.len() > MAX_ID || labels < 2 || !id.split('.').all(label) {
        return Err(field(
            "id",
            "write it like org.example.shared-ipad: at least two labels of a-z, 0-9 and hyphens, 128 bytes at most",
        ));
    }
    Ok(())
}

fn field(field: &str, problem: &str) -> ManifestError {
    ManifestError::Field {
        field: field.into(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rights::DeviceRights;

    const GOOD: &str = "id = \"org.example.a\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"A\"\n[hooks.events]\n";

    #[test]
    fn a_good_one_is_read() {
        let manifest = Manifest::parse(GOOD).unwrap();
        assert_eq!(manifest.id, "org.example.a");
        assert!(manifest.hooks.contains_key(&HookName::Events));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (GOOD.replace("id = \"org.example.a\"\n", ""), "id"),
            (GOOD.replace("org.example.a", "../x"), "id: write it like"),
            (
                GOOD.replace("org.example.a", &"a.".repeat(600)),
                "id: write it like",
            ),
            (GOOD.replace("1.0.0", "one"), "version"),
            (GOOD.replace("0.9", "0.10"), "update the server"),
            (
                GOOD.replace("0.9", "0.8"),
                "build the plugin with the present SDK",
            ),
            (GOOD.replace("0.9", "nine"), "api: write it like 0.9"),
            (GOOD.replace("\"A\"", "\"\""), "title"),
            (
                GOOD.replace("[hooks.events]", ""),
                "hooks: name at least one",
            ),
            (GOOD.replace("hooks.events", "hooks.teleport"), "teleport"),
            (format!("{GOOD}[hooks.events]\n"), "duplicate"),
            (
                format!("{GOOD}kinds = [\"sneezed\"]\n"),
                "there is no event sneezed",
            ),
            (format!("{GOOD}[capabilities.root]\n"), "root"),
            (
                format!("{GOOD}[capabilities.devices]\nread = [\"*\"]\n"),
                "none of core",
            ),
            (
                format!("{GOOD}[limits]\nmemory-mib = 4096\n"),
                "choose 1 to 256",
            ),
            (format!("{GOOD}#{}", "x".repeat(70_000)), "at most 65536"),
            (
                format!("{GOOD}platforms = [\"newton\"]\n"),
                "none of ios, ipados",
            ),
            (format!("{GOOD}every = \"6h\"\n"), "only compliance"),
            (
                format!("{GOOD}[hooks.compliance]\nevery = \"often\"\n"),
                "write a number and m, h or d",
            ),
            (
                format!("{GOOD}[capabilities.devices]\nsearch = true\n"),
                "must also read them",
            ),
            (
                format!("{GOOD}[capabilities.http]\nhosts = [\"example.org\"]\n"),
                "no scheme, host and port",
            ),
            (
                format!("{GOOD}[capabilities.http]\nmethods = [\"get\"]\n"),
                "none of GET",
            ),
            (
                format!("{GOOD}[capabilities]\nsecrets = [\"My Secret\"]\n"),
                "capabilities.secrets",
            ),
            (
                format!("{GOOD}[capabilities.kv]\nquota-kib = 0\n"),
                "choose 1 to 65536",
            ),
            (format!("{GOOD}[hooks.jobs]\n"), "at least one [[jobs]]"),
            (
                format!("{GOOD}[[jobs]]\nname = \"sync\"\n"),
                "the other way round",
            ),
            (
                format!("{GOOD}[hooks.jobs]\n[[jobs]]\nname = \"s\"\n[[jobs]]\nname = \"s\"\n"),
                "there twice",
            ),
        ];
        for (text, expected) in cases {
            let told = Manifest::parse(&text).unwrap_err().to_string();
            assert!(told.contains(expected), "{told}\nshould hold: {expected}");
        }
    }

    #[test]
    fn facts_are_shown_by_name_and_by_prefix() {
        let rights = DeviceRights {
            read: vec![
                "core".into(),
                "fact:time-zone".into(),
                "fact:security.*".into(),
            ],
            ..DeviceRights::default()
        };
        let cases = [
            ("time-zone", true),
            ("time-zone2", false),
            ("security.passcode", true),
            ("secure", false),
            ("core", false),
        ];
        for (fact, shown) in cases {
            assert_eq!(rights.shows(fact), shown, "{fact}");
        }
    }
}
