//! Table `journal`. On PostgreSQL its rows also hold their postings, which are read as `postings`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "journal")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    pub merchant_id: i16,
    pub event: i16,
    pub effect: i16,
    pub reason: Option<i16>,
    pub postings: i16,
    pub subject: i64,
    pub callback_id: i64,
    pub payment_id: Option<i64>,
    pub customer_id: Option<i64>,
    pub at_us: i64,
    pub hash: Vec<u8>,
    pub currency: Option<String>,
    #[sea_orm(select_as = "text")]
    pub amount: Option<String>,
    #[sea_orm(select_as = "text")]
    pub fee: Option<String>,
    #[sea_orm(select_as = "text")]
    pub balance_after: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
