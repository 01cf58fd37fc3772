//! Tenants, the principals who act in them, their tokens, and the audit chain.
use sea_orm_migration::prelude::*;

use crate::ddl::{self, Shape};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::table(
            manager,
            "tenant",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             slug text NOT NULL UNIQUE,
             name text NOT NULL,
             created_at {int} NOT NULL,
             data_key {bytes} NOT NULL,
             settings text NOT NULL",
        )
        .await?;
        // tenant_id NULL: a principal of the operator, who may act in every tenant.
        ddl::table(
            manager,
            "principal",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid},
             kind text NOT NULL,
             name text NOT NULL,
             created_by {uuid},
             created_at {int} NOT NULL,
             disabled_at {int}",
        )
        .await?;
        // parent_id: the token that made this one; it can never be wider than its parent.
        ddl::table(
            manager,
            "api_token",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid},
             principal_id {uuid} NOT NULL,
             parent_id {uuid},
             name text NOT NULL,
             hash {bytes} NOT NULL UNIQUE,
             scopes text NOT NULL,
             created_at {int} NOT NULL,
             expires_at {int} NOT NULL,
             revoked_at {int},
             last_used_at {int}",
        )
        .await?;
        // tenant_id is the nil UUID for what the operator did outside any tenant.
        ddl::table(
            manager,
            "audit",
            Shape::Plain,
            "tenant_id {uuid} NOT NULL,
             seq {int} NOT NULL,
             at {int} NOT NULL,
             actor_kind text NOT NULL,
             actor_id {uuid},
             action text NOT NULL,
             target text NOT NULL,
             details text NOT NULL,
             previous_hash {bytes} NOT NULL,
             hash {bytes} NOT NULL,
             PRIMARY KEY (tenant_id, seq)",
        )
        .await?;
        // The last number of each chain; its row is the lock of the chain.
        ddl::table(
            manager,
            "audit_head",
            Shape::Hot,
            "tenant_id {uuid} PRIMARY KEY,
             seq {int} NOT NULL",
        )
        .await?;
        ddl::run(
            manager,
            &["CREATE INDEX principal_tenant ON principal (tenant_id, id)"],
        )
        .await?;
        Ok(())
    }
}
