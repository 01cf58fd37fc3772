//! Statements about authorities, links, grants and certificates.
//!
//! Owns: the rows of `ca`, `enrollment_link`, `identity_grant` and `certificate` as the `identity` module needs them.
//! Decides nothing: a row comes up as it stands, under a lock where a decision rests on it, and goes down as it was
//! decided. Locks are taken device head first, then grant, as everywhere. It is long since each of the four tables is
//! spelt out once, as a row and as its columns in one order.

use uuid::Uuid;

use super::Store;
use super::sql::{Arg, Column, Row, Tx, args};
use crate::clock::Micros;
use crate::error::Result;
use crate::identity::journal::Revocation;
use crate::ids::{CaId, CertificateId, DeviceId, EnrollmentId, GrantId, LinkId, TenantId};

/// A row of `ca`.
#[derive(Clone, Debug)]
pub(crate) struct CaRow {
    pub(crate) id: CaId,
    pub(crate) tenant: TenantId,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) certificate: Vec<u8>,
    pub(crate) key_sealed: Option<Vec<u8>>,
    pub(crate) policy: String,
    pub(crate) not_after: Micros,
    pub(crate) created_at: Micros,
    pub(crate) retired_at: Option<Micros>,
}

const CA: &str =
    "id, tenant_id, kind, name, certificate, key_sealed, policy, not_after, created_at, retired_at";

fn ca_row(row: &Row) -> Result<CaRow> {
    Ok(CaRow {
        id: CaId(row.uuid(0)?),
        tenant: TenantId(row.uuid(1)?),
        kind: row.text(2)?,
        name: row.text(3)?,
        certificate: row.bytes(4)?,
        key_sealed: row.opt_bytes(5)?,
        policy: row.text(6)?,
        not_after: row.int(7)?,
        created_at: row.int(8)?,
        retired_at: row.opt_int(9)?,
    })
}

/// A row of `enrollment_link`.
#[derive(Clone, Debug)]
pub(crate) struct LinkRow {
    pub(crate) id: LinkId,
    pub(crate) tenant: TenantId,
    pub(crate) token_hash: Vec<u8>,
    pub(crate) name: String,
    pub(crate) max_uses: i64,
    pub(crate) uses: i64,
    pub(crate) device_udid: Option<String>,
    pub(crate) device_serial: Option<String>,
    pub(crate) created_by: Option<Uuid>,
    pub(crate) created_at: Micros,
    pub(crate) expires_at: Micros,
    pub(crate) revoked_at: Option<Micros>,
}

const LINK: &str =
    "id, tenant_id, token_hash, name, max_uses, uses, device_udid, device_serial, created_by,
                    created_at, expires_at, revoked_at";

fn link_row(row: &Row) -> Result<LinkRow> {
    Ok(LinkRow {
        id: LinkId(row.uuid(0)?),
        tenant: TenantId(row.uuid(1)?),
        token_hash: row.bytes(2)?,
        name: row.text(3)?,
        max_uses: row.int(4)?,
        uses: row.int(5)?,
        device_udid: row.opt_text(6)?,
        device_serial: row.opt_text(7)?,
        created_by: row.opt_uuid(8)?,
        created_at: row.int(9)?,
        expires_at: row.int(10)?,
        revoked_at: row.opt_int(11)?,
    })
}

/// A row of `identity_grant`.
#[derive(Clone, Debug)]
pub(crate) struct GrantRow {
    pub(crate) id: GrantId,
    pub(crate) tenant: TenantId,
    pub(crate) kind: String,
    pub(crate) link: Option<LinkId>,
    pub(crate) ca: Option<CaId>,
    pub(crate) device_ident: Option<String>,
    pub(crate) device_serial: Option<String>,
    pub(crate) enrollment: Option<EnrollmentId>,
    pub(crate) challenge_hash: Option<Vec<u8>>,
    pub(crate) key_hash: Option<Vec<u8>>,
    pub(crate) transaction_id: Option<String>,
    pub(crate) created_at: Micros,
    pub(crate) expires_at: Micros,
    pub(crate) issued_at: Option<Micros>,
    pub(crate) consumed_at: Option<Micros>,
    pub(crate) ended_at: Option<Micros>,
}

const GRANT: &str =
    "id, tenant_id, kind, link_id, ca_id, device_ident, device_serial, enrollment_id,
                     challenge_hash, key_hash, transaction_id, created_at, expires_at, issued_at,
                     consumed_at, ended_at";

fn grant_row(row: &Row) -> Result<GrantRow> {
    Ok(GrantRow {
        id: GrantId(row.uuid(0)?),
        tenant: TenantId(row.uuid(1)?),
        kind: row.text(2)?,
        link: row.opt_uuid(3)?.map(LinkId),
        ca: row.opt_uuid(4)?.map(CaId),
        device_ident: row.opt_text(5)?,
        device_serial: row.opt_text(6)?,
        enrollment: row.opt_uuid(7)?.map(EnrollmentId),
        challenge_hash: row.opt_bytes(8)?,
        key_hash: row.opt_bytes(9)?,
        transaction_id: row.opt_text(10)?,
        created_at: row.int(11)?,
        expires_at: row.int(12)?,
        issued_at: row.opt_int(13)?,
        consumed_at: row.opt_int(14)?,
        ended_at: row.opt_int(15)?,
    })
}

/// A row of `certificate`.
#[derive(Clone, Debug)]
pub(crate) struct CertificateRow {
    pub(crate) id: CertificateId,
    pub(crate) tenant: TenantId,
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) grant: GrantId,
    pub(crate) device: Option<DeviceId>,
    pub(crate) enrollment: Option<EnrollmentId>,
    pub(crate) state: i64,
    pub(crate) subject: String,
    pub(crate) not_before: Micros,
    pub(crate) not_after: Micros,
    pub(crate) der: Vec<u8>,
    pub(crate) created_at: Micros,
}

const CERTIFICATE: &str =
    "id, tenant_id, fingerprint, grant_id, device_id, enrollment_id, state, subject,
                           not_before, not_after, der, created_at";

fn certificate_row(row: &Row) -> Result<CertificateRow> {
    Ok(CertificateRow {
        id: CertificateId(row.uuid(0)?),
        tenant: TenantId(row.uuid(1)?),
        fingerprint: row.bytes(2)?,
        grant: GrantId(row.uuid(3)?),
        device: row.opt_uuid(4)?.map(DeviceId),
        enrollment: row.opt_uuid(5)?.map(EnrollmentId),
        state: row.int(6)?,
        subject: row.text(7)?,
        not_before: row.int(8)?,
        not_after: row.int(9)?,
        der: row.bytes(10)?,
        created_at: row.int(11)?,
    })
}

/// What the identity of a device needs to know of the enrollment it renews.
#[derive(Clone, Debug)]
pub(crate) struct RenewedRow {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    /// 0 is the device channel.
    pub(crate) channel: i64,
    /// 2 is enabled.
    pub(crate) state: i64,
    pub(crate) ident: String,
    pub(crate) serial: Option<String>,
    pub(crate) topic: Option<String>,
}

/// Appended to a query whose rows must not move under the decision.
pub(super) fn locking(tx: &Tx) -> &'static str {
    // SQLite has one writer, so its transactions are alone from their beginning.
    if tx.is_postgres() { " FOR UPDATE" } else { "" }
}

/// The name of a tenant.
pub(crate) async fn tenant_name(tx: &mut Tx, tenant: TenantId) -> Result<Option<String>> {
    tx.query_one("SELECT name FROM tenant WHERE id = ?", args![tenant])
        .await?
        .map(|row| row.text(0))
        .transpose()
}

/// The topic of the tenant's push certificate: the newest that is not stopped.
pub(crate) async fn push_topic(tx: &mut Tx, tenant: TenantId) -> Result<Option<String>> {
    tx.query_one(
        "SELECT topic FROM push_certificate WHERE tenant_id = ?
         ORDER BY CASE WHEN stopped_at IS NULL THEN 0 ELSE 1 END, created_at DESC LIMIT 1",
        args![tenant],
    )
    .await?
    .map(|row| row.text(0))
    .transpose()
}

pub(crate) async fn insert_ca(tx: &mut Tx, ca: &CaRow) -> Result<()> {
    tx.execute(
        "INSERT INTO ca (id, tenant_id, kind, name, certificate, key_sealed, policy, not_after, created_at,
                         retired_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        args![
            ca.id,
            ca.tenant,
            ca.kind.as_str(),
            ca.name.as_str(),
            ca.certificate.as_slice(),
            ca.key_sealed.clone(),
            ca.policy.as_str(),
            ca.not_after,
            ca.created_at,
            ca.retired_at,
        ],
    )
    .await?;
    Ok(())
}

/// The authorities of a tenant, the oldest first.
pub(crate) async fn list_ca(tx: &mut Tx, tenant: TenantId) -> Result<Vec<CaRow>> {
    tx.query(
        &format!("SELECT {CA} FROM ca WHERE tenant_id = ? ORDER BY created_at, id"),
        args![tenant],
    )
    .await?
    .iter()
    .map(ca_row)
    .collect()
}

/// The authorities whose keys are ours, the oldest first.
pub(crate) async fn own_ca(tx: &mut Tx, tenant: TenantId) -> Result<Vec<CaRow>> {
    tx.query(
        &format!(
            "SELECT {CA} FROM ca WHERE tenant_id = ? AND kind IN ('root', 'issuing')
             ORDER BY created_at, id"
        ),
        args![tenant],
    )
    .await?
    .iter()
    .map(ca_row)
    .collect()
}

/// Keeps two writers from both finding that the tenant has no authority yet.
pub(crate) async fn lock_tenant(tx: &mut Tx, tenant: TenantId) -> Result<bool> {
    let sql = format!("SELECT id FROM tenant WHERE id = ?{}", locking(tx));
    Ok(tx.query_one(&sql, args![tenant]).await?.is_some())
}

/// Retires an external authority; says whether there was one that still counted.
pub(crate) async fn retire_external(
    tx: &mut Tx,
    tenant: TenantId,
    ca: CaId,
    now: Micros,
) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE ca SET retired_at = ? WHERE tenant_id = ? AND id = ? AND kind = 'external'
             AND retired_at IS NULL",
            args![now, tenant, ca],
        )
        .await?;
    Ok(changed > 0)
}

pub(crate) async fn insert_link(tx: &mut Tx, link: &LinkRow) -> Result<()> {
    tx.execute(
        "INSERT INTO enrollment_link (id, tenant_id, token_hash, name, max_uses, uses, device_udid,
                                      device_serial, created_by, created_at, expires_at, revoked_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        args![
            link.id,
            link.tenant,
            link.token_hash.as_slice(),
            link.name.as_str(),
            link.max_uses,
            link.uses,
            link.device_udid.clone(),
            link.device_serial.clone(),
            link.created_by,
            link.created_at,
            link.expires_at,
            link.revoked_at,
        ],
    )
    .await?;
    Ok(())
}

/// Links of a tenant by id, at most `limit` after `after`.
pub(crate) async fn list_links(
    tx: &mut Tx,
    tenant: TenantId,
    after: Option<LinkId>,
    limit: i64,
) -> Result<Vec<LinkRow>> {
    tx.query(
        &format!(
            "SELECT {LINK} FROM enrollment_link WHERE tenant_id = ? AND id > ? ORDER BY id LIMIT ?"
        ),
        args![tenant, after.map_or(Uuid::nil(), |id| id.0), limit],
    )
    .await?
    .iter()
    .map(link_row)
    .collect()
}

pub(crate) async fn link_by_id(
    tx: &mut Tx,
    tenant: TenantId,
    link: LinkId,
) -> Result<Option<LinkRow>> {
    tx.query_one(
        &format!("SELECT {LINK} FROM enrollment_link WHERE tenant_id = ? AND id = ?"),
        args![tenant, link],
    )
    .await?
    .map(|row| link_row(&row))
    .transpose()
}

pub(crate) async fn link_by_token(tx: &mut Tx, token_hash: [u8; 32]) -> Result<Option<LinkRow>> {
    tx.query_one(
        &format!("SELECT {LINK} FROM enrollment_link WHERE token_hash = ?"),
        args![token_hash],
    )
    .await?
    .map(|row| link_row(&row))
    .transpose()
}

/// Revokes a link; says whether it was there. A second time changes nothing.
pub(crate) async fn revoke_link(
    tx: &mut Tx,
    tenant: TenantId,
    link: LinkId,
    now: Micros,
) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE enrollment_link SET revoked_at = COALESCE(revoked_at, ?) WHERE tenant_id = ? AND id = ?",
            args![now, tenant, link],
        )
        .await?;
    Ok(changed > 0)
}

/// Counts one use of a link, if it may be used once more.
pub(crate) async fn use_link(
    tx: &mut Tx,
    tenant: TenantId,
    link: LinkId,
    now: Micros,
) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE enrollment_link SET uses = uses + 1
             WHERE tenant_id = ? AND id = ? AND uses < max_uses AND revoked_at IS NULL AND expires_at > ?",
            args![tenant, link, now],
        )
        .await?;
    Ok(changed > 0)
}

pub(crate) async fn insert_grant(tx: &mut Tx, grant: &GrantRow) -> Result<()> {
    tx.execute(
        "INSERT INTO identity_grant (id, tenant_id, kind, link_id, ca_id, device_ident, device_serial,
             enrollment_id, challenge_hash, key_hash, transaction_id, created_at, expires_at, issued_at,
             consumed_at, ended_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        args![
            grant.id,
            grant.tenant,
            grant.kind.as_str(),
            grant.link,
            grant.ca,
            grant.device_ident.clone(),
            grant.device_serial.clone(),
            grant.enrollment,
            grant.challenge_hash.clone(),
            grant.key_hash.clone(),
            grant.transaction_id.clone(),
            grant.created_at,
            grant.expires_at,
            grant.issued_at,
            grant.consumed_at,
            grant.ended_at,
        ],
    )
    .await?;
    Ok(())
}

/// How many grants of a link wait for their certificate, after those that waited too long are deleted.
pub(crate) async fn waiting_grants(tx: &mut Tx, link: LinkId, now: Micros) -> Result<i64> {
    tx.execute(
        "DELETE FROM identity_grant WHERE link_id = ? AND issued_at IS NULL AND expires_at <= ?",
        args![link, now],
    )
    .await?;
    tx.query_one(
        "SELECT COUNT(*) FROM identity_grant WHERE link_id = ? AND issued_at IS NULL",
        args![link],
    )
    .await?
    .map_or(Ok(0), |row| row.int(0))
}

/// The grant whose challenge hashes to this.
pub(crate) async fn grant_by_challenge(
    tx: &mut Tx,
    tenant: TenantId,
    challenge_hash: [u8; 32],
    lock: bool,
) -> Result<Option<GrantRow>> {
    let lock = if lock { locking(tx) } else { "" };
    let sql = format!(
        "SELECT {GRANT} FROM identity_grant WHERE tenant_id = ? AND challenge_hash = ?{lock}"
    );
    tx.query_one(&sql, args![tenant, challenge_hash])
        .await?
        .map(|row| grant_row(&row))
        .transpose()
}

/// The renewal grants of an enrollment, the newest first.
pub(crate) async fn renewal_grants(tx: &mut Tx, enrollment: EnrollmentId) -> Result<Vec<GrantRow>> {
    let sql = format!(
        "SELECT {GRANT} FROM identity_grant WHERE enrollment_id = ? AND kind = 'renewal'
         ORDER BY created_at DESC, id DESC LIMIT 16{}",
        locking(tx)
    );
    tx.query(&sql, args![enrollment])
        .await?
        .iter()
        .map(grant_row)
        .collect()
}

/// The grants of this tenant that were spent under this transaction id.
pub(crate) async fn grants_of_transaction(
    tx: &mut Tx,
    tenant: TenantId,
    transaction_id: &str,
) -> Result<Vec<GrantRow>> {
    let sql = format!(
        "SELECT {GRANT} FROM identity_grant WHERE tenant_id = ? AND transaction_id = ?
         ORDER BY created_at DESC LIMIT 16"
    );
    tx.query(&sql, args![tenant, transaction_id])
        .await?
        .iter()
        .map(grant_row)
        .collect()
}

/// Spends a grant for a key; says whether it was unspent.
pub(crate) async fn spend_grant(
    tx: &mut Tx,
    grant: GrantId,
    key_hash: [u8; 32],
    transaction_id: &str,
    now: Micros,
) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE identity_grant SET issued_at = ?, key_hash = ?, transaction_id = ?
             WHERE id = ? AND issued_at IS NULL",
            args![now, key_hash, transaction_id, grant],
        )
        .await?;
    Ok(changed > 0)
}

/// Ends the renewals of an enrollment that never got a certificate.
pub(crate) async fn end_waiting_renewals(
    tx: &mut Tx,
    enrollment: EnrollmentId,
    now: Micros,
) -> Result<()> {
    tx.execute(
        "UPDATE identity_grant SET ended_at = ? WHERE enrollment_id = ? AND kind = 'renewal'
         AND issued_at IS NULL AND ended_at IS NULL",
        args![now, enrollment],
    )
    .await?;
    Ok(())
}

pub(crate) async fn insert_certificate(tx: &mut Tx, certificate: &CertificateRow) -> Result<()> {
    tx.execute(
        "INSERT INTO certificate (id, tenant_id, fingerprint, grant_id, device_id, enrollment_id, state,
                                  subject, not_before, not_after, der, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        args![
            certificate.id,
            certificate.tenant,
            certificate.fingerprint.as_slice(),
            certificate.grant,
            certificate.device,
            certificate.enrollment,
            certificate.state,
            certificate.subject.as_str(),
            certificate.not_before,
            certificate.not_after,
            certificate.der.as_slice(),
            certificate.created_at,
        ],
    )
    .await?;
    Ok(())
}

/// The certificate issued under a grant; a grant issues one.
pub(crate) async fn certificate_of_grant(
    tx: &mut Tx,
    grant: GrantId,
) -> Result<Option<CertificateRow>> {
    tx.query_one(
        &format!("SELECT {CERTIFICATE} FROM certificate WHERE grant_id = ? ORDER BY id LIMIT 1"),
        args![grant],
    )
    .await?
    .map(|row| certificate_row(&row))
    .transpose()
}

pub(crate) async fn certificate_by_fingerprint(
    tx: &mut Tx,
    tenant: TenantId,
    fingerprint: [u8; 32],
) -> Result<Option<CertificateRow>> {
    tx.query_one(
        &format!("SELECT {CERTIFICATE} FROM certificate WHERE tenant_id = ? AND fingerprint = ?"),
        args![tenant, fingerprint],
    )
    .await?
    .map(|row| certificate_row(&row))
    .transpose()
}

/// The enrollment that a renewal would be for.
pub(crate) async fn renewed(tx: &mut Tx, enrollment: EnrollmentId) -> Result<Option<RenewedRow>> {
    tx.query_one(
        "SELECT e.tenant_id, e.device_id, e.channel, e.state, d.ident, d.serial_number, e.topic
         FROM enrollment e JOIN device d ON d.id = e.device_id WHERE e.id = ?",
        args![enrollment],
    )
    .await?
    .map(|row| {
        Ok(RenewedRow {
            tenant: TenantId(row.uuid(0)?),
            device: DeviceId(row.uuid(1)?),
            channel: row.int(2)?,
            state: row.int(3)?,
            ident: row.text(4)?,
            serial: row.opt_text(5)?,
            topic: row.opt_text(6)?,
        })
    })
    .transpose()
}

/// Enrollments whose active certificate ends before `before`, has passed half of its life, and for which
/// no renewal was begun since `begun_before` or is still open.
pub(crate) async fn due_renewals(
    tx: &mut Tx,
    now: Micros,
    before: Micros,
    begun_before: Micros,
    limit: i64,
) -> Result<Vec<(TenantId, EnrollmentId)>> {
    tx.query(
        "SELECT c.tenant_id, c.enrollment_id FROM certificate c
         JOIN enrollment e ON e.id = c.enrollment_id
         WHERE c.state = 2 AND e.state = 2 AND e.channel = 0
           AND c.not_after < ? AND c.not_after - (c.not_after - c.not_before) / 2 <= ?
           AND NOT EXISTS (
             SELECT 1 FROM identity_grant g
             WHERE g.enrollment_id = c.enrollment_id AND g.kind = 'renewal'
               AND g.ended_at IS NULL AND g.consumed_at IS NULL
               AND (g.expires_at > ? OR g.created_at > ?))
         ORDER BY c.not_after LIMIT ?",
        args![before, now, now, begun_before, limit],
    )
    .await?
    .iter()
    .map(|row| Ok((TenantId(row.uuid(0)?), EnrollmentId(row.uuid(1)?))))
    .collect()
}

impl Store {
    /// Revoked certificates by id, at most `limit` after `after`.
    pub(crate) async fn revoked_certificates(
        &self,
        after: Option<CertificateId>,
        limit: i64,
    ) -> Result<Vec<(CertificateId, Revocation)>> {
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT id, tenant_id, fingerprint, ended_at, end_reason FROM certificate
                 WHERE state = 4 AND id > ? ORDER BY id LIMIT ?",
                args![after.map_or(Uuid::nil(), |id| id.0), limit],
            )
            .await?;
        tx.rollback().await?;
        let mut out = Vec::with_capacity(rows.len());
        for row in &rows {
            let Ok(fingerprint) = row.bytes(2)?.try_into() else {
                continue;
            };
            let revocation = Revocation {
                tenant: TenantId(row.uuid(1)?),
                fingerprint,
                at: row.opt_int(3)?.unwrap_or_default(),
                reason: row.opt_text(4)?.unwrap_or_default(),
            };
            out.push((CertificateId(row.uuid(0)?), revocation));
        }
        Ok(out)
    }

    /// Marks the certificates with these fingerprints revoked; says how many were not.
    pub(crate) async fn revoke_fingerprints(
        &self,
        revoked: &[(TenantId, [u8; 32])],
        now: Micros,
        reason: &'static str,
    ) -> Result<u64> {
        let mut changed = 0;
        for part in revoked.chunks(5_000) {
            let mut tx = self.begin().await?;
            changed += tx
                .execute_over(
                    vec![
                        ("t", Column::Uuid(part.iter().map(|(t, _)| t.0).collect())),
                        (
                            "f",
                            Column::Bytes(part.iter().map(|(_, f)| f.to_vec()).collect()),
                        ),
                    ],
                    "UPDATE certificate SET state = 4, ended_at = ?, end_reason = ? FROM i
                     WHERE certificate.tenant_id = i.t AND certificate.fingerprint = i.f
                       AND certificate.state <> 4",
                    vec![Arg::Int(now), Arg::Text(reason.to_owned())],
                )
                .await?;
            tx.commit().await?;
        }
        Ok(changed)
    }
}
