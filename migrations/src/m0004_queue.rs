//! Commands, the open queue, what has left it, and idempotency keys.
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
        // hash: a keyed hash of the body, so that a body cannot be guessed from it.
        ddl::table(
            manager,
            "command_body",
            Shape::Plain,
            "tenant_id {uuid} NOT NULL,
             hash {bytes} NOT NULL,
             sealed {bytes} NOT NULL,
             size_bytes {int} NOT NULL,
             created_at {int} NOT NULL,
             PRIMARY KEY (tenant_id, hash)",
        )
        .await?;
        ddl::table(
            manager,
            "command",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             command_uuid text NOT NULL,
             request_type text NOT NULL,
             body_hash {bytes} NOT NULL,
             priority {int} NOT NULL,
             not_before {int} NOT NULL,
             not_after {int},
             after_command_id {uuid},
             actor_kind text NOT NULL,
             actor_id {uuid},
             cause text NOT NULL,
             correlation_id {uuid} NOT NULL,
             depth {int} NOT NULL,
             break_glass {int} NOT NULL,
             targets {int} NOT NULL,
             created_at {int} NOT NULL",
        )
        .await?;
        // Who was sent which command, and under which number; stays when the delivery leaves the queue, so that neither the
        // queue nor the history needs an index by command.
        ddl::table(
            manager,
            "command_target",
            Shape::InOrder,
            "command_id {uuid} NOT NULL,
             enrollment_id {uuid} NOT NULL,
             seq {int} NOT NULL,
             tenant_id {uuid} NOT NULL,
             PRIMARY KEY (command_id, enrollment_id)",
        )
        .await?;
        // The open queue. state: 0 queued, 1 sent, 2 NotNow. not_before 0: at once.
        // notnow_poll: the poll in which it was last answered NotNow. pinned_hash: the body that was rendered
        // for this enrollment at its first sending, when the command is a template.
        ddl::table(
            manager,
            "delivery",
            Shape::Hot,
            "enrollment_id {uuid} NOT NULL,
             seq {int} NOT NULL,
             tenant_id {uuid} NOT NULL,
             device_id {uuid} NOT NULL,
             command_id {uuid} NOT NULL,
             command_uuid text NOT NULL,
             request_type text NOT NULL,
             body_hash {bytes} NOT NULL,
             priority {int} NOT NULL,
             not_before {int} NOT NULL,
             not_after {int},
             after_command_id {uuid},
             state {int} NOT NULL,
             sends {int} NOT NULL,
             notnow_count {int} NOT NULL,
             notnow_poll {int} NOT NULL,
             first_sent_at {int},
             last_sent_at {int},
             inputs_sealed {bytes},
             pinned_hash {bytes},
             created_at {int} NOT NULL,
             PRIMARY KEY (enrollment_id, seq)",
        )
        .await?;
        // disposition: 3 done, 4 cancelled, 5 withdrawn, 6 expired.
        // outcome: 0 none, 1 Acknowledged, 2 Error, 3 CommandFormatError.
        ddl::table(
            manager,
            "delivery_history",
            Shape::ByTime("finished_at"),
            "enrollment_id {uuid} NOT NULL,
             seq {int} NOT NULL,
             finished_at {int} NOT NULL,
             tenant_id {uuid} NOT NULL,
             device_id {uuid} NOT NULL,
             command_id {uuid} NOT NULL,
             command_uuid text NOT NULL,
             request_type text NOT NULL,
             body_hash {bytes} NOT NULL,
             priority {int} NOT NULL,
             disposition {int} NOT NULL,
             reason text,
             outcome {int} NOT NULL,
             outcome_at {int},
             report_hash {bytes},
             report_sealed {bytes},
             error_chain text,
             sends {int} NOT NULL,
             notnow_count {int} NOT NULL,
             first_sent_at {int},
             last_sent_at {int},
             created_at {int} NOT NULL,
             PRIMARY KEY (enrollment_id, seq, finished_at)",
        )
        .await?;
        ddl::table(
            manager,
            "orphan_report",
            Shape::Plain,
            "enrollment_id {uuid} NOT NULL,
             received_at {int} NOT NULL,
             tenant_id {uuid} NOT NULL,
             command_uuid text NOT NULL,
             status text NOT NULL,
             report_sealed {bytes} NOT NULL,
             PRIMARY KEY (enrollment_id, received_at)",
        )
        .await?;
        ddl::table(
            manager,
            "idempotency",
            Shape::Plain,
            "tenant_id {uuid} NOT NULL,
             idempotency_key text NOT NULL,
             request_hash {bytes} NOT NULL,
             response text NOT NULL,
             created_at {int} NOT NULL,
             PRIMARY KEY (tenant_id, idempotency_key)",
        )
        .await?;
        ddl::run(
            manager,
            &[
                "CREATE INDEX command_tenant ON command (tenant_id, id)",
                "CREATE INDEX command_uuid ON command (tenant_id, command_uuid)",
                "CREATE INDEX delivery_next ON delivery (enrollment_id, priority DESC, seq)",
                "CREATE INDEX delivery_expiry ON delivery (not_after) WHERE not_after IS NOT NULL",
                "CREATE INDEX idempotency_age ON idempotency (created_at)",
            ],
        )
        .await?;
        Ok(())
    }
}
