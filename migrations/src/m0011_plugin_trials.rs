//! Versions of plugins that are on trial beside the active one, and what was found by comparing the two.
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
        // mode: shadow or canary. A canary has a share of the devices in percent, or the name of a group.
        // rights: what the operator granted the active version when the trial began; it counts where the plugin's own
        // row says nothing.
        ddl::table(
            manager,
            "plugin_trial",
            Shape::Plain,
            "plugin_id text PRIMARY KEY,
             version text NOT NULL,
             title text NOT NULL,
             digest text NOT NULL,
             package {bytes} NOT NULL,
             trust text NOT NULL,
             signed_by text,
             countersigned_by text,
             source text,
             rights text NOT NULL,
             mode text NOT NULL,
             share {int},
             group_name text,
             begun_at {int} NOT NULL,
             mode_since {int} NOT NULL,
             kv_schema {int}",
        )
        .await?;
        // Questions by what became of them: same and different were compared; the others had no answer of one side.
        ddl::table(
            manager,
            "plugin_trial_count",
            Shape::Plain,
            "tenant_id {uuid} NOT NULL,
             plugin_id text NOT NULL,
             hook text NOT NULL,
             same {int} NOT NULL,
             different {int} NOT NULL,
             active_failed {int} NOT NULL,
             trial_failed {int} NOT NULL,
             left_out {int} NOT NULL,
             lost {int} NOT NULL,
             active_calls {int} NOT NULL,
             active_micros {int} NOT NULL,
             trial_calls {int} NOT NULL,
             trial_micros {int} NOT NULL,
             last_failure text,
             PRIMARY KEY (tenant_id, plugin_id, hook)",
        )
        .await?;
        // The newest of a plugin in a tenant. device: its id, or how it names itself before it has one; empty: none.
        ddl::table(
            manager,
            "plugin_trial_difference",
            Shape::Plain,
            "id {uuid} PRIMARY KEY,
             tenant_id {uuid} NOT NULL,
             plugin_id text NOT NULL,
             hook text NOT NULL,
             device text NOT NULL,
             about text NOT NULL,
             active text NOT NULL,
             trial text NOT NULL,
             noted_at {int} NOT NULL",
        )
        .await?;
        ddl::run(
            manager,
            &["CREATE INDEX plugin_trial_difference_of ON plugin_trial_difference (plugin_id, tenant_id, id)"],
        )
        .await
    }
}
