//! Events as they are read from the journal: each entry with what its callback says, composed the same way for every
//! reader. Never reads a body, never skips a position: a hole means a broken journal, and is an error.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row as _};

use super::{Db, Kind, StoreError};
use crate::domain::amount::Amount;
use crate::domain::callback::Head;
use crate::domain::event::{Event, EventType, Told, compose};
use crate::domain::journal::{Effect, EffectKey};
use crate::domain::payment::Family;
use crate::domain::reason::Reason;

/// The name of each merchant by the number it goes by.
pub struct MerchantNames(pub HashMap<i16, String>);

/// How far a reader at some position is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    pub pending: i64,
    /// When the oldest entry not yet read was written.
    pub oldest_us: Option<i64>,
}

/// What both databases are asked; how a callback and a customer are looked up differs.
macro_rules! question {
    ($callback:literal, $customer:literal) => {
        concat!(
            "SELECT j.position, j.merchant_id, j.event, j.effect, j.reason, j.postings, j.callback_id, j.at_us, j.currency,
                CAST(j.amount AS text), CAST(j.fee AS text), CAST(j.balance_after AS text), c.family, c.digest,
                c.type, c.status, c.ext_id, c.foreign_id, c.end_user_reference, c.address, c.txids, u.name
             FROM journal j ",
            $callback,
            $customer,
            " WHERE j.position > $1 ORDER BY j.position LIMIT $2"
        )
    };
}

// `LIMIT 1` keeps the planner at one look-up by key for each entry: it must never scan a table for a page of them.
const POSTGRES: &str = question!(
    "JOIN LATERAL (SELECT * FROM callbacks c WHERE c.id = j.callback_id LIMIT 1) c ON true ",
    "LEFT JOIN LATERAL (SELECT u.name FROM customers u WHERE u.id = j.customer_id LIMIT 1) u ON true"
);
const SQLITE: &str =
    question!("JOIN callbacks c ON c.id = j.callback_id ", "LEFT JOIN customers u ON u.id = j.customer_id");

/// The events after a position, oldest first, at most `limit`.
pub async fn after(db: &Db, names: &MerchantNames, after: i64, limit: u64) -> Result<Vec<Event>, StoreError> {
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut events = Vec::new();
    let mut previous = after;
    let mut keep = |entry: Entry| {
        let expected = previous.saturating_add(1);
        if entry.position != expected {
            let found = entry.position;
            return Err(StoreError::Corrupt(format!("the journal has no entry {expected}; the next is {found}")));
        }
        previous = expected;
        events.push(entry.tell(names)?);
        Ok(())
    };
    if db.kind == Kind::Postgres {
        let query = sqlx::query(POSTGRES).persistent(db.keeps_plans()).bind(after).bind(rows);
        let mut rows = query.fetch(db.orm.get_postgres_connection_pool());
        while let Some(row) = rows.try_next().await? {
            keep(postgres_entry(&row)?)?;
        }
    } else {
        let query = sqlx::query(SQLITE).bind(after).bind(rows);
        let mut rows = query.fetch(db.orm.get_sqlite_connection_pool());
        while let Some(row) = rows.try_next().await? {
            keep(sqlite_entry(&row)?)?;
        }
    }
    Ok(events)
}

/// The journal's last position.
pub async fn last_position(db: &Db) -> Result<i64, StoreError> {
    let head = entity::journal_head::Entity::find_by_id(1_i16).one(&db.orm).await?;
    Ok(head.ok_or_else(|| StoreError::Corrupt("the journal has no head".into()))?.position)
}

/// What a reader that has come to `position` has not read yet.
pub async fn backlog(db: &Db, position: i64) -> Result<Backlog, StoreError> {
    let pending = last_position(db).await?.saturating_sub(position).max(0);
    let oldest = entity::journal::Entity::find()
        .select_only()
        .column(entity::journal::Column::AtUs)
        .filter(entity::journal::Column::Position.eq(position.saturating_add(1)));
    let oldest_us = if pending > 0 { oldest.into_tuple().one(&db.orm).await? } else { None };
    Ok(Backlog { pending, oldest_us })
}

/// An entry with what its callback and its customer add.
struct Entry {
    position: i64,
    merchant: i16,
    event: i16,
    effect: i16,
    reason: Option<i16>,
    postings: i16,
    callback: i64,
    at_us: i64,
    currency: Option<String>,
    amount: Option<Amount>,
    fee: Option<Amount>,
    balance_after: Option<Amount>,
    family: i16,
    digest: [u8; 32],
    head: Head,
    customer: Option<String>,
}

macro_rules! entry_from {
    ($name:ident, $row:ty) => {
        fn $name(row: &$row) -> Result<Entry, StoreError> {
            let digest: &[u8] = row.try_get(13)?;
            Ok(Entry {
                position: row.try_get(0)?,
                merchant: row.try_get(1)?,
                event: row.try_get(2)?,
                effect: row.try_get(3)?,
                reason: row.try_get(4)?,
                postings: row.try_get(5)?,
                callback: row.try_get(6)?,
                at_us: row.try_get(7)?,
                currency: row.try_get(8)?,
                amount: amount(row.try_get(9))?,
                fee: amount(row.try_get(10))?,
                balance_after: amount(row.try_get(11))?,
                family: row.try_get(12)?,
                digest: digest.try_into().map_err(|_length| StoreError::Corrupt("a digest is not 32 bytes".into()))?,
                head: Head {
                    kind: row.try_get(14)?,
                    status: row.try_get(15)?,
                    payment_id: row.try_get(16)?,
                    foreign_id: row.try_get(17)?,
                    end_user_reference: row.try_get(18)?,
                    address: row.try_get(19)?,
                    txids: lines(row.try_get(20)?),
                },
                customer: row.try_get(21)?,
            })
        }
    };
}

entry_from!(postgres_entry, PgRow);
entry_from!(sqlite_entry, SqliteRow);

fn amount(text: Result<Option<&str>, Error>) -> Result<Option<Amount>, StoreError> {
    let parse = |text: &str| {
        Amount::parse(text).map_err(|error| StoreError::Corrupt(format!("the journal has the amount {text}: {error}")))
    };
    text?.map(parse).transpose()
}

fn lines(text: Option<&str>) -> Vec<String> {
    text.map(|text| text.split('\n').map(str::to_owned).collect()).unwrap_or_default()
}

impl Entry {
    fn tell(&self, names: &MerchantNames) -> Result<Event, StoreError> {
        let nonsense = |what: &str| StoreError::Corrupt(format!("journal entry {}: {what}", self.position));
        let event = EventType::from_code(self.event).ok_or_else(|| nonsense("no such event"))?;
        let merchant = names.0.get(&self.merchant).ok_or_else(|| nonsense("a merchant that is not known"))?;
        let reason = self.reason.map(|code| Reason::from_code(code).ok_or_else(|| nonsense("no such reason")));
        let key = self.key().ok_or_else(|| nonsense("no effect key can be made"))?;
        Ok(compose(&Told {
            event,
            position: self.position,
            at_us: self.at_us,
            merchant,
            key: &key,
            customer: self.customer.as_deref(),
            head: &self.head,
            callback_id: Some(self.callback),
            currency: self.currency.as_deref(),
            amount: self.amount,
            fee: self.fee,
            balance_after: self.balance_after,
            moved_money: self.postings > 0,
            reason: reason.transpose()?,
        }))
    }

    fn key(&self) -> Option<EffectKey> {
        let effect = Effect::from_code(self.effect)?;
        if effect.is_of_callback() {
            return Some(EffectKey::OfCallback { digest: self.digest, effect });
        }
        let payment_id = self.head.payment_id.clone()?;
        Some(EffectKey::OfPayment { family: Family::from_code(self.family)?, payment_id, effect })
    }
}
