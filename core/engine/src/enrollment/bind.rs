//! May this certificate act for the device that the body names?

use super::{CertificateState, EnrollmentState, Refusal};

/// How the acting enrollment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Enrolled. `superseded`: by a certificate that a renewal has replaced (E5).
    Enabled { superseded: bool },
    /// Awaiting its `TokenUpdate`: either a new generation, or a renewal under its new certificate.
    Pending,
    /// Enrolled, without commands, secrets and tokens (E3).
    Quarantined,
}

/// Binds a request to an enrollment (E1, E2, E7). `same_device` says whether the identifiers in the body equal
/// those of the certificate's device after canonical form; `enrollment` is the state of the enrollment that
/// the certificate was bound to.
pub(crate) fn bind(
    certificate: Option<CertificateState>,
    same_device: bool,
    enrollment: Option<EnrollmentState>,
) -> Result<Standing, Refusal> {
    let Some(certificate) = certificate else {
        return Err(Refusal::UnknownCertificate);
    };
    if certificate == CertificateState::Revoked {
        return Err(Refusal::RevokedCertificate);
    }
    let Some(enrollment) = enrollment else {
        return Err(Refusal::NotEnrolled);
    };
    if !same_device {
        return Err(Refusal::ForeignDevice);
    }
    match (certificate, enrollment) {
        (CertificateState::Issued, _) | (_, EnrollmentState::Ended) => Err(Refusal::NotEnrolled),
        (CertificateState::Revoked, _) => Err(Refusal::RevokedCertificate),
        (_, EnrollmentState::Quarantined) => Ok(Standing::Quarantined),
        (CertificateState::Pending, _) | (_, EnrollmentState::Pending) => Ok(Standing::Pending),
        (CertificateState::Active, EnrollmentState::Enabled) => {
            Ok(Standing::Enabled { superseded: false })
        }
        (CertificateState::Superseded, EnrollmentState::Enabled) => {
            Ok(Standing::Enabled { superseded: true })
        }
    }
}
