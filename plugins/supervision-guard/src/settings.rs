//! What a tenant may set, and what is said of it before it is saved.
//!
//! Owns: the form of the settings, and which policy holds for a command and a cause. Judges no device.

use pomona_sdk::host::{self, catalogue};
use pomona_sdk::serde_json::{Map, Value};
use pomona_sdk::{Diagnostic, Snapshot, refuse};
use serde::Deserialize;

/// What is done where a device lacks something, or would do nothing with a part of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// The command is refused for this device, with cause and fix.
    #[default]
    Refuse,
    /// It goes; a line of the log and the findings say what is lacking.
    Warn,
    /// As `refuse` for what is lacking; what would do nothing is taken out of the command instead.
    Rewrite,
}

/// What is done where it is not known whether a device has what is required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unknown {
    /// The command waits until the device has said it.
    #[default]
    Wait,
    /// It goes.
    Allow,
    /// It is refused.
    Refuse,
}

/// The settings of a tenant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub(crate) action: Action,
    pub(crate) unknown: Unknown,
    pub(crate) overrides: Vec<Override>,
    pub(crate) require: Vec<Requirement>,
    pub(crate) uses: Vec<Use>,
    pub(crate) silence_hours: Number<72>,
    pub(crate) drift_poll_hours: Number<24>,
    pub(crate) retry_minutes: Number<60>,
    pub(crate) auto_retry_when_fixed: Yes,
}

/// A number that has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Number<const N: u64>(pub(crate) u64);

impl<const N: u64> Default for Number<N> {
    fn default() -> Self {
        Self(N)
    }
}

/// A switch that is on unless it is turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Yes(pub(crate) bool);

impl Default for Yes {
    fn default() -> Self {
        Self(true)
    }
}

/// What the devices of a group must be before they get commands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Requirement {
    /// A group; without it, all devices.
    pub(crate) group: Option<String>,
    /// The commands that wait for it; without them, all but questions and what answers a loss.
    pub(crate) commands: Option<Vec<String>>,
    pub(crate) supervised: bool,
    pub(crate) ade: bool,
    pub(crate) non_removable: bool,
    pub(crate) user_approved: bool,
    pub(crate) bootstrap_token: bool,
}

/// A policy for what it names; the first that fits holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Override {
    #[serde(default)]
    pub(crate) group: Option<String>,
    #[serde(default)]
    pub(crate) command: Option<String>,
    #[serde(default)]
    pub(crate) cause: Option<String>,
    #[serde(default)]
    pub(crate) key: Option<String>,
    pub(crate) action: Action,
}

/// Something that the tenant means to send: whether devices are ready for it is a finding.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Use {
    pub(crate) class: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) group: Option<String>,
    #[serde(default)]
    pub(crate) body: Map<String, Value>,
}

/// Whether a device is in a group that is named, if one is.
pub(crate) fn is_in(device: &Snapshot, group: Option<&String>) -> bool {
    group.is_none_or(|group| device.groups.contains(group))
}

impl Settings {
    /// The policy for a cause and a key of a command. Without a device only what names no group can hold.
    pub(crate) fn action(
        &self,
        device: Option<&Snapshot>,
        command: &str,
        cause: &str,
        key: &str,
    ) -> Action {
        let named = |wanted: &Option<String>, given: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == given)
        };
        let holds = |one: &&Override| {
            let here = match device {
                Some(device) => is_in(device, one.group.as_ref()),
                None => one.group.is_none(),
            };
            here && named(&one.command, command) && named(&one.cause, cause) && named(&one.key, key)
        };
        let held = self.overrides.iter().find(holds);
        held.map_or(self.action, |one| one.action)
    }
}

/// What is said of settings before they are saved: what the catalogue does not know would never hold.
pub(crate) fn remarks(json: &str) -> Vec<Diagnostic> {
    let settings: Settings = match host::read_settings(json) {
        Ok(settings) => settings,
        Err(error) => return vec![refuse("", &format!("{error:?}"))],
    };
    let mut remarks = Vec::new();
    let commands = catalogue::names("command").unwrap_or_default();
    let mut named = |path: String, name: &str| {
        if !commands.iter().any(|one| one == name) {
            remarks.push(Diagnostic {
                path,
                message: format!("the server knows no command {name}"),
                fatal: false,
            });
        }
    };
    for (n, one) in settings.require.iter().enumerate() {
        for (m, name) in one.commands.iter().flatten().enumerate() {
            named(format!("/require/{n}/commands/{m}"), name);
        }
    }
    for (n, one) in settings.overrides.iter().enumerate() {
        if let Some(name) = &one.command {
            named(format!("/overrides/{n}/command"), name);
        }
    }
    for (n, one) in settings.uses.iter().enumerate() {
        match catalogue::lookup(&one.class, &one.name) {
            Ok(Some(_)) => {}
            Ok(None) => remarks.push(Diagnostic {
                path: format!("/uses/{n}/name"),
                message: format!("the server knows no {} {}", one.class, one.name),
                fatal: false,
            }),
            Err(_) => remarks.push(refuse(
                &format!("/uses/{n}/class"),
                "write command, profile or declaration",
            )),
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::serde_json::json;
    use pomona_sdk::testing::{self, Host};

    fn read(json: &Value) -> Settings {
        host::read_settings(&json.to_string()).unwrap()
    }

    #[test]
    fn what_is_left_out_has_the_default() {
        let settings = read(&json!({}));
        assert_eq!(settings.action, Action::Refuse);
        assert_eq!(settings.unknown, Unknown::Wait);
        assert_eq!(
            (settings.silence_hours.0, settings.drift_poll_hours.0),
            (72, 24)
        );
        assert_eq!(settings.retry_minutes.0, 60);
        assert!(settings.auto_retry_when_fixed.0);
        assert!(host::read_settings::<Settings>(r#"{"color": 1}"#).is_err());
    }

    #[test]
    fn the_first_policy_that_fits_holds() {
        let settings = read(&json!({ "action": "rewrite", "overrides": [
            { "command": "EraseDevice", "group": "lab", "action": "warn" },
            { "command": "EraseDevice", "action": "refuse" },
            { "cause": "version", "key": "PIN", "action": "warn" },
        ] }));
        let lab = Snapshot {
            groups: vec!["lab".into()],
            ..testing::device()
        };
        let office = testing::device();
        for (device, command, cause, key, expected) in [
            (Some(&lab), "EraseDevice", "version", "", Action::Warn),
            (Some(&office), "EraseDevice", "version", "", Action::Refuse),
            (None, "EraseDevice", "version", "", Action::Refuse),
            (Some(&lab), "DeviceLock", "version", "PIN", Action::Warn),
            (Some(&lab), "DeviceLock", "version", "", Action::Rewrite),
            (Some(&lab), "DeviceLock", "platform", "PIN", Action::Rewrite),
        ] {
            let told = settings.action(device, command, cause, key);
            assert_eq!(told, expected, "{command} {cause} {key}");
        }
    }

    #[test]
    fn what_the_server_does_not_know_is_remarked_and_a_wrong_class_refused() {
        let host = Host::default()
            .named("command", &["EraseDevice"])
            .looked_up("profile", "com.apple.wifi.managed", &json!([]));
        let told = |json: Value| -> Vec<(String, bool)> {
            let (remarks, _) = host.clone().run(|| remarks(&json.to_string()));
            let told = remarks.into_iter().map(|one| (one.path, one.fatal));
            told.collect()
        };
        assert_eq!(
            told(json!({ "require": [{ "commands": ["EraseDevice", "Zap"] }] })),
            [("/require/0/commands/1".to_owned(), false)]
        );
        assert_eq!(
            told(json!({ "overrides": [{ "command": "Zap", "action": "warn" }] })),
            [("/overrides/0/command".to_owned(), false)]
        );
        let wifi = json!({ "class": "profile", "name": "com.apple.wifi.managed" });
        let zap = json!({ "class": "profile", "name": "zap" });
        assert_eq!(
            told(json!({ "uses": [wifi, zap] })),
            [("/uses/1/name".to_owned(), false)]
        );
        assert_eq!(told(json!({ "action": "hope" })), [(String::new(), true)]);
    }
}
