//! Withdrawals as the gateway's clients see them. Only reads: the booker requests and ends them, `outbound` sends them.

use sea_orm::FromQueryResult;

use super::cursor::statement;
use super::{Db, StoreError};
use crate::domain::amount::Amount;
use crate::domain::ids::MerchantId;

/// A withdrawal as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    pub id: i64,
    pub state: i16,
    /// As the processor calls it.
    pub currency: String,
    pub amount: Amount,
    pub address: String,
    pub tag: Option<String>,
    /// The customer's name.
    pub customer: Option<String>,
    pub requested_us: i64,
    pub txid: Option<String>,
}

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    state: i16,
    currency: String,
    amount: String,
    address: String,
    tag: Option<String>,
    customer: Option<String>,
    requested_us: i64,
    txids: Option<String>,
}

const PAYOUT: &str = "SELECT w.id, w.state, w.currency, CAST(w.amount AS text) AS amount, w.address, w.tag,
        k.name AS customer, w.requested_us,
        (SELECT c.txids FROM journal j JOIN callbacks c ON c.id = j.callback_id WHERE j.subject = w.payment_id
            AND j.effect IN (1, 3, 4) AND c.txids IS NOT NULL ORDER BY j.effect DESC LIMIT 1) AS txids
    FROM withdrawals w LEFT JOIN customers k ON k.id = w.customer_id";

/// By its number.
pub async fn by_id(db: &Db, merchant: MerchantId, id: i64) -> Result<Option<Payout>, StoreError> {
    let sql = format!("{PAYOUT} WHERE w.id = $1 AND w.merchant_id = $2");
    let row = Row::find_by_statement(statement(db, &sql, [id.into(), merchant.0.into()])).one(&db.orm).await?;
    row.map(payout).transpose()
}

/// By the name that the processor knows it by.
pub async fn named(db: &Db, merchant: MerchantId, foreign_id: &str) -> Result<Option<Payout>, StoreError> {
    let sql = format!("{PAYOUT} WHERE w.foreign_id = $1 AND w.merchant_id = $2");
    let row = Row::find_by_statement(statement(db, &sql, [foreign_id.into(), merchant.0.into()])).one(&db.orm).await?;
    row.map(payout).transpose()
}

fn payout(row: Row) -> Result<Payout, StoreError> {
    let amount = Amount::parse(&row.amount);
    let amount = amount.map_err(|_unreadable| StoreError::Corrupt(format!("withdrawal {}: its amount", row.id)))?;
    Ok(Payout {
        id: row.id,
        state: row.state,
        currency: row.currency,
        amount,
        address: row.address,
        tag: row.tag,
        customer: row.customer,
        requested_us: row.requested_us,
        txid: row.txids.and_then(|txids| txids.lines().next().map(str::to_owned)),
    })
}
