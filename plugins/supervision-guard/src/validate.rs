//! Whether a command goes to a device.
//!
//! Owns: the verdict: what the tenant requires of the device first, then what the device would do nothing with. What the catalogue
//! refuses is not looked at: the server has refused it before, or somebody has sent it by force.

use pomona_sdk::host::catalogue::{Objection, Weight};
use pomona_sdk::host::{catalogue, log};
use pomona_sdk::{Draft, Snapshot, Verdict, allow};

use crate::needs::{self, Need};
use crate::settings::{Action, Requirement, Settings, Unknown};

/// Commands that ask, those that answer a loss, and those that end the setup of a device: no requirement holds them back unless it names them. What
/// an administrator may want to do whatever the device is, is for people to say: no catalogue knows it.
const FREE: [&str; 26] = [
    "ActivationLockBypassCode",
    "ActiveNSExtensions",
    "AvailableOSUpdates",
    "CertificateList",
    "DeviceConfigured",
    "DeviceInformation",
    "DeviceLocation",
    "DeviceLock",
    "DisableLostMode",
    "EnableLostMode",
    "EraseDevice",
    "InstalledApplicationList",
    "ManagedApplicationAttributes",
    "ManagedApplicationConfiguration",
    "ManagedApplicationFeedback",
    "ManagedApplicationList",
    "ManagedMediaList",
    "NSExtensionMappings",
    "OSUpdateStatus",
    "PlayLostModeSound",
    "ProfileList",
    "ProvisioningProfileList",
    "Restrictions",
    "SecurityInfo",
    "UserConfigured",
    "UserList",
];
/// What says whether needs are met is never held back.
const ASKS: [&str; 2] = ["DeviceInformation", "SecurityInfo"];
const MINUTE_MS: u64 = 60_000;
/// Reasons in one verdict, at most.
const MOST: usize = 3;
/// Bytes of a payload that the catalogue judges.
pub(crate) const LARGEST: usize = 64 << 10;

/// Judges a command for a device.
pub(crate) fn judge(
    settings: &Settings,
    now_ms: u64,
    device: &Snapshot,
    command: &Draft,
) -> Verdict {
    let name = command.request_type.as_str();
    if ASKS.contains(&name) {
        return allow();
    }
    let mut refused = Vec::new();
    let mut waits = Vec::new();
    for (need, one) in needs::required(&settings.require, device) {
        if !waits_for(one, name) {
            continue;
        }
        let action = settings.action(Some(device), name, need.cause(), "");
        let met = need.met(device);
        if action == Action::Warn {
            if met != Some(true) {
                log::write(log::Level::Warn, &lacking(need, one, device, name, met), "");
            }
            continue;
        }
        let said = || lacking(need, one, device, name, met);
        let mended_later = settings.auto_retry_when_fixed.0;
        match (met, settings.unknown) {
            (Some(true), _) | (None, Unknown::Allow) => {}
            (Some(false), _) if mended_later && need.can_be_mended(device) => waits.push(said()),
            (None, Unknown::Wait) => waits.push(said()),
            (Some(false), _) | (None, Unknown::Refuse) => refused.push(said()),
        }
    }
    refused.extend(idle(settings, device, command));
    match (refused.is_empty(), waits.is_empty()) {
        (true, true) => allow(),
        (true, false) => {
            let until = now_ms.saturating_add(settings.retry_minutes.0.max(1) * MINUTE_MS);
            Verdict::Defer((until, told(waits)))
        }
        (false, _) => Verdict::Veto(told(refused)),
    }
}

/// Whether a requirement holds this command back.
fn waits_for(one: &Requirement, command: &str) -> bool {
    match &one.commands {
        Some(named) => named.iter().any(|name| name == command),
        None => !FREE.contains(&command),
    }
}

fn told(mut reasons: Vec<String>) -> String {
    reasons.dedup();
    reasons.truncate(MOST);
    reasons.join(" | ")
}

/// Cause, fix and alternative in a sentence.
fn lacking(
    need: Need,
    one: &Requirement,
    device: &Snapshot,
    command: &str,
    met: Option<bool>,
) -> String {
    let who = match &one.group {
        Some(group) => format!("the group {group}"),
        None => "this tenant".to_owned(),
    };
    let wanted = need.wanted();
    let alternative = match need {
        Need::Supervision | Need::Automated => {
            "; instead: DeviceLock, which goes in any case, or an override of the guard"
        }
        _ => "; instead: an override of the guard",
    };
    match met {
        None => format!(
            "{command}: {who} requires {wanted}, and whether this one is so is not known; {}{alternative}",
            need.ask()
        ),
        Some(_) => format!(
            "{command}: {who} requires {wanted}; this one is not so; to mend it: {}{alternative}",
            need.fix(device)
        ),
    }
}

/// What the device would do nothing with, where that is refused.
fn idle(settings: &Settings, device: &Snapshot, command: &Draft) -> Vec<String> {
    let name = command.request_type.as_str();
    if command.payload_json.len() > LARGEST {
        return Vec::new();
    }
    let asked = catalogue::preflight(&device.subject(), "command", name, &command.payload_json);
    // That it cannot be judged is no reason to refuse it.
    let Ok(told) = asked else {
        return Vec::new();
    };
    let objections = told.of(Weight::Warns).filter(|one| does_nothing(one));
    let refused = objections
        .filter(|one| settings.action(Some(device), name, &one.cause, &one.key) == Action::Refuse);
    refused.map(Objection::told).collect()
}

/// Whether an objection is about something that the device passes over.
pub(crate) fn does_nothing(one: &Objection) -> bool {
    one.weight == Weight::Warns && one.cause != "deprecated"
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::Platform;
    use pomona_sdk::host::catalogue::{Judgement, Verdict as Said};
    use pomona_sdk::serde_json::{Value, json};
    use pomona_sdk::testing::{self, Host, fact};

    fn verdict(settings: &Value, device: &Snapshot, name: &str) -> Verdict {
        let settings = pomona_sdk::host::read_settings(&settings.to_string()).unwrap();
        let told = Judgement {
            verdict: Said::AllowedWithWarning,
            objections: vec![
                testing::objection("deprecated", Weight::Warns, ""),
                testing::objection("platform", Weight::Warns, "PIN"),
            ],
        };
        let host = Host::default().judged("command", "DeviceLock", told);
        let draft = testing::draft(name, &json!({}));
        host.run(|| judge(&settings, 1_000, device, &draft)).0
    }

    fn supervised(is: Option<bool>) -> Snapshot {
        Snapshot {
            supervised: is,
            groups: vec!["lab".into()],
            ..testing::device()
        }
    }

    #[test]
    fn a_requirement_refuses_with_cause_fix_and_alternative() {
        let rules = json!({ "require": [{ "group": "lab", "supervised": true }] });
        let told = verdict(&rules, &supervised(Some(false)), "RestartDevice");
        let Verdict::Veto(why) = told else {
            panic!("{told:?}");
        };
        for part in [
            "RestartDevice: the group lab requires a supervised device",
            "this one is not so",
            "to mend it: assign its serial number",
            "instead: DeviceLock",
        ] {
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(
            verdict(&rules, &supervised(Some(true)), "RestartDevice"),
            allow()
        );
        let elsewhere = Snapshot {
            groups: Vec::new(),
            ..supervised(Some(false))
        };
        assert_eq!(verdict(&rules, &elsewhere, "RestartDevice"), allow());
    }

    #[test]
    fn what_is_not_known_waits_goes_or_is_refused_as_the_tenant_says() {
        let unknown = |word: &str, name: &str| {
            let rules =
                json!({ "unknown": word, "retry_minutes": 5, "require": [{ "supervised": true }] });
            verdict(&rules, &supervised(None), name)
        };
        let told = unknown("wait", "RestartDevice");
        assert!(
            matches!(&told, Verdict::Defer((301_000, why)) if why.contains("send DeviceInformation")),
            "{told:?}"
        );
        assert_eq!(unknown("allow", "RestartDevice"), allow());
        assert!(matches!(
            unknown("refuse", "RestartDevice"),
            Verdict::Veto(_)
        ));
        // What tells it, and what answers a loss, goes.
        for name in ["DeviceInformation", "SecurityInfo", "EraseDevice"] {
            assert_eq!(unknown("refuse", name), allow(), "{name}");
        }
    }

    #[test]
    fn what_can_be_mended_waits_until_it_is() {
        let status = |approved: bool| {
            let said = json!({ "EnrolledViaDEP": false, "UserApprovedEnrollment": approved });
            Snapshot {
                platform: Platform::Macos,
                facts_json: testing::facts(&[fact("security.management-status", &said)]),
                ..testing::device()
            }
        };
        let rules = |retry: bool| json!({ "auto_retry_when_fixed": retry, "require": [{ "user_approved": true }] });
        let waits = verdict(&rules(true), &status(false), "InstallProfile");
        assert!(matches!(waits, Verdict::Defer(_)), "{waits:?}");
        let refused = verdict(&rules(false), &status(false), "InstallProfile");
        assert!(matches!(refused, Verdict::Veto(_)), "{refused:?}");
        assert_eq!(
            verdict(&rules(true), &status(true), "InstallProfile"),
            allow()
        );
    }

    #[test]
    fn what_would_do_nothing_is_refused_only_where_that_is_the_policy() {
        let device = testing::device();
        let told = |rules: Value| verdict(&rules, &device, "DeviceLock");
        assert_eq!(told(json!({})), Verdict::Veto("platform".into()));
        assert_eq!(told(json!({ "action": "warn" })), allow());
        assert_eq!(told(json!({ "action": "rewrite" })), allow());
        let spared =
            json!({ "overrides": [{ "cause": "platform", "key": "PIN", "action": "warn" }] });
        assert_eq!(told(spared), allow());
    }

    #[test]
    fn a_requirement_holds_what_it_names_and_a_policy_of_warnings_nothing() {
        let named = json!({ "require": [{ "supervised": true, "commands": ["EraseDevice"] }] });
        let device = supervised(Some(false));
        assert!(matches!(
            verdict(&named, &device, "EraseDevice"),
            Verdict::Veto(_)
        ));
        assert_eq!(verdict(&named, &device, "RestartDevice"), allow());
        let warns = json!({ "action": "warn", "require": [{ "supervised": true }] });
        assert_eq!(verdict(&warns, &device, "RestartDevice"), allow());
    }
}
