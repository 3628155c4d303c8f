//! Customers: the list, and one with its references and accounts. Reads only; the booker opens them.

use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::ledger::{self, Balance};
use super::{Db, StoreError, merchants};
use crate::domain::customer::ReferenceKind;
use crate::domain::ids::{CustomerId, MerchantId};
use entity::customer::{Column, Entity, Model};
use entity::customer_reference as reference;

/// References, and accounts, that are shown of one customer.
pub const SHOWN_MAX: u64 = 1_000;
/// Customers that one reference may name: at most one for each merchant and kind.
const NAMED_MAX: u64 = 10_000;
/// Customers of other merchants that one page looks past.
const SCAN_ROWS: i64 = 200_000;

/// The merchant's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    pub id: CustomerId,
    pub merchant: String,
    /// The reference that they were first known by.
    pub name: String,
    pub opened_us: i64,
}

#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Customer>,
    /// `None` at the end of the list.
    pub next: Option<i64>,
}

/// A customer with what is theirs: at most [`SHOWN_MAX`] of each.
#[derive(Debug)]
pub struct Detail {
    pub customer: Customer,
    pub references: Vec<(ReferenceKind, String)>,
    pub accounts: Vec<Balance>,
}

/// A page of customers, newest first. `q` is exactly a reference, or our own number.
pub async fn list(
    db: &Db,
    merchant: Option<MerchantId>,
    q: Option<&str>,
    before: Option<i64>,
    limit: u64,
) -> Result<Page, StoreError> {
    let top = match before {
        Some(before) => before,
        None => newest_id(db).await?.saturating_add(1),
    };
    let mut query = Entity::find().filter(Column::Id.lt(top));
    if let Some(q) = q {
        let mut ids = named(db, q).await?;
        ids.extend(q.parse::<i64>().ok());
        query = query.filter(Column::Id.is_in(ids));
    }
    let low = if q.is_none() && merchant.is_some() { top.saturating_sub(SCAN_ROWS).max(0) } else { 0 };
    let of_merchant = merchant.map(|id| Column::MerchantId.eq(id.0));
    let query = query.filter(Column::Id.gte(low)).filter(Condition::all().add_option(of_merchant));
    let mut rows = query.order_by_desc(Column::Id).limit(limit.saturating_add(1)).all(&db.orm).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > most;
    rows.truncate(most);
    let rest = (low > 1).then_some(low);
    let next = rows.last().map(|row| row.id).filter(|_| is_more).or(rest);
    Ok(Page { rows: described(db, rows).await?, next })
}

/// These customers, as far as they exist and are the merchant's.
pub async fn of_ids(db: &Db, ids: &[i64], merchant: Option<MerchantId>) -> Result<Vec<Customer>, StoreError> {
    let merchant = merchant.map(|id| Column::MerchantId.eq(id.0));
    let query = Entity::find().filter(Column::Id.is_in(ids.iter().copied()));
    described(db, query.filter(Condition::all().add_option(merchant)).order_by_asc(Column::Id).all(&db.orm).await?)
        .await
}

/// Everything about one customer.
pub async fn get(db: &Db, id: CustomerId) -> Result<Option<Detail>, StoreError> {
    let Some(row) = Entity::find_by_id(id.0).one(&db.orm).await? else { return Ok(None) };
    let query = reference::Entity::find().filter(reference::Column::CustomerId.eq(id.0));
    let query = query.order_by_asc(reference::Column::Kind).order_by_asc(reference::Column::Value);
    let references = query.limit(SHOWN_MAX).all(&db.orm).await?;
    let kind = |row: reference::Model| {
        let kind = ReferenceKind::ALL.into_iter().find(|kind| kind.code() == row.kind);
        let unknown = || StoreError::Corrupt(format!("customer {id} has a reference of kind {}", row.kind));
        Ok::<_, StoreError>((kind.ok_or_else(unknown)?, row.value))
    };
    let references = references.into_iter().map(kind).collect::<Result<_, _>>()?;
    let mut customers = described(db, vec![row]).await?;
    let customer = customers.pop().ok_or_else(|| StoreError::Corrupt(format!("customer {id} can't be described")))?;
    let accounts = ledger::of_customer(db, id, SHOWN_MAX).await?;
    Ok(Some(Detail { customer, references, accounts }))
}

/// The customers that a reference names, one for each merchant and kind at most.
pub async fn named(db: &Db, reference: &str) -> Result<Vec<i64>, StoreError> {
    use reference::{Column, Entity};
    let query = Entity::find().filter(Column::Value.eq(reference)).limit(NAMED_MAX);
    Ok(query.select_only().column(Column::CustomerId).into_tuple().all(&db.orm).await?)
}

async fn newest_id(db: &Db) -> Result<i64, StoreError> {
    let query = Entity::find().select_only().column(Column::Id).order_by_desc(Column::Id);
    let id: Option<i64> = query.into_tuple().one(&db.orm).await?;
    Ok(id.unwrap_or_default())
}

async fn described(db: &Db, rows: Vec<Model>) -> Result<Vec<Customer>, StoreError> {
    let merchants = merchants::all(db).await?;
    let customer = |row: Model| Customer {
        id: CustomerId(row.id),
        merchant: merchants.0.get(&row.merchant_id).cloned().unwrap_or_else(|| row.merchant_id.to_string()),
        name: row.name,
        opened_us: row.opened_us,
    };
    Ok(rows.into_iter().map(customer).collect())
}
