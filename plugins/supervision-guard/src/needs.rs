//! What a tenant requires of devices before they get commands.
//!
//! Owns: the five needs: for which devices each makes sense, whether it is met, what would meet it, and what helps until then. Which commands
//! wait for them is for `validate`.

use pomona_sdk::{Platform, Snapshot};

use crate::known::{self, State, is_mac};
use crate::settings::{Requirement, is_in};

/// Something that a device must be, or the server must have of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Supervision,
    Automated,
    Approval,
    NonRemovable,
    BootstrapToken,
}

impl Need {
    pub(crate) const ALL: [Self; 5] = [
        Self::Supervision,
        Self::Automated,
        Self::Approval,
        Self::NonRemovable,
        Self::BootstrapToken,
    ];

    /// The rule that says whether it is met.
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Self::Supervision => "needs.supervision",
            Self::Automated => "needs.ade",
            Self::Approval => "needs.user_approval",
            Self::NonRemovable => "needs.non_removable",
            Self::BootstrapToken => "needs.bootstrap_token",
        }
    }

    /// The word for it in `overrides`; that of the catalogue, where that has one.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Supervision => "supervision",
            Self::Automated => "automated-enrollment",
            Self::Approval => "user-approval",
            Self::NonRemovable => "mdm-removable",
            Self::BootstrapToken => "bootstrap-token",
        }
    }

    /// What it asks for, as the object of a sentence.
    pub(crate) fn wanted(self) -> &'static str {
        match self {
            Self::Supervision => "a supervised device",
            Self::Automated => "a device that came by Automated Device Enrollment",
            Self::Approval => "an enrollment that the Mac's user has approved",
            Self::NonRemovable => "management that cannot be removed",
            Self::BootstrapToken => "a bootstrap token that is kept here",
        }
    }

    /// Whether a requirement names it.
    fn is_in(self, one: &Requirement) -> bool {
        match self {
            Self::Supervision => one.supervised,
            Self::Automated => one.ade,
            Self::Approval => one.user_approved,
            Self::NonRemovable => one.non_removable,
            Self::BootstrapToken => one.bootstrap_token,
        }
    }

    /// Whether such a device can be so at all.
    fn concerns(self, device: &Snapshot) -> bool {
        match self {
            Self::Approval | Self::BootstrapToken => is_mac(device),
            Self::Supervision | Self::Automated | Self::NonRemovable => {
                !matches!(device.platform, Platform::Watchos)
            }
        }
    }

    /// Whether it is met; none: nobody has said so.
    pub(crate) fn met(self, device: &Snapshot) -> Option<bool> {
        match self {
            Self::Supervision => State::Supervised.now(device),
            Self::Automated => State::Automated.now(device),
            // Automated Device Enrollment needs no approval.
            Self::Approval => match State::Automated.now(device) {
                Some(true) => Some(true),
                _ => State::Approved.now(device),
            },
            Self::NonRemovable => device
                .fact(known::REMOVABLE)
                .map(|removable: bool| !removable),
            Self::BootstrapToken => known::own(device, known::TOKEN)?.as_bool(),
        }
    }

    /// Whether it can come to be met without enrolling the device anew, so that waiting makes sense.
    pub(crate) fn can_be_mended(self, device: &Snapshot) -> bool {
        match self {
            Self::Approval | Self::BootstrapToken => true,
            // A Mac whose user has approved the enrollment counts as supervised.
            Self::Supervision => is_mac(device),
            Self::Automated | Self::NonRemovable => false,
        }
    }

    /// What would meet it.
    pub(crate) fn fix(self, device: &Snapshot) -> &'static str {
        match self {
            Self::Supervision if is_mac(device) => {
                "have its user approve the enrollment in System Settings, or enroll it by Automated Device Enrollment"
            }
            Self::Supervision => {
                "assign its serial number to this server in Apple School Manager or Apple Business Manager and enroll it by Automated \
                 Device Enrollment, which erases it; or add it there with Apple Configurator"
            }
            Self::Automated => {
                "assign its serial number to this server in Apple School Manager or Apple Business Manager, erase it, and let Setup \
                 Assistant enroll it"
            }
            Self::Approval => {
                "have its user approve the enrollment in System Settings, or enroll it by Automated Device Enrollment"
            }
            Self::NonRemovable => {
                "enroll it by Automated Device Enrollment with a profile that forbids to remove the management, and set the fact \
                 guard.mdm-removable to false"
            }
            Self::BootstrapToken => {
                "have a user with a secure token sign in on the Mac: it then hands the token over by itself"
            }
        }
    }

    /// How it comes to be known.
    pub(crate) fn ask(self) -> &'static str {
        match self {
            Self::Supervision => "send DeviceInformation with the query IsSupervised",
            Self::Automated => {
                "send SecurityInfo, which tells it on a Mac; else set the fact guard.automated-enrollment"
            }
            Self::Approval => "send SecurityInfo",
            Self::NonRemovable => "no device says it: set the fact guard.mdm-removable",
            Self::BootstrapToken => "the Mac hands it over by itself when a user signs in",
        }
    }
}

/// What is required of a device, each need once, with the requirement that asks for it.
pub(crate) fn required<'a>(
    all: &'a [Requirement],
    device: &Snapshot,
) -> Vec<(Need, &'a Requirement)> {
    let mut found: Vec<(Need, &Requirement)> = Vec::new();
    for one in all.iter().filter(|one| is_in(device, one.group.as_ref())) {
        for need in Need::ALL {
            if need.is_in(one) && need.concerns(device) {
                found.push((need, one));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::serde_json::json;
    use pomona_sdk::testing::{self, fact};

    fn everything() -> Requirement {
        Requirement {
            supervised: true,
            ade: true,
            non_removable: true,
            user_approved: true,
            bootstrap_token: true,
            ..Requirement::default()
        }
    }

    #[test]
    fn a_device_needs_what_it_can_be() {
        let all = [everything()];
        let names = |device: &Snapshot| -> Vec<&str> {
            let needed = required(&all, device).into_iter();
            needed.map(|(need, _)| need.cause()).collect()
        };
        assert_eq!(
            names(&testing::device()),
            ["supervision", "automated-enrollment", "mdm-removable"]
        );
        let mac = Snapshot {
            platform: Platform::Macos,
            ..testing::device()
        };
        assert_eq!(names(&mac).len(), 5);
        let lab = [Requirement {
            group: Some("lab".into()),
            ..everything()
        }];
        assert_eq!(required(&lab, &mac).len(), 0);
    }

    #[test]
    fn what_is_not_known_is_neither_met_nor_unmet() {
        let mac = |facts: &[pomona_sdk::Fact]| Snapshot {
            platform: Platform::Macos,
            facts_json: testing::facts(facts),
            ..testing::device()
        };
        let status = |said| fact("security.management-status", &said);
        let token = |kept| fact("org.pomona.supervision-guard.bootstrap-token", &json!(kept));
        let removable = |is| fact("guard.mdm-removable", &json!(is));
        for need in Need::ALL {
            assert_eq!(need.met(&mac(&[])), None, "{need:?}");
            assert!(!need.fix(&mac(&[])).is_empty() && !need.ask().is_empty());
        }
        for (need, said, expected) in [
            (
                Need::Automated,
                status(json!({ "EnrolledViaDEP": false })),
                false,
            ),
            (
                Need::Approval,
                status(json!({ "UserApprovedEnrollment": true })),
                true,
            ),
            (
                Need::Approval,
                status(json!({ "EnrolledViaDEP": true })),
                true,
            ),
            (Need::BootstrapToken, token(true), true),
            (Need::BootstrapToken, token(false), false),
            (Need::NonRemovable, removable(true), false),
            (Need::NonRemovable, removable(false), true),
        ] {
            assert_eq!(need.met(&mac(&[said])), Some(expected), "{need:?}");
        }
    }
}
