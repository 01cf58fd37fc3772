//! A fact about a device, or about a user of it.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "fact")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub device_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_key: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub tenant_id: Uuid,
    pub value: String,
    pub source: String,
    pub observed_at: i64,
    pub revision: i64,
}

impl ActiveModelBehavior for ActiveModel {}
