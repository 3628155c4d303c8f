//! What the processor is asked about: what is overdue is found here, each question is taken by one replica at a time,
//! and what came of it decides when it is asked again. Nothing here moves money.

use sea_orm::{ConnectionTrait, QueryResult, Value};

use super::cursor::{self, MOVE, statement};
use super::{Db, Kind, StoreError, events};
use crate::domain::amount::Amount;
use crate::domain::expected::{By, Expected};
use crate::domain::ids::MerchantId;
use crate::domain::payment::{Phase, Status, phase};
use crate::domain::reason::Reason;

const JOURNAL: &str = "asks_journal";
const REQUESTS: &str = "asks_requests";
const INVOICES: &str = "asks_invoices";
/// The next moment at which a call is allowed.
const RATE: &str = "asks_rate";
/// Rows of the journal, or of requests, that one step looks at.
const STEP: i64 = 10_000;

/// One thing that the processor is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub merchant: MerchantId,
    pub expected: Expected,
    pub by: By,
    pub reference: String,
    /// How often it was asked, and how often in a row the processor knew nothing of it.
    pub attempts: i32,
    pub missing: i32,
    /// When it began.
    pub since_us: i64,
    pub next_us: i64,
    /// What was opened for it.
    pub discrepancy: Option<i64>,
    pub currency: Option<String>,
    pub amount: Option<Amount>,
}

/// After how long something is asked about. `None`: never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    pub withdrawal_us: Option<i64>,
    pub invoice_us: Option<i64>,
    pub deposit_us: Option<i64>,
    pub exchange_us: Option<i64>,
}

/// How what is asked about stands in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing more is expected.
    Over,
    /// A callback of it is held: someone looks at it.
    Held,
    /// It is not over, as far as its last callback says.
    Open(Option<Status>),
}

const COLUMNS: &str = "merchant_id, kind, subject, attempts, missing, since_us, next_us, discrepancy, reference, currency, \
                       CAST(amount AS text) AS amount";

/// Looks for what is overdue, a step further in each place. How many rows were looked at.
pub async fn enrol(db: &Db, ages: &Ages, now_us: i64) -> Result<i64, StoreError> {
    if let Some(age_us) = ages.withdrawal_us {
        let sql = "INSERT INTO asks (merchant_id, kind, subject, since_us, next_us, reference, currency, amount)
            SELECT merchant_id, 1, 2, coalesce(sent_us, requested_us), $1, foreign_id, currency, amount
            FROM withdrawals WHERE state = 4 AND coalesce(sent_us, requested_us) <= $2 ON CONFLICT DO NOTHING";
        let values = [now_us.into(), now_us.saturating_sub(age_us).into()];
        db.orm.execute_raw(statement(db, sql, values)).await?;
    }
    let seen = seen(db, ages, now_us).await?;
    let requested = requested(db, ages, now_us).await?;
    let invoiced = invoiced(db, ages, now_us).await?;
    Ok(Ord::max(seen, Ord::max(requested, invoiced)))
}

/// Payments that a callback announced: the journal tells when.
async fn seen(db: &Db, ages: &Ages, now_us: i64) -> Result<i64, StoreError> {
    let Some(least) = [ages.deposit_us, ages.invoice_us, ages.withdrawal_us].into_iter().flatten().min() else {
        return Ok(0);
    };
    let from = cursor::state(db, JOURNAL).await?.position;
    let to = Ord::min(events::last_position(db).await?, from.saturating_add(STEP));
    let sql = "SELECT min(position) FROM journal WHERE position > $1 AND position <= $2 AND at_us > $3 AND at_us <= $4";
    // One of a time yet to come, by a clock that was wrong, must not keep those behind it waiting for that time.
    let values = [from.into(), to.into(), now_us.saturating_sub(least).into(), now_us.into()];
    let young: Option<i64> = one(db, sql, values).await?.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
    let to = young.map_or(to, |young| young.saturating_sub(1));
    if to <= from {
        return Ok(0);
    }
    // Final ones are most of them, and nothing to ask about. A withdrawal that has a name has a row of its own.
    let sql = "INSERT INTO asks (merchant_id, kind, subject, since_us, next_us, reference, currency, amount)
        SELECT p.merchant_id, CASE p.family WHEN 1 THEN 3 WHEN 2 THEN 1 ELSE 2 END, 1,
            CASE WHEN j.at_us > $6 THEN $6 ELSE j.at_us END, CASE WHEN j.at_us > $6 THEN $6 ELSE j.at_us END
                + CASE p.family WHEN 1 THEN $3 WHEN 2 THEN $4 ELSE $5 END, p.ext_id, j.currency, j.amount
        FROM journal j JOIN payments p ON p.id = j.payment_id JOIN callbacks c ON c.id = j.callback_id
        WHERE j.position > $1 AND j.position <= $2 AND j.effect = 1 AND p.status < 10 AND p.family IN (1, 2, 4)
            AND (p.family <> 2 OR c.foreign_id IS NULL) ON CONFLICT DO NOTHING";
    let [deposit, withdrawal, invoice] =
        [ages.deposit_us, ages.withdrawal_us, ages.invoice_us].map(|age| age.unwrap_or(NEVER_US).into());
    let txn = db.begin().await?;
    txn.execute_raw(statement(db, sql, [from.into(), to.into(), deposit, withdrawal, invoice, now_us.into()])).await?;
    txn.execute_raw(statement(db, MOVE, [JOURNAL.into(), from.into(), to.into()])).await?;
    txn.commit().await?;
    Ok(to.saturating_sub(from))
}

/// A thousand years: what has no limit is never due.
const NEVER_US: i64 = 31_557_600_000_000_000;

/// Invoices and exchanges that clients made through the drop-in, and of which the processor told its id. Without an id
/// there is nothing to ask by: only withdrawals are found by the merchant's name.
async fn requested(db: &Db, ages: &Ages, now_us: i64) -> Result<i64, StoreError> {
    let Some(least) = [ages.exchange_us, ages.invoice_us].into_iter().flatten().min() else { return Ok(0) };
    let from = cursor::state(db, REQUESTS).await?.position;
    let sql = "SELECT id, merchant_id, kind, state, asked_us, answer FROM requests
        WHERE id > $1 AND asked_us <= $2 ORDER BY id LIMIT $3";
    let values = [from.into(), now_us.saturating_sub(least).into(), 1_000_i64.into()];
    let rows = db.orm.query_all_raw(statement(db, sql, values)).await?;
    let Some(last) = rows.last() else { return Ok(0) };
    let to: i64 = last.try_get("", "id")?;
    let mut found = Vec::new();
    for row in &rows {
        let (kind, state, since_us): (i16, i16, i64) =
            (row.try_get("", "kind")?, row.try_get("", "state")?, row.try_get("", "asked_us")?);
        let (expected, age_us) = match kind {
            2 => (Expected::Invoice, ages.invoice_us),
            3 => (Expected::Exchange, ages.exchange_us),
            _ => continue,
        };
        let answer: Option<Vec<u8>> = row.try_get("", "answer")?;
        let id = answer.filter(|_| state == 2).and_then(|answer| crate::processor::client::operation_id(&answer));
        let (Some(id), Some(age_us)) = (id, age_us) else { continue };
        let merchant = row.try_get("", "merchant_id")?;
        found.push(Found { merchant, expected, id, since_us, next_us: since_us.saturating_add(age_us), money: None });
    }
    keep(db, REQUESTS, from, to, found).await
}

/// Invoices of clients of the gateway.
async fn invoiced(db: &Db, ages: &Ages, now_us: i64) -> Result<i64, StoreError> {
    let Some(age_us) = ages.invoice_us else { return Ok(0) };
    let from = cursor::state(db, INVOICES).await?.position;
    let sql = "SELECT id, merchant_id, processor_id, created_us, currency, amount FROM gateway_invoices
        WHERE id > $1 AND created_us <= $2 ORDER BY id LIMIT $3";
    let values = [from.into(), now_us.saturating_sub(age_us).into(), 1_000_i64.into()];
    let rows = db.orm.query_all_raw(statement(db, sql, values)).await?;
    let Some(last) = rows.last() else { return Ok(0) };
    let to: i64 = last.try_get("", "id")?;
    let mut found = Vec::new();
    for row in &rows {
        let Some(id) = row.try_get::<Option<String>>("", "processor_id")? else { continue };
        let since_us: i64 = row.try_get("", "created_us")?;
        found.push(Found {
            merchant: row.try_get("", "merchant_id")?,
            expected: Expected::Invoice,
            id,
            since_us,
            next_us: since_us.saturating_add(age_us),
            money: Some((row.try_get("", "currency")?, row.try_get("", "amount")?)),
        });
    }
    keep(db, INVOICES, from, to, found).await
}

/// Deposits that wait for their verification.
pub async fn enrol_checks(db: &Db, now_us: i64) -> Result<(), StoreError> {
    let waiting = "FROM discrepancies d JOIN callbacks c ON c.id = d.callback_id
        WHERE d.resolved_us IS NULL AND d.reason = $1 AND c.reason = $1 AND c.state = 3
            AND NOT EXISTS (SELECT 1 FROM asks a WHERE a.kind = 5 AND a.subject = 3
                AND a.merchant_id = d.merchant_id AND a.reference = CAST(d.callback_id AS text))";
    let reason = Value::from(Reason::AwaitsVerification.code());
    // Most of the time there is none, and looking takes no lock.
    if one(db, &format!("SELECT 1 {waiting} LIMIT 1"), [reason.clone()]).await?.is_none() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO asks (merchant_id, kind, subject, since_us, next_us, reference)
            SELECT d.merchant_id, 5, 3, d.opened_us, $2, CAST(d.callback_id AS text) {waiting} ON CONFLICT DO NOTHING"
    );
    db.orm.execute_raw(statement(db, &sql, [reason, now_us.into()])).await?;
    Ok(())
}

struct Found {
    merchant: i16,
    expected: Expected,
    id: String,
    since_us: i64,
    next_us: i64,
    money: Option<(String, String)>,
}

async fn keep(db: &Db, cursor: &str, from: i64, to: i64, found: Vec<Found>) -> Result<i64, StoreError> {
    let txn = db.begin().await?;
    for found in found {
        insert(db, &txn, By::Id, found).await?;
    }
    txn.execute_raw(statement(db, MOVE, [cursor.into(), from.into(), to.into()])).await?;
    txn.commit().await?;
    Ok(to.saturating_sub(from))
}

async fn insert(db: &Db, on: &impl ConnectionTrait, by: By, found: Found) -> Result<(), StoreError> {
    let sql = "INSERT INTO asks (merchant_id, kind, subject, since_us, next_us, reference, currency, amount)
        VALUES ($1, $2, $3, $4, $5, $6, $7, CAST($8 AS {n})) ON CONFLICT DO NOTHING";
    // SQLite would make a float of a cast number; text is what it keeps.
    let sql = sql.replace("{n}", if db.kind == Kind::Postgres { "numeric" } else { "text" });
    let (currency, amount) = found.money.unzip();
    let values: [Value; 8] = [
        found.merchant.into(),
        found.expected.code().into(),
        by.code().into(),
        found.since_us.into(),
        found.next_us.into(),
        found.id.into(),
        currency.into(),
        amount.into(),
    ];
    on.execute_raw(statement(db, &sql, values)).await?;
    Ok(())
}

/// Which questions may be taken: those that are due, or all that were not asked since a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now,
    NotAskedSince(i64),
}

impl Due {
    const fn asked_before_us(self) -> i64 {
        match self {
            Self::Now => 0,
            Self::NotAskedSince(at_us) => at_us,
        }
    }
}

/// Whether there is a question to be taken.
pub async fn is_any(db: &Db, due: Due, now_us: i64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM asks WHERE until_us <= $1 AND (next_us <= $1 OR asked_us < $2) LIMIT 1";
    Ok(one(db, sql, [now_us.into(), due.asked_before_us().into()]).await?.is_some())
}

/// Takes the next call that the rate allows, for all replicas together. `false`: not yet.
pub async fn take_call(db: &Db, every_us: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE cursors SET position = {now} + $2 WHERE name = $1 AND position <= {now}";
    let values = [RATE.into(), every_us.into()];
    Ok(db.orm.execute_raw(statement(db, sql, values)).await?.rows_affected() == 1)
}

/// Takes one question for this process until `until_us`: checks first, then the longest waiting.
pub async fn take(db: &Db, due: Due, now_us: i64, until_us: i64) -> Result<Option<Ask>, StoreError> {
    let is_due = "until_us <= $1 AND (next_us <= $1 OR asked_us < $2)";
    let sql = format!(
        "UPDATE asks SET asked_us = $1, until_us = $3, attempts = attempts + 1 WHERE {is_due}
            AND (reference, kind, merchant_id, subject) IN (SELECT reference, kind, merchant_id, subject FROM asks
                WHERE {is_due} ORDER BY CASE kind WHEN 5 THEN 0 ELSE 1 END, next_us LIMIT 1) RETURNING {COLUMNS}"
    );
    let values = [now_us.into(), due.asked_before_us().into(), until_us.into()];
    db.written(statement(db, &sql, values)).await?.as_ref().map(ask).transpose()
}

/// What came of a question that is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub next_us: i64,
    pub missing: i32,
    pub discrepancy: Option<i64>,
}

/// Asks again later.
pub async fn again(db: &Db, ask: &Ask, outcome: Outcome) -> Result<(), StoreError> {
    let sql = "UPDATE asks SET until_us = 0, next_us = $5, missing = $6, discrepancy = $7
        WHERE reference = $1 AND kind = $2 AND merchant_id = $3 AND subject = $4";
    let [reference, kind, merchant, by] = key(ask);
    let Outcome { next_us, missing, discrepancy } = outcome;
    let values = [reference, kind, merchant, by, next_us.into(), missing.into(), discrepancy.into()];
    db.orm.execute_raw(statement(db, sql, values)).await?;
    Ok(())
}

/// Nothing more is expected.
pub async fn end(db: &Db, ask: &Ask) -> Result<(), StoreError> {
    let sql = "DELETE FROM asks WHERE reference = $1 AND kind = $2 AND merchant_id = $3 AND subject = $4";
    db.orm.execute_raw(statement(db, sql, key(ask))).await?;
    Ok(())
}

fn key(ask: &Ask) -> [Value; 4] {
    [ask.reference.clone().into(), ask.expected.code().into(), ask.merchant.0.into(), ask.by.code().into()]
}

/// How it stands now.
pub async fn standing(db: &Db, ask: &Ask) -> Result<Standing, StoreError> {
    let (family, merchant) = (ask.expected.family(), ask.merchant.0);
    let named = if ask.by == By::ForeignId { "foreign_id" } else { "ext_id" };
    let sql = format!(
        "SELECT 1 FROM callbacks WHERE state >= 3 AND {named} = $1 AND family = $2 AND merchant_id = $3 LIMIT 1"
    );
    let values = [ask.reference.clone().into(), family.code().into(), merchant.into()];
    let is_held = one(db, &sql, values.clone()).await?.is_some();
    if ask.by == By::ForeignId {
        let sql = "SELECT w.state, p.status FROM withdrawals w LEFT JOIN payments p ON p.id = w.payment_id
            WHERE w.foreign_id = $1 AND w.merchant_id = $2";
        let row = one(db, sql, [ask.reference.clone().into(), merchant.into()]).await?;
        // One that is unknown is another's to ask about.
        let Some(row) = row else { return Ok(Standing::Over) };
        let is_pending = row.try_get_by_index::<i16>(0)? == 4;
        let status: Option<i16> = row.try_get_by_index(1)?;
        return Ok(open(is_pending, is_held, status.and_then(Status::from_code)));
    }
    let sql = "SELECT status FROM payments WHERE ext_id = $1 AND family = $2 AND merchant_id = $3";
    let status: Option<i16> = one(db, sql, values).await?.map(|row| row.try_get_by_index(0)).transpose()?;
    let status = status.and_then(Status::from_code);
    let is_open = status.is_none_or(|status| phase(family, status) == Phase::InProgress);
    Ok(open(is_open, is_held, status))
}

const fn open(is_open: bool, is_held: bool, status: Option<Status>) -> Standing {
    match (is_open, is_held) {
        (false, _) => Standing::Over,
        (true, true) => Standing::Held,
        (true, false) => Standing::Open(status),
    }
}

/// What the processor is asked about, the longest waiting first: for lists. `is_unknown`: only what someone was told of.
pub async fn list(db: &Db, is_unknown: bool, limit: u64) -> Result<Vec<Ask>, StoreError> {
    let only = if is_unknown { "WHERE discrepancy IS NOT NULL" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM asks {only} ORDER BY since_us, reference LIMIT $1");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    db.orm.query_all_raw(statement(db, &sql, [limit.into()])).await?.iter().map(ask).collect()
}

/// How much is asked about, and how much of it the processor does not know.
pub async fn counts(db: &Db) -> Result<(u64, u64), StoreError> {
    let Some(row) = one(db, "SELECT count(*), count(discrepancy) FROM asks", []).await? else { return Ok((0, 0)) };
    let count = |index| row.try_get_by_index::<i64>(index).map(i64::unsigned_abs);
    Ok((count(0)?, count(1)?))
}

fn ask(row: &QueryResult) -> Result<Ask, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("a question has {what}"));
    let amount: Option<String> = row.try_get("", "amount")?;
    let amount = amount.map(|text| Amount::parse(&text).map_err(|_unreadable| corrupt("an amount that is none")));
    Ok(Ask {
        merchant: MerchantId(row.try_get("", "merchant_id")?),
        expected: Expected::from_code(row.try_get("", "kind")?).ok_or_else(|| corrupt("no kind"))?,
        by: By::from_code(row.try_get("", "subject")?).ok_or_else(|| corrupt("no subject"))?,
        reference: row.try_get("", "reference")?,
        attempts: row.try_get("", "attempts")?,
        missing: row.try_get("", "missing")?,
        since_us: row.try_get("", "since_us")?,
        next_us: row.try_get("", "next_us")?,
        discrepancy: row.try_get("", "discrepancy")?,
        currency: row.try_get("", "currency")?,
        amount: amount.transpose()?,
    })
}

async fn one<const N: usize>(db: &Db, sql: &str, values: [Value; N]) -> Result<Option<QueryResult>, StoreError> {
    Ok(db.orm.query_one_raw(statement(db, sql, values)).await?)
}
