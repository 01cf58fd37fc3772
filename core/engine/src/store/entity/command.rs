//! A command as it was enqueued.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "command")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub command_uuid: String,
    pub request_type: String,
    pub priority: i64,
    pub not_before: i64,
    pub not_after: Option<i64>,
    pub after_command_id: Option<Uuid>,
    pub actor_kind: String,
    pub actor_id: Option<Uuid>,
    pub targets: i64,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
