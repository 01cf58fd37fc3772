//! Gathers what the rules of SCEP want to know about a message.
//!
//! Owns: which rows are read for which message, under a lock where a decision will rest on them, and how they become facts.
//! Never decides and never writes; stands between `issue` and the rules in `scep`.

use pomona_cms::CertificationRequest;
use pomona_cms::scep::{PkiMessage, signer_matches_request};

use super::Issuer;
use super::request::Asked;
use super::scep::{self, Ask, Challenge, Grant, Question, Refusal, Signer, Spent, Verdict};
use crate::clock::{DAY, Micros, SECOND};
use crate::error::Result;
use crate::ids::{DeviceId, EnrollmentId, GrantId, TenantId};
use crate::store::identity::{self as rows, CertificateRow, GrantRow};
use crate::store::sql::Tx;

/// A first request is signed with a certificate that the device made for the moment; one that claims to be good for
/// longer than this is not meant that way.
const LONGEST_SIGNER_LIFE: Micros = 30 * 366 * DAY;

/// A message that was read, and opened where there is something to open.
pub(super) struct Asking<'a> {
    pub(super) tenant: TenantId,
    pub(super) ask: Ask,
    pub(super) message: &'a PkiMessage,
    pub(super) request: Option<(&'a CertificationRequest, Asked)>,
    /// The key that the certificate is for; of a poll, that of the signer.
    pub(super) key_hash: [u8; 32],
    pub(super) challenge_hash: Option<[u8; 32]>,
    pub(super) now: Micros,
}

/// What the rules say, and the rows that they said it about.
pub(super) struct Gathered {
    pub(super) verdict: Verdict,
    pub(super) grant: Option<GrantRow>,
    pub(super) issued: Option<CertificateRow>,
    pub(super) device: Option<DeviceId>,
}

impl Issuer {
    /// Gathers the facts about a message and asks the rules.
    pub(super) async fn gather(
        &self,
        tx: &mut Tx,
        asking: &Asking<'_>,
        lock: bool,
    ) -> Result<Gathered> {
        let transaction = &asking.message.transaction_id;
        let same_transaction = rows::grants_of_transaction(tx, asking.tenant, transaction).await?;
        let ours = |grant: &GrantRow| grant.key_hash.as_deref() == Some(&asking.key_hash[..]);
        let Some((request, asked)) = &asking.request else {
            let grant = same_transaction.into_iter().find(ours);
            let (facts, issued) = facts(tx, asking, grant.as_ref()).await?;
            return Ok(Gathered {
                verdict: scep::poll(facts),
                grant,
                issued,
                device: None,
            });
        };
        let transaction_taken = same_transaction.iter().any(|grant| !ours(grant));

        let (signer, signer_grant) = match asking.ask {
            Ask::Renew => self.signer(tx, asking).await?,
            _ if signer_matches_request(asking.message, request) => {
                let signer = &asking.message.signer;
                let life = signer.not_after().saturating_sub(signer.not_before());
                if life > LONGEST_SIGNER_LIFE / SECOND {
                    return Ok(Gathered::refused("signer_lifetime"));
                }
                (Signer::Requester, None)
            }
            _ => (Signer::Stranger, None),
        };
        let grant = match (asking.challenge_hash, signer) {
            (Some(hash), _) => rows::grant_by_challenge(tx, asking.tenant, hash, lock).await?,
            (None, Signer::Active { enrollment, .. }) => {
                self.begun(tx, asking, enrollment, ours).await?
            }
            (None, _) => None,
        };
        let (facts, issued) = facts(tx, asking, grant.as_ref()).await?;
        let challenge = match (asking.challenge_hash, facts) {
            (None, _) => Challenge::Absent,
            (Some(_), None) => Challenge::Unknown,
            (Some(_), Some(grant)) => Challenge::Of(grant),
        };
        let fits = |id: GrantId| {
            grant.as_ref().map(|grant| grant.id) == Some(id) || signer_grant == Some(id)
        };
        let verdict = scep::judge(Question {
            ask: asking.ask,
            signer,
            challenge,
            begun: facts.filter(|_| asking.challenge_hash.is_none()),
            subject_fits: fits(asked.grant) && asked.alternative.is_none_or(fits),
            transaction_taken,
        });
        let enrollment = match verdict {
            Verdict::IssueUnasked(enrollment) => Some(enrollment),
            _ => grant.as_ref().and_then(|grant| grant.enrollment),
        };
        let device = match enrollment {
            Some(enrollment) => rows::renewed(tx, enrollment).await?.map(|row| row.device),
            None => None,
        };
        Ok(Gathered {
            verdict,
            grant,
            issued,
            device,
        })
    }

    /// Who signed a `RenewalReq`, and the grant of the signer's certificate.
    async fn signer(&self, tx: &mut Tx, asking: &Asking<'_>) -> Result<(Signer, Option<GrantId>)> {
        let fingerprint = asking.message.signer.fingerprint();
        let Some(row) = rows::certificate_by_fingerprint(tx, asking.tenant, fingerprint).await?
        else {
            return Ok((Signer::Stranger, None));
        };
        let in_time = row.not_before <= asking.now && asking.now < row.not_after;
        let revoked = self.0.journal.contains(asking.tenant, &fingerprint);
        let (true, true, false, Some(enrollment)) =
            (row.state == 2, in_time, revoked, row.enrollment)
        else {
            return Ok((Signer::Inactive, None));
        };
        let enabled = rows::renewed(tx, enrollment)
            .await?
            .is_some_and(|found| found.state == 2 && found.channel == 0);
        if !enabled {
            return Ok((Signer::Inactive, None));
        }
        let due = scep::renewal_due(row.not_before, row.not_after, asking.now);
        Ok((Signer::Active { enrollment, due }, Some(row.grant)))
    }

    /// The renewal that a `RenewalReq` without challenge is about: one that this key was given a certificate under, else
    /// the newest that is open and unspent.
    async fn begun(
        &self,
        tx: &mut Tx,
        asking: &Asking<'_>,
        enrollment: EnrollmentId,
        ours: impl Fn(&GrantRow) -> bool,
    ) -> Result<Option<GrantRow>> {
        let open: Vec<GrantRow> = rows::renewal_grants(tx, enrollment)
            .await?
            .into_iter()
            .filter(|grant| is_open(grant, asking.now))
            .collect();
        let spent = open.iter().find(|grant| ours(grant)).cloned();
        Ok(spent.or_else(|| open.into_iter().find(|grant| grant.issued_at.is_none())))
    }
}

impl Gathered {
    fn refused(reason: &'static str) -> Self {
        Self {
            verdict: Verdict::Refuse(Refusal::bad_request(reason)),
            grant: None,
            issued: None,
            device: None,
        }
    }
}

/// A grant as the rules see it, and the certificate that it was spent for.
async fn facts(
    tx: &mut Tx,
    asking: &Asking<'_>,
    grant: Option<&GrantRow>,
) -> Result<(Option<Grant>, Option<CertificateRow>)> {
    let Some(grant) = grant else {
        return Ok((None, None));
    };
    let link_open = match grant.link {
        Some(link) => rows::link_by_id(tx, asking.tenant, link)
            .await?
            .is_some_and(|link| link.revoked_at.is_none()),
        None => grant.kind == "renewal",
    };
    let issued = match grant.issued_at {
        Some(_) => rows::certificate_of_grant(tx, grant.id).await?,
        None => None,
    };
    let spent = grant.issued_at.map(|_| Spent {
        same_key: grant.key_hash.as_deref() == Some(&asking.key_hash[..]),
        // A spent grant without its certificate gives nothing again.
        revoked: issued.as_ref().is_none_or(|row| row.state == 4),
    });
    let facts = Grant {
        renews: grant.enrollment.filter(|_| grant.kind == "renewal"),
        open: link_open && is_open(grant, asking.now),
        spent,
    };
    Ok((Some(facts), issued))
}

fn is_open(grant: &GrantRow, now: Micros) -> bool {
    grant.ended_at.is_none() && grant.expires_at > now
}
