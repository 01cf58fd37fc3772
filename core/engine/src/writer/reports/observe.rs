//! What answers tell of their devices, kept with the reports.
//!
//! Owns: comparing a section with what was known, its event, and that a device whose version or marks have changed stands on another
//! footing. What an answer means is for `inventory`.

use std::sync::Arc;

use serde_json::json;

use super::{Line, Writes};
use crate::actor::{Actor, Cause};
use crate::clock::Micros;
use crate::error::Result;
use crate::event::{EventKind, NewEvent};
use crate::ids::{CommandId, EnrollmentId, TenantId};
use crate::inventory::{Marks, Seen, merge};
use crate::queue::{Hearing, Outcome};
use crate::store::hot::Delivery;
use crate::store::observations::{self, Place, Written};
use crate::store::sql::{Batch, Tx};

/// An answer that tells something, of one request.
pub(super) struct Told {
    place: Place,
    tenant: TenantId,
    seen: Arc<Seen>,
    enrollment: EnrollmentId,
    command: CommandId,
    /// Version and marks after it, where they are others than before.
    footing: Option<(Marks, Option<String>)>,
}

impl Line<'_> {
    /// What the report tells, if it is the first answer to a query of that kind and tells all.
    fn told(&self, delivery: &Delivery) -> Option<&Arc<Seen>> {
        let seen = self.job.seen.as_ref()?;
        let asked = delivery.open.request_type == seen.source;
        (asked && (delivery.whole || seen.in_parts())).then_some(seen)
    }

    /// On which footing the device stands after this report.
    pub(super) fn footing(&self) -> i64 {
        let Some(certificate) = &self.found.certificate else {
            return 0;
        };
        let moves = self
            .telling()
            .is_some_and(|seen| self.moved(seen).is_some());
        certificate.footing + i64::from(moves)
    }

    /// What this report tells and what will be kept of it.
    pub(super) fn telling(&self) -> Option<&Arc<Seen>> {
        let answers = self.hearing == Some(Hearing::Finished(Outcome::Acknowledged));
        let delivery = self.named.as_ref().filter(|_| answers)?;
        self.told(delivery)
    }

    fn moved(&self, seen: &Seen) -> Option<(Marks, Option<String>)> {
        let certificate = self.found.certificate.as_ref()?;
        if !self.job.ask.user_key.is_empty() {
            return None;
        }
        let marks = certificate.marks.with(seen);
        let version = seen.own("OSVersion");
        let version = version.filter(|version| certificate.os_version.as_deref() != Some(version));
        let product = seen.own("ProductName").is_some() && certificate.nameless;
        (marks != certificate.marks || version.is_some() || product)
            .then(|| (marks, version.map(str::to_owned)))
    }

    /// Notes what the report tells, to be kept.
    pub(super) fn note_told(&self, delivery: &Delivery, writes: &mut Writes) {
        if let (Some(seen), Some(channel)) = (self.told(delivery), &self.found.channel) {
            writes.told.push(Told {
                place: Place {
                    device: channel.device,
                    user_key: self.job.ask.user_key.clone(),
                    section: seen.section,
                },
                tenant: channel.tenant,
                seen: seen.clone(),
                enrollment: channel.enrollment,
                command: delivery.open.command,
                footing: self.moved(seen),
            });
        }
    }
}

/// Keeps what was told.
pub(super) async fn keep(
    tx: &mut Tx,
    now: Micros,
    writes: &mut Writes,
    batch: &mut Batch,
) -> Result<()> {
    if writes.told.is_empty() {
        return Ok(());
    }
    let places: Vec<Place> = writes.told.iter().map(|told| told.place.clone()).collect();
    let mut present = observations::present(tx, &places).await?;
    let mut written = Vec::with_capacity(places.len());
    for told in std::mem::take(&mut writes.told) {
        let tenant = told.tenant;
        let before = present.remove(&told.place);
        let (known, changed_at) = (before.is_some(), before.as_ref().map(|(_, at)| *at));
        let (value, changes) = merge(before.map(|(value, _)| value), &told.seen);
        let device = told.place.device;
        if let Some((marks, version)) = &told.footing {
            let product = told.seen.own("ProductName");
            observations::set_footing(tx, now, device, *marks, version.as_deref(), product).await?;
        } else if changes.any() {
            observations::raise_revision(tx, now, device).await?;
        }
        if changes.any() {
            let (name, build) = (told.seen.own("DeviceName"), told.seen.own("BuildVersion"));
            if told.place.user_key.is_empty() && (name.is_some() || build.is_some()) {
                observations::describe(tx, device, name, build).await?;
            }
            let mut body = json!({
                "section": told.place.section,
                "source": told.seen.source,
                "changes": changes.shown,
            });
            if changes.more > 0 {
                body["more"] = json!(changes.more);
            }
            writes.events.push(NewEvent {
                tenant,
                device,
                enrollment: Some(told.enrollment),
                kind: EventKind::DeviceTold,
                command: Some(told.command),
                actor: Actor::device(device),
                cause: Cause::default(),
                body,
            });
        }
        written.push(Written {
            changed_at: changed_at.filter(|_| !changes.any()),
            place: told.place,
            tenant,
            value,
            source: told.seen.source,
            known,
        });
    }
    observations::write(batch, now, &written);
    Ok(())
}
