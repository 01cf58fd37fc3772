//! One round of the pusher: look, claim, write. What lies between, the ringing, is in `answer`.
//!
//! Owns: how rows, rules and the line to APNs come together. Holds no transaction while it rings. Each step may be
//! repeated or lost: a claim is a lease of seconds, and an unwritten result leaves its channel due.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::certificate::open_certificate;
use super::lines::Turn;
use super::pusher::{BETWEEN_CENSUSES, Pusher};
use super::rules::{Due, LEASE, Verdict, micros, verdict};
use super::transport::{Notification, PushCertificate};
use crate::clock::{MINUTE, Micros, SECOND};
use crate::error::Result;
use crate::ids::{DeviceId, EnrollmentId, TenantId};
use crate::seal::{Place, TenantKeys};
use crate::store::push::{self as rows, Claimed, DueRow, Rung};
use crate::store::sql::Tx;

/// A look at the whole table is not repeated before so many times what it took.
const CENSUS_SHARE: u32 = 20;
const LONGEST_BETWEEN_CENSUSES: Duration = Duration::from_secs(1);
/// Refusals under a former certificate that are taken back in one transaction.
const FORGET_AT_ONCE: usize = 500;

/// A channel about to be rung.
pub(super) struct Ring {
    pub(super) enrollment: EnrollmentId,
    pub(super) device: DeviceId,
    pub(super) tenant: TenantId,
    pub(super) certificate: Arc<PushCertificate>,
    /// What is sent; none when what is stored cannot be read.
    pub(super) note: Option<Notification>,
    pub(super) claimed_due: Micros,
    /// This one included.
    pub(super) attempts: i64,
    pub(super) enabled_at: Option<Micros>,
    pub(super) token_updated_at: Option<Micros>,
    pub(super) token_hash: Vec<u8>,
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
        let readers = &self.options.readers;
        let events = rows::record(&mut tx, self.now(), rung, readers).await?;
        tx.commit().await?;
        Ok(events)
    }

    pub(super) fn now(&self) -> Micros {
        self.store.clock().now()
    }

    pub(super) fn dice(&self) -> u8 {
        let mut dice = [0u8; 1];
        self.store.random().fill(&mut dice);
        dice[0]
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
