//! The terms that callbacks are found by, written down at a distance from the callbacks: what they have not reached yet
//! is looked through by whoever searches.

use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, Condition, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};

use super::booking::State;
use super::lines::Followed;
use super::{Db, Kind, StoreError, cursor};
use crate::domain::callback::{Head, Origin};
use crate::domain::search::{Term, terms};
use crate::processor::wire;
use entity::callback::{Column, Entity};
use entity::{callback_class as class, callback_term as term};

/// The cursor over the callbacks.
pub const CURSOR: &str = "terms";
/// Rows of one insert: below SQLite's limit of parameters.
const INSERT_ROWS: usize = 6_000;
/// Classes that a filter may mean: beyond, it means too many callbacks to need an index.
const CLASSES_MAX: u64 = 200;

/// What a callback's terms are made of.
#[derive(FromQueryResult)]
pub(super) struct Named {
    pub id: i64,
    pub merchant_id: i16,
    pub state: i16,
    pub r#type: Option<String>,
    pub status: Option<String>,
    pub ext_id: Option<String>,
    pub foreign_id: Option<String>,
    pub end_user_reference: Option<String>,
    pub address: Option<String>,
    pub txids: Option<String>,
    pub body: Option<Vec<u8>>,
}

pub(super) const NAMED: [Column; 11] = [
    Column::Id,
    Column::MerchantId,
    Column::State,
    Column::Type,
    Column::Status,
    Column::ExtId,
    Column::ForeignId,
    Column::EndUserReference,
    Column::Address,
    Column::Txids,
    Column::Body,
];

impl Named {
    pub(super) fn terms(&self) -> Vec<Term> {
        let money = self.body.as_deref().and_then(|body| wire::read(body).terms.ok());
        let head = Head {
            kind: None,
            status: None,
            payment_id: self.ext_id.clone(),
            foreign_id: self.foreign_id.clone(),
            end_user_reference: self.end_user_reference.clone(),
            address: self.address.clone(),
            txids: self.txids.iter().flat_map(|txids| txids.lines()).map(str::to_owned).collect(),
        };
        terms(&head, money.as_ref())
    }

    fn class(&self) -> class::Model {
        let (merchant_id, state) = (self.merchant_id, self.state);
        let term = Term::of_class(merchant_id, state, self.r#type.as_deref(), self.status.as_deref());
        class::Model { term: term.0, merchant_id, state, r#type: self.r#type.clone(), status: self.status.clone() }
    }
}

/// Follows the callbacks by a step of so many: the terms and the cursor move together, or not at all.
pub async fn follow(db: &Db, step: i64) -> Result<Followed, StoreError> {
    let newest = newest_id(db).await?;
    let from = cursor::state(db, CURSOR).await?.position;
    let to = Ord::min(newest, from.saturating_add(step));
    if to <= from {
        return Ok(Followed { taken: 0, pending: 0 });
    }
    let query = Entity::find().filter(Column::Id.gt(from)).filter(Column::Id.lte(to));
    let query = query.filter(Column::Origin.ne(Origin::Order.code())).select_only().columns(NAMED);
    let mut found = Vec::new();
    let mut classes = BTreeMap::new();
    for named in query.into_model::<Named>().all(&db.orm).await? {
        let class = named.class();
        found.push((class.term, named.id));
        classes.insert(class.term, class);
        found.extend(named.terms().into_iter().map(|term| (term.0, named.id)));
    }
    // In the order of the index, so that each of its pages is touched once.
    found.sort_unstable();
    let is_ours = write(db, from, to, &found, &classes.into_values().collect::<Vec<_>>()).await?;
    let taken = if is_ours { to.saturating_sub(from) } else { 0 };
    Ok(Followed { taken, pending: newest.saturating_sub(to) })
}

/// The newest callbacks of any of these terms within a range of numbers, newest first.
pub(super) async fn newest(
    db: &Db,
    terms: &[Term],
    range: std::ops::Range<i64>,
    limit: u64,
) -> Result<Vec<i64>, StoreError> {
    let mut ids: Vec<i64> = Vec::new();
    for wanted in terms {
        let query = term::Entity::find()
            .filter(term::Column::Term.eq(wanted.0))
            .filter(term::Column::CallbackId.lt(range.end))
            .filter(term::Column::CallbackId.gte(range.start));
        let query = query.order_by_desc(term::Column::CallbackId).limit(limit);
        ids.extend(query.select_only().column(term::Column::CallbackId).into_tuple::<i64>().all(&db.orm).await?);
    }
    ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
    ids.dedup();
    ids.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(ids)
}

/// The classes that a filter means. A state may have changed since it was written down: one that waited may have been
/// decided. `None`: too many to go by.
pub(super) async fn classes(
    db: &Db,
    merchant: Option<i16>,
    state: Option<State>,
    kind: Option<&str>,
    status: Option<&str>,
) -> Result<Option<Vec<Term>>, StoreError> {
    use class::Column;
    let waiting = [State::Held, State::Failed];
    let states = state.map(|state| Column::State.is_in(waiting.into_iter().chain([state]).map(State::code)));
    let condition = Condition::all()
        .add_option(merchant.map(|id| Column::MerchantId.eq(id)))
        .add_option(states)
        .add_option(kind.map(|kind| Column::Type.eq(kind)))
        .add_option(status.map(|status| Column::Status.eq(status)));
    let query = class::Entity::find().filter(condition).select_only().column(Column::Term);
    let terms: Vec<i64> = query.limit(CLASSES_MAX.saturating_add(1)).into_tuple().all(&db.orm).await?;
    let is_few = u64::try_from(terms.len()).is_ok_and(|found| found <= CLASSES_MAX);
    Ok(is_few.then(|| terms.into_iter().map(Term).collect()))
}

async fn newest_id(db: &Db) -> Result<i64, StoreError> {
    let query = Entity::find().select_only().column(Column::Id).order_by_desc(Column::Id);
    let id: Option<i64> = query.into_tuple().one(&db.orm).await?;
    Ok(id.unwrap_or_default())
}

async fn write(
    db: &Db,
    from: i64,
    to: i64,
    found: &[(i64, i64)],
    classes: &[class::Model],
) -> Result<bool, StoreError> {
    if db.kind == Kind::Postgres {
        let mut transaction = db.orm.get_postgres_connection_pool().begin().await?;
        let moved = sqlx::query(cursor::MOVE).bind(CURSOR).bind(from).bind(to).execute(&mut *transaction).await?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO callback_classes (term, merchant_id, state, type, status)
             SELECT * FROM unnest($1::int8[], $2::int2[], $3::int2[], $4::text[], $5::text[]) ON CONFLICT DO NOTHING",
        )
        .bind(classes.iter().map(|class| class.term).collect::<Vec<_>>())
        .bind(classes.iter().map(|class| class.merchant_id).collect::<Vec<_>>())
        .bind(classes.iter().map(|class| class.state).collect::<Vec<_>>())
        .bind(classes.iter().map(|class| class.r#type.as_deref()).collect::<Vec<_>>())
        .bind(classes.iter().map(|class| class.status.as_deref()).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
        let (terms, ids): (Vec<i64>, Vec<i64>) = found.iter().copied().unzip();
        sqlx::query("INSERT INTO callback_terms (term, callback_id) SELECT * FROM unnest($1::int8[], $2::int8[])")
            .bind(terms)
            .bind(ids)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        return Ok(true);
    }
    let mut transaction = db.orm.get_sqlite_connection_pool().begin().await?;
    let moved = sqlx::query(cursor::MOVE).bind(CURSOR).bind(from).bind(to).execute(&mut *transaction).await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    for classes in classes.chunks(INSERT_ROWS) {
        let mut insert =
            sqlx::QueryBuilder::new("INSERT INTO callback_classes (term, merchant_id, state, type, status) ");
        insert.push_values(classes, |mut row, class| {
            row.push_bind(class.term).push_bind(class.merchant_id).push_bind(class.state);
            row.push_bind(class.r#type.as_deref()).push_bind(class.status.as_deref());
        });
        insert.push(" ON CONFLICT DO NOTHING").build().persistent(false).execute(&mut *transaction).await?;
    }
    for found in found.chunks(INSERT_ROWS) {
        let mut insert = sqlx::QueryBuilder::new("INSERT INTO callback_terms (term, callback_id) ");
        insert.push_values(found, |mut row, (term, id)| {
            row.push_bind(*term).push_bind(*id);
        });
        insert.build().persistent(false).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(true)
}
