//! Who a device is: authorities, links, grants, certificates and their end.
//!
//! Owns: the certificate authority of each tenant, the ways in which a certificate comes to be (enrollment link,
//! renewal, an authority of the operator's), SCEP's decisions, enrollment profiles, and the revocation journal. Every
//! certificate belongs to a grant: by the grant id inside it when we issued it, by its fingerprint otherwise
//! (invariant E1). Never decides what a certificate may do afterwards: `enrollment` does. `http/scep` and
//! `http/enroll` stand above it, `store::identity` below.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use url::Url;

mod authority;
mod challenge;
mod foreign;
mod gather;
mod issue;
pub(crate) mod journal;
mod link;
mod profile;
mod refusals;
mod renewal;
mod request;
mod scep;
#[cfg(test)]
mod tests;

pub(crate) use authority::make_authority;
pub use authority::{Authority, AuthorityKind, create_authority, list_authorities};
pub use foreign::{
    ExternalPolicy, ForeignIdentity, PermittedDevices, add_external, foreign, retire_external,
};
pub use journal::{Fingerprint, Journal, Revocation};
pub use link::{CreatedLink, Link, LinkState, NewLink, create_link, link, list_links, revoke_link};
pub use renewal::{RenewalProfile, due_renewals};

pub(crate) use issue::Answer;
pub(crate) use profile::OWN_PREFIX;

use crate::clock::{DAY, Micros};
use crate::error::Result;
use crate::event::Event;
use crate::hooks::HookTable;
use crate::ids::{CaId, TenantId};
use crate::store::Store;
use authority::Issuing;
use issue::Nonces;
use refusals::Refusals;

/// So many rows are compared at once.
const RECONCILE_PAGE: i64 = 5_000;

/// How certificates and profiles are made.
#[derive(Clone)]
pub struct IssuerOptions {
    /// `https://host[:port]` as devices see it; it stands in installed profiles for ever.
    pub public_url: Url,
    /// Whether devices shall sign their messages (`Mdm-Signature`), for servers whose TLS is ended by others.
    pub sign_message: bool,
    /// Authorities beyond the tenant's root that a device shall trust, as DER; for a server whose TLS
    /// certificate no public authority issued.
    pub trust_anchors: Vec<Vec<u8>>,
    /// Whether SCEP takes SHA-1 and triple DES, to which devices fall back that did not read what we can do.
    pub legacy_scep: bool,
    /// How long a device certificate lives, in microseconds; one year unless told otherwise.
    pub certificate_life: Micros,
    /// Who handles the events that are written here.
    pub readers: HookTable,
    /// Called with the events that were written, after the commit.
    pub announce: Arc<dyn Fn(Vec<Event>) + Send + Sync>,
}

impl IssuerOptions {
    /// Options with everything but the URL as it usually is.
    pub fn new(public_url: Url) -> Self {
        Self {
            public_url,
            sign_message: false,
            trust_anchors: Vec::new(),
            legacy_scep: true,
            certificate_life: 365 * DAY,
            readers: HookTable::default(),
            announce: Arc::new(|_| {}),
        }
    }
}

impl std::fmt::Debug for IssuerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuerOptions")
            .field("public_url", &self.public_url.as_str())
            .field("sign_message", &self.sign_message)
            .field("certificate_life", &self.certificate_life)
            .finish_non_exhaustive()
    }
}

/// Issues certificates and makes profiles, for all tenants. Clones share everything.
#[derive(Clone, Debug)]
pub struct Issuer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    journal: Journal,
    options: IssuerOptions,
    refusals: Refusals,
    nonces: Nonces,
    /// Opened signing keys; an authority never changes its key.
    opened: Cache<CaId, Arc<Issuing>>,
}

impl Issuer {
    /// An issuer over this store.
    pub fn new(store: Store, journal: Journal, options: IssuerOptions) -> Self {
        Self(Arc::new(Inner {
            store,
            journal,
            options,
            refusals: Refusals::default(),
            nonces: Nonces::default(),
            opened: Cache::builder()
                .max_capacity(1_000)
                .time_to_idle(Duration::from_secs(3_600))
                .build(),
        }))
    }

    /// The options it was made with.
    pub fn options(&self) -> &IssuerOptions {
        &self.0.options
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    /// The DER of the tenant's issuing authority, which SCEP clients encrypt to.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] for a tenant without one.
    pub async fn ca_certificate(&self, tenant: TenantId) -> Result<Vec<u8>> {
        Ok(self.issuing(tenant).await?.certificate.clone())
    }

    /// The link that a URL opens, in whatever state it is, and the name of its tenant.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database does not answer.
    pub(crate) async fn open_link(&self, url_token: &str) -> Result<Option<(Link, String)>> {
        link::opened(self.store(), url_token).await
    }

    /// How many seconds a peer has to wait that was refused too often.
    pub(crate) fn must_wait(&self, peer: Option<IpAddr>) -> Option<i64> {
        self.0.refusals.wait(peer, self.store().clock().now())
    }

    /// Counts a refusal of this peer.
    pub(crate) fn refused(&self, peer: Option<IpAddr>) {
        self.0.refusals.charge(peer, self.store().clock().now());
    }
}

/// Makes the database and the journal agree on what is revoked, so that an older backup of the database revives nobody
/// (invariant E7), and a journal that a crash cut short is made whole again. Call it at start, before a request is
/// served. Says how many certificates the database had not marked.
///
/// # Errors
/// [`crate::Error::Unavailable`] when the database does not answer or the journal cannot be written.
pub async fn reconcile(store: &Store, journal: &Journal) -> Result<u64> {
    let now = store.clock().now();
    let marked = store
        .revoke_fingerprints(&journal.revoked(), now, "journal")
        .await?;
    let mut after = None;
    loop {
        let page = store.revoked_certificates(after, RECONCILE_PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(marked);
        };
        after = Some(*last);
        let revocations: Vec<Revocation> = page.into_iter().map(|(_, one)| one).collect();
        journal.append(&revocations).await?;
    }
}
