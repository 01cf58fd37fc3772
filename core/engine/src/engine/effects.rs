//! Carries out what hooks return.
//!
//! Owns: the way from an effect to its change: checked and prepared before a transaction opens, applied within it under the
//! locks of all devices concerned, once for each key. Who commits it, and together with what progress, is the caller's
//! business; a rehearsal applies and takes everything back.

use serde::Serialize;
use serde_json::{Value, json};

use super::commands::Prepared;
use super::{CommandBody, Engine, Enqueue};
use crate::actor::{Actor, ActorKind, Cause};
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, NewEvent};
use crate::hooks::{Channel, Effect, KeyedEffect};
use crate::ids::{DeviceId, EnrollmentId, PrincipalId, TenantId};
use crate::store::sql::Tx;
use crate::store::{events, facts, push, queue, values};

/// A chain of effects that cause effects is cut here.
const MAX_DEPTH: u32 = 3;

/// Whose effects they are.
pub(crate) struct Origin<'a> {
    pub(crate) tenant: TenantId,
    /// The hook's name; keys of effects are its own.
    pub(crate) name: &'a str,
    pub(crate) principal: Option<PrincipalId>,
    /// How many links the chain has with these effects.
    pub(crate) depth: u32,
}

/// An effect that can be applied.
pub(crate) struct PreparedEffect {
    key: String,
    shown: Value,
    ready: Ready,
}

enum Ready {
    Command(Box<Prepared>),
    Wake(EnrollmentId),
    Other(Effect),
    /// It cannot be done, and is left out.
    Nothing(String),
}

/// What was applied.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) events: Vec<Event>,
    pub(crate) differences: Vec<Difference>,
}

/// What an effect changes.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Difference {
    /// The effect's key.
    pub key: String,
    /// The effect, as it was understood.
    #[schema(value_type = Object)]
    pub effect: Value,
    /// What would happen: `done`, `repeated` (it was done before), or why it is left out.
    pub outcome: String,
    /// What it would replace, for facts and values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
}

impl PreparedEffect {
    fn device(&self) -> Option<DeviceId> {
        match &self.ready {
            Ready::Other(Effect::SetFact { device, .. } | Effect::Emit { device, .. }) => {
                Some(*device)
            }
            _ => None,
        }
    }

    fn enrollment(&self) -> Option<EnrollmentId> {
        match &self.ready {
            Ready::Command(prepared) => prepared.first_target(),
            Ready::Wake(enrollment) => Some(*enrollment),
            _ => None,
        }
    }
}

impl Origin<'_> {
    fn actor(&self) -> Actor {
        Actor {
            kind: ActorKind::Plugin,
            id: self.principal.map(|id| id.0),
        }
    }
}

impl Engine {
    /// Reads, checks and judges effects before a transaction opens.
    pub(super) async fn prepare_effects(
        &self,
        origin: &Origin<'_>,
        effects: Vec<KeyedEffect>,
    ) -> Result<Vec<PreparedEffect>> {
        if origin.depth > MAX_DEPTH && !effects.is_empty() {
            tracing::warn!(
                hook.name = origin.name,
                depth = origin.depth,
                "a chain of effects was cut"
            );
            return Ok(Vec::new());
        }
        let cause = Cause {
            id: Some(self.store().random().uuid(self.now())),
            depth: origin.depth,
        };
        let mut prepared = Vec::with_capacity(effects.len());
        for KeyedEffect { key, effect } in effects {
            let shown = shown(&effect);
            let ready = match effect {
                Effect::Enqueue {
                    channel,
                    not_after,
                    reason,
                    command,
                } => match self.enabled(origin.tenant, &channel).await? {
                    Some(enrollment) => {
                        let body = CommandBody::Dictionary(command);
                        let mut request = Enqueue::new(body, vec![enrollment]);
                        request.not_after = not_after;
                        request.reason = Some(reason).filter(|reason| !reason.is_empty());
                        let actor = origin.actor();
                        let command = self.prepare(origin.tenant, actor, cause, request).await?;
                        Ready::Command(Box::new(command))
                    }
                    None => not_enrolled(origin, &channel),
                },
                Effect::Wake { channel } => match self.enabled(origin.tenant, &channel).await? {
                    Some(enrollment) => Ready::Wake(enrollment),
                    None => not_enrolled(origin, &channel),
                },
                other => Ready::Other(other),
            };
            prepared.push(PreparedEffect { key, shown, ready });
        }
        Ok(prepared)
    }

    /// Takes the locks of every device concerned at once and in order, so that no two transactions wait for each other.
    pub(super) async fn lock_for(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        prepared: &[PreparedEffect],
        also: Option<DeviceId>,
    ) -> Result<()> {
        let mut locked: Vec<DeviceId> = also.into_iter().collect();
        locked.extend(prepared.iter().filter_map(PreparedEffect::device));
        for id in prepared.iter().filter_map(PreparedEffect::enrollment) {
            if let Some(target) = queue::targets(tx, tenant, &[id]).await?.remove(&id) {
                locked.push(target.device);
            }
        }
        events::lock_heads(tx, locked).await.map(drop)
    }

    /// Applies effects in the caller's transaction.
    pub(super) async fn apply_effects(
        &self,
        tx: &mut Tx,
        origin: &Origin<'_>,
        prepared: Vec<PreparedEffect>,
    ) -> Result<Done> {
        let now = self.now();
        let mut done = Done::default();
        for PreparedEffect { key, shown, ready } in prepared {
            let mut difference = Difference {
                key,
                effect: shown,
                outcome: "done".into(),
                before: None,
            };
            let remembered = format!("effect:{}:{}", origin.name, difference.key);
            if let Ready::Nothing(why) = ready {
                difference.outcome = why;
            } else if queue::idempotent(tx, origin.tenant, &remembered)
                .await?
                .is_some()
            {
                difference.outcome = "repeated".into();
            } else {
                queue::remember(tx, now, origin.tenant, &remembered, &[], "{}").await?;
                let written = self.apply_one(tx, origin, ready, &mut difference).await?;
                done.events.extend(written);
            }
            done.differences.push(difference);
        }
        Ok(done)
    }

    /// Carries effects out by themselves, in one transaction.
    pub(super) async fn carry_out(
        &self,
        origin: &Origin<'_>,
        effects: Vec<KeyedEffect>,
    ) -> Result<()> {
        let prepared = self.prepare_effects(origin, effects).await?;
        let mut tx = self.store().begin().await?;
        self.lock_for(&mut tx, origin.tenant, &prepared, None)
            .await?;
        let done = self.apply_effects(&mut tx, origin, prepared).await?;
        tx.commit().await?;
        self.announce(done.events);
        (self.shared().wake_push)();
        Ok(())
    }

    /// Applies effects and takes everything back: what would have changed.
    pub(super) async fn rehearse(
        &self,
        origin: &Origin<'_>,
        also: Option<DeviceId>,
        effects: Vec<KeyedEffect>,
    ) -> Result<Vec<Difference>> {
        let prepared = self.prepare_effects(origin, effects).await?;
        let mut tx = self.store().begin().await?;
        self.lock_for(&mut tx, origin.tenant, &prepared, also)
            .await?;
        let done = self.apply_effects(&mut tx, origin, prepared).await;
        tx.rollback().await?;
        done.map(|done| done.differences)
    }

    async fn apply_one(
        &self,
        tx: &mut Tx,
        origin: &Origin<'_>,
        ready: Ready,
        difference: &mut Difference,
    ) -> Result<Vec<Event>> {
        let now = self.now();
        let effect = match ready {
            Ready::Command(prepared) => {
                let (enqueued, written) = self.write(tx, &prepared).await?;
                if let Some(target) = enqueued.targets.iter().find(|target| !target.accepted) {
                    difference.outcome = target.reason.clone().unwrap_or_else(|| "refused".into());
                }
                return Ok(written);
            }
            Ready::Wake(enrollment) => {
                push::mark_due(tx, now, &[enrollment]).await?;
                return Ok(Vec::new());
            }
            Ready::Nothing(_) => return Ok(Vec::new()),
            Ready::Other(effect) => effect,
        };
        let told = self.apply(tx, origin, effect, difference).await?;
        let cause = Cause {
            id: Some(self.store().random().uuid(now)),
            depth: origin.depth,
        };
        let told = told
            .into_iter()
            .map(|(device, kind, body)| NewEvent {
                tenant: origin.tenant,
                device,
                enrollment: None,
                kind,
                command: None,
                actor: origin.actor(),
                cause,
                body,
            })
            .collect();
        events::append(tx, now, told, &self.shared().hooks).await
    }

    /// Changes rows; gives the events that tell of it.
    async fn apply(
        &self,
        tx: &mut Tx,
        origin: &Origin<'_>,
        effect: Effect,
        difference: &mut Difference,
    ) -> Result<Option<(DeviceId, EventKind, Value)>> {
        let (now, tenant) = (self.now(), origin.tenant);
        match effect {
            Effect::SetFact {
                device,
                user_key,
                name,
                value,
            } => {
                let source = format!("plugin:{}", origin.name);
                difference.before = facts::value(tx, tenant, device, &user_key, &name).await?;
                if value.is_null() {
                    let gone = facts::take_away(tx, tenant, device, &user_key, &name).await?;
                    let body = json!({ "name": name, "source": source, "removed": true });
                    return Ok(gone.then_some((device, EventKind::FactSet, body)));
                }
                facts::set(tx, now, tenant, device, &user_key, &name, &value, &source).await?;
                let body = json!({ "name": name, "source": source });
                Ok(Some((device, EventKind::FactSet, body)))
            }
            Effect::Emit {
                device,
                topic,
                body,
            } => {
                let body = json!({ "topic": topic, "by": origin.name, "body": body });
                Ok(Some((device, EventKind::Emitted, body)))
            }
            Effect::Keep {
                schema,
                quota,
                key,
                value,
            } => {
                let place = values::Place {
                    tenant,
                    plugin: origin.name,
                    schema,
                };
                let before = values::get(tx, place, &key).await?;
                difference.before = before.map(|value| json!({ "bytes": value.len() }));
                match value {
                    Some(value) => values::put(tx, now, place, quota, &key, value).await?,
                    None => values::forget(tx, place, &key).await?,
                }
                Ok(None)
            }
            Effect::Notify { severity, text } => {
                tracing::warn!(
                    hook.name = origin.name,
                    severity,
                    "a plugin tells the administrators something"
                );
                let id = self.store().random().uuid(now);
                values::notice(tx, now, id, tenant, origin.name, &severity, &text).await?;
                Ok(None)
            }
            Effect::Schedule { job, at } => {
                values::schedule(tx, tenant, origin.name, &job, at.max(now)).await?;
                Ok(None)
            }
            // The caller has prepared these.
            Effect::Wake { .. } | Effect::Enqueue { .. } => {
                Err(Error::internal("applying an effect", "it was not prepared"))
            }
        }
    }

    /// The enrollment that an effect means, if it is one of this tenant.
    async fn enabled(&self, tenant: TenantId, channel: &Channel) -> Result<Option<EnrollmentId>> {
        let (device, user_key) = match channel {
            Channel::Enrollment(enrollment) => return Ok(Some(*enrollment)),
            Channel::Of { device, user_key } => (*device, user_key),
        };
        let mut tx = self.store().begin_read().await?;
        let found = queue::enabled_channel(&mut tx, tenant, device, user_key).await?;
        tx.rollback().await?;
        Ok(found)
    }
}

fn not_enrolled(origin: &Origin<'_>, channel: &Channel) -> Ready {
    tracing::info!(
        hook.name = origin.name,
        ?channel,
        "an effect names a channel that is not enrolled; it is left out"
    );
    Ready::Nothing("the channel is not enrolled".into())
}

/// An effect as an administrator may see it: names, no values that a plugin keeps to itself.
fn shown(effect: &Effect) -> Value {
    let channel = |channel: &Channel| match channel {
        Channel::Enrollment(id) => json!({ "enrollment": id }),
        Channel::Of { device, user_key } => json!({ "device": device, "user": user_key }),
    };
    match effect {
        Effect::Enqueue {
            channel: to,
            command,
            reason,
            ..
        } => {
            let command: serde_json::Map<String, Value> = command
                .iter()
                .map(|(key, value)| (key.clone(), crate::json_from_plist(value)))
                .collect();
            json!({ "enqueue": { "to": channel(to), "command": command, "reason": reason } })
        }
        Effect::SetFact {
            device,
            user_key,
            name,
            value,
        } => {
            json!({ "set-fact": { "device": device, "user": user_key, "name": name, "value": value } })
        }
        Effect::Emit {
            device,
            topic,
            body,
        } => json!({ "emit": { "device": device, "topic": topic, "body": body } }),
        Effect::Wake { channel: to } => json!({ "wake": channel(to) }),
        Effect::Keep { key, value, .. } => {
            json!({ "keep": { "key": key, "bytes": value.as_ref().map(Vec::len) } })
        }
        Effect::Notify { severity, text } => {
            json!({ "notify": { "severity": severity, "text": text } })
        }
        Effect::Schedule { job, at } => {
            json!({ "schedule": { "job": job, "at": crate::admin::Instant(*at) } })
        }
    }
}
