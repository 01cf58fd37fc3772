//! Rings the doorbell: tells devices through APNs that something waits for them.
//!
//! Owns: the push certificates, the worker that rings every channel that is due, and the line to APNs. What is due
//! is a row before it is a push (`store::push`): whoever queues a command marks its channels due in the same
//! transaction, and the device's coming clears them. The worker is a reconciler without input: woken by a signal
//! and by a timer, safe to run on several nodes. A push says nothing but "come"; losing or doubling one does no
//! harm, so nothing here is exact except that a channel that is due is rung again until its device comes.
//!
//! Never delivers a command, never ends an enrollment, never logs a token, a push magic or a key.
//!
//! Source: Apple, "Sending notification requests to APNs", "Handling notification responses from APNs".

mod alert;
mod answer;
mod apple;
mod certificate;
mod client;
mod leaf;
mod lines;
mod pace;
mod pusher;
mod round;
mod rules;
#[cfg(test)]
mod tests;
mod topic;
mod transport;

use crate::clock::Micros;
use crate::ids::EnrollmentId;
use crate::store::push as rows;
use crate::store::sql::Batch;

pub use certificate::{
    PushCertificateView, current_topic, import_certificate, resume_topic, show_certificates,
};
pub use client::{APNS_PRODUCTION, ApnsClient, ApnsOptions, ApnsRoots};
pub use lines::TopicStatus;
pub use pusher::{PushOptions, Pusher, PusherHandle, PusherStatus};
pub use transport::{Accepted, ApnsTransport, Notification, PushCertificate, PushFailure, Refusal};

/// The device came, but something is left: it answered `NotNow`, or it was given a command that it has yet to report.
/// It is rung again after a gap that grows with each coming of this kind. What is queued anew makes it due at once all
/// the same (`store::push::mark_due`).
///
/// The caller holds the lock of the devices' head rows.
pub(crate) fn postpone_due(batch: &mut Batch, now: Micros, enrollments: &[EnrollmentId]) {
    rows::postpone_due(batch, now, &rules::GAPS, enrollments);
}
