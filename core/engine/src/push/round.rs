//! One round of the pusher: look, claim, ring, write.
//!
//! Owns: how rows, rules and the line to APNs come together. Holds no transaction while it rings. Each step may be
//! repeated or lost: a claim is a lease of seconds, and an unwritten result leaves its channel due.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::apple::Fault;
use super::certificate::open_certificate;
use super::lines::Turn;
use super::pusher::{BETWEEN_CENSUSES, Pusher};
use super::rules::{
    Answer, Due, FRESH, LEASE, LONGEST, Reaction, Verdict, jittered, micros, next_gap, reaction,
    retry_gap, verdict,
};
use super::topic::{Sign, Turn as TopicTurn};
use super::transport::{Accepted, Notification, PushCertificate, PushFailure, Refusal};
use crate::actor::{Actor, Cause};
use crate::clock::{MINUTE, Micros, SECOND};
use crate::error::Result;
use crate::event::{EventKind, NewEvent};
use crate::ids::{DeviceId, EnrollmentId, TenantId};
use crate::seal::{Place, TenantKeys};
use crate::store::push::{self as rows, Claimed, DueRow, Mark, Rung};
use crate::store::sql::Tx;

/// A look at the whole table is not repeated before so many times what it took.
const CENSUS_SHARE: u32 = 20;
const LONGEST_BETWEEN_CENSUSES: Duration = Duration::from_secs(1);
/// Refusals under a former certificate that are taken back in one transaction.
const FORGET_AT_ONCE: usize = 500;

/// A channel about to be rung.
pub(super) struct Ring {
    enrollment: EnrollmentId,
    device: DeviceId,
    tenant: TenantId,
    certificate: Arc<PushCertificate>,
    /// What is sent; none when what is stored cannot be read.
    note: Option<Notification>,
    claimed_due: Micros,
    /// This one included.
    attempts: i64,
    enabled_at: Option<Micros>,
    token_updated_at: Option<Micros>,
    token_hash: Vec<u8>,
}

impl Pusher {
    /// Looks at certificates and at what is due, and claims as much as may be rung now.
    pub(super) async fn claim(&self) -> Result<Vec<Ring>> {
        let now = self.now();
        self.follow_certificates(now).await?;
        let options = &self.options;
        let turns = self.lines.lock().turns(
            now,
            options.in_flight.max(1),
            options.per_second,
            options.burst,
        );
        let backlog = self.backlog(now).await?;
        let turns: Vec<Turn> = turns
            .into_iter()
            .filter(|turn| backlog.get(&turn.tenant).is_some_and(|due| *due > 0))
            .collect();
        if turns.is_empty() {
            return Ok(Vec::new());
        }
        let mut claimed = Vec::new();
        let mut more: BTreeMap<TenantId, bool> = BTreeMap::new();
        let mut tx = self.store.begin().await?;
        rows::pin_plan(&mut tx).await?;
        for turn in turns {
            let due = rows::due(&mut tx, now, turn.tenant, &turn.topic, turn.room).await?;
            *more.entry(turn.tenant).or_default() |= due.len() >= turn.room;
            let decided = self.decide(&mut tx, &turn, due, now).await?;
            claimed.extend(decided.into_iter().map(|row| (turn.clone(), row)));
        }
        tx.commit().await?;
        {
            let mut agenda = self.agenda.lock();
            for (tenant, more) in more {
                if !more {
                    agenda.backlog.remove(&tenant);
                }
            }
        }
        self.unseal(claimed, now).await
    }

    /// Writes the verdicts on `due` and returns those that are to be rung.
    async fn decide(
        &self,
        tx: &mut Tx,
        turn: &Turn,
        due: Vec<DueRow>,
        now: Micros,
    ) -> Result<Vec<DueRow>> {
        let mut claims = Vec::with_capacity(due.len());
        let mut ring = Vec::with_capacity(due.len());
        for row in due {
            let verdict = verdict(facts(&row), turn.certificate.id, now);
            let (due_at, leased_until) = match verdict {
                Verdict::Ring => (Some(row.due_at), now + LEASE),
                Verdict::Wait { until } => (Some(row.due_at), until),
                Verdict::Park { until } => (Some(until), 0),
                Verdict::Drop => (None, 0),
            };
            claims.push(Claimed {
                enrollment: row.enrollment,
                due_at,
                leased_until,
            });
            if verdict == Verdict::Ring {
                ring.push(row);
            }
        }
        rows::claim(tx, &claims).await?;
        Ok(ring)
    }

    async fn unseal(&self, claimed: Vec<(Turn, DueRow)>, now: Micros) -> Result<Vec<Ring>> {
        let expires_at = now + micros(self.options.expiration);
        let mut rings = Vec::with_capacity(claimed.len());
        for (turn, row) in claimed {
            let keys = self.store.keys(turn.tenant).await?;
            if !self
                .lines
                .lock()
                .begin(turn.tenant, &turn.topic, row.enrollment)
            {
                continue;
            }
            let note = notification(&keys, &row, &turn.topic, expires_at);
            if note.is_none() {
                tracing::error!(
                    enrollment.id = %row.enrollment,
                    "the stored push token or magic cannot be read; a TokenUpdate would replace it"
                );
            }
            rings.push(Ring {
                enrollment: row.enrollment,
                device: row.device,
                tenant: turn.tenant,
                certificate: turn.certificate,
                note,
                claimed_due: row.due_at,
                attempts: row.attempts.saturating_add(1),
                enabled_at: row.enabled_at,
                token_updated_at: row.token_updated_at,
                token_hash: row.token_hash.unwrap_or_default(),
            });
        }
        Ok(rings)
    }

    /// How much is due by tenant, not older than a look at the table is worth.
    async fn backlog(&self, now: Micros) -> Result<BTreeMap<TenantId, u64>> {
        {
            let mut agenda = self.agenda.lock();
            if agenda.next_census.is_some_and(|at| Instant::now() < at) {
                agenda.census_owed = true;
                return Ok(agenda.backlog.clone());
            }
        }
        let began = Instant::now();
        let mut tx = self.store.begin_read().await?;
        let backlog = rows::census(&mut tx, now).await?;
        tx.rollback().await?;
        let pause =
            (began.elapsed() * CENSUS_SHARE).clamp(BETWEEN_CENSUSES, LONGEST_BETWEEN_CENSUSES);
        let due = backlog.values().sum::<u64>();
        self.due.store(due, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("pomona_push_due").set(due as f64);
        let mut agenda = self.agenda.lock();
        agenda.backlog = backlog.clone();
        agenda.next_census = Some(Instant::now() + pause);
        agenda.census_owed = false;
        Ok(backlog)
    }

    /// Takes in new, replaced, stopped and ended certificates.
    async fn follow_certificates(&self, now: Micros) -> Result<()> {
        let mut tx = self.store.begin_read().await?;
        let table = rows::all_certificates(&mut tx).await?;
        tx.rollback().await?;
        let new: Vec<_> = {
            let lines = self.lines.lock();
            table.iter().filter(|row| lines.is_new(row)).collect()
        };
        let changed = !new.is_empty();
        let mut opened = HashMap::new();
        for row in new {
            let keys = self.store.keys(row.tenant).await?;
            match open_certificate(&keys, row) {
                Ok(certificate) => {
                    opened.insert(row.id, Arc::new(certificate));
                }
                Err(error) => tracing::error!(
                    tenant.id = %row.tenant, push.topic = %row.topic, %error,
                    "the key of the push certificate cannot be opened; nothing is pushed for this topic"
                ),
            }
        }
        self.lines.lock().follow(&table, opened);
        if self.agenda.lock().warn_at <= now {
            self.lines.lock().warn_of_expiry(now);
            self.agenda.lock().warn_at = now + MINUTE;
        }
        let ended = self.lines.lock().ended(now);
        for (tenant, topic, certificate) in ended {
            self.stop(
                tenant,
                &topic,
                certificate,
                "the certificate has expired".to_owned(),
            )
            .await;
        }
        self.forget_refusals(now, changed).await
    }

    /// After a certificate has come in another's place, makes due again what was refused under the former one. Looks
    /// several times, since it steps over rows that are being written.
    async fn forget_refusals(&self, now: Micros, changed: bool) -> Result<()> {
        {
            let mut agenda = self.agenda.lock();
            if changed {
                agenda.forget_at = now;
                agenda.forget_until = now + MINUTE;
            }
            if agenda.forget_at > now || agenda.forget_until < now {
                return Ok(());
            }
            agenda.forget_at = now + 10 * SECOND;
        }
        loop {
            let mut tx = self.store.begin().await?;
            let forgotten = rows::forget_refusals(&mut tx, now, FORGET_AT_ONCE).await?;
            tx.commit().await?;
            if forgotten == 0 {
                return Ok(());
            }
            self.agenda.lock().next_census = None;
        }
    }

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
            TopicTurn::Nothing => {}
            TopicTurn::Out => tracing::warn!(
                tenant.id = %tenant, push.topic = %topic, why,
                "pushing pauses: APNs is not reachable or has trouble; it is tried again every few seconds"
            ),
            TopicTurn::Back { after } => tracing::info!(
                tenant.id = %tenant, push.topic = %topic, after_seconds = after / SECOND,
                "pushing goes on"
            ),
            TopicTurn::TooManyRefused { refused, of } => {
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
    async fn stop(&self, tenant: TenantId, topic: &str, certificate: Uuid, reason: String) {
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

    /// Writes what became of rings, and announces the events.
    pub(super) async fn write(&self, rung: Vec<Rung>) -> Result<()> {
        let enrollments: Vec<EnrollmentId> = rung.iter().map(|row| row.enrollment).collect();
        let written = self.write_rows(rung).await;
        self.lines.lock().written(&enrollments);
        let events = written?;
        if !events.is_empty() {
            (self.announce)(events);
        }
        Ok(())
    }

    async fn write_rows(&self, rung: Vec<Rung>) -> Result<Vec<crate::Event>> {
        if rung.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.store.begin().await?;
        let consumers = &self.options.consumers;
        let events = rows::record(&mut tx, self.now(), rung, consumers).await?;
        tx.commit().await?;
        Ok(events)
    }

    fn now(&self) -> Micros {
        self.store.clock().now()
    }

    fn dice(&self) -> u8 {
        let mut dice = [0u8; 1];
        self.store.random().fill(&mut dice);
        dice[0]
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

fn facts(row: &DueRow) -> Due<'_> {
    Due {
        state: row.state,
        reachable: row.token_sealed.is_some() && row.magic_sealed.is_some(),
        token_hash: row.token_hash.as_deref(),
        token_updated_at: row.token_updated_at,
        last_seen_at: row.last_seen_at,
        last_push_at: row.last_at,
        refused_token_hash: row.refused_token_hash.as_deref(),
        refused_certificate: row.refused_certificate,
    }
}

fn notification(
    keys: &TenantKeys,
    row: &DueRow,
    topic: &str,
    expires_at: Micros,
) -> Option<Notification> {
    let open = |column, sealed: &Option<Vec<u8>>| {
        let place = Place {
            table: "enrollment",
            column,
            row: row.enrollment.0.as_bytes(),
        };
        keys.open(place, sealed.as_deref()?).ok()
    };
    let token = open("push_token_sealed", &row.token_sealed)?;
    let magic = Zeroizing::new(open("push_magic_sealed", &row.magic_sealed)?);
    let magic = std::str::from_utf8(&magic).ok()?.to_owned();
    Some(Notification::new(
        token,
        magic,
        topic.to_owned(),
        expires_at,
    ))
}
