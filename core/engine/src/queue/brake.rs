//! Which commands are destructive, and when the next of them may leave.
//!
//! A destructive command cannot be taken back once the device has run it. However they came to be queued, only so many of a tenant leave in an hour, so
//! that a stolen token or a slip does not take a whole fleet along (A4); the others wait, and can be cancelled meanwhile.

use plist::Dictionary;

use super::{Open, Verdict, Verdicts};
use crate::clock::{HOUR, Micros};

/// Where a delivery stands with the brake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Braking {
    /// It is no concern of the brake's.
    #[default]
    No,
    /// It counts.
    Counted,
    /// A second person has let it go.
    Approved,
}

impl Braking {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::No => 0,
            Self::Counted => 1,
            Self::Approved => 2,
        }
    }

    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Counted,
            2 => Self::Approved,
            _ => Self::No,
        }
    }
}

/// How many destructive commands of a tenant leave in an hour where nobody has said otherwise.
pub(crate) const PER_HOUR: i64 = 10;

/// Whether a command is destructive for a device; `product_name` is what the device says it is, if that is known.
pub(crate) fn destructive(
    request_type: &str,
    command: &Dictionary,
    product_name: Option<&str>,
) -> bool {
    let truth = |key: &str| command.get(key).and_then(plist::Value::as_boolean);
    match request_type {
        "EraseDevice" | "EnableLostMode" | "ClearPasscode" => true,
        // A locked Mac needs its PIN at the machine; other devices need their passcode alone.
        "DeviceLock" => product_name.is_none_or(|name| {
            ![
                "iPhone",
                "iPad",
                "iPod",
                "Watch",
                "AppleTV",
                "RealityDevice",
            ]
            .iter()
            .any(|family| name.starts_with(family))
        }),
        // Our own enrollment profile: the device would be out of reach.
        "RemoveProfile" => {
            let identifier = command.get("Identifier").and_then(plist::Value::as_string);
            // What is filled in later may be it as well.
            identifier.is_some_and(|identifier| {
                identifier.starts_with(crate::identity::OWN_PREFIX)
                    || identifier.contains("{{input:")
            })
        }
        "DeleteUser" => {
            truth("ForceDeletion") == Some(true) || truth("DeleteAllUsers") == Some(true)
        }
        _ => false,
    }
}

/// Whether the brake is asked before a delivery goes: it counts, and has never left.
pub(crate) fn braked(open: &Open) -> bool {
    open.braking == Braking::Counted && open.sends == 0
}

/// Why a destructive command waits.
const WAITS: &str = "as many destructive commands have left in the last hour as may; it goes when its turn comes, or when a second person lets it go";

/// Holds those that would leave for the first time. What a hook refuses or holds stays so; who would allow it is asked when it may go.
pub(crate) fn stop(verdicts: &mut Verdicts, open: &[Open], until: Micros) {
    for delivery in open.iter().filter(|delivery| braked(delivery)) {
        if matches!(
            verdicts.get(&delivery.seq),
            None | Some(Verdict::Allow { .. })
        ) {
            let reason = WAITS.to_owned();
            verdicts.insert(delivery.seq, Verdict::Hold { until, reason });
        }
    }
}

/// Until when nothing more may leave, if that is so: `left` are the times of those that have, the newest first.
pub(crate) fn holds(now: Micros, per_hour: i64, left: &[Micros]) -> Option<Micros> {
    let Some(room) = usize::try_from(per_hour).ok().filter(|room| *room > 0) else {
        return Some(now + HOUR);
    };
    let oldest = left.get(room - 1)?;
    Some(oldest + HOUR).filter(|until| *until > now)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_destructive_by_what_it_does_to_the_device() {
        let with = |key: &str, value: plist::Value| {
            let mut command = Dictionary::new();
            command.insert(key.to_owned(), value);
            command
        };
        let force = || with("ForceDeletion", true.into());
        let all = || with("DeleteAllUsers", true.into());
        let named = |text: &str| with("Identifier", text.into());
        for (request_type, command, product, expected) in [
            ("EraseDevice", Dictionary::new(), None, true),
            (
                "EnableLostMode",
                Dictionary::new(),
                Some("iPhone16,1"),
                true,
            ),
            ("ClearPasscode", Dictionary::new(), Some("iPhone16,1"), true),
            ("DeviceLock", Dictionary::new(), Some("Mac14,2"), true),
            (
                "DeviceLock",
                Dictionary::new(),
                Some("MacBookPro18,1"),
                true,
            ),
            ("DeviceLock", Dictionary::new(), None, true),
            ("DeviceLock", Dictionary::new(), Some("iPad13,18"), false),
            ("DeviceLock", Dictionary::new(), Some("Watch6,1"), false),
            ("DeleteUser", Dictionary::new(), None, false),
            ("DeleteUser", force(), None, true),
            ("DeleteUser", all(), None, true),
            ("RemoveProfile", named("pomona.x.profile"), None, true),
            ("RemoveProfile", named("{{input:which}}"), None, true),
            ("RemoveProfile", named("com.example.wifi"), None, false),
            ("RestartDevice", Dictionary::new(), None, false),
            ("InstallProfile", force(), None, false),
        ] {
            assert_eq!(
                destructive(request_type, &command, product),
                expected,
                "{request_type} {command:?} {product:?}"
            );
        }
    }

    #[test]
    fn the_brake_holds_what_nobody_else_stops() {
        let open = |seq, braking, sends| Open {
            seq,
            command: crate::ids::CommandId(uuid::Uuid::nil()),
            request_type: "EraseDevice".into(),
            priority: 0,
            not_before: 0,
            not_after: None,
            waits: false,
            footing: 0,
            braking,
            state: crate::queue::OpenState::Queued,
            sends,
            notnow_poll: 0,
        };
        let queue = [
            open(1, Braking::Counted, 0),
            open(2, Braking::Counted, 1),
            open(3, Braking::Approved, 0),
            open(4, Braking::No, 0),
            open(5, Braking::Counted, 0),
            open(6, Braking::Counted, 0),
            open(7, Braking::Counted, 0),
        ];
        let refused = Verdict::Refuse {
            reason: "no".into(),
        };
        let held = Verdict::Hold {
            until: 9,
            reason: "later".into(),
        };
        let mut verdicts = Verdicts::from([
            (5, refused.clone()),
            (6, held.clone()),
            (7, Verdict::Allow { until: 99 }),
        ]);
        stop(&mut verdicts, &queue, 5);
        let waits = Verdict::Hold {
            until: 5,
            reason: WAITS.into(),
        };
        let expected = Verdicts::from([(1, waits.clone()), (5, refused), (6, held), (7, waits)]);
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn so_many_leave_in_an_hour_and_no_more() {
        let now = 10 * HOUR;
        for (per_hour, left, expected) in [
            (2, &[][..], None),
            (2, &[now], None),
            (2, &[now, now - 1], Some(now - 1 + HOUR)),
            (2, &[now, now - HOUR], None),
            (2, &[now, now - HOUR + 1], Some(now + 1)),
            (2, &[now, now - 5, now - 10], Some(now - 5 + HOUR)),
            (0, &[], Some(now + HOUR)),
            (-1, &[], Some(now + HOUR)),
        ] {
            assert_eq!(holds(now, per_hour, left), expected, "{per_hour} {left:?}");
        }
    }
}
