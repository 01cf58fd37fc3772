//! The few changes of an enrollment that more than one path makes: enabling a generation, ending an enrollment.
//!
//! Owns: the order of their statements and the events they leave. Used by check-ins and by an administrator's
//! release and removal. Runs under the lock of the device's head row.

use serde_json::json;

use crate::actor::{Actor, Cause};
use crate::clock::Micros;
use crate::enrollment::{CertificateState, EnrollmentState};
use crate::error::Result;
use crate::event::{EventKind, NewEvent};
use crate::identity::journal::Revocation;
use crate::ids::{CertificateId, DeviceId, EnrollmentId, TenantId};
use crate::seal::{Place, TenantKeys};
use crate::store::certificates::{self, Which};
use crate::store::checkin::{self, Traits};
use crate::store::observations;
use crate::store::push;
use crate::store::sql::Tx;

/// What a transaction leaves to do after its commit.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// Events to number and write.
    pub(crate) events: Vec<NewEvent>,
    /// Certificates for the journal.
    pub(crate) revoked: Vec<Revocation>,
}

/// Whom a transition concerns, and who makes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) actor: Actor,
    pub(crate) now: Micros,
}

impl Subject {
    pub(crate) fn event(
        &self,
        enrollment: EnrollmentId,
        kind: EventKind,
        body: serde_json::Value,
    ) -> NewEvent {
        NewEvent {
            tenant: self.tenant,
            device: self.device,
            enrollment: Some(enrollment),
            kind,
            command: None,
            actor: self.actor,
            cause: Cause::default(),
            body,
        }
    }
}

/// E4: `enrollment` becomes the device's enabled one. What the former had ends: commands, tokens, certificates.
pub(crate) async fn enable_generation(
    tx: &mut Tx,
    keys: &TenantKeys,
    subject: Subject,
    enrollment: EnrollmentId,
    certificate: Option<CertificateId>,
    others: &[(EnrollmentId, EnrollmentState)],
    out: &mut Aftermath,
) -> Result<()> {
    for (other, state) in others {
        // A quarantined one of the same device waits on; a pending one has been overtaken.
        if *other != enrollment && *state != EnrollmentState::Quarantined {
            end(tx, subject, *other, "re_enrolled", EventKind::Ended, out).await?;
        }
    }
    checkin::enable(tx, subject.now, subject.device, enrollment).await?;
    observations::forget(tx, subject.device).await?;
    if let Some(certificate) = certificate {
        certificates::set_certificate(tx, certificate, CertificateState::Active).await?;
    }
    if let Some(traits) = traits(tx, keys, enrollment).await? {
        checkin::describe_device(tx, subject.device, &traits).await?;
    }
    // Apple's push service may lose a push sent right after the enrollment; the device comes by itself now, and
    // the pusher rings again later if it does not.
    push::mark_due(tx, subject.now, &[enrollment]).await?;
    out.events
        .push(subject.event(enrollment, EventKind::Enrolled, serde_json::Value::Null));
    Ok(())
}

/// Ends a device-channel enrollment with its users and revokes its certificates (E7).
pub(crate) async fn end(
    tx: &mut Tx,
    subject: Subject,
    enrollment: EnrollmentId,
    reason: &str,
    kind: EventKind,
    out: &mut Aftermath,
) -> Result<()> {
    let ended = checkin::end_enrollment(
        tx,
        subject.now,
        subject.tenant,
        subject.device,
        enrollment,
        reason,
    )
    .await?;
    out.revoked
        .extend(certificates::revoke(tx, subject.now, Which::All(enrollment), reason).await?);
    for one in ended {
        let kind = if one.id == enrollment {
            kind
        } else {
            EventKind::Ended
        };
        let body = json!({
            "reason": reason,
            "was": one.was.as_str(),
            "commands_taken_back": one.cancelled,
        });
        out.events.push(subject.event(one.id, kind, body));
    }
    Ok(())
}

/// What the `Authenticate` of this enrollment said of the device.
async fn traits(
    tx: &mut Tx,
    keys: &TenantKeys,
    enrollment: EnrollmentId,
) -> Result<Option<Traits>> {
    let Some(sealed) = checkin::authenticate_raw(tx, enrollment).await? else {
        return Ok(None);
    };
    let raw = keys.open(authenticate_place(&enrollment), &sealed)?;
    let limits = pomona_protocol::GuardLimits::default();
    Ok(match pomona_protocol::parse_check_in(&raw, &limits) {
        Ok(message) => match message.message {
            pomona_protocol::CheckIn::Authenticate(authenticate) => Some(Traits {
                serial_number: authenticate.serial_number,
                device_name: authenticate.device_name,
                model: authenticate.model,
                product_name: authenticate.product_name,
                os_version: authenticate.os_version,
                build_version: authenticate.build_version,
            }),
            _ => None,
        },
        // It was read once already; a stricter reader since then is no reason to refuse the enrollment.
        Err(_) => None,
    })
}

/// Where a sealed `Authenticate` stands.
pub(crate) fn authenticate_place(enrollment: &EnrollmentId) -> Place<'_> {
    Place {
        table: "enrollment",
        column: "authenticate_sealed",
        row: enrollment.0.as_bytes(),
    }
}
