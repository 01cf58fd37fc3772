//! The audit log: one chain of records per tenant.
//!
//! Owns: the record and the hash that binds each one to the record before it (invariant S4). Written by
//! `store::admin_audit` in the transaction of the effect that it tells; never changed, never deleted.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::instant::Instant;
use super::page::{Page, PageRequest, Position};
use super::token::sha256;
use crate::actor::Actor;
use crate::clock::Micros;
use crate::error::Result;
use crate::ids::TenantId;
use crate::store::Store;

/// An effect about to be recorded.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// The tenant; none for what the operator did outside any.
    pub tenant: Option<TenantId>,
    /// Who did it.
    pub actor: Actor,
    /// What was done, as `thing.verb`.
    pub action: &'static str,
    /// What it was done to: the id of a row.
    pub target: String,
    /// A few facts, never a secret.
    pub details: Value,
}

/// A record as it is read.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AuditRecord {
    /// Its place in the chain, from 1, without gaps.
    pub seq: i64,
    /// When.
    pub at: Instant,
    /// The kind of actor.
    pub actor_kind: String,
    /// The actor's id, if it has one.
    pub actor_id: Option<Uuid>,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// A few facts.
    pub details: Value,
    /// The hash of this record, in hex.
    pub hash: String,
    /// The hash of the record before it, in hex; zeros for the first.
    pub previous_hash: String,
}

/// The result of walking a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AuditCheck {
    /// How many records follow from one another, from the first on.
    pub records: i64,
    /// The first record that does not follow from the one before it: it, or that one, was changed. None: the chain is
    /// whole.
    pub broken_at: Option<i64>,
}

/// The audit log of a tenant, or of what the operator did outside any, the oldest record first.
///
/// # Errors
/// [`crate::Error::Invalid`] for a bad page.
pub(crate) async fn records(
    store: &Store,
    tenant: Option<TenantId>,
    page: &PageRequest,
) -> Result<Page<AuditRecord>> {
    let keys = super::cursor_keys(store, tenant).await?;
    let after = page
        .position(keys.get(), "audit")?
        .map_or(0, |at| at.number);
    let limit = page.limit()?;
    let rows = store.audit_page(tenant, after, limit + 1).await?;
    Ok(Page::cut(rows, limit, |last| {
        Position::number(last.seq).seal(keys.get(), "audit")
    }))
}

/// The hash that the first record refers to.
pub(crate) const GENESIS: [u8; 32] = [0; 32];

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link<'a> {
    pub(crate) tenant: Uuid,
    pub(crate) seq: i64,
    pub(crate) at: Micros,
    pub(crate) previous: &'a [u8],
}

/// What a record says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'a> {
    pub(crate) actor_kind: &'a str,
    pub(crate) actor_id: Option<Uuid>,
    pub(crate) action: &'a str,
    pub(crate) target: &'a str,
    pub(crate) details: &'a str,
}

/// The hash of a record. Each part is preceded by its length, so that no two records share one text.
pub(crate) fn hash(link: Link<'_>, content: Content<'_>) -> [u8; 32] {
    let actor = content
        .actor_id
        .map(|id| id.as_bytes().to_vec())
        .unwrap_or_default();
    let seq = link.seq.to_be_bytes();
    let at = link.at.to_be_bytes();
    let parts: [&[u8]; 9] = [
        link.previous,
        link.tenant.as_bytes(),
        &seq,
        &at,
        content.actor_kind.as_bytes(),
        &actor,
        content.action.as_bytes(),
        content.target.as_bytes(),
        content.details.as_bytes(),
    ];
    let mut text = b"pomona audit 1\0".to_vec();
    for part in parts {
        text.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        text.extend_from_slice(part);
    }
    sha256(&[&text])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(target: &str, details: &str, previous: &[u8]) -> [u8; 32] {
        hash(
            Link {
                tenant: Uuid::nil(),
                seq: 1,
                at: 7,
                previous,
            },
            Content {
                actor_kind: "person",
                actor_id: None,
                action: "tenant.create",
                target,
                details,
            },
        )
    }

    #[test]
    fn the_hash_depends_on_every_part_and_on_where_one_part_ends() {
        let base = record("ab", "c", &GENESIS);
        assert_ne!(base, record("a", "bc", &GENESIS));
        assert_ne!(base, record("ab", "d", &GENESIS));
        assert_ne!(base, record("ab", "c", &[1; 32]));
        assert_eq!(base, record("ab", "c", &GENESIS));
    }
}
