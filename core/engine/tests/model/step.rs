//! The transitions of the reference model, and how they are drawn.
//!
//! Owns: the vocabulary (plain numbers: places in the model's lists) and the strategy that prefers what is likely to
//! be interesting in the state at hand, without ever leaving the unlikely out. Longer than most files, since each step
//! has its own way of being drawn.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest_state_machine::ReferenceStateMachine;

use crate::world::{CardState, DAY, HOUR, Phase, SECOND, World};

/// What a report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Idle,
    Acknowledged,
    Error,
    FormatError,
    NotNow,
}

/// Which `CommandUUID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Name {
    /// The engine made it for this command.
    Made(usize),
    /// It stands in the body that was handed in.
    Raw(usize),
    /// The same, in a body with a blank.
    Blank(usize),
    /// Nobody ever queued it.
    Unknown,
}

/// What is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Made(usize),
    Raw(usize),
    /// With what fills the blank.
    Blank(usize, Option<usize>),
}

/// A request to queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) tenant: usize,
    pub(crate) targets: Vec<usize>,
    pub(crate) body: Body,
    pub(crate) rank: i64,
    pub(crate) from: i64,
    pub(crate) until: Option<i64>,
    pub(crate) after: Option<usize>,
    pub(crate) key: Option<usize>,
    pub(crate) rings: bool,
}

/// What a device says of a command, with the card that it shows.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) card: usize,
    pub(crate) device: usize,
    pub(crate) user: Option<usize>,
    pub(crate) verb: Verb,
    pub(crate) name: Name,
    pub(crate) variant: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Card {
        tenant: usize,
        names: Option<usize>,
        renews: Option<usize>,
    },
    Authenticate {
        card: usize,
        device: usize,
        topic: usize,
    },
    Token {
        card: usize,
        device: usize,
        user: Option<usize>,
        token: usize,
        topic: usize,
    },
    CheckOut {
        card: usize,
        device: usize,
    },
    SetBootstrap {
        card: usize,
        device: usize,
        value: Option<usize>,
    },
    GetBootstrap {
        card: usize,
        device: usize,
    },
    Report(Report),
    /// The server dies while it works on a report; the device sends it again.
    Interrupted(Report),
    Enqueue(Order),
    /// The server dies while it queues; the caller asks again under the same key.
    InterruptedEnqueue(Order),
    Cancel {
        tenant: usize,
        command: usize,
        only: Option<Vec<usize>>,
    },
    Release {
        tenant: usize,
        enrollment: usize,
    },
    Refuse {
        tenant: usize,
        enrollment: usize,
    },
    Remove {
        tenant: usize,
        device: usize,
    },
    Wait {
        micros: i64,
    },
    Restart {
        crash: bool,
    },
    /// Everything that is stored is compared.
    Look,
}

/// The model as proptest drives it.
pub(crate) struct Model;

impl ReferenceStateMachine for Model {
    type State = World;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<World> {
        (
            any::<bool>(),
            prop_oneof![3 => Just(1_000_u32), 1 => Just(3)],
        )
            .prop_map(|(eager, patience)| World::new(eager, patience))
            .boxed()
    }

    fn transitions(world: &World) -> BoxedStrategy<Step> {
        let mut all: Vec<(u32, BoxedStrategy<Step>)> = vec![
            (4, cards(world)),
            (5, waits()),
            (
                1,
                any::<bool>()
                    .prop_map(|crash| Step::Restart { crash })
                    .boxed(),
            ),
            (1, Just(Step::Look).boxed()),
            (
                1,
                (0..2_usize, 0..world.devices.len())
                    .prop_map(|(tenant, device)| Step::Remove { tenant, device })
                    .boxed(),
            ),
        ];
        if !world.cards.is_empty() {
            all.push((14, check_ins(world)));
            all.push((26, reports(world)));
        }
        if !world.enrollments.is_empty() {
            all.push((14, orders(world).prop_map(Step::Enqueue).boxed()));
            all.push((
                1,
                orders(world)
                    .prop_map(|order| {
                        Step::InterruptedEnqueue(Order {
                            key: Some(order.key.unwrap_or(0)),
                            ..order
                        })
                    })
                    .boxed(),
            ));
            all.push((2, administration(world)));
        }
        if !world.commands.is_empty() {
            all.push((4, cancellations(world)));
        }
        Union::new_weighted(all).boxed()
    }

    fn apply(mut world: World, step: &Step) -> World {
        world.take(step);
        world
    }

    /// After shrinking, a step may name what is no longer there.
    fn preconditions(world: &World, step: &Step) -> bool {
        let card = |card: &usize| *card < world.cards.len();
        let order = |order: &Order| {
            order.targets.iter().all(|id| *id < world.enrollments.len())
                && order.after.is_none_or(|after| after < world.commands.len())
        };
        match step {
            Step::Card {
                names,
                renews,
                tenant,
            } => {
                names.is_none_or(|named| world.devices[named].tenant == *tenant)
                    && renews.is_none_or(|id| {
                        world.enrollments.get(id).is_some_and(|e| {
                            e.parent.is_none() && world.devices[e.device].tenant == *tenant
                        })
                    })
            }
            Step::Authenticate { card: it, .. }
            | Step::Token { card: it, .. }
            | Step::CheckOut { card: it, .. }
            | Step::SetBootstrap { card: it, .. }
            | Step::GetBootstrap { card: it, .. } => card(it),
            Step::Report(it) => card(&it.card) && named(world, it.name),
            Step::Interrupted(it) => {
                card(&it.card)
                    && named(world, it.name)
                    && world.patience > 100
                    && !world.background_due()
                    && !world.unsent(it.name)
            }
            Step::Enqueue(it) => order(it),
            Step::InterruptedEnqueue(it) => {
                order(it) && it.key.is_some() && !world.background_due()
            }
            Step::Cancel { command, only, .. } => {
                *command < world.commands.len()
                    && only
                        .iter()
                        .flatten()
                        .all(|id| *id < world.enrollments.len())
            }
            Step::Release { enrollment, .. } | Step::Refuse { enrollment, .. } => {
                *enrollment < world.enrollments.len()
            }
            Step::Remove { .. } | Step::Wait { .. } | Step::Restart { .. } | Step::Look => true,
        }
    }
}

fn named(world: &World, name: Name) -> bool {
    match name {
        Name::Made(command) => command < world.commands.len(),
        Name::Raw(_) | Name::Blank(_) | Name::Unknown => true,
    }
}

fn cards(world: &World) -> BoxedStrategy<Step> {
    let devices: Vec<usize> = world.devices.iter().map(|device| device.tenant).collect();
    let live: Vec<(usize, usize)> = roots(world)
        .filter(|id| world.enrollments[*id].phase == Phase::Live)
        .map(|id| (world.devices[world.enrollments[id].device].tenant, id))
        .collect();
    let unbound = (0..2_usize).prop_map(|tenant| Step::Card {
        tenant,
        names: None,
        renews: None,
    });
    let named = (0..devices.len()).prop_map(move |device| Step::Card {
        tenant: devices[device],
        names: Some(device),
        renews: None,
    });
    let mut all = vec![(3, unbound.boxed()), (1, named.boxed())];
    if !live.is_empty() {
        let renewal = select(live).prop_map(|(tenant, id)| Step::Card {
            tenant,
            names: None,
            renews: Some(id),
        });
        all.push((3, renewal.boxed()));
    }
    Union::new_weighted(all).boxed()
}

fn roots(world: &World) -> impl Iterator<Item = usize> + '_ {
    (0..world.enrollments.len()).filter(|id| world.enrollments[*id].parent.is_none())
}

/// A card and the device that it is shown for: mostly its own.
fn pairs(world: &World, wanted: impl Fn(CardState) -> bool) -> BoxedStrategy<(usize, usize)> {
    let mut likely = Vec::new();
    for (card, it) in world
        .cards
        .iter()
        .enumerate()
        .filter(|(_, it)| wanted(it.state))
    {
        let own = it
            .enrollment
            .or(it.renews)
            .map(|id| world.enrollments[id].device)
            .or(it.names);
        match own {
            Some(device) => likely.push((card, device)),
            None => likely.extend(
                (0..world.devices.len())
                    .filter(|device| world.devices[*device].tenant == it.tenant)
                    .map(|device| (card, device)),
            ),
        }
    }
    let any = (0..world.cards.len(), 0..world.devices.len());
    if likely.is_empty() {
        return any.boxed();
    }
    prop_oneof![14 => select(likely), 1 => any].boxed()
}

fn check_ins(world: &World) -> BoxedStrategy<Step> {
    let topic = || prop_oneof![16 => Just(0_usize), 1 => Just(1), 1 => Just(2)];
    let fresh = pairs(world, |state| state == CardState::Fresh);
    let waiting = pairs(world, |state| state == CardState::Waiting);
    let bound = || pairs(world, |state| !matches!(state, CardState::Fresh));
    let acting = || {
        pairs(world, |state| {
            matches!(state, CardState::Good | CardState::Replaced)
        })
    };
    prop_oneof![
        8 => (fresh, topic()).prop_map(|((card, device), topic)| Step::Authenticate { card, device, topic }),
        8 => (waiting, 0..2_usize, topic()).prop_map(|((card, device), token, topic)| Step::Token { card, device, user: None, token, topic }),
        5 => (bound(), 0..2_usize, topic()).prop_map(|((card, device), token, topic)| Step::Token { card, device, user: None, token, topic }),
        1 => (bound(), topic()).prop_map(|((card, device), topic)| Step::Authenticate { card, device, topic }),
        3 => (acting(), 0..2_usize, topic()).prop_map(|((card, device), token, topic)| Step::Token { card, device, user: Some(0), token, topic }),
        1 => bound().prop_map(|(card, device)| Step::CheckOut { card, device }),
        2 => (bound(), proptest::option::weighted(0.8, 0..3_usize)).prop_map(|((card, device), value)| Step::SetBootstrap { card, device, value }),
        2 => bound().prop_map(|(card, device)| Step::GetBootstrap { card, device }),
    ]
    .boxed()
}

fn reports(world: &World) -> BoxedStrategy<Step> {
    let pair = pairs(world, |state| {
        matches!(state, CardState::Good | CardState::Replaced)
    });
    let pair = prop_oneof![9 => pair, 1 => pairs(world, |state| state != CardState::Fresh)];
    let verb = prop_oneof![
        6 => Just(Verb::Idle),
        6 => Just(Verb::Acknowledged),
        2 => Just(Verb::Error),
        1 => Just(Verb::FormatError),
        4 => Just(Verb::NotNow),
    ];
    // What was sent, once more what has left the queue, and what was never sent.
    let entries = || world.enrollments.iter().flat_map(|e| &e.entries);
    let sent: Vec<Name> = entries()
        .filter(|entry| entry.place.open() && entry.sendings > 0)
        .map(|entry| entry.name)
        .collect();
    let known: Vec<Name> = entries().map(|entry| entry.name).collect();
    let mut names = vec![(1, Just(Name::Unknown).boxed())];
    if !sent.is_empty() {
        names.push((12, select(sent).boxed()));
    }
    if !known.is_empty() {
        names.push((4, select(known).boxed()));
    }
    let users = world
        .enrollments
        .iter()
        .any(|e| e.user.is_some() && e.phase == Phase::Live);
    let user = proptest::option::weighted(if users { 0.35 } else { 0.05 }, Just(0_usize));
    let variant = prop_oneof![4 => Just(0_usize), 1 => Just(1)];
    let interrupted = if world.patience > 100 {
        proptest::bool::weighted(0.04)
    } else {
        proptest::bool::weighted(0.0)
    };
    (
        pair,
        user,
        verb,
        Union::new_weighted(names),
        variant,
        interrupted,
    )
        .prop_map(|((card, device), user, verb, name, variant, interrupted)| {
            let report = Report {
                card,
                device,
                user,
                verb,
                name,
                variant,
            };
            if interrupted {
                Step::Interrupted(report)
            } else {
                Step::Report(report)
            }
        })
        .boxed()
}

fn orders(world: &World) -> BoxedStrategy<Order> {
    let live: Vec<usize> = (0..world.enrollments.len())
        .filter(|id| world.enrollments[*id].phase == Phase::Live)
        .collect();
    let every = 0..world.enrollments.len();
    let one = if live.is_empty() {
        every.boxed()
    } else {
        prop_oneof![10 => select(live), 1 => every].boxed()
    };
    let targets = proptest::collection::vec(one, 1..4);
    let tenants: Vec<usize> = world
        .enrollments
        .iter()
        .map(|e| world.devices[e.device].tenant)
        .collect();
    // Mostly after something that is open in the queue of one of the targets.
    let open: Vec<(usize, usize)> = world
        .enrollments
        .iter()
        .enumerate()
        .flat_map(|(id, e)| e.entries.iter().map(move |entry| (id, entry)))
        .filter(|(_, entry)| entry.place.open())
        .map(|(id, entry)| (entry.command, id))
        .collect();
    let mut after = vec![(7, Just(None).boxed())];
    if !world.commands.is_empty() {
        let any = (0..world.commands.len(), 0..world.enrollments.len());
        after.push((1, any.prop_map(Some).boxed()));
    }
    if !open.is_empty() {
        after.push((5, select(open).prop_map(Some).boxed()));
    }
    let after = Union::new_weighted(after);
    let now = world.now;
    let body = prop_oneof![
        6 => (0..3_usize).prop_map(Body::Made),
        3 => (0..8_usize).prop_map(Body::Raw),
        2 => ((0..4_usize), proptest::option::weighted(0.9, 0..3_usize)).prop_map(|(n, value)| Body::Blank(n, value)),
    ];
    let rank = prop_oneof![8 => Just(0_i64), 2 => Just(10), 2 => Just(-10), 1 => Just(101)];
    let from = prop_oneof![8 => Just(0_i64), 2 => select(vec![now + 10 * SECOND, now + HOUR])];
    let until = prop_oneof![6 => Just(None), 4 => select(vec![now + 20 * SECOND, now + HOUR, now + DAY]).prop_map(Some), 1 => Just(Some(now))];
    let key = proptest::option::weighted(0.25, 0..3_usize);
    let same: Vec<Order> = world
        .keys
        .values()
        .map(|(order, _, _)| order.clone())
        .collect();
    let other = proptest::bool::weighted(0.03);
    let new = (
        targets,
        body,
        rank,
        from,
        until,
        after,
        key,
        proptest::bool::weighted(0.5),
        other,
    )
        .prop_map(
            move |(mut targets, body, rank, from, until, after, key, rings, other)| {
                let tenant = tenants[after.map_or(targets[0], |(_, id)| id)];
                targets.extend(after.map(|(_, id)| id));
                targets.sort_unstable();
                targets.dedup();
                let after = after.map(|(command, _)| command);
                Order {
                    tenant: if other { 1 - tenant } else { tenant },
                    targets,
                    body,
                    rank,
                    from,
                    until,
                    after,
                    key,
                    rings,
                }
            },
        );
    if same.is_empty() {
        new.boxed()
    } else {
        prop_oneof![9 => new, 1 => select(same)].boxed()
    }
}

fn cancellations(world: &World) -> BoxedStrategy<Step> {
    let open: Vec<usize> = world
        .enrollments
        .iter()
        .flat_map(|e| &e.entries)
        .filter(|entry| entry.place.open())
        .map(|entry| entry.command)
        .collect();
    let any = 0..world.commands.len();
    let command = if open.is_empty() {
        any.boxed()
    } else {
        prop_oneof![5 => select(open), 1 => any].boxed()
    };
    let tenants: Vec<usize> = world
        .commands
        .iter()
        .map(|command| command.tenant)
        .collect();
    let only = proptest::option::weighted(
        0.3,
        proptest::collection::btree_set(0..world.enrollments.len(), 1..3),
    );
    (command, only, proptest::bool::weighted(0.03))
        .prop_map(move |(command, only, other)| Step::Cancel {
            tenant: if other {
                1 - tenants[command]
            } else {
                tenants[command]
            },
            command,
            only: only.map(|only| only.into_iter().collect()),
        })
        .boxed()
}

fn administration(world: &World) -> BoxedStrategy<Step> {
    let held: Vec<usize> = roots(world)
        .filter(|id| world.enrollments[*id].phase == Phase::Held)
        .collect();
    let any = 0..world.enrollments.len();
    let id = if held.is_empty() {
        any.boxed()
    } else {
        prop_oneof![10 => select(held), 1 => any].boxed()
    };
    let tenants: Vec<usize> = world
        .enrollments
        .iter()
        .map(|e| world.devices[e.device].tenant)
        .collect();
    (
        id,
        proptest::bool::weighted(0.7),
        proptest::bool::weighted(0.05),
    )
        .prop_map(move |(enrollment, release, other)| {
            let tenant = if other {
                1 - tenants[enrollment]
            } else {
                tenants[enrollment]
            };
            if release {
                Step::Release { tenant, enrollment }
            } else {
                Step::Refuse { tenant, enrollment }
            }
        })
        .boxed()
}

fn waits() -> BoxedStrategy<Step> {
    prop_oneof![
        6 => Just(SECOND),
        4 => Just(35 * SECOND),
        3 => Just(HOUR),
        1 => Just(25 * HOUR),
        3 => Just(49 * HOUR),
    ]
    .prop_map(|micros| Step::Wait { micros })
    .boxed()
}
