//! Tenants, principals and tokens.
//!
//! Owns: their rows, each written in one transaction with its record in the audit chain.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::entity::{api_token, principal, tenant};
use super::identity::{self, CaRow};
use super::sql::{Arg, args};
use super::{Store, admin_audit};
use crate::actor::Actor;
use crate::admin::audit::AuditEntry;
use crate::admin::caller::Caller;
use crate::admin::scope::Scopes;
use crate::admin::token::DEEPEST;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::{PrincipalId, TenantId, TokenId};

/// A principal about to be written.
#[derive(Clone, Debug)]
pub(crate) struct PrincipalRow {
    pub(crate) id: PrincipalId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) created_by: Option<PrincipalId>,
}

/// A token about to be written.
#[derive(Clone, Debug)]
pub(crate) struct TokenRow {
    pub(crate) id: TokenId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) principal: PrincipalId,
    pub(crate) parent: Option<TokenId>,
    pub(crate) name: String,
    pub(crate) hash: [u8; 32],
    pub(crate) scopes: Scopes,
    pub(crate) expires_at: Micros,
}

/// Another tenant has this slug.
pub(crate) fn slug_taken(slug: &str) -> Error {
    Error::Conflict(format!("there is a tenant with the slug {slug} already"))
}

impl Store {
    /// Writes a tenant with its wrapped data key.
    pub(crate) async fn insert_tenant(
        &self,
        actor: Actor,
        id: TenantId,
        slug: &str,
        name: &str,
        data_key: Vec<u8>,
        authorities: &[CaRow],
    ) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let taken = tx
            .query_one("SELECT id FROM tenant WHERE slug = ?", args![slug])
            .await?;
        if taken.is_some() {
            return Err(slug_taken(slug));
        }
        tx.execute(
            "INSERT INTO tenant (id, slug, name, created_at, data_key, settings) VALUES (?, ?, ?, ?, ?, ?)",
            args![id, slug, name, now, data_key, "{}"],
        )
        .await?;
        for ca in authorities {
            identity::insert_ca(&mut tx, ca).await?;
        }
        for chain in [None, Some(id)] {
            let entry = AuditEntry {
                tenant: chain,
                actor,
                action: "tenant.create",
                target: id.to_string(),
                details: serde_json::json!({ "slug": slug, "name": name }),
            };
            admin_audit::append(&mut tx, now, entry).await?;
        }
        tx.commit().await
    }

    /// The tenant with this id or slug.
    pub(crate) async fn find_tenant(&self, name: &str) -> Result<Option<tenant::Model>> {
        let query = match Uuid::parse_str(name) {
            Ok(id) => tenant::Entity::find().filter(tenant::Column::Id.eq(id)),
            Err(_) => tenant::Entity::find().filter(tenant::Column::Slug.eq(name)),
        };
        Ok(query.one(self.orm()).await?)
    }

    /// Tenants after `after`, of the caller's own only when `only` is given.
    pub(crate) async fn tenant_page(
        &self,
        only: Option<TenantId>,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<tenant::Model>> {
        let mut query = tenant::Entity::find();
        if let Some(only) = only {
            query = query.filter(tenant::Column::Id.eq(only.0));
        }
        if let Some(after) = after {
            query = query.filter(tenant::Column::Id.gt(after));
        }
        Ok(query
            .order_by_asc(tenant::Column::Id)
            .limit(limit)
            .all(self.orm())
            .await?)
    }

    /// Writes a principal.
    pub(crate) async fn insert_principal(&self, actor: Actor, row: &PrincipalRow) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        tx.execute(
            "INSERT INTO principal (id, tenant_id, kind, name, created_by, created_at, disabled_at)
             VALUES (?, ?, ?, ?, ?, ?, NULL)",
            args![
                row.id.0,
                row.tenant,
                row.kind,
                row.name.clone(),
                row.created_by.map(|id| id.0),
                now
            ],
        )
        .await?;
        let entry = AuditEntry {
            tenant: row.tenant,
            actor,
            action: "principal.create",
            target: row.id.to_string(),
            details: serde_json::json!({ "kind": row.kind, "name": row.name }),
        };
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }

    /// A principal of exactly this tenant, or of the operator.
    pub(crate) async fn find_principal(
        &self,
        tenant: Option<TenantId>,
        id: PrincipalId,
    ) -> Result<Option<principal::Model>> {
        let row = principal::Entity::find_by_id(id.0).one(self.orm()).await?;
        Ok(row.filter(|row| row.tenant_id == tenant.map(|tenant| tenant.0)))
    }

    /// The principals of exactly this tenant, or of the operator.
    pub(crate) async fn principal_page(
        &self,
        tenant: Option<TenantId>,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<principal::Model>> {
        let mut query = principal::Entity::find().filter(match tenant {
            Some(tenant) => principal::Column::TenantId.eq(tenant.0),
            None => principal::Column::TenantId.is_null(),
        });
        if let Some(after) = after {
            query = query.filter(principal::Column::Id.gt(after));
        }
        Ok(query
            .order_by_asc(principal::Column::Id)
            .limit(limit)
            .all(self.orm())
            .await?)
    }

    /// Disables a principal; says whether it was there. Once disabled it stays so, and with it every token
    /// that it holds and every token made by those.
    pub(crate) async fn disable_principal(
        &self,
        actor: Actor,
        tenant: Option<TenantId>,
        id: PrincipalId,
    ) -> Result<bool> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let row = tx
            .query_one(
                "SELECT tenant_id, disabled_at FROM principal WHERE id = ?",
                args![id.0],
            )
            .await?;
        let Some(row) = row else { return Ok(false) };
        if row.opt_uuid(0)? != tenant.map(|tenant| tenant.0) {
            return Ok(false);
        }
        if row.opt_int(1)?.is_some() {
            return Ok(true);
        }
        tx.execute(
            "UPDATE principal SET disabled_at = ? WHERE id = ?",
            args![now, id.0],
        )
        .await?;
        let entry = AuditEntry {
            tenant,
            actor,
            action: "principal.disable",
            target: id.to_string(),
            details: serde_json::json!({}),
        };
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Writes a token.
    pub(crate) async fn insert_token(&self, actor: Actor, row: &TokenRow) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        tx.execute(
            "INSERT INTO api_token (id, tenant_id, principal_id, parent_id, name, hash, scopes, created_at,
                                    expires_at, revoked_at, last_used_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
            args![
                row.id.0,
                row.tenant,
                row.principal.0,
                row.parent.map(|id| id.0),
                row.name.clone(),
                row.hash,
                row.scopes.to_json(),
                now,
                row.expires_at
            ],
        )
        .await?;
        let entry = AuditEntry {
            tenant: row.tenant,
            actor,
            action: "token.create",
            target: row.id.to_string(),
            details: serde_json::json!({
                "name": row.name,
                "scopes": row.scopes.words(),
                "principal_id": row.principal,
                "parent_id": row.parent,
            }),
        };
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }

    /// The tokens bound to exactly this tenant, or to none.
    pub(crate) async fn token_page(
        &self,
        tenant: Option<TenantId>,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<api_token::Model>> {
        let mut query = api_token::Entity::find().filter(match tenant {
            Some(tenant) => api_token::Column::TenantId.eq(tenant.0),
            None => api_token::Column::TenantId.is_null(),
        });
        if let Some(after) = after {
            query = query.filter(api_token::Column::Id.gt(after));
        }
        Ok(query
            .order_by_asc(api_token::Column::Id)
            .limit(limit)
            .all(self.orm())
            .await?)
    }

    /// Revokes a token; says whether it was there.
    pub(crate) async fn revoke_token(
        &self,
        actor: Actor,
        tenant: Option<TenantId>,
        id: TokenId,
    ) -> Result<bool> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        let row = tx
            .query_one(
                "SELECT tenant_id, revoked_at FROM api_token WHERE id = ?",
                args![id.0],
            )
            .await?;
        let Some(row) = row else { return Ok(false) };
        if row.opt_uuid(0)? != tenant.map(|tenant| tenant.0) {
            return Ok(false);
        }
        if row.opt_int(1)?.is_some() {
            return Ok(true);
        }
        tx.execute(
            "UPDATE api_token SET revoked_at = ? WHERE id = ?",
            args![now, id.0],
        )
        .await?;
        let entry = AuditEntry {
            tenant,
            actor,
            action: "token.revoke",
            target: id.to_string(),
            details: serde_json::json!({}),
        };
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Who shows the token with this hash: nobody unless it and every token above it are good, and every
    /// principal who holds one of them is.
    pub(crate) async fn caller(&self, hash: [u8; 32]) -> Result<Option<Caller>> {
        self.find_caller("hash = ?", Arg::from(hash)).await
    }

    /// Whether the token, every token above it and all their principals are good still.
    pub(crate) async fn token_is_good(&self, id: TokenId) -> Result<bool> {
        Ok(self.find_caller("id = ?", Arg::from(id.0)).await?.is_some())
    }

    async fn find_caller(&self, which: &'static str, value: Arg) -> Result<Option<Caller>> {
        let now = self.clock().now();
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                &format!(
                    "WITH RECURSIVE chain AS (
                    SELECT id, parent_id, tenant_id, principal_id, scopes, expires_at, revoked_at,
                           CAST(0 AS bigint) AS height
                    FROM api_token WHERE {which}
                    UNION ALL
                    SELECT t.id, t.parent_id, t.tenant_id, t.principal_id, t.scopes, t.expires_at,
                           t.revoked_at, c.height + 1
                    FROM api_token t JOIN chain c ON t.id = c.parent_id WHERE c.height < ?)
                 SELECT c.id, c.parent_id, c.tenant_id, c.principal_id, c.scopes, c.expires_at, c.revoked_at,
                        p.disabled_at, p.name, c.height
                 FROM chain c JOIN principal p ON p.id = c.principal_id ORDER BY c.height"
                ),
                args![value, i64::from(DEEPEST)],
            )
            .await?;
        tx.rollback().await?;
        let mut parent = None;
        let mut found: Option<Caller> = None;
        for (height, row) in (0i64..).zip(rows) {
            let id = row.uuid(0)?;
            let good = row.int(5)? > now && row.opt_int(6)?.is_none() && row.opt_int(7)?.is_none();
            // A row that is missing breaks the chain as a revoked one does.
            if !good || row.int(9)? != height || (found.is_some() && parent != Some(id)) {
                return Ok(None);
            }
            parent = row.opt_uuid(1)?;
            match &mut found {
                Some(caller) => caller.depth += 1,
                None => {
                    found = Some(Caller {
                        token: TokenId(id),
                        tenant: row.opt_uuid(2)?.map(TenantId),
                        principal: PrincipalId(row.uuid(3)?),
                        principal_name: row.text(8)?,
                        scopes: Scopes::from_json(&row.text(4)?),
                        expires_at: row.int(5)?,
                        depth: 0,
                    });
                }
            }
        }
        Ok(found.filter(|_| parent.is_none()))
    }

    /// Notes that a token was used. Told at most once a minute, since it costs a commit.
    pub(crate) async fn touch_token(&self, id: TokenId) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        tx.execute(
            "UPDATE api_token SET last_used_at = ? WHERE id = ?",
            args![now, id.0],
        )
        .await?;
        tx.commit().await
    }
}
