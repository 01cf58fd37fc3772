//! Keeping the profiles of channels as they are assigned.
//!
//! Owns: the rounds over channels that are due: reading what each should have and has, asking `profiles::plan`, and writing its steps in one
//! transaction with the commands that they need, so that nothing is sent twice. A reconciler without input: whatever was missed, the next
//! round finds. Several nodes share the channels by claiming them. In the flow: `store::upkeep` says who is due -> here -> `commands`, like
//! everything that is sent.

mod contents;

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use serde_json::json;

use super::commands::Prepared;
use super::{CommandBody, Engine, Enqueue};
use crate::actor::{Actor, Cause};
use crate::clock::{HOUR, MINUTE, Micros};
use crate::enrollment::EnrollmentState;
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::hooks::DeviceSnapshot;
use crate::ids::{CommandId, DeviceId, EnrollmentId, ProfileId, TenantId};
use crate::profiles::plan::{self, Channel, Ended, Held, MOST_TRIES, Plan, State, Step, Why};
use crate::store::profiles::{self as rows, Saved};
use crate::store::upkeep::{self, Due, Looked};
use crate::store::{events, fault, queue, snapshot};
use contents::{Content, Contents};

/// Channels in one round.
const BATCH: i64 = 250;
/// Commands for one device alone in one round: profiles that are filled in.
const MOST_SINGLE: usize = 64;
/// How long a round may take before another node takes its channels.
const LEASE: Micros = 10 * MINUTE;

/// A channel of a round.
struct Case {
    enrollment: EnrollmentId,
    device: DeviceId,
    snapshot: DeviceSnapshot,
    held: HashMap<ProfileId, (i64, Option<CommandId>, Held)>,
    contents: HashMap<ProfileId, Content>,
    plan: Plan,
}

/// A command of a round: what it does, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Order {
    Install(ProfileId, Vec<u8>, Why),
    Remove(ProfileId),
    Ask,
}

/// An order with the channels it is for, made ready, or why it cannot be.
struct Ordered {
    order: Order,
    channels: Vec<EnrollmentId>,
    ready: Result<Prepared, String>,
}

impl Engine {
    /// Looks after channels that are due; says how many.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database does not answer.
    pub async fn keep_up(&self) -> Result<usize> {
        let now = self.now();
        // No two rounds have the same end: by it a round knows its channels again.
        let mut more = [0u8; 2];
        self.store().random().fill(&mut more);
        let leased = now + LEASE + Micros::from(u16::from_be_bytes(more));
        let mut tx = self.store().begin().await?;
        let due = upkeep::claim(&mut tx, now, leased, BATCH).await?;
        tx.commit().await?;
        let count = due.len();
        let mut tenants: BTreeMap<TenantId, Vec<Due>> = BTreeMap::new();
        for one in due {
            tenants.entry(one.tenant).or_default().push(one);
        }
        // What is wrong in one tenant keeps nothing from the others; its channels are due again when the lease is over.
        let mut wrong = None;
        for (tenant, due) in tenants {
            let round = AssertUnwindSafe(self.keep_up_tenant(tenant, &due, leased));
            let done = round.catch_unwind().await.unwrap_or_else(|_| {
                Err(Error::internal(
                    "keeping up profiles",
                    "the round has panicked",
                ))
            });
            if let Err(error) = done {
                tracing::warn!(tenant.id = %tenant, %error, "profiles could not be kept up; tried again when the lease is over");
                wrong = wrong.or(Some(error));
            }
        }
        wrong.map_or(Ok(count), Err)
    }

    /// Finds channels that should be looked after and are not; says how many.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database does not answer.
    pub async fn seed_upkeep(&self) -> Result<u64> {
        let mut tx = self.store().begin().await?;
        let found = upkeep::seed(&mut tx, self.now()).await?;
        tx.commit().await?;
        Ok(found)
    }

    async fn keep_up_tenant(&self, tenant: TenantId, due: &[Due], leased: Micros) -> Result<()> {
        let channels: Vec<EnrollmentId> = due.iter().map(|one| one.enrollment).collect();
        let mut tx = self.store().begin_read().await?;
        let targets = queue::targets(&mut tx, tenant, &channels).await?;
        let snapshots = snapshot::read_all(&mut tx, tenant, &channels).await?;
        let mut wanted: HashMap<EnrollmentId, Vec<ProfileId>> = HashMap::new();
        for (channel, profile) in rows::wanted(&mut tx, tenant, &channels).await? {
            wanted.entry(channel).or_default().push(profile);
        }
        let mut ids: Vec<ProfileId> = wanted.values().flatten().copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let current = rows::current(&mut tx, tenant, &ids).await?;
        let mut held = rows::held(&mut tx, &channels).await?;
        let mut listed = rows::listed(&mut tx, &channels).await?;
        tx.rollback().await?;

        let keys = self.store().keys(tenant).await?;
        let mut contents = Contents::open(&keys, current);
        let now = self.now();
        let mut room = MOST_SINGLE;
        let mut cases = Vec::with_capacity(due.len());
        let mut looked = Vec::with_capacity(due.len());
        let mut over = Vec::new();
        for one in due {
            let target = targets.get(&one.enrollment);
            let target = target.filter(|target| target.state == EnrollmentState::Enabled);
            let (Some(target), Some(device)) = (target, snapshots.get(&one.enrollment)) else {
                over.push(one.enrollment);
                looked.push(Looked {
                    enrollment: one.enrollment,
                    next: None,
                });
                continue;
            };
            let held = held.remove(&one.enrollment).unwrap_or_default();
            let wanted = wanted.remove(&one.enrollment).unwrap_or_default();
            let contents_of = of_channel(&mut contents, &wanted, device);
            let channel = Channel {
                wanted: contents_of
                    .iter()
                    .map(|(id, content)| (*id, content.wanted()))
                    .collect(),
                held: held
                    .iter()
                    .map(|(id, (_, _, held))| (*id, held.clone()))
                    .collect(),
                listed: listed.remove(&one.enrollment),
                asking: one.asking,
                asked_at: one.asked_at,
            };
            let plan = plan::plan(now, &channel);
            // What each device gets in another way is a command of its own: only so many at a time.
            let single = plan.steps.iter().filter(|(id, step)| {
                matches!(step, Step::Install { .. })
                    && contents_of.get(id).is_some_and(|one| one.single)
            });
            let single = single.count();
            let whole = room == MOST_SINGLE || single <= room;
            looked.push(Looked {
                enrollment: one.enrollment,
                next: if whole { plan.next } else { Some(now) },
            });
            if !whole {
                continue;
            }
            room = room.saturating_sub(single);
            cases.push(Case {
                enrollment: one.enrollment,
                device: target.device,
                snapshot: device.clone(),
                held,
                contents: contents_of,
                plan,
            });
        }
        let orders = self.orders(tenant, &cases, &contents).await?;
        let mut tries = 0;
        loop {
            let (looked, over) = (looked.as_slice(), over.as_slice());
            let written =
                self.write_round(tenant, &cases, &orders, &contents, (looked, leased, over));
            match written.await {
                Err(error) if fault::lost_a_race(&error) && tries < 5 => tries += 1,
                done => return done,
            }
        }
    }

    /// The commands that the steps need, read and judged before a transaction opens. One that cannot be is refused by itself.
    async fn orders(
        &self,
        tenant: TenantId,
        cases: &[Case],
        contents: &Contents<'_>,
    ) -> Result<Vec<Ordered>> {
        let mut wanted: BTreeMap<Order, Vec<EnrollmentId>> = BTreeMap::new();
        // One of the devices for which an order is, to fill its profile in.
        let mut whose: HashMap<Order, &Case> = HashMap::new();
        for case in cases {
            for (id, step) in &case.plan.steps {
                let order = match step {
                    Step::Install { why, .. } => match case.contents.get(id) {
                        Some(content) => Order::Install(*id, content.hash.clone(), *why),
                        None => continue,
                    },
                    Step::Remove { .. } => Order::Remove(*id),
                    Step::Note { .. } | Step::Forget => continue,
                };
                whose.insert(order.clone(), case);
                wanted.entry(order).or_default().push(case.enrollment);
            }
            if case.plan.ask {
                wanted.entry(Order::Ask).or_default().push(case.enrollment);
            }
        }
        let mut orders = Vec::with_capacity(wanted.len());
        for (order, channels) in wanted {
            let case = whose.get(&order).copied();
            let ready = match command(&order, case, contents) {
                Ok((command, reason)) => {
                    let body = CommandBody::Dictionary(command);
                    let mut request = Enqueue::new(body, channels.clone());
                    request.reason = Some(reason);
                    let (actor, cause) = (Actor::SYSTEM, Cause::default());
                    match self.prepare(tenant, actor, cause, request).await {
                        Ok(prepared) => Ok(prepared),
                        Err(Error::Invalid(told) | Error::Conflict(told)) => Err(told),
                        Err(error) => return Err(error),
                    }
                }
                Err(told) => Err(told),
            };
            orders.push(Ordered {
                order,
                channels,
                ready,
            });
        }
        Ok(orders)
    }

    /// Writes what follows of a round: commands, states, events, and when each channel is looked at next.
    async fn write_round(
        &self,
        tenant: TenantId,
        cases: &[Case],
        orders: &[Ordered],
        contents: &Contents<'_>,
        (looked, leased, over): (&[Looked], Micros, &[EnrollmentId]),
    ) -> Result<()> {
        let now = self.now();
        let mut tx = self.store().begin().await?;
        let devices: Vec<DeviceId> = cases.iter().map(|case| case.device).collect();
        events::lock_heads(&mut tx, devices.iter().copied()).await?;
        // In this order: heads, channels, profiles, the audit last.
        let channels: Vec<EnrollmentId> = looked.iter().map(|one| one.enrollment).collect();
        let profiles: Vec<ProfileId> = (cases.iter())
            .flat_map(|case| case.plan.steps.iter().map(|(id, _)| *id))
            .collect();
        if !upkeep::still_ours(&mut tx, leased, &channels).await?
            || !rows::stay(&mut tx, &profiles).await?
        {
            // It has taken too long, or a profile was deleted meanwhile: the next round sees it as it is.
            return tx.rollback().await;
        }
        let mut told = Vec::new();
        // What became of each order on each channel: its command, or why there is none.
        let mut sent: HashMap<(EnrollmentId, Order), Result<CommandId, String>> = HashMap::new();
        let mut unasked = Vec::new();
        for Ordered {
            order,
            channels,
            ready,
        } in orders
        {
            let prepared = match ready {
                Ok(prepared) => prepared,
                Err(reason) => {
                    let refused = channels
                        .iter()
                        .map(|channel| ((*channel, order.clone()), Err(reason.clone())));
                    sent.extend(refused);
                    continue;
                }
            };
            let (enqueued, written) = self.write(&mut tx, prepared).await?;
            told.extend(written);
            let mut asked = Vec::new();
            for target in enqueued.targets {
                let became = match target.accepted {
                    true => Ok(enqueued.command_id),
                    false => Err(target.reason.unwrap_or_default()),
                };
                match became.is_ok() {
                    true => asked.push(target.enrollment_id),
                    false => unasked.push(target.enrollment_id),
                }
                sent.insert((target.enrollment_id, order.clone()), became);
            }
            if *order == Order::Ask {
                upkeep::asked(&mut tx, now, Some(enqueued.command_id), &asked).await?;
                // Who may not be asked is not asked again at once.
                upkeep::asked(&mut tx, now, None, &unasked).await?;
            }
            unasked.clear();
        }
        let mut saved = Vec::new();
        let mut forgotten = Vec::new();
        let mut trouble = Vec::new();
        for case in cases {
            for (id, step) in &case.plan.steps {
                if *step == Step::Forget {
                    forgotten.push((case.enrollment, *id));
                    continue;
                }
                if let Some(one) = case.after(*id, step, now, &sent) {
                    trouble.extend(case.event(tenant, *id, step, &one, contents));
                    saved.push(one);
                }
            }
        }
        let mut heads = events::lock_heads(&mut tx, devices).await?;
        let hooks = &self.shared().hooks;
        told.extend(events::append_locked(&mut tx, now, &mut heads, trouble, hooks).await?);
        rows::save(&mut tx, tenant, &saved, &forgotten).await?;
        rows::forget_channels(&mut tx, over).await?;
        upkeep::let_go(&mut tx, leased, looked).await?;
        tx.commit().await?;
        self.announce(told);
        if !orders.is_empty() {
            (self.shared().wake_push)();
        }
        Ok(())
    }
}

/// The command of an order and why it is sent, or why it cannot be.
fn command(
    order: &Order,
    case: Option<&Case>,
    contents: &Contents<'_>,
) -> Result<(plist::Dictionary, String), String> {
    let mut command = plist::Dictionary::new();
    let mut set = |key: &str, value: plist::Value| {
        command.insert(key.to_owned(), value);
    };
    let reason = match order {
        Order::Install(id, _, why) => {
            let device = case.map(|case| &case.snapshot);
            let bytes = device.map(|device| contents.bytes(*id, device));
            let bytes = bytes.ok_or("nobody is to have it")??;
            set("RequestType", "InstallProfile".into());
            set("Payload", plist::Value::Data(bytes));
            format!("profile {}: {}", contents.called(*id), why.as_str())
        }
        Order::Remove(id) => {
            let held = case.and_then(|case| case.held.get(id));
            let identifier = held.map_or("", |(_, _, held)| held.identifier.as_str());
            set("RequestType", "RemoveProfile".into());
            set("Identifier", identifier.into());
            format!("profile {identifier}: it is not assigned to the device any more")
        }
        Order::Ask => {
            set("RequestType", "ProfileList".into());
            "to see whether the profiles are there".to_owned()
        }
    };
    Ok((command, reason))
}

fn of_channel(
    contents: &mut Contents<'_>,
    wanted: &[ProfileId],
    device: &DeviceSnapshot,
) -> HashMap<ProfileId, Content> {
    let each = wanted.iter();
    each.filter_map(|id| Some((*id, contents.of(*id, device)?)))
        .collect()
}

impl Case {
    /// What is known of a profile after a step.
    fn after(
        &self,
        id: ProfileId,
        step: &Step,
        now: Micros,
        sent: &HashMap<(EnrollmentId, Order), Result<CommandId, String>>,
    ) -> Option<Saved> {
        let before = self.held.get(&id);
        let content = self.contents.get(&id);
        let (mut version, mut command) =
            before.map_or((0, None), |(version, command, _)| (*version, *command));
        let mut held = match (before, content) {
            (Some((_, _, held)), _) => held.clone(),
            (None, Some(content)) => Held {
                identifier: String::new(),
                hash: content.hash.clone(),
                payload_uuid: content.payload_uuid.clone(),
                state: State::Refused,
                ended: Ended::NotYet,
                was_on: false,
                tries: 0,
                again_at: 0,
                told: String::new(),
                changed_at: now,
            },
            (None, None) => return None,
        };
        match step {
            Step::Install { tries, why } => {
                let content = content?;
                let order = Order::Install(id, content.hash.clone(), *why);
                let became = sent.get(&(self.enrollment, order))?;
                // Nobody knows whether what was there is still there, but it was.
                held.was_on |= matches!(
                    (held.state, held.ended),
                    (State::Installed | State::Verified, _) | (State::Installing, Ended::Done(_))
                );
                version = content.version;
                held.changed_at = now;
                held.again_at = 0;
                match became {
                    Ok(id) => {
                        held.hash.clone_from(&content.hash);
                        held.payload_uuid.clone_from(&content.payload_uuid);
                        command = Some(*id);
                        held.state = State::Installing;
                        held.ended = Ended::NotYet;
                        held.tries = *tries;
                        held.told.clear();
                    }
                    Err(reason) => {
                        command = None;
                        held.state = State::Refused;
                        held.tries = 0;
                        // Whoever refuses it is not asked again at once.
                        held.again_at = now + HOUR;
                        held.told.clone_from(reason);
                    }
                }
            }
            Step::Remove { tries } => {
                held.was_on = true;
                held.changed_at = now;
                held.tries = *tries;
                match sent.get(&(self.enrollment, Order::Remove(id)))? {
                    Ok(id) => {
                        command = Some(*id);
                        held.state = State::Removing;
                        held.ended = Ended::NotYet;
                        held.told.clear();
                    }
                    Err(reason) => {
                        command = None;
                        held.state = State::NotRemoved;
                        held.tries = (*tries).min(MOST_TRIES);
                        held.told.clone_from(reason);
                    }
                }
            }
            Step::Note {
                state,
                at,
                tries,
                again_at,
                told,
                was_on,
            } => {
                held.state = *state;
                held.changed_at = *at;
                held.tries = *tries;
                held.again_at = *again_at;
                held.told.clone_from(told);
                held.was_on = *was_on;
                if let (State::Refused, Some(content)) = (state, content) {
                    version = content.version;
                }
            }
            Step::Forget => return None,
        }
        Some(Saved {
            enrollment: self.enrollment,
            device: self.device,
            profile: id,
            version,
            held,
            command,
        })
    }

    /// What an administrator should see in the device's timeline of it, beside commands.
    fn event(
        &self,
        tenant: TenantId,
        id: ProfileId,
        step: &Step,
        saved: &Saved,
        contents: &Contents<'_>,
    ) -> Option<NewEvent> {
        let was = self
            .held
            .get(&id)
            .map(|(_, _, held)| (held.state, &held.told));
        let kind = match (step, saved.held.state) {
            (
                Step::Install {
                    why: Why::Drifted, ..
                },
                State::Installing,
            ) => EventKind::ProfileDrifted,
            (_, State::Refused) if was == Some((State::Refused, &saved.held.told)) => return None,
            (_, State::Refused) => EventKind::ProfileRefused,
            (_, State::GivenUp) => EventKind::ProfileGivenUp,
            _ => return None,
        };
        let mut body = json!({
            "profile_id": id,
            "profile": contents.called(id),
            "version": saved.version,
        });
        if !saved.held.told.is_empty() {
            body["reason"] = json!(crate::profiles::told(&saved.held.told));
        }
        Some(NewEvent {
            tenant,
            device: self.device,
            enrollment: Some(self.enrollment),
            kind,
            command: None,
            actor: Actor::SYSTEM,
            cause: Cause::default(),
            body,
        })
    }
}
