//! House rules: a passcode, a recent operating system, supervision.
//!
//! Shows how an own rule becomes a finding with its evidence and a remedy. What is not known is `unknown`, never a pass.
#![forbid(unsafe_code)]

use std::cmp::Ordering;

use pomona_sdk::serde_json::json;
use pomona_sdk::{
    CallContext, Compliance, Finding, HookError, Remedy, RuleInfo, RuleVerdict, Severity, Snapshot,
    command, finding, host, rule,
};

#[derive(serde::Deserialize)]
struct Settings {
    #[serde(default = "recent")]
    minimum_os: String,
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
        ]
    }

    fn evaluate(_context: &CallContext, device: &Snapshot) -> Result<Vec<Finding>, HookError> {
        Ok(measure(&host::settings()?, device))
    }
}

fn measure(settings: &Settings, device: &Snapshot) -> Vec<Finding> {
    vec![
        passcode(device),
        os_current(&settings.minimum_os, device),
        supervised(device),
    ]
}

fn passcode(device: &Snapshot) -> Finding {
    let known = device
        .facts
        .iter()
        .find(|fact| fact.key == "security.passcode-present");
    let mut finding = match known.map(|fact| fact.value_json.as_str()) {
        Some("true") => finding("passcode", RuleVerdict::Pass, "a passcode is set"),
        Some("false") => finding("passcode", RuleVerdict::Fail, "no passcode is set"),
        _ => finding(
            "passcode",
            RuleVerdict::Unknown,
            "nobody has said whether a passcode is set",
        ),
    };
    finding.evidence.extend(known.cloned());
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
    use pomona_sdk::{Channel, EnrollmentKind, Fact, Platform};

    fn device(os: &str, passcode: Option<&str>, supervised: Option<bool>) -> Snapshot {
        let fact = |value: &str| Fact {
            key: "security.passcode-present".into(),
            value_json: value.into(),
            source: "device".into(),
            observed_ms: 1,
        };
        Snapshot {
            id: "d".into(),
            channel: Channel::Device,
            udid: None,
            serial: None,
            platform: Platform::Ipados,
            model: "iPad13,18".into(),
            os_version: os.into(),
            os_build: String::new(),
            supervised,
            shared_ipad: None,
            kind: EnrollmentKind::Profile,
            time_zone: None,
            groups: Vec::new(),
            seen_ms: 0,
            revision: 1,
            facts: passcode.map(fact).into_iter().collect(),
        }
    }

    #[test]
    fn what_is_not_known_never_passes() {
        let settings = Settings {
            minimum_os: recent(),
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
            let found = measure(&settings, &device);
            let said: Vec<RuleVerdict> = found.iter().map(|finding| finding.verdict).collect();
            assert_eq!(said, verdicts, "{found:?}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(order("9.3", "10"), Ordering::Less);
        assert_eq!(order("26", "26.0.0"), Ordering::Equal);
        assert_eq!(order("26.10", "26.9"), Ordering::Greater);
    }
}
