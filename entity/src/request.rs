//! Table `requests`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "requests")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub merchant_id: i16,
    pub kind: i16,
    pub state: i16,
    pub status: Option<i16>,
    pub customer_id: Option<i64>,
    pub asked_us: i64,
    pub answered_us: Option<i64>,
    pub foreign_id: String,
    pub request: Vec<u8>,
    pub answer: Option<Vec<u8>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
