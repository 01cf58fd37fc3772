//! Devices, their enrollments by channel and generation, facts about them, and groups.
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
        // ident: the canonical UDID (ident_kind 0) or EnrollmentID (ident_kind 1).
        // left_at: when the device was last known to have left (CheckOut, removal).
        ddl::table(
            manager,
            "device",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             ident_kind {int} NOT NULL,
             ident text NOT NULL,
             serial_number text,
             device_name text,
             model text,
             product_name text,
             os_version text,
             build_version text,
             created_at {int} NOT NULL,
             left_at {int},
             revision {int} NOT NULL,
             UNIQUE (tenant_id, ident_kind, ident)",
        )
        .await?;
        // The row that is locked for every change of a device and its channels.
        ddl::table(
            manager,
            "device_head",
            Shape::Hot,
            "device_id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             event_seq {int} NOT NULL",
        )
        .await?;
        // channel: 0 device, 1 macOS user, 2 Shared iPad user, 3 user of a User Enrollment.
        // user_key: empty for the device channel. state: 0 pending, 1 quarantined, 2 enabled, 3 ended.
        ddl::table(
            manager,
            "enrollment",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             device_id {uuid} NOT NULL,
             parent_id {uuid},
             channel {int} NOT NULL,
             user_key text NOT NULL,
             user_short_name text,
             user_long_name text,
             generation {int} NOT NULL,
             state {int} NOT NULL,
             grant_id {uuid},
             topic text,
             push_token_sealed {bytes},
             push_magic_sealed {bytes},
             push_token_hash {bytes},
             unlock_token_sealed {bytes},
             bootstrap_token_sealed {bytes},
             awaiting_configuration {int},
             authenticate_sealed {bytes},
             token_update_sealed {bytes},
             token_update_digests {bytes},
             created_at {int} NOT NULL,
             enabled_at {int},
             token_updated_at {int},
             ended_at {int},
             end_reason text,
             UNIQUE (device_id, channel, user_key, generation)",
        )
        .await?;
        // What changes with each request of a channel. poll: counts Idle; sent_seq: the delivery that is
        // outstanding, or 0; session_*: the running session.
        ddl::table(
            manager,
            "channel",
            Shape::Hot,
            "enrollment_id {uuid} PRIMARY KEY,
             device_id {uuid} NOT NULL,
             tenant_id {uuid} NOT NULL,
             next_seq {int} NOT NULL,
             poll {int} NOT NULL,
             sent_seq {int} NOT NULL,
             last_seen_at {int} NOT NULL,
             session_started_at {int} NOT NULL,
             session_requests {int} NOT NULL,
             session_commands {int} NOT NULL,
             session_not_now {int} NOT NULL",
        )
        .await?;
        ddl::table(
            manager,
            "fact",
            Shape::Plain,
            "tenant_id {uuid} NOT NULL,
             device_id {uuid} NOT NULL,
             user_key text NOT NULL,
             name text NOT NULL,
             value text NOT NULL,
             source text NOT NULL,
             observed_at {int} NOT NULL,
             revision {int} NOT NULL,
             PRIMARY KEY (device_id, user_key, name)",
        )
        .await?;
        ddl::table(
            manager,
            "device_group",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             name text NOT NULL,
             created_at {int} NOT NULL,
             UNIQUE (tenant_id, name)",
        )
        .await?;
        ddl::table(
            manager,
            "group_member",
            Shape::Plain,
            "tenant_id {uuid} NOT NULL,
             group_id {uuid} NOT NULL,
             device_id {uuid} NOT NULL,
             added_at {int} NOT NULL,
             PRIMARY KEY (group_id, device_id)",
        )
        .await?;
        ddl::table(
            manager,
            "declarative_status",
            Shape::Plain,
            "enrollment_id {uuid} NOT NULL,
             received_at {int} NOT NULL,
             tenant_id {uuid} NOT NULL,
             device_id {uuid} NOT NULL,
             report_sealed {bytes} NOT NULL,
             PRIMARY KEY (enrollment_id, received_at)",
        )
        .await?;
        ddl::run(
            manager,
            &[
                "CREATE INDEX device_serial ON device (tenant_id, serial_number)",
                "CREATE INDEX enrollment_device ON enrollment (device_id, state)",
                "CREATE INDEX enrollment_tenant ON enrollment (tenant_id, id)",
                "CREATE UNIQUE INDEX enrollment_enabled ON enrollment (device_id, channel, user_key) WHERE state = 2",
                "CREATE INDEX group_member_device ON group_member (device_id)",
            ],
        )
        .await?;
        Ok(())
    }
}
