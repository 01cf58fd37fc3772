//! What is to be done next for the profiles of one channel.
//!
//! Owns: the steps from what a channel should have, what it was sent and what it has told to what it has; how often and when something is tried
//! again. Pure: no row, no clock. A command that is under way is waited for, so that nothing is sent twice. In the flow: `engine/upkeep` reads
//! a channel, asks here, and writes the steps down with the commands that they need.

use std::collections::HashMap;

use crate::clock::{DAY, HOUR, MINUTE, Micros};
use crate::ids::ProfileId;

/// Sendings of a profile that does not stay, at most.
pub(crate) const MOST_TRIES: i64 = 5;
/// How long is waited after the first, second … sending that failed.
const PAUSES: [Micros; 4] = [5 * MINUTE, 30 * MINUTE, 2 * HOUR, 12 * HOUR];
/// How long a device is taken to have what it has told of.
const FRESH: Micros = DAY;
/// How long is waited after a question that was not answered.
const ASK_AGAIN: Micros = HOUR;

/// Where a profile stands on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Installing,
    Installed,
    Verified,
    Failed,
    GivenUp,
    Refused,
    Removing,
    NotRemoved,
}

impl State {
    pub(crate) const ALL: [Self; 8] = [
        Self::Installing,
        Self::Installed,
        Self::Verified,
        Self::Failed,
        Self::GivenUp,
        Self::Refused,
        Self::Removing,
        Self::NotRemoved,
    ];

    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Installing => 1,
            Self::Installed => 2,
            Self::Verified => 3,
            Self::Failed => 4,
            Self::GivenUp => 5,
            Self::Refused => 6,
            Self::Removing => 7,
            Self::NotRemoved => 8,
        }
    }

    pub(crate) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Installing => "installing",
            Self::Installed => "installed",
            Self::Verified => "verified",
            Self::Failed => "failed",
            Self::GivenUp => "given-up",
            Self::Refused => "refused",
            Self::Removing => "removing",
            Self::NotRemoved => "not-removed",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// How the last command for a profile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is under way.
    NotYet,
    /// The device has done it.
    Done(Micros),
    /// It has not, or nobody knows.
    Failed(Micros),
}

/// What is to be on a channel.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) hash: Vec<u8>,
    /// Why it is not to be sent to this channel as things are.
    pub(crate) refused: Option<String>,
}

/// What is known of a profile on a channel.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) identifier: String,
    pub(crate) hash: Vec<u8>,
    pub(crate) payload_uuid: String,
    pub(crate) state: State,
    /// Only while it is `Installing` or `Removing`.
    pub(crate) ended: Ended,
    /// The device has had it from us.
    pub(crate) was_on: bool,
    pub(crate) tries: i64,
    pub(crate) again_at: Micros,
    pub(crate) told: String,
    pub(crate) changed_at: Micros,
}

/// The profiles that the device has told of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    pub(crate) at: Micros,
    /// `PayloadUUID` by `PayloadIdentifier`.
    pub(crate) profiles: HashMap<String, String>,
}

/// A channel.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    pub(crate) wanted: HashMap<ProfileId, Wanted>,
    pub(crate) held: HashMap<ProfileId, Held>,
    pub(crate) listed: Option<Listed>,
    /// A `ProfileList` is under way.
    pub(crate) asking: bool,
    /// When the last one was sent; 0 if never.
    pub(crate) asked_at: Micros,
}

/// Why a profile is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Why {
    Assigned,
    NewContent,
    Again,
    Drifted,
}

impl Why {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "it is assigned to the device",
            Self::NewContent => "it has become another one",
            Self::Again => "it is tried again",
            Self::Drifted => "the device did not have it any more",
        }
    }
}

/// A change of what is known of a profile on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Install {
        tries: i64,
        why: Why,
    },
    Remove {
        tries: i64,
    },
    /// Nothing is sent.
    Note {
        state: State,
        at: Micros,
        tries: i64,
        again_at: Micros,
        told: String,
        was_on: bool,
    },
    /// It is over: nothing is known of it any more.
    Forget,
}

/// What is to be done for a channel.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<(ProfileId, Step)>,
    /// The device is asked for its profiles.
    pub(crate) ask: bool,
    /// When the channel is looked at next, if nothing happens before; none: nothing is to be kept up.
    pub(crate) next: Option<Micros>,
}

/// What follows for one profile.
#[derive(Default)]
struct Next {
    step: Option<Step>,
    needs_list: bool,
    wake: Option<Micros>,
}

impl Next {
    fn step(step: Step) -> Self {
        Self {
            step: Some(step),
            ..Self::default()
        }
    }

    fn list() -> Self {
        Self {
            needs_list: true,
            ..Self::default()
        }
    }

    fn wake(at: Micros) -> Self {
        Self {
            wake: Some(at),
            ..Self::default()
        }
    }
}

/// Plans for a channel.
pub(crate) fn plan(now: Micros, channel: &Channel) -> Plan {
    let mut out = Plan::default();
    let mut needs_list = false;
    let mut wake = Micros::MAX;
    let mut each = |id: ProfileId, next: Next| {
        needs_list |= next.needs_list;
        wake = wake.min(next.wake.unwrap_or(Micros::MAX));
        if let Some(step) = next.step {
            if let Step::Note { again_at, .. } = &step
                && *again_at > 0
            {
                wake = wake.min(*again_at);
            }
            out.steps.push((id, step));
        }
    };
    let listed = channel.listed.as_ref();
    for (id, wanted) in &channel.wanted {
        let next = match channel.held.get(id) {
            None => begin(now, wanted),
            Some(held) => keep(now, wanted, held, listed),
        };
        each(*id, next);
    }
    for (id, held) in &channel.held {
        if !channel.wanted.contains_key(id) {
            each(*id, leave(now, held, listed));
        }
    }
    // What has become installed in this pass is asked for in the next one, which the caller makes at once.
    let settled = out.steps.iter().any(|(_, step)| {
        matches!(
            step,
            Step::Note {
                state: State::Installed | State::NotRemoved,
                ..
            }
        )
    });
    if settled {
        wake = now;
    }
    let answered = listed.is_some_and(|listed| listed.at >= channel.asked_at);
    let may_ask = channel.asked_at == 0 || answered || now >= channel.asked_at + ASK_AGAIN;
    if needs_list && !channel.asking {
        match may_ask {
            true => out.ask = true,
            false => wake = wake.min(channel.asked_at + ASK_AGAIN),
        }
    }
    out.steps.sort_by_key(|(id, _)| *id);
    let over = channel.wanted.is_empty()
        && out
            .steps
            .iter()
            .filter(|(_, step)| *step == Step::Forget)
            .count()
            == channel.held.len();
    out.next = (!over).then_some(wake.min(now + FRESH));
    out
}

fn begin(now: Micros, wanted: &Wanted) -> Next {
    Next::step(match &wanted.refused {
        Some(told) => note(State::Refused, now, told),
        None => Step::Install {
            tries: 1,
            why: Why::Assigned,
        },
    })
}

fn keep(now: Micros, wanted: &Wanted, held: &Held, listed: Option<&Listed>) -> Next {
    if let (State::Installing | State::Removing, Ended::NotYet) = (held.state, held.ended) {
        return Next::default();
    }
    let on = matches!(
        (held.state, held.ended),
        (State::Installed | State::Verified, _) | (State::Installing, Ended::Done(_))
    );
    let settled = match (held.state, held.ended) {
        (State::Installing, Ended::Done(at)) => Some(Step::Note {
            state: State::Installed,
            at,
            tries: held.tries,
            again_at: 0,
            told: String::new(),
            was_on: true,
        }),
        _ => None,
    };
    if let Some(told) = &wanted.refused {
        // What is on the device stays there; only what would be sent is not.
        return match (settled, on) {
            (Some(settled), _) => Next::step(settled),
            (None, true) => Next::default(),
            (None, false) if held.state == State::Refused && held.told == *told => Next::default(),
            (None, false) => Next::step(Step::Note {
                state: State::Refused,
                at: now,
                tries: 0,
                again_at: 0,
                told: told.clone(),
                was_on: held.was_on,
            }),
        };
    }
    if held.hash != wanted.hash {
        return Next::step(Step::Install {
            tries: 1,
            why: match held.was_on || on {
                true => Why::NewContent,
                false => Why::Assigned,
            },
        });
    }
    if let Some(settled) = settled {
        return Next::step(settled);
    }
    match held.state {
        State::Installing => Next::step(failed(now, held)),
        State::Installed | State::Verified => stays(now, held, listed),
        State::Failed if now >= held.again_at => Next::step(Step::Install {
            tries: held.tries + 1,
            why: Why::Again,
        }),
        State::Failed => Next::wake(held.again_at),
        State::GivenUp => Next::default(),
        State::Refused if now < held.again_at => Next::wake(held.again_at),
        State::Refused | State::Removing | State::NotRemoved => Next::step(Step::Install {
            tries: 1,
            why: Why::Assigned,
        }),
    }
}

/// A sending that failed: later once more, but not for ever.
fn failed(now: Micros, held: &Held) -> Step {
    let (state, again_at) = match pause(held.tries) {
        Some(pause) => (State::Failed, now + pause),
        None => (State::GivenUp, 0),
    };
    Step::Note {
        state,
        at: now,
        tries: held.tries,
        again_at,
        told: held.told.clone(),
        was_on: held.was_on,
    }
}

fn pause(tries: i64) -> Option<Micros> {
    let at = usize::try_from(tries.max(1) - 1).unwrap_or(usize::MAX);
    PAUSES.get(at).copied()
}

/// Whether what was installed is still there.
fn stays(now: Micros, held: &Held, listed: Option<&Listed>) -> Next {
    let Some(listed) = listed.filter(|listed| listed.at > held.changed_at) else {
        // What was verified from this very list is fresh for as long as the list is.
        return match held.state {
            State::Verified if now < held.changed_at + FRESH => Next::wake(held.changed_at + FRESH),
            _ => Next::list(),
        };
    };
    let there = listed.profiles.get(&held.identifier);
    if there.is_some_and(|uuid| uuid.eq_ignore_ascii_case(&held.payload_uuid)) {
        if held.state == State::Installed {
            return Next::step(Step::Note {
                state: State::Verified,
                at: listed.at,
                tries: held.tries,
                again_at: 0,
                told: String::new(),
                was_on: true,
            });
        }
        return match now < listed.at + FRESH {
            true => Next::wake(listed.at + FRESH),
            false => Next::list(),
        };
    }
    // What has stayed for a day begins to be counted anew.
    let tries = match held.state == State::Verified && listed.at - held.changed_at >= DAY {
        true => 0,
        false => held.tries,
    };
    Next::step(match tries < MOST_TRIES {
        true => Step::Install {
            tries: tries + 1,
            why: Why::Drifted,
        },
        false => Step::Note {
            state: State::GivenUp,
            at: now,
            tries,
            again_at: 0,
            told: format!("the device has acknowledged it {tries} times and does not list it"),
            was_on: held.was_on,
        },
    })
}

/// What is not wanted any more: removed where it came from us, else forgotten.
fn leave(now: Micros, held: &Held, listed: Option<&Listed>) -> Next {
    match (held.state, held.ended) {
        // What is on its way is waited for: a removal must not overtake it.
        (State::Removing | State::Installing, Ended::NotYet) => Next::default(),
        (State::Removing, Ended::Done(_)) => Next::step(Step::Forget),
        (State::Removing, Ended::Failed(at)) => Next::step(Step::Note {
            state: State::NotRemoved,
            at,
            tries: held.tries,
            again_at: now + pause(held.tries).unwrap_or(0),
            told: held.told.clone(),
            was_on: true,
        }),
        // A command that fails since there is nothing to remove is no failure.
        (State::NotRemoved, _) => match listed.filter(|listed| listed.at > held.changed_at) {
            None => Next::list(),
            Some(listed) if !listed.profiles.contains_key(&held.identifier) => {
                Next::step(Step::Forget)
            }
            Some(_) if held.tries >= MOST_TRIES => Next::default(),
            Some(_) if now >= held.again_at => Next::step(Step::Remove {
                tries: held.tries + 1,
            }),
            Some(_) => Next::wake(held.again_at),
        },
        (State::Installing, Ended::Done(_)) | (State::Installed | State::Verified, _) => {
            Next::step(Step::Remove { tries: 1 })
        }
        _ if held.was_on => Next::step(Step::Remove { tries: 1 }),
        _ => Next::step(Step::Forget),
    }
}

fn note(state: State, at: Micros, told: &str) -> Step {
    Step::Note {
        state,
        at,
        tries: 0,
        again_at: 0,
        told: told.to_owned(),
        was_on: false,
    }
}
