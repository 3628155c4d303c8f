//! What orders are about: withdrawals that were requested through us, and money in suspense. Few callbacks speak of them,
//! so the questions are plain, and asked only when a batch needs them. The same statements serve both databases.

use std::collections::HashMap;

use super::pool::Windows;
use super::retired::Retired;
use super::{Connection, StoreError, parse_amount};
use crate::domain::amount::Amount;
use crate::domain::ids::{CustomerId, MerchantId, PaymentId};
use crate::domain::journal::Effect;
use crate::domain::obey::{Own, Suspended};
use crate::domain::payment::Family;
use crate::store::withdrawals::State;

/// The states of a withdrawal, as the database stores them. Only the booker moves one to the last two.
pub const REQUESTED: i16 = State::Requested.code();
pub const PENDING: i16 = State::Pending.code();
pub const SETTLED: i16 = State::Settled.code();
pub const FAILED: i16 = State::Failed.code();

/// What a batch's orders and withdrawals are about.
#[derive(Debug, Clone, Default)]
pub struct Around {
    pub withdrawals: HashMap<(MerchantId, String), Own>,
    pub suspended: HashMap<(MerchantId, i64), Suspended>,
    /// The requests that pool addresses were given out for.
    pub windows: Windows,
    /// Addresses that were given up, of those that deposits came to.
    pub retired: Retired,
}

/// A withdrawal that the batch requests, or one that was made elsewhere: its name is taken then.
#[derive(Debug)]
pub struct NewWithdrawal {
    pub id: i64,
    pub merchant: MerchantId,
    pub customer: Option<CustomerId>,
    pub state: i16,
    pub api: i16,
    pub foreign_id: String,
    pub currency: String,
    pub amount: Amount,
    pub currency_to: Option<String>,
    pub address: String,
    pub tag: Option<String>,
    pub request: Vec<u8>,
    pub payment: Option<PaymentId>,
    pub processor_id: Option<String>,
}

/// Neither of our doors: the dashboard, or a client that speaks to the processor itself.
pub const ELSEWHERE: i16 = 9;

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

type OwnRow = (i16, String, i64, Option<i64>, Option<i64>, i16, i16, String, String, String, Option<String>);
type SuspendedRow = (bool, i16, Option<i64>, Option<String>, Option<String>, Option<String>);

macro_rules! own_columns {
    ($rest:literal) => {
        concat!(
            "SELECT w.merchant_id, w.foreign_id, w.id, w.customer_id, w.payment_id, w.state, w.api, w.currency,
                CAST(w.amount AS text), w.address, w.tag FROM withdrawals w ",
            $rest
        )
    };
}
const OWN_POSTGRES: &str = own_columns!(
    "JOIN unnest($1::text[], $2::int2[]) AS i(name, merchant) ON w.foreign_id = i.name AND w.merchant_id = i.merchant"
);
const OWN_SQLITE: &str = own_columns!("WHERE w.foreign_id = $1 AND w.merchant_id = $2");
// Each row is looked up by its key: a join in brackets would make SQLite read every posting there is, and joined accounts
// could make PostgreSQL go through all of them while they are few, with a plan that it keeps.
const SUSPENDED: &str = "SELECT d.resolved_us IS NULL, j.effect, j.payment_id, j.currency, CAST(j.fee AS text),
        CASE WHEN (SELECT a.kind FROM accounts a WHERE a.id = p.credit_id) = 4 THEN CAST(p.amount AS text) END
    FROM discrepancies d JOIN journal j ON j.position = d.position
    LEFT JOIN postings p ON p.position = d.position
    WHERE d.position = $1 AND d.merchant_id = $2";
macro_rules! new_withdrawal {
    ($amount:literal) => {
        concat!(
            "INSERT INTO withdrawals (id, merchant_id, customer_id, state, api, requested_us, foreign_id, currency,
                amount, currency_to, address, tag, request, payment_id, processor_id, closed_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CAST($9 AS ",
            $amount,
            "), $10, $11, $12, $13, $14, $15, CASE WHEN $4 >= 5 THEN $6 END)"
        )
    };
}
const NEW_SQLITE: &str = new_withdrawal!("text");
const NEW_POSTGRES: &str = new_withdrawal!("numeric");
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
        for row in self.own_withdrawals(withdrawals).await? {
            let (key, own) = own(row)?;
            around.withdrawals.insert(key, own);
        }
        for (merchant, position) in suspended {
            let found = rows!(self, SuspendedRow, SUSPENDED, *position, merchant.0);
            if let Some(suspense) = in_suspense(found)? {
                around.suspended.insert((*merchant, *position), suspense);
            }
        }
        Ok(around)
    }

    async fn own_withdrawals(&mut self, named: &[(MerchantId, &str)]) -> Result<Vec<OwnRow>, StoreError> {
        if named.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Postgres(connection) => {
                let names: Vec<_> = named.iter().map(|(_, name)| *name).collect();
                let merchants: Vec<_> = named.iter().map(|(merchant, _)| merchant.0).collect();
                let query = sqlx::query_as(OWN_POSTGRES).bind(names).bind(merchants);
                Ok(query.fetch_all(connection.as_mut()).await?)
            }
            Self::Sqlite(connection) => {
                let mut rows = Vec::new();
                for (merchant, name) in named {
                    let query = sqlx::query_as(OWN_SQLITE).bind(*name).bind(merchant.0);
                    rows.extend(query.fetch_optional(connection.as_mut()).await?);
                }
                Ok(rows)
            }
        }
    }
}

fn own(row: OwnRow) -> Result<((MerchantId, String), Own), StoreError> {
    let (merchant, foreign_id, id, customer, payment, state, api, currency, amount, address, tag) = row;
    let own = Own {
        id,
        is_ours: api != ELSEWHERE,
        customer: customer.map(CustomerId),
        currency,
        amount: parse_amount(&amount)?,
        address,
        tag,
        is_settled: state == SETTLED,
        is_failed: state == FAILED,
        payment: payment.map(PaymentId),
    };
    Ok(((MerchantId(merchant), foreign_id), own))
}

fn in_suspense(rows: Vec<SuspendedRow>) -> Result<Option<Suspended>, StoreError> {
    let Some((is_open, effect, payment, currency, fee, _)) = rows.first() else { return Ok(None) };
    let effect = Effect::from_code(*effect).ok_or_else(|| StoreError::Corrupt(format!("effect {effect}")))?;
    let mut amount = Amount::ZERO;
    for moved in rows.iter().filter_map(|row| row.5.as_deref()) {
        let sum = amount.checked_add(parse_amount(moved)?);
        amount = sum.ok_or_else(|| StoreError::Corrupt("suspense over the bound".into()))?;
    }
    let fee = fee.as_deref().map(parse_amount).transpose()?;
    let (currency, payment) = (currency.clone().unwrap_or_default(), payment.map(PaymentId));
    Ok(Some(Suspended { effect, payment, currency, amount, fee, is_open: *is_open }))
}

macro_rules! write_orders {
    ($name:ident, $connection:ty, $new:expr) => {
        /// Most batches have none of these.
        pub(super) async fn $name(connection: &mut $connection, writes: &super::Writes<'_>) -> Result<(), StoreError> {
            let now_us = writes.now_us;
            for new in &writes.new_withdrawals {
                sqlx::query($new)
                    .bind(new.id)
                    .bind(new.merchant.0)
                    .bind(new.customer.map(|id| id.0))
                    .bind(new.state)
                    .bind(new.api)
                    .bind(now_us)
                    .bind(new.foreign_id.as_str())
                    .bind(new.currency.as_str())
                    .bind(new.amount.to_string())
                    .bind(new.currency_to.as_deref())
                    .bind(new.address.as_str())
                    .bind(new.tag.as_deref())
                    .bind(new.request.as_slice())
                    .bind(new.payment.map(|id| id.0))
                    .bind(new.processor_id.as_deref())
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
write_orders!(write_sqlite, sqlx::SqliteConnection, NEW_SQLITE);
