//! What happened: events by device in order, rows that wait for a reader, and sessions.
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
            "event",
            Shape::ByTimeInOrder("at"),
            "device_id {uuid} NOT NULL,
             seq {int} NOT NULL,
             at {int} NOT NULL,
             tenant_id {uuid} NOT NULL,
             enrollment_id {uuid},
             kind text NOT NULL,
             command_id {uuid},
             actor_kind text NOT NULL,
             actor_id {uuid},
             cause {uuid},
             depth {int} NOT NULL,
             body text NOT NULL,
             PRIMARY KEY (device_id, seq, at)",
        )
        .await?;
        // One row for each event that a consumer has yet to handle; deleted in the transaction that handles it.
        ddl::table(
            manager,
            "outbox",
            Shape::Plain,
            "consumer text NOT NULL,
             device_id {uuid} NOT NULL,
             seq {int} NOT NULL,
             tenant_id {uuid} NOT NULL,
             at {int} NOT NULL,
             attempts {int} NOT NULL,
             due_at {int} NOT NULL,
             last_error text,
             dead {int} NOT NULL,
             PRIMARY KEY (consumer, device_id, seq)",
        )
        .await?;
        ddl::table(
            manager,
            "session",
            Shape::Plain,
            "enrollment_id {uuid} NOT NULL,
             started_at {int} NOT NULL,
             ended_at {int} NOT NULL,
             tenant_id {uuid} NOT NULL,
             device_id {uuid} NOT NULL,
             requests {int} NOT NULL,
             commands {int} NOT NULL,
             not_now {int} NOT NULL,
             PRIMARY KEY (enrollment_id, started_at)",
        )
        .await?;
        ddl::run(
            manager,
            &[
                "CREATE INDEX event_tenant ON event (tenant_id, at)",
                "CREATE INDEX outbox_due ON outbox (consumer, tenant_id, dead, due_at)",
            ],
        )
        .await?;
        Ok(())
    }
}
