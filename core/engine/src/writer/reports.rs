//! A group of command reports in one transaction.
//!
//! Owns: the way from what was loaded, through the pure rules of `queue` and `enrollment`, to what is written.
//! Never talks to a hook: a command that a hook must see comes back as `Answer::Judge`, with nothing of that
//! request applied. Long, since it is one walk in order: load, judge, hear, choose, write.

use std::collections::HashMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use pomona_protocol::Status;
use serde_json::json;

use super::places::{
    body_place, history_row, inputs_place, orphan_place, orphan_row, report_place,
};
use super::transitions::Aftermath;
use super::{Answer, JudgeRequest, ReportJob, Shared, template};
use crate::actor::{Actor, Cause};
use crate::admin::Instant;
use crate::clock::{Micros, SECOND};
use crate::enrollment::{CertificateState, Refusal, Standing, bind};
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::ids::{CommandId, EnrollmentId, TenantId};
use crate::queue::brake;
use crate::queue::{
    Choice, Disposition, Heard, Hearing, Known, Open, OpenState, Outcome, Rules, Verdict, choose,
    hear,
};
use crate::seal::TenantKeys;
use crate::store::hot::{self, Channel, Delivery, Found, Leaving, Moved, Named, Past, Want};
use crate::store::sql::{Batch, Tx};

mod braking;
mod observe;
mod save;

use save::Writes;

/// An `Idle` after this much silence begins a new session.
const SESSION_GAP: Micros = 30 * SECOND;

/// The lines of one request on its way through the group.
struct Line<'a> {
    job: &'a ReportJob,
    found: Found,
    standing: Option<Standing>,
    named: Option<Delivery>,
    past: Option<Past>,
    hearing: Option<Hearing>,
    candidates: Vec<Delivery>,
    answer: Option<Answer>,
    send: Option<Delivery>,
}

/// Runs the reports of a group; the answers stand in the order of the jobs. What every group writes is left in
/// `batch`, and the events are left to the caller, who holds the numbers.
pub(super) async fn run(
    shared: &Shared,
    tx: &mut Tx,
    now: Micros,
    jobs: &[&ReportJob],
    found: Vec<Found>,
    batch: &mut Batch,
    out: &mut Aftermath,
) -> Result<Vec<Answer>> {
    let mut lines: Vec<Line<'_>> = jobs
        .iter()
        .zip(found)
        .map(|(job, found)| Line::new(job, found))
        .collect();
    for line in &mut lines {
        line.judge_identity(shared, now);
    }
    find_named(tx, &mut lines).await?;
    for line in &mut lines {
        line.hear();
    }
    find_candidates(tx, now, &mut lines).await?;
    let mut writes = Writes::default();
    for line in &mut lines {
        line.decide(shared, tx, now, &mut writes).await?;
    }
    let bodies = bodies(shared, tx, now, &mut lines).await?;
    save::save(tx, now, &lines, &mut writes, batch, out).await?;
    out.events.append(&mut writes.events);
    Ok(lines
        .into_iter()
        .map(|line| match (line.answer, line.send) {
            (Some(answer), _) => answer,
            (None, None) => Answer::Empty,
            (None, Some(delivery)) => bodies
                .get(&(line.job.ask.tenant, delivery.sent_hash().to_vec()))
                .map_or(Answer::Empty, |body| Answer::Command(body.clone())),
        })
        .collect())
}

impl<'a> Line<'a> {
    fn new(job: &'a ReportJob, found: Found) -> Self {
        Self {
            job,
            found,
            standing: None,
            named: None,
            past: None,
            hearing: None,
            candidates: Vec::new(),
            answer: None,
            send: None,
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.answer = Some(Answer::Refused {
            refusal,
            device: self.found.certificate.as_ref().and_then(|c| c.device),
        });
    }

    /// E1, E2, E7, E8: certificate, body and channel must belong together.
    fn judge_identity(&mut self, shared: &Shared, now: Micros) {
        let certificate = self.found.certificate.as_ref();
        let revoked = shared
            .journal
            .contains(self.job.ask.tenant, &self.job.ask.fingerprint);
        let state = match certificate {
            Some(_) if revoked => Some(CertificateState::Revoked),
            Some(certificate) => Some(certificate.state),
            None => None,
        };
        let same_device = certificate.is_some_and(|c| c.same_device);
        match bind(state, same_device, self.found.holder.map(|h| h.state)) {
            Err(refusal) => self.refuse(refusal),
            // Nothing is delivered in a pending generation (E4), nor in quarantine (E3).
            Ok(Standing::Pending | Standing::Quarantined) => self.answer = Some(Answer::Empty),
            Ok(standing) => match &self.found.channel {
                Some(channel)
                    if channel.enrollment_state == crate::enrollment::EnrollmentState::Enabled =>
                {
                    self.standing = Some(standing);
                    if certificate.is_some_and(|c| c.not_after <= now) {
                        shared.note_expired(channel.enrollment);
                    }
                }
                _ => self.refuse(Refusal::NotEnrolled),
            },
        }
    }

    fn uuid(&self) -> Option<&str> {
        match self.job.status {
            Status::Idle => None,
            _ => self.job.command_uuid.as_deref(),
        }
    }

    fn known(&self) -> Known {
        match (&self.named, &self.past) {
            (Some(delivery), _) => Known::Open(delivery.open.clone()),
            (None, Some(past)) => Known::Finished {
                disposition: past.disposition,
                outcome: past.outcome,
                sends: past.sends,
            },
            (None, None) => Known::Nothing,
        }
    }

    fn heard(&self) -> Heard {
        let outcome = match self.job.status {
            Status::Idle => return Heard::Idle,
            Status::NotNow => return Heard::NotNow,
            Status::Acknowledged => Outcome::Acknowledged,
            Status::Error => Outcome::Error,
            Status::CommandFormatError => Outcome::CommandFormatError,
        };
        Heard::Final {
            outcome,
            digest: self.job.digest,
        }
    }

    fn hear(&mut self) {
        if self.standing.is_some() {
            self.hearing = Some(hear(self.heard(), &self.known()));
        }
    }

    /// The poll in which the next command would be sent.
    fn next_poll(&self) -> i64 {
        let poll = self.found.channel.as_ref().map_or(0, |c| c.poll);
        match self.hearing {
            Some(Hearing::Polled) => poll + 1,
            _ => poll,
        }
    }

    /// The number of the delivery that the report takes out of the queue, or 0.
    fn leaving_seq(&self) -> i64 {
        match (self.hearing, &self.named) {
            (Some(Hearing::Finished(_)), Some(named)) => named.open.seq,
            _ => 0,
        }
    }

    fn event(
        &self,
        kind: EventKind,
        command: Option<CommandId>,
        body: serde_json::Value,
    ) -> Option<NewEvent> {
        let channel = self.found.channel.as_ref()?;
        Some(NewEvent {
            tenant: channel.tenant,
            device: channel.device,
            enrollment: Some(channel.enrollment),
            kind,
            command,
            actor: Actor::device(channel.device),
            cause: Cause::default(),
            body,
        })
    }

    async fn decide(
        &mut self,
        shared: &Shared,
        tx: &mut Tx,
        now: Micros,
        writes: &mut Writes,
    ) -> Result<()> {
        let (Some(hearing), Some(channel)) = (self.hearing, self.found.channel.clone()) else {
            return Ok(());
        };
        let (poll, footing) = (self.next_poll(), self.footing());
        let braked = self.braked(tx, now).await?;
        let choice = self.choice(shared, now, poll, hearing, braked);
        if let Some(seq) = choice.judge {
            if !self.job.last_round {
                self.answer = self.judge_request(&channel, seq);
                self.hearing = None;
                return Ok(());
            }
            // A second stale verdict: nothing is sent, and the device is rung again (Q9).
            writes.due.push(channel.enrollment);
        }
        let keys = shared.store.keys(channel.tenant).await?;
        let mut channel = channel;
        self.session(now, &mut channel, hearing, writes);
        self.apply_hearing(shared, &keys, tx, now, &mut channel, hearing, writes)
            .await?;
        // In the last round too: what was refused until then is out of the way of the next poll.
        self.apply_choice(now, footing, &mut channel, choice, writes);
        self.count_leaving(tx, now).await?;
        let rung_for = channel.push_due_at.is_none_or(|due| due <= now);
        if self.send.is_some() || hearing == Hearing::Deferred {
            // Rung again should the answer not come (Q7, Q14); a later time that is set already stays.
            if rung_for {
                writes.busy.push(channel.enrollment);
            }
        } else if channel.push_due_at.is_some() {
            writes.quiet.push(channel.enrollment);
        }
        self.found.channel = Some(channel);
        Ok(())
    }

    fn choice(
        &self,
        shared: &Shared,
        now: Micros,
        poll: i64,
        hearing: Hearing,
        braked: Option<Micros>,
    ) -> Choice {
        let mut open: Vec<Open> = Vec::with_capacity(self.candidates.len() + 1);
        if let Some(outstanding) = &self.found.outstanding {
            let answered = self.named.as_ref().is_some_and(|named| {
                named.open.seq == outstanding.open.seq
                    && matches!(hearing, Hearing::Finished(_) | Hearing::Deferred)
            });
            if !answered {
                open.push(outstanding.open.clone());
            }
        }
        open.extend(self.candidates.iter().map(|d| d.open.clone()));
        let rules = Rules {
            now,
            poll,
            max_sendings: shared.max_sendings,
        };
        let revision = self
            .found
            .certificate
            .as_ref()
            .map_or(0, |c| c.device_revision);
        let (hooks, judges) = shared.hooks.judging(self.job.ask.tenant);
        let mut verdicts = self.job.verdicts(revision, judges);
        let footing = self.footing();
        let stopped = |delivery: &Open| braked.is_some() && brake::braked(delivery);
        let judged = |delivery: &Open| {
            hooks.judges(&delivery.request_type) || delivery.moved(footing) || stopped(delivery)
        };
        if let Some(channel) = &self.found.channel {
            // What was allowed before the device became another one is asked about again.
            let stands = |delivery: &&Open| judged(delivery) && !delivery.moved(footing);
            for delivery in open.iter().filter(stands) {
                if let Entry::Vacant(unsaid) = verdicts.entry(delivery.seq)
                    && let Some(until) = shared.allowed.until(
                        (channel.enrollment, delivery.command),
                        delivery.not_before,
                        revision,
                        judges,
                    )
                {
                    unsaid.insert(Verdict::Allow { until });
                }
            }
        }
        if let Some(until) = braked {
            brake::stop(&mut verdicts, &open, until);
        }
        choose(rules, &open, judged, &verdicts)
    }

    fn judge_request(&self, channel: &Channel, seq: i64) -> Option<Answer> {
        let delivery = self.find(seq)?;
        Some(Answer::Judge(JudgeRequest {
            tenant: channel.tenant,
            enrollment: channel.enrollment,
            seq,
            command: delivery.open.command,
            request_type: delivery.open.request_type.clone(),
            body_hash: delivery.sent_hash().to_vec(),
            moved: delivery.open.moved(self.footing()),
            told: self.telling().is_some(),
        }))
    }

    fn find(&self, seq: i64) -> Option<&Delivery> {
        self.found
            .outstanding
            .iter()
            .chain(&self.candidates)
            .find(|delivery| delivery.open.seq == seq)
    }

    fn session(&self, now: Micros, channel: &mut Channel, hearing: Hearing, writes: &mut Writes) {
        let idle = hearing == Hearing::Polled;
        let first = channel.session_started_at == 0;
        if idle && (first || now.saturating_sub(channel.last_seen_at) >= SESSION_GAP) {
            if channel.session_requests > 0 {
                writes.sessions.push(channel.clone());
            }
            channel.session_started_at = now;
            channel.session_requests = 0;
            channel.session_commands = 0;
            channel.session_not_now = 0;
            writes.events.extend(self.event(
                EventKind::SessionStarted,
                None,
                serde_json::Value::Null,
            ));
        }
        channel.session_requests += 1;
        channel.last_seen_at = now;
        if idle {
            channel.poll += 1;
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one step of the walk through a request; all of it is needed here"
    )]
    async fn apply_hearing(
        &mut self,
        shared: &Shared,
        keys: &TenantKeys,
        tx: &mut Tx,
        now: Micros,
        channel: &mut Channel,
        hearing: Hearing,
        writes: &mut Writes,
    ) -> Result<()> {
        match hearing {
            Hearing::Polled | Hearing::Repeated => {}
            Hearing::Finished(outcome) => {
                if let Some(delivery) = self.named.take() {
                    if delivery.open.seq == channel.sent_seq {
                        channel.sent_seq = 0;
                        self.found.outstanding = None;
                    }
                    shared
                        .allowed
                        .forget(channel.enrollment, delivery.open.command);
                    let body = outcome_body(&delivery, outcome, self.job);
                    writes.events.extend(self.event(
                        EventKind::CommandOutcome,
                        Some(delivery.open.command),
                        body,
                    ));
                    if outcome == Outcome::Acknowledged {
                        self.note_told(&delivery, writes);
                    }
                    let row = history_row(channel.enrollment, delivery.open.seq);
                    let sealed = keys.seal(shared.random(), report_place(&row), &self.job.raw)?;
                    writes.leaving.push(Leaving {
                        tenant: channel.tenant,
                        device: channel.device,
                        enrollment: channel.enrollment,
                        delivery,
                        disposition: Disposition::Done,
                        reason: None,
                        outcome: Some(outcome),
                        report_hash: Some(self.job.digest),
                        report_sealed: Some(sealed),
                        error_chain: self.job.error_chain.clone(),
                    });
                }
            }
            Hearing::Deferred => {
                if let Some(mut delivery) = self.named.take() {
                    delivery.open.state = OpenState::NotNow;
                    delivery.open.notnow_poll = channel.poll;
                    delivery.notnow_count += 1;
                    channel.session_not_now += 1;
                    if delivery.open.seq == channel.sent_seq {
                        channel.sent_seq = 0;
                        self.found.outstanding = None;
                    }
                    let body = json!({
                        "command_uuid": delivery.command_uuid,
                        "request_type": delivery.open.request_type,
                        "count": delivery.notnow_count,
                    });
                    writes.events.extend(self.event(
                        EventKind::CommandNotNow,
                        Some(delivery.open.command),
                        body,
                    ));
                    writes.moved.push(Moved {
                        enrollment: channel.enrollment,
                        delivery,
                    });
                }
            }
            Hearing::Late(outcome) => {
                if let Some(past) = &self.past {
                    let row = history_row(channel.enrollment, past.seq);
                    let sealed = keys.seal(shared.random(), report_place(&row), &self.job.raw)?;
                    hot::record_late(
                        tx,
                        now,
                        channel.enrollment,
                        past,
                        outcome,
                        self.job.digest,
                        sealed,
                    )
                    .await?;
                    let body = json!({
                        "command_uuid": self.uuid(),
                        "request_type": past.request_type,
                        "status": outcome.as_str(),
                        "late": true,
                    });
                    writes.events.extend(self.event(
                        EventKind::CommandOutcome,
                        Some(past.command),
                        body,
                    ));
                }
            }
            Hearing::Conflict(outcome) => {
                let command = self.past.as_ref().map(|past| past.command);
                let body = json!({ "command_uuid": self.uuid(), "status": outcome.as_str() });
                writes
                    .events
                    .extend(self.event(EventKind::ReportConflict, command, body));
            }
            Hearing::Orphan => {
                let row = orphan_row(channel.enrollment, now);
                let sealed = keys.seal(shared.random(), orphan_place(&row), &self.job.raw)?;
                let uuid = self.uuid().unwrap_or_default().to_owned();
                let status = self.job.status.as_str();
                hot::keep_orphan(
                    tx,
                    now,
                    channel.tenant,
                    channel.enrollment,
                    &uuid,
                    status,
                    sealed,
                )
                .await?;
                let body = json!({ "command_uuid": uuid, "status": status });
                writes
                    .events
                    .extend(self.event(EventKind::ReportOrphaned, None, body));
            }
        }
        Ok(())
    }

    fn apply_choice(
        &mut self,
        now: Micros,
        footing: i64,
        channel: &mut Channel,
        choice: Choice,
        writes: &mut Writes,
    ) {
        for drop in choice.drops {
            let Some(delivery) = self.find(drop.seq).cloned() else {
                continue;
            };
            if delivery.open.seq == channel.sent_seq {
                channel.sent_seq = 0;
            }
            let kind = match drop.disposition {
                Disposition::Expired => EventKind::CommandExpired,
                Disposition::Withdrawn => EventKind::CommandWithdrawn,
                Disposition::Cancelled | Disposition::Done => EventKind::CommandCancelled,
            };
            let body = json!({
                "command_uuid": delivery.command_uuid,
                "request_type": delivery.open.request_type,
                "reason": drop.reason,
            });
            writes
                .events
                .extend(self.event(kind, Some(delivery.open.command), body));
            writes.leaving.push(Leaving {
                tenant: channel.tenant,
                device: channel.device,
                enrollment: channel.enrollment,
                delivery,
                disposition: drop.disposition,
                reason: Some(drop.reason),
                outcome: None,
                report_hash: None,
                report_sealed: None,
                error_chain: None,
            });
        }
        for (seq, until, reason) in choice.holds {
            let Some(mut delivery) = self.find(seq).cloned() else {
                continue;
            };
            delivery.open.not_before = until;
            let body = json!({
                "command_uuid": delivery.command_uuid,
                "request_type": delivery.open.request_type,
                "until": Instant(until),
                "reason": reason,
            });
            writes.events.extend(self.event(
                EventKind::CommandHeld,
                Some(delivery.open.command),
                body,
            ));
            writes.moved.push(Moved {
                enrollment: channel.enrollment,
                delivery,
            });
        }
        let Some(mut delivery) = choice.send.and_then(|seq| self.find(seq).cloned()) else {
            return;
        };
        let again = delivery.open.sends > 0;
        if delivery.open.moved(footing) {
            delivery.open.footing = footing;
        }
        delivery.open.state = OpenState::Sent;
        delivery.open.sends += 1;
        delivery.first_sent_at = delivery.first_sent_at.or(Some(now));
        delivery.last_sent_at = Some(now);
        channel.sent_seq = delivery.open.seq;
        channel.session_commands += 1;
        let body = json!({
            "command_uuid": delivery.command_uuid,
            "request_type": delivery.open.request_type,
            "again": again,
        });
        writes.events.extend(self.event(
            EventKind::CommandDelivered,
            Some(delivery.open.command),
            body,
        ));
        self.send = Some(delivery);
    }
}

async fn find_named(tx: &mut Tx, lines: &mut [Line<'_>]) -> Result<()> {
    let mut wanted = Vec::new();
    for (n, line) in lines.iter_mut().enumerate() {
        let (Some(_), Some(channel)) = (line.standing, &line.found.channel) else {
            continue;
        };
        let Some(uuid) = line.uuid().map(str::to_owned) else {
            continue;
        };
        match &line.found.outstanding {
            Some(outstanding) if outstanding.command_uuid == uuid => {
                line.named = Some(outstanding.clone());
            }
            _ => wanted.push(Named {
                n: n as i64,
                tenant: channel.tenant,
                enrollment: channel.enrollment,
                command_uuid: uuid,
            }),
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut open = hot::named_deliveries(tx, &wanted).await?;
    wanted.retain(|named| !open.contains_key(&named.n));
    let mut past = if wanted.is_empty() {
        HashMap::new()
    } else {
        hot::finished(tx, &wanted).await?
    };
    for (n, line) in lines.iter_mut().enumerate() {
        if line.named.is_none() {
            line.named = open.remove(&(n as i64));
            line.past = past.remove(&(n as i64));
        }
    }
    Ok(())
}

async fn find_candidates(tx: &mut Tx, now: Micros, lines: &mut [Line<'_>]) -> Result<()> {
    let wanted: Vec<Want> = lines
        .iter()
        .enumerate()
        .filter_map(|(n, line)| {
            line.hearing?;
            Some(Want {
                n: n as i64,
                enrollment: line.found.channel.as_ref()?.enrollment,
                poll: line.next_poll(),
                leaving_seq: line.leaving_seq(),
            })
        })
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let judged = lines.iter().map(|line| line.job.judged.len()).max();
    let most = 1 + judged.unwrap_or(0);
    let mut found = hot::candidates(tx, now, most, &wanted).await?;
    for (n, line) in lines.iter_mut().enumerate() {
        line.candidates = found.remove(&(n as i64)).unwrap_or_default();
        // What was just answered NotNow is still in the queue as it was read; it is not offered again.
        if let (Some(Hearing::Deferred), Some(named)) = (line.hearing, &line.named) {
            let seq = named.open.seq;
            line.candidates
                .retain(|candidate| candidate.open.seq != seq);
        }
    }
    Ok(())
}

/// Gets the bodies to send: from the cache, else from the database; templates are rendered and pinned.
async fn bodies(
    shared: &Shared,
    tx: &mut Tx,
    now: Micros,
    lines: &mut [Line<'_>],
) -> Result<HashMap<(TenantId, Vec<u8>), Bytes>> {
    let mut out = HashMap::new();
    let mut missing = Vec::new();
    for line in lines.iter() {
        if let Some(delivery) = &line.send {
            let key = (line.job.ask.tenant, delivery.sent_hash().to_vec());
            match shared.bodies.get(&key) {
                Some(body) => drop(out.insert(key, body)),
                None if !missing.contains(&key) => missing.push(key),
                None => {}
            }
        }
    }
    if !missing.is_empty() {
        for ((tenant, hash), sealed) in hot::bodies(tx, &missing).await? {
            let keys = shared.store.keys(tenant).await?;
            let body = Bytes::from(keys.open(body_place(&hash), &sealed)?);
            shared.bodies.insert((tenant, hash.clone()), body.clone());
            out.insert((tenant, hash), body);
        }
    }
    for line in lines.iter_mut() {
        let tenant = line.job.ask.tenant;
        let Some(delivery) = &mut line.send else {
            continue;
        };
        let key = (tenant, delivery.sent_hash().to_vec());
        let body = out
            .get(&key)
            .ok_or_else(|| Error::internal("reading a command body", "it is missing"))?;
        if let (Some(sealed), None) = (&delivery.inputs_sealed, &delivery.pinned_hash) {
            let keys = shared.store.keys(tenant).await?;
            let row = history_row(
                line.found
                    .channel
                    .as_ref()
                    .map_or(EnrollmentId(uuid::Uuid::nil()), |c| c.enrollment),
                delivery.open.seq,
            );
            let inputs = template::read_inputs(&keys.open(inputs_place(&row), sealed)?)?;
            let rendered = Bytes::from(template::render(body, &inputs));
            let hash = keys.hash("command body", &rendered).to_vec();
            let sealed = keys.seal(shared.random(), body_place(&hash), &rendered)?;
            crate::store::queue::keep_body(tx, now, tenant, &hash, sealed, rendered.len()).await?;
            delivery.pinned_hash = Some(hash.clone());
            out.insert((tenant, hash), rendered);
        }
    }
    Ok(out)
}

fn outcome_body(delivery: &Delivery, outcome: Outcome, job: &ReportJob) -> serde_json::Value {
    let mut body = json!({
        "command_uuid": delivery.command_uuid,
        "request_type": delivery.open.request_type,
        "status": outcome.as_str(),
    });
    if let (Some(chain), Some(map)) = (&job.error_chain, body.as_object_mut())
        && let Ok(chain) = serde_json::from_str::<serde_json::Value>(chain)
    {
        map.insert("error_chain".into(), chain);
    }
    body
}
