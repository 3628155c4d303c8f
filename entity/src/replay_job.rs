//! Table `replay_jobs`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "replay_jobs")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub state: i16,
    pub dry_run: bool,
    pub scope: String,
    pub reason: String,
    pub asked_by: String,
    pub version: String,
    pub cursor: i64,
    pub upto: i64,
    pub decided: i64,
    pub changed: i64,
    pub differing: i64,
    pub failed: i64,
    pub pruned: i64,
    pub events: String,
    pub asked_us: i64,
    pub ended_us: Option<i64>,
    pub stopped_by: Option<String>,
    pub owner: String,
    pub until_us: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
