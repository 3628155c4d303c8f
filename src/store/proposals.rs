//! Proposals to resolve a discrepancy by moving money, or to end a withdrawal: asked by one person, let pass or refused by another, and carried
//! out once. Each step is a compare-and-set together with its row of the audit log; carrying out is the booker's.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, SqlErr,
};

use super::audit_log::{Actor, Deed, note};
use super::{Db, StoreError};
use crate::domain::ids::MerchantId;
use entity::proposal::{ActiveModel, Column, Entity, Model};

/// How a proposal stands. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Waiting,
    /// To be carried out, or being so.
    Approved,
    Done,
    Refused,
    /// The ledger declined it: nothing has moved.
    Declined,
}

impl State {
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Approved, Self::Done, Self::Refused, Self::Declined];
    /// Those that a person must still do something about.
    pub const OPEN: [Self; 2] = [Self::Waiting, Self::Approved];

    const fn code(self) -> i16 {
        match self {
            Self::Waiting => 1,
            Self::Approved => 2,
            Self::Done => 3,
            Self::Refused => 4,
            Self::Declined => 5,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Declined => "declined",
        }
    }
}

/// What is proposed.
#[derive(Debug, Clone)]
pub struct Asked {
    pub merchant: MerchantId,
    /// 0: about a withdrawal.
    pub discrepancy: i64,
    /// 0: about a discrepancy.
    pub withdrawal: i64,
    pub action: &'static str,
    /// The action with all it needs, as JSON.
    pub params: String,
    pub note: String,
    /// What would move, as JSON: amounts by currency.
    pub moves: String,
    pub needs_second: bool,
    pub at_us: i64,
}

#[derive(Debug, Clone)]
pub struct Proposal {
    pub id: i64,
    pub merchant: MerchantId,
    /// 0: about a withdrawal.
    pub discrepancy: i64,
    /// 0: about a discrepancy.
    pub withdrawal: i64,
    pub action: String,
    pub params: String,
    pub note: String,
    pub moves: String,
    pub state: State,
    pub asked_by: String,
    pub asked_us: i64,
    pub decided_by: Option<String>,
    pub decided_us: Option<i64>,
    pub needs_second: bool,
    pub ended_us: Option<i64>,
    pub outcome: Option<String>,
}

#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Proposal>,
    pub next: Option<i64>,
}

/// Writes a proposal down. One that needs nobody else is approved at once. `None`: another one is open already.
pub async fn ask(db: &Db, asked: &Asked, actor: &Actor) -> Result<Option<i64>, StoreError> {
    let txn = db.begin().await?;
    let state = if asked.needs_second { State::Waiting } else { State::Approved };
    let decided = (!asked.needs_second).then(|| actor.name.clone());
    let row = ActiveModel {
        id: ActiveValue::NotSet,
        merchant_id: ActiveValue::Set(asked.merchant.0),
        discrepancy: ActiveValue::Set(asked.discrepancy),
        withdrawal: ActiveValue::Set(asked.withdrawal),
        action: ActiveValue::Set(asked.action.to_owned()),
        params: ActiveValue::Set(asked.params.clone()),
        note: ActiveValue::Set(asked.note.clone()),
        moves: ActiveValue::Set(asked.moves.clone()),
        state: ActiveValue::Set(state.code()),
        asked_by: ActiveValue::Set(actor.name.clone()),
        asked_us: ActiveValue::Set(asked.at_us),
        decided_us: ActiveValue::Set(decided.as_ref().map(|_| asked.at_us)),
        decided_by: ActiveValue::Set(decided),
        needs_second: ActiveValue::Set(i16::from(asked.needs_second)),
        ended_us: ActiveValue::Set(None),
        outcome: ActiveValue::Set(None),
    };
    let id = match row.insert(&txn).await {
        Ok(row) => row.id,
        Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
            txn.rollback().await?;
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let after = format!("proposal {id} ({}): {} {}", state.word(), asked.action, asked.params);
    let (action, subject) = match asked.withdrawal {
        0 => ("discrepancy.resolve", format!("discrepancy/{}", asked.discrepancy)),
        withdrawal => ("withdrawal.end", format!("withdrawal/{withdrawal}")),
    };
    let deed = Deed { action, subject, before: None, after: Some(after), at_us: asked.at_us };
    note(&txn, actor, deed).await?;
    txn.commit().await?;
    Ok(Some(id))
}

/// Lets a waiting proposal pass, or refuses it. `false`: it waits no more, or whoever decides is the one who asked.
pub async fn decide(db: &Db, id: i64, to: State, actor: &Actor, now_us: i64) -> Result<bool, StoreError> {
    let txn = db.begin().await?;
    let is_waiting = Condition::all().add(Column::Id.eq(id)).add(Column::State.eq(State::Waiting.code()));
    let by_another = (to == State::Approved).then(|| Column::AskedBy.ne(actor.name.as_str()));
    let ended = (to == State::Refused).then_some(now_us);
    let values = Entity::update_many()
        .col_expr(Column::State, Expr::value(to.code()))
        .col_expr(Column::DecidedBy, Expr::value(actor.name.clone()))
        .col_expr(Column::DecidedUs, Expr::value(now_us))
        .col_expr(Column::EndedUs, Expr::value(ended));
    let moved = values.filter(is_waiting.add_option(by_another)).exec(&txn).await?;
    if moved.rows_affected != 1 {
        txn.rollback().await?;
        return Ok(false);
    }
    let action = if to == State::Approved { "proposal.approve" } else { "proposal.refuse" };
    let (before, after) = (Some("waiting".to_owned()), Some(to.word().to_owned()));
    note(&txn, actor, Deed { action, subject: format!("proposal/{id}"), before, after, at_us: now_us }).await?;
    txn.commit().await?;
    Ok(true)
}

/// Ends an approved proposal that was carried out or declined. Done again it changes nothing.
pub async fn end(db: &Db, id: i64, to: State, outcome: &str, (actor, now_us): (&Actor, i64)) -> Result<(), StoreError> {
    let txn = db.begin().await?;
    let is_approved = Column::Id.eq(id).and(Column::State.eq(State::Approved.code()));
    let values = Entity::update_many()
        .col_expr(Column::State, Expr::value(to.code()))
        .col_expr(Column::EndedUs, Expr::value(now_us))
        .col_expr(Column::Outcome, Expr::value(outcome.to_owned()));
    if values.filter(is_approved).exec(&txn).await?.rows_affected == 1 {
        let (before, after) = (Some("approved".to_owned()), Some(format!("{}: {outcome}", to.word())));
        let subject = format!("proposal/{id}");
        note(&txn, actor, Deed { action: "proposal.carry_out", subject, before, after, at_us: now_us }).await?;
    }
    txn.commit().await?;
    Ok(())
}

pub async fn get(db: &Db, id: i64) -> Result<Option<Proposal>, StoreError> {
    Entity::find_by_id(id).one(&db.orm).await?.map(proposal).transpose()
}

/// A page of proposals in these states, newest first; `before` is the last page's cursor.
pub async fn list(db: &Db, states: &[State], before: Option<i64>, limit: u64) -> Result<Page, StoreError> {
    let of_these = Column::State.is_in(states.iter().map(|state| state.code()));
    let all = Condition::all().add(Column::Id.lt(before.unwrap_or(i64::MAX))).add(of_these);
    let query = Entity::find().filter(all).order_by_desc(Column::Id).limit(limit.saturating_add(1));
    let mut rows = query.all(&db.orm).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|row| row.id).filter(|_| is_more);
    Ok(Page { rows: rows.into_iter().map(proposal).collect::<Result<_, _>>()?, next })
}

/// The last hundred about a discrepancy, oldest first.
pub async fn about(db: &Db, discrepancy: i64) -> Result<Vec<Proposal>, StoreError> {
    let query = Entity::find().filter(Column::Discrepancy.eq(discrepancy)).order_by_desc(Column::Id).limit(100);
    query.all(&db.orm).await?.into_iter().rev().map(proposal).collect()
}

fn proposal(row: Model) -> Result<Proposal, StoreError> {
    let state = State::ALL.into_iter().find(|state| state.code() == row.state);
    Ok(Proposal {
        state: state.ok_or_else(|| StoreError::Corrupt(format!("proposal {}: state {}", row.id, row.state)))?,
        id: row.id,
        merchant: MerchantId(row.merchant_id),
        discrepancy: row.discrepancy,
        withdrawal: row.withdrawal,
        action: row.action,
        params: row.params,
        note: row.note,
        moves: row.moves,
        asked_by: row.asked_by,
        asked_us: row.asked_us,
        decided_by: row.decided_by,
        decided_us: row.decided_us,
        needs_second: row.needs_second != 0,
        ended_us: row.ended_us,
        outcome: row.outcome,
    })
}
