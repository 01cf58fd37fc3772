//! Tables for the rules of enrollment and identity.

use uuid::Uuid;

use super::*;
use crate::clock::DAY;

const NOW: Micros = 1_000 * DAY;
const SILENCE: Micros = 90 * DAY;

fn enrollment(n: u128) -> EnrollmentId {
    EnrollmentId(Uuid::from_u128(n))
}

fn certificate(state: CertificateState, origin: Origin) -> Certificate {
    Certificate {
        id: CertificateId(Uuid::from_u128(99)),
        state,
        origin,
        grant_open: true,
        enrollment: None,
    }
}

fn link() -> Origin {
    Origin::Enrollment {
        ident: None,
        serial_number: None,
    }
}

fn named() -> Origin {
    Origin::Enrollment {
        ident: Some("A".into()),
        serial_number: None,
    }
}

fn device(states: &[EnrollmentState]) -> Device {
    Device {
        known: true,
        left_at: None,
        last_seen_at: Some(NOW - DAY),
        generation: states.len() as i64,
        current: states
            .iter()
            .enumerate()
            .map(|(n, state)| Current {
                id: enrollment(n as u128 + 1),
                generation: n as i64 + 1,
                state: *state,
            })
            .collect(),
    }
}

#[test]
fn a_certificate_acts_only_for_the_enrollment_it_is_bound_to() {
    use CertificateState::*;
    use EnrollmentState as E;
    let ok = |superseded| Ok(Standing::Enabled { superseded });
    let table = [
        (
            "no such certificate",
            None,
            true,
            None,
            Err(Refusal::UnknownCertificate),
        ),
        (
            "issued, never used",
            Some(Issued),
            true,
            None,
            Err(Refusal::NotEnrolled),
        ),
        ("active", Some(Active), true, Some(E::Enabled), ok(false)),
        (
            "superseded",
            Some(Superseded),
            true,
            Some(E::Enabled),
            ok(true),
        ),
        (
            "another device in the body",
            Some(Active),
            false,
            Some(E::Enabled),
            Err(Refusal::ForeignDevice),
        ),
        (
            "revoked",
            Some(Revoked),
            true,
            Some(E::Enabled),
            Err(Refusal::RevokedCertificate),
        ),
        (
            "revoked, and another device",
            Some(Revoked),
            false,
            Some(E::Ended),
            Err(Refusal::RevokedCertificate),
        ),
        (
            "after the end",
            Some(Active),
            true,
            Some(E::Ended),
            Err(Refusal::NotEnrolled),
        ),
        (
            "new generation",
            Some(Pending),
            true,
            Some(E::Pending),
            Ok(Standing::Pending),
        ),
        (
            "renewal",
            Some(Pending),
            true,
            Some(E::Enabled),
            Ok(Standing::Pending),
        ),
        (
            "quarantine",
            Some(Pending),
            true,
            Some(E::Quarantined),
            Ok(Standing::Quarantined),
        ),
        (
            "quarantine, active",
            Some(Active),
            true,
            Some(E::Quarantined),
            Ok(Standing::Quarantined),
        ),
    ];
    for (name, state, same, enrollment, expected) in table {
        assert_eq!(bind(state, same, enrollment), expected, "{name}");
    }
}

/// Name, certificate, device, whether it is the certificate's device, whether the grant names it, and the verdict.
type Case = (
    &'static str,
    Option<Certificate>,
    Device,
    bool,
    bool,
    Result<Opening, Refusal>,
);

#[test]
fn an_authenticate_opens_what_its_grant_allows() {
    use EnrollmentState::*;
    let issued = |origin| certificate(CertificateState::Issued, origin);
    let closed = Certificate {
        grant_open: false,
        ..issued(link())
    };
    let renewal = issued(Origin::Renewal {
        enrollment: enrollment(1),
    });
    let closed_renewal = Certificate {
        grant_open: false,
        ..renewal.clone()
    };
    let bound = |state, to| Certificate {
        enrollment: Some(enrollment(to)),
        ..certificate(state, link())
    };
    let left = Device {
        left_at: Some(NOW - 1),
        ..device(&[Enabled])
    };
    let silent = Device {
        last_seen_at: Some(NOW - SILENCE),
        ..device(&[Enabled])
    };
    let almost = Device {
        last_seen_at: Some(NOW - SILENCE + 1),
        ..device(&[Enabled])
    };
    let crowded = device(&[
        Enabled,
        Quarantined,
        Quarantined,
        Quarantined,
        Quarantined,
        Quarantined,
    ]);
    let generation = |generation| Ok(Opening::Generation { generation });
    let quarantine = |generation| Ok(Opening::Quarantine { generation });
    let table: Vec<Case> = vec![
        (
            "no certificate",
            None,
            Device::default(),
            true,
            false,
            Err(Refusal::UnknownCertificate),
        ),
        (
            "a device never seen",
            Some(issued(link())),
            Device::default(),
            true,
            false,
            generation(1),
        ),
        (
            "a pending device tries again",
            Some(issued(link())),
            device(&[Pending]),
            true,
            false,
            generation(2),
        ),
        (
            "an enabled device",
            Some(issued(link())),
            device(&[Enabled]),
            true,
            false,
            quarantine(2),
        ),
        (
            "an enabled device that left",
            Some(issued(link())),
            left,
            true,
            false,
            generation(2),
        ),
        (
            "an enabled device long silent",
            Some(issued(link())),
            silent,
            true,
            false,
            generation(2),
        ),
        (
            "an enabled device silent for less",
            Some(issued(link())),
            almost,
            true,
            false,
            quarantine(2),
        ),
        (
            "quarantine is full",
            Some(issued(link())),
            crowded,
            true,
            false,
            Err(Refusal::QuarantineFull),
        ),
        (
            "a link that names this device",
            Some(issued(named())),
            device(&[Enabled]),
            true,
            true,
            generation(2),
        ),
        (
            "a link that names another",
            Some(issued(named())),
            device(&[Enabled]),
            true,
            false,
            Err(Refusal::ForeignDevice),
        ),
        (
            "a link that names another, unknown device",
            Some(issued(named())),
            Device::default(),
            true,
            false,
            Err(Refusal::ForeignDevice),
        ),
        (
            "a grant that ended",
            Some(closed),
            Device::default(),
            true,
            false,
            Err(Refusal::GrantEnded),
        ),
        (
            "renewal",
            Some(renewal.clone()),
            device(&[Enabled]),
            true,
            false,
            Ok(Opening::Renewal {
                enrollment: enrollment(1),
            }),
        ),
        (
            "renewal by another device",
            Some(renewal.clone()),
            device(&[Enabled]),
            false,
            false,
            Err(Refusal::ForeignDevice),
        ),
        (
            "renewal of what is over",
            Some(renewal),
            Device {
                known: true,
                ..Device::default()
            },
            true,
            false,
            Err(Refusal::NotEnrolled),
        ),
        (
            "renewal grant that ended",
            Some(closed_renewal),
            device(&[Enabled]),
            true,
            false,
            Err(Refusal::GrantEnded),
        ),
        (
            "active and again",
            Some(bound(CertificateState::Active, 1)),
            device(&[Enabled]),
            true,
            false,
            Ok(Opening::Repeated {
                enrollment: enrollment(1),
            }),
        ),
        (
            "active, another device named",
            Some(bound(CertificateState::Active, 1)),
            device(&[Enabled]),
            false,
            false,
            Err(Refusal::ForeignDevice),
        ),
        (
            "active, enrollment over",
            Some(bound(CertificateState::Active, 9)),
            device(&[Enabled]),
            true,
            false,
            Err(Refusal::NotEnrolled),
        ),
        (
            "revoked",
            Some(bound(CertificateState::Revoked, 1)),
            device(&[Enabled]),
            true,
            false,
            Err(Refusal::RevokedCertificate),
        ),
    ];
    for (name, certificate, device, same, names, expected) in table {
        assert_eq!(
            authenticate(certificate.as_ref(), &device, same, names, NOW, SILENCE),
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_token_update_enables_what_was_opened() {
    use CertificateState as C;
    use EnrollmentState as E;
    let enabled = Standing::Enabled { superseded: false };
    let table = [
        (
            Standing::Pending,
            C::Pending,
            E::Pending,
            true,
            Ok(Enabling::Generation),
        ),
        (
            Standing::Pending,
            C::Pending,
            E::Enabled,
            true,
            Ok(Enabling::Renewal),
        ),
        (enabled, C::Active, E::Enabled, true, Ok(Enabling::Tokens)),
        (
            Standing::Enabled { superseded: true },
            C::Superseded,
            E::Enabled,
            true,
            Ok(Enabling::Tokens),
        ),
        (
            Standing::Quarantined,
            C::Pending,
            E::Quarantined,
            true,
            Ok(Enabling::Quarantined),
        ),
        (
            Standing::Pending,
            C::Pending,
            E::Pending,
            false,
            Err(Refusal::ForeignTopic),
        ),
        (
            enabled,
            C::Active,
            E::Enabled,
            false,
            Err(Refusal::ForeignTopic),
        ),
    ];
    for (standing, certificate, enrollment, topic, expected) in table {
        assert_eq!(
            token_update(standing, certificate, enrollment, topic),
            expected
        );
    }
}
