//! Table `discrepancy_owners`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "discrepancy_owners")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub discrepancy: i64,
    pub owner: String,
    pub since_us: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
