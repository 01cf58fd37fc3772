//! Asking devices what they are, on schedule.
//!
//! Owns: whom is asked when. What is asked is for `inventory::questions`, what is made of the answers for `inventory`. A reconciler without input; a
//! batch in each round, so that a large fleet is asked one after the other. A question that a device has not fetched by the next one's time
//! expires, so that nothing piles up for a device that is off.

use std::collections::{BTreeMap, HashMap};

use super::{CommandBody, Engine, Enqueue};
use crate::actor::{Actor, Cause};
use crate::clock::{MINUTE, Micros};
use crate::error::Result;
use crate::ids::{EnrollmentId, TenantId};
use crate::inventory::questions;
use crate::judged;
use crate::store::{rounds, snapshot};

/// Channels in a round.
const BATCH: i64 = 250;
/// When a device is asked first, after it has become enabled: what plugins and profiles send comes before.
const FIRST: Micros = 10 * MINUTE;
/// When channels are due again whose questions could not be queued.
const LEASE: Micros = 15 * MINUTE;
/// Behind what anybody else sends.
const PRIORITY: i64 = -50;

impl Engine {
    /// Asks the devices that are due; says how many.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database does not answer.
    pub async fn ask_due(&self) -> Result<usize> {
        let Some(every) = self.0.options.inventory_every else {
            return Ok(0);
        };
        let now = self.now();
        let mut tx = self.store().begin().await?;
        rounds::enter(&mut tx, FIRST.min(every), BATCH).await?;
        let due = rounds::claim(&mut tx, now, now + LEASE.min(every), BATCH).await?;
        tx.commit().await?;
        let count = due.len();
        let mut tenants: BTreeMap<TenantId, Vec<EnrollmentId>> = BTreeMap::new();
        for (tenant, channel) in due {
            tenants.entry(tenant).or_default().push(channel);
        }
        for (tenant, channels) in tenants {
            self.ask(tenant, &channels, now + every).await?;
        }
        Ok(count)
    }

    async fn ask(&self, tenant: TenantId, channels: &[EnrollmentId], again: Micros) -> Result<()> {
        let mut tx = self.store().begin_read().await?;
        let devices = snapshot::read_all(&mut tx, tenant, channels).await?;
        tx.rollback().await?;
        // A fleet has few kinds of devices: each has one list of questions.
        let mut kinds: HashMap<_, Vec<EnrollmentId>> = HashMap::new();
        for (channel, device) in devices {
            let target = judged::target(&judged::footing(&device));
            kinds
                .entry((target, device.user_enrollment))
                .or_default()
                .push(channel);
        }
        for ((target, user_enrollment), mut channels) in kinds {
            channels.sort_unstable();
            for command in questions(target.as_ref(), user_enrollment) {
                let body = CommandBody::Dictionary(command);
                let mut request = Enqueue::new(body, channels.clone());
                request.priority = PRIORITY;
                request.not_after = Some(again);
                request.reason = Some("devices are asked on schedule what they are".into());
                self.enqueue(tenant, Actor::SYSTEM, Cause::default(), request)
                    .await?;
            }
        }
        let mut tx = self.store().begin().await?;
        rounds::asked(&mut tx, again, channels).await?;
        tx.commit().await
    }
}
