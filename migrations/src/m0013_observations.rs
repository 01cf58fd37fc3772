//! What devices tell of themselves, and on what footing commands for them were judged.
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
        // section: what it is about, such as device or security. value: JSON. source: the RequestType of the query.
        // observed_at: when the device last told; changed_at: when it last told something else than before.
        ddl::table(
            manager,
            "observation",
            Shape::Plain,
            "device_id {uuid} NOT NULL,
             user_key text NOT NULL,
             section text NOT NULL,
             tenant_id {uuid} NOT NULL,
             value text NOT NULL,
             source text NOT NULL,
             observed_at {int} NOT NULL,
             changed_at {int} NOT NULL,
             PRIMARY KEY (device_id, user_key, section)",
        )
        .await?;
        // marks: two bits each, known and true: supervised, enrolled by ADE, approved by the user, Shared iPad.
        // footing: raised whenever marks, product or version become others; a command is judged again if it was
        // judged on another one. In a delivery -1: it is not to be judged again.
        // whole: the answer tells everything that there is to tell, not a selection.
        ddl::run(
            manager,
            &[
                "ALTER TABLE device ADD COLUMN marks {int} NOT NULL DEFAULT 0",
                "ALTER TABLE device ADD COLUMN footing {int} NOT NULL DEFAULT 0",
                "ALTER TABLE delivery ADD COLUMN footing {int} NOT NULL DEFAULT -1",
                "ALTER TABLE delivery ADD COLUMN whole {int} NOT NULL DEFAULT 0",
            ],
        )
        .await
    }
}
