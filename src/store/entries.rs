//! Journal entries with their postings and the payments they are about, for pages of statements and payments. Reads only.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::callbacks::customer_names;
use super::{Db, StoreError, merchants};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::event::EventType;
use crate::domain::ids::CallbackId;
use crate::domain::journal::Effect;
use crate::domain::payment::Family;
use crate::domain::reason::Reason;
use entity::{account, journal, payment, posting};

/// Effects with this number and above happen to a callback, those below to a payment.
const OF_CALLBACKS: i16 = 32;

/// An entry of the journal.
#[derive(Debug, Clone)]
pub struct Entry {
    pub position: i64,
    pub at_us: i64,
    pub event: EventType,
    pub effect: Effect,
    pub reason: Option<Reason>,
    pub currency: Option<String>,
    pub amount: Option<Amount>,
    pub fee: Option<Amount>,
    pub callback: CallbackId,
    /// The payment's own number, with its family and the processor's id.
    pub payment: Option<(i64, Family, String)>,
    pub postings: Vec<Posting>,
}

#[derive(Debug, Clone)]
pub struct Posting {
    pub ordinal: i16,
    pub debit: Account,
    pub credit: Account,
    pub amount: Amount,
}

/// An account as others know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: i64,
    pub merchant: String,
    pub kind: AccountKind,
    /// The customer's name.
    pub customer: Option<String>,
    pub currency: String,
}

/// These entries, by their positions.
pub async fn at(db: &Db, positions: &[i64]) -> Result<HashMap<i64, Entry>, StoreError> {
    let query = journal::Entity::find().filter(journal::Column::Position.is_in(positions.iter().copied()));
    let rows = query.all(&db.orm).await?;
    Ok(whole(db, rows).await?.into_iter().map(|entry| (entry.position, entry)).collect())
}

/// What happened to these payments, in the order of the journal.
pub async fn of_payments(db: &Db, payments: &[i64]) -> Result<Vec<Entry>, StoreError> {
    use journal::Column;
    let subjects = payments.iter().copied();
    let query = journal::Entity::find().filter(Column::Subject.is_in(subjects)).filter(Column::Effect.lt(OF_CALLBACKS));
    whole(db, query.order_by_asc(Column::Position).all(&db.orm).await?).await
}

/// Accounts by their numbers.
pub async fn accounts(db: &Db, ids: impl Iterator<Item = i64>) -> Result<HashMap<i64, Account>, StoreError> {
    let mut ids: Vec<i64> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = account::Entity::find().filter(account::Column::Id.is_in(ids)).all(&db.orm).await?;
    let names = customer_names(db, rows.iter().map(|row| row.customer_id).filter(|id| *id > 0)).await?;
    let merchants = merchants::all(db).await?;
    let account = |row: account::Model| {
        let kind = AccountKind::from_code(row.kind);
        let kind = kind.ok_or_else(|| StoreError::Corrupt(format!("account {} is of kind {}", row.id, row.kind)))?;
        let merchant = merchants.0.get(&row.merchant_id).cloned().unwrap_or_else(|| row.merchant_id.to_string());
        let customer = names.get(&row.customer_id).cloned();
        Ok((row.id, Account { id: row.id, merchant, kind, customer, currency: row.currency }))
    };
    rows.into_iter().map(account).collect()
}

async fn whole(db: &Db, rows: Vec<journal::Model>) -> Result<Vec<Entry>, StoreError> {
    let moving: Vec<i64> = rows.iter().filter(|row| row.postings > 0).map(|row| row.position).collect();
    let query = posting::Entity::find().filter(posting::Column::Position.is_in(moving));
    let query = query.order_by_asc(posting::Column::Position).order_by_asc(posting::Column::Ordinal);
    let moved = query.all(&db.orm).await?;
    let accounts = accounts(db, moved.iter().flat_map(|row| [row.debit_id, row.credit_id])).await?;
    let mut postings: HashMap<i64, Vec<Posting>> = HashMap::new();
    for row in moved {
        let account = |id| {
            let known = accounts.get(&id).cloned();
            known.ok_or_else(|| StoreError::Corrupt(format!("entry {} moves no account {id}", row.position)))
        };
        let (debit, credit) = (account(row.debit_id)?, account(row.credit_id)?);
        let posting = Posting { ordinal: row.ordinal, debit, credit, amount: amount(row.position, &row.amount)? };
        postings.entry(row.position).or_default().push(posting);
    }
    let payments = payments(db, &rows).await?;
    rows.into_iter().map(|row| entry(row, &mut postings, &payments)).collect()
}

type Payments = HashMap<i64, (Family, String)>;

async fn payments(db: &Db, rows: &[journal::Model]) -> Result<Payments, StoreError> {
    use payment::Column;
    let mut ids: Vec<i64> = rows.iter().filter_map(|row| row.payment_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let query = payment::Entity::find().filter(Condition::all().add(Column::Id.is_in(ids))).select_only();
    let rows: Vec<(i64, i16, String)> =
        query.columns([Column::Id, Column::Family, Column::ExtId]).into_tuple().all(&db.orm).await?;
    let payment = |(id, family, ext_id): (i64, i16, String)| {
        let known = Family::from_code(family);
        let family = known.ok_or_else(|| StoreError::Corrupt(format!("payment {id} is of family {family}")))?;
        Ok((id, (family, ext_id)))
    };
    rows.into_iter().map(payment).collect()
}

fn entry(
    row: journal::Model,
    postings: &mut HashMap<i64, Vec<Posting>>,
    payments: &Payments,
) -> Result<Entry, StoreError> {
    let position = row.position;
    let nonsense = |what: &str| StoreError::Corrupt(format!("journal entry {position}: {what}"));
    let reason = row.reason.map(|code| Reason::from_code(code).ok_or_else(|| nonsense("no such reason")));
    let some = |text: Option<String>| text.map(|text| amount(position, &text)).transpose();
    let payment = row.payment_id.and_then(|id| payments.get(&id).map(|(family, ext)| (id, *family, ext.clone())));
    Ok(Entry {
        position,
        at_us: row.at_us,
        event: EventType::from_code(row.event).ok_or_else(|| nonsense("no such event"))?,
        effect: Effect::from_code(row.effect).ok_or_else(|| nonsense("no such effect"))?,
        reason: reason.transpose()?,
        currency: row.currency,
        amount: some(row.amount)?,
        fee: some(row.fee)?,
        callback: CallbackId(row.callback_id),
        payment,
        postings: postings.remove(&position).unwrap_or_default(),
    })
}

fn amount(position: i64, text: &str) -> Result<Amount, StoreError> {
    Amount::parse(text)
        .map_err(|error| StoreError::Corrupt(format!("journal entry {position} has the amount {text}: {error}")))
}
