//! One callback with all that came of it: what moved, what was told, what is still open. Reads only.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Row, Summary, corrupt, customer_names, reason, summaries};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::event::Event;
use crate::domain::ids::{CallbackId, MerchantId};
use crate::domain::journal::{Effect, EffectKey};
use crate::domain::payment::Family;
use crate::domain::reason::Reason;
use crate::store::{Db, StoreError, events, merchants};
use entity::{account, callback, discrepancy, failure, journal, posting, redelivery};

/// All there is about a callback.
#[derive(Debug)]
pub struct Detail {
    pub summary: Summary,
    /// `None` once pruned.
    pub body: Option<Vec<u8>>,
    pub digest: Vec<u8>,
    pub signature: Vec<u8>,
    /// The headers kept, as JSON.
    pub headers: String,
    /// What can't be read, and where.
    pub detail: Option<String>,
    /// Under which policy it was decided, as a stored number.
    pub policy: i16,
    pub address: Option<String>,
    pub txids: Vec<String>,
    pub decided_us: i64,
    pub last_delivery_us: i64,
    pub transfers: Vec<Transfer>,
    pub events: Vec<Event>,
    pub failure: Option<Failure>,
    pub discrepancies: Vec<Discrepancy>,
}

/// A set of postings that booked one effect.
#[derive(Debug)]
pub struct Transfer {
    pub position: i64,
    pub key: EffectKey,
    pub event: &'static str,
    pub reason: Option<Reason>,
    pub currency: Option<String>,
    pub amount: Option<Amount>,
    pub fee: Option<Amount>,
    pub at_us: i64,
    pub postings: Vec<TransferPosting>,
}

#[derive(Debug)]
pub struct TransferPosting {
    pub debit: AccountKind,
    pub debit_customer: Option<String>,
    pub credit: AccountKind,
    pub credit_customer: Option<String>,
    pub currency: String,
    pub amount: Amount,
}

/// Why booking it failed, and when it is tried again.
#[derive(Debug)]
pub struct Failure {
    pub attempts: i32,
    pub error: String,
    pub next_us: i64,
}

/// A difference that someone must look at.
#[derive(Debug)]
pub struct Discrepancy {
    pub id: i64,
    pub merchant: String,
    pub reason: Reason,
    pub callback: CallbackId,
    /// The processor's id of the payment.
    pub payment_id: Option<String>,
    pub opened_us: i64,
    pub resolved_us: Option<i64>,
    pub resolution: Option<String>,
}

/// Whether there is such a payment, by the processor's name of it.
pub async fn is_payment(db: &Db, merchant: MerchantId, kind: &str, id: &str) -> Result<bool, StoreError> {
    use entity::payment::{Column, Entity};
    let query = Entity::find().filter(Column::ExtId.eq(id)).filter(Column::Family.eq(Family::of(kind).code()));
    Ok(query.filter(Column::MerchantId.eq(merchant.0)).one(&db.orm).await?.is_some())
}

/// Everything about one callback.
pub async fn get(db: &Db, id: CallbackId) -> Result<Option<Detail>, StoreError> {
    let Some(row) = callback::Entity::find_by_id(id.0).one(&db.orm).await? else { return Ok(None) };
    let summary = summaries(db, vec![summary_row(&row)]).await?.pop();
    let summary = summary.ok_or_else(|| corrupt(id.0, "no summary"))?;
    let entries = entries(db, &row).await?;
    let positions: Vec<i64> = entries.iter().map(|entry| entry.position).collect();
    let transfers = transfers(db, &row, entries).await?;
    let again = redelivery::Entity::find_by_id(id.0).one(&db.orm).await?;
    let failure = failure::Entity::find_by_id(id.0).one(&db.orm).await?;
    Ok(Some(Detail {
        discrepancies: discrepancies(db, &row, &summary.merchant).await?,
        events: told(db, &positions).await?,
        transfers,
        failure: failure.map(|row| Failure { attempts: row.attempts, error: row.error, next_us: row.next_us }),
        last_delivery_us: again.map_or(row.received_us, |again| again.last_us),
        txids: row.txids.iter().flat_map(|txids| txids.lines()).map(str::to_owned).collect(),
        summary,
        body: row.body,
        digest: row.digest,
        signature: row.signature,
        headers: row.headers,
        detail: row.detail,
        policy: row.policy,
        address: row.address,
        decided_us: row.decided_us,
    }))
}

fn summary_row(row: &callback::Model) -> Row {
    Row {
        id: row.id,
        merchant_id: row.merchant_id,
        r#type: row.r#type.clone(),
        status: row.status.clone(),
        state: row.state,
        reason: row.reason,
        ext_id: row.ext_id.clone(),
        foreign_id: row.foreign_id.clone(),
        end_user_reference: row.end_user_reference.clone(),
        customer_id: row.customer_id,
        received_us: row.received_us,
    }
}

/// Those of the last decision stand together; holding and releasing are found by their effect keys.
async fn entries(db: &Db, row: &callback::Model) -> Result<Vec<journal::Model>, StoreError> {
    use journal::Column;
    let end = row.position.saturating_add(i64::from(row.entries));
    let last = Condition::all().add(Column::Position.gte(row.position)).add(Column::Position.lt(end));
    let turns = [Effect::Held.code(), Effect::Released.code()];
    let turned = Condition::all().add(Column::Subject.eq(row.id)).add(Column::Effect.is_in(turns));
    let query = journal::Entity::find().filter(Condition::any().add(last).add(turned));
    Ok(query.filter(Column::CallbackId.eq(row.id)).order_by_asc(Column::Position).all(&db.orm).await?)
}

async fn told(db: &Db, positions: &[i64]) -> Result<Vec<Event>, StoreError> {
    let names = merchants::all(db).await?;
    let mut told = Vec::with_capacity(positions.len());
    for position in positions {
        told.extend(events::after(db, &names, position.saturating_sub(1), 1).await?);
    }
    Ok(told)
}

async fn transfers(db: &Db, row: &callback::Model, entries: Vec<journal::Model>) -> Result<Vec<Transfer>, StoreError> {
    let positions = entries.iter().map(|entry| entry.position);
    let query = posting::Entity::find().filter(posting::Column::Position.is_in(positions));
    let postings = query.order_by_asc(posting::Column::Ordinal).all(&db.orm).await?;
    let ids = postings.iter().flat_map(|posting| [posting.debit_id, posting.credit_id]);
    let accounts = account::Entity::find().filter(account::Column::Id.is_in(ids)).all(&db.orm).await?;
    let owners = accounts.iter().map(|account| account.customer_id).filter(|id| *id > 0);
    let names = customer_names(db, owners).await?;
    let accounts: HashMap<i64, &account::Model> = accounts.iter().map(|account| (account.id, account)).collect();
    let mut transfers = Vec::new();
    for entry in entries {
        let own = postings.iter().filter(|posting| posting.position == entry.position);
        let moved: Result<Vec<_>, _> = own.map(|posting| moved(row.id, posting, &accounts, &names)).collect();
        let moved = moved?;
        if !moved.is_empty() {
            transfers.push(transfer(row, entry, moved)?);
        }
    }
    Ok(transfers)
}

fn moved(
    callback: i64,
    posting: &posting::Model,
    accounts: &HashMap<i64, &account::Model>,
    names: &HashMap<i64, String>,
) -> Result<TransferPosting, StoreError> {
    let account = |id| accounts.get(&id).copied().ok_or_else(|| corrupt(callback, "a posting without its account"));
    let (debit, credit) = (account(posting.debit_id)?, account(posting.credit_id)?);
    let kind = |account: &account::Model| {
        AccountKind::from_code(account.kind).ok_or_else(|| corrupt(callback, "an unknown kind of account"))
    };
    Ok(TransferPosting {
        debit: kind(debit)?,
        debit_customer: names.get(&debit.customer_id).cloned(),
        credit: kind(credit)?,
        credit_customer: names.get(&credit.customer_id).cloned(),
        currency: debit.currency.clone(),
        amount: amount(callback, &posting.amount)?,
    })
}

fn transfer(
    row: &callback::Model,
    entry: journal::Model,
    postings: Vec<TransferPosting>,
) -> Result<Transfer, StoreError> {
    let effect = Effect::from_code(entry.effect).ok_or_else(|| corrupt(row.id, "an unknown effect"))?;
    let event = crate::domain::event::EventType::from_code(entry.event);
    let some = |text: Option<String>| text.map(|text| amount(row.id, &text)).transpose();
    let family = Family::from_code(row.family).ok_or_else(|| corrupt(row.id, "an unknown family"))?;
    Ok(Transfer {
        position: entry.position,
        key: if effect.is_of_callback() {
            let digest = row.digest.as_slice().try_into();
            EffectKey::OfCallback {
                digest: digest.map_err(|_length| corrupt(row.id, "a digest that is not 32 bytes"))?,
                effect,
            }
        } else {
            EffectKey::OfPayment { family, payment_id: row.ext_id.clone().unwrap_or_default(), effect }
        },
        event: event.ok_or_else(|| corrupt(row.id, "an unknown event"))?.word(),
        reason: reason(row.id, entry.reason)?,
        currency: entry.currency,
        amount: some(entry.amount)?,
        fee: some(entry.fee)?,
        at_us: entry.at_us,
        postings,
    })
}

fn amount(callback: i64, text: &str) -> Result<Amount, StoreError> {
    Amount::parse(text).map_err(|error| corrupt(callback, &format!("the amount {text}: {error}")))
}

async fn discrepancies(db: &Db, row: &callback::Model, merchant: &str) -> Result<Vec<Discrepancy>, StoreError> {
    let query = discrepancy::Entity::find().filter(discrepancy::Column::CallbackId.eq(row.id));
    let rows = query.order_by_asc(discrepancy::Column::Position).limit(100).all(&db.orm).await?;
    rows.into_iter().map(|found| opened(found, merchant.to_owned(), row.ext_id.clone())).collect()
}

/// A row in our words.
pub(in crate::store) fn opened(
    row: discrepancy::Model,
    merchant: String,
    payment_id: Option<String>,
) -> Result<Discrepancy, StoreError> {
    let reason = reason(row.callback_id, Some(row.reason))?;
    Ok(Discrepancy {
        id: row.position,
        merchant,
        reason: reason.ok_or_else(|| corrupt(row.callback_id, "a discrepancy without a reason"))?,
        callback: CallbackId(row.callback_id),
        payment_id,
        opened_us: row.opened_us,
        resolved_us: row.resolved_us,
        resolution: row.resolution,
    })
}
