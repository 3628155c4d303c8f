//! Who did what: rows that no statement can change, written in the transaction of what they tell of. Only the booker's own
//! decisions, asked for by hand, are told right after.

use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::{Db, StoreError};
use entity::audit_entry::{ActiveModel, Column, Entity, Model};

/// Who does something, and with which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub name: String,
    pub role: &'static str,
    pub request_id: String,
}

/// What is done.
#[derive(Debug, Clone)]
pub struct Deed {
    /// `proposal.approve`
    pub action: &'static str,
    /// `discrepancy/12`
    pub subject: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub at_us: i64,
}

/// A row of the log.
#[derive(Debug, Clone)]
pub struct Entry {
    pub id: i64,
    pub at_us: i64,
    pub who: String,
    pub role: String,
    pub action: String,
    pub subject: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub request_id: String,
}

#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub who: Option<String>,
    pub action: Option<String>,
    pub subject: Option<String>,
}

#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Entry>,
    pub next: Option<i64>,
}

/// Writes it down, where there is one in the transaction of what it tells of.
pub async fn note<C: ConnectionTrait>(connection: &C, actor: &Actor, deed: Deed) -> Result<(), StoreError> {
    let Deed { action, subject, before, after, at_us } = deed;
    let row = ActiveModel {
        id: ActiveValue::NotSet,
        at_us: ActiveValue::Set(at_us),
        who: ActiveValue::Set(actor.name.clone()),
        role: ActiveValue::Set(actor.role.to_owned()),
        action: ActiveValue::Set(action.to_owned()),
        subject: ActiveValue::Set(subject),
        before: ActiveValue::Set(before),
        after: ActiveValue::Set(after),
        request_id: ActiveValue::Set(actor.request_id.clone()),
    };
    row.insert(connection).await?;
    Ok(())
}

/// A page of the log, newest first; `before` is the last page's cursor.
pub async fn list(db: &Db, filter: &Filter, before: Option<i64>, limit: u64) -> Result<Page, StoreError> {
    let is = |column: Column, value: &Option<String>| value.as_ref().map(|value| column.eq(value.as_str()));
    let all = Condition::all()
        .add(Column::Id.lt(before.unwrap_or(i64::MAX)))
        .add_option(is(Column::Who, &filter.who))
        .add_option(is(Column::Action, &filter.action))
        .add_option(is(Column::Subject, &filter.subject));
    let query = Entity::find().filter(all).order_by_desc(Column::Id).limit(limit.saturating_add(1));
    let mut rows = query.all(&db.orm).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|row| row.id).filter(|_| is_more);
    Ok(Page { rows: rows.into_iter().map(entry).collect(), next })
}

fn entry(row: Model) -> Entry {
    let Model { id, at_us, who, role, action, subject, before, after, request_id } = row;
    Entry { id, at_us, who, role, action, subject, before, after, request_id }
}
