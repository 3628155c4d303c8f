//! Lists that go by terms: a search, a `foreign_id`, or a filter by merchant, state, type and status. Callbacks that the
//! terms have not reached yet are looked through first: they are the newest.

use std::ops::Range;

use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Column, Filter, ROW, Row, select, truncate};
use crate::domain::search::{Term, meant_by};
use crate::store::booking::State;
use crate::store::terms::{self, NAMED, Named};
use crate::store::{Db, StoreError, cursor};

/// Callbacks not yet followed that one page looks at: by their columns, or with their bodies.
const TAIL_ROWS: i64 = 100_000;
const TAIL_BODIES: i64 = 5_000;
/// Of the newest callbacks, so many are looked through before classes are asked: a common filter fills its page there.
const NEAR_ROWS: i64 = 2_000;
/// Callbacks of the wanted terms that one page looks at, where another filter leaves most of them out.
const WALK_ROWS: usize = 10_000;
const CHUNK: u64 = 1_000;

/// What leads to the callbacks.
pub(super) struct Source {
    /// Up to here callbacks had their terms, and classes, before anything was looked up.
    followed: i64,
    by: By,
}

enum By {
    /// The terms of a search box's text, and a number of ours: they say more than the filter's columns do.
    Search(Vec<Term>, Option<i64>),
    ForeignId(Term),
    Classes(Vec<Term>),
    /// So many classes are meant that the newest callbacks are looked through.
    Scan,
}

/// What leads to the callbacks that a filter means. `None`: the order of arrival, or the index of those that wait.
pub(super) async fn source(db: &Db, filter: &Filter) -> Result<Option<Source>, StoreError> {
    let is_any = filter.merchant.is_none() && filter.kind.is_none() && filter.status.is_none();
    let is_named = filter.q.is_some() || filter.foreign_id.is_some();
    match filter.state {
        None if is_any && !is_named => return Ok(None),
        Some(State::Held | State::Failed) if !is_named => return Ok(None),
        None | Some(State::Booked | State::Ignored | State::Held | State::Failed) => {}
    }
    let followed = cursor::state(db, terms::CURSOR).await?.position;
    if let Some(q) = &filter.q {
        let id = q.trim().parse().ok().filter(|id| *id > 0);
        return Ok(Some(Source { followed, by: By::Search(meant_by(q), id) }));
    }
    if let Some(foreign_id) = &filter.foreign_id {
        return Ok(Some(Source { followed, by: By::ForeignId(Term::of_text(foreign_id)) }));
    }
    let (kind, status) = (filter.kind.as_deref(), filter.status.as_deref());
    let classes = terms::classes(db, filter.merchant.map(|id| id.0), filter.state, kind, status).await?;
    Ok(Some(Source { followed, by: classes.map_or(By::Scan, By::Classes) }))
}

impl Source {
    /// From here on callbacks are looked through, those before go by their terms; and how many at once.
    fn looked_through(&self, range: &Range<i64>) -> (i64, i64) {
        let unfollowed = Ord::max(self.followed.saturating_add(1), range.start);
        match &self.by {
            By::Search(..) => (unfollowed, TAIL_BODIES),
            By::ForeignId(_) => (unfollowed, TAIL_ROWS),
            By::Classes(_) => {
                let near = range.end.saturating_sub(NEAR_ROWS);
                (Ord::max(Ord::min(unfollowed, near), range.start), TAIL_ROWS)
            }
            By::Scan => (range.start, TAIL_ROWS),
        }
    }

    /// The newest callbacks by their terms.
    async fn newest(&self, db: &Db, range: Range<i64>, limit: u64) -> Result<Vec<i64>, StoreError> {
        match &self.by {
            By::Search(wanted, id) => {
                let mut ids = terms::newest(db, wanted, range.clone(), limit).await?;
                ids.extend(id.filter(|id| range.contains(id)));
                ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
                ids.dedup();
                ids.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
                Ok(ids)
            }
            By::ForeignId(term) => terms::newest(db, std::slice::from_ref(term), range, limit).await,
            By::Classes(wanted) => terms::newest(db, wanted, range, limit).await,
            By::Scan => Ok(Vec::new()),
        }
    }
}

/// The newest callbacks within a range of numbers, and before which one the list goes on.
pub(super) async fn newest(
    db: &Db,
    filter: &Filter,
    source: &Source,
    range: Range<i64>,
    limit: u64,
) -> Result<(Vec<Row>, Option<i64>), StoreError> {
    let (first, at_once) = source.looked_through(&range);
    let mut rows = Vec::new();
    if range.end > first {
        let low = Ord::max(range.end.saturating_sub(at_once), first);
        rows = tail(db, filter, source, low..range.end, limit).await?;
        if let Some(next) = truncate(&mut rows, limit) {
            return Ok((rows, Some(next)));
        }
        if low > Ord::max(first, 1) {
            return Ok((rows, Some(low)));
        }
    }
    let mut before = Ord::min(range.end, first);
    let (mut walked, mut chunk) = (0_usize, limit.saturating_add(1));
    loop {
        let ids = source.newest(db, range.start..before, chunk).await?;
        let Some(last) = ids.last().copied() else { return Ok((rows, None)) };
        let is_all = u64::try_from(ids.len()).is_ok_and(|found| found < chunk);
        walked = walked.saturating_add(ids.len());
        let query = select(filter).filter(Column::Id.is_in(ids)).order_by_desc(Column::Id);
        rows.extend(query.select_only().columns(ROW).into_model::<Row>().all(&db.orm).await?);
        if let Some(next) = truncate(&mut rows, limit) {
            return Ok((rows, Some(next)));
        }
        if is_all {
            return Ok((rows, None));
        }
        if walked >= WALK_ROWS {
            return Ok((rows, Some(last)));
        }
        (before, chunk) = (last, CHUNK);
    }
}

/// Callbacks without terms so far, one more than the limit.
async fn tail(
    db: &Db,
    filter: &Filter,
    source: &Source,
    range: Range<i64>,
    limit: u64,
) -> Result<Vec<Row>, StoreError> {
    let By::Search(wanted_terms, own) = &source.by else {
        return super::newest(select(filter), range.end, range.start, limit, db).await;
    };
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    let mut ids = Vec::new();
    let mut before = range.end;
    while ids.len() < wanted {
        let query = select(filter).filter(Column::Id.lt(before)).filter(Column::Id.gte(range.start));
        let query = query.order_by_desc(Column::Id).limit(CHUNK).select_only().columns(NAMED);
        let found = query.into_model::<Named>().all(&db.orm).await?;
        let Some(last) = found.last() else { break };
        before = last.id;
        let is_meant =
            |named: &&Named| *own == Some(named.id) || named.terms().iter().any(|term| wanted_terms.contains(term));
        ids.extend(found.iter().filter(is_meant).map(|named| named.id));
    }
    ids.truncate(wanted);
    let query = select(filter).filter(Column::Id.is_in(ids)).order_by_desc(Column::Id);
    Ok(query.select_only().columns(ROW).into_model::<Row>().all(&db.orm).await?)
}
