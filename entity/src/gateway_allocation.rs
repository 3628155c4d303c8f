//! Table `gateway_allocations`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "gateway_allocations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub api_key: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub idempotency_key: String,
    pub currency: String,
    pub network: String,
    pub user_identifier: Option<String>,
    pub request_id: Option<i64>,
    pub claim_owner: String,
    pub claim_until_us: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
