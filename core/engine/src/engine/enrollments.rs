//! What an administrator does with an enrollment: release, refuse, remove.
//!
//! Owns: the administrative transitions, each in one transaction under the device's lock, with its actor. The rules of
//! what follows are the same as for check-ins (`writer::transitions`).

use serde_json::json;

use super::Engine;
use crate::actor::Actor;
use crate::admin::AuditEntry;
use crate::enrollment::EnrollmentState;
use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::ids::{DeviceId, EnrollmentId, TenantId};
use crate::store::sql::Tx;
use crate::store::{admin_audit, certificates, checkin, events};
use crate::writer::transitions::{self, Aftermath, Subject};

impl Engine {
    /// Releases an enrollment from quarantine: it takes the place of the device's former one (E4). If the device has not
    /// sent its `TokenUpdate` yet, that will complete it.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Conflict`] when it is not in quarantine.
    pub async fn release(
        &self,
        tenant: TenantId,
        actor: Actor,
        enrollment: EnrollmentId,
    ) -> Result<()> {
        let mut tx = self.store().begin().await?;
        let found = self.lock_quarantined(&mut tx, tenant, enrollment).await?;
        let (device, has_tokens, mut heads) = found;
        let subject = Subject {
            tenant,
            device,
            actor,
            now: self.now(),
        };
        let keys = self.store().keys(tenant).await?;
        let mut out = Aftermath::default();
        out.events.push(subject.event(
            enrollment,
            EventKind::Released,
            json!({ "complete": has_tokens }),
        ));
        let others = checkin::device_enrollments(&mut tx, device).await?;
        if has_tokens {
            transitions::enable_generation(
                &mut tx, &keys, subject, enrollment, None, &others, &mut out,
            )
            .await?;
            certificates::activate_pending(&mut tx, enrollment).await?;
        } else {
            for (other, state) in &others {
                if *state == EnrollmentState::Pending {
                    transitions::end(
                        &mut tx,
                        subject,
                        *other,
                        "replaced",
                        EventKind::Ended,
                        &mut out,
                    )
                    .await?;
                }
            }
            checkin::make_pending(&mut tx, enrollment).await?;
        }
        self.finish(
            tx,
            subject,
            Some(("enrollment.release", enrollment.to_string())),
            &mut heads,
            out,
        )
        .await
    }

    /// Refuses an enrollment that waits in quarantine: it ends, and its certificate with it.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub async fn refuse(
        &self,
        tenant: TenantId,
        actor: Actor,
        enrollment: EnrollmentId,
    ) -> Result<()> {
        let mut tx = self.store().begin().await?;
        let (device, _, mut heads) = self.lock_quarantined(&mut tx, tenant, enrollment).await?;
        let subject = Subject {
            tenant,
            device,
            actor,
            now: self.now(),
        };
        let mut out = Aftermath::default();
        transitions::end(
            &mut tx,
            subject,
            enrollment,
            "refused",
            EventKind::Ended,
            &mut out,
        )
        .await?;
        self.finish(
            tx,
            subject,
            Some(("enrollment.refuse", enrollment.to_string())),
            &mut heads,
            out,
        )
        .await
    }

    /// Removes a device: all its enrollments end and their certificates are refused for ever (E7). The device keeps
    /// its profile until somebody removes it there; whatever it sends is refused.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Conflict`] when nothing of it is enrolled.
    pub async fn remove(
        &self,
        tenant: TenantId,
        actor: Actor,
        device: DeviceId,
        reason: &str,
    ) -> Result<()> {
        let mut tx = self.store().begin().await?;
        let mut heads = events::lock_heads(&mut tx, [device]).await?;
        if !checkin::device_exists(&mut tx, tenant, device).await? {
            return Err(Error::NotFound("the device"));
        }
        let subject = Subject {
            tenant,
            device,
            actor,
            now: self.now(),
        };
        let mut out = Aftermath::default();
        let current: Vec<_> = checkin::device_enrollments(&mut tx, device)
            .await?
            .into_iter()
            .filter(|(_, state)| *state != EnrollmentState::Ended)
            .collect();
        if current.is_empty() {
            return Err(Error::Conflict(
                "the device has no enrollment to remove".into(),
            ));
        }
        for (enrollment, _) in current {
            transitions::end(
                &mut tx,
                subject,
                enrollment,
                "removed",
                EventKind::Removed,
                &mut out,
            )
            .await?;
        }
        if !reason.is_empty() {
            for event in &mut out.events {
                if let Some(body) = event.body.as_object_mut() {
                    body.insert("note".into(), reason.into());
                }
            }
        }
        checkin::mark_left(&mut tx, subject.now, device).await?;
        self.finish(
            tx,
            subject,
            Some(("device.remove", device.to_string())),
            &mut heads,
            out,
        )
        .await
    }

    async fn lock_quarantined(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        enrollment: EnrollmentId,
    ) -> Result<(DeviceId, bool, std::collections::BTreeMap<DeviceId, i64>)> {
        let missing = Error::NotFound("the enrollment");
        let Some((device, _, _)) = checkin::enrollment_state(tx, tenant, enrollment).await? else {
            return Err(missing);
        };
        let heads = events::lock_heads(tx, [device]).await?;
        match checkin::enrollment_state(tx, tenant, enrollment).await? {
            Some((device, EnrollmentState::Quarantined, has_tokens)) => {
                Ok((device, has_tokens, heads))
            }
            Some(_) => Err(Error::Conflict(
                "the enrollment is not in quarantine".into(),
            )),
            None => Err(missing),
        }
    }

    /// Writes the events, the record of the act if an administrator did it, commits, and tells everybody.
    pub(super) async fn finish(
        &self,
        mut tx: Tx,
        subject: Subject,
        act: Option<(&'static str, String)>,
        heads: &mut std::collections::BTreeMap<DeviceId, i64>,
        out: Aftermath,
    ) -> Result<()> {
        let now = subject.now;
        let readers = &self.shared().hooks;
        let written = events::append_locked(&mut tx, now, heads, out.events, readers).await?;
        if let Some((action, target)) = act {
            let entry = AuditEntry {
                tenant: Some(subject.tenant),
                actor: subject.actor,
                action,
                target,
                details: json!({ "device_id": subject.device }),
            };
            admin_audit::append(&mut tx, now, entry).await?;
        }
        tx.commit().await?;
        self.shared().journal_revocations(&out.revoked).await;
        self.announce(written);
        (self.shared().wake_push)();
        Ok(())
    }
}
