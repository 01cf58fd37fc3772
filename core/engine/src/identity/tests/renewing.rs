//! Renewal: what is due, and who may renew.

use pomona_cms::Certificate;

use super::client::{Device, Envelope, Outcome, Request, device, open};
use super::*;
use crate::clock::DAY;
use crate::error::Error;
use crate::store::identity as rows;

fn no() -> Outcome {
    Outcome::Refused("2".into())
}

/// A device with its certificate from us, and its enrollment.
struct Enrolled {
    device: Device,
    certificate: Certificate,
    enrollment: EnrollmentId,
}

impl Enrolled {
    async fn new(site: &Site, n: usize) -> Self {
        let grant = site.grant().await;
        let certificate = site
            .enroll_by(&grant, device(n), &format!("enroll{n}"))
            .await
            .certificate();
        let enrollment = site.enroll(certificate.der()).await;
        Self {
            device: Device {
                key: device(n).key,
                certificate: Box::leak(Box::new(certificate.clone())),
            },
            certificate,
            enrollment,
        }
    }

    /// A `RenewalReq` for a new key, signed by the certificate in force.
    async fn renew(
        &self,
        site: &Site,
        to: Device,
        subject: &str,
        challenge: Option<&str>,
        transaction: &str,
    ) -> Outcome {
        let ca = site.ca().await;
        let envelope = Envelope {
            kind: "17",
            ..Envelope::new(&ca, self.device, transaction)
        };
        let request = Request::named(subject);
        let request = match challenge {
            Some(challenge) => request.challenge(challenge),
            None => request,
        };
        let message = envelope.seal(&request.sign(to.key));
        open(&site.post(message).await.body, &envelope)
    }

    fn subject(&self) -> String {
        self.certificate.subject().common_name().unwrap()
    }
}

impl Site {
    async fn due(&self) -> Vec<EnrollmentId> {
        let now = self.now();
        let due = due_renewals(&self.store, now, now + 90 * DAY)
            .await
            .unwrap();
        assert!(due.iter().all(|(tenant, _)| *tenant == self.tenant));
        due.into_iter().map(|(_, enrollment)| enrollment).collect()
    }

    /// What is in a renewal profile, once its signature was checked.
    async fn opened(&self, renewal: &RenewalProfile) -> (GrantId, String) {
        let policy = pomona_cms::Policy::strict();
        let verified = pomona_cms::signed::verify_attached(&renewal.profile, &policy).unwrap();
        scep_values(&verified.content.unwrap())
    }

    async fn set(&self, sql: &str, enrollment: EnrollmentId) {
        let mut tx = self.store.begin().await.unwrap();
        tx.execute(sql, args![enrollment]).await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn a_renewal_is_due_in_the_last_ninety_days_once_until_it_failed(site: Site) {
    let one = Enrolled::new(&site, 0).await;
    assert!(site.due().await.is_empty());
    site.clock.advance((365 - 91) * DAY);
    assert!(site.due().await.is_empty());
    site.clock.advance(DAY + SECOND);
    assert_eq!(site.due().await, [one.enrollment]);

    let renewal = site.issuer.begin_renewal(one.enrollment).await.unwrap();
    assert_eq!(renewal.expires_at, site.now() + HOUR);
    assert!(site.due().await.is_empty(), "one is open");
    site.clock.advance(2 * HOUR);
    assert!(
        site.due().await.is_empty(),
        "one was begun a short while ago"
    );
    site.clock.advance(5 * HOUR);
    assert_eq!(site.due().await, [one.enrollment]);
    site.set(
        "UPDATE enrollment SET state = 3 WHERE id = ?",
        one.enrollment,
    )
    .await;
    assert!(site.due().await.is_empty(), "it has ended");
    let ended = site.issuer.begin_renewal(one.enrollment).await;
    assert!(matches!(ended, Err(Error::Conflict(_))));
    let missing = site.issuer.begin_renewal(EnrollmentId(Uuid::nil())).await;
    assert!(matches!(missing, Err(Error::NotFound(_))));
}

async fn a_renewal_profile_leads_to_a_certificate_of_a_grant_that_names_the_enrollment(site: Site) {
    let one = Enrolled::new(&site, 0).await;
    let replaced = site.issuer.begin_renewal(one.enrollment).await.unwrap();
    let replaced = site.opened(&replaced).await;
    let renewal = site.issuer.begin_renewal(one.enrollment).await.unwrap();
    let grant = site.opened(&renewal).await;
    assert_eq!(grant.0, renewal.grant_id);
    assert!(!format!("{renewal:?}").contains(&grant.1));

    assert_eq!(
        site.enroll_by(&replaced, device(1), "r0").await,
        no(),
        "a later one was begun"
    );
    let certificate = site.enroll_by(&grant, device(1), "r1").await.certificate();
    assert_eq!(certificate.grant_id(), Some(grant.0.0));
    let mut tx = site.store.begin_read().await.unwrap();
    let row = rows::certificate_by_fingerprint(&mut tx, site.tenant, certificate.fingerprint())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.state, row.enrollment),
        (0, None),
        "bound by its Authenticate"
    );
    let grants = rows::renewal_grants(&mut tx, one.enrollment).await.unwrap();
    let issued = grants.iter().find(|one| one.id == grant.0).unwrap();
    assert!(issued.issued_at.is_some());
    let event = tx
        .query_one("SELECT kind, seq FROM event", args![])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(event.text(0).unwrap(), "certificate_issued");
    assert_eq!(event.int(1).unwrap(), 1);
}

async fn a_renewal_request_needs_the_active_certificate_of_that_enrollment(site: Site) {
    let (one, two) = (Enrolled::new(&site, 0).await, Enrolled::new(&site, 1).await);
    let renewal = site.issuer.begin_renewal(one.enrollment).await.unwrap();
    let (grant, challenge) = site.opened(&renewal).await;
    let name = grant.to_string();

    let stranger = two
        .renew(&site, device(2), &name, Some(&challenge), "r1")
        .await;
    assert_eq!(stranger, no(), "another device's certificate");
    let stranger = two
        .renew(&site, device(2), &two.subject(), None, "r2")
        .await;
    assert_eq!(stranger, no(), "nothing was begun for it");
    let link = site.grant().await;
    let wrong = one
        .renew(&site, device(2), &link.0.to_string(), Some(&link.1), "r3")
        .await;
    assert_eq!(wrong, no(), "a link's challenge");
    let wrong = one
        .renew(&site, device(2), &name, Some("guess"), "r4")
        .await;
    assert_eq!(wrong, no(), "a wrong challenge");
    let wrong = one
        .renew(&site, device(2), &two.subject(), None, "r5")
        .await;
    assert_eq!(wrong, no(), "another's subject");
    let unsigned = Enrolled {
        device: device(3),
        certificate: one.certificate.clone(),
        enrollment: one.enrollment,
    };
    let wrong = unsigned
        .renew(&site, device(2), &name, Some(&challenge), "r6")
        .await;
    assert_eq!(
        wrong,
        no(),
        "signed by a certificate that a device made itself"
    );

    let first = one
        .renew(&site, device(2), &one.subject(), None, "r7")
        .await;
    let issued = Outcome::certificate(
        one.renew(&site, device(2), &name, Some(&challenge), "r7")
            .await,
    );
    assert_eq!(
        first.certificate(),
        issued,
        "the same key, the same certificate"
    );
    assert_eq!(issued.grant_id(), Some(grant.0));
    let other = one
        .renew(&site, device(3), &name, Some(&challenge), "r8")
        .await;
    assert_eq!(other, no(), "spent by another key");
}

async fn certificates_that_may_not_act_do_not_renew(site: Site) {
    let one = Enrolled::new(&site, 0).await;
    let renewal = site.issuer.begin_renewal(one.enrollment).await.unwrap();
    let (grant, challenge) = site.opened(&renewal).await;
    let name = grant.to_string();
    for state in [0, 1, 3, 4] {
        let sql = format!("UPDATE certificate SET state = {state} WHERE enrollment_id = ?");
        site.set(&sql, one.enrollment).await;
        let outcome = one
            .renew(&site, device(2), &name, Some(&challenge), "r1")
            .await;
        assert_eq!(outcome, no(), "state {state}");
    }
    site.set(
        "UPDATE certificate SET state = 2 WHERE enrollment_id = ?",
        one.enrollment,
    )
    .await;
    site.set(
        "UPDATE enrollment SET state = 1 WHERE id = ?",
        one.enrollment,
    )
    .await;
    let quarantined = one
        .renew(&site, device(2), &name, Some(&challenge), "r2")
        .await;
    assert_eq!(quarantined, no());
    site.set(
        "UPDATE enrollment SET state = 2 WHERE id = ?",
        one.enrollment,
    )
    .await;

    let revocation = Revocation {
        tenant: site.tenant,
        fingerprint: one.certificate.fingerprint(),
        at: site.now(),
        reason: "removed".into(),
    };
    let good = one
        .renew(&site, device(2), &name, Some(&challenge), "r3")
        .await;
    assert!(matches!(good, Outcome::Issued(_)));
    site.journal.append(&[revocation]).await.unwrap();
    let journalled = one
        .renew(&site, device(2), &name, Some(&challenge), "r3")
        .await;
    assert_eq!(journalled, no());
}

async fn a_client_renews_by_itself_only_when_it_is_due_and_never_once_expired(site: Site) {
    let one = Enrolled::new(&site, 0).await;
    let subject = one.subject();
    assert_eq!(
        one.renew(&site, device(1), &subject, None, "r1").await,
        no()
    );
    site.clock.advance(300 * DAY);
    let first = one.renew(&site, device(1), &subject, None, "r2").await;
    let again = one.renew(&site, device(1), &subject, None, "r2").await;
    assert!(matches!(first, Outcome::Issued(_)));
    assert_eq!(first, again);
    assert_eq!(site.count("certificate").await, 2);
    assert!(site.due().await.is_empty(), "the device does it by itself");
    site.clock.advance(100 * DAY);
    assert_eq!(
        one.renew(&site, device(2), &subject, None, "r3").await,
        no()
    );
    assert_eq!(
        site.due().await,
        [one.enrollment],
        "an expired one comes first"
    );
}

async fn a_revoked_certificate_is_not_given_again(site: Site) {
    let grant = site.grant().await;
    let issued = site.enroll_by(&grant, device(0), "t1").await.certificate();
    let of_it = [(site.tenant, issued.fingerprint())];
    site.store
        .revoke_fingerprints(&of_it, site.now(), "removed")
        .await
        .unwrap();
    assert_eq!(site.enroll_by(&grant, device(0), "t1").await, no());
}

on_both_engines! {
    a_renewal_is_due_in_the_last_ninety_days_once_until_it_failed,
    a_renewal_profile_leads_to_a_certificate_of_a_grant_that_names_the_enrollment,
    a_renewal_request_needs_the_active_certificate_of_that_enrollment,
    certificates_that_may_not_act_do_not_renew,
    a_client_renews_by_itself_only_when_it_is_due_and_never_once_expired,
    a_revoked_certificate_is_not_given_again,
}
