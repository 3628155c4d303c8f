//! Runs of reconciliation: what they compare, and what they found, kept for ever.

use std::collections::BTreeMap;

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait as _, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select, Statement,
};

use super::booking::own::{REQUESTED, SETTLED};
use super::cursor::now;
use super::{Db, Kind, StoreError};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::ids::{CallbackId, MerchantId};
use crate::domain::reason::Reason;
use crate::domain::reconcile::{Sides, Verdict};
use entity::{discrepancy, journal, reconciled, reconciliation};

/// A run for one merchant.
#[derive(Debug, Clone)]
pub struct Run {
    pub merchant: MerchantId,
    pub began_us: i64,
    pub ended_us: i64,
    pub asked_by: String,
    /// Why it came to nothing.
    pub error: Option<String>,
    pub lines: Vec<Line>,
}

/// What it found for one currency.
#[derive(Debug, Clone)]
pub struct Line {
    pub currency: String,
    pub sides: Sides,
    pub verdict: Verdict,
    /// Since when the two sides differ.
    pub since_us: Option<i64>,
    /// What was opened for it.
    pub discrepancy: Option<i64>,
}

/// What the ledger says that the processor holds, and what is under way, by currency: of one moment.
pub async fn ours(db: &Db, merchant: MerchantId) -> Result<BTreeMap<String, (Amount, Amount)>, StoreError> {
    let sql = "SELECT 1, currency, CAST(balance AS text) FROM accounts
            WHERE merchant_id = $1 AND kind = $2 AND customer_id = 0
        UNION ALL SELECT 2, currency, CAST(amount AS text) FROM withdrawals
            WHERE merchant_id = $1 AND state > $3 AND state < $4";
    let values = [merchant.0.into(), AccountKind::Processor.code().into(), REQUESTED.into(), SETTLED.into()];
    let statement = Statement::from_sql_and_values(db.orm.get_database_backend(), sql, values);
    let mut ours: BTreeMap<String, (Amount, Amount)> = BTreeMap::new();
    for row in db.orm.query_all_raw(statement).await? {
        let (what, text): (i32, String) = (row.try_get_by_index(0)?, row.try_get_by_index(2)?);
        let (balance, under_way) = ours.entry(row.try_get_by_index(1)?).or_default();
        let sum = if what == 1 { balance } else { under_way };
        *sum = sum.checked_add(amount(&text)?).ok_or_else(|| corrupt("what is on its way"))?;
    }
    Ok(ours)
}

/// What the last run that came to something found.
pub async fn last(db: &Db, merchant: MerchantId) -> Result<Option<Run>, StoreError> {
    match good_runs(db, merchant).one(&db.orm).await? {
        Some(run) => Ok(Some(with_lines(db, run).await?)),
        None => Ok(None),
    }
}

/// When that was.
pub async fn last_us(db: &Db, merchant: MerchantId) -> Result<Option<i64>, StoreError> {
    Ok(good_runs(db, merchant).one(&db.orm).await?.map(|run| run.ended_us))
}

/// The latest first. One of a time yet to come, by a clock that was wrong, would stay the last for as long.
fn good_runs(db: &Db, merchant: MerchantId) -> Select<reconciliation::Entity> {
    reconciliation::Entity::find()
        .filter(reconciliation::Column::MerchantId.eq(merchant.0))
        .filter(reconciliation::Column::Error.is_null())
        .filter(Expr::cust(format!("began_us <= {}", now(db.kind))))
        .order_by_desc(reconciliation::Column::BeganUs)
}

/// What runs found for a currency from a moment on.
pub async fn since(db: &Db, merchant: MerchantId, currency: &str, from_us: i64) -> Result<Vec<Sides>, StoreError> {
    let query = reconciled::Entity::find()
        .filter(reconciled::Column::MerchantId.eq(merchant.0))
        .filter(reconciled::Column::Currency.eq(currency))
        .filter(reconciled::Column::BeganUs.gte(from_us));
    query.all(&db.orm).await?.iter().map(sides).collect()
}

/// The latest runs of all merchants, newest first.
pub async fn runs(db: &Db, before_us: i64, limit: u64) -> Result<Vec<Run>, StoreError> {
    let query = reconciliation::Entity::find().filter(reconciliation::Column::BeganUs.lt(before_us));
    let rows = query.order_by_desc(reconciliation::Column::BeganUs).limit(limit).all(&db.orm).await?;
    let mut runs = Vec::with_capacity(rows.len());
    for row in rows {
        runs.push(with_lines(db, row).await?);
    }
    Ok(runs)
}

/// One run.
pub async fn get(db: &Db, merchant: MerchantId, began_us: i64) -> Result<Option<Run>, StoreError> {
    match reconciliation::Entity::find_by_id((merchant.0, began_us)).one(&db.orm).await? {
        Some(run) => Ok(Some(with_lines(db, run).await?)),
        None => Ok(None),
    }
}

async fn with_lines(db: &Db, run: reconciliation::Model) -> Result<Run, StoreError> {
    let query = reconciled::Entity::find()
        .filter(reconciled::Column::MerchantId.eq(run.merchant_id))
        .filter(reconciled::Column::BeganUs.eq(run.began_us));
    let rows = query.order_by_asc(reconciled::Column::Currency).all(&db.orm).await?;
    let line = |row: reconciled::Model| {
        let sides = sides(&row)?;
        let verdict = Verdict::from_code(row.verdict).ok_or_else(|| corrupt("a verdict"))?;
        Ok(Line { currency: row.currency, sides, verdict, since_us: row.since_us, discrepancy: row.discrepancy })
    };
    let lines = rows.into_iter().map(line).collect::<Result<_, StoreError>>()?;
    let reconciliation::Model { merchant_id, began_us, ended_us, asked_by, error } = run;
    Ok(Run { merchant: MerchantId(merchant_id), began_us, ended_us, asked_by, error, lines })
}

fn sides(row: &reconciled::Model) -> Result<Sides, StoreError> {
    Ok(Sides { ours: amount(&row.ours)?, theirs: amount(&row.theirs)?, in_flight: amount(&row.in_flight)? })
}

/// Keeps a run with all it found.
pub async fn keep(db: &Db, run: &Run) -> Result<(), StoreError> {
    let backend = db.orm.get_database_backend();
    let txn = db.begin().await?;
    let sql = "INSERT INTO reconciliations (merchant_id, began_us, ended_us, asked_by, error)
        VALUES ($1, $2, $3, $4, $5)";
    let values = [
        run.merchant.0.into(),
        run.began_us.into(),
        run.ended_us.into(),
        run.asked_by.clone().into(),
        run.error.clone().into(),
    ];
    txn.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    for line in &run.lines {
        // SQLite would make a float of a cast number; text is what it keeps.
        let sql = match db.kind {
            Kind::Postgres => LINE.replace("{n}", "numeric"),
            Kind::Sqlite => LINE.replace("{n}", "text"),
        };
        let values = [
            run.merchant.0.into(),
            run.began_us.into(),
            line.verdict.code().into(),
            line.since_us.into(),
            line.discrepancy.into(),
            line.currency.clone().into(),
            line.sides.ours.to_string().into(),
            line.sides.theirs.to_string().into(),
            line.sides.in_flight.to_string().into(),
        ];
        txn.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    }
    txn.commit().await?;
    Ok(())
}

const LINE: &str = "INSERT INTO reconciled (merchant_id, began_us, verdict, since_us, discrepancy, currency, ours,
        theirs, in_flight)
    VALUES ($1, $2, $3, $4, $5, $6, CAST($7 AS {n}), CAST($8 AS {n}), CAST($9 AS {n}))";

/// The discrepancy that an order opened.
pub async fn opened_by(db: &Db, order: CallbackId) -> Result<Option<i64>, StoreError> {
    let query = discrepancy::Entity::find().filter(discrepancy::Column::CallbackId.eq(order.0));
    Ok(query.one(&db.orm).await?.map(|row| row.position))
}

/// The newest open discrepancy that tells of a currency for such a reason.
pub async fn open_report(
    db: &Db,
    merchant: MerchantId,
    reason: Reason,
    currency: &str,
) -> Result<Option<i64>, StoreError> {
    let query = discrepancy::Entity::find()
        .filter(discrepancy::Column::MerchantId.eq(merchant.0))
        .filter(discrepancy::Column::Reason.eq(reason.code()))
        .filter(discrepancy::Column::ResolvedUs.is_null());
    let open: Vec<i64> = query.all(&db.orm).await?.into_iter().map(|row| row.position).collect();
    let told = journal::Entity::find()
        .filter(journal::Column::Position.is_in(open))
        .filter(journal::Column::Currency.eq(currency))
        .order_by_desc(journal::Column::Position);
    Ok(told.one(&db.orm).await?.map(|row| row.position))
}

/// Whether nobody has settled it.
pub async fn is_open(db: &Db, discrepancy: i64) -> Result<bool, StoreError> {
    let row = discrepancy::Entity::find_by_id(discrepancy).one(&db.orm).await?;
    Ok(row.is_some_and(|row| row.resolved_us.is_none()))
}

fn amount(text: &str) -> Result<Amount, StoreError> {
    Amount::parse(text).map_err(|error| corrupt(&format!("the amount {text}: {error}")))
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("reconciliation has {what}"))
}
