//! The callbacks that a replay means, a stretch of the table at a time: with their bodies, oldest first, and never more
//! rows looked at than a moment allows. Reads only.

use sea_orm::{ColumnTrait, Condition, QueryFilter, QueryOrder, QuerySelect, Select};

use super::{
    Column, Entity, Filter, StoredBody, by_index, by_scan, corrupt, first_since, newest_id, origin, reason, select,
};
use crate::domain::ids::{CallbackId, MerchantId};
use crate::domain::reason::Reason;
use crate::store::booking::State;
use crate::store::{Db, StoreError};

/// Rows that one stretch looks at where no index helps.
const LOOKED_AT: i64 = 20_000;

/// Which callbacks a replay means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Exactly these; empty: what the filter means.
    pub ids: Vec<i64>,
    pub filter: Filter,
}

/// A callback as it stands, with what it takes to decide it anew.
#[derive(Debug)]
pub struct Stood {
    pub stored: StoredBody,
    pub state: State,
    pub reason: Option<Reason>,
}

/// What a stretch has.
#[derive(Debug, Default)]
pub struct Stretch {
    pub callbacks: Vec<Stood>,
    /// Those without a body: there is nothing to decide.
    pub pruned: Vec<CallbackId>,
    /// Everything up to here is in this stretch or an earlier one.
    pub cursor: i64,
}

/// Where a replay that is asked for now begins, and the last callback that it goes up to.
pub async fn bounds(db: &Db, scope: &Scope) -> Result<(i64, i64), StoreError> {
    if let Some(last) = scope.ids.iter().max() {
        return Ok((0, *last));
    }
    let upto = newest_id(db).await?;
    let cursor = match scope.filter.since_us {
        Some(since_us) => first_since(db, since_us).await?.saturating_sub(1).clamp(0, upto),
        None => 0,
    };
    Ok((cursor, upto))
}

/// The next stretch after `cursor`, with at most `limit` callbacks and none after `upto`.
pub async fn stretch(db: &Db, scope: &Scope, cursor: i64, upto: i64, limit: u64) -> Result<Stretch, StoreError> {
    let rows = usize::try_from(limit).unwrap_or(usize::MAX);
    let (query, end) = if scope.ids.is_empty() {
        let is_waiting = matches!(scope.filter.state, Some(State::Held | State::Failed));
        let end = if is_waiting { upto } else { Ord::min(upto, cursor.saturating_add(LOOKED_AT)) };
        (meant(db, &scope.filter).filter(Column::Id.gt(cursor)).filter(Column::Id.lte(end)), end)
    } else {
        let mut ids: Vec<i64> = scope.ids.iter().copied().filter(|id| *id > cursor).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(rows);
        let end = ids.last().copied().unwrap_or(upto);
        (select(&scope.filter).filter(Column::Id.is_in(ids)), end)
    };
    type Row = (i64, i16, i16, Vec<u8>, String, Option<Vec<u8>>, i64, i16, Option<i16>);
    let columns = [
        Column::Id,
        Column::MerchantId,
        Column::Origin,
        Column::Signature,
        Column::Headers,
        Column::Body,
        Column::ReceivedUs,
        Column::State,
        Column::Reason,
    ];
    let query = query.order_by_asc(Column::Id).limit(limit).select_only().columns(columns);
    let found: Vec<Row> = query.into_tuple().all(&db.orm).await?;
    let is_full = found.len() >= rows;
    let last = found.last().map_or(end, |row| row.0);
    let mut stretch = Stretch { cursor: if is_full { last } else { end }, ..Stretch::default() };
    for (id, merchant, from, signature, headers, body, received_us, state, why) in found {
        let Some(body) = body else {
            stretch.pruned.push(CallbackId(id));
            continue;
        };
        let signature = signature.try_into().map_err(|_bytes| corrupt(id, "a signature that is not 64 bytes"))?;
        let state = State::from_code(state).ok_or_else(|| corrupt(id, "an unknown state"))?;
        let (merchant, reason, origin) = (MerchantId(merchant), reason(id, why)?, origin(id, from)?);
        let stored = StoredBody { id: CallbackId(id), merchant, origin, signature, headers, body, received_us };
        stretch.callbacks.push(Stood { stored, state, reason });
    }
    Ok(stretch)
}

fn meant(db: &Db, filter: &Filter) -> Select<Entity> {
    let query = select(filter);
    match &filter.q {
        Some(q) => query.filter(Condition::any().add(by_index(q)).add(by_scan(q, db.kind))),
        None => query,
    }
}
