//! Where in a table that grows at its end a moment is: rows have ascending numbers and nearly ascending times, so a
//! dozen look-ups by number replace an index on the time.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Db, StoreError, events};

/// Replicas' clocks, and waiting for the head, put rows out of order by less than this.
const DISORDER_US: i64 = 600_000_000;

/// A number such that no row before it is of `since_us` or later. `newest` is the highest number.
pub(super) async fn first_since<E: EntityTrait>(
    db: &Db,
    number: E::Column,
    time: E::Column,
    newest: i64,
    since_us: i64,
) -> Result<i64, StoreError> {
    let since_us = since_us.saturating_sub(DISORDER_US);
    let (mut low, mut high) = (0, newest.saturating_add(1));
    while low < high {
        let middle = low.midpoint(high);
        let query = E::find().select_only().columns([number, time]).filter(number.gte(middle)).order_by_asc(number);
        match query.into_tuple::<(i64, i64)>().one(&db.orm).await? {
            Some((found, at_us)) if at_us < since_us => low = found.saturating_add(1),
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

/// A position such that no event up to it is of `since_us` or later.
pub async fn position_before(db: &Db, since_us: i64) -> Result<i64, StoreError> {
    use entity::journal::{Column, Entity};
    let last = events::last_position(db).await?;
    let first = first_since::<Entity>(db, Column::Position, Column::AtUs, last, since_us).await?;
    Ok(first.saturating_sub(1).max(0))
}

/// A position such that no event from it on is before `until_us`.
pub(super) async fn position_after(db: &Db, until_us: i64) -> Result<i64, StoreError> {
    use entity::journal::{Column, Entity};
    let last = events::last_position(db).await?;
    first_beyond::<Entity>(db, Column::Position, Column::AtUs, last, until_us).await
}

/// A number such that no row from it on is before `until_us`.
pub(super) async fn first_beyond<E: EntityTrait>(
    db: &Db,
    number: E::Column,
    time: E::Column,
    newest: i64,
    until_us: i64,
) -> Result<i64, StoreError> {
    let beyond_us = until_us.saturating_add(DISORDER_US).saturating_add(DISORDER_US);
    first_since::<E>(db, number, time, newest, beyond_us).await
}
