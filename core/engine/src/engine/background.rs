//! Background work: reconcilers without input, idempotent, woken by a signal or by a timer.
//!
//! Owns: expiry of commands, the end of pending enrollments that never completed, certificate renewal, time
//! partitions, values of plugins' former versions. Each may run on several nodes at once: what it does, it does under the lock of the
//! device, or of the plugin, and looks again.

use std::time::Duration;

use serde_json::json;

use super::{CommandBody, Engine, Enqueue};
use crate::actor::{Actor, Cause};
use crate::clock::{DAY, Micros};
use crate::error::Result;
use crate::event::{EventKind, NewEvent};
use crate::ids::{EnrollmentId, TenantId};
use crate::queue::Disposition;
use crate::store::hot::{self, Leaving};
use crate::store::sql::Batch;
use crate::store::{certificates, checkin, events, partitions, push, queue};
use crate::writer::transitions::{self, Aftermath, Subject};

/// Rows looked at in one round.
const BATCH: i64 = 500;
/// Certificates are renewed this long before they end, or half their life, if that is shorter.
pub(crate) const RENEW_BEFORE: Micros = 90 * DAY;

impl Engine {
    pub(super) fn start_background(&self) {
        let quick = self.0.options.poll_interval;
        let slow = quick.max(Duration::from_secs(60));
        self.every("expiry", quick, |engine| async move {
            engine.expire().await.map(drop)
        });
        self.every("pending enrollments", quick, |engine| async move {
            engine.end_pending().await
        });
        self.every("renewal", slow, |engine| async move {
            engine.renew_due().await.map(drop)
        });
        self.every(
            "partitions",
            Duration::from_secs(3_600),
            |engine| async move { partitions::ensure(engine.store()).await },
        );
        self.every("values of former versions", slow, |engine| async move {
            engine.store().forget_former_values().await.map(drop)
        });
        self.every(
            "profiles",
            self.0.options.upkeep_interval,
            |engine| async move {
                while engine.keep_up().await? > 0 {}
                Ok(())
            },
        );
        if self.0.options.inventory_every.is_some() {
            self.every("inventory", slow, |engine| async move {
                engine.ask_due().await.map(drop)
            });
        }
        self.every("channels without upkeep", slow, |engine| async move {
            engine.seed_upkeep().await.map(drop)
        });
        let engine = self.clone();
        self.spawn(async move { engine.observe_all().await });
        let engine = self.clone();
        self.spawn(async move { engine.assess_all().await });
        let engine = self.clone();
        self.spawn(async move { engine.run_jobs().await });
        let engine = self.clone();
        self.spawn(async move { engine.release_holds().await });
    }

    fn every<F, T>(&self, name: &'static str, interval: Duration, work: F)
    where
        F: Fn(Engine) -> T + Send + 'static,
        T: Future<Output = Result<()>> + Send,
    {
        let engine = self.clone();
        let cancel = self.0.cancel.clone();
        self.spawn(async move {
            let mut failing = false;
            loop {
                let outcome = tokio::select! {
                    () = cancel.cancelled() => return,
                    outcome = work(engine.clone()) => outcome,
                };
                match outcome {
                    Ok(()) => failing = false,
                    // Said once; the writer says the rest about a lost database.
                    Err(error) if !failing => {
                        failing = true;
                        tracing::warn!(task = name, error = %error, "background work failed and will be tried again");
                    }
                    Err(_) => {}
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(interval) => {}
                }
            }
        });
    }

    /// Moves commands whose time has passed out of the queue. Returns how many.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database does not answer.
    pub async fn expire(&self) -> Result<usize> {
        let mut tx = self.store().begin_read().await?;
        let found = queue::expired(&mut tx, self.now(), BATCH).await?;
        tx.rollback().await?;
        let mut count = 0;
        for (device, deliveries) in found {
            let mut tx = self.store().begin().await?;
            let mut heads = events::lock_heads(&mut tx, [device]).await?;
            let now = self.now();
            let mut leaving = Vec::new();
            let mut told = Vec::new();
            for (tenant, enrollment, seq) in deliveries {
                let Some(delivery) = queue::one_open(&mut tx, enrollment, seq).await? else {
                    continue;
                };
                queue::forget_sent(&mut tx, enrollment, seq).await?;
                told.push(NewEvent {
                    tenant,
                    device,
                    enrollment: Some(enrollment),
                    kind: EventKind::CommandExpired,
                    command: Some(delivery.open.command),
                    actor: Actor::SYSTEM,
                    cause: Cause::default(),
                    body: json!({
                        "command_uuid": delivery.command_uuid,
                        "request_type": delivery.open.request_type,
                        "reason": "its time has passed",
                    }),
                });
                leaving.push(Leaving {
                    tenant,
                    device,
                    enrollment,
                    delivery,
                    disposition: Disposition::Expired,
                    reason: Some("its time has passed".into()),
                    outcome: None,
                    report_hash: None,
                    report_sealed: None,
                    error_chain: None,
                });
            }
            count += leaving.len();
            let left: Vec<_> = leaving
                .iter()
                .map(|one| (one.enrollment, one.delivery.open.command))
                .collect();
            let mut batch = Batch::default();
            hot::finish(&mut batch, now, &leaving);
            tx.run(batch).await?;
            // What was to come after them may go now.
            let freed = queue::successors(&mut tx, &left).await?;
            push::mark_due(&mut tx, now, &freed).await?;
            let written =
                events::append_locked(&mut tx, now, &mut heads, told, &self.shared().hooks).await?;
            tx.commit().await?;
            self.announce(written);
        }
        Ok(count)
    }

    /// Ends enrollments and renewals whose `TokenUpdate` never came.
    async fn end_pending(&self) -> Result<()> {
        let before = self.now() - self.0.options.pending_timeout;
        let mut tx = self.store().begin_read().await?;
        let found = checkin::stale_pending(&mut tx, before, BATCH).await?;
        tx.rollback().await?;
        for (tenant, device, enrollment) in found {
            let mut tx = self.store().begin().await?;
            let mut heads = events::lock_heads(&mut tx, [device]).await?;
            let state = checkin::enrollment_state(&mut tx, tenant, enrollment).await?;
            let mut out = Aftermath::default();
            let subject = Subject {
                tenant,
                device,
                actor: Actor::SYSTEM,
                now: self.now(),
            };
            if matches!(
                state,
                Some((_, crate::enrollment::EnrollmentState::Pending, _))
            ) {
                transitions::end(
                    &mut tx,
                    subject,
                    enrollment,
                    "never_completed",
                    EventKind::Ended,
                    &mut out,
                )
                .await?;
            }
            self.finish(tx, subject, None, &mut heads, out).await?;
        }
        let mut tx = self.store().begin().await?;
        let revoked = certificates::end_stale_renewals(&mut tx, self.now(), before).await?;
        tx.commit().await?;
        self.shared().journal_revocations(&revoked).await;
        Ok(())
    }

    /// Sends the renewal profile to enrollments whose certificate ends soon; those whose certificate has expired
    /// but still acts come first. Returns how many.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database does not answer.
    pub async fn renew_due(&self) -> Result<usize> {
        self.tell_expired().await?;
        let due =
            crate::identity::due_renewals(self.store(), self.now(), self.now() + RENEW_BEFORE)
                .await?;
        let count = due.len();
        for (tenant, enrollment) in due {
            self.renew(tenant, enrollment).await?;
        }
        Ok(count)
    }

    /// Writes down that expired certificates still act; their renewal is the first that is due.
    async fn tell_expired(&self) -> Result<()> {
        let acting: Vec<EnrollmentId> = self.shared().expired.lock().drain().collect();
        for enrollment in acting {
            let mut tx = self.store().begin_read().await?;
            let found = checkin::whose(&mut tx, enrollment).await?;
            tx.rollback().await?;
            let Some((tenant, device)) = found else {
                continue;
            };
            let event = NewEvent {
                tenant,
                device,
                enrollment: Some(enrollment),
                kind: EventKind::CertificateExpired,
                command: None,
                actor: Actor::SYSTEM,
                cause: Cause::default(),
                body: json!({ "acts": true }),
            };
            let readers = &self.shared().hooks;
            let written = self.store().append_events(vec![event], readers).await?;
            self.announce(written);
        }
        Ok(())
    }

    /// Sends one renewal profile.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] when the enrollment is not enabled.
    pub async fn renew(&self, tenant: TenantId, enrollment: EnrollmentId) -> Result<()> {
        let renewal = self.issuer().begin_renewal(enrollment).await?;
        let mut command = plist::Dictionary::new();
        command.insert("RequestType".into(), "InstallProfile".into());
        command.insert("Payload".into(), plist::Value::Data(renewal.profile));
        let mut request = Enqueue::new(CommandBody::Dictionary(command), vec![enrollment]);
        request.idempotency_key = Some(format!("renewal:{}", renewal.grant_id));
        // Renewal is a lifeline; and its challenge is good for an hour, after which it is of no use.
        request.break_glass = true;
        request.priority = 50;
        request.not_after = Some(renewal.expires_at);
        self.enqueue(tenant, Actor::SYSTEM, Cause::default(), request)
            .await?;
        Ok(())
    }
}
