//! Questions about stored callbacks: lists, one with all that came of it, and the bodies for deciding anew. It changes
//! nothing: what was decided is the booker's to write.
//!
//! A list goes by the order of arrival, by `held` and `failed` (`callbacks_waiting`), or by the terms that a worker
//! writes down at a distance (`search.rs`). What the terms have not reached yet is looked through from the newest on.

mod detail;
mod due;
pub mod prune;
mod search;
mod stretch;

use std::collections::HashMap;

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, FromQueryResult, Order, QueryFilter, QueryOrder, QuerySelect, Select,
};

pub(super) use detail::opened;
pub use detail::{Detail, Discrepancy, Failure, Transfer, TransferPosting, get, is_payment};
pub use due::due_failures;
pub use stretch::{Scope, Stood, Stretch, bounds, stretch};

use super::booking::State;
use super::{Db, Kind, StoreError, merchants, timeline};
use crate::domain::callback::Origin;
use crate::domain::ids::{CallbackId, MerchantId};
use crate::domain::reason::Reason;
use entity::callback::{Column, Entity};

/// Which callbacks are meant. Nothing set means all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub merchant: Option<MerchantId>,
    pub state: Option<State>,
    pub kind: Option<String>,
    pub status: Option<String>,
    pub foreign_id: Option<String>,
    /// Exactly an id of ours or a payment's, a `foreign_id`, an `end_user_reference`, an address, a txid or an amount.
    pub q: Option<String>,
    pub since_us: Option<i64>,
    /// Received before this moment.
    pub until_us: Option<i64>,
}

/// Where a list goes on: before this callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    before: i64,
}

impl Cursor {
    /// The inverse of `Display`.
    pub fn parse(text: &str) -> Option<Self> {
        let before = text.parse().ok().filter(|before| *before >= 0)?;
        Some(Self { before })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.before.fmt(out)
    }
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub id: CallbackId,
    pub merchant: String,
    pub kind: Option<String>,
    pub status: Option<String>,
    pub state: State,
    pub reason: Option<Reason>,
    /// The processor's.
    pub payment_id: Option<String>,
    pub foreign_id: Option<String>,
    pub end_user_reference: Option<String>,
    /// The customer's name.
    pub customer: Option<String>,
    pub deliveries: i64,
    pub received_us: i64,
}

#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Summary>,
    /// `None` at the end of the list.
    pub next: Option<Cursor>,
}

/// A callback as it arrived, to be decided anew.
#[derive(Debug, Clone)]
pub struct StoredBody {
    pub id: CallbackId,
    pub merchant: MerchantId,
    pub origin: Origin,
    pub signature: [u8; 64],
    pub headers: String,
    pub body: Vec<u8>,
    pub received_us: i64,
}

/// Callbacks that are neither booked nor ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenCounts {
    pub held: u64,
    pub failed: u64,
}

/// The columns of a [`Summary`]: never the body, which is most of a row.
#[derive(FromQueryResult)]
struct Row {
    id: i64,
    merchant_id: i16,
    r#type: Option<String>,
    status: Option<String>,
    state: i16,
    reason: Option<i16>,
    ext_id: Option<String>,
    foreign_id: Option<String>,
    end_user_reference: Option<String>,
    customer_id: Option<i64>,
    received_us: i64,
}

const ROW: [Column; 11] = [
    Column::Id,
    Column::MerchantId,
    Column::Type,
    Column::Status,
    Column::State,
    Column::Reason,
    Column::ExtId,
    Column::ForeignId,
    Column::EndUserReference,
    Column::CustomerId,
    Column::ReceivedUs,
];

/// A page of callbacks, newest first.
pub async fn list(db: &Db, filter: &Filter, after: Option<Cursor>, limit: u64) -> Result<Page, StoreError> {
    let floor = match filter.since_us {
        Some(since_us) => first_since(db, since_us).await?,
        None => 0,
    };
    let end = newest_id(db).await?.saturating_add(1);
    let end = match filter.until_us {
        Some(until_us) => Ord::min(end, first_beyond(db, until_us).await?),
        None => end,
    };
    let top = after.map_or(end, |cursor| Ord::min(cursor.before, end));
    let (rows, next) = match search::source(db, filter).await? {
        Some(source) => search::newest(db, filter, &source, floor..top, limit).await?,
        None => {
            let mut rows = newest(select(filter), top, floor, limit, db).await?;
            let next = truncate(&mut rows, limit);
            (rows, next)
        }
    };
    Ok(Page { rows: summaries(db, rows).await?, next: next.map(|before| Cursor { before }) })
}

/// The newest callbacks of a merchant that name a foreign id, at most `limit`, newest first.
pub async fn of_foreign_id(
    db: &Db,
    merchant: MerchantId,
    foreign_id: &str,
    limit: u64,
) -> Result<Vec<CallbackId>, StoreError> {
    let filter = Filter { merchant: Some(merchant), foreign_id: Some(foreign_id.to_owned()), ..Filter::default() };
    let Some(source) = search::source(db, &filter).await? else { return Ok(Vec::new()) };
    let (mut ids, mut end) = (Vec::new(), newest_id(db).await?.saturating_add(1));
    loop {
        let room = limit.saturating_sub(u64::try_from(ids.len()).unwrap_or(u64::MAX));
        let (rows, next) = search::newest(db, &filter, &source, 0..end, room).await?;
        ids.extend(rows.into_iter().map(|row| CallbackId(row.id)));
        match next {
            Some(next) if u64::try_from(ids.len()).is_ok_and(|found| found < limit) => end = next,
            Some(_) | None => return Ok(ids),
        }
    }
}

/// Held and failed callbacks that a filter means, oldest first: the others stand as they stand.
pub async fn waiting(db: &Db, filter: &Filter, after: CallbackId, limit: u64) -> Result<Vec<CallbackId>, StoreError> {
    let mut query = select(filter).filter(Expr::cust(WAITING)).filter(Column::Id.gt(after.0));
    if let Some(q) = &filter.q {
        query = query.filter(Condition::any().add(by_index(q)).add(by_scan(q, db.kind)));
    }
    let query = query.select_only().column(Column::Id).order_by_asc(Column::Id).limit(limit);
    let ids: Vec<i64> = query.into_tuple().all(&db.orm).await?;
    Ok(ids.into_iter().map(CallbackId).collect())
}

/// The lines of these callbacks, as far as they exist, oldest first.
pub async fn of_ids(db: &Db, ids: &[CallbackId]) -> Result<Vec<Summary>, StoreError> {
    let query = Entity::find().filter(Column::Id.is_in(ids.iter().map(|id| id.0))).order_by_asc(Column::Id);
    let rows = query.select_only().columns(ROW).into_model::<Row>().all(&db.orm).await?;
    summaries(db, rows).await
}

/// The bodies of these callbacks, oldest first. A pruned one is left out: there is nothing to decide.
pub async fn load(db: &Db, ids: &[CallbackId]) -> Result<Vec<StoredBody>, StoreError> {
    type Stored = (i64, i16, i16, Vec<u8>, String, Option<Vec<u8>>, i64);
    let columns = [
        Column::Id,
        Column::MerchantId,
        Column::Origin,
        Column::Signature,
        Column::Headers,
        Column::Body,
        Column::ReceivedUs,
    ];
    let query = Entity::find().filter(Column::Id.is_in(ids.iter().map(|id| id.0))).order_by_asc(Column::Id);
    let rows: Vec<Stored> = query.select_only().columns(columns).into_tuple().all(&db.orm).await?;
    let body = |(id, merchant, from, signature, headers, body, received_us): Stored| {
        let body = body?;
        let origin = origin(id, from);
        let signature = signature.try_into().map_err(|_bytes| corrupt(id, "a signature that is not 64 bytes"));
        let (id, merchant) = (CallbackId(id), MerchantId(merchant));
        Some(signature.and_then(|signature| {
            Ok(StoredBody { id, merchant, origin: origin?, signature, headers, body, received_us })
        }))
    };
    rows.into_iter().filter_map(body).collect()
}

/// How many callbacks are held, and how many failed.
pub async fn open_counts(db: &Db) -> Result<OpenCounts, StoreError> {
    let query = Entity::find().filter(Expr::cust(WAITING)).select_only().column(Column::State);
    let query = query.column_as(Column::Id.count(), "callbacks").group_by(Column::State);
    let counts: Vec<(i16, i64)> = query.into_tuple().all(&db.orm).await?;
    let of = |state: State| {
        let found = counts.iter().find(|(code, _)| *code == state.code());
        found.map_or(0, |(_, count)| u64::try_from(*count).unwrap_or_default())
    };
    Ok(OpenCounts { held: of(State::Held), failed: of(State::Failed) })
}

/// As the partial index has it: written out, because a bound value proves nothing when the query is planned.
const WAITING: &str = "state >= 3";

fn in_state(query: Select<Entity>, state: State) -> Select<Entity> {
    let query = query.filter(Column::State.eq(state.code()));
    let is_waiting = matches!(state, State::Held | State::Failed);
    if is_waiting { query.filter(Expr::cust(WAITING)) } else { query }
}

/// All of a filter but `q`, and `since` as far as the order of arrival doesn't settle it.
fn select(filter: &Filter) -> Select<Entity> {
    let mut query = Entity::find();
    if let Some(state) = filter.state {
        query = in_state(query, state);
    }
    let texts =
        [(Column::Type, &filter.kind), (Column::Status, &filter.status), (Column::ForeignId, &filter.foreign_id)];
    for (column, value) in texts {
        query = query.filter(Condition::all().add_option(value.as_ref().map(|value| column.eq(value.as_str()))));
    }
    let merchant = filter.merchant.map(|id| Column::MerchantId.eq(id.0));
    let since = filter.since_us.map(|since_us| Column::ReceivedUs.gte(since_us));
    let until = filter.until_us.map(|until_us| Column::ReceivedUs.lt(until_us));
    // Orders are ours, and have lists of their own.
    let ours = Column::Origin.ne(Origin::Order.code());
    query.filter(Condition::all().add(ours).add_option(merchant).add_option(since).add_option(until))
}

/// The number that `callbacks_once` starts with, where a payment's id is one.
fn locality(q: &str) -> Option<i64> {
    q.parse().ok().filter(|id| *id >= 0)
}

fn by_index(q: &str) -> Condition {
    let by_payment = locality(q).map(|id| Column::Locality.eq(id).and(Column::ExtId.eq(q)));
    Condition::any().add(Column::ForeignId.eq(q)).add_option(by_payment)
}

/// What [`by_index`] does not find.
fn by_scan(q: &str, kind: Kind) -> Condition {
    let line = format!("\n{q}\n");
    let txids = match kind {
        Kind::Postgres => Expr::cust_with_values("strpos(chr(10) || txids || chr(10), $1) > 0", [line]),
        Kind::Sqlite => Expr::cust_with_values("instr(char(10) || txids || char(10), ?) > 0", [line]),
    };
    let by_payment = locality(q).is_none().then(|| Column::ExtId.eq(q));
    let any = Condition::any()
        .add(Column::EndUserReference.eq(q))
        .add(Column::Address.eq(q))
        .add(txids)
        .add_option(by_payment);
    let not_by_foreign_id = Column::ForeignId.is_null().or(Column::ForeignId.ne(q));
    let not_by_payment = locality(q).map(|_| Column::ExtId.is_null().or(Column::ExtId.ne(q)));
    Condition::all().add(any).add(not_by_foreign_id).add_option(not_by_payment)
}

/// One row more than the limit, so that the end of the list is known.
async fn newest(query: Select<Entity>, before: i64, from: i64, limit: u64, db: &Db) -> Result<Vec<Row>, StoreError> {
    let query = query.filter(Column::Id.lt(before)).filter(Column::Id.gte(from)).order_by(Column::Id, Order::Desc);
    let query = query.select_only().columns(ROW).limit(limit.saturating_add(1));
    Ok(query.into_model::<Row>().all(&db.orm).await?)
}

/// Drops what is over the limit; the last id kept if there was more.
fn truncate(rows: &mut Vec<Row>, limit: u64) -> Option<i64> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    rows.last().map(|row| row.id).filter(|_| is_more)
}

async fn newest_id(db: &Db) -> Result<i64, StoreError> {
    let id: Option<i64> =
        Entity::find().select_only().column(Column::Id).order_by_desc(Column::Id).into_tuple().one(&db.orm).await?;
    Ok(id.unwrap_or_default())
}

async fn first_since(db: &Db, since_us: i64) -> Result<i64, StoreError> {
    timeline::first_since::<Entity>(db, Column::Id, Column::ReceivedUs, newest_id(db).await?, since_us).await
}

async fn first_beyond(db: &Db, until_us: i64) -> Result<i64, StoreError> {
    timeline::first_beyond::<Entity>(db, Column::Id, Column::ReceivedUs, newest_id(db).await?, until_us).await
}

async fn summaries(db: &Db, rows: Vec<Row>) -> Result<Vec<Summary>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let merchants = merchants::all(db).await?;
    let again = redeliveries(db, rows.iter().map(|row| row.id)).await?;
    let customers = customer_names(db, rows.iter().filter_map(|row| row.customer_id)).await?;
    let summary = |row: Row| {
        let state = State::from_code(row.state).ok_or_else(|| corrupt(row.id, "an unknown state"))?;
        Ok(Summary {
            id: CallbackId(row.id),
            merchant: merchants.0.get(&row.merchant_id).cloned().unwrap_or_else(|| row.merchant_id.to_string()),
            kind: row.r#type,
            status: row.status,
            state,
            reason: reason(row.id, row.reason)?,
            payment_id: row.ext_id,
            foreign_id: row.foreign_id,
            end_user_reference: row.end_user_reference,
            customer: row.customer_id.and_then(|id| customers.get(&id).cloned()),
            deliveries: again.get(&row.id).copied().unwrap_or_default().saturating_add(1),
            received_us: row.received_us,
        })
    };
    rows.into_iter().map(summary).collect()
}

async fn redeliveries(db: &Db, ids: impl Iterator<Item = i64>) -> Result<HashMap<i64, i64>, StoreError> {
    use entity::redelivery::{Column, Entity};
    let query = Entity::find().filter(Column::CallbackId.is_in(ids)).select_only();
    let rows: Vec<(i64, i64)> = query.columns([Column::CallbackId, Column::Count]).into_tuple().all(&db.orm).await?;
    Ok(rows.into_iter().collect())
}

/// The names of customers, by their numbers.
pub async fn customer_names(db: &Db, ids: impl Iterator<Item = i64>) -> Result<HashMap<i64, String>, StoreError> {
    use entity::customer::{Column, Entity};
    let mut ids: Vec<i64> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let query = Entity::find().filter(Column::Id.is_in(ids)).select_only().columns([Column::Id, Column::Name]);
    let rows: Vec<(i64, String)> = query.into_tuple().all(&db.orm).await?;
    Ok(rows.into_iter().collect())
}

fn reason(id: i64, code: Option<i16>) -> Result<Option<Reason>, StoreError> {
    let known = |code| Reason::from_code(code).ok_or_else(|| corrupt(id, "an unknown reason"));
    code.map(known).transpose()
}

fn origin(id: i64, code: i16) -> Result<Origin, StoreError> {
    let found = Origin::ALL.into_iter().find(|origin| origin.code() == code);
    found.ok_or_else(|| corrupt(id, "an unknown origin"))
}

fn corrupt(id: i64, what: &str) -> StoreError {
    StoreError::Corrupt(format!("callback {id} has {what}"))
}
