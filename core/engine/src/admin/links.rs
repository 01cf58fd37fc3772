//! Enrollment links, in pages.
//!
//! Owns: the paging of the list; the links themselves are `identity`'s.

use super::page::{Page, PageRequest, Position};
use crate::error::Result;
use crate::identity::{Link, list_links};
use crate::ids::{LinkId, TenantId};
use crate::store::Store;

/// The links of a tenant.
///
/// # Errors
/// [`crate::Error::Invalid`] for a bad page.
pub(crate) async fn links(
    store: &Store,
    tenant: TenantId,
    page: &PageRequest,
) -> Result<Page<Link>> {
    let keys = store.keys(tenant).await?;
    let after = page.position(&keys, "links")?.map(|at| LinkId(at.id));
    let limit = page.limit()?;
    let more = u32::try_from(limit.saturating_add(1)).unwrap_or(u32::MAX);
    let rows = list_links(store, tenant, after, more).await?;
    Ok(Page::cut(rows, limit, |last| {
        Position::id(last.id.0).seal(&keys, "links")
    }))
}
