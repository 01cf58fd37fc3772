//! The findings: what devices lack, and what they have lost.
//!
//! Owns: the list of rules and the finding of each. What is not known is `unknown`, never a pass; what nobody requires does not apply.

use pomona_sdk::serde_json::json;
use pomona_sdk::{
    Fact, Finding, Remedy, RuleInfo, RuleVerdict, Severity, Snapshot, command, finding, rule,
};

use crate::drift;
use crate::known::{self, State};
use crate::needs::{self, Need};
use crate::settings::Settings;
use crate::uses::{self, Readiness};

const HOUR_MS: u64 = 60 * 60 * 1_000;

/// Every rule.
pub(crate) fn rules() -> Vec<RuleInfo> {
    let needs = Need::ALL.into_iter().map(|need| {
        let title = format!("It is what is required: {}", need.wanted());
        rule(need.rule(), &title, Severity::Medium)
    });
    let of_uses = [
        (
            "needs.os",
            "Its system is new enough for what is to be sent",
        ),
        ("needs.channel", "Its channels carry what is to be sent"),
        (
            "needs.access_right",
            "Its enrollment has the rights for what is to be sent",
        ),
        (
            "needs.shared_ipad",
            "It is shared, or not, as what is to be sent needs",
        ),
    ];
    let of_uses = of_uses.map(|(id, title)| rule(id, title, Severity::Low));
    let drifts = State::ALL.into_iter().map(|state| {
        let title = format!("It is still {}", state.told());
        rule(state.rule(), &title, Severity::High)
    });
    let others = [
        rule(
            "drift.mdm_removable",
            "Its management cannot be removed",
            Severity::High,
        ),
        rule(
            "drift.no_escrow",
            "The bypass code of its activation lock is kept",
            Severity::Medium,
        ),
        rule("drift.silent", "It has spoken lately", Severity::Low),
    ];
    needs.chain(of_uses).chain(drifts).chain(others).collect()
}

/// The finding of each rule.
pub(crate) fn measure(settings: &Settings, now_ms: u64, device: &Snapshot) -> Vec<Finding> {
    let ready = Readiness::of(settings, device);
    let mut found: Vec<Finding> = Need::ALL
        .into_iter()
        .map(|need| needed(settings, device, need, &ready))
        .collect();
    let by_use = uses::RULES.iter().map(|(rule, _)| *rule);
    for rule in by_use
        .filter(|rule| found.iter().all(|one| one.rule != *rule))
        .collect::<Vec<_>>()
    {
        found.push(match ready.verdict(rule) {
            Some((verdict, message)) => finding(rule, verdict, &message),
            None => finding(
                rule,
                RuleVerdict::NotApplicable,
                "nothing is to be sent to it",
            ),
        });
    }
    found.extend(State::ALL.into_iter().map(|state| drifted(device, state)));
    found.extend([
        removable(settings, device),
        escrow(device),
        silent(settings, now_ms, device),
    ]);
    for one in &mut found {
        if one.verdict == RuleVerdict::Unknown && asks_help(&one.rule) {
            one.remedies = questions();
        }
    }
    found
}

/// A need: what a requirement says of it, and what is to be sent.
fn needed(settings: &Settings, device: &Snapshot, need: Need, ready: &Readiness) -> Finding {
    let required = needs::required(&settings.require, device);
    let required = required.iter().any(|(one, _)| *one == need);
    let by_use = ready.verdict(need.rule());
    let own = required.then(|| match need.met(device) {
        Some(true) => (RuleVerdict::Pass, format!("it is: {}", need.wanted())),
        Some(false) => (
            RuleVerdict::Fail,
            format!(
                "{} is required; to mend it: {}",
                need.wanted(),
                need.fix(device)
            ),
        ),
        None => (
            RuleVerdict::Unknown,
            format!(
                "{} is required, and it is not known; {}",
                need.wanted(),
                need.ask()
            ),
        ),
    });
    let gravest = [own, by_use].into_iter().flatten();
    let (verdict, message) = gravest
        .max_by_key(|(verdict, _)| weight(*verdict))
        .unwrap_or_else(|| (RuleVerdict::NotApplicable, "nothing requires it".to_owned()));
    let mut found = finding(need.rule(), verdict, &message);
    found.evidence = match need {
        Need::Supervision => State::Supervised.evidence(device),
        Need::Automated => State::Automated.evidence(device),
        Need::Approval => State::Approved.evidence(device),
        Need::NonRemovable => device.known(known::REMOVABLE).into_iter().collect(),
        Need::BootstrapToken => Vec::new(),
    };
    found
}

fn weight(verdict: RuleVerdict) -> u8 {
    match verdict {
        RuleVerdict::NotApplicable => 0,
        RuleVerdict::Pass => 1,
        RuleVerdict::Unknown => 2,
        RuleVerdict::Fail => 3,
    }
}

/// Whether it still is what it was.
fn drifted(device: &Snapshot, state: State) -> Finding {
    let (was, told) = (drift::best(device).contains(&state), state.told());
    let (verdict, message) = match (was, state.now(device)) {
        (true, Some(true)) => (RuleVerdict::Pass, format!("it is {told}")),
        (true, Some(false)) => (
            RuleVerdict::Fail,
            format!("it was {told} and is not any more"),
        ),
        (true, None) => (
            RuleVerdict::Unknown,
            format!("it was {told}; whether it still is, is not known"),
        ),
        (false, _) => (
            RuleVerdict::NotApplicable,
            format!("nobody has seen that it was {told}"),
        ),
    };
    let mut found = finding(state.rule(), verdict, &message);
    found.evidence = state.evidence(device);
    found
}

fn removable(settings: &Settings, device: &Snapshot) -> Finding {
    let needed = needs::required(&settings.require, device);
    let needed = needed.iter().any(|(need, _)| *need == Need::NonRemovable);
    let known: Option<Fact> = device.known(known::REMOVABLE);
    let rule = "drift.mdm_removable";
    let mut found = match device.fact(known::REMOVABLE) {
        Some(true) => finding(rule, RuleVerdict::Fail, "its management can be removed"),
        Some(false) => finding(rule, RuleVerdict::Pass, "its management cannot be removed"),
        None if needed => finding(
            rule,
            RuleVerdict::Unknown,
            "no device says it: set the fact guard.mdm-removable",
        ),
        None => finding(rule, RuleVerdict::NotApplicable, "nothing requires it"),
    };
    found.evidence.extend(known);
    found
}

fn escrow(device: &Snapshot) -> Finding {
    let rule = "drift.no_escrow";
    let lock = "device.is-activation-lock-enabled";
    let mut found = match (device.fact(lock), device.fact(known::BYPASS)) {
        (Some(false), _) => finding(rule, RuleVerdict::Pass, "its activation lock is off"),
        (Some(true), Some(true)) => finding(rule, RuleVerdict::Pass, "the bypass code is kept"),
        (Some(true), Some(false)) => finding(
            rule,
            RuleVerdict::Fail,
            "its activation lock is on, and its bypass code is not kept",
        ),
        (Some(true), None) => finding(
            rule,
            RuleVerdict::Unknown,
            "its activation lock is on; whether its bypass code is kept, say in the fact guard.bypass-code-kept",
        ),
        (None, _) => finding(
            rule,
            RuleVerdict::Unknown,
            "whether its activation lock is on is not known",
        ),
    };
    found.evidence.extend(device.known(lock));
    found
}

fn silent(settings: &Settings, now_ms: u64, device: &Snapshot) -> Finding {
    let hours = now_ms.saturating_sub(device.seen_ms) / HOUR_MS;
    let (verdict, message) = match device.seen_ms {
        0 => (RuleVerdict::Unknown, "it has never spoken".to_owned()),
        _ if settings.silence_hours.0 == 0 => (
            RuleVerdict::NotApplicable,
            "silence is not looked at".to_owned(),
        ),
        _ if hours >= settings.silence_hours.0 => (
            RuleVerdict::Fail,
            format!("it has been silent for {hours} hours"),
        ),
        _ => (
            RuleVerdict::Pass,
            format!("it spoke within {} hours", settings.silence_hours.0),
        ),
    };
    finding("drift.silent", verdict, &message)
}

/// Whether asking the device may tell what is not known.
fn asks_help(rule: &str) -> bool {
    !matches!(
        rule,
        "drift.mdm_removable" | "drift.silent" | "needs.non_removable" | "needs.bootstrap_token"
    )
}

fn questions() -> Vec<Remedy> {
    let queries = json!({ "Queries": ["IsSupervised", "IsMultiUser", "IsActivationLockEnabled", "OSVersion"] });
    let ask = |label: &str, name: &str, payload| Remedy {
        label: label.into(),
        command: command(
            name,
            payload,
            "the supervision guard does not know what the device is",
        ),
        automatic: false,
    };
    vec![
        ask("Ask what it is", "DeviceInformation", &queries),
        ask("Ask how it is managed", "SecurityInfo", &json!({})),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::testing::{self, fact};

    fn verdicts(settings: &str, device: &Snapshot) -> Vec<(String, RuleVerdict)> {
        let settings = pomona_sdk::host::read_settings(settings).unwrap();
        let found = measure(&settings, 100 * HOUR_MS, device);
        let named = found.into_iter().map(|one| (one.rule, one.verdict));
        named.collect()
    }

    fn of(all: &[(String, RuleVerdict)], rule: &str) -> RuleVerdict {
        all.iter().find(|(name, _)| name == rule).unwrap().1
    }

    #[test]
    fn every_rule_has_one_finding_and_every_finding_its_rule() {
        let mut names: Vec<String> = rules().into_iter().map(|rule| rule.id).collect();
        let found = verdicts("{}", &testing::device());
        let mut said: Vec<String> = found.into_iter().map(|(rule, _)| rule).collect();
        names.sort();
        said.sort();
        assert_eq!(names, said);
    }

    #[test]
    fn what_nobody_knows_never_passes() {
        let everything = r#"{"require": [{"supervised": true, "ade": true, "non_removable": true,
            "user_approved": true, "bootstrap_token": true}]}"#;
        let mac = Snapshot {
            platform: pomona_sdk::Platform::Macos,
            ..testing::device()
        };
        let found = verdicts(everything, &mac);
        assert!(
            found
                .iter()
                .all(|(_, verdict)| *verdict != RuleVerdict::Pass),
            "{found:?}"
        );
        for need in Need::ALL {
            assert_eq!(of(&found, need.rule()), RuleVerdict::Unknown);
        }
        let nothing = verdicts("{}", &mac);
        for need in Need::ALL {
            assert_eq!(of(&nothing, need.rule()), RuleVerdict::NotApplicable);
        }
    }

    #[test]
    fn a_loss_is_a_finding_and_so_is_silence() {
        let device = |now, seen_ms| Snapshot {
            supervised: now,
            seen_ms,
            facts_json: testing::facts(&[
                fact("org.pomona.supervision-guard.best", &json!(["supervised"])),
                fact("device.is-activation-lock-enabled", &json!(true)),
                fact("guard.bypass-code-kept", &json!(false)),
            ]),
            ..testing::device()
        };
        use RuleVerdict::{Fail, Pass, Unknown};
        for (now, seen, drift, silent) in [
            (Some(false), HOUR_MS, Fail, Fail),
            (Some(true), 29 * HOUR_MS, Pass, Pass),
            (None, 0, Unknown, Unknown),
        ] {
            let found = verdicts("{}", &device(now, seen));
            assert_eq!(of(&found, "drift.unsupervised"), drift);
            assert_eq!(of(&found, "drift.silent"), silent);
            assert_eq!(of(&found, "drift.no_escrow"), Fail);
        }
        let required = verdicts(
            r#"{"require": [{"supervised": true}]}"#,
            &device(Some(false), 1),
        );
        assert_eq!(of(&required, "needs.supervision"), Fail);
    }
}
