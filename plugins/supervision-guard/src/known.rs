//! What is known of a device that the guard goes by, and where it is known from.
//!
//! Owns: reading it out of a snapshot: yes, no, or nobody has said so. Judges nothing, asks nobody.

use pomona_sdk::serde_json::Value;
use pomona_sdk::{Fact, Platform, Snapshot};

/// The plugin's own facts begin so; effects name what stands behind it.
const OWN: &str = "org.pomona.supervision-guard.";
/// What the device was at its best: names of [`State`].
pub(crate) const BEST: &str = "best";
/// What it has lost of that.
pub(crate) const LOST: &str = "lost";
/// Whether a bootstrap token is kept for it.
pub(crate) const TOKEN: &str = "bootstrap-token";
/// Whether its management can be removed: for administrators to set, since no answer of a device says it.
pub(crate) const REMOVABLE: &str = "guard.mdm-removable";
/// Whether the bypass code of its activation lock is kept: the same.
pub(crate) const BYPASS: &str = "guard.bypass-code-kept";
/// Whether it came by Automated Device Enrollment: for devices that do not say it themselves.
pub(crate) const AUTOMATED: &str = "guard.automated-enrollment";

/// Something that a device is, and may cease to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Supervised,
    Automated,
    Approved,
    Shared,
}

impl State {
    pub(crate) const ALL: [Self; 4] = [
        Self::Supervised,
        Self::Automated,
        Self::Approved,
        Self::Shared,
    ];

    /// Its name in the plugin's facts.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Supervised => "supervised",
            Self::Automated => "automated",
            Self::Approved => "approved",
            Self::Shared => "shared",
        }
    }

    /// Whether the device is so now.
    pub(crate) fn now(self, device: &Snapshot) -> Option<bool> {
        let subject = device.subject();
        match self {
            Self::Supervised => subject.supervised,
            Self::Automated => subject.automated.or_else(|| device.fact(AUTOMATED)),
            Self::Approved if is_mac(device) => subject.user_approved,
            Self::Shared if matches!(device.platform, Platform::Ipados) => subject.shared_ipad,
            Self::Approved | Self::Shared => None,
        }
    }

    /// The facts on which that rests, as far as there are any.
    pub(crate) fn evidence(self, device: &Snapshot) -> Vec<Fact> {
        let names: &[&str] = match self {
            Self::Supervised => &["device.is-supervised", "supervised"],
            Self::Automated => &["security.management-status", AUTOMATED],
            Self::Approved => &["security.management-status"],
            Self::Shared => &["device.is-multi-user", "shared-ipad"],
        };
        let known = names.iter().filter_map(|name| device.known(name));
        known.take(1).collect()
    }
}

/// Whether it is a Mac.
pub(crate) fn is_mac(device: &Snapshot) -> bool {
    matches!(device.platform, Platform::Macos)
}

/// A fact of the plugin's own.
pub(crate) fn own(device: &Snapshot, name: &str) -> Option<Value> {
    device.fact(&format!("{OWN}{name}"))
}

/// The states that one of the plugin's own facts names.
pub(crate) fn states(device: &Snapshot, name: &str) -> Vec<State> {
    let named = own(device, name);
    let named = named.as_ref().and_then(Value::as_array);
    let is_named =
        |state: &State| named.is_some_and(|all| all.iter().any(|one| one == state.word()));
    State::ALL.into_iter().filter(is_named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::serde_json::json;
    use pomona_sdk::testing::{self, fact};

    #[test]
    fn what_nobody_has_said_is_not_known() {
        let ipad = testing::device();
        for state in State::ALL {
            assert_eq!(state.now(&ipad), None, "{state:?}");
            assert_eq!(state.evidence(&ipad), []);
        }
        let status = json!({ "EnrolledViaDEP": true, "UserApprovedEnrollment": false });
        let facts = [fact("security.management-status", &status)];
        let mac = Snapshot {
            platform: Platform::Macos,
            shared_ipad: Some(true),
            facts_json: testing::facts(&facts),
            ..testing::device()
        };
        assert_eq!(State::Automated.now(&mac), Some(true));
        assert_eq!(State::Approved.now(&mac), Some(false));
        assert_eq!(State::Approved.evidence(&mac), facts);
        assert_eq!(State::Shared.now(&mac), None, "no Mac is a Shared iPad");
        let said = Snapshot {
            facts_json: testing::facts(&[fact(AUTOMATED, &json!(true))]),
            ..testing::device()
        };
        assert_eq!(State::Automated.now(&said), Some(true));
    }

    #[test]
    fn own_facts_name_states_and_other_words_none() {
        let device = Snapshot {
            facts_json: testing::facts(&[
                fact(
                    &format!("{OWN}{BEST}"),
                    &json!(["shared", "supervised", "tall"]),
                ),
                fact(&format!("{OWN}{LOST}"), &json!("shared")),
            ]),
            ..testing::device()
        };
        assert_eq!(states(&device, BEST), [State::Supervised, State::Shared]);
        assert_eq!(states(&device, LOST), []);
    }
}
