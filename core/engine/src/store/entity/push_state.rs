//! Whether an enrollment waits to be rung, and how the last ring went.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "push_state")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub enrollment_id: Uuid,
    pub tenant_id: Uuid,
    pub device_id: Uuid,
    pub due_at: Option<i64>,
    pub attempts: i64,
    pub last_at: Option<i64>,
    pub last_status: Option<i64>,
    pub last_reason: Option<String>,
    pub last_apns_id: Option<String>,
    pub refused_certificate_id: Option<Uuid>,
}

impl ActiveModelBehavior for ActiveModel {}
