//! What a plugin says of itself: `plugin.toml`.
//!
//! Owns: what stands in a manifest, and reading it. A field that is not known is refused, since it may be a right that is misspelt.
//! Never grants anything. What a field may be is in `check`.

mod check;

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::rights::{Capabilities, names};

pub(crate) use check::interval;

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

    /// Whether it is asked about one device, whose family the question tells.
    #[must_use]
    pub fn about_a_device(self) -> bool {
        self.deterministic() || matches!(self, Self::Enrollment | Self::CommandValidate)
    }

    /// Whether it is asked about commands of a type.
    #[must_use]
    pub fn about_commands(self) -> bool {
        matches!(self, Self::CommandAmend | Self::CommandValidate)
    }

    /// Whether an instance that has answered it may answer it again: not where the same question must get the same answer, nor
    /// where strangers ask, or people of different rights.
    #[must_use]
    pub fn reusable(self) -> bool {
        matches!(
            self,
            Self::CommandAmend | Self::CommandValidate | Self::Events | Self::Jobs
        )
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
    /// Names of groups, for hooks that are asked about an enrolled device: it is in one of them. All when empty.
    #[serde(default)]
    pub groups: Vec<String>,
    /// `NAME` or `PREFIX.*` of facts, for the same hooks: one of them is known. All when empty.
    #[serde(default)]
    pub facts: Vec<String>,
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

    /// Whether a device is to be seen. Groups and facts that cannot be told, or not to this plugin, keep it from no hook; a family that
    /// cannot be told keeps it from those that do not decide.
    pub(crate) fn concerns(&self, hook: HookName, device: &Traits<'_>) -> bool {
        let family = match device.family {
            Some(family) => self.platforms.iter().any(|wanted| wanted == family),
            None => !hook.deterministic(),
        };
        let in_group = |groups: &[&str]| {
            let named = |group: &&str| self.groups.iter().any(|wanted| wanted == group);
            groups.iter().any(named)
        };
        let known = |facts: &[&str]| {
            let named = |fact: &&str| self.facts.iter().any(|wanted| names(wanted, fact));
            facts.iter().any(named)
        };
        (self.platforms.is_empty() || family)
            && (self.groups.is_empty() || device.groups.as_deref().is_none_or(in_group))
            && (self.facts.is_empty() || device.facts.as_deref().is_none_or(known))
    }

    /// Whether it looks at groups or facts.
    pub(crate) fn looks_closely(&self) -> bool {
        !self.groups.is_empty() || !self.facts.is_empty()
    }
}

/// What matching looks at of a device.
#[derive(Default)]
pub(crate) struct Traits<'a> {
    /// Its family, where it can be told.
    pub(crate) family: Option<&'a str>,
    /// Its groups; none where the plugin may not see them.
    pub(crate) groups: Option<Vec<&'a str>>,
    /// The names of its facts; none where the plugin may not see those that it names, or there are too many to tell.
    pub(crate) facts: Option<Vec<&'a str>>,
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
        let manifest = Self::read(text)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Reads one that was good when it was taken. One that is not any more, for this version of the server, comes with why; of
    /// one that cannot even be read, only what it is called and which hooks it has: they are there to fail.
    ///
    /// # Errors
    /// [`ManifestError`] when not even that can be told.
    pub(crate) fn kept(text: &str) -> Result<(Self, Option<ManifestError>), ManifestError> {
        match Self::read(text) {
            Ok(manifest) => {
                let problem = manifest.check().err();
                Ok((manifest, problem))
            }
            Err(error) => match Self::outline(text) {
                Some(outline) => Ok((outline, Some(error))),
                None => Err(error),
            },
        }
    }

    fn outline(text: &str) -> Option<Self> {
        let table = text.parse::<toml::Table>().ok()?;
        let mut outline = toml::Table::new();
        for name in ["id", "version", "title"] {
            outline.insert(name.into(), table.get(name)?.as_str()?.into());
        }
        outline.insert("api".into(), crate::API.into());
        let named = table.get("hooks")?.as_table()?;
        let known = HookName::ALL
            .into_iter()
            .filter(|hook| named.contains_key(hook.as_str()));
        let hooks: toml::Table = known
            .map(|hook| (hook.as_str().to_owned(), toml::Table::new().into()))
            .collect();
        outline.insert("hooks".into(), hooks.into());
        outline.try_into().ok()
    }

    fn read(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MAX_MANIFEST {
            return Err(ManifestError::Syntax(format!(
                "it has {} bytes; at most {MAX_MANIFEST} are read",
                text.len()
            )));
        }
        toml::from_str(text).map_err(|error| {
            // What is not known here may be known to a later version, which is the better advice.
            let api = text.parse::<toml::Table>().ok();
            let api = api.as_ref().and_then(|table| table.get("api")?.as_str());
            match api.map(check::check_api) {
                Some(Err(newer @ ManifestError::Api { .. })) => newer,
                _ => ManifestError::Syntax(error.to_string()),
            }
        })
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
                format!("{GOOD}[hooks.compliance]\nplatforms = [\"newton\"]\n"),
                "none of ios, ipados",
            ),
            (
                format!("{GOOD}platforms = [\"ios\"]\n"),
                "hooks.events.platforms: only enrollment",
            ),
            (
                format!("{GOOD}request-types = [\"DeviceLock\"]\n"),
                "hooks.events.request-types: only command-amend",
            ),
            (
                format!("{GOOD}[hooks.compliance]\nkinds = [\"enrolled\"]\n"),
                "hooks.compliance.kinds: only events",
            ),
            (
                format!("{GOOD}[hooks.enrollment]\ngroups = [\"a\"]\n"),
                "hooks.enrollment.groups: only command-validate",
            ),
            (
                format!("{GOOD}[hooks.compliance]\nfacts = [\"*.a\"]\n"),
                "neither NAME nor PREFIX.*",
            ),
            (
                format!("{GOOD}[hooks.compliance]\nfacts = [\"a*\"]\n"),
                "neither NAME nor PREFIX.*",
            ),
            (
                format!(
                    "{GOOD}[hooks.compliance]\nfacts = [\"a.*\"]\n[capabilities.devices]\nread = [\"fact:a.b\"]\n"
                ),
                "name fact:a.* in capabilities.devices.read",
            ),
            (
                format!(
                    "{GOOD}[hooks.compliance]\ngroups = [\"a\"]\n[capabilities.devices]\nread = [\"fact:a\"]\n"
                ),
                "name core in capabilities.devices.read",
            ),
            (
                format!("{GOOD}[hooks.compliance]\ngroups = [\"\"]\n"),
                "leave out what is empty",
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
            (
                format!("{GOOD}[capabilities.kv]\nquota-kib = 1\nschema = 0\n"),
                "choose a whole number from 1",
            ),
            (
                format!("{GOOD}[capabilities.kv]\nquota-kib = 1\nschema = -2\n"),
                "schema",
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
