//! What hooks say of a command while it is queued.
//!
//! Owns: asking them about each channel, with no transaction open, and that what they allow is remembered once the command is queued
//! for good. What they say before a sending is asked for in `engine/device`.

use super::super::Engine;
use super::{Enqueued, Prepared, SNAPSHOTS};
use crate::error::Result;
use crate::hooks::{CommandDraft, CommandVerdict, DeviceSnapshot, Stage};
use crate::ids::EnrollmentId;
use crate::store::queue as rows;
use crate::store::snapshot;
use crate::writer::Allowed;

impl Engine {
    /// Asks the validating hooks, target by target.
    pub(super) async fn judge_targets(
        &self,
        prepared: &mut Prepared,
        command: plist::Dictionary,
    ) -> Result<()> {
        let hooks = self.shared().hooks.of(prepared.tenant);
        let asked = hooks
            .validate
            .iter()
            .any(|hook| hook.matches(&prepared.request_type, Stage::Enqueue));
        if prepared.request.break_glass || !asked {
            return Ok(());
        }
        let mut tx = self.store().begin_read().await?;
        let targets = rows::targets(&mut tx, prepared.tenant, &prepared.request.targets).await?;
        tx.rollback().await?;
        let draft = CommandDraft {
            request_type: prepared.request_type.clone(),
            command,
            actor: prepared.actor.kind,
            kinds: None,
        };
        // What the catalogue refuses is refused, whatever they would say.
        let mut channels: Vec<EnrollmentId> = targets.into_keys().collect();
        channels.retain(|channel| !prepared.refused.contains_key(channel));
        for some in channels.chunks(SNAPSHOTS) {
            let mut tx = self.store().begin_read().await?;
            let devices = snapshot::read_all(&mut tx, prepared.tenant, some).await?;
            tx.rollback().await?;
            for (channel, device) in devices {
                self.judge_target(prepared, channel, &device, &draft).await;
            }
        }
        Ok(())
    }

    async fn judge_target(
        &self,
        prepared: &mut Prepared,
        channel: EnrollmentId,
        device: &DeviceSnapshot,
        draft: &CommandDraft,
    ) {
        let (hooks, judges) = self.shared().hooks.judging(prepared.tenant);
        let now = self.now();
        match hooks.validate(Stage::Enqueue, now, device, draft).await {
            CommandVerdict::Allow { valid_until } if hooks.judges_early(&draft.request_type) => {
                let allowed = Allowed {
                    device_revision: device.revision,
                    judges,
                    said_at: now,
                    until: valid_until,
                };
                prepared.allowed.insert(channel, allowed);
            }
            CommandVerdict::Allow { .. } => {}
            CommandVerdict::Veto(reason) => {
                prepared.refused.insert(channel, reason);
            }
            CommandVerdict::Defer(until, reason) => {
                prepared.deferred.insert(channel, (until, reason));
            }
        }
    }

    /// What hooks have allowed need not be asked again before it goes. To be told when the command is queued for good.
    pub(super) fn remember_allowed(&self, prepared: &Prepared, enqueued: &Enqueued) {
        let accepted = enqueued.targets.iter().filter(|target| target.accepted);
        for channel in accepted.map(|target| target.enrollment_id) {
            if let Some(allowed) = prepared.allowed.get(&channel) {
                let remembered = &self.shared().allowed;
                remembered.remember(channel, enqueued.command_id, *allowed);
            }
        }
    }
}
