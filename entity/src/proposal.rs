//! Table `proposals`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "proposals")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub merchant_id: i16,
    pub discrepancy: i64,
    pub withdrawal: i64,
    pub action: String,
    pub params: String,
    pub note: String,
    pub moves: String,
    pub state: i16,
    pub asked_by: String,
    pub asked_us: i64,
    pub decided_by: Option<String>,
    pub decided_us: Option<i64>,
    pub needs_second: i16,
    pub ended_us: Option<i64>,
    pub outcome: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
