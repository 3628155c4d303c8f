//! What someone must look at: discrepancies that are open. Reads only.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::callbacks::{Discrepancy, of_ids, opened};
use super::{Db, StoreError};
use crate::domain::ids::CallbackId;
use entity::discrepancy::{Column, Entity};

#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Discrepancy>,
    pub next: Option<i64>,
}

/// A page of open discrepancies, newest first; `before` is the last page's cursor.
pub async fn open(db: &Db, before: Option<i64>, limit: u64) -> Result<Page, StoreError> {
    let query = Entity::find().filter(Column::ResolvedUs.is_null());
    let query = query.filter(Column::Position.lt(before.unwrap_or(i64::MAX))).order_by_desc(Column::Position);
    let mut rows = query.limit(limit.saturating_add(1)).all(&db.orm).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|row| row.position).filter(|_| is_more);
    let mut ids: Vec<_> = rows.iter().map(|row| CallbackId(row.callback_id)).collect();
    ids.dedup();
    let callbacks = of_ids(db, &ids).await?;
    let described = rows.into_iter().map(|row| {
        let callback = callbacks.iter().find(|callback| callback.id.0 == row.callback_id);
        let merchant = callback.map_or_else(|| row.merchant_id.to_string(), |callback| callback.merchant.clone());
        opened(row, merchant, callback.and_then(|callback| callback.payment_id.clone()))
    });
    Ok(Page { rows: described.collect::<Result<_, _>>()?, next })
}
