//! The version of a plugin before the one in force, with what tenants had set for it, so that there is a way back.
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
        // kv_schema: the number under which its values are kept. It is unknown of a plugin that was installed before.
        // values_until: values under other numbers than that of the version in force are deleted then; none: they are.
        ddl::table(
            manager,
            "plugin_version",
            Shape::Plain,
            "plugin_id text PRIMARY KEY,
             version text NOT NULL,
             title text NOT NULL,
             digest text NOT NULL,
             package {bytes} NOT NULL,
             trust text NOT NULL,
             signed_by text,
             countersigned_by text,
             source text,
             installed_at {int} NOT NULL,
             rights text,
             kv_schema {int} NOT NULL,
             replaced_at {int} NOT NULL,
             values_until {int}",
        )
        .await?;
        // settings: as they were with that version. carried: what the tenant got for the version in force.
        ddl::table(
            manager,
            "plugin_version_settings",
            Shape::Plain,
            "plugin_id text NOT NULL,
             tenant_id {uuid} NOT NULL,
             settings text NOT NULL,
             carried text NOT NULL,
             PRIMARY KEY (plugin_id, tenant_id)",
        )
        .await?;
        ddl::run(manager, &["ALTER TABLE plugin ADD COLUMN kv_schema {int}"]).await
    }
}
