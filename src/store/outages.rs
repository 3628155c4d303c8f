//! Heartbeats of reception, and the outages that their gaps show. By the database's clock, one row for all replicas.

use sea_orm::QuerySelect as _;
use sea_orm::{ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};

use super::cursor::statement;
use super::{Db, StoreError};
use crate::domain::ids::{CallbackId, MerchantId};
use crate::domain::outage::{Span, schedule_us};
use crate::domain::reason::Reason;
use entity::discrepancy;
use entity::outage::{Column, Entity, Model};

/// An outage of reception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    pub span: Span,
    /// When someone was told that callbacks can't come back.
    pub told_us: Option<i64>,
}

/// Says that callbacks are received now. When nobody has said so for longer than `gap_us`, that was an outage: it is
/// written down once, by whoever notices first.
pub async fn beat(db: &Db, gap_us: i64) -> Result<Option<Span>, StoreError> {
    let row = db.orm.query_one_raw(statement(db, "SELECT beat_us, {now} FROM reception WHERE id = 1", [])).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("reception has no row".into()))?;
    let (from_us, to_us): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    let span = Span { from_us, to_us };
    let is_outage = from_us > 0 && span.length_us() > gap_us;
    let txn = db.begin().await?;
    let sql = "UPDATE reception SET beat_us = $2 WHERE id = 1 AND beat_us = $1 AND beat_us < $2";
    let is_first = txn.execute_raw(statement(db, sql, [from_us.into(), to_us.into()])).await?.rows_affected() == 1;
    if is_first && is_outage {
        let sql = "INSERT INTO outages (from_us, to_us) VALUES ($1, $2)";
        txn.execute_raw(statement(db, sql, [from_us.into(), to_us.into()])).await?;
    }
    txn.commit().await?;
    Ok(Some(span).filter(|_| is_first && is_outage))
}

/// Outages, the latest first.
pub async fn list(db: &Db, before_us: i64, limit: u64) -> Result<Vec<Outage>, StoreError> {
    let query = Entity::find().filter(Column::FromUs.lt(before_us)).order_by_desc(Column::FromUs).limit(limit);
    Ok(query.all(&db.orm).await?.into_iter().map(outage).collect())
}

/// The one that began then.
pub async fn get(db: &Db, from_us: i64) -> Result<Option<Outage>, StoreError> {
    Ok(Entity::find_by_id(from_us).one(&db.orm).await?.map(outage))
}

/// A merchant's open discrepancies about outages, each with the order that opened it.
pub async fn open(db: &Db, merchant: MerchantId) -> Result<Vec<(i64, CallbackId)>, StoreError> {
    let query = discrepancy::Entity::find()
        .filter(discrepancy::Column::MerchantId.eq(merchant.0))
        .filter(discrepancy::Column::Reason.eq(Reason::Outage.code()))
        .filter(discrepancy::Column::ResolvedUs.is_null());
    let rows = query.order_by_asc(discrepancy::Column::Position).all(&db.orm).await?;
    Ok(rows.into_iter().map(|row| (row.position, CallbackId(row.callback_id))).collect())
}

/// Those that the repeats of a callback from this outage may fall into; of an unbroken row of outages the first thousand.
pub async fn around(db: &Db, span: Span) -> Result<Vec<Span>, StoreError> {
    let until_us = span.to_us.saturating_add(schedule_us());
    let query = Entity::find().filter(Column::ToUs.gt(span.from_us)).filter(Column::FromUs.lt(until_us));
    let rows = query.order_by_asc(Column::FromUs).limit(1_000).all(&db.orm).await?;
    Ok(rows.into_iter().map(|row| outage(row).span).collect())
}

/// Outages that ended since a moment, and of which nobody was told.
pub async fn untold(db: &Db, since_us: i64) -> Result<Vec<Outage>, StoreError> {
    let query = Entity::find().filter(Column::ToUs.gte(since_us)).filter(Column::ToldUs.is_null());
    let rows = query.order_by_asc(Column::FromUs).limit(1_000).all(&db.orm).await?;
    Ok(rows.into_iter().map(outage).collect())
}

/// Someone was told.
pub async fn told(db: &Db, span: Span, now_us: i64) -> Result<(), StoreError> {
    let sql = "UPDATE outages SET told_us = $2 WHERE from_us = $1";
    db.orm.execute_raw(statement(db, sql, [span.from_us.into(), now_us.into()])).await?;
    Ok(())
}

/// How many there were, and how many discrepancies about them are open.
pub async fn counts(db: &Db, reason: Reason) -> Result<(u64, u64), StoreError> {
    let sql = "SELECT (SELECT count(*) FROM outages),
        (SELECT count(*) FROM discrepancies WHERE resolved_us IS NULL AND reason = $1)";
    let Some(row) = db.orm.query_one_raw(statement(db, sql, [reason.code().into()])).await? else { return Ok((0, 0)) };
    let count = |index| row.try_get_by_index::<i64>(index).map(i64::unsigned_abs);
    Ok((count(0)?, count(1)?))
}

const fn outage(row: Model) -> Outage {
    Outage { span: Span { from_us: row.from_us, to_us: row.to_us }, told_us: row.told_us }
}
