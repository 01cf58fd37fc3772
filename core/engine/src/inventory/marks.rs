//! The few things about a device on which it depends what may be sent to it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::read::{DEVICE, SECURITY, Seen};

/// Yes, no or not known, of each. Two bits each as they are stored: known, and true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Marks {
    /// Supervised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supervised: Option<bool>,
    /// Enrolled by Automated Device Enrollment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ade: Option<bool>,
    /// macOS: approved by the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_approved: Option<bool>,
    /// A Shared iPad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_ipad: Option<bool>,
}

impl Marks {
    /// As they are stored.
    pub(crate) fn code(self) -> i64 {
        let places = [
            self.supervised,
            self.ade,
            self.user_approved,
            self.shared_ipad,
        ];
        let pair = |mark: Option<bool>| mark.map_or(0, |truth| 1 | i64::from(truth) << 1);
        let pairs = places.into_iter().enumerate();
        pairs.fold(0, |code, (n, mark)| code | pair(mark) << (2 * n))
    }

    /// Reads what was stored.
    pub(crate) fn from_code(code: i64) -> Self {
        let mark = |n: u32| {
            let pair = code >> (2 * n) & 3;
            (pair & 1 == 1).then_some(pair & 2 == 2)
        };
        Self {
            supervised: mark(0),
            ade: mark(1),
            user_approved: mark(2),
            shared_ipad: mark(3),
        }
    }

    /// The same with what an answer says besides; what it does not say stays.
    /// Source: Apple, "DeviceInformationResponse.QueryResponses", "SecurityInfoResponse.SecurityInfo.ManagementStatus".
    pub(crate) fn with(mut self, seen: &Seen) -> Self {
        let said = |name: &str| seen.value.get(name).and_then(Value::as_bool);
        match seen.section {
            DEVICE => {
                self.supervised = said("IsSupervised").or(self.supervised);
                self.shared_ipad = said("IsMultiUser").or(self.shared_ipad);
                if self.shared_ipad == Some(true) {
                    // An iPad becomes shared by Automated Device Enrollment alone.
                    self.ade = Some(true);
                }
            }
            SECURITY => {
                let status = seen.value.get("ManagementStatus");
                let said = |name: &str| status?.get(name)?.as_bool();
                self.ade = said("EnrolledViaDEP").or(self.ade);
                self.user_approved = said("UserApprovedEnrollment").or(self.user_approved);
            }
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_come_back_as_they_were_stored() {
        let each = [None, Some(false), Some(true)];
        for n in 0..81 {
            let pick = |power: usize| each[n / 3_usize.pow(power as u32) % 3];
            let marks = Marks {
                supervised: pick(0),
                ade: pick(1),
                user_approved: pick(2),
                shared_ipad: pick(3),
            };
            assert_eq!(Marks::from_code(marks.code()), marks);
        }
        assert_eq!(Marks::from_code(0), Marks::default());
    }

    #[test]
    fn an_answer_adds_to_what_is_known_and_takes_nothing_away() {
        let seen = |section, value| Seen {
            section,
            source: "",
            value,
        };
        let first = Marks::default().with(&seen(
            DEVICE,
            json!({"IsSupervised": true, "IsMultiUser": false}),
        ));
        assert_eq!(first.supervised, Some(true));
        assert_eq!((first.shared_ipad, first.ade), (Some(false), None));
        let second = first.with(&seen(DEVICE, json!({"OSVersion": "26.1"})));
        assert_eq!(second, first);
        let status =
            json!({"ManagementStatus": {"EnrolledViaDEP": false, "UserApprovedEnrollment": true}});
        let third = second.with(&seen(SECURITY, status));
        assert_eq!((third.ade, third.user_approved), (Some(false), Some(true)));
        let shared = third.with(&seen(DEVICE, json!({"IsMultiUser": true})));
        assert_eq!((shared.shared_ipad, shared.ade), (Some(true), Some(true)));
        // The same words in another section mean nothing.
        let apps = Marks::default().with(&seen("apps", json!({"IsSupervised": true})));
        assert_eq!(apps, Marks::default());
    }
}
