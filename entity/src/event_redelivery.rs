//! Table `event_redeliveries`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event_redeliveries")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub first: i64,
    pub last: i64,
    pub position: i64,
    pub state: i16,
    pub reason: String,
    pub asked_by: String,
    pub asked_us: i64,
    pub ended_us: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
