//! What orders are about: withdrawals that were requested through us, and money in suspense. Few callbacks speak of them,
//! so the questions are plain, and asked only when a batch needs them. The same statements serve both databases.

use std::collections::HashMap;

use super::pool::Windows;
use super::{Connection, StoreError, parse_amount};
use crate::domain::amount::Amount;
use crate::domain::ids::{CustomerId, MerchantId, PaymentId};
use crate::domain::order::{Own, Suspended, Withdrawal};
use crate::domain::payment::Family;

/// The states of a withdrawal, as the database stores them. Only the booker moves one to the last two.
pub const REQUESTED: i16 = 1;
pub const SENT: i16 = 2;
pub const UNKNOWN: i16 = 3;
pub const PENDING: i16 = 4;
pub const SETTLED: i16 = 5;
pub const FAILED: i16 = 6;

/// What a batch's orders and withdrawals are about.
#[derive(Debug, Clone, Default)]
pub struct Around {
    pub withdrawals: HashMap<(MerchantId, String), Own>,
    pub suspended: HashMap<(MerchantId, i64), Suspended>,
    /// The requests that pool addresses were given out for.
    pub windows: Windows,
}

/// A withdrawal that the batch requests.
#[derive(Debug)]
pub struct NewWithdrawal<'a> {
    pub id: i64,
    pub merchant: MerchantId,
    pub customer: Option<CustomerId>,
    pub terms: &'a Withdrawal,
}

/// What a batch changes of a withdrawal. Only the booker ends one.
#[derive(Debug)]
pub struct Turn {
    pub id: i64,
    /// [`PENDING`], [`SETTLED`] or [`FAILED`].
    pub state: i16,
    pub payment: Option<PaymentId>,
    pub processor_id: Option<String>,
    pub error: Option<String>,
}

/// A payment that got its customer after it was booked.
#[derive(Debug)]
pub struct Owned {
    pub merchant: MerchantId,
    pub family: Family,
    pub ext_id: String,
    pub customer: CustomerId,
}

type OwnRow = (i64, Option<i64>, Option<i64>, i16, String, String);
type SuspendedRow = (bool, Option<String>, Option<String>, Option<String>);

const OWN: &str = "SELECT id, customer_id, payment_id, state, currency, CAST(amount AS text)
    FROM withdrawals WHERE foreign_id = $1 AND merchant_id = $2";
const SUSPENDED: &str = "SELECT d.resolved_us IS NULL, j.currency, CAST(j.fee AS text), CAST(p.amount AS text)
    FROM discrepancies d JOIN journal j ON j.position = d.position
    LEFT JOIN (postings p JOIN accounts a ON a.id = p.credit_id AND a.kind = 4) ON p.position = d.position
    WHERE d.position = $1 AND d.merchant_id = $2";
const NEW: &str =
    "INSERT INTO withdrawals (id, merchant_id, customer_id, state, api, requested_us, foreign_id, currency,
        amount, currency_to, address, tag, request)
    VALUES ($1, $2, $3, 1, $4, $5, $6, $7, CAST($8 AS text), $9, $10, $11, $12)";
const NEW_POSTGRES: &str =
    "INSERT INTO withdrawals (id, merchant_id, customer_id, state, api, requested_us, foreign_id,
        currency, amount, currency_to, address, tag, request)
    VALUES ($1, $2, $3, 1, $4, $5, $6, $7, CAST($8 AS numeric), $9, $10, $11, $12)";
const TURN: &str = "UPDATE withdrawals SET state = $2, payment_id = coalesce($3, payment_id),
        processor_id = coalesce($4, processor_id), error = coalesce($5, error), next_us = NULL,
        closed_us = CASE WHEN $2 >= 5 THEN $6 ELSE closed_us END WHERE id = $1 AND state < 5";
const OWNED: &str = "UPDATE payments SET customer_id = $1 WHERE ext_id = $2 AND family = $3 AND merchant_id = $4";
const RESOLVED: &str =
    "UPDATE discrepancies SET resolved_us = $1, resolution = $2 WHERE position = $3 AND resolved_us IS NULL";

macro_rules! rows {
    ($self:ident, $row:ty, $sql:expr $(, $bind:expr)*) => {
        match $self {
            Connection::Postgres(connection) => {
                sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_all(connection.as_mut()).await?
            }
            Connection::Sqlite(connection) => {
                sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_all(connection.as_mut()).await?
            }
        }
    };
}

impl Connection {
    /// Those that exist. Asked after the head was looked at: what is written on condition that nobody has booked since
    /// has seen one moment.
    pub async fn around(
        &mut self,
        withdrawals: &[(MerchantId, &str)],
        suspended: &[(MerchantId, i64)],
    ) -> Result<Around, StoreError> {
        let mut around = Around::default();
        for (merchant, foreign_id) in withdrawals {
            for row in rows!(self, OwnRow, OWN, *foreign_id, merchant.0) {
                around.withdrawals.insert((*merchant, (*foreign_id).to_owned()), own(row)?);
            }
        }
        for (merchant, position) in suspended {
            let found = rows!(self, SuspendedRow, SUSPENDED, *position, merchant.0);
            if let Some(suspense) = in_suspense(found)? {
                around.suspended.insert((*merchant, *position), suspense);
            }
        }
        Ok(around)
    }
}

fn own((id, customer, payment, state, currency, amount): OwnRow) -> Result<Own, StoreError> {
    Ok(Own {
        id,
        customer: customer.map(CustomerId),
        currency,
        amount: parse_amount(&amount)?,
        is_settled: state == SETTLED,
        is_failed: state == FAILED,
        payment: payment.map(PaymentId),
    })
}

fn in_suspense(rows: Vec<SuspendedRow>) -> Result<Option<Suspended>, StoreError> {
    let Some((is_open, currency, fee, _)) = rows.first() else { return Ok(None) };
    let mut amount = Amount::ZERO;
    for moved in rows.iter().filter_map(|row| row.3.as_deref()) {
        let sum = amount.checked_add(parse_amount(moved)?);
        amount = sum.ok_or_else(|| StoreError::Corrupt("suspense over the bound".into()))?;
    }
    let fee = fee.as_deref().map(parse_amount).transpose()?;
    Ok(Some(Suspended { currency: currency.clone().unwrap_or_default(), amount, fee, is_open: *is_open }))
}

macro_rules! write_orders {
    ($name:ident, $connection:ty, $new:expr) => {
        /// Most batches have none of these.
        pub(super) async fn $name(connection: &mut $connection, writes: &super::Writes<'_>) -> Result<(), StoreError> {
            let now_us = writes.now_us;
            for new in &writes.new_withdrawals {
                let terms = new.terms;
                sqlx::query($new)
                    .bind(new.id)
                    .bind(new.merchant.0)
                    .bind(new.customer.map(|id| id.0))
                    .bind(terms.api.code())
                    .bind(now_us)
                    .bind(terms.foreign_id.as_str())
                    .bind(terms.currency.as_str())
                    .bind(terms.amount.to_string())
                    .bind(terms.currency_to.as_deref())
                    .bind(terms.address.as_str())
                    .bind(terms.tag.as_deref())
                    .bind(terms.request.as_slice())
                    .execute(&mut *connection)
                    .await?;
            }
            for turn in &writes.turns {
                let query = sqlx::query(TURN).bind(turn.id).bind(turn.state).bind(turn.payment.map(|id| id.0));
                let query = query.bind(turn.processor_id.as_deref()).bind(turn.error.as_deref()).bind(now_us);
                query.execute(&mut *connection).await?;
            }
            for owned in &writes.owned {
                let query = sqlx::query(OWNED).bind(owned.customer.0).bind(owned.ext_id.as_str());
                query.bind(owned.family.code()).bind(owned.merchant.0).execute(&mut *connection).await?;
            }
            for (position, resolution) in &writes.resolved {
                let query = sqlx::query(RESOLVED).bind(now_us).bind(*resolution).bind(*position);
                query.execute(&mut *connection).await?;
            }
            Ok(())
        }
    };
}

write_orders!(write_postgres, sqlx::PgConnection, NEW_POSTGRES);
write_orders!(write_sqlite, sqlx::SqliteConnection, NEW);
