//! The push certificates of a tenant: import, show, resume.
//!
//! Owns: what is checked before a certificate is believed, and the seal on its key. A topic is for ever: a device
//! answers only to the topic in its profile, so a certificate for another topic wakes none of the devices that are
//! enrolled. Never prints a key.
//!
//! Source: Apple, "Setting Up Push Notifications for Your Device Management Service"; RFC 4519, 2.39 (the attribute UID).

use std::collections::BTreeSet;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::leaf::{Leaf, leaf};
use super::transport::PushCertificate;
use crate::actor::Actor;
use crate::admin::audit::AuditEntry;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::TenantId;
use crate::seal::{Place, TenantKeys};
use crate::store::Store;
use crate::store::admin_audit;
use crate::store::push::{self as rows, CertificateRow};

/// What the topic of every device management service begins with.
const TOPIC_PREFIX: &str = "com.apple.mgmt.";
/// A certificate, a short chain and a key take a few kilobytes.
const PEM_LIMIT: usize = 64 * 1024;

/// A push certificate as an administrator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PushCertificateView {
    /// Changes with every import and resumption.
    pub id: Uuid,
    /// The topic, which the profiles of its devices name.
    pub topic: String,
    /// New enrollments get this topic.
    pub current: bool,
    /// The subject, as text.
    pub subject: String,
    /// The issuer, as text.
    pub issuer: String,
    /// The serial number, in hexadecimal.
    pub serial_number: String,
    /// From when it counts, in microseconds since 1970.
    pub not_before: Micros,
    /// When it ends, in microseconds since 1970.
    pub not_after: Micros,
    /// When the topic was first imported, in microseconds since 1970.
    pub created_at: Micros,
    /// Since when nothing is pushed under this topic, in microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Micros>,
    /// Why nothing is pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<String>,
}

/// Imports a push certificate with its key, in PEM and in any order, for use at once. It takes the place of the
/// one for the same topic; what stopped that one, and which tokens it was refused for, is forgotten.
///
/// # Errors
/// [`Error::Invalid`] when the PEM does not hold one private key and its certificate, the certificate is not one for
/// device management, or it has ended or not begun; [`Error::Conflict`] when its topic is not one of the tenant's and
/// `accept_other_topic` is false; [`Error::NotFound`] for an unknown tenant.
pub async fn import_certificate(
    store: &Store,
    tenant: TenantId,
    actor: Actor,
    pem: &[u8],
    accept_other_topic: bool,
) -> Result<PushCertificateView> {
    let now = store.clock().now();
    let Import {
        leaf,
        chain_pem,
        key,
    } = read(pem, now)?;
    let topic = leaf.topic.clone();
    let keys = store.keys(tenant).await?;
    let random = store.random();
    let mut row = CertificateRow {
        tenant,
        topic: topic.clone(),
        id: random.uuid(now),
        certificate_pem: chain_pem,
        key_sealed: keys.seal(&**random, place(&key_row(tenant, &topic)), &key)?,
        not_after: leaf.not_after,
        created_at: now,
        stopped_at: None,
        stopped_reason: None,
    };
    let mut tx = store.begin().await?;
    let present = rows::certificates(&mut tx, tenant).await?;
    let former = present.iter().find(|other| other.topic == topic);
    if let (None, Some(current), false) = (former, present.first(), accept_other_topic) {
        return Err(other_topic(&topic, &current.topic));
    }
    row.created_at = former.map_or(now, |former| former.created_at);
    rows::put_certificate(&mut tx, &row).await?;
    let entry = AuditEntry {
        tenant: Some(tenant),
        actor,
        action: "push_certificate.import",
        target: topic.clone(),
        details: json!({
            "serial_number": leaf.serial_number,
            "not_after": leaf.not_after,
            "replaces": former.map(|former| former.id),
            "accept_other_topic": accept_other_topic,
        }),
    };
    admin_audit::append(&mut tx, now, entry).await?;
    let all = rows::certificates(&mut tx, tenant).await?;
    tx.commit().await?;
    views(&all)?
        .into_iter()
        .find(|view| view.topic == topic)
        .ok_or(Error::NotFound("the push certificate"))
}

/// The push certificates of a tenant, the one that new enrollments use first.
///
/// # Errors
/// [`Error::Unavailable`] when the database does not answer.
pub async fn show_certificates(
    store: &Store,
    tenant: TenantId,
) -> Result<Vec<PushCertificateView>> {
    views(&load(store, tenant).await?)
}

/// The topic that new enrollments get; none before the first import.
///
/// # Errors
/// [`Error::Unavailable`] when the database does not answer.
pub async fn current_topic(store: &Store, tenant: TenantId) -> Result<Option<String>> {
    let rows = load(store, tenant).await?;
    Ok(rows.into_iter().next().map(|row| row.topic))
}

/// Lets a stopped topic push again with the certificate that it has. Says whether it was stopped.
///
/// # Errors
/// [`Error::Conflict`] when its certificate has ended; [`Error::NotFound`] for an unknown topic.
pub async fn resume_topic(
    store: &Store,
    tenant: TenantId,
    actor: Actor,
    topic: &str,
) -> Result<bool> {
    let now = store.clock().now();
    let mut tx = store.begin().await?;
    let present = rows::certificates(&mut tx, tenant).await?;
    let row = present
        .iter()
        .find(|row| row.topic == topic)
        .ok_or(Error::NotFound("the push certificate"))?;
    if row.not_after <= now {
        return Err(Error::Conflict(
            "the push certificate has ended; renew it under the same Apple account and import the new one".into(),
        ));
    }
    let resumed = rows::resume(&mut tx, tenant, topic, store.random().uuid(now)).await?;
    if resumed {
        let entry = AuditEntry {
            tenant: Some(tenant),
            actor,
            action: "push_certificate.resume",
            target: topic.to_owned(),
            details: json!({ "stopped_reason": row.stopped_reason }),
        };
        admin_audit::append(&mut tx, now, entry).await?;
    }
    tx.commit().await?;
    Ok(resumed)
}

/// Opens the key of a certificate for use.
pub(super) fn open_certificate(keys: &TenantKeys, row: &CertificateRow) -> Result<PushCertificate> {
    let key = keys.open(place(&key_row(row.tenant, &row.topic)), &row.key_sealed)?;
    Ok(PushCertificate {
        id: row.id,
        tenant: row.tenant,
        topic: row.topic.clone(),
        certificate_pem: row.certificate_pem.clone(),
        key_der: Zeroizing::new(key),
        not_after: row.not_after,
    })
}

async fn load(store: &Store, tenant: TenantId) -> Result<Vec<CertificateRow>> {
    let mut tx = store.begin_read().await?;
    let rows = rows::certificates(&mut tx, tenant).await?;
    tx.rollback().await?;
    Ok(rows)
}

fn views(rows: &[CertificateRow]) -> Result<Vec<PushCertificateView>> {
    rows.iter()
        .enumerate()
        .map(|(place, row)| {
            let der = CertificateDer::from_pem_slice(row.certificate_pem.as_bytes())
                .map_err(|error| Error::internal("reading a stored push certificate", error))?;
            let leaf = leaf(&der)?;
            Ok(PushCertificateView {
                id: row.id,
                topic: row.topic.clone(),
                current: place == 0,
                subject: leaf.subject,
                issuer: leaf.issuer,
                serial_number: leaf.serial_number,
                not_before: leaf.not_before,
                not_after: leaf.not_after,
                created_at: row.created_at,
                stopped_at: row.stopped_at,
                stopped_reason: row.stopped_reason.clone(),
            })
        })
        .collect()
}

fn key_row(tenant: TenantId, topic: &str) -> Vec<u8> {
    [tenant.0.as_bytes().as_slice(), topic.as_bytes()].concat()
}

fn place(row: &[u8]) -> Place<'_> {
    Place {
        table: "push_certificate",
        column: "key_sealed",
        row,
    }
}

fn invalid(text: impl Into<String>) -> Error {
    Error::Invalid(text.into())
}

fn other_topic(topic: &str, current: &str) -> Error {
    Error::Conflict(format!(
        "this certificate is for the topic {topic}, and the one in use is for {current}. Enrolled devices answer to \
         {current} only: they can be woken as long as its own certificate lasts, and after that every one of them \
         must be enrolled again. Most often the certificate was created anew instead of renewed, or under another \
         Apple account: renew the one in use. To take the other topic for new enrollments all the same, accept it"
    ))
}

struct Import {
    leaf: Leaf,
    chain_pem: String,
    key: Zeroizing<Vec<u8>>,
}

/// Reads and checks what is to be imported.
fn read(pem: &[u8], now: Micros) -> Result<Import> {
    if pem.len() > PEM_LIMIT {
        return Err(invalid("the PEM is larger than 64 KiB"));
    }
    let (certificates, key) = sections(pem)?;
    let (chain, key) = pair(certificates, key)?;
    let first = chain
        .first()
        .ok_or_else(|| invalid("the PEM holds no certificate"))?;
    let leaf = leaf(first)?;
    if !leaf.topic.starts_with(TOPIC_PREFIX) || leaf.topic.len() == TOPIC_PREFIX.len() {
        return Err(invalid(format!(
            "this is not a push certificate for device management: the UID in its subject must begin with {TOPIC_PREFIX}"
        )));
    }
    if !leaf.topic.bytes().all(|c| c.is_ascii_graphic()) || leaf.topic.len() > 200 {
        return Err(invalid(
            "the UID in the subject of the certificate is not a topic",
        ));
    }
    if leaf.not_after <= now {
        return Err(invalid(
            "the push certificate has expired; renew it under the same Apple account",
        ));
    }
    if leaf.not_before > now {
        return Err(invalid(
            "the push certificate is not valid yet; check the clock of this server",
        ));
    }
    Ok(Import {
        leaf,
        chain_pem: chain.iter().map(to_pem).collect(),
        key,
    })
}

type Sections = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Takes the PEM apart: certificates and exactly one key.
fn sections(pem: &[u8]) -> Result<Sections> {
    let mut certificates = Vec::new();
    let mut keys = Vec::new();
    let mut seen = BTreeSet::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|_| invalid("the PEM cannot be read"))?;
        // The same certificate twice, as after joining files, is no fault.
        if !seen.insert(der.clone()) {
            continue;
        }
        match kind {
            SectionKind::Certificate => certificates.push(CertificateDer::from(der)),
            SectionKind::PrivateKey => keys.push(PrivateKeyDer::Pkcs8(der.into())),
            SectionKind::RsaPrivateKey => keys.push(PrivateKeyDer::Pkcs1(der.into())),
            SectionKind::EcPrivateKey => keys.push(PrivateKeyDer::Sec1(der.into())),
            _ => {}
        }
    }
    if keys.is_empty() && is_encrypted(pem) {
        return Err(invalid(
            "the private key is encrypted; take its passphrase off first, for instance with openssl pkey",
        ));
    }
    match (keys.pop(), keys.pop()) {
        (Some(key), None) => Ok((certificates, key)),
        (None, _) => Err(invalid("the PEM holds no private key")),
        (Some(_), Some(_)) => Err(invalid("the PEM holds more than one private key")),
    }
}

fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// Finds the certificate that the key belongs to and puts it first.
fn pair(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(Vec<CertificateDer<'static>>, Zeroizing<Vec<u8>>)> {
    if certificates.is_empty() {
        return Err(invalid("the PEM holds no certificate"));
    }
    let provider: CryptoProvider = rustls::crypto::aws_lc_rs::default_provider();
    let signer = provider
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|_| invalid("the private key cannot be used: RSA of at least 2048 bits, P-256, P-384 or P-521 can"))?;
    let mut chain = certificates;
    let leaf = chain
        .iter()
        .position(|certificate| {
            CertifiedKey::new(vec![certificate.clone()], signer.clone())
                .keys_match()
                .is_ok()
        })
        .ok_or_else(|| invalid("the private key does not belong to the certificate"))?;
    let first = chain.remove(leaf);
    chain.insert(0, first);
    Ok((chain, Zeroizing::new(key.secret_der().to_vec())))
}

fn to_pem(certificate: &CertificateDer<'static>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while let Some((line, after)) = rest.split_at_checked(64) {
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    if !rest.is_empty() {
        pem.push_str(rest);
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
