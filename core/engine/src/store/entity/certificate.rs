//! A certificate issued to a device, or seen under an external authority.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "certificate")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub fingerprint: Vec<u8>,
    pub grant_id: Uuid,
    pub device_id: Option<Uuid>,
    pub enrollment_id: Option<Uuid>,
    pub state: i64,
    pub subject: String,
    pub not_before: i64,
    pub not_after: i64,
    pub created_at: i64,
    pub ended_at: Option<i64>,
    pub end_reason: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
