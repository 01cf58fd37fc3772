//! What of a device decides what it takes, for questions to the catalogue.
//!
//! Owns: reading it from a snapshot. What the snapshot does not tell is not known; nothing is guessed.

use crate::host::catalogue::{Judgement, Objection, Subject, Weight};
use crate::{Channel, EnrollmentKind, Snapshot, serde_json::Value};

/// The fact in which a Mac tells how its management came to be.
const MANAGEMENT: &str = "security.management-status";

impl Snapshot {
    /// The device as the catalogue judges it. Whether it came by Automated Device Enrollment and whether its user has approved that, a Mac
    /// tells in the fact `security.management-status`, which the manifest has to ask for.
    #[must_use]
    pub fn subject(&self) -> Subject {
        let management: Value = self.fact(MANAGEMENT).unwrap_or_default();
        let automated = matches!(self.kind, EnrollmentKind::Automated);
        Subject {
            platform: self.platform.clone(),
            os_version: self.os_version.clone(),
            user_channel: !matches!(self.channel, Channel::Device),
            user_enrollment: matches!(self.kind, EnrollmentKind::AccountDrivenUser),
            supervised: self.supervised,
            automated: match automated {
                true => Some(true),
                false => management["EnrolledViaDEP"].as_bool(),
            },
            user_approved: management["UserApprovedEnrollment"].as_bool(),
            shared_ipad: self.shared_ipad,
            access_rights: None,
        }
    }
}

impl Objection {
    /// What is the matter, what would mend it and what works instead, in one text.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = self.message.clone();
        for (lead, more) in [
            ("to mend it: ", &self.fix),
            ("ask first: ", &self.ask),
            ("instead: ", &self.alternative),
        ] {
            if let Some(more) = more {
                text.push_str("; ");
                text.push_str(lead);
                text.push_str(more.trim_end_matches('.'));
            }
        }
        text
    }
}

impl Judgement {
    /// The objections of a weight.
    pub fn of(&self, weight: Weight) -> impl Iterator<Item = &Objection> {
        let all = self.objections.iter();
        all.filter(move |one| one.weight == weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::catalogue::{self, Verdict};
    use crate::host::{AccessError, recipients};
    use crate::serde_json::json;
    use crate::testing::{self, Host};
    use crate::{Platform, testing::fact};

    #[test]
    fn a_subject_says_what_the_snapshot_tells_and_no_more() {
        let ipad = testing::device().subject();
        assert!(matches!(ipad.platform, Platform::Ipados));
        assert_eq!(
            (ipad.supervised, ipad.automated, ipad.user_approved),
            (None, None, None)
        );
        let status = json!({ "EnrolledViaDEP": false, "UserApprovedEnrollment": true });
        let mac = Snapshot {
            platform: Platform::Macos,
            channel: Channel::User("ada".into()),
            facts_json: testing::facts(&[fact(MANAGEMENT, &status)]),
            ..testing::device()
        };
        let told = mac.subject();
        assert_eq!(
            (told.automated, told.user_approved, told.user_channel),
            (Some(false), Some(true), true)
        );
        let automated = Snapshot {
            kind: EnrollmentKind::Automated,
            ..mac.clone()
        };
        assert_eq!(automated.subject().automated, Some(true));
        let user = Snapshot {
            kind: EnrollmentKind::AccountDrivenUser,
            ..testing::device()
        };
        assert!(user.subject().user_enrollment);
    }

    #[test]
    fn a_test_says_what_the_catalogue_says_and_what_it_does_not_say_is_unknown() {
        let told = Judgement {
            verdict: Verdict::Refused,
            objections: vec![Objection {
                fix: Some("Mend it.".into()),
                alternative: Some("Another.".into()),
                ..testing::objection("supervision", Weight::Refuses, "")
            }],
        };
        let ipad = testing::device().subject();
        let host = Host::default()
            .judged("command", "EnableLostMode", told.clone())
            .named("command", &["EnableLostMode"])
            .recipients(vec![ipad.clone()]);
        let ((), _) = host.run(|| {
            let judged = |name: &str| catalogue::preflight(&ipad, "command", name, "{}").unwrap();
            assert_eq!(judged("EnableLostMode"), told);
            assert_eq!(judged("RestartDevice").verdict, Verdict::Unknown);
            assert_eq!(catalogue::names("command").unwrap(), ["EnableLostMode"]);
            assert_eq!(catalogue::lookup("command", "EnableLostMode"), Ok(None));
            assert_eq!(recipients::kinds().unwrap().len(), 1);
        });
        assert_eq!(recipients::kinds(), Err(AccessError::NotFound));
        let said = told.of(Weight::Refuses).next().unwrap().told();
        assert_eq!(said, "supervision; to mend it: Mend it; instead: Another");
        assert_eq!(told.of(Weight::Open).count(), 0);
    }
}
