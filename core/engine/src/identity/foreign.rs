//! Certificates that another authority issued.
//!
//! Owns: which authorities of an operator count, and for which devices; and the judgement of one certificate. Such a
//! certificate names no grant, so it is known by its fingerprint from its first `Authenticate` on. Never makes the grant: the
//! engine does, when it accepts that `Authenticate`.

use pomona_cms::x509::{Purpose, SubjectAltName, pem, verify_chain};
use pomona_cms::{Certificate, oid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::journal::Fingerprint;
use super::link::device_name;
use crate::actor::Actor;
use crate::admin::AuditEntry;
use crate::clock::{Micros, SECOND};
use crate::error::{Error, Result};
use crate::ids::{CaId, TenantId};
use crate::store::identity::{self as rows, CaRow};
use crate::store::{Store, admin_audit};

/// The most devices that one policy names.
const MOST_DEVICES: usize = 100_000;
/// The largest certificate text of an authority, in bytes.
const LARGEST_PEM: usize = 64 * 1024;

/// Which devices may enroll with a certificate of an external authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "devices", rename_all = "snake_case")]
pub enum ExternalPolicy {
    /// Every device that holds one.
    Any,
    /// No device; what a policy that cannot be read counts as.
    #[default]
    None,
    /// The devices that are named here, by either of their names.
    Listed(PermittedDevices),
}

/// Devices by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PermittedDevices {
    /// UDIDs.
    #[serde(default)]
    pub udids: Vec<String>,
    /// Serial numbers.
    #[serde(default)]
    pub serials: Vec<String>,
}

impl ExternalPolicy {
    /// Whether the device with these names may enroll. The names are only looked at once its certificate is
    /// known to be good.
    pub fn permits(&self, udid: Option<&str>, serial: Option<&str>) -> bool {
        let named = |list: &[String], name: Option<&str>| {
            name.is_some_and(|name| list.iter().any(|one| one.eq_ignore_ascii_case(name)))
        };
        match self {
            Self::Any => true,
            Self::None => false,
            Self::Listed(devices) => named(&devices.udids, udid) || named(&devices.serials, serial),
        }
    }

    pub(super) fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    fn canonical(self) -> Result<Self> {
        let Self::Listed(devices) = self else {
            return Ok(self);
        };
        if devices.udids.len() + devices.serials.len() > MOST_DEVICES {
            return Err(Error::Invalid(format!(
                "a policy names at most {MOST_DEVICES} devices"
            )));
        }
        let list = |what: &str, names: Vec<String>| -> Result<Vec<String>> {
            let mut out = Vec::with_capacity(names.len());
            for name in names {
                out.extend(device_name(what, Some(name))?);
            }
            Ok(out)
        };
        Ok(Self::Listed(PermittedDevices {
            udids: list("the UDID", devices.udids)?,
            serials: list("the serial number", devices.serials)?,
        }))
    }
}

/// A good certificate of an external authority.
#[derive(Clone, Debug)]
pub struct ForeignIdentity {
    /// The authority.
    pub ca_id: CaId,
    /// Which devices may enroll.
    pub policy: ExternalPolicy,
    /// The SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// Its subject, to be shown.
    pub subject: String,
    /// The texts in its subject and its alternative names.
    pub names: Vec<String>,
    /// When it begins.
    pub not_before: Micros,
    /// When it ends.
    pub not_after: Micros,
}

impl ForeignIdentity {
    /// Whether the device with this identifier and serial number may enroll with it; if so, whether it is made for
    /// exactly this device: the policy lists devices, and the certificate names this one by its identifier. A list
    /// alone says which devices may come, but not whose certificate is whose: the holder of one listed device could
    /// take the place of another. A serial number does not do, since a device only claims it.
    pub fn admits(&self, ident: &str, serial: Option<&str>) -> Option<bool> {
        let listed = matches!(self.policy, ExternalPolicy::Listed(_));
        let names = |name: &String| name.eq_ignore_ascii_case(ident);
        self.policy
            .permits(Some(ident), serial)
            .then(|| listed && self.names.iter().any(names))
    }
}

/// Lets devices enroll that hold a certificate of this authority. `certificate_pem` is the certificate that signs
/// theirs.
///
/// # Errors
/// [`Error::Invalid`] for a text that is not exactly one certificate of an authority or a policy that cannot be meant,
/// [`Error::Conflict`] when the tenant has it already, [`Error::NotFound`] for a tenant that does not exist.
pub async fn add_external(
    store: &Store,
    tenant: TenantId,
    actor: Actor,
    name: &str,
    certificate_pem: &str,
    policy: ExternalPolicy,
) -> Result<CaId> {
    let now = store.clock().now();
    let name = crate::admin::text::name("the name of an authority", name)?;
    let certificate = authority(certificate_pem)?;
    let policy = policy.canonical()?;
    let row = CaRow {
        id: CaId(store.random().uuid(now)),
        tenant,
        kind: "external".into(),
        name,
        certificate: certificate.der().to_vec(),
        key_sealed: None,
        policy: serde_json::to_string(&policy)
            .map_err(|error| Error::internal("writing a policy", error))?,
        not_after: certificate.not_after().saturating_mul(SECOND),
        created_at: now,
        retired_at: None,
    };
    let mut tx = store.begin().await?;
    if !rows::lock_tenant(&mut tx, tenant).await? {
        return Err(Error::NotFound("the tenant"));
    }
    let present = rows::list_ca(&mut tx, tenant).await?;
    if present
        .iter()
        .any(|ca| ca.retired_at.is_none() && ca.certificate == row.certificate)
    {
        return Err(Error::Conflict(
            "the tenant has this authority already".into(),
        ));
    }
    rows::insert_ca(&mut tx, &row).await?;
    let entry = AuditEntry {
        tenant: Some(tenant),
        actor,
        action: "external_authority.add",
        target: row.id.to_string(),
        details: serde_json::json!({
            "name": row.name,
            "fingerprint": hex::encode(certificate.fingerprint()),
            "any_device": policy == ExternalPolicy::Any,
        }),
    };
    admin_audit::append(&mut tx, now, entry).await?;
    tx.commit().await?;
    Ok(row.id)
}

/// No further device enrolls with a certificate of this authority. Devices that did stay.
///
/// # Errors
/// [`Error::NotFound`] when the tenant has no such authority that still counts.
pub async fn retire_external(
    store: &Store,
    tenant: TenantId,
    actor: Actor,
    ca: CaId,
) -> Result<()> {
    let now = store.clock().now();
    let mut tx = store.begin().await?;
    if !rows::retire_external(&mut tx, tenant, ca, now).await? {
        return Err(Error::NotFound("the external authority"));
    }
    let entry = AuditEntry {
        tenant: Some(tenant),
        actor,
        action: "external_authority.retire",
        target: ca.to_string(),
        details: serde_json::json!({}),
    };
    admin_audit::append(&mut tx, now, entry).await?;
    tx.commit().await
}

/// Judges a certificate that is not one of ours: whether an external authority of the tenant signed it, it may be used
/// by a client, and its time has come and is not over. Whether it was revoked is not asked here.
///
/// # Errors
/// [`Error::Unavailable`] when the database does not answer.
pub async fn foreign(
    store: &Store,
    tenant: TenantId,
    der: &[u8],
) -> Result<Option<ForeignIdentity>> {
    let Ok(leaf) = Certificate::from_der(der) else {
        return Ok(None);
    };
    let now = store.clock().now();
    let mut tx = store.begin_read().await?;
    let found = rows::list_ca(&mut tx, tenant).await?;
    tx.rollback().await?;
    Ok(found
        .iter()
        .filter(|ca| ca.kind == "external" && ca.retired_at.is_none())
        .find_map(|ca| judge(ca, &leaf, now)))
}

fn judge(ca: &CaRow, leaf: &Certificate, now: Micros) -> Option<ForeignIdentity> {
    // A certificate that names no purpose at all could as well be a server's: it does not count as a device's.
    if !leaf.extended_key_usages()?.contains(&oid::CLIENT_AUTH) {
        return None;
    }
    let authority = [Certificate::from_der(&ca.certificate).ok()?];
    let at = now / SECOND;
    verify_chain(leaf, &[], &authority, at, Purpose::ClientIdentity).ok()?;
    // The chain takes a root as it is; an authority that has ended lets nobody new in.
    if now >= ca.not_after {
        return None;
    }
    Some(ForeignIdentity {
        ca_id: ca.id,
        policy: ExternalPolicy::read(&ca.policy),
        fingerprint: leaf.fingerprint(),
        subject: leaf.subject().to_string(),
        names: names(leaf),
        not_before: leaf.not_before().saturating_mul(SECOND),
        not_after: leaf.not_after().saturating_mul(SECOND),
    })
}

/// What a certificate calls its holder.
fn names(leaf: &Certificate) -> Vec<String> {
    let subject = leaf.subject().attributes();
    let alternatives = leaf
        .subject_alt_names()
        .into_iter()
        .filter_map(|name| match name {
            SubjectAltName::Dns(text) | SubjectAltName::Uri(text) | SubjectAltName::Mail(text) => {
                Some(text)
            }
            SubjectAltName::Ip(_) | SubjectAltName::Other => None,
        });
    subject
        .into_iter()
        .map(|(_, text)| text)
        .chain(alternatives)
        .collect()
}

/// The one certificate in a text, if it is an authority's.
fn authority(text: &str) -> Result<Certificate> {
    if text.len() > LARGEST_PEM {
        return Err(Error::Invalid(
            "the certificate text is larger than 64 KiB".into(),
        ));
    }
    let certificates = pem::certificates(text)
        .map_err(|error| Error::Invalid(format!("the certificate cannot be read: {error}")))?;
    let [certificate] = certificates.as_slice() else {
        return Err(Error::Invalid(
            "give exactly one certificate: that of the authority which signs the devices'".into(),
        ));
    };
    if !certificate.is_ca() {
        return Err(Error::Invalid(
            "this is not the certificate of an authority".into(),
        ));
    }
    certificate
        .key_kind()
        .map_err(|error| Error::Invalid(format!("the authority's key: {error}")))?;
    Ok(certificate.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_permits_by_either_name_and_an_unreadable_one_nobody() {
        let listed = ExternalPolicy::Listed(PermittedDevices {
            udids: vec!["00-AB".into()],
            serials: vec!["C02X".into()],
        });
        assert!(listed.permits(Some("00-ab"), None));
        assert!(listed.permits(Some("other"), Some("c02x")));
        assert!(!listed.permits(Some("C02X"), Some("00-AB")));
        assert!(!listed.permits(None, None));
        assert!(ExternalPolicy::Any.permits(None, None));
        assert!(!ExternalPolicy::read("{}").permits(Some("00-AB"), Some("C02X")));
        let text = serde_json::to_string(&listed).unwrap();
        assert_eq!(ExternalPolicy::read(&text), listed);
        assert_eq!(
            serde_json::to_string(&ExternalPolicy::Any).unwrap(),
            "{\"devices\":\"any\"}"
        );
    }
}
