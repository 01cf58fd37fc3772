//! Enrollment links: who may fetch an enrollment profile, how often and how long.
//!
//! Owns: making, listing, revoking and judging links, and the grant that each fetched profile carries. The token in a
//! link is 256 random bits and is stored as a keyed hash. Looking at a link or fetching its profile uses nothing
//! up: a use is counted in the transaction that issues a certificate (`store::identity::use_link`). Never renders
//! a page and never issues anything.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::challenge;
use crate::actor::{Actor, ActorKind};
use crate::admin::{AuditEntry, Instant};
use crate::clock::{DAY, HOUR, MINUTE, Micros};
use crate::error::{Error, Result};
use crate::ids::{GrantId, LinkId, TenantId};
use crate::store::identity::{self as rows, GrantRow, LinkRow};
use crate::store::{Store, admin_audit};

/// A challenge is good for this long at most.
pub(crate) const CHALLENGE_LIFE: Micros = HOUR;
/// A link is good for this long at most.
const LONGEST_LINK: Micros = 366 * DAY;
/// The most devices that one link enrolls.
const MOST_USES: u32 = 1_000_000;
/// So many profiles of one link may wait for their certificate at once.
const MOST_WAITING: i64 = 10_000;

/// A link to be made.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// What people call it: 1 to 200 characters.
    pub name: String,
    /// How many devices it enrolls: 1 to 1,000,000.
    pub max_uses: u32,
    /// How long it is good for, in microseconds: one minute to 366 days.
    pub expires_in: Micros,
    /// The UDID of the only device it is for, if any.
    pub device_udid: Option<String>,
    /// The serial number of the only device it is for, if any.
    pub device_serial: Option<String>,
}

/// Whether a link can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It can.
    Open,
    /// Its time is over.
    Expired,
    /// It has enrolled as many devices as it may.
    UsedUp,
    /// An administrator took it back.
    Revoked,
}

/// A link, without its token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// The tenant; not shown, since the path names it.
    #[serde(skip)]
    pub tenant_id: TenantId,
    /// What people call it.
    pub name: String,
    /// Whether it can be used now.
    pub state: LinkState,
    /// How many devices it enrolls.
    pub max_uses: i64,
    /// For how many devices it has issued a certificate.
    pub uses: i64,
    /// The UDID of the only device it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_udid: Option<String>,
    /// The serial number of the only device it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_serial: Option<String>,
    /// Who made it, where that was a person or a plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Uuid>,
    /// When it was made.
    pub created_at: Instant,
    /// When it ends.
    pub expires_at: Instant,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Instant>,
}

/// A link that was just made. Only now is its token known.
pub struct CreatedLink {
    /// The link.
    pub link: Link,
    /// The last part of its URL: `/enroll/{url_token}`. A secret.
    pub url_token: String,
}

impl std::fmt::Debug for CreatedLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedLink")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// Makes a link.
///
/// # Errors
/// [`Error::Invalid`] for values out of bounds, [`Error::NotFound`] for a tenant that does not exist.
pub async fn create_link(
    store: &Store,
    tenant: TenantId,
    actor: Actor,
    new: NewLink,
) -> Result<CreatedLink> {
    let now = store.clock().now();
    let name = crate::admin::text::name("the name of a link", &new.name)?;
    if !(1..=MOST_USES).contains(&new.max_uses) {
        return Err(Error::Invalid(format!(
            "a link enrolls 1 to {MOST_USES} devices"
        )));
    }
    if !(MINUTE..=LONGEST_LINK).contains(&new.expires_in) {
        return Err(Error::Invalid(
            "a link is good for one minute to 366 days".into(),
        ));
    }
    let url_token = challenge::fresh(store.random().as_ref());
    let row = LinkRow {
        id: LinkId(store.random().uuid(now)),
        tenant,
        token_hash: token_hash(store, &url_token).to_vec(),
        name,
        max_uses: i64::from(new.max_uses),
        uses: 0,
        device_udid: device_name("the UDID", new.device_udid)?,
        device_serial: device_name("the serial number", new.device_serial)?,
        created_by: match actor.kind {
            ActorKind::Person | ActorKind::Plugin => actor.id,
            ActorKind::Device | ActorKind::System => None,
        },
        created_at: now,
        expires_at: now + new.expires_in,
        revoked_at: None,
    };
    let mut tx = store.begin().await?;
    if rows::tenant_name(&mut tx, tenant).await?.is_none() {
        return Err(Error::NotFound("the tenant"));
    }
    rows::insert_link(&mut tx, &row).await?;
    let details = serde_json::json!({
        "name": row.name,
        "max_uses": row.max_uses,
        "expires_at": Instant(row.expires_at),
        "device_udid": row.device_udid,
        "device_serial": row.device_serial,
    });
    let entry = AuditEntry {
        tenant: Some(tenant),
        actor,
        action: "enrollment_link.create",
        target: row.id.to_string(),
        details,
    };
    admin_audit::append(&mut tx, now, entry).await?;
    tx.commit().await?;
    Ok(CreatedLink {
        link: shown(row, now),
        url_token,
    })
}

/// The links of a tenant by id, at most `limit` (1 to 1,000) after `after`.
///
/// # Errors
/// [`Error::Unavailable`] when the database does not answer.
pub async fn list_links(
    store: &Store,
    tenant: TenantId,
    after: Option<LinkId>,
    limit: u32,
) -> Result<Vec<Link>> {
    let now = store.clock().now();
    let mut tx = store.begin_read().await?;
    let limit = i64::from(limit.clamp(1, 1_000));
    let links = rows::list_links(&mut tx, tenant, after, limit).await?;
    tx.rollback().await?;
    Ok(links.into_iter().map(|row| shown(row, now)).collect())
}

/// One link of a tenant.
///
/// # Errors
/// [`Error::NotFound`] when the tenant has no such link.
pub async fn link(store: &Store, tenant: TenantId, id: LinkId) -> Result<Link> {
    let now = store.clock().now();
    let mut tx = store.begin_read().await?;
    let row = rows::link_by_id(&mut tx, tenant, id).await?;
    tx.rollback().await?;
    row.map(|row| shown(row, now))
        .ok_or(Error::NotFound("the enrollment link"))
}

/// Takes a link back: no certificate is issued under it any more, also not for profiles fetched before.
/// Devices that it enrolled stay.
///
/// # Errors
/// [`Error::NotFound`] when the tenant has no such link.
pub async fn revoke_link(store: &Store, tenant: TenantId, actor: Actor, id: LinkId) -> Result<()> {
    let now = store.clock().now();
    let mut tx = store.begin().await?;
    if !rows::revoke_link(&mut tx, tenant, id, now).await? {
        return Err(Error::NotFound("the enrollment link"));
    }
    let entry = AuditEntry {
        tenant: Some(tenant),
        actor,
        action: "enrollment_link.revoke",
        target: id.to_string(),
        details: serde_json::json!({}),
    };
    admin_audit::append(&mut tx, now, entry).await?;
    tx.commit().await
}

/// The link that a token opens, whatever its state, and the name of its tenant.
///
/// # Errors
/// [`Error::Unavailable`] when the database does not answer.
pub(crate) async fn opened(store: &Store, url_token: &str) -> Result<Option<(Link, String)>> {
    if !challenge::well_formed(url_token) {
        return Ok(None);
    }
    let now = store.clock().now();
    let mut tx = store.begin_read().await?;
    let found = match rows::link_by_token(&mut tx, token_hash(store, url_token)).await? {
        Some(row) => rows::tenant_name(&mut tx, row.tenant)
            .await?
            .map(|name| (shown(row, now), name)),
        None => None,
    };
    tx.rollback().await?;
    Ok(found)
}

/// Makes the grant for a profile that is about to be handed out. Returns it with its challenge.
///
/// # Errors
/// [`Error::Conflict`] when the link cannot be used (any more).
pub(crate) async fn begin_enrollment(store: &Store, link: &Link) -> Result<(GrantId, String)> {
    let now = store.clock().now();
    if link.state != LinkState::Open {
        return Err(Error::Conflict("the link cannot be used any more".into()));
    }
    let keys = store.keys(link.tenant_id).await?;
    let secret = challenge::fresh(store.random().as_ref());
    let grant = GrantRow {
        id: GrantId(store.random().uuid(now)),
        tenant: link.tenant_id,
        kind: "link".into(),
        link: Some(link.id),
        ca: None,
        device_ident: link.device_udid.clone(),
        device_serial: link.device_serial.clone(),
        enrollment: None,
        challenge_hash: Some(challenge::hash(&keys, &secret).to_vec()),
        key_hash: None,
        transaction_id: None,
        created_at: now,
        expires_at: link.expires_at.0.min(now + CHALLENGE_LIFE),
        issued_at: None,
        consumed_at: None,
        ended_at: None,
    };
    let mut tx = store.begin().await?;
    if rows::waiting_grants(&mut tx, link.id, now).await? >= MOST_WAITING {
        return Err(Error::Unavailable {
            message: "too many devices enroll with this link at once",
            source: "the bound on waiting grants".into(),
        });
    }
    rows::insert_grant(&mut tx, &grant).await?;
    tx.commit().await?;
    Ok((grant.id, secret))
}

/// Whether a link may be used at `now`.
pub(crate) fn judge(
    uses: i64,
    max_uses: i64,
    expires_at: Micros,
    revoked_at: Option<Micros>,
    now: Micros,
) -> LinkState {
    if revoked_at.is_some() {
        LinkState::Revoked
    } else if expires_at <= now {
        LinkState::Expired
    } else if uses >= max_uses {
        LinkState::UsedUp
    } else {
        LinkState::Open
    }
}

fn shown(row: LinkRow, now: Micros) -> Link {
    Link {
        state: judge(row.uses, row.max_uses, row.expires_at, row.revoked_at, now),
        id: row.id,
        tenant_id: row.tenant,
        name: row.name,
        max_uses: row.max_uses,
        uses: row.uses,
        device_udid: row.device_udid,
        device_serial: row.device_serial,
        created_by: row.created_by,
        created_at: Instant(row.created_at),
        expires_at: Instant(row.expires_at),
        revoked_at: row.revoked_at.map(Instant),
    }
}

/// The token names no tenant, so its hash is made with the operator's key.
fn token_hash(store: &Store, url_token: &str) -> [u8; 32] {
    store
        .keyring()
        .operator()
        .hash("enrollment link", url_token.as_bytes())
}

/// The canonical form of a UDID or a serial number: upper case, 1 to 128 letters, digits and hyphens.
pub(crate) fn device_name(what: &str, text: Option<String>) -> Result<Option<String>> {
    let Some(text) = text else {
        return Ok(None);
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if text.is_empty() || text.len() > 128 || !text.chars().all(fits) {
        return Err(Error::Invalid(format!(
            "{what} of a device is 1 to 128 letters, digits and hyphens"
        )));
    }
    Ok(Some(text.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_closes_by_time_by_use_and_by_hand() {
        assert_eq!(judge(0, 1, 10, None, 9), LinkState::Open);
        assert_eq!(judge(0, 1, 10, None, 10), LinkState::Expired);
        assert_eq!(judge(1, 1, 10, None, 9), LinkState::UsedUp);
        assert_eq!(judge(0, 1, 10, Some(3), 9), LinkState::Revoked);
    }

    #[test]
    fn device_names_have_one_form_and_no_separators() {
        let name = |text: &str| device_name("the UDID", Some(text.into()));
        assert_eq!(name("00008030-abc").unwrap().unwrap(), "00008030-ABC");
        for bad in ["", "a:b", "a b", "ä", &"x".repeat(129)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
