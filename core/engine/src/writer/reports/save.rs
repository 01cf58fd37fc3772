//! What a group of reports writes, and when each channel is rung next.
//!
//! Owns: the order in which it is written. Decides nothing about commands: that was done in `reports`, line by line.

use super::Line;
use super::observe::{self, Told};
use crate::clock::Micros;
use crate::enrollment::CertificateState;
use crate::error::Result;
use crate::event::NewEvent;
use crate::ids::EnrollmentId;
use crate::store::hot::{self, Channel, Leaving, Moved};
use crate::store::sql::{Batch, Tx, args};
use crate::store::{certificates, push};
use crate::writer::transitions::Aftermath;

/// What the group writes.
#[derive(Default)]
pub(super) struct Writes {
    pub(super) leaving: Vec<Leaving>,
    pub(super) moved: Vec<Moved>,
    pub(super) events: Vec<NewEvent>,
    pub(super) sessions: Vec<Channel>,
    /// Given nothing, and rung for until now: what is left in their queues decides.
    pub(super) quiet: Vec<EnrollmentId>,
    /// Something is under way or deferred: rung again later.
    pub(super) busy: Vec<EnrollmentId>,
    /// What devices tell of themselves.
    pub(super) told: Vec<Told>,
    /// Rung again at once.
    pub(super) due: Vec<EnrollmentId>,
}

/// Writes what the rules decided. What every group writes is left in `batch`.
pub(super) async fn save(
    tx: &mut Tx,
    now: Micros,
    lines: &[Line<'_>],
    writes: &mut Writes,
    batch: &mut Batch,
    out: &mut Aftermath,
) -> Result<()> {
    for line in lines {
        if let (Some(delivery), Some(channel)) = (&line.send, &line.found.channel) {
            writes.moved.push(Moved {
                enrollment: channel.enrollment,
                delivery: delivery.clone(),
            });
        }
    }
    observe::keep(tx, now, writes, batch).await?;
    hot::finish(batch, now, &writes.leaving);
    hot::move_open(batch, &writes.moved);
    let channels: Vec<&Channel> = lines
        .iter()
        .filter(|line| line.hearing.is_some())
        .filter_map(|line| line.found.channel.as_ref())
        .collect();
    hot::save_channels(batch, &channels);
    hot::save_sessions(batch, &writes.sessions);
    ring_later(tx, now, writes, batch).await?;
    first_reports(tx, now, lines, out).await
}

/// Decides when each channel is rung next. A channel whose queue is empty is not.
async fn ring_later(
    tx: &mut Tx,
    now: Micros,
    writes: &mut Writes,
    batch: &mut Batch,
) -> Result<()> {
    if !writes.quiet.is_empty() {
        // What is left is seen only when what leaves has left.
        tx.run(std::mem::take(batch)).await?;
        let left = hot::left(tx, now, &writes.quiet).await?;
        for left in &left {
            if left.ready && !left.outstanding {
                writes.due.push(left.enrollment);
            } else if left.deferred || left.outstanding {
                writes.busy.push(left.enrollment);
            }
        }
        let (busy, due) = (&writes.busy, &writes.due);
        writes
            .quiet
            .retain(|enrollment| !busy.contains(enrollment) && !due.contains(enrollment));
        if !writes.quiet.is_empty() {
            push::clear_due(tx, &writes.quiet).await?;
        }
        for left in left {
            if let (true, Some(from)) = (writes.quiet.contains(&left.enrollment), left.from) {
                push::mark_due(tx, from, &[left.enrollment]).await?;
            }
        }
    }
    crate::push::postpone_due(batch, now, &writes.busy);
    if !writes.due.is_empty() {
        // A channel may be busy and due; two parts of a batch must not change one row.
        tx.run(std::mem::take(batch)).await?;
        push::mark_due(tx, now, &writes.due).await?;
    }
    Ok(())
}

/// E5: the first report under a renewed certificate ends the one it replaced.
async fn first_reports(
    tx: &mut Tx,
    now: Micros,
    lines: &[Line<'_>],
    out: &mut Aftermath,
) -> Result<()> {
    for line in lines {
        let (Some(certificate), Some(holder), Some(_)) =
            (&line.found.certificate, line.found.holder, line.hearing)
        else {
            continue;
        };
        if certificate.reported || certificate.state != CertificateState::Active {
            continue;
        }
        tx.execute(
            "UPDATE certificate SET first_report_at = ? WHERE id = ?",
            args![now, certificate.id],
        )
        .await?;
        let replaced = certificates::Which::Superseded(holder.id);
        out.revoked
            .extend(certificates::revoke(tx, now, replaced, "renewed").await?);
    }
    Ok(())
}
