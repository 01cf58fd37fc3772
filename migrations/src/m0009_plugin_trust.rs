//! Who vouches for an installed plugin and where it came from; and what the operator does not run any more.
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
        // trust: verified, organisation or unsigned. source: the reference in a registry that it was fetched by, with
        // its digest. The keys are those whose signatures stand on the package; they are unknown of older rows.
        ddl::run(
            manager,
            &[
                "ALTER TABLE plugin ADD COLUMN trust text NOT NULL DEFAULT 'unsigned'",
                "ALTER TABLE plugin ADD COLUMN source text",
                "ALTER TABLE plugin ADD COLUMN signed_by text",
                "ALTER TABLE plugin ADD COLUMN countersigned_by text",
                "ALTER TABLE plugin_waiting ADD COLUMN source text",
                "UPDATE plugin SET trust = 'verified' WHERE signed <> 0",
                "ALTER TABLE plugin DROP COLUMN signed",
                "ALTER TABLE plugin_waiting DROP COLUMN signed",
            ],
        )
        .await?;
        // kind: digest or key; value: 64 hexadecimal digits.
        ddl::table(
            manager,
            "plugin_revocation",
            Shape::Plain,
            "kind text NOT NULL,
             value text NOT NULL,
             reason text NOT NULL,
             revoked_by {uuid} NOT NULL,
             revoked_at {int} NOT NULL,
             PRIMARY KEY (kind, value)",
        )
        .await
    }
}
