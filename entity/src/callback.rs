//! Table `callbacks`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "callbacks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub merchant_id: i16,
    pub family: i16,
    pub state: i16,
    pub reason: Option<i16>,
    pub policy: i16,
    pub entries: i16,
    pub locality: i64,
    pub turn: i64,
    pub position: i64,
    pub payment_id: Option<i64>,
    pub customer_id: Option<i64>,
    pub received_us: i64,
    pub decided_us: i64,
    pub digest: Vec<u8>,
    pub signature: Vec<u8>,
    #[sea_orm(column_name = "type")]
    pub r#type: Option<String>,
    pub status: Option<String>,
    pub ext_id: Option<String>,
    pub foreign_id: Option<String>,
    pub end_user_reference: Option<String>,
    pub address: Option<String>,
    pub txids: Option<String>,
    pub detail: Option<String>,
    pub headers: String,
    pub body: Option<Vec<u8>>,
    pub origin: i16,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
