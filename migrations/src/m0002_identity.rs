//! Certificate authorities, enrollment links, grants, and the certificates issued or seen under them.
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
        // kind: root, issuing, external. policy: which devices of an external CA may enroll (JSON).
        ddl::table(
            manager,
            "ca",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             kind text NOT NULL,
             name text NOT NULL,
             certificate {bytes} NOT NULL,
             key_sealed {bytes},
             policy text NOT NULL,
             not_after {int} NOT NULL,
             created_at {int} NOT NULL,
             retired_at {int}",
        )
        .await?;
        ddl::table(
            manager,
            "enrollment_link",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             token_hash {bytes} NOT NULL UNIQUE,
             name text NOT NULL,
             max_uses {int} NOT NULL,
             uses {int} NOT NULL,
             device_udid text,
             device_serial text,
             created_by {uuid},
             created_at {int} NOT NULL,
             expires_at {int} NOT NULL,
             revoked_at {int}",
        )
        .await?;
        // kind: link, renewal, external_ca, import.
        // issued_at: a certificate was issued; consumed_at: an Authenticate was accepted under it.
        ddl::table(
            manager,
            "identity_grant",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             kind text NOT NULL,
             link_id {uuid},
             ca_id {uuid},
             device_ident text,
             device_serial text,
             enrollment_id {uuid},
             challenge_hash {bytes},
             key_hash {bytes},
             transaction_id text,
             created_at {int} NOT NULL,
             expires_at {int} NOT NULL,
             issued_at {int},
             consumed_at {int},
             ended_at {int}",
        )
        .await?;
        // state: 0 issued, 1 pending, 2 active, 3 superseded, 4 revoked.
        // superseded: a renewal took its place; it may act until the new one has reported (first_report_at).
        ddl::table(
            manager,
            "certificate",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             fingerprint {bytes} NOT NULL,
             grant_id {uuid} NOT NULL,
             device_id {uuid},
             enrollment_id {uuid},
             state {int} NOT NULL,
             subject text NOT NULL,
             not_before {int} NOT NULL,
             not_after {int} NOT NULL,
             der {bytes} NOT NULL,
             created_at {int} NOT NULL,
             first_report_at {int},
             ended_at {int},
             end_reason text,
             UNIQUE (tenant_id, fingerprint)",
        )
        .await?;
        ddl::run(
            manager,
            &[
                "CREATE INDEX ca_tenant ON ca (tenant_id, kind)",
                "CREATE INDEX enrollment_link_tenant ON enrollment_link (tenant_id, id)",
                "CREATE UNIQUE INDEX identity_grant_challenge ON identity_grant (tenant_id, challenge_hash)",
                "CREATE INDEX identity_grant_enrollment ON identity_grant (enrollment_id)",
                "CREATE INDEX identity_grant_transaction ON identity_grant (tenant_id, transaction_id)",
                "CREATE INDEX identity_grant_waiting ON identity_grant (link_id) WHERE issued_at IS NULL",
                "CREATE INDEX certificate_grant ON certificate (grant_id)",
                "CREATE INDEX certificate_enrollment ON certificate (enrollment_id, state)",
                "CREATE INDEX certificate_device ON certificate (device_id)",
                "CREATE INDEX certificate_expiry ON certificate (state, not_after)",
            ],
        )
        .await?;
        Ok(())
    }
}
