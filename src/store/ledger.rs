//! What the accounts say. Balances are kept on the account row by the booker; this only reads them. Amounts are text
//! here, so everything is added up in Rust, exactly.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use sea_orm::{ColumnTrait, Condition, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};

use super::callbacks::customer_names;
use super::{Db, StoreError, customers, merchants};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::ids::CustomerId;
use entity::account::{Column, Entity, Model};

/// An account with its balance, positive in the account's usual sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// The account's own number.
    pub id: i64,
    pub merchant: String,
    pub kind: AccountKind,
    /// The customer's name.
    pub customer: Option<String>,
    pub currency: String,
    pub balance: Amount,
}

#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Balance>,
    /// The last account of the page, unless it was the last of all.
    pub next: Option<i64>,
}

/// A page of balances in the order in which the accounts were opened. `customer` is any reference of the customer.
pub async fn balances(
    db: &Db,
    customer: Option<&str>,
    currency: Option<&str>,
    after: i64,
    limit: u64,
) -> Result<Page, StoreError> {
    let mut query = Entity::find().filter(Column::Id.gt(after));
    if let Some(reference) = customer {
        query = query.filter(Column::CustomerId.is_in(customers::named(db, reference).await?));
    }
    let currency = currency.map(|currency| Column::Currency.eq(currency));
    let query = query.filter(Condition::all().add_option(currency)).order_by_asc(Column::Id);
    let mut rows = query.limit(limit.saturating_add(1)).all(&db.orm).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|row| row.id).filter(|_| is_more);
    Ok(Page { rows: described(db, rows).await?, next })
}

/// The accounts of a customer, in the order in which they were opened.
pub async fn of_customer(db: &Db, customer: CustomerId, limit: u64) -> Result<Vec<Balance>, StoreError> {
    let query = Entity::find().filter(Column::CustomerId.eq(customer.0)).order_by_asc(Column::Id).limit(limit);
    described(db, query.all(&db.orm).await?).await
}

/// The balances of the accounts that are no customer's.
pub async fn of_merchants(db: &Db) -> Result<Vec<Balance>, StoreError> {
    let query = Entity::find().filter(Column::CustomerId.eq(0)).order_by_asc(Column::Currency);
    described(db, query.all(&db.orm).await?).await
}

/// For each currency: what debit accounts hold less what credit accounts hold. All zero, or something is wrong.
pub async fn sums(db: &Db) -> Result<BTreeMap<String, Amount>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        kind: i16,
        currency: String,
        balance: String,
    }
    let mut sums: BTreeMap<String, i128> = BTreeMap::new();
    // The entity's own selection reads amounts as text on both databases.
    let mut rows = Entity::find().into_model::<Row>().stream(&db.orm).await?;
    while let Some(row) = rows.try_next().await? {
        let units = amount(&row.balance)?.units();
        let units = if kind(row.kind)?.grows_by_debit() { units } else { units.saturating_neg() };
        let sum = sums.entry(row.currency).or_default();
        *sum = sum.checked_add(units).ok_or_else(too_large)?;
    }
    let amount = |(currency, units)| Ok((currency, Amount::from_units(units).ok_or_else(too_large)?));
    sums.into_iter().map(amount).collect()
}

async fn described(db: &Db, rows: Vec<Model>) -> Result<Vec<Balance>, StoreError> {
    let merchants = merchants::all(db).await?;
    let names = customer_names(db, rows.iter().map(|row| row.customer_id).filter(|id| *id > 0)).await?;
    let balance = |row: Model| {
        Ok(Balance {
            id: row.id,
            merchant: merchants.0.get(&row.merchant_id).cloned().unwrap_or_else(|| row.merchant_id.to_string()),
            kind: kind(row.kind)?,
            customer: names.get(&row.customer_id).cloned(),
            balance: amount(&row.balance)?,
            currency: row.currency,
        })
    };
    rows.into_iter().map(balance).collect()
}

fn kind(code: i16) -> Result<AccountKind, StoreError> {
    AccountKind::from_code(code).ok_or_else(|| StoreError::Corrupt(format!("an account of kind {code}")))
}

fn amount(text: &str) -> Result<Amount, StoreError> {
    Amount::parse(text).map_err(|error| StoreError::Corrupt(format!("the balance {text}: {error}")))
}

fn too_large() -> StoreError {
    StoreError::Corrupt("the sum of a currency's balances is too large".into())
}
