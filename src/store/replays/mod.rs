//! Replays in the background: asked for, taken by one process at a time under a lease, and what they have found so far.
//! A batch's findings and the cursor move in one transaction, so a batch counts once however often it is done.

mod findings;

use std::collections::BTreeMap;

pub use findings::{ChangeRow, SumKey, changes, sums};
use findings::{add_changes, add_sums};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};

use super::booking::State;
use super::callbacks::{Filter, Scope, bounds};
use super::cursor::statement;
use super::{Db, StoreError};
use crate::domain::amount::Amount;
use crate::domain::ids::MerchantId;
use entity::replay_job::{ActiveModel, Column, Entity, Model};

/// How a replay stands. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    Running,
    Done,
    Stopped,
}

impl JobState {
    pub const ALL: [Self; 3] = [Self::Running, Self::Done, Self::Stopped];

    const fn code(self) -> i16 {
        match self {
            Self::Running => 1,
            Self::Done => 2,
            Self::Stopped => 3,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    pub scope: Scope,
    pub is_dry_run: bool,
    pub reason: String,
    pub by: String,
    /// Of the program that was asked.
    pub version: String,
    pub at_us: i64,
}

/// What was found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Callbacks that were decided.
    pub decided: i64,
    /// Held or failed ones that stand otherwise afterwards, or would.
    pub changed: i64,
    /// Booked or ignored ones that today's code would decide otherwise. They stay as they are.
    pub differing: i64,
    /// Those that the database refused.
    pub failed: i64,
    pub pruned: i64,
    /// How many events of each type.
    pub events: BTreeMap<String, i64>,
}

#[derive(Debug, Clone)]
pub struct Job {
    pub id: i64,
    pub state: JobState,
    pub asked: Asked,
    pub cursor: i64,
    pub upto: i64,
    pub counts: Counts,
    pub ended_us: Option<i64>,
    pub stopped_by: Option<String>,
    /// The process that works on it, or did last.
    pub owner: String,
}

/// What one batch found.
#[derive(Debug, Default)]
pub struct Batch {
    pub counts: Counts,
    pub sums: BTreeMap<SumKey, Amount>,
    pub changes: Vec<ChangeRow>,
    /// Everything up to here is done.
    pub cursor: i64,
}

#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Job>,
    pub next: Option<i64>,
}

/// The columns of a scope as they are kept: numbers and texts that mean the same at any time.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct KeptScope {
    ids: Vec<i64>,
    merchant: Option<i16>,
    state: Option<i16>,
    kind: Option<String>,
    status: Option<String>,
    foreign_id: Option<String>,
    q: Option<String>,
    since_us: Option<i64>,
    until_us: Option<i64>,
}

/// Writes down what is asked for; whoever works on replays finds it.
pub async fn ask(db: &Db, asked: &Asked) -> Result<i64, StoreError> {
    let (cursor, upto) = bounds(db, &asked.scope).await?;
    let row = ActiveModel {
        id: ActiveValue::NotSet,
        state: ActiveValue::Set(JobState::Running.code()),
        dry_run: ActiveValue::Set(asked.is_dry_run),
        scope: ActiveValue::Set(kept(&asked.scope)?),
        reason: ActiveValue::Set(asked.reason.clone()),
        asked_by: ActiveValue::Set(asked.by.clone()),
        version: ActiveValue::Set(asked.version.clone()),
        cursor: ActiveValue::Set(cursor),
        upto: ActiveValue::Set(upto),
        decided: ActiveValue::Set(0),
        changed: ActiveValue::Set(0),
        differing: ActiveValue::Set(0),
        failed: ActiveValue::Set(0),
        pruned: ActiveValue::Set(0),
        events: ActiveValue::Set("{}".to_owned()),
        asked_us: ActiveValue::Set(asked.at_us),
        ended_us: ActiveValue::Set(None),
        stopped_by: ActiveValue::Set(None),
        owner: ActiveValue::Set(String::new()),
        until_us: ActiveValue::Set(0),
    };
    Ok(row.insert(&db.orm).await?.id)
}

/// Takes the oldest replay that runs, or prolongs the lease on it. `None`: there is none, or another process has it.
pub async fn take(db: &Db, owner: &str, ttl_us: i64) -> Result<Option<Job>, StoreError> {
    let sql = "UPDATE replay_jobs SET owner = $1, until_us = {now} + $2
        WHERE id = (SELECT min(id) FROM replay_jobs WHERE state = 1) AND state = 1 AND (owner = $1 OR until_us < {now})
        RETURNING id";
    let row = db.written(statement(db, sql, [owner.into(), ttl_us.into()])).await?;
    match row {
        Some(row) => get(db, row.try_get_by_index(0)?).await,
        None => Ok(None),
    }
}

/// Lets another process go on.
pub async fn release(db: &Db, owner: &str) -> Result<(), StoreError> {
    let sql = "UPDATE replay_jobs SET owner = '', until_us = 0 WHERE owner = $1 AND state = 1";
    db.orm.execute_raw(statement(db, sql, [owner.into()])).await?;
    Ok(())
}

/// Keeps what a batch found and moves the cursor. `false`: another process took over, and nothing is kept.
pub async fn keep(db: &Db, job: &Job, owner: &str, batch: &Batch, now_us: i64) -> Result<bool, StoreError> {
    let txn = db.begin().await?;
    let counts = added(&job.counts, &batch.counts);
    let is_done = batch.cursor >= job.upto;
    let values = Entity::update_many()
        .col_expr(Column::Cursor, Expr::value(batch.cursor))
        .col_expr(Column::Decided, Expr::value(counts.decided))
        .col_expr(Column::Changed, Expr::value(counts.changed))
        .col_expr(Column::Differing, Expr::value(counts.differing))
        .col_expr(Column::Failed, Expr::value(counts.failed))
        .col_expr(Column::Pruned, Expr::value(counts.pruned))
        .col_expr(Column::Events, Expr::value(json(&counts.events)?));
    let is_ours = Column::Owner.eq(owner).and(Column::Cursor.eq(job.cursor));
    let moved = values.filter(Column::Id.eq(job.id)).filter(is_ours).exec(&txn).await?;
    if moved.rows_affected != 1 {
        txn.rollback().await?;
        return Ok(false);
    }
    add_sums(&txn, job.id, &batch.sums).await?;
    add_changes(&txn, job, &batch.changes).await?;
    if is_done {
        end(&txn, job.id, JobState::Done, None, now_us).await?;
    }
    txn.commit().await?;
    Ok(true)
}

/// Stops a replay between two batches. One that has ended stays as it ended.
pub async fn stop(db: &Db, id: i64, by: &str, now_us: i64) -> Result<(), StoreError> {
    end(&db.orm, id, JobState::Stopped, Some(by), now_us).await
}

async fn end<C: ConnectionTrait>(
    connection: &C,
    id: i64,
    state: JobState,
    by: Option<&str>,
    now_us: i64,
) -> Result<(), StoreError> {
    let values = Entity::update_many()
        .col_expr(Column::State, Expr::value(state.code()))
        .col_expr(Column::EndedUs, Expr::value(now_us))
        .col_expr(Column::StoppedBy, Expr::value(by.map(str::to_owned)));
    let is_running = Column::Id.eq(id).and(Column::State.eq(JobState::Running.code()));
    values.filter(is_running).exec(connection).await?;
    Ok(())
}

pub async fn get(db: &Db, id: i64) -> Result<Option<Job>, StoreError> {
    Entity::find_by_id(id).one(&db.orm).await?.map(job).transpose()
}

/// A page of replays, newest first; `before` is the last page's cursor.
pub async fn list(db: &Db, before: Option<i64>, limit: u64) -> Result<Page, StoreError> {
    let query = Entity::find().filter(Column::Id.lt(before.unwrap_or(i64::MAX))).order_by_desc(Column::Id);
    let mut rows = query.limit(limit.saturating_add(1)).all(&db.orm).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|row| row.id).filter(|_| is_more);
    Ok(Page { rows: rows.into_iter().map(job).collect::<Result<_, _>>()?, next })
}

/// The number of the last callback that arrived, at any replica: it moves while callbacks come.
pub async fn last_callback(db: &Db) -> Result<i64, StoreError> {
    use entity::journal_head::{Column, Entity};
    let id: Option<i64> = Entity::find().select_only().column(Column::CallbackId).into_tuple().one(&db.orm).await?;
    Ok(id.unwrap_or_default())
}

fn added(before: &Counts, more: &Counts) -> Counts {
    let mut events = before.events.clone();
    for (name, count) in &more.events {
        let sum = events.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
    Counts {
        decided: before.decided.saturating_add(more.decided),
        changed: before.changed.saturating_add(more.changed),
        differing: before.differing.saturating_add(more.differing),
        failed: before.failed.saturating_add(more.failed),
        pruned: before.pruned.saturating_add(more.pruned),
        events,
    }
}

fn kept(scope: &Scope) -> Result<String, StoreError> {
    let filter = scope.filter.clone();
    json(&KeptScope {
        ids: scope.ids.clone(),
        merchant: filter.merchant.map(|id| id.0),
        state: filter.state.map(State::code),
        kind: filter.kind,
        status: filter.status,
        foreign_id: filter.foreign_id,
        q: filter.q,
        since_us: filter.since_us,
        until_us: filter.until_us,
    })
}

fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(format!("a row that is no JSON: {error}")))
}

fn job(row: Model) -> Result<Job, StoreError> {
    let nonsense = |what: &str| StoreError::Corrupt(format!("replay {}: {what}", row.id));
    let state = JobState::ALL.into_iter().find(|state| state.code() == row.state);
    let state = state.ok_or_else(|| nonsense("an unknown state"))?;
    let kept: KeptScope = serde_json::from_str(&row.scope).map_err(|_broken| nonsense("a scope that is no JSON"))?;
    let events = serde_json::from_str(&row.events).map_err(|_broken| nonsense("events that are no JSON"))?;
    let filter = Filter {
        merchant: kept.merchant.map(MerchantId),
        state: kept.state.and_then(State::from_code),
        kind: kept.kind,
        status: kept.status,
        foreign_id: kept.foreign_id,
        q: kept.q,
        since_us: kept.since_us,
        until_us: kept.until_us,
    };
    let (decided, changed, differing) = (row.decided, row.changed, row.differing);
    Ok(Job {
        id: row.id,
        state,
        asked: Asked {
            scope: Scope { ids: kept.ids, filter },
            is_dry_run: row.dry_run,
            reason: row.reason,
            by: row.asked_by,
            version: row.version,
            at_us: row.asked_us,
        },
        cursor: row.cursor,
        upto: row.upto,
        counts: Counts { decided, changed, differing, failed: row.failed, pruned: row.pruned, events },
        ended_us: row.ended_us,
        stopped_by: row.stopped_by,
        owner: row.owner,
    })
}
