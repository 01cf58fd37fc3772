//! Push certificates and which channels are waiting to be rung.
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
            "push_certificate",
            Shape::Plain,
            "tenant_id {uuid} NOT NULL,
             topic text NOT NULL,
             id {uuid} NOT NULL,
             certificate_pem text NOT NULL,
             key_sealed {bytes} NOT NULL,
             not_after {int} NOT NULL,
             created_at {int} NOT NULL,
             stopped_at {int},
             stopped_reason text,
             PRIMARY KEY (tenant_id, topic)",
        )
        .await?;
        // due_at NULL: nothing to ring for. refused_*: this token was refused under this certificate; a new
        // token or a new certificate clears it. leased_until: a node is ringing.
        ddl::table(
            manager,
            "push_state",
            Shape::Hot,
            "enrollment_id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             device_id {uuid} NOT NULL,
             due_at {int},
             leased_until {int} NOT NULL,
             attempts {int} NOT NULL,
             last_at {int},
             last_status {int},
             last_reason text,
             last_apns_id text,
             refused_token_hash {bytes},
             refused_certificate_id {uuid}",
        )
        .await?;
        ddl::run(
            manager,
            &["CREATE INDEX push_state_due ON push_state (due_at) WHERE due_at IS NOT NULL"],
        )
        .await?;
        Ok(())
    }
}
