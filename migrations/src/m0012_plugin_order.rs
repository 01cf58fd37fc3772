//! In which order plugins are asked.
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
        // phase: 0 early, 1 default, 2 late. A plugin without a row is asked in the default phase with priority 0.
        ddl::table(
            manager,
            "plugin_order",
            Shape::Plain,
            "plugin_id text PRIMARY KEY,
             phase {int} NOT NULL,
             priority {int} NOT NULL",
        )
        .await
    }
}
