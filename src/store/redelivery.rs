//! Events that are to be published again: asked for, and how far it has come. It never touches the cursor of publishing:
//! what is told again was told before, and nothing is skipped or marked by it.

use sea_orm::sea_query::Expr;
use sea_orm::{ActiveModelTrait, ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::audit_log::{self, Actor, Deed};
use super::{Db, StoreError};
use entity::event_redelivery::{ActiveModel, Column, Entity, Model};

const WAITING: i16 = 1;
const DONE: i16 = 2;

/// What is asked for: the events from `first` to `last`, both with.
#[derive(Debug, Clone)]
pub struct Asked {
    pub first: i64,
    pub last: i64,
    pub reason: String,
    pub at_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redelivery {
    pub id: i64,
    pub first: i64,
    pub last: i64,
    /// Everything of it up to here is confirmed.
    pub position: i64,
    pub is_done: bool,
    pub reason: String,
    pub by: String,
    pub asked_us: i64,
    pub ended_us: Option<i64>,
}

impl Redelivery {
    /// How many events it is about.
    pub const fn events(&self) -> i64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    pub const fn state(&self) -> &'static str {
        if self.is_done { "done" } else { "running" }
    }
}

#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Redelivery>,
    pub next: Option<i64>,
}

/// Writes it down, with who asked; whoever publishes finds it.
pub async fn ask(db: &Db, asked: &Asked, actor: &Actor) -> Result<Redelivery, StoreError> {
    let Asked { first, last, reason, at_us } = asked.clone();
    let txn = db.begin().await?;
    let row = ActiveModel {
        id: ActiveValue::NotSet,
        first: ActiveValue::Set(first),
        last: ActiveValue::Set(last),
        position: ActiveValue::Set(first.saturating_sub(1)),
        state: ActiveValue::Set(WAITING),
        reason: ActiveValue::Set(reason.clone()),
        asked_by: ActiveValue::Set(actor.name.clone()),
        asked_us: ActiveValue::Set(at_us),
        ended_us: ActiveValue::Set(None),
    };
    let row = row.insert(&txn).await?;
    let subject = format!("redelivery/{}", row.id);
    let after = Some(format!("{first} to {last}: {reason}"));
    audit_log::note(&txn, actor, Deed { action: "events.redeliver", subject, before: None, after, at_us }).await?;
    txn.commit().await?;
    Ok(told(row))
}

/// The oldest that is not done.
pub async fn next(db: &Db) -> Result<Option<Redelivery>, StoreError> {
    // Written out, so that also a plan that is kept goes by the index of those that wait.
    let waits = Expr::cust(format!("state = {WAITING}"));
    let oldest = Entity::find().filter(waits).order_by_asc(Column::Id).limit(1);
    Ok(oldest.one(&db.orm).await?.map(told))
}

/// Keeps how far it has come. `false`: another replica has moved it meanwhile.
pub async fn reached(db: &Db, of: &Redelivery, position: i64, now_us: i64) -> Result<bool, StoreError> {
    let is_done = position >= of.last;
    let values = Entity::update_many()
        .col_expr(Column::Position, Expr::value(position))
        .col_expr(Column::State, Expr::value(if is_done { DONE } else { WAITING }))
        .col_expr(Column::EndedUs, Expr::value(is_done.then_some(now_us)));
    let as_known = values.filter(Column::Id.eq(of.id)).filter(Column::Position.eq(of.position));
    Ok(as_known.exec(&db.orm).await?.rows_affected == 1)
}

/// A page of them, newest first; `before` is the last page's cursor.
pub async fn list(db: &Db, before: Option<i64>, limit: u64) -> Result<Page, StoreError> {
    let query = Entity::find().filter(Column::Id.lt(before.unwrap_or(i64::MAX))).order_by_desc(Column::Id);
    let mut rows = query.limit(limit.saturating_add(1)).all(&db.orm).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|row| row.id).filter(|_| is_more);
    Ok(Page { rows: rows.into_iter().map(told).collect(), next })
}

fn told(row: Model) -> Redelivery {
    let Model { id, first, last, position, state, reason, asked_by, asked_us, ended_us } = row;
    Redelivery { id, first, last, position, is_done: state == DONE, reason, by: asked_by, asked_us, ended_us }
}
