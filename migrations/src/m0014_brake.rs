//! The brake on commands that cannot be taken back.
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
        // per_hour: how many destructive commands may leave in an hour. The row is also what nodes lock while they count.
        ddl::table(
            manager,
            "brake",
            Shape::Plain,
            "tenant_id {uuid} PRIMARY KEY,
             per_hour {int} NOT NULL",
        )
        .await?;
        // Braking commands that have left within the last hour or two.
        ddl::table(
            manager,
            "brake_left",
            Shape::Plain,
            "tenant_id {uuid} NOT NULL,
             left_at {int} NOT NULL,
             enrollment_id {uuid} NOT NULL,
             seq {int} NOT NULL,
             PRIMARY KEY (tenant_id, left_at, enrollment_id, seq)",
        )
        .await?;
        // approvable: a person has sent it with a token that was a day old.
        // braking: 0 no, 1 the brake counts it, 2 a second person has let it go.
        ddl::run(
            manager,
            &[
                "ALTER TABLE delivery ADD COLUMN braking {int} NOT NULL DEFAULT 0",
                "ALTER TABLE command ADD COLUMN approvable {int} NOT NULL DEFAULT 0",
            ],
        )
        .await
    }
}
