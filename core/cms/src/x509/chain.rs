//! Chains from a certificate to a trusted root.
//!
//! The structure of a chain is judged first and its dates last, so that a chain whose only fault is its age is told apart: a
//! device with an expired identity must still be able to fetch its renewal. Work is bounded: a chain has at most six
//! certificates, and at most 64 signatures are checked for one question, whatever the certificates say about each other.
//! Revocation is not looked at. Source: RFC 5280 section 6, without policies and name constraints (a certificate that
//! constrains names critically is refused).

use super::certificate::{Certificate, CertificateParts};
use super::extension::KeyUsage;
use crate::key::{self, DigestAlgorithm, Scheme};
use crate::oid;

/// Most certificates between leaf and root, both included.
const MAX_LENGTH: usize = 6;
/// Most signature checks for one question.
const MAX_CHECKS: usize = 64;

/// What the leaf certificate is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A device identity: TLS client or message signer. A certificate that names purposes must name TLS client.
    ClientIdentity,
    /// A TLS server.
    TlsServer,
    /// Any end-entity use.
    EndEntity,
    /// The signer of machine information in Automated Device Enrollment. SHA-1 and short RSA keys count, and the dates of
    /// certificates above the leaf are not looked at: the vendor's chain holds an expired member.
    MachineInfo,
}

/// Why a certificate is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Everything holds but the leaf or a CA above it has expired, at this unix second.
    #[error("expired")]
    Expired {
        /// The earliest end of validity in the chain.
        not_after: i64,
    },
    /// Everything holds but a validity has not begun, at this unix second.
    #[error("not yet valid")]
    NotYetValid {
        /// The latest start of validity in the chain.
        not_before: i64,
    },
    /// No chain leads to one of the roots.
    #[error("no chain to a trusted root")]
    Untrusted,
    /// The leaf may not be used for this purpose.
    #[error("certificate not made for this purpose")]
    Purpose,
    /// The leaf is a CA certificate.
    #[error("CA certificate in place of an end entity")]
    LeafIsCa,
    /// A certificate holds a critical extension that is not understood.
    #[error("critical extension not understood")]
    CriticalExtension,
    /// The search was given up.
    #[error("too many possible chains")]
    TooComplex,
}

impl ChainError {
    /// Stable short name for logs and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Expired { .. } => "chain_expired",
            Self::NotYetValid { .. } => "chain_not_yet_valid",
            Self::Untrusted => "chain_untrusted",
            Self::Purpose => "chain_purpose",
            Self::LeafIsCa => "chain_leaf_is_ca",
            Self::CriticalExtension => "chain_critical_extension",
            Self::TooComplex => "chain_too_complex",
        }
    }
}

/// Finds a chain from `leaf` over `intermediates` to one of `roots` and judges it at the given time.
///
/// Roots are trusted as they are: their own dates and signatures do not matter. Returns the root the chain ends in.
///
/// # Errors
/// [`ChainError`]. A date error means that nothing else is wrong with the chain; where several chains exist, one whose dates
/// hold wins.
pub fn verify_chain<'a>(
    leaf: &'a Certificate,
    intermediates: &'a [Certificate],
    roots: &'a [Certificate],
    at_unix_seconds: i64,
    purpose: Purpose,
) -> Result<&'a Certificate, ChainError> {
    judge_leaf(leaf, purpose)?;
    if let Some(root) = roots.iter().find(|root| root.der() == leaf.der()) {
        judge_dates(&[leaf], at_unix_seconds)?;
        return Ok(root);
    }
    let mut search = Search {
        intermediates,
        roots,
        at: at_unix_seconds,
        purpose,
        checks: 0,
        dated: None,
    };
    let mut path = Vec::with_capacity(MAX_LENGTH);
    path.push(leaf);
    match search.extend(&mut path)? {
        Some(root) => Ok(root),
        None => Err(search.dated.unwrap_or(ChainError::Untrusted)),
    }
}

fn judge_leaf(leaf: &Certificate, purpose: Purpose) -> Result<(), ChainError> {
    if leaf.is_ca() {
        return Err(ChainError::LeafIsCa);
    }
    if has_unknown_critical(leaf) {
        return Err(ChainError::CriticalExtension);
    }
    let wanted = match purpose {
        Purpose::ClientIdentity => oid::CLIENT_AUTH,
        Purpose::TlsServer => oid::SERVER_AUTH,
        Purpose::EndEntity | Purpose::MachineInfo => return Ok(()),
    };
    let fits = leaf
        .extended_key_usages()
        .is_none_or(|list| list.contains(&wanted) || list.contains(&oid::ANY_PURPOSE));
    let signs = leaf
        .key_usage()
        .is_none_or(|usage| usage.contains(KeyUsage::DIGITAL_SIGNATURE));
    if fits && signs {
        Ok(())
    } else {
        Err(ChainError::Purpose)
    }
}

fn has_unknown_critical(certificate: &Certificate) -> bool {
    let known = [
        oid::BASIC_CONSTRAINTS,
        oid::KEY_USAGE,
        oid::EXTENDED_KEY_USAGE,
        oid::SUBJECT_ALT_NAME,
        oid::SUBJECT_KEY_ID,
        oid::AUTHORITY_KEY_ID,
    ];
    certificate
        .extensions()
        .iter()
        .any(|one| one.critical && !known.contains(&one.id))
}

fn judge_dates(chain: &[&Certificate], at: i64) -> Result<(), ChainError> {
    let expired = chain.iter().map(|one| one.not_after()).min();
    if let Some(not_after) = expired.filter(|end| *end < at) {
        return Err(ChainError::Expired { not_after });
    }
    let begun = chain.iter().map(|one| one.not_before()).max();
    if let Some(not_before) = begun.filter(|start| *start > at) {
        return Err(ChainError::NotYetValid { not_before });
    }
    Ok(())
}

struct Search<'a> {
    intermediates: &'a [Certificate],
    roots: &'a [Certificate],
    at: i64,
    purpose: Purpose,
    checks: usize,
    /// A chain was found whose only fault was this.
    dated: Option<ChainError>,
}

impl<'a> Search<'a> {
    /// Depth first; the recursion is at most `MAX_LENGTH` deep.
    fn extend(
        &mut self,
        path: &mut Vec<&'a Certificate>,
    ) -> Result<Option<&'a Certificate>, ChainError> {
        let Some(&last) = path.last() else {
            return Ok(None);
        };
        let (roots, intermediates) = (self.roots, self.intermediates);
        for root in roots {
            if self.issued(root, last, path.len())? {
                match self.judge_path(path) {
                    Ok(()) => return Ok(Some(root)),
                    Err(error) => self.dated = Some(error),
                }
            }
        }
        if path.len() + 1 >= MAX_LENGTH {
            return Ok(None);
        }
        for candidate in intermediates {
            let looping = path.iter().any(|one| {
                one.subject() == candidate.subject()
                    && one.public_key_der() == candidate.public_key_der()
            });
            if looping || has_unknown_critical(candidate) {
                continue;
            }
            if self.issued(candidate, last, path.len())? {
                path.push(candidate);
                if let Some(root) = self.extend(path)? {
                    return Ok(Some(root));
                }
                path.pop();
            }
        }
        Ok(None)
    }

    fn judge_path(&self, path: &[&Certificate]) -> Result<(), ChainError> {
        let dated = match self.purpose {
            Purpose::MachineInfo => path.get(..1).unwrap_or_default(),
            _ => path,
        };
        judge_dates(dated, self.at)
    }

    /// Whether `issuer`, which would stand above `below` certificates, signed `subject`.
    fn issued(
        &mut self,
        issuer: &Certificate,
        subject: &Certificate,
        below: usize,
    ) -> Result<bool, ChainError> {
        let names_fit = issuer.subject() == subject.issuer()
            && match (issuer.subject_key_id(), subject.authority_key_id()) {
                (Some(own), Some(claimed)) => own == claimed,
                _ => true,
            };
        let may_issue = issuer.is_ca()
            && issuer
                .key_usage()
                .is_none_or(|usage| usage.contains(KeyUsage::KEY_CERT_SIGN))
            // `below` counts the leaf too, which path lengths do not.
            && issuer
                .path_length()
                .is_none_or(|most| below <= usize::from(most) + 1);
        if !names_fit || !may_issue {
            return Ok(false);
        }
        self.checks += 1;
        if self.checks > MAX_CHECKS {
            return Err(ChainError::TooComplex);
        }
        let old = self.purpose == Purpose::MachineInfo;
        Ok(subject
            .parts()
            .is_ok_and(|parts| signed_by(&parts, issuer.public_key_der(), old)))
    }
}

fn signed_by(parts: &CertificateParts<'_>, public_key_der: &[u8], old: bool) -> bool {
    let Some(Scheme {
        rsa,
        digest: Some(digest),
    }) = Scheme::read(parts.algorithm)
    else {
        return false;
    };
    if digest == DigestAlgorithm::Sha1 && !old {
        return false;
    }
    key::verify(
        public_key_der,
        rsa,
        digest,
        parts.signed,
        parts.signature,
        old,
    )
    .is_ok()
}
