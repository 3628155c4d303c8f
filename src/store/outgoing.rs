//! What was asked for through us, as it is listed: withdrawals, and the addresses that were taken from the processor.
//! Reads only. A withdrawal's `foreign_id` and an address are found by an index; other filters are looked for from the
//! newest on, [`SCAN_ROWS`] rows a page: a page may then be short although its cursor leads on.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::booking::own::ELSEWHERE;
use super::callbacks::customer_names;
use super::{Db, StoreError, merchants};
use crate::domain::amount::Amount;
use crate::domain::ids::MerchantId;
use crate::domain::order::Api;
use entity::{address, withdrawal};

/// Rows that one page looks at where no index helps.
const SCAN_ROWS: i64 = 100_000;

/// The states of a withdrawal and of an address, in the words used outside, by their stored numbers from 1 on.
pub const WITHDRAWAL_STATES: [&str; 6] = ["requested", "sent", "unknown", "pending", "settled", "failed"];
pub const ADDRESS_STATES: [&str; 4] = ["asked", "used", "free", "retired"];
/// The last of them is no number of a column.
const RETIRED: i16 = 4;

/// Which rows are meant. Nothing set means all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub merchant: Option<MerchantId>,
    /// As it is stored.
    pub state: Option<i16>,
    /// Exactly a `foreign_id`, or for addresses also the address or its user.
    pub q: Option<String>,
}

#[derive(Debug)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// `None` at the end of the list.
    pub next: Option<i64>,
}

/// A withdrawal as it stands.
#[derive(Debug, Clone)]
pub struct Withdrawal {
    pub id: i64,
    pub merchant: String,
    pub foreign_id: String,
    pub customer: Option<(i64, String)>,
    pub currency: String,
    pub amount: Amount,
    pub currency_to: Option<String>,
    pub address: String,
    pub tag: Option<String>,
    pub api: &'static str,
    pub state: &'static str,
    /// Our own number of the payment that a callback told of.
    pub payment: Option<i64>,
    pub processor_id: Option<String>,
    pub error: Option<String>,
    pub attempts: i32,
    pub requested_us: i64,
    pub sent_us: Option<i64>,
    pub next_us: Option<i64>,
    pub closed_us: Option<i64>,
}

/// A withdrawal with the bytes that were sent, and those that came back.
#[derive(Debug)]
pub struct Detail {
    pub withdrawal: Withdrawal,
    pub request: Vec<u8>,
    pub answer: Option<Vec<u8>>,
}

/// An address that was taken from the processor.
#[derive(Debug, Clone)]
pub struct Address {
    pub id: i64,
    pub merchant: String,
    pub state: &'static str,
    pub network: String,
    pub currency: String,
    /// `None`: it is given out to one after the other.
    pub user_identifier: Option<String>,
    pub foreign_id: String,
    pub address: Option<String>,
    pub tag: Option<String>,
    pub failure: Option<String>,
    pub free_us: Option<i64>,
    pub retired_us: Option<i64>,
}

/// A page of withdrawals, newest first.
pub async fn withdrawals(
    db: &Db,
    filter: &Filter,
    before: Option<i64>,
    limit: u64,
) -> Result<Page<Withdrawal>, StoreError> {
    use withdrawal::{Column, Entity};
    let newest = Entity::find().select_only().column(Column::Id).order_by_desc(Column::Id);
    let (top, low) = bounds(newest.into_tuple().one(&db.orm).await?, filter, before);
    let condition = Condition::all()
        .add_option(filter.merchant.map(|id| Column::MerchantId.eq(id.0)))
        .add_option(filter.state.map(|state| Column::State.eq(state)))
        .add_option(filter.q.as_ref().map(|q| Column::ForeignId.eq(q.as_str())));
    let query = Entity::find().filter(condition).filter(Column::Id.lt(top)).filter(Column::Id.gte(low));
    let mut rows = query.order_by_desc(Column::Id).limit(limit.saturating_add(1)).all(&db.orm).await?;
    let next = cut(&mut rows, limit, low, |row| row.id);
    Ok(Page { rows: described(db, rows).await?, next })
}

/// Everything about one withdrawal.
pub async fn withdrawal(db: &Db, id: i64) -> Result<Option<Detail>, StoreError> {
    let Some(row) = withdrawal::Entity::find_by_id(id).one(&db.orm).await? else { return Ok(None) };
    let (request, answer) = (row.request.clone(), row.answer.clone());
    let described = described(db, vec![row]).await?.pop();
    Ok(described.map(|withdrawal| Detail { withdrawal, request, answer }))
}

/// A page of addresses, newest first.
pub async fn addresses(db: &Db, filter: &Filter, before: Option<i64>, limit: u64) -> Result<Page<Address>, StoreError> {
    use address::{Column, Entity};
    let newest = Entity::find().select_only().column(Column::Id).order_by_desc(Column::Id);
    let (top, low) = bounds(newest.into_tuple().one(&db.orm).await?, filter, before);
    let named = filter.q.as_deref().map(|q| {
        Condition::any().add(Column::ForeignId.eq(q)).add(Column::UserIdentifier.eq(q)).add(Column::Address.eq(q))
    });
    let condition = Condition::all()
        .add_option(filter.merchant.map(|id| Column::MerchantId.eq(id.0)))
        .add_option(filter.state.map(|state| match state {
            RETIRED => Condition::all().add(Column::RetiredUs.is_not_null()),
            _ => Condition::all().add(Column::State.eq(state)).add(Column::RetiredUs.is_null()),
        }))
        .add_option(named);
    let query = Entity::find().filter(condition).filter(Column::Id.lt(top)).filter(Column::Id.gte(low));
    let mut rows = query.order_by_desc(Column::Id).limit(limit.saturating_add(1)).all(&db.orm).await?;
    let next = cut(&mut rows, limit, low, |row| row.id);
    let merchants = merchants::all(db).await?;
    let address = |row: address::Model| {
        let (id, merchant) = (row.id, merchants.0.get(&row.merchant_id));
        Ok(Address {
            id,
            merchant: merchant.cloned().unwrap_or_else(|| row.merchant_id.to_string()),
            state: word(&ADDRESS_STATES, row.retired_us.map_or(row.state, |_| RETIRED))
                .ok_or_else(|| StoreError::Corrupt(format!("address {id}")))?,
            network: row.network,
            currency: row.code,
            user_identifier: row.user_identifier,
            foreign_id: row.foreign_id,
            address: row.address,
            tag: row.tag,
            failure: row.failure,
            free_us: row.free_us,
            retired_us: row.retired_us,
        })
    };
    Ok(Page { rows: rows.into_iter().map(address).collect::<Result<_, StoreError>>()?, next })
}

/// The number that a word of one of the lists above is stored as.
pub fn code(words: &[&str], word: &str) -> Option<i16> {
    let place = words.iter().position(|known| *known == word)?;
    i16::try_from(place.saturating_add(1)).ok()
}

fn word<const N: usize>(words: &[&'static str; N], code: i16) -> Option<&'static str> {
    words.get(usize::try_from(code).ok()?.checked_sub(1)?).copied()
}

/// Below which number, and from which on, a page looks.
fn bounds(newest: Option<i64>, filter: &Filter, before: Option<i64>) -> (i64, i64) {
    let top = before.unwrap_or_else(|| newest.unwrap_or_default().saturating_add(1));
    let is_indexed = filter.q.is_some() || *filter == Filter::default();
    (top, if is_indexed { 0 } else { top.saturating_sub(SCAN_ROWS).max(0) })
}

/// Drops what is over the limit, and tells where the list goes on.
fn cut<T>(rows: &mut Vec<T>, limit: u64, low: i64, id: impl Fn(&T) -> i64) -> Option<i64> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > most;
    rows.truncate(most);
    rows.last().map(id).filter(|_| is_more).or((low > 1).then_some(low))
}

async fn described(db: &Db, rows: Vec<withdrawal::Model>) -> Result<Vec<Withdrawal>, StoreError> {
    let merchants = merchants::all(db).await?;
    let names: HashMap<i64, String> = customer_names(db, rows.iter().filter_map(|row| row.customer_id)).await?;
    let told = |row: withdrawal::Model| {
        let nonsense = |what: &str| StoreError::Corrupt(format!("withdrawal {} has {what}", row.id));
        Ok(Withdrawal {
            id: row.id,
            merchant: merchants.0.get(&row.merchant_id).cloned().unwrap_or_else(|| row.merchant_id.to_string()),
            customer: row.customer_id.and_then(|id| names.get(&id).map(|name| (id, name.clone()))),
            amount: Amount::parse(&row.amount).map_err(|error| nonsense(&error.to_string()))?,
            api: match row.api {
                ELSEWHERE => "elsewhere",
                code => Api::from_code(code).ok_or_else(|| nonsense("no door"))?.word(),
            },
            state: word(&WITHDRAWAL_STATES, row.state).ok_or_else(|| nonsense("no state"))?,
            foreign_id: row.foreign_id,
            currency: row.currency,
            currency_to: row.currency_to,
            address: row.address,
            tag: row.tag,
            payment: row.payment_id,
            processor_id: row.processor_id,
            error: row.error,
            attempts: row.attempts,
            requested_us: row.requested_us,
            sent_us: row.sent_us,
            next_us: row.next_us,
            closed_us: row.closed_us,
        })
    };
    rows.into_iter().map(told).collect()
}
