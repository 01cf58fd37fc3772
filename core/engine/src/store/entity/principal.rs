//! A person, a plugin or the system; without a tenant it is the operator's.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "principal")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Option<Uuid>,
    pub kind: String,
    pub name: String,
    pub created_by: Option<Uuid>,
    pub created_at: i64,
    pub disabled_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
