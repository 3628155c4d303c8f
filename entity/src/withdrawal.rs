//! Table `withdrawals`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "withdrawals")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub merchant_id: i16,
    pub customer_id: Option<i64>,
    pub payment_id: Option<i64>,
    pub state: i16,
    pub api: i16,
    pub attempts: i32,
    pub missing: i32,
    pub missing_since_us: Option<i64>,
    pub discrepancy: Option<i64>,
    pub answer_status: Option<i16>,
    pub requested_us: i64,
    pub sent_us: Option<i64>,
    pub next_us: Option<i64>,
    pub closed_us: Option<i64>,
    pub foreign_id: String,
    pub currency: String,
    #[sea_orm(select_as = "text")]
    pub amount: String,
    pub currency_to: Option<String>,
    pub address: String,
    pub tag: Option<String>,
    pub processor_id: Option<String>,
    pub request: Vec<u8>,
    pub answer: Option<Vec<u8>>,
    pub error: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
