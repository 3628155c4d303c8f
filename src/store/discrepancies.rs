//! What someone must look at, and what people said about it. The discrepancies themselves are the booker's; notes and
//! owners are written here, each with its row of the audit log.

use sea_orm::sea_query::{OnConflict, Query};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, Condition, EntityTrait, PaginatorTrait as _, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::audit_log::{self, Actor, Deed};
use super::callbacks::{Discrepancy, of_ids, opened};
use super::{Db, StoreError};
use crate::domain::amount::Amount;
use crate::domain::ids::{CallbackId, MerchantId};
use crate::domain::journal::Effect;
use crate::domain::reason::Reason;
use entity::discrepancy::{Column, Entity, Model};
use entity::{discrepancy_note, discrepancy_owner};

#[derive(Debug)]
pub struct Page {
    pub rows: Vec<Listed>,
    pub next: Option<i64>,
}

/// A discrepancy with what a list shows of it.
#[derive(Debug)]
pub struct Listed {
    pub discrepancy: Discrepancy,
    pub merchant: MerchantId,
    pub owner: Option<String>,
    /// Whose it is as far as anybody knows: the customer, or what the callback calls them.
    pub customer: Option<String>,
    /// What stands in suspense; nothing of a callback that is held.
    pub money: Option<(String, Amount)>,
    /// Money in suspense; otherwise a callback that is held, or what reconciliation found.
    pub is_suspense: bool,
    pub is_found: bool,
}

impl Listed {
    pub const fn kind(&self) -> &'static str {
        match (self.is_suspense, self.is_found) {
            (true, _) => "suspense",
            (false, true) => "found",
            (false, false) => "held",
        }
    }
}

/// Which discrepancies are meant. Nothing set means all of them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Open ones, or resolved ones.
    pub is_open: Option<bool>,
    pub merchant: Option<MerchantId>,
    pub reason: Option<Reason>,
    pub owner: Option<String>,
    pub since_us: Option<i64>,
    pub until_us: Option<i64>,
}

/// What kind of note. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    Comment,
    Evidence,
    /// A payment that it belongs to.
    Link,
}

impl NoteKind {
    pub const ALL: [Self; 3] = [Self::Comment, Self::Evidence, Self::Link];

    const fn code(self) -> i16 {
        match self {
            Self::Comment => 1,
            Self::Evidence => 2,
            Self::Link => 3,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Comment => "comment",
            Self::Evidence => "evidence",
            Self::Link => "link",
        }
    }
}

#[derive(Debug)]
pub struct Note {
    pub kind: NoteKind,
    pub at_us: i64,
    pub who: String,
    pub text: String,
}

/// How many are open.
pub async fn open_count(db: &Db) -> Result<u64, StoreError> {
    Ok(Entity::find().filter(Column::ResolvedUs.is_null()).count(&db.orm).await?)
}

/// A page of discrepancies, newest first; `before` is the last page's cursor.
pub async fn list(db: &Db, filter: &Filter, before: Option<i64>, limit: u64) -> Result<Page, StoreError> {
    let open =
        filter.is_open.map(|is| if is { Column::ResolvedUs.is_null() } else { Column::ResolvedUs.is_not_null() });
    let owned = filter.owner.as_ref().map(|owner| {
        use discrepancy_owner::Column as Owned;
        let of = Query::select().column(Owned::Discrepancy).from(discrepancy_owner::Entity).to_owned();
        Column::Position.in_subquery(of.clone().and_where(Owned::Owner.eq(owner.as_str())).to_owned())
    });
    let all = Condition::all()
        .add(Column::Position.lt(before.unwrap_or(i64::MAX)))
        .add_option(open)
        .add_option(filter.merchant.map(|id| Column::MerchantId.eq(id.0)))
        .add_option(filter.reason.map(|reason| Column::Reason.eq(reason.code())))
        .add_option(filter.since_us.map(|at| Column::OpenedUs.gte(at)))
        .add_option(filter.until_us.map(|at| Column::OpenedUs.lt(at)))
        .add_option(owned);
    let query = Entity::find().filter(all).order_by_desc(Column::Position);
    let mut rows = query.limit(limit.saturating_add(1)).all(&db.orm).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|row| row.position).filter(|_| is_more);
    Ok(Page { rows: described(db, rows).await?, next })
}

pub async fn get(db: &Db, id: i64) -> Result<Option<Listed>, StoreError> {
    let row = Entity::find_by_id(id).one(&db.orm).await?;
    Ok(described(db, row.into_iter().collect()).await?.pop())
}

async fn described(db: &Db, rows: Vec<Model>) -> Result<Vec<Listed>, StoreError> {
    use entity::journal;
    let mut ids: Vec<_> = rows.iter().map(|row| CallbackId(row.callback_id)).collect();
    ids.dedup();
    let callbacks = of_ids(db, &ids).await?;
    let positions: Vec<i64> = rows.iter().map(|row| row.position).collect();
    let owners = discrepancy_owner::Entity::find();
    let owners = owners.filter(discrepancy_owner::Column::Discrepancy.is_in(positions.clone())).all(&db.orm).await?;
    let entries = journal::Entity::find().filter(journal::Column::Position.is_in(positions)).all(&db.orm).await?;
    let listed = |row: Model| {
        let callback = callbacks.iter().find(|callback| callback.id.0 == row.callback_id);
        let name = callback.map_or_else(|| row.merchant_id.to_string(), |callback| callback.merchant.clone());
        let customer = callback.and_then(|callback| {
            callback.customer.as_ref().or(callback.end_user_reference.as_ref()).or(callback.foreign_id.as_ref())
        });
        let customer = customer.cloned();
        let owner = owners.iter().find(|owner| owner.discrepancy == row.position).map(|owner| owner.owner.clone());
        let entry = entries.iter().find(|entry| entry.position == row.position);
        let is = |effect: Effect| entry.is_some_and(|entry| entry.effect == effect.code());
        let (is_suspense, is_found) = (is(Effect::Suspended), is(Effect::Reported));
        let money = entry.and_then(|entry| Some((entry.currency.clone()?, entry.amount.clone()?)));
        let nonsense = |error| StoreError::Corrupt(format!("journal entry {}: {error}", row.position));
        let money =
            money.map(|(currency, text)| Ok::<_, StoreError>((currency, Amount::parse(&text).map_err(nonsense)?)));
        let money = money.transpose()?;
        let merchant = MerchantId(row.merchant_id);
        let discrepancy = opened(row, name, callback.and_then(|callback| callback.payment_id.clone()))?;
        Ok(Listed { discrepancy, merchant, owner, customer, money, is_suspense, is_found })
    };
    rows.into_iter().map(listed).collect()
}

/// The first thousand notes about it, oldest first.
pub async fn notes(db: &Db, id: i64) -> Result<Vec<Note>, StoreError> {
    use discrepancy_note::{Column, Entity};
    let query = Entity::find().filter(Column::Discrepancy.eq(id)).order_by_asc(Column::Id).limit(1_000);
    let kind = |code| NoteKind::ALL.into_iter().find(|kind| kind.code() == code);
    let corrupt = || StoreError::Corrupt(format!("discrepancy {id} has a note of no kind"));
    let note = |row: discrepancy_note::Model| {
        Ok(Note { kind: kind(row.kind).ok_or_else(corrupt)?, at_us: row.at_us, who: row.who, text: row.text })
    };
    query.all(&db.orm).await?.into_iter().map(note).collect()
}

/// Adds a note.
pub async fn say(
    db: &Db,
    id: i64,
    kind: NoteKind,
    text: &str,
    (actor, now_us): (&Actor, i64),
) -> Result<(), StoreError> {
    let txn = db.begin().await?;
    let row = discrepancy_note::ActiveModel {
        id: ActiveValue::NotSet,
        discrepancy: ActiveValue::Set(id),
        kind: ActiveValue::Set(kind.code()),
        at_us: ActiveValue::Set(now_us),
        who: ActiveValue::Set(actor.name.clone()),
        text: ActiveValue::Set(text.to_owned()),
    };
    row.insert(&txn).await?;
    let after = Some(format!("{}: {text}", kind.word()));
    let subject = format!("discrepancy/{id}");
    let deed = Deed { action: "discrepancy.comment", subject, before: None, after, at_us: now_us };
    audit_log::note(&txn, actor, deed).await?;
    Ok(txn.commit().await?)
}

/// Gives it to somebody, or to nobody.
pub async fn give(db: &Db, id: i64, owner: Option<&str>, actor: &Actor, now_us: i64) -> Result<(), StoreError> {
    use discrepancy_owner::{ActiveModel, Column, Entity};
    let txn = db.begin().await?;
    let before = Entity::find_by_id(id).one(&txn).await?.map(|row| row.owner);
    if let Some(owner) = owner {
        let row = ActiveModel {
            discrepancy: ActiveValue::Set(id),
            owner: ActiveValue::Set(owner.to_owned()),
            since_us: ActiveValue::Set(now_us),
        };
        let again = OnConflict::column(Column::Discrepancy).update_columns([Column::Owner, Column::SinceUs]).to_owned();
        Entity::insert(row).on_conflict(again).exec_without_returning(&txn).await?;
    } else {
        Entity::delete_by_id(id).exec(&txn).await?;
    }
    let after = owner.map(str::to_owned);
    let subject = format!("discrepancy/{id}");
    audit_log::note(&txn, actor, Deed { action: "discrepancy.own", subject, before, after, at_us: now_us }).await?;
    Ok(txn.commit().await?)
}
