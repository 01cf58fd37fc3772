//! Tenants: making and finding them.
//!
//! Owns: what a tenant is to an administrator. Its certificate authority is made by `identity` and stored with it.

use serde::Serialize;

use super::instant::Instant;
use super::page::{Page, PageRequest, Position};
use super::text;
use crate::actor::Actor;
use crate::error::{Error, Result};
use crate::identity::make_authority;
use crate::ids::TenantId;
use crate::store::Store;
use crate::store::admin_access::slug_taken;
use crate::store::entity::tenant;

/// A tenant as it is shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Tenant {
    /// Its id, which stands in every address that devices use.
    pub id: TenantId,
    /// Its short name for addresses of the admin API.
    pub slug: String,
    /// The organization's name, as devices show it.
    pub name: String,
    /// When it was made.
    pub created_at: Instant,
}

impl From<tenant::Model> for Tenant {
    fn from(row: tenant::Model) -> Self {
        Self {
            id: TenantId(row.id),
            slug: row.slug,
            name: row.name,
            created_at: Instant(row.created_at),
        }
    }
}

/// Makes a tenant with its data key, without an authority yet: no device can enroll before
/// [`create_authority`](crate::identity::create_authority).
///
/// # Errors
/// [`Error::Invalid`] for a bad slug or name, [`Error::Conflict`] when the slug is taken.
pub async fn create_tenant(store: &Store, actor: Actor, slug: &str, name: &str) -> Result<Tenant> {
    create(store, actor, slug, name, false).await
}

/// Makes a tenant with its data key and its certificate authority, in one transaction.
///
/// # Errors
/// As [`create_tenant`], and [`Error::Invalid`] for a name that no certificate can hold.
pub async fn create_tenant_with_authority(
    store: &Store,
    actor: Actor,
    slug: &str,
    name: &str,
) -> Result<Tenant> {
    create(store, actor, slug, name, true).await
}

async fn create(
    store: &Store,
    actor: Actor,
    slug: &str,
    name: &str,
    with_authority: bool,
) -> Result<Tenant> {
    let slug = text::slug(slug)?;
    let name = text::name("the name", name)?;
    // Said before keys are made for it; the transaction that writes it looks again.
    if store.find_tenant(&slug).await?.is_some() {
        return Err(slug_taken(&slug));
    }
    let now = store.clock().now();
    let id = TenantId(store.random().uuid(now));
    let data_key = store.keyring().create(store.random().as_ref(), id)?;
    let authorities = match with_authority {
        true => {
            let keys = store.keyring().unwrap(id, &data_key)?;
            make_authority(store, keys, id, &name).await?.to_vec()
        }
        false => Vec::new(),
    };
    store
        .insert_tenant(actor, id, &slug, &name, data_key, &authorities)
        .await?;
    Ok(Tenant {
        id,
        slug,
        name,
        created_at: Instant(now),
    })
}

/// The tenant with this slug or id.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn find_tenant(store: &Store, name: &str) -> Result<Tenant> {
    store
        .find_tenant(name)
        .await?
        .map(Tenant::from)
        .ok_or(Error::NotFound("the tenant"))
}

/// The tenants; `only` the one, for a caller who is bound to it.
///
/// # Errors
/// [`Error::Invalid`] for a bad page.
pub(crate) async fn tenants(
    store: &Store,
    only: Option<TenantId>,
    page: &PageRequest,
) -> Result<Page<Tenant>> {
    let keys = store.keyring().operator();
    let after = page.position(keys, "tenants")?.map(|at| at.id);
    let limit = page.limit()?;
    let rows = store.tenant_page(only, after, limit + 1).await?;
    let page = Page::cut(rows, limit, |last| {
        Position::id(last.id).seal(keys, "tenants")
    });
    Ok(page.map(Tenant::from))
}
