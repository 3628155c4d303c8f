//! Addresses, invoices and exchanges that clients ask the processor for through us: written before the call, completed
//! after it. Nothing here moves money; withdrawals have a table of their own.

use sea_orm::{ConnectionTrait as _, Statement, Value};

use super::{Db, StoreError};
use crate::domain::ids::{CustomerId, MerchantId};

/// What was asked for. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Address,
    Invoice,
    Exchange,
}

impl Kind {
    const fn code(self) -> i16 {
        match self {
            Self::Address => 1,
            Self::Invoice => 2,
            Self::Exchange => 3,
        }
    }
}

/// What became of it. A row that is merely asked was never completed: the process died, or is at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Asked,
    Answered,
    Refused,
    Unknown,
}

impl State {
    const fn code(self) -> i16 {
        match self {
            Self::Asked => 1,
            Self::Answered => 2,
            Self::Refused => 3,
            Self::Unknown => 4,
        }
    }
}

#[derive(Debug)]
pub struct New<'a> {
    pub merchant: MerchantId,
    pub kind: Kind,
    pub customer: Option<CustomerId>,
    pub foreign_id: &'a str,
    pub request: &'a [u8],
    pub asked_us: i64,
}

/// Writes a request down before it is sent.
pub async fn add(db: &Db, new: &New<'_>) -> Result<i64, StoreError> {
    let sql = "INSERT INTO requests (merchant_id, kind, state, customer_id, asked_us, foreign_id, request)
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id";
    let values: [Value; 7] = [
        new.merchant.0.into(),
        new.kind.code().into(),
        State::Asked.code().into(),
        new.customer.map(|customer| customer.0).into(),
        new.asked_us.into(),
        new.foreign_id.into(),
        new.request.to_vec().into(),
    ];
    let statement = Statement::from_sql_and_values(db.orm.get_database_backend(), sql, values);
    let row = db.written(statement).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("a request was not written".into()))?;
    Ok(row.try_get_by_index(0)?)
}

/// Writes down what came of it.
pub async fn complete(
    db: &Db,
    id: i64,
    state: State,
    answer: Option<(u16, &[u8])>,
    now_us: i64,
) -> Result<(), StoreError> {
    let sql = "UPDATE requests SET state = $2, status = $3, answer = $4, answered_us = $5 WHERE id = $1";
    let status = answer.and_then(|(status, _)| i16::try_from(status).ok());
    let values: [Value; 5] =
        [id.into(), state.code().into(), status.into(), answer.map(|(_, body)| body.to_vec()).into(), now_us.into()];
    db.orm.execute_raw(Statement::from_sql_and_values(db.orm.get_database_backend(), sql, values)).await?;
    Ok(())
}
