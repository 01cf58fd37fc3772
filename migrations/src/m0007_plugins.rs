//! Plugins: the packages that the operator has installed, and which tenants have switched them on.
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
        // One package of each plugin is installed; digest is that of its parts. suspended: no tenant's calls are made.
        ddl::table(
            manager,
            "plugin",
            Shape::Plain,
            "id text PRIMARY KEY,
             version text NOT NULL,
             title text NOT NULL,
             digest text NOT NULL,
             package {bytes} NOT NULL,
             signed {int} NOT NULL,
             suspended {int} NOT NULL,
             installed_at {int} NOT NULL",
        )
        .await?;
        ddl::table(
            manager,
            "plugin_switch",
            Shape::Plain,
            "tenant_id {uuid} NOT NULL,
             plugin_id text NOT NULL,
             principal_id {uuid} NOT NULL,
             settings text NOT NULL,
             switched_at {int} NOT NULL,
             PRIMARY KEY (tenant_id, plugin_id)",
        )
        .await?;
        Ok(())
    }
}
