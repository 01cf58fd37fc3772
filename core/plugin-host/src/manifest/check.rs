//! What may stand in a manifest.
//!
//! Owns: the check of each field, which names it and says what would be right.

use pomona_engine::EventKind;
use pomona_engine::clock::{DAY, HOUR, MINUTE, Micros};
use semver::Version;
use serde_json::Value;

use super::{HookName, Manifest, ManifestError};
use crate::rights::{Capabilities, Origin};

/// The longest id.
const MAX_ID: usize = 128;

impl Manifest {
    pub(super) fn check(&self) -> Result<(), ManifestError> {
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
        self.check_matching()?;
        self.capabilities.check()?;
        self.check_jobs()?;
        self.check_pages()?;
        if let Some(memory) = self.limits.memory_mib
            && !(1..=256).contains(&memory)
        {
            return Err(field("limits.memory-mib", "choose 1 to 256"));
        }
        check_api(&self.api)
    }

    fn check_matching(&self) -> Result<(), ManifestError> {
        for (hook, matching) in &self.hooks {
            let enrolled = hook.about_a_device() && *hook != HookName::Enrollment;
            for (name, given, fits, advice) in [
                (
                    "request-types",
                    &matching.request_types,
                    hook.about_commands(),
                    "only command-amend and command-validate are asked about commands",
                ),
                (
                    "kinds",
                    &matching.kinds,
                    *hook == HookName::Events,
                    "only events hears of what happened",
                ),
                (
                    "platforms",
                    &matching.platforms,
                    hook.about_a_device(),
                    "only enrollment, command-validate, compliance and declarations are asked about one device",
                ),
                ("groups", &matching.groups, enrolled, ENROLLED),
                ("facts", &matching.facts, enrolled, ENROLLED),
            ] {
                let place = format!("hooks.{}.{name}", hook.as_str());
                if !given.is_empty() && !fits {
                    return Err(field(&place, advice));
                }
                if given.iter().any(String::is_empty) {
                    return Err(field(&place, "leave out what is empty"));
                }
            }
            for kind in &matching.kinds {
                if EventKind::from_word(kind).is_none() {
                    let place = format!("hooks.{}.kinds", hook.as_str());
                    let known: Vec<&str> =
                        EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
                    let known = known.join(", ");
                    let advice = format!("there is no event {kind}; there are {known}");
                    return Err(field(&place, &advice));
                }
            }
            let read = &self.capabilities.devices;
            if !matching.groups.is_empty() && !read.core() {
                let place = format!("hooks.{}.groups", hook.as_str());
                let advice =
                    "who is asked by groups must see them: name core in capabilities.devices.read";
                return Err(field(&place, advice));
            }
            for fact in &matching.facts {
                let place = format!("hooks.{}.facts", hook.as_str());
                let plain = fact.strip_suffix(".*").unwrap_or(fact);
                if plain.contains('*') || plain.is_empty() || fact.len() > 128 {
                    let advice = format!("{fact:?} is neither NAME nor PREFIX.*");
                    return Err(field(&place, &advice));
                }
                if !read.shows_all(fact) {
                    let advice = format!(
                        "who is asked by facts must see them: name fact:{fact} in capabilities.devices.read"
                    );
                    return Err(field(&place, &advice));
                }
            }
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
}

impl Capabilities {
    /// Reads rights that an administrator grants: JSON with the members that a manifest has below `capabilities`.
    ///
    /// # Errors
    /// What is wrong with them, by the place of it.
    pub fn read(value: &Value) -> Result<Self, String> {
        let rights: Self = serde_json::from_value(value.clone())
            .map_err(|error| format!("these are no rights of a plugin: {error}"))?;
        let whole = serde_json::to_value(&rights)
            .map_err(|error| format!("these are no rights of a plugin: {error}"))?;
        if let Some(place) = listed(value, &whole, "rights") {
            return Err(format!(
                "{place} is a list: write an object, such as {{\"devices\": {{\"read\": [\"core\"]}}}}"
            ));
        }
        rights.check().map_err(|error| error.to_string())?;
        Ok(rights)
    }

    /// What may stand among rights, also where an administrator grants them.
    fn check(&self) -> Result<(), ManifestError> {
        let asked = self;
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
        if asked.kv.is_some_and(|kv| kv.schema == 0) {
            return Err(field(
                "capabilities.kv.schema",
                "choose a whole number from 1",
            ));
        }
        Ok(())
    }
}

/// Where a list was given for what has members: a reader would take its values in the order of the members.
fn listed(given: &Value, whole: &Value, place: &str) -> Option<String> {
    match (given, whole) {
        (Value::Array(_), Value::Object(_)) => Some(place.to_owned()),
        (Value::Object(given), Value::Object(whole)) => given.iter().find_map(|(name, value)| {
            let whole = whole.get(name)?;
            listed(value, whole, &format!("{place}.{name}"))
        }),
        _ => None,
    }
}

/// Whether this host can do what a plugin of this version of the contract asks for.
pub(super) fn check_api(api: &str) -> Result<(), ManifestError> {
    let offered = Version::parse(crate::API)
        .map_err(|_| field("api", "this server does not know its own version"))?;
    let asked = Version::parse(api)
        .or_else(|_| Version::parse(&format!("{api}.0")))
        .map_err(|_| field("api", "write it like 0.9"))?;
    // Before 1.0 each minor version is a line of its own (Semantic Versioning 2.0.0, item 4).
    let same_line =
        asked.major == offered.major && (asked.major > 0 || asked.minor == offered.minor);
    if same_line && asked <= offered {
        return Ok(());
    }
    let advice = if asked > offered {
        "update the server, or build the plugin with an older SDK"
    } else {
        "build the plugin with the present SDK"
    };
    Err(ManifestError::Api {
        asked: api.into(),
        offered: crate::API.into(),
        advice: advice.into(),
    })
}

/// Families of devices, as the contract names them.
const PLATFORMS: [&str; 6] = ["ios", "ipados", "macos", "tvos", "watchos", "visionos"];
/// Methods of requests to the outside.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const ENROLLED: &str =
    "only command-validate, compliance and declarations are asked about an enrolled device";
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
