//! Observers: events out of the outbox, effects back in.
//!
//! Owns: the delivery of events to observing hooks, at least once and in order per device, and their progress, which is committed
//! together with the effects. What an effect does is for `effects`.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::effects::{Difference, Origin};
use crate::clock::{HOUR, Micros, SECOND};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::hooks::{EventObserver, HookError, KeyedEffect, OBSERVER_BUDGET, Occasion, Watching};
use crate::ids::{DeviceId, TenantId};
use crate::store::outbox::{self, Waiting};

/// Events handed to an observer at once.
const BATCH: i64 = 64;
/// After so many failures an event is put aside.
const MAX_ATTEMPTS: i64 = 12;

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
                observer.on_events(
                    Occasion {
                        now: self.now(),
                        attempt,
                        dry_run: false,
                    },
                    &wanted,
                ),
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
        let origin = Origin {
            tenant,
            name: observer.name(),
            principal: observer.principal(),
            depth: waiting.iter().map(|w| w.depth).max().unwrap_or(0) + 1,
        };
        let prepared = self.prepare_effects(&origin, effects).await?;
        let mut tx = self.store().begin().await?;
        self.lock_for(&mut tx, tenant, &prepared, Some(device))
            .await?;
        if !outbox::consume(&mut tx, observer.name(), waiting).await? {
            // Another node has handled them.
            return tx.rollback().await;
        }
        let done = self.apply_effects(&mut tx, &origin, prepared).await?;
        tx.commit().await?;
        self.announce(done.events);
        (self.shared().wake_push)();
        Ok(())
    }

    /// What an observer would do about the last events of a device, without doing it.
    pub(crate) async fn rehearse_events(
        &self,
        observer: &Arc<dyn EventObserver>,
        tenant: TenantId,
        device: DeviceId,
        batch: &[Event],
    ) -> Result<Vec<Difference>> {
        let wanted: Vec<Event> = batch
            .iter()
            .filter(|event| observer.wants(event.kind))
            .cloned()
            .collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let occasion = Occasion {
            now: self.now(),
            attempt: 1,
            dry_run: true,
        };
        let effects = tokio::time::timeout(OBSERVER_BUDGET, observer.on_events(occasion, &wanted))
            .await
            .unwrap_or(Err(HookError::Budget))
            .map_err(|error| Error::Conflict(format!("the plugin gives no answer: {error}")))?;
        let origin = Origin {
            tenant,
            name: observer.name(),
            principal: observer.principal(),
            depth: 1,
        };
        self.rehearse(&origin, Some(device), effects).await
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

/// One second, then twice as long each time, an hour at most.
fn backoff(attempts: i64) -> Micros {
    let doubled = u32::try_from(attempts.clamp(1, 20) - 1).unwrap_or(0);
    (SECOND << doubled).min(HOUR)
}
