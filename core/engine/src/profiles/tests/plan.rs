//! The steps of a channel, as a table and as a life.

use std::collections::HashMap;

use uuid::Uuid;

use crate::clock::{DAY, HOUR, MINUTE, Micros};
use crate::ids::ProfileId;
use crate::profiles::plan::{
    Channel, Ended, Held, Listed, MOST_TRIES, Plan, State, Step, Wanted, Why, plan,
};

const NOW: Micros = 1_000 * DAY;
const ID: ProfileId = ProfileId(Uuid::from_u128(7));

fn wanted() -> Wanted {
    Wanted {
        hash: vec![1],
        refused: None,
    }
}

fn held(state: State, ended: Ended) -> Held {
    Held {
        identifier: "org.example".into(),
        hash: vec![1],
        payload_uuid: "U".into(),
        state,
        ended,
        was_on: matches!(
            state,
            State::Installed | State::Verified | State::Removing | State::NotRemoved
        ),
        tries: 1,
        again_at: 0,
        told: String::new(),
        changed_at: NOW - HOUR,
    }
}

fn listed(at: Micros, uuid: Option<&str>) -> Option<Listed> {
    let profiles = uuid.map(|uuid| ("org.example".to_owned(), uuid.to_owned()));
    Some(Listed {
        at,
        profiles: profiles.into_iter().collect(),
    })
}

fn of(wanted: Option<Wanted>, held: Option<Held>, listed: Option<Listed>) -> Plan {
    let channel = Channel {
        wanted: wanted.map(|one| (ID, one)).into_iter().collect(),
        held: held.map(|one| (ID, one)).into_iter().collect(),
        listed,
        asking: false,
        asked_at: 0,
    };
    plan(NOW, &channel)
}

fn step(plan: Plan) -> Option<Step> {
    plan.steps.into_iter().next().map(|(_, step)| step)
}

fn state(plan: Plan) -> Option<State> {
    match step(plan) {
        Some(Step::Note { state, .. }) => Some(state),
        _ => None,
    }
}

#[test]
fn each_situation_has_its_step() {
    use Ended::{Done, Failed, NotYet};
    let at = NOW - MINUTE;
    let install = |tries, why| Some(Step::Install { tries, why });
    // Wanted, and nothing known.
    assert_eq!(
        step(of(Some(wanted()), None, None)),
        install(1, Why::Assigned)
    );
    let refused = Wanted {
        refused: Some("no".into()),
        ..wanted()
    };
    assert_eq!(
        state(of(Some(refused.clone()), None, None)),
        Some(State::Refused)
    );
    // Under way: waited for, whatever is wanted by now.
    for state in [State::Installing, State::Removing] {
        let other = Wanted {
            hash: vec![2],
            refused: None,
        };
        for wish in [wanted(), other, refused.clone()] {
            assert_eq!(step(of(Some(wish), Some(held(state, NotYet)), None)), None);
        }
    }
    // Acknowledged: installed, then asked for, then verified.
    assert_eq!(
        state(of(
            Some(wanted()),
            Some(held(State::Installing, Done(at))),
            None
        )),
        Some(State::Installed)
    );
    let asks = of(Some(wanted()), Some(held(State::Installed, Done(at))), None);
    assert!(asks.ask && asks.steps.is_empty());
    let old = listed(NOW - 2 * HOUR, Some("U"));
    assert!(of(Some(wanted()), Some(held(State::Installed, Done(at))), old).ask);
    let new = listed(NOW - MINUTE, Some("u"));
    assert_eq!(
        state(of(
            Some(wanted()),
            Some(held(State::Installed, Done(at))),
            new
        )),
        Some(State::Verified)
    );
    // Not in the list, or another one: installed again.
    for there in [None, Some("X")] {
        for state in [State::Installed, State::Verified] {
            let plan = of(
                Some(wanted()),
                Some(held(state, Done(at))),
                listed(NOW - MINUTE, there),
            );
            assert_eq!(step(plan), install(2, Why::Drifted), "{state:?} {there:?}");
        }
    }
    // Another content goes at once.
    let other = Wanted {
        hash: vec![2],
        refused: None,
    };
    for (state, why) in [
        (State::Installed, Why::NewContent),
        (State::Verified, Why::NewContent),
        (State::Failed, Why::Assigned),
        (State::GivenUp, Why::Assigned),
    ] {
        assert_eq!(
            step(of(Some(other.clone()), Some(held(state, NotYet)), None)),
            install(1, why)
        );
    }
    // What is on the device stays, though it would not be sent any more.
    assert_eq!(
        step(of(
            Some(refused.clone()),
            Some(held(State::Verified, NotYet)),
            None
        )),
        None
    );
    assert_eq!(
        state(of(Some(refused), Some(held(State::Failed, NotYet)), None)),
        Some(State::Refused)
    );
    // Refused as it was, and not any more.
    assert_eq!(
        step(of(Some(wanted()), Some(held(State::Refused, NotYet)), None)),
        install(1, Why::Assigned)
    );
    // Not wanted: removed if it came from us.
    assert_eq!(
        step(of(None, Some(held(State::Installing, NotYet)), None)),
        None
    );
    assert_eq!(
        step(of(None, Some(held(State::Installing, Done(at))), None)),
        Some(Step::Remove { tries: 1 })
    );
    for state in [State::Installed, State::Verified] {
        assert_eq!(
            step(of(None, Some(held(state, NotYet)), None)),
            Some(Step::Remove { tries: 1 })
        );
    }
    for state in [State::Failed, State::GivenUp, State::Refused] {
        assert_eq!(
            step(of(None, Some(held(state, NotYet)), None)),
            Some(Step::Forget)
        );
        let mut before = held(state, NotYet);
        before.was_on = true;
        assert_eq!(
            step(of(None, Some(before), None)),
            Some(Step::Remove { tries: 1 })
        );
    }
    assert_eq!(
        step(of(None, Some(held(State::Installing, Failed(at))), None)),
        Some(Step::Forget)
    );
    assert_eq!(
        step(of(None, Some(held(State::Removing, Done(at))), None)),
        Some(Step::Forget)
    );
    assert_eq!(
        state(of(None, Some(held(State::Removing, Failed(at))), None)),
        Some(State::NotRemoved)
    );
    let gone = listed(NOW - MINUTE, None);
    assert_eq!(
        step(of(None, Some(held(State::NotRemoved, NotYet)), gone)),
        Some(Step::Forget)
    );
    let there = listed(NOW - MINUTE, Some("U"));
    assert_eq!(
        step(of(None, Some(held(State::NotRemoved, NotYet)), there)),
        Some(Step::Remove { tries: 2 })
    );
    // Nothing wanted, nothing known: nothing to look after.
    assert_eq!(of(None, None, None).next, None);
    assert_eq!(
        of(None, Some(held(State::Removing, Done(at))), None).next,
        None
    );
}

#[test]
fn what_fails_is_tried_again_later_and_not_for_ever() {
    let mut known = held(State::Installing, Ended::Failed(NOW));
    known.told = "why".into();
    let mut now = NOW;
    let mut waits = Vec::new();
    loop {
        let channel = |held: &Held| Channel {
            wanted: HashMap::from([(ID, wanted())]),
            held: HashMap::from([(ID, held.clone())]),
            ..Channel::default()
        };
        let Some(Step::Note {
            state,
            again_at,
            told,
            ..
        }) = step(plan(now, &channel(&known)))
        else {
            panic!("a sending that failed is noted");
        };
        assert_eq!(told, "why");
        (known.state, known.again_at) = (state, again_at);
        if state == State::GivenUp {
            break;
        }
        // Not a moment sooner.
        let early = plan(again_at - 1, &channel(&known));
        assert_eq!((early.steps.len(), early.next), (0, Some(again_at)));
        waits.push((again_at - now) / MINUTE);
        now = again_at;
        let Some(Step::Install {
            tries,
            why: Why::Again,
        }) = step(plan(now, &channel(&known)))
        else {
            panic!("it is tried again when its time has come");
        };
        (known.tries, known.state, known.ended) = (tries, State::Installing, Ended::Failed(now));
    }
    assert_eq!(waits, [5, 30, 120, 720]);
    assert_eq!(known.tries, MOST_TRIES);
}

#[test]
fn what_does_not_stay_is_given_up_and_counted_anew_after_a_day() {
    let lost = |tries: i64, since: Micros| {
        let mut known = held(State::Verified, Ended::NotYet);
        (known.tries, known.changed_at) = (tries, since);
        step(of(Some(wanted()), Some(known), listed(NOW, None)))
    };
    assert_eq!(
        lost(4, NOW - HOUR),
        Some(Step::Install {
            tries: 5,
            why: Why::Drifted
        })
    );
    assert!(matches!(
        lost(5, NOW - HOUR),
        Some(Step::Note {
            state: State::GivenUp,
            ..
        })
    ));
    assert_eq!(
        lost(5, NOW - DAY),
        Some(Step::Install {
            tries: 1,
            why: Why::Drifted
        })
    );
}

#[test]
fn a_device_is_asked_once_a_day_and_not_again_while_it_does_not_answer() {
    let verified = |listed_at: Micros, asking: bool, asked_at: Micros| {
        let mut known = held(State::Verified, Ended::NotYet);
        known.changed_at = NOW - 3 * DAY;
        plan(
            NOW,
            &Channel {
                wanted: HashMap::from([(ID, wanted())]),
                held: HashMap::from([(ID, known)]),
                listed: listed(listed_at, Some("U")),
                asking,
                asked_at,
            },
        )
    };
    let fresh = verified(NOW - HOUR, false, NOW - 2 * HOUR);
    assert_eq!((fresh.ask, fresh.next), (false, Some(NOW - HOUR + DAY)));
    assert!(verified(NOW - DAY, false, NOW - DAY).ask);
    assert!(!verified(NOW - DAY, true, NOW - MINUTE).ask);
    let silent = verified(NOW - DAY, false, NOW - MINUTE);
    assert_eq!(
        (silent.ask, silent.next),
        (false, Some(NOW - MINUTE + HOUR))
    );
    assert!(verified(NOW - DAY, false, NOW - HOUR).ask);
}
