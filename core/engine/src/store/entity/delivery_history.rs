//! A delivery that has left the open queue. The sealed report is read by itself, where it is wanted.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "delivery_history")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub enrollment_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub finished_at: i64,
    pub tenant_id: Uuid,
    pub device_id: Uuid,
    pub command_id: Uuid,
    pub disposition: i64,
    pub reason: Option<String>,
    pub outcome: i64,
    pub outcome_at: Option<i64>,
    pub error_chain: Option<String>,
    pub sends: i64,
    pub notnow_count: i64,
    pub first_sent_at: Option<i64>,
    pub last_sent_at: Option<i64>,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
