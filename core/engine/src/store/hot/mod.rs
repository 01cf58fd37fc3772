//! The statements of the hot path: many requests of many devices in a handful of statements.
//!
//! Owns: what the batch writer reads for a group of requests (`read`), and how it writes what the rules decided
//! (`write`). However long a list is, it is one statement on PostgreSQL, and one plan on SQLite. Decides nothing.
//!
//! Order within a group: `lock_and_load`, which reads on a snapshot that is newer than its locks, then
//! `named_deliveries`, `finished`, `candidates`; then the writes, in any order.

use super::sql::Row;
use crate::clock::Micros;
use crate::enrollment::{CertificateState, EnrollmentState};
use crate::error::Result;
use crate::ids::{CertificateId, CommandId, DeviceId, EnrollmentId, TenantId};
use crate::inventory::Marks;
use crate::queue::brake::Braking;
use crate::queue::{Disposition, Open, OpenState, Outcome};

mod read;
mod write;

pub(crate) use read::{
    bodies, candidates, finished, left, lock_and_load, named_deliveries, open_of,
};
pub(crate) use write::{finish, keep_orphan, move_open, record_late, save_channels, save_sessions};

/// Who asks, as claimed: the certificate and the identifiers in the body.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) tenant: TenantId,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) ident_kind: i64,
    pub(crate) ident: String,
    pub(crate) channel: i64,
    pub(crate) user_key: String,
}

/// What was found for an [`Ask`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) certificate: Option<FoundCertificate>,
    /// The device-channel enrollment that the certificate is bound to.
    pub(crate) holder: Option<Holder>,
    /// The claimed channel of the holder's generation.
    pub(crate) channel: Option<Channel>,
    /// The command that is outstanding there.
    pub(crate) outstanding: Option<Delivery>,
}

#[derive(Clone, Debug)]
pub(crate) struct FoundCertificate {
    pub(crate) id: CertificateId,
    pub(crate) state: CertificateState,
    pub(crate) not_after: Micros,
    pub(crate) device: Option<DeviceId>,
    /// The identifiers in the body are those of the certificate's device.
    pub(crate) same_device: bool,
    pub(crate) device_revision: i64,
    /// What judging depends on.
    pub(crate) footing: i64,
    pub(crate) marks: Marks,
    pub(crate) os_version: Option<String>,
    /// It has not said which product it is.
    pub(crate) nameless: bool,
    /// It has reported before.
    pub(crate) reported: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    pub(crate) id: EnrollmentId,
    pub(crate) state: EnrollmentState,
}

/// The channel's moving parts; written back by [`save_channels`].
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) enrollment_state: EnrollmentState,
    pub(crate) device: DeviceId,
    pub(crate) tenant: TenantId,
    pub(crate) poll: i64,
    pub(crate) sent_seq: i64,
    pub(crate) last_seen_at: Micros,
    pub(crate) session_started_at: Micros,
    pub(crate) session_requests: i64,
    pub(crate) session_commands: i64,
    pub(crate) session_not_now: i64,
    /// When the channel is rung next, if at all.
    pub(crate) push_due_at: Option<Micros>,
}

/// A row of the open queue, whole.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) open: Open,
    pub(crate) command_uuid: String,
    pub(crate) body_hash: Vec<u8>,
    pub(crate) notnow_count: i64,
    pub(crate) first_sent_at: Option<Micros>,
    pub(crate) last_sent_at: Option<Micros>,
    pub(crate) inputs_sealed: Option<Vec<u8>>,
    pub(crate) pinned_hash: Option<Vec<u8>>,
    /// Its answer tells all that there is, not a selection.
    pub(crate) whole: bool,
    pub(crate) created_at: Micros,
}

/// Where the body to send is found.
impl Delivery {
    pub(crate) fn sent_hash(&self) -> &[u8] {
        self.pinned_hash.as_deref().unwrap_or(&self.body_hash)
    }
}

/// A delivery that leaves the open queue.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) enrollment: EnrollmentId,
    pub(crate) delivery: Delivery,
    pub(crate) disposition: Disposition,
    pub(crate) reason: Option<String>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) report_hash: Option<[u8; 32]>,
    pub(crate) report_sealed: Option<Vec<u8>>,
    pub(crate) error_chain: Option<String>,
}

/// A delivery that stays open in another state.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) delivery: Delivery,
}

/// What is kept of a delivery that left the queue.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub(crate) seq: i64,
    pub(crate) finished_at: Micros,
    pub(crate) command: CommandId,
    pub(crate) request_type: String,
    pub(crate) disposition: Disposition,
    pub(crate) outcome: Option<(Outcome, [u8; 32])>,
    pub(crate) sends: i64,
}

const DELIVERY: &str =
    "d.seq, d.command_id, d.command_uuid, d.request_type, d.body_hash, d.priority,
    d.not_before, d.not_after, d.state, d.sends, d.notnow_count, d.notnow_poll, d.first_sent_at,
    d.last_sent_at, d.inputs_sealed, d.pinned_hash, d.created_at, d.footing, d.whole, d.braking";

/// Reads the columns of [`DELIVERY`] from position `at`.
fn delivery(row: &Row, at: usize) -> Result<Option<Delivery>> {
    let Some(seq) = row.opt_int(at)? else {
        return Ok(None);
    };
    Ok(Some(Delivery {
        open: Open {
            seq,
            command: CommandId(row.uuid(at + 1)?),
            request_type: row.text(at + 3)?,
            priority: row.int(at + 5)?,
            not_before: row.int(at + 6)?,
            not_after: row.opt_int(at + 7)?,
            waits: false,
            footing: row.int(at + 17)?,
            braking: Braking::from_code(row.int(at + 19)?),
            state: OpenState::from_code(row.int(at + 8)?),
            sends: row.int(at + 9)?,
            notnow_poll: row.int(at + 11)?,
        },
        command_uuid: row.text(at + 2)?,
        body_hash: row.bytes(at + 4)?,
        notnow_count: row.int(at + 10)?,
        first_sent_at: row.opt_int(at + 12)?,
        last_sent_at: row.opt_int(at + 13)?,
        inputs_sealed: row.opt_bytes(at + 14)?,
        pinned_hash: row.opt_bytes(at + 15)?,
        created_at: row.int(at + 16)?,
        whole: row.int(at + 18)? == 1,
    }))
}

/// A command that a report names.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// The caller's number.
    pub(crate) n: i64,
    pub(crate) tenant: TenantId,
    pub(crate) enrollment: EnrollmentId,
    pub(crate) command_uuid: String,
}

/// Which channel's next commands are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) n: i64,
    pub(crate) enrollment: EnrollmentId,
    /// The poll in which the command would be sent.
    pub(crate) poll: i64,
    /// The delivery that is being reported; it counts as gone. 0 for none.
    pub(crate) leaving_seq: i64,
}

/// What is left in the queue of a channel that was given nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) enrollment: EnrollmentId,
    /// Something was answered `NotNow`.
    pub(crate) deferred: bool,
    /// Something is outstanding, and a hook held its re-sending back.
    pub(crate) outstanding: bool,
    /// Something may go at the next poll: what it waited for has only just left the queue.
    pub(crate) ready: bool,
    /// The earliest time at which something may go, of what may not go yet.
    pub(crate) from: Option<Micros>,
}
