//! Table `exports`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "exports")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub merchant_id: i16,
    pub sha256: Vec<u8>,
    pub file: String,
    pub asked_by: String,
    pub began_us: i64,
    pub ended_us: Option<i64>,
    pub from_us: i64,
    pub until_us: i64,
    pub rows_read: i64,
    pub payments_read: i64,
    pub matched: i64,
    pub missing_here: i64,
    pub missing_there: i64,
    pub amounts: i64,
    pub fees: i64,
    pub statuses: i64,
    pub duplicates: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
