//! When devices are asked what they are.
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
        // One row for each enabled device channel: when it is asked next.
        ddl::table(
            manager,
            "inventory_round",
            Shape::Hot,
            "enrollment_id {uuid} NOT NULL PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             due_at {int} NOT NULL",
        )
        .await?;
        ddl::run(
            manager,
            &["CREATE INDEX inventory_round_due ON inventory_round (due_at)"],
        )
        .await
    }
}
