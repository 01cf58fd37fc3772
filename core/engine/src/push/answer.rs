//! What becomes of one channel that is rung.
//!
//! Owns: the way from an answer of APNs, or none, to the channel's row, its event, and the state of its topic. The
//! rules are in `rules` and `topic`; here they meet the world: metrics, log and the row that stops a topic.

use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::apple::Fault;
use super::pusher::Pusher;
use super::round::Ring;
use super::rules::{
    Answer, FRESH, LONGEST, Reaction, jittered, micros, next_gap, reaction, retry_gap,
};
use super::topic::{Sign, Turn};
use super::transport::{Accepted, PushFailure, Refusal};
use crate::actor::{Actor, Cause};
use crate::clock::{MINUTE, Micros, SECOND};
use crate::event::{EventKind, NewEvent};
use crate::ids::TenantId;
use crate::store::push::{Mark, Rung};

impl Pusher {
    /// Rings one channel and says what becomes of its row.
    pub(super) async fn ring(&self, mut ring: Ring) -> Rung {
        let began = Instant::now();
        let result = match ring.note.take() {
            Some(note) => self.transport.send(&ring.certificate, note).await,
            None => Err(PushFailure::Unusable(
                "the stored push token cannot be read",
            )),
        };
        metrics::histogram!("pomona_push_latency_seconds").record(began.elapsed().as_secs_f64());
        self.lines
            .lock()
            .answered(ring.tenant, &ring.certificate.topic);
        let now = self.now();
        match result {
            Ok(accepted) => self.accepted(&ring, accepted, now).await,
            Err(failure) => self.failed(&ring, failure, now).await,
        }
    }

    async fn accepted(&self, ring: &Ring, accepted: Accepted, now: Micros) -> Rung {
        count("accepted");
        self.sign(ring, Sign::Accepted, now).await;
        let fresh = ring.enabled_at.is_some_and(|at| now - at < FRESH);
        let gap = jittered(next_gap(ring.attempts, fresh), self.dice());
        Rung {
            next_due: now + gap,
            hold_until: now + gap.min(micros(self.options.coalesce)),
            attempts: ring.attempts,
            status: Some(200),
            apns_id: accepted.apns_id.clone(),
            mark: Mark::Clear,
            event: Some(ring.event(EventKind::PushAccepted, 200, None, accepted.apns_id)),
            ..ring.unchanged()
        }
    }

    async fn failed(&self, ring: &Ring, failure: PushFailure, now: Micros) -> Rung {
        let soon = now + jittered(retry_gap(ring.attempts), self.dice());
        match failure {
            PushFailure::Refused(refusal) => self.refused(ring, refusal, now).await,
            PushFailure::CertificateRejected(why) => {
                count("topic_stopped");
                self.stop_for(ring, format!("the certificate is not accepted: {why}"))
                    .await;
                ring.unanswered("certificate_rejected")
            }
            PushFailure::Connect(why) => {
                count("no_connection");
                self.sign_failure(ring, Sign::Unreachable, &why, now).await;
                ring.unanswered("no_connection")
            }
            PushFailure::Broken(why) => {
                count("connection_broken");
                self.sign_failure(ring, Sign::Broken, &why, now).await;
                Rung {
                    next_due: soon,
                    attempts: ring.attempts,
                    ..ring.unanswered("connection_broken")
                }
            }
            PushFailure::Timeout => {
                count("timeout");
                self.sign_failure(ring, Sign::Broken, "no answer in time", now)
                    .await;
                Rung {
                    next_due: soon,
                    attempts: ring.attempts,
                    ..ring.unanswered("no_answer")
                }
            }
            PushFailure::Unusable(why) => {
                count("unusable");
                tracing::error!(enrollment.id = %ring.enrollment, why, "a device cannot be rung");
                Rung {
                    next_due: now + LONGEST,
                    ..ring.unanswered("unusable")
                }
            }
        }
    }

    async fn refused(&self, ring: &Ring, refusal: Refusal, now: Micros) -> Rung {
        let fault = Fault::of(refusal.status, refusal.reason.as_deref());
        let answer = Answer {
            fault,
            retry_after: refusal.retry_after,
            dead_since: refusal.dead_since,
        };
        let reaction = reaction(answer, ring.attempts, ring.token_updated_at);
        let sign = match &reaction {
            Reaction::Retry if fault == Fault::Connection => Sign::Broken,
            Reaction::Retry => Sign::Trouble {
                retry_after: refusal.retry_after,
            },
            Reaction::RefuseToken | Reaction::Odd => Sign::Answered { refused: true },
            _ => Sign::Answered { refused: false },
        };
        let said = said(&refusal);
        self.sign_failure(ring, sign, &said, now).await;
        let refused = Mark::Refused {
            token_hash: ring.token_hash.clone(),
            certificate: ring.certificate.id,
        };
        let gap = |gap| now + jittered(gap, self.dice());
        let (result, next_due, hold_until, attempts, mark) = match reaction {
            Reaction::RefuseToken => ("token_refused", now + LONGEST, 0, ring.attempts, refused),
            Reaction::TokenGone => ("unregistered", now + LONGEST, 0, ring.attempts, refused),
            Reaction::TokenRenewed | Reaction::Odd => {
                let next = gap(next_gap(ring.attempts, false));
                let hold = now + micros(self.options.coalesce);
                ("odd", next, hold, ring.attempts, Mark::Keep)
            }
            Reaction::StopTopic => {
                self.stop_for(ring, said).await;
                let (due, before) = (ring.claimed_due, ring.attempts - 1);
                ("topic_stopped", due, 0, before, Mark::Keep)
            }
            Reaction::Throttle { wait } => {
                let until = gap(wait);
                ("throttled", until, until, ring.attempts, Mark::Keep)
            }
            Reaction::Retry => {
                let next = gap(retry_gap(ring.attempts));
                (
                    "server_error",
                    next,
                    next.min(now + MINUTE),
                    ring.attempts,
                    Mark::Keep,
                )
            }
        };
        count(result);
        let status = refusal.status;
        let event = ring.event(
            EventKind::PushRefused,
            status,
            refusal.reason.clone(),
            refusal.apns_id.clone(),
        );
        Rung {
            next_due,
            hold_until,
            attempts,
            status: Some(i64::from(status)),
            reason: refusal.reason,
            apns_id: refusal.apns_id,
            mark,
            event: Some(event),
            ..ring.unchanged()
        }
    }

    async fn sign(&self, ring: &Ring, sign: Sign, now: Micros) {
        self.sign_failure(ring, sign, "", now).await;
    }

    /// Tells the topic's memory, and says aloud what has turned.
    async fn sign_failure(&self, ring: &Ring, sign: Sign, why: &str, now: Micros) {
        let (tenant, topic) = (ring.tenant, &ring.certificate.topic);
        let dice = self.dice();
        let turn = match self.lines.lock().line(tenant, topic, ring.certificate.id) {
            Some(line) => line.topic.note(sign, now, dice),
            None => return,
        };
        match turn {
            Turn::Nothing => {}
            Turn::Out => tracing::warn!(
                tenant.id = %tenant, push.topic = %topic, why,
                "pushing pauses: APNs is not reachable or has trouble; it is tried again every few seconds"
            ),
            Turn::Back { after } => tracing::info!(
                tenant.id = %tenant, push.topic = %topic, after_seconds = after / SECOND,
                "pushing goes on"
            ),
            Turn::TooManyRefused { refused, of } => {
                let reason = format!(
                    "{refused} of the last {of} pushes were refused for their token, which a wrong certificate causes: {why}"
                );
                self.stop_for(ring, reason).await;
            }
        }
    }

    async fn stop_for(&self, ring: &Ring, reason: String) {
        let (tenant, topic) = (ring.tenant, ring.certificate.topic.clone());
        self.stop(tenant, &topic, ring.certificate.id, reason).await;
    }

    /// Stops a topic: here at once, for every node by its row.
    pub(super) async fn stop(
        &self,
        tenant: TenantId,
        topic: &str,
        certificate: Uuid,
        reason: String,
    ) {
        let now = self.now();
        {
            let mut lines = self.lines.lock();
            match lines.line(tenant, topic, certificate) {
                Some(line) if line.stopped.is_none() => {
                    line.stopped = Some((now, reason.clone()));
                }
                _ => return,
            }
        }
        metrics::counter!("pomona_push_topic_stops_total").increment(1);
        tracing::error!(
            tenant.id = %tenant, push.topic = %topic, reason,
            "pushing has stopped for this topic; import a good push certificate or resume it"
        );
        if let Err(error) = self.store.stop_topic(now, certificate, &reason).await {
            // The next answer says the same again.
            tracing::warn!(tenant.id = %tenant, push.topic = %topic, %error, "the stop could not be stored");
        }
    }
}

impl Ring {
    /// Due as before, nothing counted.
    fn unchanged(&self) -> Rung {
        Rung {
            enrollment: self.enrollment,
            device: self.device,
            claimed_due: self.claimed_due,
            next_due: self.claimed_due,
            hold_until: 0,
            attempts: self.attempts - 1,
            status: None,
            reason: None,
            apns_id: None,
            mark: Mark::Keep,
            event: None,
        }
    }

    /// As [`unchanged`](Self::unchanged), with a word for the row; APNs did not answer, so there is no event.
    fn unanswered(&self, word: &str) -> Rung {
        Rung {
            reason: Some(word.to_owned()),
            ..self.unchanged()
        }
    }

    fn event(
        &self,
        kind: EventKind,
        status: u16,
        reason: Option<String>,
        apns_id: Option<String>,
    ) -> NewEvent {
        NewEvent {
            tenant: self.tenant,
            device: self.device,
            enrollment: Some(self.enrollment),
            kind,
            command: None,
            actor: Actor::SYSTEM,
            cause: Cause::default(),
            body: json!({
                "status": status,
                "reason": reason,
                "apns_id": apns_id,
                "attempt": self.attempts,
            }),
        }
    }
}

fn count(result: &'static str) {
    metrics::counter!("pomona_push_total", "result" => result).increment(1);
}

fn said(refusal: &Refusal) -> String {
    match &refusal.reason {
        Some(reason) => format!("APNs answered {} {reason}", refusal.status),
        None => format!("APNs answered {}", refusal.status),
    }
}
