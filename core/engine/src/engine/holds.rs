//! Commands that hooks hold back, once other hooks judge.
//!
//! Owns: that a command is not held until a time which somebody gave who has no say any more. Where one of the hooks that judge commands in a
//! tenant goes or is replaced, what is held there waits no longer than its sender wished; who judges now is asked before it is sent. Only nodes
//! that have seen the hooks of before do it: it may happen twice, which asks twice. In the flow: `hooks::table` -> here -> `store::queue`.

use std::collections::{BTreeSet, HashMap};

use super::Engine;
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

    /// Lets what hooks hold back in a tenant go at the time that its sender wished, and rings the devices. Returns how much it was.
    async fn release_held(&self, tenant: TenantId) -> Result<u64> {
        let mut released = 0;
        loop {
            let mut tx = self.store().begin().await?;
            let now = self.now();
            let held = queue::held(&mut tx, tenant, now, BATCH).await?;
            let devices = held.iter().map(|(device, ..)| *device);
            events::lock_heads(&mut tx, devices).await?;
            let places: Vec<(EnrollmentId, i64)> = held
                .iter()
                .map(|(_, enrollment, seq)| (*enrollment, *seq))
                .collect();
            // Looked at again under the lock: a device may have come meanwhile.
            let freed = queue::release(&mut tx, now, &places).await?;
            let channels: BTreeSet<EnrollmentId> =
                places.iter().map(|(enrollment, _)| *enrollment).collect();
            push::mark_due(&mut tx, now, &channels.into_iter().collect::<Vec<_>>()).await?;
            tx.commit().await?;
            released += freed;
            if freed > 0 {
                (self.shared().wake_push)();
            }
            if freed == 0 || i64::try_from(held.len()).is_ok_and(|found| found < BATCH) {
                return Ok(released);
            }
        }
    }
}
