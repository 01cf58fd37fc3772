//! Answers SCEP messages.
//!
//! Owns: the way from a message to its answer: read, open, ask the rules, and issue in one transaction. Facts are gathered
//! twice: once without a lock, so that a guess costs no write; and once more under the locks, so that the same request
//! twice at once issues one certificate and a link is never used more often than it may. Never decides by itself: `scep`
//! and `request` have the rules. The one caller is `http/scep`.

use std::time::Duration;

use moka::sync::Cache;
use pomona_cms::scep::{
    FailInfo, MessageType, PkiMessage, ReplyTo, ScepParseError, ScepPolicy, open_request,
    parse_pki_message, reply_failure, reply_success,
};
use pomona_cms::{Certificate, CertificationRequest, key, x509};

use super::authority::Issuing;
use super::gather::Asking;
use super::request;
use super::scep::{self, Ask, Refusal, Verdict};
use super::{Issuer, challenge};
use crate::actor::{Actor, Cause};
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::ids::{CertificateId, DeviceId, EnrollmentId, GrantId, TenantId};
use crate::store::events;
use crate::store::identity::{self as rows, CertificateRow, GrantRow};
use crate::store::sql::Tx;

/// What a SCEP message gets.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A SCEP message.
    Message {
        /// The message.
        der: Vec<u8>,
        /// It says no.
        refused: bool,
    },
    /// What came is no SCEP message.
    Malformed,
    /// What came is too large.
    TooLarge,
}

/// Nonces of the last hour, and who used them. Each node remembers its own: a repeated message has no effect but to be
/// answered again, so this only catches what no honest client does.
#[derive(Debug)]
pub(super) struct Nonces(Cache<(TenantId, [u8; 16]), [u8; 32]>);

impl Default for Nonces {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(100_000)
                .time_to_live(Duration::from_secs(3_600))
                .build(),
        )
    }
}

impl Nonces {
    /// Whether the nonce was used in another transaction or by another key.
    fn taken(&self, tenant: TenantId, message: &PkiMessage) -> bool {
        let mut who = key::sha256(message.signer.public_key_der()).to_vec();
        who.extend_from_slice(message.transaction_id.as_bytes());
        let who = key::sha256(&who);
        self.0.get_with((tenant, message.sender_nonce), || who) != who
    }
}

impl Issuer {
    /// Answers a SCEP message of at most 64 KiB.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a tenant without an authority, [`Error::Unavailable`] when the database does not answer.
    pub(crate) async fn answer(&self, tenant: TenantId, bytes: &[u8]) -> Result<Answer> {
        let issuing = self.issuing(tenant).await?;
        let policy = if self.options().legacy_scep {
            ScepPolicy::compatible()
        } else {
            ScepPolicy::strict()
        };
        let message = match parse_pki_message(bytes, &policy) {
            Ok(message) => message,
            Err(ScepParseError::Malformed(_) | ScepParseError::NoTransactionId) => {
                return Ok(Answer::Malformed);
            }
            Err(ScepParseError::TooLarge) => return Ok(Answer::TooLarge),
            Err(ScepParseError::Refused { reason, reply_to }) => {
                let word = reason.code();
                return self.refuse(tenant, &issuing, &reply_to, reason.fail_info(), word);
            }
        };
        let refuse = |fail, word| self.refuse(tenant, &issuing, &message.reply_to, fail, word);
        let refuse_for = |refusal: Refusal| refuse(refusal.fail, refusal.reason);

        let ask = ask(message.message_type);
        if let Some(refusal) = scep::settled_by_type(ask) {
            return refuse_for(refusal);
        }
        if self.0.nonces.taken(tenant, &message) {
            return refuse(FailInfo::BadRequest, "nonce_replayed");
        }
        let request = match ask {
            Ask::Poll => None,
            _ => match open_request(&message, issuing.certificate(), issuing.key(), &policy) {
                Ok(request) => Some(request),
                Err(error) => return refuse(error.fail_info(), error.code()),
            },
        };
        let asked = match &request {
            Some(request) => match request::judge(request) {
                Ok(asked) => Some((request, asked)),
                Err(refusal) => return refuse_for(refusal),
            },
            None => None,
        };
        let keys = self.store().keys(tenant).await?;
        let asking = Asking {
            tenant,
            ask,
            message: &message,
            key_hash: match &request {
                Some(request) => request.public_key_fingerprint(),
                None => key::sha256(message.signer.public_key_der()),
            },
            challenge_hash: request
                .as_ref()
                .and_then(CertificationRequest::challenge_password)
                .map(|text| challenge::hash(&keys, text.expose())),
            request: asked,
            now: self.store().clock().now(),
        };
        match self.decide(&issuing, &asking).await? {
            Ok(certificate) => {
                let ca = issuing.as_issuer();
                let reply = reply_success(&message, &certificate, &[], &ca, self.nonce())
                    .map_err(|error| Error::internal("answering a SCEP message", error))?;
                Ok(Answer::Message {
                    der: name_plain_rsa(reply.der),
                    refused: false,
                })
            }
            Err(refusal) => refuse_for(refusal),
        }
    }

    fn refuse(
        &self,
        tenant: TenantId,
        issuing: &Issuing,
        to: &ReplyTo,
        fail: FailInfo,
        word: &'static str,
    ) -> Result<Answer> {
        tracing::info!(tenant.id = %tenant, scep.reason = word, "a SCEP message was refused");
        metrics::counter!("pomona_scep_refused_total", "reason" => word).increment(1);
        let reply = reply_failure(to, fail, &issuing.as_issuer(), self.nonce())
            .map_err(|error| Error::internal("answering a SCEP message", error))?;
        Ok(Answer::Message {
            der: name_plain_rsa(reply.der),
            refused: true,
        })
    }

    fn nonce(&self) -> [u8; 16] {
        let mut nonce = [0u8; 16];
        self.store().random().fill(&mut nonce);
        nonce
    }

    /// Decides, and issues if that is the decision.
    async fn decide(
        &self,
        issuing: &Issuing,
        asking: &Asking<'_>,
    ) -> Result<std::result::Result<Certificate, Refusal>> {
        let mut tx = self.store().begin_read().await?;
        let first = self.gather(&mut tx, asking, false).await?;
        tx.rollback().await?;
        match first.verdict {
            Verdict::Refuse(refusal) => return Ok(Err(refusal)),
            Verdict::Again => return again(first.issued),
            Verdict::Issue | Verdict::IssueUnasked(_) => {}
        }
        // From here on under locks: the device first, then the grant.
        let mut tx = self.store().begin().await?;
        let mut heads = events::lock_heads(&mut tx, first.device).await?;
        let gathered = self.gather(&mut tx, asking, true).await?;
        let grant = match (gathered.verdict, gathered.grant) {
            (Verdict::Refuse(refusal), _) => return Ok(Err(refusal)),
            (Verdict::Again, _) => return again(gathered.issued),
            (Verdict::Issue, Some(grant)) => {
                if let Some(link) = grant.link
                    && !rows::use_link(&mut tx, asking.tenant, link, asking.now).await?
                {
                    return Ok(Err(Refusal::bad_request("link_used_up")));
                }
                let transaction = &asking.message.transaction_id;
                if !rows::spend_grant(&mut tx, grant.id, asking.key_hash, transaction, asking.now)
                    .await?
                {
                    return Ok(Err(Refusal::bad_request("challenge_spent")));
                }
                grant
            }
            (Verdict::IssueUnasked(enrollment), _) => {
                let grant = self.unasked(asking, enrollment, &mut tx).await?;
                rows::insert_grant(&mut tx, &grant).await?;
                grant
            }
            (Verdict::Issue, None) => {
                return Err(Error::internal(
                    "issuing a certificate",
                    "there is no grant",
                ));
            }
        };
        let (row, certificate) = self.issue(issuing, asking, &grant)?;
        rows::insert_certificate(&mut tx, &row).await?;
        let written = match gathered.device.filter(|device| heads.contains_key(device)) {
            Some(device) => {
                let event = issued_event(asking.tenant, device, grant.enrollment, &row);
                let readers = &self.options().readers;
                events::append_locked(&mut tx, asking.now, &mut heads, vec![event], readers).await?
            }
            None => Vec::new(),
        };
        tx.commit().await?;
        if !written.is_empty() {
            (self.options().announce)(written);
        }
        metrics::counter!("pomona_scep_issued_total").increment(1);
        tracing::info!(
            tenant.id = %asking.tenant,
            grant.id = %grant.id,
            certificate.id = %row.id,
            "a certificate was issued"
        );
        Ok(Ok(certificate))
    }

    /// The grant of a renewal that nobody began but that is due.
    async fn unasked(
        &self,
        asking: &Asking<'_>,
        enrollment: EnrollmentId,
        tx: &mut Tx,
    ) -> Result<GrantRow> {
        let renewed = rows::renewed(tx, enrollment)
            .await?
            .ok_or_else(|| Error::internal("issuing a certificate", "there is no enrollment"))?;
        Ok(GrantRow {
            id: GrantId(self.store().random().uuid(asking.now)),
            tenant: asking.tenant,
            kind: "renewal".into(),
            link: None,
            ca: None,
            device_ident: Some(renewed.ident),
            device_serial: renewed.serial,
            enrollment: Some(enrollment),
            challenge_hash: None,
            key_hash: Some(asking.key_hash.to_vec()),
            transaction_id: Some(asking.message.transaction_id.clone()),
            created_at: asking.now,
            expires_at: asking.now + super::link::CHALLENGE_LIFE,
            issued_at: Some(asking.now),
            consumed_at: None,
            ended_at: None,
        })
    }

    /// Signs the certificate and makes its row.
    fn issue(
        &self,
        issuing: &Issuing,
        asking: &Asking<'_>,
        grant: &GrantRow,
    ) -> Result<(CertificateRow, Certificate)> {
        let Some((request, _)) = &asking.request else {
            return Err(Error::internal(
                "issuing a certificate",
                "there is no request",
            ));
        };
        let random = self.store().random().as_ref();
        let issued = issuing.issue(
            random,
            request.subject(),
            request.public_key_der(),
            grant.id,
            asking.now,
            self.options().certificate_life,
        )?;
        let row = CertificateRow {
            id: CertificateId(random.uuid(asking.now)),
            tenant: asking.tenant,
            fingerprint: issued.certificate.fingerprint().to_vec(),
            grant: grant.id,
            // Bound to its device and enrollment by the Authenticate that it is shown with.
            device: None,
            enrollment: None,
            state: 0,
            subject: issued.certificate.subject().to_string(),
            not_before: issued.not_before,
            not_after: issued.not_after,
            der: issued.certificate.der().to_vec(),
            created_at: asking.now,
        };
        Ok((row, issued.certificate))
    }
}

impl Issuing {
    fn as_issuer(&self) -> x509::Issuer<'_> {
        x509::Issuer {
            certificate: self.certificate(),
            key: self.key(),
        }
    }
}

fn again(issued: Option<CertificateRow>) -> Result<std::result::Result<Certificate, Refusal>> {
    let row = issued
        .ok_or_else(|| Error::internal("answering a SCEP message", "there is no certificate"))?;
    Certificate::from_der(&row.der)
        .map(Ok)
        .map_err(|error| Error::internal("reading a certificate", error))
}

fn issued_event(
    tenant: TenantId,
    device: DeviceId,
    enrollment: Option<EnrollmentId>,
    row: &CertificateRow,
) -> NewEvent {
    NewEvent {
        tenant,
        device,
        enrollment,
        kind: EventKind::CertificateIssued,
        command: None,
        actor: Actor::device(device),
        cause: Cause::default(),
        body: serde_json::json!({
            "certificate_id": row.id,
            "fingerprint": hex::encode(&row.fingerprint),
            "not_after": crate::admin::Instant(row.not_after),
        }),
    }
}

/// Names the algorithm of the signature as RSA alone. Beside it stands the digest, and SCEP clients (strongSwan 5.9) know
/// the signature by this older name only; RFC 3370 section 3.2 wants it to be understood by everybody. The
/// field is not signed, and both names are of one length.
fn name_plain_rsa(mut der: Vec<u8>) -> Vec<u8> {
    /// `rsaEncryption`, less its last byte, which tells the digest.
    const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    /// NULL, then a string of 256 bytes: the signature.
    const BEHIND: [u8; 6] = [0x05, 0x00, 0x04, 0x82, 0x01, 0x00];
    let length = RSA.len() + 1 + BEHIND.len();
    let at = der.len().checked_sub(length + 256);
    if let Some(field) = at.and_then(|at| der.get_mut(at..at + length))
        && field.starts_with(&RSA)
        && field.ends_with(&BEHIND)
        && let Some(digest) = field.get_mut(RSA.len())
    {
        *digest = 1;
    }
    der
}

fn ask(kind: MessageType) -> Ask {
    match kind {
        MessageType::PkcsReq => Ask::Enroll,
        MessageType::RenewalReq => Ask::Renew,
        MessageType::CertPoll => Ask::Poll,
        MessageType::GetCert => Ask::Certificate,
        MessageType::GetCrl => Ask::RevocationList,
        MessageType::CertRep | MessageType::UpdateReq | MessageType::Other(_) => Ask::Other,
    }
}
