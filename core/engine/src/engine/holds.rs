//! Commands that hooks hold back, once other hooks judge.
//!
//! Owns: that a command is not held until a time which somebody gave who has no say any more. Where one of the hooks that judge commands in a
//! tenant goes or is replaced, what is held there waits no longer than its sender wished; who judges now is asked before it is sent. Only nodes
//! that have seen the hooks of before do it: it may happen twice, which asks twice. In the flow: `hooks::table` -> here -> `store::queue`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Engine;
use crate::clock::Micros;
use crate::error::Result;
use crate::hooks::lost_judge;
use crate::ids::{EnrollmentId, TenantId};
use crate::store::{events, push, queue};

/// Deliveries that are released in one transaction.
const BATCH: i64 = 200;

impl Engine {
    /// Watches who judges, until the engine stops.
    pub(super) async fn release_holds(&self) {
        let hooks = &self.shared().hooks;
        let mut changes = hooks.changes();
        let mut known: HashMap<_, _> = hooks.tenants().into_iter().collect();
        let mut waiting: BTreeSet<TenantId> = BTreeSet::new();
        loop {
            let again = tokio::time::sleep(self.0.options.poll_interval);
            tokio::select! {
                () = self.0.cancel.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = again, if !waiting.is_empty() => {}
            }
            let present: HashMap<_, _> = hooks.tenants().into_iter().collect();
            for (tenant, before) in &known {
                // One more who judges changes nothing of what the others hold.
                if lost_judge(before, present.get(tenant).map(AsRef::as_ref)) {
                    waiting.insert(*tenant);
                }
            }
            known = present;
            for tenant in std::mem::take(&mut waiting) {
                if let Err(error) = self.release_held(tenant).await {
                    tracing::warn!(tenant.id = %tenant, %error, "commands that nobody holds any more could not be released; tried again");
                    waiting.insert(tenant);
                }
            }
        }
    }

    /// Lets what hooks hold back in a tenant go when its sender wished, and rings the devices.
    async fn release_held(&self, tenant: TenantId) -> Result<()> {
        let mut past = (EnrollmentId(uuid::Uuid::nil()), 0);
        loop {
            let now = self.now();
            let mut tx = self.store().begin_read().await?;
            let held = queue::held(&mut tx, tenant, now, past, BATCH).await?;
            tx.rollback().await?;
            let Some(last) = held.last() else {
                return Ok(());
            };
            past = (last.enrollment, last.seq);
            let mut tx = self.store().begin().await?;
            events::lock_heads(&mut tx, held.iter().map(|one| one.device)).await?;
            // Looked at again under the lock: a device may have come meanwhile.
            let released = queue::release(&mut tx, now, &held).await?;
            let mut due: BTreeMap<Micros, Vec<EnrollmentId>> = BTreeMap::new();
            for one in &held {
                let channels = due.entry(now.max(one.wished)).or_default();
                channels.push(one.enrollment);
            }
            for (at, mut channels) in due {
                // They come in order.
                channels.dedup();
                push::mark_due(&mut tx, at, &channels).await?;
            }
            tx.commit().await?;
            if released > 0 {
                (self.shared().wake_push)();
            }
        }
    }
}
