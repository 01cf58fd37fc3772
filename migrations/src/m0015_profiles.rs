//! Profiles, what they are assigned to, and what each channel has of them.
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
        // identifier: the PayloadIdentifier, by which a device knows a profile again. version: the current one.
        // of_user: 1 for profiles of user channels.
        ddl::table(
            manager,
            "profile",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             name text NOT NULL,
             identifier text NOT NULL,
             of_user {int} NOT NULL,
             version {int} NOT NULL,
             created_at {int} NOT NULL,
             UNIQUE (tenant_id, name),
             UNIQUE (tenant_id, identifier)",
        )
        .await?;
        // hash: keyed, of what was uploaded. kind: 0 delivered as it is, 1 variables are filled in, 2 signed by somebody else.
        // sealed: what was uploaded, byte for byte. summary: JSON, what may be shown of it.
        ddl::table(
            manager,
            "profile_version",
            Shape::Plain,
            "profile_id {uuid} NOT NULL,
             version {int} NOT NULL,
             tenant_id {uuid} NOT NULL,
             hash {bytes} NOT NULL,
             kind {int} NOT NULL,
             sealed {bytes} NOT NULL,
             size_bytes {int} NOT NULL,
             summary text NOT NULL,
             created_at {int} NOT NULL,
             PRIMARY KEY (profile_id, version)",
        )
        .await?;
        // target_kind: 0 every device, 1 a group, 2 a device. target_id: nil for every device.
        ddl::table(
            manager,
            "profile_assignment",
            Shape::Plain,
            "profile_id {uuid} NOT NULL,
             target_kind {int} NOT NULL,
             target_id {uuid} NOT NULL,
             tenant_id {uuid} NOT NULL,
             created_at {int} NOT NULL,
             PRIMARY KEY (profile_id, target_kind, target_id)",
        )
        .await?;
        // state: 1 installing, 2 installed, 3 verified, 4 failed, 5 given up, 6 refused, 7 removing, 8 not removed.
        // command_id: the command under way. ended: how it ended: 0 not yet, 1 acknowledged, 2 error or format error,
        // 3 never sent, 4 sent and never answered. hash, payload_uuid: of what was sent. tries: sendings since it was last well.
        // was_on: 1 where the device has had it from us. told: why it is not well.
        ddl::table(
            manager,
            "profile_state",
            Shape::Hot,
            "enrollment_id {uuid} NOT NULL,
             profile_id {uuid} NOT NULL,
             tenant_id {uuid} NOT NULL,
             device_id {uuid} NOT NULL,
             version {int} NOT NULL,
             hash {bytes} NOT NULL,
             payload_uuid text NOT NULL,
             state {int} NOT NULL,
             command_id {uuid},
             ended {int} NOT NULL,
             ended_at {int} NOT NULL,
             tries {int} NOT NULL,
             again_at {int} NOT NULL,
             was_on {int} NOT NULL,
             told text NOT NULL,
             changed_at {int} NOT NULL,
             PRIMARY KEY (enrollment_id, profile_id)",
        )
        .await?;
        // When a channel is looked after next. asking: the ProfileList that is under way. asked_at: when one was sent last; 0 if never.
        // leased_until: a round has the channel until then; what is marked meanwhile stays due.
        ddl::table(
            manager,
            "upkeep",
            Shape::Hot,
            "enrollment_id {uuid} NOT NULL PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             due_at {int} NOT NULL,
             leased_until {int} NOT NULL,
             asking {uuid},
             asked_at {int} NOT NULL",
        )
        .await?;
        ddl::run(
            manager,
            &[
                "CREATE INDEX profile_assignment_target ON profile_assignment (tenant_id, target_kind, target_id)",
                "CREATE INDEX profile_state_profile ON profile_state (profile_id, state, enrollment_id)",
                "CREATE INDEX profile_state_device ON profile_state (device_id)",
                "CREATE INDEX upkeep_due ON upkeep (due_at)",
            ],
        )
        .await
    }
}
