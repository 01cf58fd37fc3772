//! Whether a device is ready for what the tenant means to send.
//!
//! Owns: the catalogue's objections to it, told apart by the rules of the findings. What is not there for a device's family at all concerns no
//! device of it.

use pomona_sdk::host::catalogue::{self, Objection, Weight};
use pomona_sdk::serde_json::Value;
use pomona_sdk::{RuleVerdict, Snapshot};

use crate::settings::{Settings, is_in};

/// Rules that rest on what is to be sent alone, with the causes of the catalogue that they are about.
pub(crate) const RULES: [(&str, &[&str]); 7] = [
    ("needs.supervision", &["supervision"]),
    ("needs.ade", &["automated-enrollment"]),
    ("needs.user_approval", &["user-approval"]),
    ("needs.os", &["version", "removed"]),
    ("needs.channel", &["channel"]),
    ("needs.access_right", &["access-right"]),
    ("needs.shared_ipad", &["shared-ipad", "no-shared-ipad"]),
];

/// What the catalogue says of everything that is meant for a device, by rule.
pub(crate) struct Readiness {
    /// What is to be sent concerns the device.
    pub(crate) any: bool,
    found: Vec<(String, Objection)>,
}

impl Readiness {
    /// Asks the catalogue.
    pub(crate) fn of(settings: &Settings, device: &Snapshot) -> Self {
        let subject = device.subject();
        let mut readiness = Self {
            any: false,
            found: Vec::new(),
        };
        for one in settings
            .uses
            .iter()
            .filter(|one| is_in(device, one.group.as_ref()))
        {
            let body = Value::Object(one.body.clone()).to_string();
            let Ok(told) = catalogue::preflight(&subject, &one.class, &one.name, &body) else {
                continue;
            };
            let whole = |cause: &str| {
                let mut refuses = told.of(Weight::Refuses);
                refuses.any(|one| one.cause == cause && one.key.is_empty())
            };
            if whole("platform") {
                continue;
            }
            readiness.any = true;
            let told = told.objections.into_iter();
            let told = told.filter(|objection| objection.weight != Weight::Warns);
            let told = told.map(|objection| (one.name.clone(), objection));
            readiness.found.extend(told);
        }
        readiness
    }

    /// The verdict of a rule, with what is said for it; none where nothing concerns the device.
    pub(crate) fn verdict(&self, rule: &str) -> Option<(RuleVerdict, String)> {
        let (_, causes) = RULES.iter().find(|(name, _)| *name == rule)?;
        if !self.any {
            return None;
        }
        let about = |weight: Weight| {
            let mut found = self.found.iter();
            found.find(|(_, one)| one.weight == weight && causes.contains(&one.cause.as_str()))
        };
        Some(match (about(Weight::Refuses), about(Weight::Open)) {
            (Some((_, one)), _) => (RuleVerdict::Fail, one.told()),
            (None, Some((_, one))) => (RuleVerdict::Unknown, one.told()),
            (None, None) => (
                RuleVerdict::Pass,
                "nothing that is to be sent to it lacks this".into(),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::host::catalogue::{Judgement, Verdict};
    use pomona_sdk::testing::{self, Host, objection};

    #[test]
    fn an_objection_is_the_verdict_of_its_rule_and_of_no_other() {
        let settings: Settings = pomona_sdk::host::read_settings(
            r#"{"uses": [
                {"class": "command", "name": "EnableLostMode"},
                {"class": "profile", "name": "mac.only"},
                {"class": "profile", "name": "of.a.lab", "group": "lab"}
            ]}"#,
        )
        .unwrap();
        let told = |objections| Judgement {
            verdict: Verdict::Refused,
            objections,
        };
        let host = Host::default()
            .judged(
                "command",
                "EnableLostMode",
                told(vec![
                    objection("supervision", Weight::Refuses, ""),
                    objection("version", Weight::Open, ""),
                    objection("channel", Weight::Warns, ""),
                ]),
            )
            .judged(
                "profile",
                "mac.only",
                told(vec![objection("platform", Weight::Refuses, "")]),
            )
            .judged(
                "profile",
                "of.a.lab",
                told(vec![objection("channel", Weight::Refuses, "")]),
            );
        let (readiness, _) = host.run(|| Readiness::of(&settings, &testing::device()));
        let verdict = |rule: &str| readiness.verdict(rule).map(|(verdict, _)| verdict);
        assert_eq!(verdict("needs.supervision"), Some(RuleVerdict::Fail));
        assert_eq!(verdict("needs.os"), Some(RuleVerdict::Unknown));
        assert_eq!(verdict("needs.channel"), Some(RuleVerdict::Pass));
        assert_eq!(verdict("drift.silent"), None);
        let of_macs = Settings {
            uses: settings.uses.iter().skip(1).take(1).cloned().collect(),
            ..Settings::default()
        };
        let host = Host::default().judged(
            "profile",
            "mac.only",
            told(vec![
                objection("platform", Weight::Refuses, ""),
                objection("version", Weight::Refuses, ""),
            ]),
        );
        let (readiness, _) = host.run(|| Readiness::of(&of_macs, &testing::device()));
        assert_eq!(readiness.verdict("needs.os"), None, "it is not for iPads");
        let none = Readiness::of(&Settings::default(), &testing::device());
        assert_eq!(none.verdict("needs.os"), None);
    }
}
