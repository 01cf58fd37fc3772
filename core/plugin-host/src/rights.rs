//! What a plugin may do.
//!
//! Owns: the rights that a manifest asks for, an operator grants and a tenant may narrow; their intersection; and the one
//! question that every host function and every effect has to pass. Carries nothing out.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::manifest::HookName;

/// Rights. The same form is asked for by a manifest and granted by an operator or a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// What it sees of devices.
    #[serde(default)]
    pub devices: DeviceRights,
    /// What it may send.
    #[serde(default)]
    pub commands: CommandRights,
    /// What it may set.
    #[serde(default)]
    pub facts: FactRights,
    /// Whom it may ask outside.
    #[serde(default)]
    pub http: HttpRights,
    /// Secrets that it may use by name, without seeing them.
    #[serde(default)]
    pub secrets: BTreeSet<String>,
    /// What it may keep; nothing when absent.
    #[serde(default)]
    pub kv: Option<KvRights>,
    /// Counters that it may add to.
    #[serde(default)]
    pub metrics: BTreeSet<String>,
    /// Whether it may tell administrators something.
    #[serde(default)]
    pub notify: bool,
    /// Whether an instance of it may serve several calls of a tenant, one after the other, and so keep its memory between them.
    /// Deterministic hooks begin afresh each time in any case.
    #[serde(default)]
    pub reuse: bool,
}

/// What a plugin sees of devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRights {
    /// `core`, and `fact:NAME` or `fact:PREFIX.*` for each fact.
    #[serde(default)]
    pub read: Vec<String>,
    /// Whether it may look for other devices than the one it is asked about.
    #[serde(default)]
    pub search: bool,
    /// Whether it may read what happened to a device.
    #[serde(default)]
    pub history: bool,
}

impl DeviceRights {
    /// Whether it sees what a device is, beyond its id, channel and family.
    #[must_use]
    pub fn core(&self) -> bool {
        self.read.iter().any(|right| right == "core")
    }

    /// Whether a fact of this name is shown.
    #[must_use]
    pub fn shows(&self, fact: &str) -> bool {
        self.read.iter().any(|right| covers(right, fact))
    }

    /// Whether every fact that a pattern names is shown.
    pub(crate) fn shows_all(&self, pattern: &str) -> bool {
        let named = format!("fact:{pattern}");
        self.read.iter().any(|right| contains(right, &named))
    }

    /// Those of the rights that the others hold too. Of two patterns the narrower one counts.
    fn and(&self, other: &Self) -> Self {
        let within = |right: &String, of: &[String]| of.iter().any(|wide| contains(wide, right));
        let mut read: Vec<String> = self
            .read
            .iter()
            .filter(|right| within(right, &other.read))
            .chain(other.read.iter().filter(|right| within(right, &self.read)))
            .cloned()
            .collect();
        read.sort();
        read.dedup();
        Self {
            read,
            search: self.search && other.search,
            history: self.history && other.history,
        }
    }
}

fn covers(right: &str, fact: &str) -> bool {
    right
        .strip_prefix("fact:")
        .is_some_and(|pattern| names(pattern, fact))
}

/// Whether `NAME` or `PREFIX.*` means this fact.
pub(crate) fn names(pattern: &str, fact: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => fact.starts_with(prefix),
        None => fact == pattern,
    }
}

/// Whether one right of reading is a part of another.
fn contains(wide: &str, narrow: &str) -> bool {
    if wide == narrow {
        return true;
    }
    narrow.strip_prefix("fact:").is_some_and(|name| {
        covers(wide, name.strip_suffix('*').unwrap_or(name)) && wide.ends_with('*')
    })
}

/// What a plugin may send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRights {
    /// `RequestType`s.
    #[serde(default)]
    pub enqueue: BTreeSet<String>,
    /// Whether it may ring devices.
    #[serde(default)]
    pub wake: bool,
}

/// What a plugin may set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactRights {
    /// Whether it may set facts below its id.
    #[serde(default)]
    pub set: bool,
}

/// Whom a plugin may ask outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRights {
    /// Scheme, host and port, such as `https://api.example.org:443`; `https://*.example.org` for every name below.
    #[serde(default)]
    pub hosts: BTreeSet<String>,
    /// Methods, such as `GET`.
    #[serde(default)]
    pub methods: BTreeSet<String>,
    /// Hosts of `hosts` that may lie in a private network, for the operator to grant.
    #[serde(default)]
    pub private: bool,
}

/// What a plugin may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KvRights {
    /// Keys and values of a tenant together, in KiB: 1 to 65,536.
    pub quota_kib: u32,
    /// The number that the plugin gives to the form of its values, from 1. A version with another number gets a copy of them, and
    /// those of the number before stay for a way back.
    #[serde(default = "first")]
    pub schema: u32,
}

fn first() -> u32 {
    1
}

/// A scheme, a host and a port, as a right names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    /// Lower case; what follows `*.` when `below`.
    host: String,
    below: bool,
    port: u16,
}

impl Origin {
    /// Reads a right.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let below = rest.starts_with("*.");
        let plain = rest.strip_prefix("*.").unwrap_or(rest);
        let url = Url::parse(&format!("{scheme}://{plain}")).ok()?;
        let bare = url.path() == "/" && !rest.ends_with('/') && url.query().is_none();
        let nobody =
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let host = url.host_str()?.to_ascii_lowercase();
        if !bare || !nobody || host.contains('*') || !matches!(scheme, "http" | "https") {
            return None;
        }
        Some(Self {
            scheme: scheme.into(),
            port: url.port_or_known_default()?,
            host,
            below,
        })
    }

    /// Whether a request to `url` is meant.
    pub(crate) fn admits(&self, url: &Url) -> bool {
        let Some(host) = url.host_str().map(str::to_ascii_lowercase) else {
            return false;
        };
        let named = match self.below {
            true => host
                .strip_suffix(&self.host)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            false => host == self.host,
        };
        named && url.scheme() == self.scheme && url.port_or_known_default() == Some(self.port)
    }
}

impl Capabilities {
    /// The rights that both hold.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let both = |left: &BTreeSet<String>, right: &BTreeSet<String>| {
            left.intersection(right).cloned().collect()
        };
        Self {
            devices: self.devices.and(&other.devices),
            commands: CommandRights {
                enqueue: both(&self.commands.enqueue, &other.commands.enqueue),
                wake: self.commands.wake && other.commands.wake,
            },
            facts: FactRights {
                set: self.facts.set && other.facts.set,
            },
            http: HttpRights {
                hosts: both(&self.http.hosts, &other.http.hosts),
                methods: both(&self.http.methods, &other.http.methods),
                private: self.http.private && other.http.private,
            },
            secrets: both(&self.secrets, &other.secrets),
            kv: self.kv.zip(other.kv).map(|(left, right)| KvRights {
                quota_kib: left.quota_kib.min(right.quota_kib),
                schema: left.schema,
            }),
            metrics: both(&self.metrics, &other.metrics),
            notify: self.notify && other.notify,
            reuse: self.reuse && other.reuse,
        }
    }

    /// What these rights allow, a sentence each, in a fixed order.
    #[must_use]
    pub fn sentences(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        all.extend(
            self.devices
                .read
                .iter()
                .map(|what| format!("see of devices: {what}")),
        );
        all.extend(
            self.commands
                .enqueue
                .iter()
                .map(|what| format!("send {what}")),
        );
        let hosts = self.http.hosts.iter();
        all.extend(hosts.map(|host| format!("ask {host}")));
        let methods = self.http.methods.iter();
        all.extend(methods.map(|method| format!("ask outside with {method}")));
        all.extend(
            self.secrets
                .iter()
                .map(|name| format!("use the secret {name}")),
        );
        all.extend(self.metrics.iter().map(|name| format!("count {name}")));
        all.extend(self.kv.map(|kv| format!("keep up to {} KiB", kv.quota_kib)));
        for (held, sentence) in [
            (self.devices.search, "look for devices"),
            (self.devices.history, "read what happened to devices"),
            (self.commands.wake, "ring devices"),
            (self.facts.set, "set facts below its id"),
            (self.http.private, "ask hosts in private networks"),
            (self.notify, "tell administrators something"),
            (self.reuse, "keep its memory from one call to the next"),
        ] {
            if held {
                all.insert(sentence.to_owned());
            }
        }
        all
    }

    /// What these rights allow and the others do not, a sentence each.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        let mut beyond: Vec<String> = self
            .sentences()
            .difference(&other.sentences())
            .cloned()
            .collect();
        // Less room than before is no new right.
        if let (Some(now), Some(before)) = (self.kv, other.kv)
            && now.quota_kib <= before.quota_kib
        {
            beyond.retain(|sentence| !sentence.starts_with("keep up to "));
        }
        beyond.retain(|sentence| {
            let Some(read) = sentence.strip_prefix("see of devices: ") else {
                return true;
            };
            !other.devices.read.iter().any(|wide| contains(wide, read))
        });
        beyond
    }

    /// The interfaces of the host that these rights open, beyond those that every plugin has.
    #[must_use]
    pub fn interfaces(&self) -> Vec<&'static str> {
        let devices = !self.devices.read.is_empty() || self.devices.search || self.devices.history;
        [
            (devices, "pomona:host/devices"),
            (devices, "pomona:host/recipients"),
            (self.kv.is_some(), "pomona:host/kv"),
            (!self.http.hosts.is_empty(), "pomona:host/http-out"),
            (!self.secrets.is_empty(), "pomona:host/secrets"),
            (!self.metrics.is_empty(), "pomona:host/metrics"),
        ]
        .into_iter()
        .filter_map(|(open, name)| open.then_some(name))
        .collect()
    }
}

/// The right that an interface of the host stands behind, as a manifest writes it.
#[must_use]
pub(crate) fn right_of(interface: &str) -> Option<&'static str> {
    Some(match interface {
        "pomona:host/devices" | "pomona:host/recipients" => "capabilities.devices.read",
        "pomona:host/kv" => "capabilities.kv",
        "pomona:host/http-out" => "capabilities.http.hosts",
        "pomona:host/secrets" => "capabilities.secrets",
        "pomona:host/metrics" => "capabilities.metrics",
        _ => return None,
    })
}

/// Something that a plugin wants to do, by a host function or by an effect.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish<'a> {
    ReadDevice,
    ReadRecipients,
    ReadFact(&'a str),
    Search,
    History,
    Keep,
    Ask(&'a Url, &'a str),
    Secret(&'a str),
    Count(&'a str),
    Send(&'a str),
    Wake,
    SetFact,
    Notify,
    /// A job, and whether the manifest has it.
    Schedule(&'a str, bool),
}

/// The rights of a plugin in a call.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    pub(crate) granted: Capabilities,
}

impl Rights {
    /// The one place where a wish is allowed or refused. The refusal names the right that is missing.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn check(&self, hook: Option<HookName>, wish: Wish<'_>) -> Result<(), String> {
        let held = &self.granted;
        let missing = |right: String| Err(format!("{right} is not granted"));
        if let Some(hook) = hook
            && hook.deterministic()
            && !matches!(wish, Wish::Count(_))
        {
            return Err(format!(
                "{} is deterministic: it sees what it is asked with and its settings, and nothing else",
                hook.as_str()
            ));
        }
        let outward = matches!(wish, Wish::Ask(..) | Wish::Secret(_));
        if outward && !hook.is_some_and(HookName::connected) {
            return Err(format!(
                "{} may not reach outside; leave that to events, jobs or routes",
                hook.map_or("settings", HookName::as_str)
            ));
        }
        match wish {
            Wish::ReadDevice if held.devices.read.is_empty() => {
                missing("capabilities.devices.read".into())
            }
            Wish::ReadRecipients if !held.devices.core() => {
                missing("core in capabilities.devices.read".into())
            }
            Wish::ReadFact(name) if !held.devices.shows(name) => {
                missing(format!("fact:{name} in capabilities.devices.read"))
            }
            Wish::Search if !held.devices.search => missing("capabilities.devices.search".into()),
            Wish::History if !held.devices.history => {
                missing("capabilities.devices.history".into())
            }
            Wish::Keep if held.kv.is_none() => missing("capabilities.kv".into()),
            Wish::Ask(url, method) => {
                let admitted = held
                    .http
                    .hosts
                    .iter()
                    .filter_map(|host| Origin::parse(host))
                    .any(|origin| origin.admits(url));
                if !admitted {
                    return missing(format!(
                        "{} in capabilities.http.hosts",
                        url.origin().ascii_serialization()
                    ));
                }
                if !held.http.methods.contains(method) {
                    return missing(format!("{method} in capabilities.http.methods"));
                }
                Ok(())
            }
            Wish::Secret(name) if !held.secrets.contains(name) => {
                missing(format!("{name} in capabilities.secrets"))
            }
            Wish::Count(name) if !held.metrics.contains(name) => {
                missing(format!("{name} in capabilities.metrics"))
            }
            Wish::Send(request_type) if !held.commands.enqueue.contains(request_type) => {
                missing(format!("{request_type} in capabilities.commands.enqueue"))
            }
            Wish::Wake if !held.commands.wake => missing("capabilities.commands.wake".into()),
            Wish::SetFact if !held.facts.set => missing("capabilities.facts.set".into()),
            Wish::Notify if !held.notify => missing("capabilities.notify".into()),
            Wish::Schedule(job, false) => Err(format!("plugin.toml has no job {job}")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(toml: &str) -> Capabilities {
        toml::from_str(toml).unwrap()
    }

    const ALL: &str = "secrets = [\"s\"]\nmetrics = [\"m\"]\nnotify = true\nreuse = true\n[devices]\nread = [\"core\", \"fact:a.*\"]\nsearch = true\nhistory = true\n[commands]\nenqueue = [\"DeviceLock\"]\nwake = true\n[facts]\nset = true\n[http]\nhosts = [\"https://api.example.org\"]\nmethods = [\"GET\"]\n[kv]\nquota-kib = 10\n";

    #[test]
    fn every_wish_is_refused_by_name_where_its_right_is_missing() {
        let none = Rights {
            granted: Capabilities::default(),
        };
        let all = Rights {
            granted: rights(ALL),
        };
        let url = Url::parse("https://api.example.org/x").unwrap();
        let wishes = [
            (Wish::ReadDevice, "capabilities.devices.read"),
            (
                Wish::ReadFact("a.b"),
                "fact:a.b in capabilities.devices.read",
            ),
            (Wish::Search, "capabilities.devices.search"),
            (Wish::History, "capabilities.devices.history"),
            (Wish::Keep, "capabilities.kv"),
            (
                Wish::Ask(&url, "GET"),
                "https://api.example.org in capabilities.http.hosts",
            ),
            (Wish::Secret("s"), "s in capabilities.secrets"),
            (Wish::Count("m"), "m in capabilities.metrics"),
            (
                Wish::Send("DeviceLock"),
                "DeviceLock in capabilities.commands.enqueue",
            ),
            (Wish::Wake, "capabilities.commands.wake"),
            (Wish::SetFact, "capabilities.facts.set"),
            (Wish::Notify, "capabilities.notify"),
        ];
        for (wish, right) in wishes {
            let refusal = none.check(Some(HookName::Events), wish).unwrap_err();
            assert_eq!(refusal, format!("{right} is not granted"));
            assert_eq!(all.check(Some(HookName::Events), wish), Ok(()), "{wish:?}");
        }
        let told = all.check(Some(HookName::Events), Wish::Ask(&url, "POST"));
        assert!(
            told.unwrap_err()
                .contains("POST in capabilities.http.methods")
        );
        let told = all.check(Some(HookName::CommandValidate), Wish::Ask(&url, "GET"));
        assert!(told.unwrap_err().contains("may not reach outside"));
        let told = all.check(Some(HookName::Compliance), Wish::Keep);
        assert!(told.unwrap_err().contains("deterministic"));
        let told = all.check(None, Wish::Secret("s"));
        assert!(told.unwrap_err().contains("may not reach outside"));
    }

    #[test]
    fn a_host_is_matched_whole() {
        let admits = |right: &str, url: &str| {
            Origin::parse(right).is_some_and(|origin| origin.admits(&Url::parse(url).unwrap()))
        };
        for (right, url) in [
            ("https://a.example", "https://a.example/x?y"),
            ("https://a.example:443", "https://A.example/"),
            ("https://*.example", "https://a.b.example/"),
            ("http://a.example:8080", "http://a.example:8080/"),
            ("https://[::1]:8443", "https://[::1]:8443/"),
        ] {
            assert!(admits(right, url), "{right} {url}");
        }
        for (right, url) in [
            ("https://a.example", "http://a.example/"),
            ("https://a.example", "https://a.example:8443/"),
            ("https://a.example", "https://b.a.example/"),
            ("https://*.example", "https://example/"),
            ("https://*.example", "https://evilexample/"),
            ("https://a.example", "https://a.example.evil/"),
            ("https://a.example", "https://a.example@evil/"),
        ] {
            assert!(!admits(right, url), "{right} {url}");
        }
        for right in [
            "a.example",
            "ftp://a.example",
            "https://a.example/path",
            "https://a.example/",
            "https://u:p@a.example",
            "https://*",
            "https://a.*.example",
            "https://*.*.example",
            "",
        ] {
            assert_eq!(Origin::parse(right), None, "{right}");
        }
    }

    #[test]
    fn the_intersection_is_within_both() {
        let left = rights(
            "[devices]\nread = [\"core\", \"fact:a.*\", \"fact:b\"]\n[kv]\nquota-kib = 10\n",
        );
        let right = rights(
            "[devices]\nread = [\"fact:a.b.*\", \"fact:b\", \"fact:c\"]\n[kv]\nquota-kib = 4\nschema = 2\n",
        );
        let both = left.and(&right);
        assert_eq!(both.devices.read, ["fact:a.b.*", "fact:b"]);
        assert_eq!(both.kv.unwrap().quota_kib, 4);
        assert_eq!(both.kv.unwrap().schema, 1, "the plugin's own");
        assert_eq!(both.beyond(&left), Vec::<String>::new());
        assert_eq!(both.beyond(&right), Vec::<String>::new());
        let all = rights(ALL);
        assert_eq!(all.and(&Capabilities::default()), Capabilities::default());
        assert_eq!(all.and(&all), all);
    }

    #[test]
    fn a_wider_wish_is_told_and_a_narrower_one_is_not() {
        let before = rights("[devices]\nread = [\"fact:a.*\"]\n[kv]\nquota-kib = 10\n");
        let now = rights(
            "[devices]\nread = [\"fact:a.b\", \"core\"]\n[kv]\nquota-kib = 8\n[commands]\nenqueue = [\"EraseDevice\"]\n",
        );
        assert_eq!(
            now.beyond(&before),
            ["see of devices: core", "send EraseDevice"]
        );
        let larger = rights("[kv]\nquota-kib = 11\n");
        assert_eq!(larger.beyond(&before), ["keep up to 11 KiB"]);
    }
}
