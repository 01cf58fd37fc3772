//! What a `TokenUpdate` on the device channel does with what its `Authenticate` opened.

use super::{CertificateState, EnrollmentState, Refusal, Standing};

/// What changes besides the stored tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enabling {
    /// The pending generation becomes the enabled one; all that the former had ends (E4).
    Generation,
    /// The renewed certificate takes over; queue, tokens and declarations stay (E5).
    Renewal,
    /// Nothing else.
    Tokens,
    /// Kept aside for the release: the enrollment is in quarantine (E3).
    Quarantined,
}

/// Judges a `TokenUpdate` on the device channel (E4, E5, E6, E11). `certificate` and `enrollment` are those that
/// [`bind`](super::bind()) found; `topic` is the profile's of this generation.
pub(crate) fn token_update(
    standing: Standing,
    certificate: CertificateState,
    enrollment: EnrollmentState,
    same_topic: bool,
) -> Result<Enabling, Refusal> {
    if !same_topic {
        return Err(Refusal::ForeignTopic);
    }
    Ok(match (standing, certificate, enrollment) {
        (Standing::Quarantined, _, _) => Enabling::Quarantined,
        (Standing::Pending, CertificateState::Pending, EnrollmentState::Enabled) => {
            Enabling::Renewal
        }
        (Standing::Pending, _, _) => Enabling::Generation,
        (Standing::Enabled { .. }, _, _) => Enabling::Tokens,
    })
}
