//! What hooks may look up in the middle of a call.
//!
//! Owns: reading devices and their history for one tenant. Changes nothing, and knows no plugin: who may see what of the answer
//! is the host's business.

use serde_json::Value;

use super::Engine;
use crate::admin::EventView;
use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::hooks::DeviceSnapshot;
use crate::ids::{DeviceId, TenantId};
use crate::store::snapshot;

/// Own events of a device among which those of one topic are looked for.
const LOOKED_AT: u64 = 500;

impl Engine {
    /// An enrolled device of a tenant, by its device channel.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the tenant has no such device or it is not enrolled.
    pub async fn look_at(&self, tenant: TenantId, device: DeviceId) -> Result<DeviceSnapshot> {
        let enrollment = self
            .device_channel(tenant, device)
            .await?
            .ok_or(Error::NotFound("the device"))?;
        let mut tx = self.store().begin_read().await?;
        let found = snapshot::read(&mut tx, tenant, enrollment).await?;
        tx.rollback().await?;
        Ok(found)
    }

    /// Enrolled devices of a tenant, of this group if one is named, after this device, in the order of their ids.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn look_for(
        &self,
        tenant: TenantId,
        group: Option<&str>,
        after: Option<DeviceId>,
        limit: u32,
    ) -> Result<Vec<DeviceSnapshot>> {
        let mut tx = self.store().begin_read().await?;
        let found = snapshot::enrolled(&mut tx, tenant, group, after, limit).await?;
        let channels: Vec<_> = found.into_iter().map(|(_, channel)| channel).collect();
        let mut all = snapshot::read_all(&mut tx, tenant, &channels).await?;
        tx.rollback().await?;
        Ok(channels
            .iter()
            .filter_map(|channel| all.remove(channel))
            .collect())
    }

    /// The newest events of a device of this kind, or, where the word is none, of this topic that a plugin emitted.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the tenant has no such device.
    pub async fn look_back(
        &self,
        tenant: TenantId,
        device: DeviceId,
        topic: &str,
        limit: u32,
    ) -> Result<Vec<Value>> {
        let store = self.store();
        let device = crate::admin::devices::find_device(store, tenant, &device.to_string()).await?;
        let limit = u64::from(limit);
        let events = match EventKind::from_word(topic) {
            Some(kind) => {
                store
                    .device_events(device, &[kind], None, true, limit)
                    .await?
            }
            None => {
                let all = store
                    .device_events(device, &[EventKind::Emitted], None, true, LOOKED_AT)
                    .await?;
                let ours = |event: &EventView| event.body["topic"] == topic;
                all.into_iter()
                    .filter(ours)
                    .take(usize::try_from(limit).unwrap_or(usize::MAX))
                    .collect()
            }
        };
        events
            .iter()
            .map(|event| {
                serde_json::to_value(event)
                    .map_err(|error| Error::internal("writing an event", error))
            })
            .collect()
    }
}
