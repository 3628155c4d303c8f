//! Payments: the list, and one with all that happened to it. Reads only; the booker writes them.
//!
//! The processor's id finds a payment by the primary key, our own by `payments_id`. Other filters are looked for from
//! the newest on, [`SCAN_ROWS`] payments a page: a page may then be short although its cursor leads on.

use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::callbacks::{self, Summary, customer_names};
use super::entries::{self, Entry};
use super::{Db, StoreError, merchants};
use crate::domain::ids::{CallbackId, MerchantId};
use crate::domain::payment::{Family, Status};
use entity::payment::{Column, Entity, Model};

/// Payments that one page looks at where no index helps.
const SCAN_ROWS: i64 = 200_000;
/// Callbacks that are shown beside a payment.
const CALLBACKS_MAX: u64 = 1_000;

/// Which payments are meant. Nothing set means all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub merchant: Option<MerchantId>,
    pub family: Option<Family>,
    pub status: Option<Status>,
    /// Exactly the processor's id.
    pub q: Option<String>,
}

/// What AlphaPo names by a family of types and an id.
#[derive(Debug, Clone)]
pub struct Payment {
    pub id: i64,
    pub merchant: String,
    pub family: Family,
    pub payment_id: String,
    pub status: Status,
    pub customer: Option<(i64, String)>,
    /// What happened to it last.
    pub last: Option<Entry>,
}

#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Payment>,
    /// `None` at the end of the list.
    pub next: Option<i64>,
}

/// One payment with its entries in order and its callbacks, oldest first.
#[derive(Debug)]
pub struct Detail {
    pub payment: Payment,
    pub entries: Vec<Entry>,
    pub callbacks: Vec<Summary>,
}

/// A page of payments, newest first.
pub async fn list(db: &Db, filter: &Filter, before: Option<i64>, limit: u64) -> Result<Page, StoreError> {
    let top = match before {
        Some(before) => before,
        None => newest_id(db).await?.saturating_add(1),
    };
    let is_indexed = filter.q.is_some() || *filter == Filter::default();
    let low = if is_indexed { 0 } else { top.saturating_sub(SCAN_ROWS).max(0) };
    let condition = Condition::all()
        .add_option(filter.merchant.map(|id| Column::MerchantId.eq(id.0)))
        .add_option(filter.family.map(|family| Column::Family.eq(family.code())))
        .add_option(filter.status.map(|status| Column::Status.eq(status.code())))
        .add_option(filter.q.as_ref().map(|q| Column::ExtId.eq(q.as_str())));
    let query = Entity::find().filter(condition).filter(Column::Id.lt(top)).filter(Column::Id.gte(low));
    let mut rows = query.order_by_desc(Column::Id).limit(limit.saturating_add(1)).all(&db.orm).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > most;
    rows.truncate(most);
    let rest = (low > 1).then_some(low);
    let next = rows.last().map(|row| row.id).filter(|_| is_more).or(rest);
    Ok(Page { rows: described(db, rows).await?, next })
}

/// Everything about one payment, by our own number.
pub async fn get(db: &Db, id: i64) -> Result<Option<Detail>, StoreError> {
    let Some(row) = Entity::find().filter(Column::Id.eq(id)).one(&db.orm).await? else { return Ok(None) };
    let callbacks = named(db, &row).await?;
    let mut payments = described(db, vec![row]).await?;
    let payment = payments.pop().ok_or_else(|| StoreError::Corrupt(format!("payment {id} can't be described")))?;
    let entries = entries::of_payments(db, &[id]).await?;
    let mut ids: Vec<CallbackId> = entries.iter().map(|entry| entry.callback).chain(callbacks).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(Some(Detail { callbacks: callbacks::of_ids(db, &ids).await?, payment, entries }))
}

/// The callbacks that name the payment, also those that were held: they stand together where its id is a number.
async fn named(db: &Db, row: &Model) -> Result<Vec<CallbackId>, StoreError> {
    use entity::callback::{Column, Entity};
    let Some(locality) = row.ext_id.parse::<i64>().ok().filter(|id| *id >= 0) else { return Ok(Vec::new()) };
    let query = Entity::find()
        .filter(Column::Locality.eq(locality))
        .filter(Column::MerchantId.eq(row.merchant_id))
        .filter(Column::Family.eq(row.family))
        .filter(Column::ExtId.eq(row.ext_id.as_str()));
    let ids: Vec<i64> = query.select_only().column(Column::Id).limit(CALLBACKS_MAX).into_tuple().all(&db.orm).await?;
    Ok(ids.into_iter().map(CallbackId).collect())
}

async fn newest_id(db: &Db) -> Result<i64, StoreError> {
    let query = Entity::find().select_only().column(Column::Id).order_by_desc(Column::Id);
    let id: Option<i64> = query.into_tuple().one(&db.orm).await?;
    Ok(id.unwrap_or_default())
}

async fn described(db: &Db, rows: Vec<Model>) -> Result<Vec<Payment>, StoreError> {
    let merchants = merchants::all(db).await?;
    let names = customer_names(db, rows.iter().filter_map(|row| row.customer_id)).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let mut last: std::collections::HashMap<i64, Entry> = std::collections::HashMap::new();
    for entry in entries::of_payments(db, &ids).await? {
        if let Some((id, ..)) = entry.payment {
            last.insert(id, entry);
        }
    }
    let payment = |row: Model| {
        let nonsense = |what: &str| StoreError::Corrupt(format!("payment {} has {what}", row.id));
        Ok(Payment {
            id: row.id,
            merchant: merchants.0.get(&row.merchant_id).cloned().unwrap_or_else(|| row.merchant_id.to_string()),
            family: Family::from_code(row.family).ok_or_else(|| nonsense("no family"))?,
            status: Status::from_code(row.status).ok_or_else(|| nonsense("no status"))?,
            customer: row.customer_id.and_then(|id| names.get(&id).map(|name| (id, name.clone()))),
            last: last.remove(&row.id),
            payment_id: row.ext_id,
        })
    };
    rows.into_iter().map(payment).collect()
}
