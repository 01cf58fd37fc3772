//! The reference model's state and what follows from each transition.
//!
//! Owns: the world as the invariants of enrollment (E1 to E7, E11) and of the queue (Q1 to Q12) describe it, in plain
//! numbers and strings. Written from the invariants, not from the engine: it shares no type and no function with it.
//! Never touches a database, a clock or the network. Longer than most files: the rules are to be read in one go,
//! beside the invariants.

use std::collections::BTreeMap;

use crate::step::{Body, Name, Order, Report, Step, Verb};

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const HOUR: i64 = 3_600 * SECOND;
pub(crate) const DAY: i64 = 24 * HOUR;
/// A device that was silent for so long counts as gone. Shorter than in life, so that few steps reach it.
pub(crate) const SILENCE: i64 = 2 * DAY;
/// An enrollment that is not completed within this time ends.
pub(crate) const COMPLETION: i64 = DAY;
/// Enrollments of one device in quarantine.
const QUARANTINE_ROOM: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CardState {
    Fresh,
    Waiting,
    Good,
    Replaced,
    Dead,
}

#[derive(Clone, Debug)]
pub(crate) struct Card {
    pub(crate) tenant: usize,
    pub(crate) names: Option<usize>,
    pub(crate) renews: Option<usize>,
    pub(crate) state: CardState,
    pub(crate) enrollment: Option<usize>,
    pub(crate) used_at: i64,
    pub(crate) has_reported: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Device {
    pub(crate) tenant: usize,
    pub(crate) known: bool,
    pub(crate) left: bool,
    pub(crate) generation: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending,
    Held,
    Live,
    Over,
}

#[derive(Clone, Debug)]
pub(crate) struct Enrollment {
    pub(crate) device: usize,
    pub(crate) parent: Option<usize>,
    pub(crate) user: Option<usize>,
    pub(crate) generation: i64,
    pub(crate) phase: Phase,
    pub(crate) topic: usize,
    pub(crate) opened_at: i64,
    pub(crate) heard_at: i64,
    /// Tokens that were sent in this generation, the stored one last.
    pub(crate) tokens: Vec<usize>,
    pub(crate) bootstrap: Option<usize>,
    pub(crate) round: u64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) conflicts: i64,
}

/// How the server sees an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Queued,
    Sent,
    /// Deferred in this round of polling.
    NotNow(u64),
    Done,
    Cancelled,
    Withdrawn,
    Expired,
}

impl Place {
    pub(crate) fn open(self) -> bool {
        matches!(self, Self::Queued | Self::Sent | Self::NotNow(_))
    }
}

/// One command in the queue of one channel.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) command: usize,
    pub(crate) name: Name,
    pub(crate) rank: i64,
    pub(crate) from: i64,
    pub(crate) until: Option<i64>,
    pub(crate) after: Option<usize>,
    pub(crate) rings: bool,
    pub(crate) value: Option<usize>,
    pub(crate) place: Place,
    pub(crate) sendings: u32,
    /// The first final report: its status and what else made it different from others.
    pub(crate) outcome: Option<(Verb, usize)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) tenant: usize,
    /// Nothing is kept of a command that nobody accepted.
    pub(crate) exists: bool,
}

/// What the last step must be answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    Status(u16),
    Empty,
    Command {
        enrollment: usize,
        name: Name,
    },
    Bootstrap(Option<usize>),
    Enqueued {
        command: usize,
        accepted: Vec<bool>,
        repeated: bool,
    },
    Invalid,
    Missing,
    Conflict,
    Done,
    Cancelled(BTreeMap<usize, &'static str>),
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Background work looks all the time, or only when a server starts.
    pub(crate) eager: bool,
    /// Sendings without an answer before a command without an end is set aside.
    pub(crate) patience: u32,
    pub(crate) now: i64,
    pub(crate) devices: Vec<Device>,
    pub(crate) cards: Vec<Card>,
    pub(crate) enrollments: Vec<Enrollment>,
    pub(crate) commands: Vec<Command>,
    pub(crate) keys: BTreeMap<(usize, usize), (Order, usize, Vec<bool>)>,
    pub(crate) said: Said,
    pub(crate) interrupted: bool,
}

/// How a card stands towards a device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Pending,
    Held,
    Live,
}

impl World {
    /// Two devices in the first tenant; a third, of the same name as the first, in the second.
    pub(crate) fn new(eager: bool, patience: u32) -> Self {
        let device = |tenant| Device {
            tenant,
            ..Device::default()
        };
        Self {
            eager,
            patience,
            now: 0,
            devices: vec![device(0), device(0), device(1)],
            cards: Vec::new(),
            enrollments: Vec::new(),
            commands: Vec::new(),
            keys: BTreeMap::new(),
            said: Said::Nothing,
            interrupted: false,
        }
    }

    pub(crate) fn take(&mut self, step: &Step) {
        self.said = match step {
            Step::Card {
                tenant,
                names,
                renews,
            } => {
                self.cards.push(Card {
                    tenant: *tenant,
                    names: *names,
                    renews: *renews,
                    state: CardState::Fresh,
                    enrollment: None,
                    used_at: 0,
                    has_reported: false,
                });
                Said::Nothing
            }
            Step::Authenticate {
                card,
                device,
                topic,
            } => self.authenticate(*card, *device, *topic),
            Step::Token {
                card,
                device,
                user,
                token,
                topic,
            } => match user {
                None => self.token(*card, *device, *token, *topic),
                Some(user) => self.user_token(*card, *device, *user, *token, *topic),
            },
            Step::CheckOut { card, device } => self.check_out(*card, *device),
            Step::SetBootstrap {
                card,
                device,
                value,
            } => self.set_bootstrap(*card, *device, *value),
            Step::GetBootstrap { card, device } => self.get_bootstrap(*card, *device),
            Step::Report(report) => self.report(report),
            Step::Interrupted(report) => {
                // Done once or twice, the device cannot tell.
                self.interrupted = true;
                self.background();
                self.report(report)
            }
            Step::Enqueue(order) => self.enqueue(order),
            Step::InterruptedEnqueue(order) => {
                self.background();
                self.enqueue(order)
            }
            Step::Cancel {
                tenant,
                command,
                only,
            } => self.cancel(*tenant, *command, only.as_deref()),
            Step::Release { tenant, enrollment } => self.release(*tenant, *enrollment),
            Step::Refuse { tenant, enrollment } => self.refuse(*tenant, *enrollment),
            Step::Remove { tenant, device } => self.remove(*tenant, *device),
            Step::Wait { micros } => {
                self.now += micros;
                Said::Nothing
            }
            Step::Restart { crash: _ } => {
                self.background();
                Said::Nothing
            }
            Step::Look => {
                self.expire();
                Said::Nothing
            }
        };
        if self.eager {
            self.background();
        }
    }

    // What happens without anybody asking.

    fn background(&mut self) {
        self.expire();
        let stale = self.now - COMPLETION;
        for id in 0..self.enrollments.len() {
            if self.enrollments[id].phase == Phase::Pending
                && self.enrollments[id].opened_at < stale
            {
                self.end(id);
            }
        }
        for card in &mut self.cards {
            if card.renews.is_some() && card.state == CardState::Waiting && card.used_at < stale {
                card.state = CardState::Dead;
            }
        }
    }

    /// Whether background work would change something. Then a request that a crash cuts short may come before or after
    /// that, and the model could not say which.
    pub(crate) fn background_due(&self) -> bool {
        let stale = self.now - COMPLETION;
        let late = |entry: &Entry| {
            entry.place.open() && entry.until.is_some_and(|until| until <= self.now)
        };
        self.enrollments.iter().flat_map(|e| &e.entries).any(late)
            || self
                .enrollments
                .iter()
                .any(|e| e.phase == Phase::Pending && e.opened_at < stale)
            || self.cards.iter().any(|card| {
                card.renews.is_some() && card.state == CardState::Waiting && card.used_at < stale
            })
    }

    /// Whether the command waits somewhere without ever having been sent. A report of it that comes twice, with a sending
    /// in between, is two different reports.
    pub(crate) fn unsent(&self, name: Name) -> bool {
        self.enrollments
            .iter()
            .flat_map(|e| &e.entries)
            .any(|entry| entry.name == name && entry.sendings == 0 && entry.place.open())
    }

    fn expire(&mut self) {
        let now = self.now;
        for entry in self.enrollments.iter_mut().flat_map(|e| &mut e.entries) {
            if entry.place.open() && entry.until.is_some_and(|until| until <= now) {
                entry.place = Place::Expired;
            }
        }
    }

    // Identity and enrollment.

    fn device_of(&self, card: usize) -> Option<usize> {
        self.cards[card]
            .enrollment
            .map(|id| self.enrollments[id].device)
    }

    /// E1, E2, E7: the certificate acts for its own device, and only while its enrollment lasts.
    fn standing(&self, card: usize, device: usize) -> Option<(Standing, usize)> {
        let it = &self.cards[card];
        let id = it.enrollment?;
        if it.tenant != self.devices[device].tenant
            || it.state == CardState::Dead
            || self.device_of(card) != Some(device)
        {
            return None;
        }
        let standing = match (it.state, self.enrollments[id].phase) {
            (_, Phase::Over) => return None,
            (_, Phase::Held) => Standing::Held,
            (CardState::Waiting, _) | (_, Phase::Pending) => Standing::Pending,
            (_, Phase::Live) => Standing::Live,
        };
        Some((standing, id))
    }

    fn roots(&self, device: usize, phase: Phase) -> Vec<usize> {
        (0..self.enrollments.len())
            .filter(|id| {
                let e = &self.enrollments[*id];
                e.device == device && e.parent.is_none() && e.phase == phase
            })
            .collect()
    }

    /// When the device was last heard under its live enrollment, by whatever channel.
    fn heard(&self, live: usize) -> i64 {
        self.enrollments
            .iter()
            .enumerate()
            .filter(|(id, e)| *id == live || e.parent == Some(live))
            .map(|(_, e)| e.heard_at)
            .max()
            .unwrap_or(0)
    }

    fn authenticate(&mut self, card: usize, device: usize, topic: usize) -> Said {
        let refused = Said::Status(403);
        let it = self.cards[card].clone();
        if it.tenant != self.devices[device].tenant || it.state == CardState::Dead {
            return refused;
        }
        if let Some(id) = it.enrollment {
            // A device that repeats itself changes nothing.
            let own =
                self.enrollments[id].device == device && self.enrollments[id].phase != Phase::Over;
            return if own { Said::Empty } else { refused };
        }
        if let Some(id) = it.renews {
            let e = &self.enrollments[id];
            if e.device != device || e.phase != Phase::Live || e.topic != topic {
                return refused;
            }
            for other in &mut self.cards {
                if other.enrollment == Some(id) && other.state == CardState::Waiting {
                    other.state = CardState::Dead;
                }
            }
            self.hold(card, id);
            return Said::Empty;
        }
        if it.names.is_some_and(|named| named != device) || topic > 1 {
            return refused;
        }
        let live = self.roots(device, Phase::Live);
        let gone = self.devices[device].left
            || live.iter().all(|id| self.now - self.heard(*id) >= SILENCE);
        let held = it.names.is_none() && !gone;
        if held && self.roots(device, Phase::Held).len() >= QUARANTINE_ROOM {
            return refused;
        }
        if !held {
            for id in self.roots(device, Phase::Pending) {
                self.end(id);
            }
        }
        self.devices[device].known = true;
        self.devices[device].generation += 1;
        let phase = if held { Phase::Held } else { Phase::Pending };
        let id = self.open(
            device,
            None,
            None,
            self.devices[device].generation,
            phase,
            topic,
        );
        self.hold(card, id);
        Said::Empty
    }

    fn open(
        &mut self,
        device: usize,
        parent: Option<usize>,
        user: Option<usize>,
        generation: i64,
        phase: Phase,
        topic: usize,
    ) -> usize {
        self.enrollments.push(Enrollment {
            device,
            parent,
            user,
            generation,
            phase,
            topic,
            opened_at: self.now,
            heard_at: self.now,
            tokens: Vec::new(),
            bootstrap: None,
            round: 0,
            entries: Vec::new(),
            conflicts: 0,
        });
        self.enrollments.len() - 1
    }

    fn hold(&mut self, card: usize, enrollment: usize) {
        let it = &mut self.cards[card];
        it.state = CardState::Waiting;
        it.enrollment = Some(enrollment);
        it.used_at = self.now;
    }

    /// An enrollment ends with its users: what was open is taken back, and its certificates act no more.
    fn end(&mut self, id: usize) {
        for e in (0..self.enrollments.len())
            .filter(|e| *e == id || self.enrollments[*e].parent == Some(id))
            .collect::<Vec<_>>()
        {
            let e = &mut self.enrollments[e];
            for entry in &mut e.entries {
                match entry.place {
                    // It may have been run: nothing more is claimed.
                    Place::Sent => entry.place = Place::Withdrawn,
                    place if place.open() => entry.place = Place::Cancelled,
                    _ => {}
                }
            }
            e.phase = Phase::Over;
            e.bootstrap = None;
        }
        for card in &mut self.cards {
            if card.enrollment == Some(id) {
                card.state = CardState::Dead;
            }
        }
    }

    /// E4: this generation takes the place of every other but those in quarantine.
    fn enable(&mut self, id: usize) {
        let device = self.enrollments[id].device;
        for phase in [Phase::Pending, Phase::Live] {
            for other in self.roots(device, phase) {
                if other != id {
                    self.end(other);
                }
            }
        }
        self.enrollments[id].phase = Phase::Live;
        self.enrollments[id].heard_at = self.now;
        self.devices[device].left = false;
    }

    fn token(&mut self, card: usize, device: usize, token: usize, topic: usize) -> Said {
        let Some((standing, id)) = self.standing(card, device) else {
            return Said::Status(403);
        };
        if self.enrollments[id].topic != topic {
            return Said::Status(403);
        }
        self.keep_token(id, token);
        match standing {
            Standing::Held => {}
            Standing::Live => {}
            Standing::Pending if self.enrollments[id].phase == Phase::Live => {
                // E5: the renewed certificate takes over; the old one may act until its first report.
                for other in &mut self.cards {
                    if other.enrollment == Some(id) && other.state == CardState::Good {
                        other.state = CardState::Replaced;
                    }
                }
                self.cards[card].state = CardState::Good;
            }
            Standing::Pending => {
                self.enable(id);
                self.cards[card].state = CardState::Good;
            }
        }
        Said::Empty
    }

    /// A token that was replaced in this generation is a replay, and stays replaced.
    fn keep_token(&mut self, id: usize, token: usize) {
        let now = self.now;
        let e = &mut self.enrollments[id];
        if !e.tokens.contains(&token) {
            e.tokens.push(token);
            e.heard_at = now;
        }
    }

    fn user_token(
        &mut self,
        card: usize,
        device: usize,
        user: usize,
        token: usize,
        topic: usize,
    ) -> Said {
        let Some((standing, id)) = self.standing(card, device) else {
            return Said::Status(403);
        };
        match standing {
            Standing::Pending => return Said::Status(403),
            Standing::Held => return Said::Empty,
            Standing::Live => {}
        }
        if self.enrollments[id].topic != topic {
            return Said::Status(403);
        }
        let channel = match self.user_channel(id, user) {
            Some(channel) => channel,
            None => {
                let generation = self.enrollments[id].generation;
                self.open(device, Some(id), Some(user), generation, Phase::Live, topic)
            }
        };
        self.keep_token(channel, token);
        Said::Empty
    }

    fn user_channel(&self, parent: usize, user: usize) -> Option<usize> {
        self.enrollments
            .iter()
            .position(|e| e.parent == Some(parent) && e.user == Some(user))
    }

    fn check_out(&mut self, card: usize, device: usize) -> Said {
        let Some((_, id)) = self.standing(card, device) else {
            return Said::Status(403);
        };
        if self.enrollments[id].phase == Phase::Live {
            self.devices[device].left = true;
        }
        self.end(id);
        Said::Empty
    }

    fn set_bootstrap(&mut self, card: usize, device: usize, value: Option<usize>) -> Said {
        match self.standing(card, device) {
            None | Some((Standing::Pending, _)) => Said::Status(403),
            Some((_, id)) => {
                self.enrollments[id].bootstrap = value;
                Said::Empty
            }
        }
    }

    fn get_bootstrap(&self, card: usize, device: usize) -> Said {
        match self.standing(card, device) {
            None | Some((Standing::Pending, _)) => Said::Status(403),
            Some((Standing::Held, _)) => Said::Bootstrap(None),
            Some((Standing::Live, id)) => Said::Bootstrap(self.enrollments[id].bootstrap),
        }
    }

    fn release(&mut self, tenant: usize, id: usize) -> Said {
        let e = &self.enrollments[id];
        if self.devices[e.device].tenant != tenant {
            return Said::Missing;
        }
        if e.phase != Phase::Held {
            return Said::Conflict;
        }
        if e.tokens.is_empty() {
            for other in self.roots(e.device, Phase::Pending) {
                self.end(other);
            }
            self.enrollments[id].phase = Phase::Pending;
            self.enrollments[id].opened_at = self.now;
        } else {
            self.enable(id);
            for card in &mut self.cards {
                if card.enrollment == Some(id) && card.state == CardState::Waiting {
                    card.state = CardState::Good;
                }
            }
        }
        Said::Done
    }

    fn refuse(&mut self, tenant: usize, id: usize) -> Said {
        let e = &self.enrollments[id];
        if self.devices[e.device].tenant != tenant {
            return Said::Missing;
        }
        if e.phase != Phase::Held {
            return Said::Conflict;
        }
        self.end(id);
        Said::Done
    }

    fn remove(&mut self, tenant: usize, device: usize) -> Said {
        if self.devices[device].tenant != tenant || !self.devices[device].known {
            return Said::Missing;
        }
        let mut some = false;
        for phase in [Phase::Pending, Phase::Held, Phase::Live] {
            for id in self.roots(device, phase) {
                some = true;
                self.end(id);
            }
        }
        if !some {
            return Said::Conflict;
        }
        self.devices[device].left = true;
        Said::Done
    }

    // The queue.

    fn enqueue(&mut self, order: &Order) -> Said {
        let backwards = order.from > 0 && order.until.is_some_and(|until| until <= order.from);
        if !(-100..=100).contains(&order.rank) || backwards {
            return Said::Invalid;
        }
        if let Some(key) = order.key
            && let Some((first, command, accepted)) = self.keys.get(&(order.tenant, key))
        {
            return if first == order {
                Said::Enqueued {
                    command: *command,
                    accepted: accepted.clone(),
                    repeated: true,
                }
            } else {
                Said::Conflict
            };
        }
        if order
            .until
            .is_some_and(|until| until <= self.now || until <= order.from)
        {
            return Said::Invalid;
        }
        if let Some(after) = order.after {
            let other = &self.commands[after];
            if !other.exists || other.tenant != order.tenant {
                return Said::Missing;
            }
        }
        let command = self.commands.len();
        let name = match order.body {
            Body::Made(_) => Name::Made(command),
            Body::Raw(n) => Name::Raw(n),
            Body::Blank(n, _) => Name::Blank(n),
        };
        let mut accepted = Vec::new();
        for id in &order.targets {
            let foreign = self.devices[self.enrollments[*id].device].tenant != order.tenant;
            let e = &mut self.enrollments[*id];
            // The same UUID is never queued twice for one enrollment.
            let known = e.entries.iter().any(|entry| entry.name == name);
            let unfilled = matches!(order.body, Body::Blank(_, None));
            let good = !foreign && e.phase == Phase::Live && !known && !unfilled;
            accepted.push(good);
            if good {
                e.entries.push(Entry {
                    command,
                    name,
                    rank: order.rank,
                    from: order.from,
                    until: order.until,
                    after: order.after,
                    rings: order.rings,
                    value: match order.body {
                        Body::Blank(_, value) => value,
                        _ => None,
                    },
                    place: Place::Queued,
                    sendings: 0,
                    outcome: None,
                });
            }
        }
        self.commands.push(Command {
            tenant: order.tenant,
            exists: accepted.contains(&true),
        });
        if let Some(key) = order.key {
            self.keys.insert(
                (order.tenant, key),
                (order.clone(), command, accepted.clone()),
            );
        }
        Said::Enqueued {
            command,
            accepted,
            repeated: false,
        }
    }

    /// Q10: what was sent may have been run, and nothing more is claimed.
    fn cancel(&mut self, tenant: usize, command: usize, only: Option<&[usize]>) -> Said {
        let it = &self.commands[command];
        if !it.exists || it.tenant != tenant {
            return Said::Missing;
        }
        let mut done = BTreeMap::new();
        for (id, e) in self.enrollments.iter_mut().enumerate() {
            if only.is_some_and(|only| !only.contains(&id)) {
                continue;
            }
            for entry in e
                .entries
                .iter_mut()
                .filter(|entry| entry.command == command && entry.place.open())
            {
                let (place, word) = match entry.place {
                    Place::Sent => (Place::Withdrawn, "withdrawn"),
                    _ => (Place::Cancelled, "cancelled"),
                };
                entry.place = place;
                done.insert(id, word);
            }
        }
        for id in only.unwrap_or_default() {
            done.entry(*id).or_insert("already_finished");
        }
        Said::Cancelled(done)
    }

    fn report(&mut self, report: &Report) -> Said {
        let Report {
            card,
            device,
            user,
            verb,
            name,
            variant,
        } = *report;
        let Some((standing, root)) = self.standing(card, device) else {
            return Said::Status(403);
        };
        if standing != Standing::Live {
            return Said::Empty;
        }
        let Some(id) = user.map_or(Some(root), |user| self.user_channel(root, user)) else {
            return Said::Status(403);
        };
        let (now, patience) = (self.now, self.patience);
        let channel = &mut self.enrollments[id];
        channel.heard_at = now;
        channel.hear(verb, name, variant);
        let next = channel.next(now, patience);
        // E5: the first report under the renewed certificate ends the one it replaced.
        if self.cards[card].state == CardState::Good && !self.cards[card].has_reported {
            self.cards[card].has_reported = true;
            for other in &mut self.cards {
                if other.enrollment == Some(root) && other.state == CardState::Replaced {
                    other.state = CardState::Dead;
                }
            }
        }
        match next {
            Some(name) => Said::Command {
                enrollment: id,
                name,
            },
            None => Said::Empty,
        }
    }
}

impl Enrollment {
    /// Q5, Q6, Q7.
    fn hear(&mut self, verb: Verb, name: Name, variant: usize) {
        if verb == Verb::Idle {
            self.round += 1;
            return;
        }
        let round = self.round;
        let Some(entry) = self
            .entries
            .iter_mut()
            .find(|entry| entry.name == name && entry.sendings > 0)
        else {
            return;
        };
        match (verb, entry.place) {
            (Verb::NotNow, Place::Sent) => entry.place = Place::NotNow(round),
            (Verb::NotNow, _) => {}
            (_, place) => {
                if place.open() {
                    entry.place = Place::Done;
                }
                match entry.outcome {
                    None => entry.outcome = Some((verb, variant)),
                    Some(first) if first != (verb, variant) => self.conflicts += 1,
                    Some(_) => {}
                }
            }
        }
    }

    /// Q3, Q4, Q9, Q11.
    fn next(&mut self, now: i64, patience: u32) -> Option<Name> {
        // What waits for something that only now turns out to be over goes with the next poll.
        let open: Vec<usize> = self
            .entries
            .iter()
            .filter(|entry| entry.place.open())
            .map(|entry| entry.command)
            .collect();
        if let Some(entry) = self
            .entries
            .iter_mut()
            .find(|entry| entry.place == Place::Sent)
        {
            if entry.until.is_some_and(|until| until <= now) {
                entry.place = Place::Expired;
            } else if entry.until.is_none() && entry.sendings >= patience {
                entry.place = Place::Withdrawn;
            } else {
                entry.sendings += 1;
                return Some(entry.name);
            }
        }
        let round = self.round;
        let free = |entry: &Entry| {
            let waits = entry.after.is_some_and(|after| open.contains(&after));
            let turn = match entry.place {
                Place::Queued => true,
                Place::NotNow(deferred) => deferred < round,
                _ => false,
            };
            turn && !waits && entry.from <= now && entry.until.is_none_or(|until| until > now)
        };
        let mut best: Option<usize> = None;
        for (place, entry) in self.entries.iter().enumerate() {
            // The order of the list is the order of the numbers.
            if free(entry) && best.is_none_or(|best| entry.rank > self.entries[best].rank) {
                best = Some(place);
            }
        }
        let entry = &mut self.entries[best?];
        entry.place = Place::Sent;
        entry.sendings += 1;
        Some(entry.name)
    }
}
