//! Table `discrepancy_notes`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "discrepancy_notes")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub discrepancy: i64,
    pub kind: i16,
    pub at_us: i64,
    pub who: String,
    pub text: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
