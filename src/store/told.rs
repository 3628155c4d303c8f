//! What callbacks told of the gateway's deposits, and the journal as its clients see it.

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::cursor::statement;
use super::{Db, StoreError, callbacks};
use crate::domain::amount::Amount;
use crate::domain::event::EventType;
use crate::domain::ids::MerchantId;
use crate::domain::payment::Family;
use entity::callback::{Column, Entity};

/// Callbacks about one address that are looked at, newest first.
const CALLBACKS_MAX: u64 = 2_000;

/// One callback about an address.
#[derive(Debug, Clone, FromQueryResult)]
pub struct Told {
    pub state: i16,
    pub reason: Option<i16>,
    pub customer_id: Option<i64>,
    pub received_us: i64,
    pub status: Option<String>,
    pub ext_id: Option<String>,
    pub txids: Option<String>,
    pub body: Option<Vec<u8>>,
}

/// What was told of deposits under a foreign id, oldest first.
pub async fn of_foreign_id(db: &Db, merchant: MerchantId, foreign_id: &str) -> Result<Vec<Told>, StoreError> {
    let ids = callbacks::of_foreign_id(db, merchant, foreign_id, CALLBACKS_MAX).await?;
    let query = Entity::find()
        .filter(Column::Id.is_in(ids.into_iter().map(|id| id.0)))
        .filter(Column::Family.eq(Family::Deposit.code()))
        .order_by_asc(Column::Id);
    let columns = [
        Column::State,
        Column::Reason,
        Column::CustomerId,
        Column::ReceivedUs,
        Column::Status,
        Column::ExtId,
        Column::Txids,
        Column::Body,
    ];
    Ok(query.select_only().columns(columns).into_model::<Told>().all(&db.orm).await?)
}

/// The customer that a reference names.
pub async fn customer(db: &Db, merchant: MerchantId, kind: i16, value: &str) -> Result<Option<i64>, StoreError> {
    use sea_orm::ConnectionTrait as _;
    let sql = "SELECT customer_id FROM customer_references WHERE value = $1 AND kind = $2 AND merchant_id = $3";
    let row = db.orm.query_one_raw(statement(db, sql, [value.into(), kind.into(), merchant.0.into()])).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
}

#[derive(FromQueryResult)]
struct Row {
    position: i64,
    event: i16,
    at_us: i64,
    currency: Option<String>,
    amount: Option<String>,
    fee: Option<String>,
    txids: Option<String>,
    address: Option<String>,
    foreign_id: Option<String>,
    customer: Option<String>,
}

/// One entry of the journal that is about money.
#[derive(Debug, Clone)]
pub struct Entry {
    pub position: i64,
    pub event: EventType,
    pub at_us: i64,
    pub currency: Option<String>,
    pub amount: Option<Amount>,
    pub fee: Option<Amount>,
    pub txid: Option<String>,
    pub address: Option<String>,
    pub foreign_id: Option<String>,
    /// The customer's name.
    pub customer: Option<String>,
}

/// A merchant's entries before a position, newest first.
pub async fn entries(db: &Db, merchant: MerchantId, before: i64, limit: i64) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT j.position, j.event, j.at_us, j.currency, CAST(j.amount AS text) AS amount,
            CAST(j.fee AS text) AS fee, c.txids, c.address, c.foreign_id, k.name AS customer
        FROM journal j JOIN callbacks c ON c.id = j.callback_id LEFT JOIN customers k ON k.id = j.customer_id
        WHERE j.merchant_id = $1 AND j.position < $2 AND j.amount IS NOT NULL ORDER BY j.position DESC LIMIT $3";
    let values = [merchant.0.into(), before.into(), limit.into()];
    let rows = Row::find_by_statement(statement(db, sql, values)).all(&db.orm).await?;
    rows.into_iter().map(entry).collect()
}

fn entry(row: Row) -> Result<Entry, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("journal entry {}: its {what}", row.position));
    let money = |text: Option<String>, what| {
        text.map(|text| Amount::parse(&text).map_err(|_unreadable| corrupt(what))).transpose()
    };
    Ok(Entry {
        event: EventType::from_code(row.event).ok_or_else(|| corrupt("event"))?,
        amount: money(row.amount, "amount")?,
        fee: money(row.fee, "fee")?,
        txid: row.txids.and_then(|txids| txids.lines().next().map(str::to_owned)),
        position: row.position,
        at_us: row.at_us,
        currency: row.currency,
        address: row.address,
        foreign_id: row.foreign_id,
        customer: row.customer,
    })
}

#[derive(FromQueryResult)]
struct BalanceRow {
    kind: i16,
    currency: String,
    balance: String,
}

/// What a merchant's own accounts hold, or those of one customer: kind, currency, balance, in the order of currencies.
pub async fn balances(db: &Db, merchant: MerchantId, customer: i64) -> Result<Vec<(i16, String, Amount)>, StoreError> {
    let sql = "SELECT kind, currency, CAST(balance AS text) AS balance FROM accounts
        WHERE customer_id = $1 AND merchant_id = $2 ORDER BY currency, kind";
    let rows = BalanceRow::find_by_statement(statement(db, sql, [customer.into(), merchant.0.into()]));
    let read = |row: BalanceRow| {
        let balance = Amount::parse(&row.balance);
        let balance = balance.map_err(|_unreadable| StoreError::Corrupt(format!("a balance of {}", row.currency)))?;
        Ok((row.kind, row.currency, balance))
    };
    rows.all(&db.orm).await?.into_iter().map(read).collect()
}
