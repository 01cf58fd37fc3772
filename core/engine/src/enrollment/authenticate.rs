//! What an `Authenticate` opens. It destroys nothing (E4): a device rolls a profile back when an answer is lost.

use super::{Certificate, CertificateState, Device, EnrollmentState, Origin, Refusal};
use crate::clock::Micros;
use crate::ids::EnrollmentId;

/// More than this many enrollments of one device do not wait in quarantine at once.
const MAX_QUARANTINED: usize = 5;

/// What is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A new generation; the device's other pending one ends.
    Generation { generation: i64 },
    /// A new enrollment that waits to be released (E3).
    Quarantine { generation: i64 },
    /// The same generation under a new certificate (E5).
    Renewal { enrollment: EnrollmentId },
    /// Nothing: the device repeats itself under a certificate that is already bound.
    Repeated { enrollment: EnrollmentId },
}

/// Judges an `Authenticate` (E1 to E5).
///
/// `names_device` says whether the grant names exactly this device, by identifier or serial number;
/// `same_device` as in [`bind`](super::bind()), true for a certificate that is not bound yet. `silence` is how
/// long a device must have been silent to count as gone.
pub(crate) fn authenticate(
    certificate: Option<&Certificate>,
    device: &Device,
    same_device: bool,
    names_device: bool,
    now: Micros,
    silence: Micros,
) -> Result<Opening, Refusal> {
    let certificate = certificate.ok_or(Refusal::UnknownCertificate)?;
    if certificate.state == CertificateState::Revoked {
        return Err(Refusal::RevokedCertificate);
    }
    if let Some(bound) = certificate
        .enrollment
        .filter(|_| certificate.state != CertificateState::Issued)
    {
        return repeated(device, same_device, bound);
    }
    if let Origin::Renewal { enrollment } = certificate.origin {
        return renewal(certificate, device, same_device, enrollment);
    }
    if !certificate.grant_open {
        return Err(Refusal::GrantEnded);
    }
    let Origin::Enrollment {
        ident,
        serial_number,
    } = &certificate.origin
    else {
        return Err(Refusal::UnknownCertificate);
    };
    let bound_grant = ident.is_some() || serial_number.is_some();
    if bound_grant && !names_device {
        // A grant for another device (T6).
        return Err(Refusal::ForeignDevice);
    }
    let generation = device.generation + 1;
    let enabled = device
        .current
        .iter()
        .any(|current| current.state == EnrollmentState::Enabled);
    if bound_grant || !enabled || gone(device, now, silence) {
        return Ok(Opening::Generation { generation });
    }
    let waiting = device
        .current
        .iter()
        .filter(|current| current.state == EnrollmentState::Quarantined)
        .count();
    if waiting >= MAX_QUARANTINED {
        return Err(Refusal::QuarantineFull);
    }
    Ok(Opening::Quarantine { generation })
}

fn repeated(device: &Device, same_device: bool, bound: EnrollmentId) -> Result<Opening, Refusal> {
    if !same_device {
        return Err(Refusal::ForeignDevice);
    }
    if device.current.iter().any(|current| current.id == bound) {
        Ok(Opening::Repeated { enrollment: bound })
    } else {
        Err(Refusal::NotEnrolled)
    }
}

fn renewal(
    certificate: &Certificate,
    device: &Device,
    same_device: bool,
    enrollment: EnrollmentId,
) -> Result<Opening, Refusal> {
    if !same_device {
        return Err(Refusal::ForeignDevice);
    }
    if !certificate.grant_open {
        return Err(Refusal::GrantEnded);
    }
    let current = device
        .current
        .iter()
        .find(|current| current.id == enrollment);
    match current.map(|current| current.state) {
        Some(EnrollmentState::Enabled) => Ok(Opening::Renewal { enrollment }),
        _ => Err(Refusal::NotEnrolled),
    }
}

/// Whether a device that still has an enabled enrollment is known to have left.
fn gone(device: &Device, now: Micros, silence: Micros) -> bool {
    device.left_at.is_some()
        || device
            .last_seen_at
            .is_some_and(|seen| now.saturating_sub(seen) >= silence)
}
