//! Renewing the identity of an enrolled device.
//!
//! Owns: which enrollments are due, and the grant and profile that renew one. The grant names the enrollment, so that
//! the `Authenticate` which follows is known to be a renewal by what was issued, not by a guess (invariant E5).
//! Never enqueues a command: the engine puts the profile into an `InstallProfile`.
//!
//! A renewal's challenge is good for one hour. A device that sleeps longer gets another profile: begin the renewal when
//! the device is known to be there, and let the command end with the grant.

use super::link::CHALLENGE_LIFE;
use super::profile::{ProfileValues, enrollment_profile};
use super::{Issuer, Link, challenge, link};
use crate::clock::{HOUR, Micros};
use crate::error::{Error, Result};
use crate::ids::{EnrollmentId, GrantId, TenantId};
use crate::store::identity::{self as rows, GrantRow};
use crate::store::{Store, events};

/// After a renewal was begun, another one is not due for this long.
const RETRY: Micros = 6 * HOUR;
/// So many renewals are looked up at once.
const BATCH: i64 = 1_000;

/// What renews the identity of one device.
#[derive(Clone)]
pub struct RenewalProfile {
    /// The signed profile, for `InstallProfile`. It holds a challenge: a secret.
    pub profile: Vec<u8>,
    /// The grant behind it.
    pub grant_id: GrantId,
    /// When the challenge ends; the command should not be sent after it.
    pub expires_at: Micros,
}

impl std::fmt::Debug for RenewalProfile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RenewalProfile")
            .field("grant_id", &self.grant_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Enrollments whose active certificate ends before `before` (usually 90 days from `now`) and has lived half of
/// its life, if no renewal is open and none was begun in the last six hours. The ones that end first come
/// first; at most 1,000.
///
/// # Errors
/// [`Error::Unavailable`] when the database does not answer.
pub async fn due_renewals(
    store: &Store,
    now: Micros,
    before: Micros,
) -> Result<Vec<(TenantId, EnrollmentId)>> {
    let mut tx = store.begin_read().await?;
    let due = rows::due_renewals(&mut tx, now, before, now - RETRY, BATCH).await?;
    tx.rollback().await?;
    Ok(due)
}

impl Issuer {
    /// Begins the renewal of an enrollment: makes a grant that names it, and the profile. Earlier renewals of it that
    /// got no certificate end.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an enrollment that does not exist, [`Error::Conflict`] for one that is not an enabled
    /// device channel or whose tenant has no push certificate.
    pub async fn begin_renewal(&self, enrollment: EnrollmentId) -> Result<RenewalProfile> {
        let store = self.store();
        let now = store.clock().now();
        let mut tx = store.begin_read().await?;
        let renewed = rows::renewed(&mut tx, enrollment)
            .await?
            .ok_or(Error::NotFound("the enrollment"))?;
        tx.rollback().await?;
        let keys = store.keys(renewed.tenant).await?;

        let mut tx = store.begin().await?;
        events::lock_heads(&mut tx, [renewed.device]).await?;
        // Once more under the lock: it may have ended since.
        let renewed = rows::renewed(&mut tx, enrollment)
            .await?
            .filter(|renewed| renewed.state == 2 && renewed.channel == 0)
            .ok_or_else(|| {
                Error::Conflict("only an enabled device channel can be renewed".into())
            })?;
        let secret = challenge::fresh(store.random().as_ref());
        let grant = GrantRow {
            id: GrantId(store.random().uuid(now)),
            tenant: renewed.tenant,
            kind: "renewal".into(),
            link: None,
            ca: None,
            device_ident: Some(renewed.ident),
            device_serial: renewed.serial,
            enrollment: Some(enrollment),
            challenge_hash: Some(challenge::hash(&keys, &secret).to_vec()),
            key_hash: None,
            transaction_id: None,
            created_at: now,
            expires_at: now + CHALLENGE_LIFE,
            issued_at: None,
            consumed_at: None,
            ended_at: None,
        };
        rows::end_waiting_renewals(&mut tx, enrollment, now).await?;
        rows::insert_grant(&mut tx, &grant).await?;
        tx.commit().await?;

        // The topic of an enrollment never changes; the tenant's newest may be another one (E11).
        let plain = self
            .profile_for(renewed.tenant, grant.id, &secret, renewed.topic)
            .await?;
        Ok(RenewalProfile {
            profile: self.sign_profile(renewed.tenant, &plain).await?,
            grant_id: grant.id,
            expires_at: grant.expires_at,
        })
    }

    /// The profile for a link, as a plain property list, with a new grant.
    pub(crate) async fn enrollment_profile(&self, link: &Link) -> Result<Vec<u8>> {
        // What cannot be made shall not leave a grant behind.
        self.topic(link.tenant_id).await?;
        self.issuing(link.tenant_id).await?;
        let (grant, secret) = link::begin_enrollment(self.store(), link).await?;
        self.profile_for(link.tenant_id, grant, &secret, None).await
    }

    /// As [`enrollment_profile`](Self::enrollment_profile), signed by the tenant's authority.
    pub(crate) async fn signed_enrollment_profile(&self, link: &Link) -> Result<Vec<u8>> {
        let plain = self.enrollment_profile(link).await?;
        self.sign_profile(link.tenant_id, &plain).await
    }

    async fn profile_for(
        &self,
        tenant: TenantId,
        grant: GrantId,
        challenge: &str,
        topic: Option<String>,
    ) -> Result<Vec<u8>> {
        let topic = match topic {
            Some(topic) => topic,
            None => self.topic(tenant).await?,
        };
        let issuing = self.issuing(tenant).await?;
        let options = self.options();
        let mut roots = vec![issuing.root.clone()];
        roots.extend(options.trust_anchors.iter().cloned());
        enrollment_profile(&ProfileValues {
            tenant,
            organization: &issuing.organization,
            public_url: &options.public_url,
            topic: &topic,
            sign_message: options.sign_message,
            roots: &roots,
            issuing: &issuing.certificate,
            grant,
            challenge,
            scep_uuid: self.store().random().uuid(self.store().clock().now()),
        })
    }

    async fn topic(&self, tenant: TenantId) -> Result<String> {
        let mut tx = self.store().begin_read().await?;
        let topic = rows::push_topic(&mut tx, tenant).await?;
        tx.rollback().await?;
        topic.ok_or_else(|| {
            Error::Conflict("the organization has to import a push certificate first".into())
        })
    }
}
