//! House rules: a passcode, a recent operating system, supervision, a sign of life, an encrypted disk.
//!
//! Shows how an own rule becomes a finding with its evidence and a remedy. What is not known is `unknown`, never a pass.
#![forbid(unsafe_code)]

use std::cmp::Ordering;

use pomona_sdk::serde_json::json;
use pomona_sdk::{
    CallContext, Compliance, Finding, HookError, Platform, Remedy, RuleInfo, RuleVerdict, Severity,
    Snapshot, command, finding, host, rule,
};

#[derive(serde::Deserialize)]
struct Settings {
    #[serde(default = "recent")]
    minimum_os: String,
    #[serde(default = "a_month")]
    silent_days: u64,
}

fn a_month() -> u64 {
    30
}

fn recent() -> String {
    "26.0".into()
}

struct HouseRules;
pomona_sdk::export!(HouseRules: Compliance);

impl Compliance for HouseRules {
    fn rules() -> Vec<RuleInfo> {
        vec![
            rule("passcode", "A passcode is set", Severity::High),
            rule(
                "os-current",
                "The operating system is recent",
                Severity::Medium,
            ),
            rule("supervised", "The device is supervised", Severity::Low),
            rule("seen-lately", "The device has spoken lately", Severity::Low),
            rule("disk-encrypted", "The disk is encrypted", Severity::High),
        ]
    }

    fn evaluate(context: &CallContext, device: &Snapshot) -> Result<Vec<Finding>, HookError> {
        Ok(measure(&host::settings()?, context.now_ms, device))
    }
}

fn measure(settings: &Settings, now_ms: u64, device: &Snapshot) -> Vec<Finding> {
    vec![
        passcode(device),
        os_current(&settings.minimum_os, device),
        supervised(device),
        seen_lately(settings.silent_days, now_ms, device),
        disk_encrypted(device),
    ]
}

fn passcode(device: &Snapshot) -> Finding {
    let known = device.known("security.passcode-present");
    let mut finding = match known.as_ref().map(|fact| fact.value_json.as_str()) {
        Some("true") => finding("passcode", RuleVerdict::Pass, "a passcode is set"),
        Some("false") => finding("passcode", RuleVerdict::Fail, "no passcode is set"),
        _ => finding(
            "passcode",
            RuleVerdict::Unknown,
            "nobody has said whether a passcode is set",
        ),
    };
    finding.evidence.extend(known);
    if finding.verdict == RuleVerdict::Fail {
        let ask = json!({ "Queries": ["PasscodePresent"] });
        finding.remedies.push(Remedy {
            label: "Ask the device again".into(),
            command: command("SecurityInfo", &ask, "the passcode rule failed"),
            automatic: false,
        });
    }
    finding
}

fn os_current(minimum: &str, device: &Snapshot) -> Finding {
    let (verdict, message) = match device.os_version.as_str() {
        "" => (RuleVerdict::Unknown, "the version is not known".to_owned()),
        version if order(version, minimum) == Ordering::Less => (
            RuleVerdict::Fail,
            format!("{version} is older than {minimum}"),
        ),
        version => (
            RuleVerdict::Pass,
            format!("{version} is {minimum} or newer"),
        ),
    };
    finding("os-current", verdict, &message)
}

fn supervised(device: &Snapshot) -> Finding {
    match device.supervised {
        Some(true) => finding("supervised", RuleVerdict::Pass, "it is supervised"),
        Some(false) => finding("supervised", RuleVerdict::Fail, "it is not supervised"),
        None => finding(
            "supervised",
            RuleVerdict::Unknown,
            "nobody has said whether it is supervised",
        ),
    }
}

fn seen_lately(days: u64, now_ms: u64, device: &Snapshot) -> Finding {
    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
    let silent = now_ms.saturating_sub(device.seen_ms) / DAY_MS;
    let (verdict, message) = match device.seen_ms {
        0 => (RuleVerdict::Unknown, "it has never spoken".to_owned()),
        _ if silent > days => (RuleVerdict::Fail, format!("silent for {silent} days")),
        _ => (RuleVerdict::Pass, format!("it spoke within {days} days")),
    };
    finding("seen-lately", verdict, &message)
}

fn disk_encrypted(device: &Snapshot) -> Finding {
    let rule = "disk-encrypted";
    if !matches!(device.platform, Platform::Macos) {
        return finding(
            rule,
            RuleVerdict::NotApplicable,
            "this family always encrypts",
        );
    }
    let known = device.known("security.fde-enabled");
    let mut finding = match known.as_ref().map(|fact| fact.value_json.as_str()) {
        Some("true") => finding(rule, RuleVerdict::Pass, "FileVault is on"),
        Some("false") => finding(rule, RuleVerdict::Fail, "FileVault is off"),
        _ => finding(
            rule,
            RuleVerdict::Unknown,
            "nobody has said whether FileVault is on",
        ),
    };
    finding.evidence.extend(known);
    finding
}

/// Compares versions part by part, as numbers; a part that is missing counts as 0.
fn order(left: &str, right: &str) -> Ordering {
    let parts = |version: &str| -> [u32; 3] {
        let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
        std::array::from_fn(|_| parts.next().unwrap_or(0))
    };
    parts(left).cmp(&parts(right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::serde_json::Value;
    use pomona_sdk::{Fact, testing};

    fn device(os: &str, passcode: Option<&str>, supervised: Option<bool>) -> Snapshot {
        let fact = |value: &str| Fact {
            value_json: value.into(),
            ..testing::fact("security.passcode-present", &Value::Null)
        };
        let facts: Vec<Fact> = passcode.map(fact).into_iter().collect();
        Snapshot {
            os_version: os.into(),
            supervised,
            facts_json: testing::facts(&facts),
            ..testing::device()
        }
    }

    #[test]
    fn what_is_not_known_never_passes() {
        let settings = Settings {
            minimum_os: recent(),
            silent_days: a_month(),
        };
        use RuleVerdict::{Fail, Pass, Unknown};
        for (device, verdicts) in [
            (device("27.1", Some("true"), Some(true)), [Pass, Pass, Pass]),
            (
                device("25.9.9", Some("false"), Some(false)),
                [Fail, Fail, Fail],
            ),
            (device("", None, None), [Unknown, Unknown, Unknown]),
            (
                device("26", Some("\"yes\""), None),
                [Unknown, Pass, Unknown],
            ),
        ] {
            let found = measure(&settings, 0, &device);
            let first = found.iter().take(3);
            let said: Vec<RuleVerdict> = first.map(|finding| finding.verdict).collect();
            assert_eq!(said, verdicts, "{found:?}");
        }
    }

    #[test]
    fn silence_is_counted_in_days_and_a_mac_must_tell_of_its_disk() {
        const DAY: u64 = 86_400_000;
        let mut device = device("27", None, None);
        device.seen_ms = 100 * DAY;
        let lately = |now| seen_lately(30, now, &device).verdict;
        assert_eq!(lately(130 * DAY), RuleVerdict::Pass);
        assert_eq!(lately(131 * DAY), RuleVerdict::Fail);
        device.seen_ms = 0;
        assert_eq!(seen_lately(30, 0, &device).verdict, RuleVerdict::Unknown);
        assert_eq!(disk_encrypted(&device).verdict, RuleVerdict::NotApplicable);
        device.platform = Platform::Macos;
        assert_eq!(disk_encrypted(&device).verdict, RuleVerdict::Unknown);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(order("9.3", "10"), Ordering::Less);
        assert_eq!(order("26", "26.0.0"), Ordering::Equal);
        assert_eq!(order("26.10", "26.9"), Ordering::Greater);
    }
}
