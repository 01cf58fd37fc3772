//! Cancelling commands.
//!
//! Owns: that a command leaves every channel where it is open, with its events, and frees those that wait for it. What cancelling
//! does to a delivery is a rule of `queue`.

use serde::Serialize;
use serde_json::json;

use super::super::Engine;
use crate::actor::{Actor, Cause};
use crate::admin::AuditEntry;
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::ids::{CommandId, EnrollmentId, TenantId};
use crate::queue::{self, Disposition};
use crate::store::hot::{self, Leaving};
use crate::store::queue as rows;
use crate::store::sql::Batch;
use crate::store::{admin_audit, events, push};

/// What became of a cancellation on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Cancelled {
    /// The channel.
    pub enrollment_id: EnrollmentId,
    /// `cancelled`: the device will never get it (again). `withdrawn`: it is not sent again, the device may have
    /// run it. `already_finished`: there was nothing left to cancel.
    pub disposition: &'static str,
}

impl Engine {
    /// Cancels a command on all channels where it is open, or on some of them (Q10).
    ///
    /// # Errors
    /// [`Error::NotFound`] when the tenant has no such command.
    pub async fn cancel(
        &self,
        tenant: TenantId,
        actor: Actor,
        command: CommandId,
        only: Option<Vec<EnrollmentId>>,
    ) -> Result<Vec<Cancelled>> {
        let mut tx = self.store().begin().await?;
        if !rows::command_exists(&mut tx, tenant, command).await? {
            return Err(Error::NotFound("the command"));
        }
        let wanted =
            |enrollment: &EnrollmentId| only.as_ref().is_none_or(|only| only.contains(enrollment));
        let open = rows::open_of_command(&mut tx, tenant, command).await?;
        let mut heads =
            events::lock_heads(&mut tx, open.iter().map(|(device, _, _)| *device)).await?;
        let now = self.now();
        let mut done = Vec::new();
        let mut leaving = Vec::new();
        let mut told = Vec::new();
        for (device, enrollment, seq) in open {
            if !wanted(&enrollment) {
                continue;
            }
            // Read again under the lock: the device may have reported meanwhile.
            let Some(delivery) = rows::one_open(&mut tx, enrollment, seq).await? else {
                continue;
            };
            let cancellation = queue::cancel(&delivery.open);
            let disposition = cancellation.disposition();
            rows::forget_sent(&mut tx, enrollment, seq).await?;
            let kind = match disposition {
                Disposition::Withdrawn => EventKind::CommandWithdrawn,
                _ => EventKind::CommandCancelled,
            };
            told.push(NewEvent {
                tenant,
                device,
                enrollment: Some(enrollment),
                kind,
                command: Some(command),
                actor,
                cause: Cause::default(),
                body: json!({
                    "command_uuid": delivery.command_uuid,
                    "request_type": delivery.open.request_type,
                    "reason": "cancelled by request",
                }),
            });
            leaving.push(Leaving {
                tenant,
                device,
                enrollment,
                delivery,
                disposition,
                reason: Some("cancelled by request".into()),
                outcome: None,
                report_hash: None,
                report_sealed: None,
                error_chain: None,
            });
            done.push(Cancelled {
                enrollment_id: enrollment,
                disposition: cancellation.as_str(),
            });
        }
        let left: Vec<(EnrollmentId, CommandId)> = leaving
            .iter()
            .map(|one| (one.enrollment, command))
            .collect();
        let mut batch = Batch::default();
        hot::finish(&mut batch, now, &leaving);
        tx.run(batch).await?;
        let freed = rows::successors(&mut tx, &left).await?;
        push::mark_due(&mut tx, now, &freed).await?;
        let written =
            events::append_locked(&mut tx, now, &mut heads, told, &self.shared().hooks).await?;
        if !done.is_empty() {
            let entry = AuditEntry {
                tenant: Some(tenant),
                actor,
                action: "command.cancel",
                target: command.to_string(),
                details: json!({ "channels": done.len() }),
            };
            admin_audit::append(&mut tx, now, entry).await?;
        }
        tx.commit().await?;
        self.announce(written);
        if !freed.is_empty() {
            (self.shared().wake_push)();
        }
        for enrollment in only.into_iter().flatten() {
            if !done.iter().any(|one| one.enrollment_id == enrollment) {
                done.push(Cancelled {
                    enrollment_id: enrollment,
                    disposition: "already_finished",
                });
            }
        }
        Ok(done)
    }
}
