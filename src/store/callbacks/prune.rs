//! Forgetting old bodies: a stretch of callbacks at a time, so that booking never waits for it. Only what is decided for
//! good and has its terms is touched.

use sea_orm::{ConnectionTrait as _, Statement};

use super::first_since;
use crate::store::{Db, StoreError, cursor, terms};

/// Callbacks of one statement.
const STEP: i64 = 1_000;
/// Replicas' clocks differ by less than this: the exact moment is checked for each row.
const DISORDER_US: i64 = 1_200_000_000;

/// What one stretch held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    pub cursor: i64,
    pub bodies: i64,
    pub bytes: i64,
}

/// The last callback that may be old enough.
pub async fn bound(db: &Db, before_us: i64) -> Result<i64, StoreError> {
    let beyond = first_since(db, before_us.saturating_add(DISORDER_US)).await?;
    let followed = cursor::state(db, terms::CURSOR).await?.position;
    Ok(Ord::min(beyond, followed))
}

/// The stretch after `after`; its bodies go if `is_real`.
pub async fn step(db: &Db, before_us: i64, after: i64, upto: i64, is_real: bool) -> Result<Pruned, StoreError> {
    let end = Ord::min(upto, after.saturating_add(STEP));
    // Booked and ignored ones, of callbacks and of answers. Money in suspense, and withdrawals of ours, are spoken of by
    // orders, which are proven from these bodies.
    let which = "id > $1 AND id <= $2 AND received_us < $3 AND origin < 2 AND body IS NOT NULL
        AND (state = 2 OR (state = 1 AND reason IS NULL)) AND NOT EXISTS (SELECT 1 FROM withdrawals w
            WHERE w.foreign_id = callbacks.foreign_id AND w.merchant_id = callbacks.merchant_id)";
    let statement = |sql: String| {
        let values = [after.into(), end.into(), before_us.into()];
        Statement::from_sql_and_values(db.orm.get_database_backend(), sql, values)
    };
    let count = format!("SELECT count(*), CAST(coalesce(sum(length(body)), 0) AS bigint) FROM callbacks WHERE {which}");
    let row = db.orm.query_one_raw(statement(count)).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("a count without a row".into()))?;
    let (bodies, bytes) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    if is_real && bodies > 0 {
        db.orm.execute_raw(statement(format!("UPDATE callbacks SET body = NULL WHERE {which}"))).await?;
    }
    Ok(Pruned { cursor: end, bodies, bytes })
}
