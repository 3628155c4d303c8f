//! Table `redeliveries`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "redeliveries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub callback_id: i64,
    pub count: i64,
    pub last_us: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
