//! The statements that change a certificate: admitting, binding, superseding, revoking.
//!
//! Owns: every change of a certificate's state, and what of it goes to the journal. All of it runs under the lock of
//! the device's head row. Decides nothing; the rules are in `enrollment`.

use uuid::Uuid;

use super::hot::Ask;
use super::sql::{Row, Tx, args};
use crate::clock::Micros;
use crate::enrollment::{Certificate, CertificateState, Origin};
use crate::error::{Error, Result};
use crate::identity::journal::Revocation;
use crate::ids::{CaId, CertificateId, DeviceId, EnrollmentId, TenantId};

/// A certificate of an external authority that is seen for the first time.
#[derive(Clone, Debug)]
pub(crate) struct ForeignCertificate {
    pub(crate) grant: Uuid,
    pub(crate) certificate: Uuid,
    pub(crate) ca: CaId,
    pub(crate) subject: String,
    pub(crate) not_before: Micros,
    pub(crate) not_after: Micros,
    pub(crate) der: Vec<u8>,
    /// The grant names this device: the authority's policy lists it.
    pub(crate) named: bool,
}

impl ForeignCertificate {
    /// The certificate as the rules see it before it is written.
    pub(crate) fn as_certificate(&self, now: Micros, ask: &Ask) -> Certificate {
        Certificate {
            id: CertificateId(self.certificate),
            state: CertificateState::Issued,
            origin: Origin::Enrollment {
                ident: self.named.then(|| ask.ident.clone()),
                serial_number: None,
            },
            grant_open: self.not_after > now,
            enrollment: None,
        }
    }
}

/// Writes the grant and the certificate of a foreign identity.
pub(crate) async fn admit_foreign(
    tx: &mut Tx,
    now: Micros,
    ask: &Ask,
    foreign: &ForeignCertificate,
) -> Result<()> {
    let named = foreign.named.then(|| ask.ident.clone());
    tx.execute(
        "INSERT INTO identity_grant (id, tenant_id, kind, ca_id, device_ident, created_at, expires_at, issued_at)
         VALUES (?, ?, 'external_ca', ?, ?, ?, ?, ?)",
        args![foreign.grant, ask.tenant, foreign.ca, named, now, foreign.not_after, now],
    )
    .await?;
    tx.execute(
        "INSERT INTO certificate (id, tenant_id, fingerprint, grant_id, state, subject, not_before, not_after, der,
                                  created_at)
         VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
        args![
            foreign.certificate,
            ask.tenant,
            ask.fingerprint,
            foreign.grant,
            foreign.subject.as_str(),
            foreign.not_before,
            foreign.not_after,
            foreign.der.clone(),
            now
        ],
    )
    .await?;
    Ok(())
}

/// Binds a certificate to its enrollment, in state pending, and uses its grant up.
pub(crate) async fn bind_certificate(
    tx: &mut Tx,
    now: Micros,
    certificate: CertificateId,
    device: DeviceId,
    enrollment: EnrollmentId,
) -> Result<()> {
    tx.execute(
        "UPDATE certificate SET state = 1, device_id = ?, enrollment_id = ? WHERE id = ? AND state = 0",
        args![device, enrollment, certificate],
    )
    .await?;
    tx.execute(
        "UPDATE identity_grant SET consumed_at = ?
         WHERE id = (SELECT grant_id FROM certificate WHERE id = ?) AND consumed_at IS NULL",
        args![now, certificate],
    )
    .await?;
    Ok(())
}

/// Moves a certificate to another state.
pub(crate) async fn set_certificate(
    tx: &mut Tx,
    certificate: CertificateId,
    state: CertificateState,
) -> Result<()> {
    tx.execute(
        "UPDATE certificate SET state = ? WHERE id = ?",
        args![state.code(), certificate],
    )
    .await?;
    Ok(())
}

/// The active certificates of an enrollment become superseded.
pub(crate) async fn supersede(
    tx: &mut Tx,
    enrollment: EnrollmentId,
    except: CertificateId,
) -> Result<()> {
    tx.execute(
        "UPDATE certificate SET state = 3 WHERE enrollment_id = ? AND state = 2 AND id <> ?",
        args![enrollment, except],
    )
    .await?;
    Ok(())
}

/// Which certificates are revoked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    /// All of an enrollment that are not revoked yet.
    All(EnrollmentId),
    /// Those that a renewal has replaced.
    Superseded(EnrollmentId),
    /// Those that wait for their `TokenUpdate`, but for this one.
    PendingBut(EnrollmentId, CertificateId),
}

/// Revokes certificates (E7) and returns them for the journal.
pub(crate) async fn revoke(
    tx: &mut Tx,
    now: Micros,
    which: Which,
    reason: &str,
) -> Result<Vec<Revocation>> {
    let (filter, enrollment, except) = match which {
        Which::All(enrollment) => ("state <> 4", enrollment, Uuid::nil()),
        Which::Superseded(enrollment) => ("state = 3", enrollment, Uuid::nil()),
        Which::PendingBut(enrollment, except) => ("state = 1", enrollment, except.0),
    };
    let rows = tx
        .query(
            &format!(
                "UPDATE certificate SET state = 4, ended_at = ?, end_reason = ?
                 WHERE enrollment_id = ? AND id <> ? AND {filter} RETURNING tenant_id, fingerprint"
            ),
            args![now, reason, enrollment, except],
        )
        .await?;
    revocations(&rows, now, reason)
}

/// The pending certificates of an enrollment become active.
pub(crate) async fn activate_pending(tx: &mut Tx, enrollment: EnrollmentId) -> Result<()> {
    tx.execute(
        "UPDATE certificate SET state = 2 WHERE enrollment_id = ? AND state = 1",
        args![enrollment],
    )
    .await?;
    Ok(())
}

/// Renewals whose `TokenUpdate` never came: their certificates end, the old ones stay good (E5).
pub(crate) async fn end_stale_renewals(
    tx: &mut Tx,
    now: Micros,
    before: Micros,
) -> Result<Vec<Revocation>> {
    let rows = tx
        .query(
            "UPDATE certificate SET state = 4, ended_at = ?, end_reason = 'never_completed'
             WHERE state = 1 AND grant_id IN (SELECT id FROM identity_grant WHERE kind = 'renewal' AND consumed_at < ?)
             RETURNING tenant_id, fingerprint",
            args![now, before],
        )
        .await?;
    revocations(&rows, now, "never_completed")
}

/// What the journal keeps of the certificates that an update gave back.
fn revocations(rows: &[Row], now: Micros, reason: &str) -> Result<Vec<Revocation>> {
    rows.iter()
        .map(|row| {
            let fingerprint = row.bytes(1)?.try_into();
            Ok(Revocation {
                tenant: TenantId(row.uuid(0)?),
                fingerprint: fingerprint
                    .map_err(|_| Error::internal("reading a fingerprint", "it has not 32 bytes"))?,
                at: now,
                reason: reason.to_owned(),
            })
        })
        .collect()
}
