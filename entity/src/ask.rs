//! Table `asks`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "asks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub reference: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: i16,
    #[sea_orm(primary_key, auto_increment = false)]
    pub merchant_id: i16,
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject: i16,
    pub attempts: i32,
    pub missing: i32,
    pub since_us: i64,
    pub next_us: i64,
    pub asked_us: i64,
    pub until_us: i64,
    pub discrepancy: Option<i64>,
    pub currency: Option<String>,
    #[sea_orm(select_as = "text")]
    pub amount: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
