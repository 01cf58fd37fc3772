//! Observers: events out of the outbox, effects back in.
//!
//! Owns: the delivery of events to observing hooks (at least once, in order per device) and the commit of their
//! effects in one transaction with the progress, so that a killed call leaves nothing behind and a repeated one does
//! nothing twice.

use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::commands::Prepared;
use super::{CommandBody, Engine, Enqueue};
use crate::actor::{Actor, ActorKind, Cause};
use crate::clock::{HOUR, Micros, SECOND};
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, NewEvent};
use crate::hooks::{
    Channel, Effect, EventObserver, HookError, KeyedEffect, OBSERVER_BUDGET, Watching,
};
use crate::ids::{DeviceId, EnrollmentId, TenantId};
use crate::store::outbox::{self, Waiting};
use crate::store::{events, facts, push, queue};

/// Events handed to an observer at once.
const BATCH: i64 = 64;
/// After so many failures an event is put aside.
const MAX_ATTEMPTS: i64 = 12;
/// A chain of effects that cause effects is cut here.
const MAX_DEPTH: u32 = 3;

impl Engine {
    /// Serves everyone who watches, as the table of hooks changes, until the engine stops.
    pub(super) async fn observe_all(&self) {
        let mut changes = self.shared().hooks.changes();
        let mut served: Vec<(Watching, CancellationToken, JoinHandle<()>)> = Vec::new();
        loop {
            changes.mark_unchanged();
            let wanted = self.shared().hooks.observers();
            let (kept, gone): (Vec<_>, Vec<_>) = served
                .into_iter()
                .partition(|(old, ..)| wanted.iter().any(|new| same(old, new)));
            served = kept;
            for (_, stop, task) in gone {
                stop.cancel();
                // What it has in hand is committed or not before another may take it up.
                let _ = task.await;
            }
            for watching in wanted {
                if served.iter().any(|(old, ..)| same(old, &watching)) {
                    continue;
                }
                let stop = self.0.cancel.child_token();
                let (engine, own, until) = (self.clone(), watching.clone(), stop.clone());
                let task = tokio::spawn(async move { engine.observe(&own, until).await });
                served.push((watching, stop, task));
            }
            tokio::select! {
                () = self.0.cancel.cancelled() => break,
                Ok(()) = changes.changed() => {}
            }
        }
        for (.., task) in served {
            let _ = task.await;
        }
    }

    /// Serves one observer until it is told to stop.
    async fn observe(&self, watching: &Watching, stop: CancellationToken) {
        let observer = &watching.observer;
        let mut wake = self.shared().wake_observers.subscribe();
        loop {
            wake.mark_unchanged();
            let worked = match self.observe_once(observer, watching.tenant).await {
                Ok(worked) => worked,
                Err(error) => {
                    tracing::warn!(hook.name = observer.name(), error = %error, "events wait for an observer");
                    false
                }
            };
            if stop.is_cancelled() {
                return;
            }
            if !worked {
                tokio::select! {
                    () = stop.cancelled() => return,
                    Ok(()) = wake.changed() => {}
                    () = tokio::time::sleep(self.0.options.poll_interval) => {}
                }
            }
        }
    }

    /// Handles what waits for one device; says whether there was anything.
    async fn observe_once(
        &self,
        observer: &Arc<dyn EventObserver>,
        tenant: Option<TenantId>,
    ) -> Result<bool> {
        let mut tx = self.store().begin_read().await?;
        let waiting = outbox::next(&mut tx, observer.name(), tenant, self.now(), BATCH).await?;
        tx.rollback().await?;
        let Some(first) = waiting.first() else {
            return Ok(false);
        };
        let (tenant, device) = (first.event.tenant_id, first.event.device_id);
        let wanted: Vec<Event> = waiting
            .iter()
            .map(|waiting| waiting.event.clone())
            .filter(|event| observer.wants(event.kind))
            .collect();
        let attempt = u32::try_from(first.attempts + 1).unwrap_or(u32::MAX);
        let effects = if wanted.is_empty() {
            Ok(Vec::new())
        } else {
            tokio::time::timeout(
                OBSERVER_BUDGET,
                observer.on_events(self.now(), attempt, &wanted),
            )
            .await
            .unwrap_or(Err(HookError::Budget))
        };
        let outcome = match effects {
            Ok(effects) => {
                self.commit_effects(observer, tenant, device, &waiting, effects)
                    .await
            }
            Err(error) => Err(Error::internal("an observer", error)),
        };
        if let Err(error) = outcome {
            self.postpone(observer, &waiting, &error).await?;
        }
        Ok(true)
    }

    async fn commit_effects(
        &self,
        observer: &Arc<dyn EventObserver>,
        tenant: TenantId,
        device: DeviceId,
        waiting: &[Waiting],
        effects: Vec<KeyedEffect>,
    ) -> Result<()> {
        let depth = waiting.iter().map(|w| w.depth).max().unwrap_or(0) + 1;
        let actor = Actor {
            kind: ActorKind::Plugin,
            id: observer.principal().map(|id| id.0),
        };
        let cause = Cause {
            id: Some(self.store().random().uuid(self.now())),
            depth,
        };
        let cut = depth > MAX_DEPTH && !effects.is_empty();
        if cut {
            tracing::warn!(
                hook.name = observer.name(),
                depth,
                "a chain of effects was cut"
            );
        }
        // Commands are read and judged before the transaction opens.
        let mut prepared: Vec<(String, Ready)> = Vec::new();
        for KeyedEffect { key, effect } in effects.into_iter().filter(|_| !cut) {
            let ready = match effect {
                Effect::Enqueue {
                    channel,
                    not_after,
                    reason,
                    command,
                } => {
                    let Some(enrollment) = self.enabled(tenant, &channel).await? else {
                        tracing::info!(
                            hook.name = observer.name(),
                            ?channel,
                            "an effect names a channel that is not enrolled; it is left out"
                        );
                        continue;
                    };
                    let mut request =
                        Enqueue::new(CommandBody::Dictionary(command), vec![enrollment]);
                    request.not_after = not_after;
                    request.reason = Some(reason).filter(|reason| !reason.is_empty());
                    Ready::Command(Box::new(self.prepare(tenant, actor, cause, request).await?))
                }
                Effect::Wake { channel } => match self.enabled(tenant, &channel).await? {
                    Some(enrollment) => Ready::Wake(enrollment),
                    None => continue,
                },
                other => Ready::Other(other),
            };
            prepared.push((format!("effect:{}:{key}", observer.name()), ready));
        }
        let mut tx = self.store().begin().await?;
        let mut locked: Vec<DeviceId> = vec![device];
        locked.extend(prepared.iter().filter_map(|(_, ready)| ready.device()));
        for id in prepared.iter().filter_map(|(_, ready)| ready.enrollment()) {
            if let Some(target) = queue::targets(&mut tx, tenant, &[id]).await?.remove(&id) {
                locked.push(target.device);
            }
        }
        // All locks at once and in order, so that no two transactions wait for each other.
        events::lock_heads(&mut tx, locked).await?;
        if !outbox::consume(&mut tx, observer.name(), waiting).await? {
            // Another node has handled them.
            return tx.rollback().await;
        }
        let mut written = Vec::new();
        for (key, ready) in prepared {
            if queue::idempotent(&mut tx, tenant, &key).await?.is_some() {
                continue;
            }
            queue::remember(&mut tx, self.now(), tenant, &key, &[], "{}").await?;
            match ready {
                Ready::Command(prepared) => written.extend(self.write(&mut tx, &prepared).await?.1),
                Ready::Wake(enrollment) => {
                    push::mark_due(&mut tx, self.now(), &[enrollment]).await?;
                }
                Ready::Other(effect) => {
                    let told = self.apply(&mut tx, observer.name(), tenant, effect).await?;
                    let told = told
                        .into_iter()
                        .map(|event| NewEvent {
                            actor,
                            cause,
                            ..event
                        })
                        .collect();
                    written.extend(
                        events::append(&mut tx, self.now(), told, &self.shared().hooks).await?,
                    );
                }
            }
        }
        tx.commit().await?;
        self.announce(written);
        (self.shared().wake_push)();
        Ok(())
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

    async fn apply(
        &self,
        tx: &mut crate::store::sql::Tx,
        observer: &str,
        tenant: TenantId,
        effect: Effect,
    ) -> Result<Vec<NewEvent>> {
        let event = |device, kind, body| NewEvent {
            tenant,
            device,
            enrollment: None,
            kind,
            command: None,
            actor: Actor::SYSTEM,
            cause: Cause::default(),
            body,
        };
        Ok(match effect {
            Effect::SetFact {
                device,
                user_key,
                name,
                value,
            } => {
                let source = format!("plugin:{observer}");
                if value.is_null() {
                    if !facts::take_away(tx, tenant, device, &user_key, &name).await? {
                        return Ok(Vec::new());
                    }
                    let body = json!({ "name": name, "source": source, "removed": true });
                    return Ok(vec![event(device, EventKind::FactSet, body)]);
                }
                facts::set(
                    tx,
                    self.now(),
                    tenant,
                    device,
                    &user_key,
                    &name,
                    &value,
                    &source,
                )
                .await?;
                vec![event(
                    device,
                    EventKind::FactSet,
                    json!({ "name": name, "source": source }),
                )]
            }
            Effect::Emit {
                device,
                topic,
                body,
            } => {
                vec![event(
                    device,
                    EventKind::Emitted,
                    json!({ "topic": topic, "by": observer, "body": body }),
                )]
            }
            // The caller has prepared these.
            Effect::Wake { .. } | Effect::Enqueue { .. } => Vec::new(),
        })
    }

    async fn postpone(
        &self,
        observer: &Arc<dyn EventObserver>,
        waiting: &[Waiting],
        error: &Error,
    ) -> Result<()> {
        let attempts = waiting.first().map_or(0, |first| first.attempts) + 1;
        let text =
            std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        tracing::warn!(hook.name = observer.name(), attempts, error = %text, "an observer failed");
        metrics::counter!("pomona_hook_failures_total", "hook" => "events").increment(1);
        let mut tx = self.store().begin().await?;
        let due = self.now() + backoff(attempts);
        outbox::postpone(
            &mut tx,
            observer.name(),
            waiting,
            due,
            &text,
            attempts >= MAX_ATTEMPTS,
        )
        .await?;
        tx.commit().await
    }
}

/// Whether an observer is the very same, for the same tenant.
fn same(left: &Watching, right: &Watching) -> bool {
    left.tenant == right.tenant
        && std::ptr::addr_eq(Arc::as_ptr(&left.observer), Arc::as_ptr(&right.observer))
}

enum Ready {
    Command(Box<Prepared>),
    Wake(EnrollmentId),
    Other(Effect),
}

impl Ready {
    fn device(&self) -> Option<DeviceId> {
        match self {
            Self::Other(Effect::SetFact { device, .. } | Effect::Emit { device, .. }) => {
                Some(*device)
            }
            _ => None,
        }
    }

    fn enrollment(&self) -> Option<EnrollmentId> {
        match self {
            Self::Command(prepared) => prepared.first_target(),
            Self::Wake(enrollment) => Some(*enrollment),
            Self::Other(_) => None,
        }
    }
}

/// One second, then twice as long each time, an hour at most.
fn backoff(attempts: i64) -> Micros {
    let doubled = u32::try_from(attempts.clamp(1, 20) - 1).unwrap_or(0);
    (SECOND << doubled).min(HOUR)
}
