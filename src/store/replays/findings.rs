//! What a replay found: the first callbacks that stand otherwise, and what changes on which account altogether.

use std::collections::BTreeMap;

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::Job;
use crate::domain::amount::Amount;
use crate::domain::ids::CallbackId;
use crate::domain::reason::Reason;
use crate::store::booking::State;
use crate::store::{Db, StoreError};
use entity::{replay_change, replay_sum};

/// Changes that are kept of a replay one by one; all of them are counted and summed.
const CHANGES_KEPT: i64 = 1_000;

/// An account as a sum names it: merchant, kind, customer's name or nothing, currency.
pub type SumKey = (String, String, String, String);

/// A callback that is decided otherwise than it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRow {
    pub callback: CallbackId,
    pub was: (State, Option<Reason>),
    pub now: (State, Option<Reason>),
    /// It was booked or ignored before: nothing changes.
    pub stays: bool,
}

/// What changes by a replay altogether, account by account; the largest part of a page is shown.
pub async fn sums(db: &Db, id: i64, limit: u64) -> Result<Vec<(SumKey, Amount)>, StoreError> {
    let rows = replay_sum::Entity::find().filter(replay_sum::Column::JobId.eq(id)).limit(limit);
    let rows = rows.order_by_asc(replay_sum::Column::Merchant).order_by_asc(replay_sum::Column::Kind);
    let rows = rows.order_by_asc(replay_sum::Column::Customer).order_by_asc(replay_sum::Column::Currency);
    let all = rows.all(&db.orm).await?;
    let sum = |row: replay_sum::Model| Ok((key(&row), amount(&row.change)?));
    let sums: Result<Vec<(SumKey, Amount)>, StoreError> = all.into_iter().map(sum).collect();
    Ok(sums?.into_iter().filter(|(_, change)| !change.is_zero()).collect())
}

/// The first callbacks that are decided otherwise than they stand.
pub async fn changes(db: &Db, id: i64) -> Result<Vec<ChangeRow>, StoreError> {
    use replay_change::{Column, Entity};
    let rows = Entity::find().filter(Column::JobId.eq(id)).order_by_asc(Column::CallbackId).all(&db.orm).await?;
    rows.iter().map(change).collect()
}

pub(super) async fn add_sums(
    txn: &DatabaseTransaction,
    id: i64,
    sums: &BTreeMap<SumKey, Amount>,
) -> Result<(), StoreError> {
    use replay_sum::{ActiveModel, Column, Entity};
    for ((merchant, kind, customer, currency), change) in sums {
        let place = (id, merchant.clone(), kind.clone(), customer.clone(), currency.clone());
        let before = Entity::find_by_id(place).one(txn).await?;
        let before = before.map_or(Ok(Amount::ZERO), |row| amount(&row.change))?;
        let after = before.checked_add(*change).unwrap_or(before);
        let row = ActiveModel {
            job_id: ActiveValue::Set(id),
            merchant: ActiveValue::Set(merchant.clone()),
            kind: ActiveValue::Set(kind.clone()),
            customer: ActiveValue::Set(customer.clone()),
            currency: ActiveValue::Set(currency.clone()),
            change: ActiveValue::Set(after.to_string()),
        };
        let keys = [Column::JobId, Column::Merchant, Column::Kind, Column::Customer, Column::Currency];
        let on_conflict = OnConflict::columns(keys).update_column(Column::Change).to_owned();
        Entity::insert(row).on_conflict(on_conflict).exec_without_returning(txn).await?;
    }
    Ok(())
}

pub(super) async fn add_changes(txn: &DatabaseTransaction, job: &Job, changes: &[ChangeRow]) -> Result<(), StoreError> {
    let before = job.counts.changed.saturating_add(job.counts.differing);
    let room = usize::try_from(CHANGES_KEPT.saturating_sub(before)).unwrap_or(0);
    let row = |change: &ChangeRow| replay_change::ActiveModel {
        job_id: ActiveValue::Set(job.id),
        callback_id: ActiveValue::Set(change.callback.0),
        was_state: ActiveValue::Set(change.was.0.code()),
        was_reason: ActiveValue::Set(change.was.1.map(Reason::code)),
        state: ActiveValue::Set(change.now.0.code()),
        reason: ActiveValue::Set(change.now.1.map(Reason::code)),
        stays: ActiveValue::Set(change.stays),
    };
    let rows: Vec<_> = changes.iter().take(room).map(row).collect();
    if !rows.is_empty() {
        replay_change::Entity::insert_many(rows).exec_without_returning(txn).await?;
    }
    Ok(())
}

fn change(row: &replay_change::Model) -> Result<ChangeRow, StoreError> {
    let state = |code| State::from_code(code).ok_or_else(|| StoreError::Corrupt("an unknown state".to_owned()));
    Ok(ChangeRow {
        callback: CallbackId(row.callback_id),
        was: (state(row.was_state)?, row.was_reason.and_then(Reason::from_code)),
        now: (state(row.state)?, row.reason.and_then(Reason::from_code)),
        stays: row.stays,
    })
}

fn key(row: &replay_sum::Model) -> SumKey {
    (row.merchant.clone(), row.kind.clone(), row.customer.clone(), row.currency.clone())
}

fn amount(text: &str) -> Result<Amount, StoreError> {
    Amount::parse(text).map_err(|error| StoreError::Corrupt(format!("the sum {text}: {error}")))
}
