//! Table `addresses`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "addresses")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub merchant_id: i16,
    pub state: i16,
    pub network: String,
    pub code: String,
    pub user_identifier: Option<String>,
    pub foreign_id: String,
    pub address: Option<String>,
    pub tag: Option<String>,
    pub claim_owner: String,
    pub claim_until_us: i64,
    pub failed_us: Option<i64>,
    pub failure: Option<String>,
    pub free_us: Option<i64>,
    pub retired_us: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
