//! Table `deposit_requests`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deposit_requests")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub merchant_id: i16,
    pub state: i16,
    pub address_id: i64,
    pub currency: String,
    pub network: String,
    pub user_identifier: Option<String>,
    pub created_us: i64,
    pub display_until_us: i64,
    pub monitoring_until_us: i64,
    pub claim_until_us: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
