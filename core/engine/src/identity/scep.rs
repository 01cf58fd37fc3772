//! The rules of SCEP, as pure functions over values.
//!
//! Owns: which requests issue a certificate. Issuing is decided in one place for all message types, since servers
//! were broken into where only one type was checked. Everything that is not spelt out here is refused. Never sees
//! a transaction, a key or a request's bytes; stands between the codec (`pomona-cms`) and `identity::issue`.
//!
//! A certificate is issued in two cases alone: a `PKCSReq` signed by the key it asks for, with an unspent challenge;
//! and a `RenewalReq` signed by the active certificate of an enrollment, under a renewal of that enrollment
//! (one that was begun, or one that is due). The same key asking again gets the same certificate again, since the
//! answer may have been lost.
//!
//! Source: RFC 8894, sections 2.2, 3.2.1.2, 3.3 and 4.

use pomona_cms::scep::FailInfo;

use crate::clock::{DAY, Micros};
use crate::ids::EnrollmentId;

/// A renewal may begin this long before the end of a certificate, or when half of its life has passed if
/// that is later.
const RENEWAL_WINDOW: Micros = 90 * DAY;

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    /// `PKCSReq` (19).
    Enroll,
    /// `RenewalReq` (17).
    Renew,
    /// `CertPoll` (20).
    Poll,
    /// `GetCert` (21).
    Certificate,
    /// `GetCRL` (22).
    RevocationList,
    /// Anything else: `UpdateReq` (18), `CertRep` (3), or no type that we know.
    Other,
}

/// Who signed a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    /// The key that the request is for, with a certificate that it signed itself.
    Requester,
    /// A key that is not the request's, with a certificate that it signed itself.
    Stranger,
    /// A certificate of ours that is the active one of this enrollment and has not expired.
    Active {
        /// The enrollment.
        enrollment: EnrollmentId,
        /// Whether its renewal is due.
        due: bool,
    },
    /// A certificate of ours that may not act: unknown, not yet in use, superseded, revoked or expired.
    Inactive,
}

/// What became of the challenge in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// There is none.
    Absent,
    /// It is not one of this tenant's.
    Unknown,
    /// It belongs to this grant.
    Of(Grant),
}

/// A grant, as far as issuing is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The enrollment it renews; none for a link.
    pub(crate) renews: Option<EnrollmentId>,
    /// It has not been ended, its time is not over, and its link (if it has one) was not revoked.
    pub(crate) open: bool,
    /// What it was spent for.
    pub(crate) spent: Option<Spent>,
}

/// The certificate that a grant was spent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// It was issued to the key of the request at hand.
    pub(crate) same_key: bool,
    /// It was revoked since.
    pub(crate) revoked: bool,
}

/// A request, as far as issuing is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) ask: Ask,
    pub(crate) signer: Signer,
    pub(crate) challenge: Challenge,
    /// For a `RenewalReq` without challenge: the renewal of the signer's enrollment that was begun last and is still
    /// open, if there is one.
    pub(crate) begun: Option<Grant>,
    /// The subject names the grant at hand or, in a `RenewalReq`, that of the signer's certificate.
    pub(crate) subject_fits: bool,
    /// Another key used the same transaction id before.
    pub(crate) transaction_taken: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Issue a certificate and spend the grant.
    Issue,
    /// Issue a certificate under a renewal grant that is made for it.
    IssueUnasked(EnrollmentId),
    /// Answer with the certificate that was issued before.
    Again,
    /// Refuse.
    Refuse(Refusal),
}

/// Why a message is refused: what the peer is told, and the word for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Refusal {
    pub(crate) fail: FailInfo,
    pub(crate) reason: &'static str,
}

impl Refusal {
    pub(crate) const fn bad_request(reason: &'static str) -> Self {
        Self {
            fail: FailInfo::BadRequest,
            reason,
        }
    }

    pub(crate) const fn bad_alg(reason: &'static str) -> Self {
        Self {
            fail: FailInfo::BadAlg,
            reason,
        }
    }

    pub(crate) const fn bad_message(reason: &'static str) -> Self {
        Self {
            fail: FailInfo::BadMessageCheck,
            reason,
        }
    }
}

/// What a message without a certificate request in it gets, if that is settled by its type alone.
pub(crate) fn settled_by_type(ask: Ask) -> Option<Refusal> {
    match ask {
        Ask::Enroll | Ask::Renew | Ask::Poll => None,
        // A certificate is only ever told to the device that it was issued to, as the answer to its request.
        Ask::Certificate => Some(Refusal {
            fail: FailInfo::BadCertId,
            reason: "certificate_not_given_out",
        }),
        Ask::RevocationList => Some(Refusal::bad_request("no_revocation_list")),
        Ask::Other => Some(Refusal::bad_request("message_type")),
    }
}

/// Judges a request.
pub(crate) fn judge(question: Question) -> Verdict {
    if let Some(refusal) = settled_by_type(question.ask) {
        return Verdict::Refuse(refusal);
    }
    if question.transaction_taken {
        return refuse("transaction_id_taken");
    }
    match question.ask {
        Ask::Enroll => enroll(question),
        Ask::Renew => renew(question),
        Ask::Poll => poll(None),
        Ask::Certificate | Ask::RevocationList | Ask::Other => refuse("message_type"),
    }
}

/// Judges a `CertPoll`. `found` is the grant that was spent under its transaction id. We never let a client wait, so
/// this only repeats an answer that may have been lost.
pub(crate) fn poll(found: Option<Grant>) -> Verdict {
    match found.map(spend) {
        Some(Verdict::Again) => Verdict::Again,
        _ => Verdict::Refuse(Refusal {
            fail: FailInfo::BadCertId,
            reason: "transaction_unknown",
        }),
    }
}

fn enroll(question: Question) -> Verdict {
    if question.signer != Signer::Requester {
        return Verdict::Refuse(Refusal::bad_message("signer_is_not_requester"));
    }
    match question.challenge {
        Challenge::Absent => refuse("challenge_missing"),
        Challenge::Unknown => refuse("challenge_unknown"),
        Challenge::Of(_) if !question.subject_fits => refuse("subject_of_another"),
        Challenge::Of(grant) => spend(grant),
    }
}

fn renew(question: Question) -> Verdict {
    let Signer::Active { enrollment, due } = question.signer else {
        return refuse("signer_is_not_active");
    };
    if !question.subject_fits {
        return refuse("subject_of_another");
    }
    match (question.challenge, question.begun) {
        (Challenge::Unknown, _) => refuse("challenge_unknown"),
        (Challenge::Of(grant), _) | (Challenge::Absent, Some(grant)) => {
            if grant.renews == Some(enrollment) {
                spend(grant)
            } else {
                refuse("grant_of_another_enrollment")
            }
        }
        (Challenge::Absent, None) if due => Verdict::IssueUnasked(enrollment),
        (Challenge::Absent, None) => refuse("challenge_missing"),
    }
}

fn spend(grant: Grant) -> Verdict {
    if !grant.open {
        return refuse("grant_closed");
    }
    match grant.spent {
        None => Verdict::Issue,
        Some(Spent { revoked: true, .. }) => refuse("certificate_revoked"),
        Some(Spent { same_key: true, .. }) => Verdict::Again,
        Some(_) => refuse("challenge_spent"),
    }
}

fn refuse(reason: &'static str) -> Verdict {
    Verdict::Refuse(Refusal::bad_request(reason))
}

/// Whether the renewal of a certificate is due.
pub(crate) fn renewal_due(not_before: Micros, not_after: Micros, now: Micros) -> bool {
    let half = not_after.saturating_sub(not_before) / 2;
    now >= not_after.saturating_sub(RENEWAL_WINDOW.min(half))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const MINE: EnrollmentId = EnrollmentId(Uuid::from_u128(1));
    const OTHER: EnrollmentId = EnrollmentId(Uuid::from_u128(2));

    const ASKS: [Ask; 6] = [
        Ask::Enroll,
        Ask::Renew,
        Ask::Poll,
        Ask::Certificate,
        Ask::RevocationList,
        Ask::Other,
    ];

    fn signers() -> [(&'static str, Signer); 5] {
        let active = |enrollment| Signer::Active {
            enrollment,
            due: false,
        };
        [
            ("requester", Signer::Requester),
            ("stranger", Signer::Stranger),
            ("active", active(MINE)),
            ("active of another", active(OTHER)),
            ("inactive", Signer::Inactive),
        ]
    }

    /// Every state of a challenge, for a grant of the given kind.
    fn challenges(renews: Option<EnrollmentId>) -> Vec<(&'static str, Challenge)> {
        let grant = |open, spent| {
            Challenge::Of(Grant {
                renews,
                open,
                spent,
            })
        };
        let spent = |same_key, revoked| Some(Spent { same_key, revoked });
        vec![
            ("none", Challenge::Absent),
            ("wrong", Challenge::Unknown),
            ("valid", grant(true, None)),
            ("used by another key", grant(true, spent(false, false))),
            ("used by this key", grant(true, spent(true, false))),
            ("used and revoked", grant(true, spent(true, true))),
            ("closed", grant(false, None)),
            ("closed, used by this key", grant(false, spent(true, false))),
        ]
    }

    #[test]
    fn only_two_cells_of_the_table_issue() {
        for renews in [None, Some(MINE)] {
            let mut issuing = Vec::new();
            let mut again = Vec::new();
            for ask in ASKS {
                for (who, signer) in signers() {
                    for (what, challenge) in challenges(renews) {
                        let verdict = judge(Question {
                            ask,
                            signer,
                            challenge,
                            begun: None,
                            subject_fits: true,
                            transaction_taken: false,
                        });
                        match verdict {
                            Verdict::Issue => issuing.push((ask, who, what)),
                            Verdict::Again => again.push((ask, who, what)),
                            Verdict::IssueUnasked(_) => panic!("nothing is due"),
                            Verdict::Refuse(_) => {}
                        }
                    }
                }
            }
            let mut expected = vec![(Ask::Enroll, "requester", "valid")];
            if renews.is_some() {
                expected.push((Ask::Renew, "active", "valid"));
            }
            assert_eq!(issuing, expected);
            for cell in &again {
                assert_eq!(cell.2, "used by this key");
            }
            assert_eq!(again.len(), expected.len());
        }
    }

    #[test]
    fn a_renewal_without_challenge_needs_one_that_is_begun_or_due() {
        let begun = Grant {
            renews: Some(MINE),
            open: true,
            spent: None,
        };
        let ask = |enrollment, due, begun| {
            judge(Question {
                ask: Ask::Renew,
                signer: Signer::Active { enrollment, due },
                challenge: Challenge::Absent,
                begun,
                subject_fits: true,
                transaction_taken: false,
            })
        };
        assert_eq!(ask(MINE, false, Some(begun)), Verdict::Issue);
        assert_eq!(ask(MINE, true, None), Verdict::IssueUnasked(MINE));
        assert_eq!(ask(MINE, false, None), refuse("challenge_missing"));
        assert_eq!(
            ask(OTHER, true, Some(begun)),
            refuse("grant_of_another_enrollment")
        );
    }

    #[test]
    fn a_foreign_subject_and_a_transaction_id_of_another_key_are_refused() {
        let grant = Grant {
            renews: Some(MINE),
            open: true,
            spent: None,
        };
        let active = Signer::Active {
            enrollment: MINE,
            due: true,
        };
        for (ask, signer) in [(Ask::Enroll, Signer::Requester), (Ask::Renew, active)] {
            let question = Question {
                ask,
                signer,
                challenge: Challenge::Of(grant),
                begun: None,
                subject_fits: true,
                transaction_taken: false,
            };
            assert_eq!(judge(question), Verdict::Issue);
            let foreign = Question {
                subject_fits: false,
                ..question
            };
            assert_eq!(judge(foreign), refuse("subject_of_another"));
            let taken = Question {
                transaction_taken: true,
                ..question
            };
            assert_eq!(judge(taken), refuse("transaction_id_taken"));
        }
    }

    #[test]
    fn a_poll_repeats_an_answer_and_tells_nothing_else() {
        let grant = |same_key| Grant {
            renews: None,
            open: true,
            spent: Some(Spent {
                same_key,
                revoked: false,
            }),
        };
        assert_eq!(poll(Some(grant(true))), Verdict::Again);
        for found in [Some(grant(false)), None] {
            let Verdict::Refuse(refusal) = poll(found) else {
                panic!("not refused");
            };
            assert_eq!(refusal.fail, FailInfo::BadCertId);
        }
    }

    #[test]
    fn a_renewal_is_due_in_the_last_ninety_days_or_the_last_half_of_a_shorter_life() {
        let year = 365 * DAY;
        assert!(!renewal_due(0, year, year - 90 * DAY - 1));
        assert!(renewal_due(0, year, year - 90 * DAY));
        assert!(!renewal_due(0, 10 * DAY, 5 * DAY - 1));
        assert!(renewal_due(0, 10 * DAY, 5 * DAY));
        assert!(renewal_due(0, year, 2 * year));
    }
}
