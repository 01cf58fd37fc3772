//! The certificate authority of a tenant: a root and one issuing authority under it.
//!
//! Owns: making both at set-up, opening the issuing key when it is needed, and everything that is signed with it: device
//! certificates and profiles. The root signs the issuing authority and nothing else. The issuing key is RSA since it
//! also decrypts SCEP messages: devices take one certificate from GetCACert and no separate registration authority.
//! Private keys are sealed in the row and never leave this module in the clear.

use std::sync::Arc;

use pomona_cms::sign::{SignRequest, sign_attached};
use pomona_cms::x509::{self, ClientIdentity, Serial, Validity};
use pomona_cms::{Certificate, KeyPair, Name};
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::Issuer;
use crate::admin::Instant;
use crate::clock::{DAY, HOUR, Micros, Random, SECOND};
use crate::error::{Error, Result};
use crate::ids::{CaId, GrantId, TenantId};
use crate::seal::{Place, TenantKeys};
use crate::store::Store;
use crate::store::identity::{self as rows, CaRow};

const ROOT_LIFE: Micros = 20 * 365 * DAY;
const ISSUING_LIFE: Micros = 5 * 365 * DAY;
/// Certificates begin a little in the past: a device's clock may be behind ours.
const BACKDATED: Micros = HOUR;

/// What an authority is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthorityKind {
    /// The tenant's root; it signs the issuing authority.
    Root,
    /// Issues device certificates, decrypts SCEP messages and signs profiles.
    Issuing,
    /// An authority of the operator's whose devices may enroll.
    External,
}

/// An authority as it is shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Authority {
    /// Its id.
    pub id: CaId,
    /// What it is for.
    pub kind: AuthorityKind,
    /// What people call it.
    pub name: String,
    /// The subject of its certificate.
    pub subject: String,
    /// The SHA-256 of its certificate, in hex.
    pub fingerprint: String,
    /// Its certificate.
    pub certificate_pem: String,
    /// When its certificate ends.
    pub not_after: Instant,
    /// When it was made or added.
    pub created_at: Instant,
    /// When it stopped to count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Instant>,
    /// Which devices of an external authority may enroll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<super::ExternalPolicy>,
}

/// An issuing authority with its key.
pub(super) struct Issuing {
    pub(super) organization: String,
    pub(super) certificate: Vec<u8>,
    pub(super) root: Vec<u8>,
    parsed: Certificate,
    parsed_root: Certificate,
    key: KeyPair,
}

impl std::fmt::Debug for Issuing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuing")
            .field("certificate", &self.parsed)
            .finish_non_exhaustive()
    }
}

/// A certificate that was just signed.
pub(super) struct Issued {
    pub(super) certificate: Certificate,
    pub(super) not_before: Micros,
    pub(super) not_after: Micros,
}

/// Makes the root and the issuing authority of a tenant. `organization` becomes part of their names.
///
/// # Errors
/// [`Error::NotFound`] for a tenant that does not exist, [`Error::Conflict`] when it has an authority already,
/// [`Error::Invalid`] for a name that no certificate can hold.
pub async fn create_authority(store: &Store, tenant: TenantId, organization: &str) -> Result<()> {
    let keys = store.keys(tenant).await?;
    let made = make_authority(store, keys, tenant, organization).await?;
    let mut tx = store.begin().await?;
    if !rows::lock_tenant(&mut tx, tenant).await? {
        return Err(Error::NotFound("the tenant"));
    }
    if !rows::own_ca(&mut tx, tenant).await?.is_empty() {
        return Err(Error::Conflict(
            "the tenant has a certificate authority already".into(),
        ));
    }
    for ca in &made {
        rows::insert_ca(&mut tx, ca).await?;
    }
    tx.commit().await
}

/// The two rows of an authority, not stored yet.
///
/// # Errors
/// [`Error::Invalid`] for a name that no certificate can hold.
pub(crate) async fn make_authority(
    store: &Store,
    keys: Arc<TenantKeys>,
    tenant: TenantId,
    organization: &str,
) -> Result<[CaRow; 2]> {
    let now = store.clock().now();
    // X.520 gives an organization 64 characters.
    let organization: String = organization.trim().chars().take(64).collect();
    let random = store.random().clone();
    tokio::task::spawn_blocking(move || make(&keys, random.as_ref(), tenant, &organization, now))
        .await
        .map_err(|error| Error::internal("making an authority", error))?
}

/// The authorities of a tenant, the oldest first, retired ones too.
///
/// # Errors
/// [`Error::Unavailable`] when the database does not answer.
pub async fn list_authorities(store: &Store, tenant: TenantId) -> Result<Vec<Authority>> {
    let mut tx = store.begin_read().await?;
    let found = rows::list_ca(&mut tx, tenant).await?;
    tx.rollback().await?;
    found.into_iter().map(shown).collect()
}

/// Makes the two rows.
fn make(
    keys: &TenantKeys,
    random: &dyn Random,
    tenant: TenantId,
    organization: &str,
    now: Micros,
) -> Result<[CaRow; 2]> {
    let named = |what: &str| {
        Name::builder()
            .organization(organization)
            .common_name(what)
            .build()
            .map_err(|error| Error::Invalid(format!("the name of the organization: {error}")))
    };
    let made = |source| Error::internal("making an authority", source);
    let signed = |source| Error::internal("making an authority", source);

    let root_key = KeyPair::generate_p256().map_err(made)?;
    let root_validity = validity(now - BACKDATED, now + ROOT_LIFE);
    let root_name = named("Device management root")?;
    let root =
        x509::root_ca(&root_key, &root_name, serial(random), root_validity).map_err(signed)?;

    let issuing_key = KeyPair::generate_rsa_2048().map_err(made)?;
    let issuing_validity = validity(now - BACKDATED, now + ISSUING_LIFE);
    let issuing_name = named("Device management")?;
    let issuing = x509::issuing_ca(
        &x509::Issuer {
            certificate: &root,
            key: &root_key,
        },
        &issuing_name,
        pomona_cms::Signer::public_key_der(&issuing_key),
        serial(random),
        issuing_validity,
    )
    .map_err(signed)?;

    let row = |kind: &str, certificate: &Certificate, key: &KeyPair, not_after| -> Result<CaRow> {
        let id = CaId(random.uuid(now));
        Ok(CaRow {
            id,
            tenant,
            kind: kind.to_owned(),
            name: certificate.subject().common_name().unwrap_or_default(),
            certificate: certificate.der().to_vec(),
            key_sealed: Some(keys.seal(random, place(&id), key.pkcs8())?),
            policy: "{}".to_owned(),
            not_after,
            created_at: now,
            retired_at: None,
        })
    };
    Ok([
        row("root", &root, &root_key, root_validity.not_after * SECOND)?,
        row(
            "issuing",
            &issuing,
            &issuing_key,
            issuing_validity.not_after * SECOND,
        )?,
    ])
}

impl Issuer {
    /// The issuing authority of a tenant, opened.
    pub(super) async fn issuing(&self, tenant: TenantId) -> Result<Arc<Issuing>> {
        let store = self.store();
        let mut tx = store.begin_read().await?;
        let found = rows::own_ca(&mut tx, tenant).await?;
        let organization = rows::tenant_name(&mut tx, tenant).await?;
        tx.rollback().await?;
        let missing = || Error::NotFound("the certificate authority");
        let current = |kind: &str| {
            found
                .iter()
                .rfind(|ca| ca.kind == kind && ca.retired_at.is_none())
        };
        let ca = current("issuing").ok_or_else(missing)?;
        if let Some(opened) = self.0.opened.get(&ca.id)
            && organization.as_ref() == Some(&opened.organization)
        {
            return Ok(opened);
        }
        let root = current("root").ok_or_else(missing)?;
        let keys = store.keys(tenant).await?;
        let sealed = ca.key_sealed.as_ref().ok_or_else(missing)?;
        let pkcs8 = Zeroizing::new(keys.open(place(&ca.id), sealed)?);
        let opening = |source| Error::internal("opening an authority", source);
        let opened = Arc::new(Issuing {
            organization: organization.unwrap_or_default(),
            certificate: ca.certificate.clone(),
            root: root.certificate.clone(),
            parsed: read(&ca.certificate)?,
            parsed_root: read(&root.certificate)?,
            key: KeyPair::from_pkcs8(&pkcs8).map_err(opening)?,
        });
        self.0.opened.insert(ca.id, opened.clone());
        Ok(opened)
    }

    /// Signs a profile as the tenant's authority, with its certificates.
    pub(super) async fn sign_profile(&self, tenant: TenantId, plain: &[u8]) -> Result<Vec<u8>> {
        let issuing = self.issuing(tenant).await?;
        let request = SignRequest {
            chain: std::slice::from_ref(&issuing.parsed_root),
            signing_time: Some(self.store().clock().now() / SECOND),
            ..SignRequest::new(&issuing.key, &issuing.parsed)
        };
        sign_attached(plain, &request).map_err(|error| Error::internal("signing a profile", error))
    }
}

impl Issuing {
    pub(super) fn certificate(&self) -> &Certificate {
        &self.parsed
    }

    pub(super) fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Signs a device certificate that lives for `life`, or as long as the authority if that is shorter.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the authority's own certificate has ended.
    pub(super) fn issue(
        &self,
        random: &dyn Random,
        subject: &Name,
        public_key_der: &[u8],
        grant: GrantId,
        now: Micros,
        life: Micros,
    ) -> Result<Issued> {
        let end = self.parsed.not_after();
        let mut validity = validity(now - BACKDATED, now + life);
        validity.not_after = validity.not_after.min(end);
        if validity.not_after <= now / SECOND {
            return Err(Error::Unavailable {
                message: "the certificate authority has expired",
                source: "its certificate has ended".into(),
            });
        }
        let certificate = x509::client_identity(
            &x509::Issuer {
                certificate: &self.parsed,
                key: &self.key,
            },
            &ClientIdentity {
                subject,
                public_key_der,
                serial: serial(random),
                validity,
                grant: Some(grant.0),
                extensions: &[],
            },
        )
        .map_err(|error| Error::internal("issuing a certificate", error))?;
        Ok(Issued {
            certificate,
            not_before: validity.not_before * SECOND,
            not_after: validity.not_after * SECOND,
        })
    }
}

/// Where the key of an authority is sealed.
fn place(id: &CaId) -> Place<'_> {
    Place {
        table: "ca",
        column: "key_sealed",
        row: id.0.as_bytes(),
    }
}

fn validity(not_before: Micros, not_after: Micros) -> Validity {
    Validity {
        not_before: not_before / SECOND,
        not_after: not_after / SECOND,
    }
}

fn serial(random: &dyn Random) -> Serial {
    let mut bytes = [0u8; 16];
    random.fill(&mut bytes);
    Serial::from_random(bytes)
}

fn read(der: &[u8]) -> Result<Certificate> {
    Certificate::from_der(der).map_err(|error| Error::internal("reading a certificate", error))
}

fn shown(ca: CaRow) -> Result<Authority> {
    let certificate = read(&ca.certificate)?;
    let kind = match ca.kind.as_str() {
        "root" => AuthorityKind::Root,
        "issuing" => AuthorityKind::Issuing,
        _ => AuthorityKind::External,
    };
    Ok(Authority {
        id: ca.id,
        kind,
        name: ca.name,
        subject: certificate.subject().to_string(),
        fingerprint: hex::encode(certificate.fingerprint()),
        certificate_pem: x509::pem::write_certificate(&certificate),
        not_after: Instant(ca.not_after),
        created_at: Instant(ca.created_at),
        retired_at: ca.retired_at.map(Instant),
        policy: (kind == AuthorityKind::External).then(|| super::ExternalPolicy::read(&ca.policy)),
    })
}
