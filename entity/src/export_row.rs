//! Table `export_rows`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "export_rows")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub export_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub ordinal: i64,
    pub verdict: i16,
    pub how: Option<i16>,
    pub state: i16,
    pub family: i16,
    pub line: Option<i64>,
    pub ext_id: String,
    pub currency: String,
    pub theirs: Option<String>,
    pub ours: Option<String>,
    pub their_fee: Option<String>,
    pub our_fee: Option<String>,
    pub their_status: Option<String>,
    pub our_status: Option<String>,
    pub note: Option<String>,
    pub payment_id: Option<i64>,
    pub callback_id: Option<i64>,
    pub discrepancy: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
