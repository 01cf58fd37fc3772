//! One channel of a device in one generation. None of its sealed columns is a field here: what is read
//! through this entity holds no secret.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "enrollment")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub device_id: Uuid,
    pub parent_id: Option<Uuid>,
    pub channel: i64,
    pub user_key: String,
    pub user_short_name: Option<String>,
    pub user_long_name: Option<String>,
    pub generation: i64,
    pub state: i64,
    pub topic: Option<String>,
    pub awaiting_configuration: Option<i64>,
    pub created_at: i64,
    pub enabled_at: Option<i64>,
    pub token_updated_at: Option<i64>,
    pub ended_at: Option<i64>,
    pub end_reason: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
