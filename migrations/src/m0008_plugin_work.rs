//! What plugins find out and keep: findings, declarations, values, jobs, secrets, notices; and what they may do.
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
        posture(manager).await?;
        work(manager).await?;
        rights(manager).await
    }
}

/// What deterministic hooks have said of devices.
async fn posture(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    // The last time that a plugin's hook was asked about a device, and what it was asked, so that it can be asked again.
    // state: 0 answered, 1 gave no answer, and what it had said before stands as unknown.
    ddl::table(
        manager,
        "assessment",
        Shape::Plain,
        "plugin_id text NOT NULL,
         hook text NOT NULL,
         device_id {uuid} NOT NULL,
         tenant_id {uuid} NOT NULL,
         stamp text NOT NULL,
         revision {int} NOT NULL,
         assessed_at {int} NOT NULL,
         due_at {int} NOT NULL,
         attempts {int} NOT NULL,
         state {int} NOT NULL,
         error text,
         call_id text NOT NULL,
         device text NOT NULL,
         PRIMARY KEY (plugin_id, hook, device_id)",
    )
    .await?;
    ddl::table(
        manager,
        "finding",
        Shape::Plain,
        "device_id {uuid} NOT NULL,
         plugin_id text NOT NULL,
         rule text NOT NULL,
         tenant_id {uuid} NOT NULL,
         verdict text NOT NULL,
         severity text NOT NULL,
         title text NOT NULL,
         message text NOT NULL,
         evidence text NOT NULL,
         remedies text NOT NULL,
         grace_until {int},
         since {int} NOT NULL,
         observed_at {int} NOT NULL,
         PRIMARY KEY (device_id, plugin_id, rule)",
    )
    .await?;
    ddl::table(
        manager,
        "contribution",
        Shape::Plain,
        "device_id {uuid} NOT NULL,
         identifier text NOT NULL,
         plugin_id text NOT NULL,
         tenant_id {uuid} NOT NULL,
         kind text NOT NULL,
         payload text NOT NULL,
         server_token text NOT NULL,
         changed_at {int} NOT NULL,
         PRIMARY KEY (device_id, identifier)",
    )
    .await?;
    ddl::run(
        manager,
        &["CREATE INDEX finding_verdict ON finding (tenant_id, verdict, device_id)"],
    )
    .await
}

/// What plugins keep and do by themselves.
async fn work(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    // schema: the number that the plugin gives to the form of its values; those of the number before stay for a way back.
    ddl::table(
        manager,
        "plugin_value",
        Shape::Plain,
        "tenant_id {uuid} NOT NULL,
         plugin_id text NOT NULL,
         schema {int} NOT NULL,
         name text NOT NULL,
         value {bytes} NOT NULL,
         changed_at {int} NOT NULL,
         PRIMARY KEY (tenant_id, plugin_id, schema, name)",
    )
    .await?;
    // A job that is to run at due_at. lease_until: a node is at it.
    ddl::table(
        manager,
        "plugin_job",
        Shape::Plain,
        "tenant_id {uuid} NOT NULL,
         plugin_id text NOT NULL,
         job text NOT NULL,
         due_at {int} NOT NULL,
         lease_until {int} NOT NULL,
         cursor_at text,
         steps {int} NOT NULL,
         attempts {int} NOT NULL,
         last_error text,
         last_run_at {int},
         PRIMARY KEY (tenant_id, plugin_id, job)",
    )
    .await?;
    ddl::table(
        manager,
        "plugin_secret",
        Shape::Plain,
        "tenant_id {uuid} NOT NULL,
         plugin_id text NOT NULL,
         name text NOT NULL,
         host text NOT NULL,
         sealed {bytes} NOT NULL,
         set_at {int} NOT NULL,
         PRIMARY KEY (tenant_id, plugin_id, name)",
    )
    .await?;
    ddl::table(
        manager,
        "notice",
        Shape::Plain,
        "id {uuid} PRIMARY KEY,
         tenant_id {uuid} NOT NULL,
         plugin_id text NOT NULL,
         severity text NOT NULL,
         text text NOT NULL,
         told_at {int} NOT NULL",
    )
    .await?;
    ddl::run(
        manager,
        &[
            "CREATE INDEX plugin_job_due ON plugin_job (due_at)",
            "CREATE INDEX notice_tenant ON notice (tenant_id, told_at)",
        ],
    )
    .await
}

/// What plugins may do, as JSON; none: everything that the manifest asked for when it was installed.
async fn rights(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    // A version that asks for more than was granted waits here, and the one before goes on.
    ddl::table(
        manager,
        "plugin_waiting",
        Shape::Plain,
        "plugin_id text PRIMARY KEY,
         version text NOT NULL,
         title text NOT NULL,
         digest text NOT NULL,
         package {bytes} NOT NULL,
         signed {int} NOT NULL,
         rights text NOT NULL,
         offered_at {int} NOT NULL",
    )
    .await?;
    ddl::run(
        manager,
        &[
            "ALTER TABLE plugin ADD COLUMN rights text",
            "ALTER TABLE plugin_switch ADD COLUMN rights text",
        ],
    )
    .await
}
