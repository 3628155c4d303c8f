//! The withdrawals that were requested through us, and how they go out: each step is one statement that finds the row
//! as it expects it, or changes nothing. Requesting, settling and failing one moves money, and is the booker's.

use sea_orm::{ConnectionTrait as _, QueryResult, Statement, Value};

use super::booking::own::ELSEWHERE;
use super::{Db, StoreError};
use crate::domain::amount::Amount;
use crate::domain::ids::MerchantId;

/// Where a withdrawal stands. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The money is set aside; nothing has gone out.
    Requested,
    /// It is being sent, or was when a process died.
    Sent,
    /// It may have been done; the processor is asked until it is known.
    Unknown,
    /// The processor took it.
    Pending,
    Settled,
    Failed,
}

impl State {
    pub const ALL: [Self; 6] = [Self::Requested, Self::Sent, Self::Unknown, Self::Pending, Self::Settled, Self::Failed];

    pub const fn code(self) -> i16 {
        match self {
            Self::Requested => 1,
            Self::Sent => 2,
            Self::Unknown => 3,
            Self::Pending => 4,
            Self::Settled => 5,
            Self::Failed => 6,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Sent => "sent",
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Settled => "settled",
            Self::Failed => "failed",
        }
    }

    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

/// "Not found" less often than this says nothing.
const MISSES_MIN: i32 = 3;

/// An open withdrawal, as much as asking about it and ending it needs.
#[derive(Debug, Clone)]
pub struct Open {
    pub id: i64,
    pub merchant: MerchantId,
    pub foreign_id: String,
    pub currency: String,
    pub amount: Amount,
    /// A customer's money is set aside for it: the treasury's is not.
    pub has_hold: bool,
    pub state: State,
    /// `None`: not a byte of it has gone out, and none will.
    pub sent_us: Option<i64>,
    pub next_us: Option<i64>,
    /// How often the processor was asked about it.
    pub attempts: i32,
    /// How often in a row it said that it knows nothing of it, and since when.
    pub missing: i32,
    pub missing_since_us: Option<i64>,
    /// Status and body of what it answered to the withdrawal itself.
    pub answer: Option<(u16, Vec<u8>)>,
}

const OPEN: &str =
    "id, merchant_id, foreign_id, currency, CAST(amount AS text) AS amount, customer_id, state, sent_us, next_us,
    attempts, missing, missing_since_us, answer_status, answer";

impl Open {
    /// Whether the processor has known nothing of it for long, and often enough.
    pub fn is_missing(&self, now_us: i64, patience_us: i64) -> bool {
        let is_long = |since_us: i64| now_us.saturating_sub(since_us) >= patience_us;
        // A few misses long ago, and no answers since, say nothing.
        let is_most = self.missing.saturating_mul(2) >= self.attempts;
        let is_often = self.missing >= MISSES_MIN && is_most;
        self.state == State::Unknown && is_often && self.missing_since_us.is_some_and(is_long)
    }
}

/// Takes a requested withdrawal in order to send it, once and for all: the bytes to be sent. `None`: it is not
/// requested any more, or the switch is off.
pub async fn take(db: &Db, id: i64, now_us: i64) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT request FROM withdrawals WHERE id = $1 AND state = 1";
    let Some(row) = db.orm.query_one_raw(statement(db, sql, [id.into()])).await? else { return Ok(None) };
    let request = row.try_get_by_index(0)?;
    // Only a count comes after the commit: a row that is returned comes before it.
    let sql = "UPDATE withdrawals SET state = 2, sent_us = $2 WHERE id = $1 AND state = 1
        AND NOT EXISTS (SELECT 1 FROM outbound WHERE is_stopped)";
    let taken = db.orm.execute_raw(statement(db, sql, [id.into(), now_us.into()])).await?;
    Ok(Some(request).filter(|_| taken.rows_affected() == 1))
}

/// The processor took it. Its callbacks may have been faster: what they did stays. One that looks merely requested was
/// taken all the same, by a commit that the database has lost since.
pub async fn taken(db: &Db, id: i64, processor_id: &str, answer: (u16, &[u8])) -> Result<(), StoreError> {
    let sql = "UPDATE withdrawals SET processor_id = coalesce(processor_id, $2), answer_status = $3, answer = $4,
        next_us = NULL, sent_us = coalesce(sent_us, requested_us),
        state = CASE WHEN state IN (1, 2, 3) THEN 4 ELSE state END WHERE id = $1";
    let values = [id.into(), processor_id.into(), status(answer.0), answer.1.to_vec().into()];
    db.orm.execute_raw(statement(db, sql, values)).await?;
    Ok(())
}

/// Why a withdrawal is unknown.
#[derive(Debug)]
pub struct Doubt<'a> {
    pub error: &'a str,
    pub answer: Option<(u16, &'a [u8])>,
    /// Not a byte has gone out.
    pub was_never_sent: bool,
    /// When to ask about it.
    pub next_us: i64,
}

/// The same for one that was not even taken: once this is committed, it can't be sent any more.
pub async fn doubt_requested(db: &Db, id: i64, error: &str, next_us: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE withdrawals SET state = 3, error = $2, next_us = $3 WHERE id = $1 AND state = 1";
    let values = [id.into(), error.into(), next_us.into()];
    Ok(db.orm.execute_raw(statement(db, sql, values)).await?.rows_affected() == 1)
}

/// Nobody knows whether it was done. From here it is only ever read about, and what was sent never looks as if it was
/// not, though the database may have lost the commit that said so. What is known already stays so.
pub async fn doubt(db: &Db, id: i64, doubt: &Doubt<'_>) -> Result<(), StoreError> {
    let sql = "UPDATE withdrawals SET state = 3, error = $2, answer_status = $3, answer = $4, next_us = $5,
        sent_us = CASE WHEN $6 THEN NULL ELSE coalesce(sent_us, requested_us) END WHERE id = $1 AND state IN (1, 2, 3)";
    let values = [
        id.into(),
        doubt.error.into(),
        doubt.answer.map_or(Value::SmallInt(None), |(code, _)| status(code)),
        doubt.answer.map(|(_, body)| body.to_vec()).into(),
        doubt.next_us.into(),
        doubt.was_never_sent.into(),
    ];
    db.orm.execute_raw(statement(db, sql, values)).await?;
    Ok(())
}

/// Gives up those that a process left half-way: requested or sent before `before_us`, and not heard of since. One that
/// is merely requested can't be sent any more once this is committed.
pub async fn give_up_stuck(db: &Db, before_us: i64, now_us: i64) -> Result<u64, StoreError> {
    let sql = "UPDATE withdrawals SET state = 3, next_us = $2,
            error = CASE WHEN state = 1 THEN 'nothing was sent: the process ended before'
                ELSE 'the process ended before an answer came' END
        WHERE (state = 1 AND requested_us < $1) OR (state = 2 AND sent_us < $1)";
    Ok(db.orm.execute_raw(statement(db, sql, [before_us.into(), now_us.into()])).await?.rows_affected())
}

/// Unknown withdrawals that are to be asked about, each taken for this process until `until_us`.
pub async fn due(db: &Db, now_us: i64, until_us: i64, limit: i64) -> Result<Vec<Open>, StoreError> {
    let sql = format!(
        "UPDATE withdrawals SET next_us = $2, attempts = attempts + 1 WHERE state = 3 AND next_us <= $1 AND id IN
            (SELECT id FROM withdrawals WHERE state = 3 AND next_us <= $1 ORDER BY next_us LIMIT $3) RETURNING {OPEN}"
    );
    let values = [now_us.into(), until_us.into(), limit.into()];
    db.orm.query_all_raw(statement(db, &sql, values)).await?.iter().map(open).collect()
}

/// One that was requested through us, whatever its state.
pub async fn get(db: &Db, id: i64) -> Result<Option<Open>, StoreError> {
    let sql = format!("SELECT {OPEN} FROM withdrawals WHERE id = $1 AND api <> {ELSEWHERE}");
    db.orm.query_one_raw(statement(db, &sql, [id.into()])).await?.as_ref().map(open).transpose()
}

/// Asks again later; nothing was learnt.
pub async fn ask_later(db: &Db, id: i64, next_us: i64) -> Result<(), StoreError> {
    let sql = "UPDATE withdrawals SET next_us = $2 WHERE id = $1 AND state = 3";
    db.orm.execute_raw(statement(db, sql, [id.into(), next_us.into()])).await?;
    Ok(())
}

/// Asks again later; the processor knows nothing of it, as of now.
pub async fn missed(db: &Db, id: i64, now_us: i64, next_us: i64) -> Result<(), StoreError> {
    let sql = "UPDATE withdrawals SET next_us = $3, missing = missing + 1,
        missing_since_us = coalesce(missing_since_us, $2) WHERE id = $1 AND state = 3";
    db.orm.execute_raw(statement(db, sql, [id.into(), now_us.into(), next_us.into()])).await?;
    Ok(())
}

/// Asks again later; the processor knows it, but says nothing that ends it.
pub async fn found(db: &Db, id: i64, next_us: i64) -> Result<(), StoreError> {
    let sql = "UPDATE withdrawals SET next_us = $2, missing = 0, missing_since_us = NULL WHERE id = $1 AND state = 3";
    db.orm.execute_raw(statement(db, sql, [id.into(), next_us.into()])).await?;
    Ok(())
}

/// Those that have been missing since `before_us`, and that nobody was told of.
pub async fn untold(db: &Db, before_us: i64, limit: i64) -> Result<Vec<Open>, StoreError> {
    let sql = format!(
        "SELECT {OPEN} FROM withdrawals WHERE state = 3 AND discrepancy IS NULL AND missing >= $1
            AND missing * 2 >= attempts AND missing_since_us <= $2 ORDER BY id LIMIT $3"
    );
    let values = [MISSES_MIN.into(), before_us.into(), limit.into()];
    db.orm.query_all_raw(statement(db, &sql, values)).await?.iter().map(open).collect()
}

/// Remembers which discrepancy tells that it is missing; `None` once it is known.
pub async fn tell(db: &Db, id: i64, discrepancy: Option<i64>) -> Result<(), StoreError> {
    let sql = "UPDATE withdrawals SET discrepancy = $2 WHERE id = $1";
    db.orm.execute_raw(statement(db, sql, [id.into(), discrepancy.into()])).await?;
    Ok(())
}

/// One that was told of as missing, and is known meanwhile.
#[derive(Debug)]
pub struct Found {
    pub id: i64,
    pub merchant: MerchantId,
    pub state: State,
    pub discrepancy: i64,
}

/// Those, oldest first.
pub async fn known_again(db: &Db, limit: i64) -> Result<Vec<Found>, StoreError> {
    let sql = "SELECT id, merchant_id, state, discrepancy FROM withdrawals
        WHERE discrepancy IS NOT NULL AND (state <> 3 OR missing = 0) ORDER BY discrepancy LIMIT $1";
    let found = |row: &QueryResult| {
        Ok(Found {
            id: row.try_get("", "id")?,
            merchant: MerchantId(row.try_get("", "merchant_id")?),
            state: state_of(row)?,
            discrepancy: row.try_get("", "discrepancy")?,
        })
    };
    db.orm.query_all_raw(statement(db, sql, [limit.into()])).await?.iter().map(found).collect()
}

/// How many are unknown, and how many of those have been missing since `before_us`.
pub async fn unknown_counts(db: &Db, before_us: i64) -> Result<(u64, u64), StoreError> {
    let sql = "SELECT count(*), count(CASE WHEN missing >= $1 AND missing * 2 >= attempts AND missing_since_us <= $2 THEN 1 END)
        FROM withdrawals WHERE state = 3";
    let Some(row) = db.orm.query_one_raw(statement(db, sql, [MISSES_MIN.into(), before_us.into()])).await? else {
        return Ok((0, 0));
    };
    let count = |index| row.try_get_by_index::<i64>(index).map(i64::unsigned_abs);
    Ok((count(0)?, count(1)?))
}

fn open(row: &QueryResult) -> Result<Open, StoreError> {
    let amount: String = row.try_get("", "amount")?;
    let amount =
        Amount::parse(&amount).map_err(|error| StoreError::Corrupt(format!("the amount of a withdrawal: {error}")))?;
    let status: Option<i16> = row.try_get("", "answer_status")?;
    let answer: Option<Vec<u8>> = row.try_get("", "answer")?;
    let status = status.and_then(|status| u16::try_from(status).ok());
    Ok(Open {
        id: row.try_get("", "id")?,
        merchant: MerchantId(row.try_get("", "merchant_id")?),
        foreign_id: row.try_get("", "foreign_id")?,
        currency: row.try_get("", "currency")?,
        amount,
        has_hold: row.try_get::<Option<i64>>("", "customer_id")?.is_some(),
        state: state_of(row)?,
        sent_us: row.try_get("", "sent_us")?,
        next_us: row.try_get("", "next_us")?,
        attempts: row.try_get("", "attempts")?,
        missing: row.try_get("", "missing")?,
        missing_since_us: row.try_get("", "missing_since_us")?,
        answer: status.zip(answer),
    })
}

fn state_of(row: &QueryResult) -> Result<State, StoreError> {
    let state: i16 = row.try_get("", "state")?;
    State::from_code(state).ok_or_else(|| StoreError::Corrupt(format!("withdrawal state {state}")))
}

fn status(status: u16) -> Value {
    i16::try_from(status).ok().into()
}

fn statement<const N: usize>(db: &Db, sql: &str, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(db.orm.get_database_backend(), sql, values)
}
