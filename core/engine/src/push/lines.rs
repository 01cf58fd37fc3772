//! The topics that can be rung, as this process knows them.
//!
//! Owns: for each topic its opened certificate, what it has been through lately, and how much is under way; the pace
//! of each tenant. Follows the table of push certificates: a certificate with another id takes its place at the
//! next look. Never writes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::pace::Bucket;
use super::rules::expiry_warning;
use super::topic::Topic;
use super::transport::PushCertificate;
use crate::clock::{DAY, Micros};
use crate::ids::{EnrollmentId, TenantId};
use crate::store::push::CertificateRow;

/// How it stands with one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicStatus {
    /// The tenant.
    pub tenant: TenantId,
    /// The topic.
    pub topic: String,
    /// The id of the push certificate in use.
    pub certificate: Uuid,
    /// When that one ends.
    pub not_after: Micros,
    /// Since when nothing is pushed, because going on would fail for every device; and why.
    pub stopped: Option<(Micros, String)>,
    /// Since when APNs has not been reachable or has had trouble.
    pub outage_since: Option<Micros>,
}

/// One topic.
pub(super) struct Line {
    pub(super) certificate_id: Uuid,
    /// None: it could not be opened, so nothing is rung.
    pub(super) certificate: Option<Arc<PushCertificate>>,
    pub(super) not_after: Micros,
    pub(super) stopped: Option<(Micros, String)>,
    pub(super) topic: Topic,
    pub(super) in_flight: usize,
    warned: Option<i64>,
}

/// A topic that may be rung now, and how many of its channels.
#[derive(Clone)]
pub(super) struct Turn {
    pub(super) tenant: TenantId,
    pub(super) topic: String,
    pub(super) certificate: Arc<PushCertificate>,
    pub(super) room: usize,
}

type Key = (TenantId, String);

/// All topics and tenants.
#[derive(Default)]
pub(super) struct Lines {
    lines: HashMap<Key, Line>,
    buckets: HashMap<TenantId, Bucket>,
    ringing: HashSet<EnrollmentId>,
}

impl Lines {
    /// Whether a certificate of this row still has to be opened.
    pub(super) fn is_new(&self, row: &CertificateRow) -> bool {
        self.lines
            .get(&(row.tenant, row.topic.clone()))
            .is_none_or(|line| line.certificate_id != row.id)
    }

    /// Takes in the table as it stands. `opened` has the certificates that were [new](Self::is_new).
    pub(super) fn follow(
        &mut self,
        rows: &[CertificateRow],
        mut opened: HashMap<Uuid, Arc<PushCertificate>>,
    ) {
        let known: HashSet<Key> = rows
            .iter()
            .map(|row| (row.tenant, row.topic.clone()))
            .collect();
        self.lines.retain(|key, _| known.contains(key));
        for row in rows {
            let stopped = row
                .stopped_at
                .map(|at| (at, row.stopped_reason.clone().unwrap_or_default()));
            if self.is_new(row) {
                let key = (row.tenant, row.topic.clone());
                // What is under way under the former certificate still counts against the limit.
                let in_flight = self.lines.get(&key).map_or(0, |line| line.in_flight);
                let line = Line {
                    certificate_id: row.id,
                    certificate: opened.remove(&row.id),
                    not_after: row.not_after,
                    stopped,
                    topic: Topic::default(),
                    in_flight,
                    warned: None,
                };
                self.lines.insert(key, line);
            } else if let Some(line) = self.lines.get_mut(&(row.tenant, row.topic.clone())) {
                line.stopped = stopped;
            }
        }
    }

    /// The topics that may be rung now. The pace of a tenant with several topics is shared among them in order.
    pub(super) fn turns(
        &mut self,
        now: Micros,
        limit: usize,
        per_second: u32,
        burst: u32,
    ) -> Vec<Turn> {
        let mut left: HashMap<TenantId, usize> = HashMap::new();
        let mut turns = Vec::new();
        for ((tenant, topic), line) in &self.lines {
            let Some(certificate) = &line.certificate else {
                continue;
            };
            if line.stopped.is_some() || line.not_after <= now {
                continue;
            }
            let left = left.entry(*tenant).or_insert_with(|| {
                self.buckets
                    .entry(*tenant)
                    .or_insert_with(|| Bucket::new(per_second, burst, now))
                    .available(now)
            });
            let room = line.topic.room(now, line.in_flight, limit).min(*left);
            if room > 0 {
                *left -= room;
                turns.push(Turn {
                    tenant: *tenant,
                    topic: topic.clone(),
                    certificate: certificate.clone(),
                    room,
                });
            }
        }
        turns
    }

    /// A ring begins. False: this channel is being rung already.
    pub(super) fn begin(
        &mut self,
        tenant: TenantId,
        topic: &str,
        enrollment: EnrollmentId,
    ) -> bool {
        if !self.ringing.insert(enrollment) {
            return false;
        }
        if let Some(line) = self.lines.get_mut(&(tenant, topic.to_owned())) {
            line.in_flight += 1;
        }
        if let Some(bucket) = self.buckets.get_mut(&tenant) {
            bucket.take(1);
        }
        true
    }

    /// A ring was answered, or not; the channel stays taken until its row is [written](Self::written).
    pub(super) fn answered(&mut self, tenant: TenantId, topic: &str) {
        if let Some(line) = self.lines.get_mut(&(tenant, topic.to_owned())) {
            line.in_flight = line.in_flight.saturating_sub(1);
        }
    }

    /// What became of these rings is in the database, or never will be.
    pub(super) fn written(&mut self, enrollments: &[EnrollmentId]) {
        for enrollment in enrollments {
            self.ringing.remove(enrollment);
        }
    }

    /// The line of a topic, if it still has this certificate.
    pub(super) fn line(
        &mut self,
        tenant: TenantId,
        topic: &str,
        certificate: Uuid,
    ) -> Option<&mut Line> {
        self.lines
            .get_mut(&(tenant, topic.to_owned()))
            .filter(|line| line.certificate_id == certificate)
    }

    /// Tells every tenant's pace whether devices are answered in time.
    pub(super) fn pressure(&mut self, in_time: bool) {
        for bucket in self.buckets.values_mut() {
            bucket.pressure(in_time);
        }
    }

    /// Whether a topic that is neither stopped nor pausing has channels waiting for it.
    pub(super) fn want(&self, backlog: &BTreeMap<TenantId, u64>) -> bool {
        self.lines.iter().any(|((tenant, _), line)| {
            line.certificate.is_some()
                && line.stopped.is_none()
                && line.topic.paused_until().is_none()
                && backlog.get(tenant).is_some_and(|due| *due > 0)
        })
    }

    /// When a topic that pauses may be tried again, the earliest.
    pub(super) fn next_try(&self) -> Option<Micros> {
        self.lines
            .values()
            .filter(|line| line.stopped.is_none() && line.certificate.is_some())
            .filter_map(|line| line.topic.paused_until())
            .min()
    }

    /// Certificates that have ended and are not stopped yet.
    pub(super) fn ended(&self, now: Micros) -> Vec<(TenantId, String, Uuid)> {
        self.lines
            .iter()
            .filter(|(_, line)| line.stopped.is_none() && line.not_after <= now)
            .map(|((tenant, topic), line)| (*tenant, topic.clone(), line.certificate_id))
            .collect()
    }

    /// Warns once at each step towards the end of a certificate, and keeps the gauge.
    pub(super) fn warn_of_expiry(&mut self, now: Micros) {
        for ((tenant, topic), line) in &mut self.lines {
            let days_left = line.not_after.saturating_sub(now).div_euclid(DAY);
            #[expect(clippy::cast_precision_loss, reason = "days")]
            metrics::gauge!("pomona_push_certificate_days_left", "tenant" => tenant.to_string(), "topic" => topic.clone())
                .set(days_left as f64);
            let warning = expiry_warning(line.not_after, now);
            if warning == line.warned {
                continue;
            }
            line.warned = warning;
            if let Some(step) = warning {
                metrics::counter!("pomona_push_certificate_expiry_warnings_total").increment(1);
                tracing::warn!(
                    tenant.id = %tenant, push.topic = %topic, days_left, step,
                    "the push certificate must be renewed under the same Apple account before it ends"
                );
            }
        }
    }

    /// How it stands with each topic, in order.
    pub(super) fn status(&self) -> Vec<TopicStatus> {
        let ordered: BTreeMap<&Key, &Line> = self.lines.iter().collect();
        ordered
            .into_iter()
            .map(|((tenant, topic), line)| TopicStatus {
                tenant: *tenant,
                topic: topic.clone(),
                certificate: line.certificate_id,
                not_after: line.not_after,
                stopped: line.stopped.clone(),
                outage_since: line.topic.out_since(),
            })
            .collect()
    }
}
