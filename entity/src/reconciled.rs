//! Table `reconciled`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reconciled")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub merchant_id: i16,
    #[sea_orm(primary_key, auto_increment = false)]
    pub began_us: i64,
    pub verdict: i16,
    pub since_us: Option<i64>,
    pub discrepancy: Option<i64>,
    #[sea_orm(primary_key, auto_increment = false)]
    pub currency: String,
    #[sea_orm(select_as = "text")]
    pub ours: String,
    #[sea_orm(select_as = "text")]
    pub theirs: String,
    #[sea_orm(select_as = "text")]
    pub in_flight: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
