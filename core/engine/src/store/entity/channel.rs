//! What changes with each request of an enrollment.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "channel")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub enrollment_id: Uuid,
    pub device_id: Uuid,
    pub tenant_id: Uuid,
    pub last_seen_at: i64,
    pub session_started_at: i64,
    pub session_requests: i64,
}

impl ActiveModelBehavior for ActiveModel {}
