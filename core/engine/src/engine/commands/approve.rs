//! Letting destructive commands go.
//!
//! Owns: that a second person does it, with its events and its push. What is destructive is a rule of `queue`; that such commands leave one by one is the
//! writer's business.

use serde::Serialize;
use serde_json::json;

use super::super::Engine;
use crate::actor::{Actor, ActorKind, Cause};
use crate::admin::AuditEntry;
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::ids::{CommandId, EnrollmentId, TenantId, TokenId};
use crate::store::queue as rows;
use crate::store::{admin_audit, brake, events, push};

/// Where a command may go now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Approved {
    /// The channels on which the brake held it, or would have.
    pub enrollments: Vec<EnrollmentId>,
}

impl Engine {
    /// Lets a destructive command go past the brake (A4). Who has sent it cannot do that, and both tokens, the one that sent it and this one,
    /// are at least a day old.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the tenant has no such command; [`Error::Conflict`] for who has sent it, for a token that is too young, and
    /// when the brake counts it nowhere.
    pub async fn approve(
        &self,
        tenant: TenantId,
        actor: Actor,
        token: TokenId,
        command: CommandId,
    ) -> Result<Approved> {
        let mut tx = self.store().begin().await?;
        let Some((sender, approvable)) = rows::sender(&mut tx, tenant, command).await? else {
            return Err(Error::NotFound("the command"));
        };
        if actor.kind != ActorKind::Person || actor.id.is_none() || actor.id == sender {
            return Err(Error::Conflict(
                "a second person must let this command go, not the one who has sent it".into(),
            ));
        }
        let now = self.now();
        if !brake::seasoned(&mut tx, now, token).await? {
            return Err(Error::Conflict(
                "a token lets such commands go from 24 hours after it was made".into(),
            ));
        }
        if !approvable {
            return Err(Error::Conflict(
                "only what a person has sent with a token that was 24 hours old can be let go; it leaves when its turn comes".into(),
            ));
        }
        let open = rows::open_of_command(&mut tx, tenant, command).await?;
        let mut heads =
            events::lock_heads(&mut tx, open.iter().map(|(device, _, _)| *device)).await?;
        let let_go = brake::approve(&mut tx, tenant, command).await?;
        if let_go.is_empty() {
            return Err(Error::Conflict(
                "the command is not destructive, or has left already".into(),
            ));
        }
        let enrollments: Vec<EnrollmentId> = let_go.iter().map(|(_, channel)| *channel).collect();
        let told = let_go.into_iter().map(|(device, enrollment)| NewEvent {
            tenant,
            device,
            enrollment: Some(enrollment),
            kind: EventKind::CommandApproved,
            command: Some(command),
            actor,
            cause: Cause::default(),
            body: json!({}),
        });
        let readers = &self.shared().hooks;
        let written =
            events::append_locked(&mut tx, now, &mut heads, told.collect(), readers).await?;
        push::mark_due(&mut tx, now, &enrollments).await?;
        let entry = AuditEntry {
            tenant: Some(tenant),
            actor,
            action: "command.approve",
            target: command.to_string(),
            details: json!({ "channels": enrollments.len() }),
        };
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await?;
        self.announce(written);
        (self.shared().wake_push)();
        Ok(Approved { enrollments })
    }
}
