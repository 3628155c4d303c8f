//! Payments as the ledger has them, for comparing with what the processor exports: pages of all of them, and a few with
//! what their callbacks said. Reads only.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, ConnectionTrait as _, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value};

use super::cursor::statement;
use super::{Db, StoreError};
use crate::domain::amount::Amount;
use crate::domain::ids::{CallbackId, MerchantId, PaymentId};
use crate::domain::journal::Effect;
use crate::domain::payment::{Family, Status};
use crate::domain::reason::Reason;
use entity::{callback, journal, payment};

/// A payment, as far as most comparisons need it.
#[derive(Debug, Clone)]
pub struct Heard {
    pub payment: PaymentId,
    pub family: Family,
    pub status: Status,
    pub ext_id: String,
    /// When it was first heard of, and when its last status came; 0 where no entry tells.
    pub seen_us: i64,
    pub decided_us: i64,
    /// Currency, amount and fee of the entry that moved its money.
    pub money: Option<(String, Amount, Amount)>,
}

/// What the callback that decided a payment said.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub body: Option<Vec<u8>>,
    pub foreign_id: Option<String>,
    pub address: Option<String>,
    pub txids: Vec<String>,
}

/// A callback that waits: it is known, but not booked.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    pub callback: CallbackId,
    pub reason: Option<Reason>,
}

/// The last number given to a payment.
pub async fn last_payment(db: &Db) -> Result<i64, StoreError> {
    let row = db.orm.query_one_raw(statement(db, "SELECT max(id) FROM payments", [])).await?;
    let last: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
    Ok(last.unwrap_or_default())
}

/// A page of a merchant's payments, in the order in which they were heard of.
pub async fn payments(db: &Db, merchant: MerchantId, after: i64, limit: u64) -> Result<Vec<Heard>, StoreError> {
    let query = payment::Entity::find()
        .filter(payment::Column::MerchantId.eq(merchant.0))
        .filter(payment::Column::Id.gt(after))
        .order_by_asc(payment::Column::Id);
    described(db, query.limit(limit).all(&db.orm).await?).await
}

/// A payment by what the processor calls it.
pub async fn payment(db: &Db, merchant: MerchantId, family: Family, ext_id: &str) -> Result<Option<Heard>, StoreError> {
    let query = payment::Entity::find()
        .filter(payment::Column::ExtId.eq(ext_id))
        .filter(payment::Column::Family.eq(family.code()))
        .filter(payment::Column::MerchantId.eq(merchant.0));
    Ok(described(db, query.all(&db.orm).await?).await?.pop())
}

/// The same by our own numbers.
pub async fn of_ids(db: &Db, ids: &[i64]) -> Result<Vec<Heard>, StoreError> {
    let query = payment::Entity::find().filter(payment::Column::Id.is_in(ids.iter().copied()));
    described(db, query.order_by_asc(payment::Column::Id).all(&db.orm).await?).await
}

type EntryRow = (i64, i16, i64, Option<String>, Option<String>, Option<String>);

// The numbers of neighbouring payments are neighbours in the index, so their entries are one stretch of it.
const ENTRIES: &str = "SELECT subject, effect, at_us, currency, CAST(amount AS text), CAST(fee AS text) FROM journal
    WHERE subject >= $1 AND subject <= $2 AND effect < 32 ORDER BY subject, effect";

async fn described(db: &Db, rows: Vec<payment::Model>) -> Result<Vec<Heard>, StoreError> {
    let mut heard = Vec::with_capacity(rows.len());
    for row in rows {
        let nonsense = |what: &str| StoreError::Corrupt(format!("payment {} has {what}", row.id));
        heard.push(Heard {
            payment: PaymentId(row.id),
            family: Family::from_code(row.family).ok_or_else(|| nonsense("no family"))?,
            status: Status::from_code(row.status).ok_or_else(|| nonsense("no status"))?,
            ext_id: row.ext_id,
            seen_us: 0,
            decided_us: 0,
            money: None,
        });
    }
    let (Some(first), Some(last)) = (heard.first(), heard.last()) else { return Ok(heard) };
    let (first, last) = (first.payment.0, last.payment.0);
    // A few payments that are far apart are asked for one by one.
    let is_stretch = last.saturating_sub(first) <= i64::try_from(heard.len()).unwrap_or(i64::MAX).saturating_mul(8);
    let stretches: Vec<(i64, i64)> = if is_stretch {
        vec![(first, last)]
    } else {
        heard.iter().map(|payment| (payment.payment.0, payment.payment.0)).collect()
    };
    for (from, to) in stretches {
        let values: [Value; 2] = [from.into(), to.into()];
        let mut rest = heard.iter_mut().peekable();
        for row in db.orm.query_all_raw(statement(db, ENTRIES, values)).await? {
            let entry: EntryRow = (
                row.try_get_by_index(0)?,
                row.try_get_by_index(1)?,
                row.try_get_by_index(2)?,
                row.try_get_by_index(3)?,
                row.try_get_by_index(4)?,
                row.try_get_by_index(5)?,
            );
            while rest.next_if(|payment| payment.payment.0 < entry.0).is_some() {}
            if let Some(payment) = rest.peek_mut().filter(|payment| payment.payment.0 == entry.0) {
                payment.take(entry)?;
            }
        }
    }
    Ok(heard)
}

impl Heard {
    fn take(&mut self, (_, effect, at_us, currency, amount, fee): EntryRow) -> Result<(), StoreError> {
        self.seen_us = if self.seen_us == 0 { at_us } else { self.seen_us.min(at_us) };
        self.decided_us = self.decided_us.max(at_us);
        let moves = [Effect::Credited, Effect::Settled, Effect::Suspended].iter().any(|of| of.code() == effect);
        // What went to suspense first has its fee there, and comes last in this order.
        if moves && let (Some(currency), Some(amount)) = (currency, amount) {
            let exact = |text: &str| {
                Amount::parse(text).map_err(|error| StoreError::Corrupt(format!("an entry has {text}: {error}")))
            };
            let fee = fee.as_deref().map(exact).transpose()?.unwrap_or_default();
            self.money = Some((currency, exact(&amount)?, fee));
        }
        Ok(())
    }
}

/// What the callbacks said that decided these payments, by our own numbers.
pub async fn told(db: &Db, ids: &[i64]) -> Result<HashMap<i64, Told>, StoreError> {
    let entries: Vec<(i64, i16, i64)> = journal::Entity::find()
        .select_only()
        .columns([journal::Column::Subject, journal::Column::Effect, journal::Column::CallbackId])
        .filter(journal::Column::Subject.is_in(ids.iter().copied()))
        .filter(journal::Column::Effect.lt(32))
        .into_tuple()
        .all(&db.orm)
        .await?;
    // What moved the money before an operator did; else what came last.
    let rank = |effect: i16| {
        let order = [Effect::Pending, Effect::Closed, Effect::Credited, Effect::Settled, Effect::Suspended];
        order.iter().position(|of| of.code() == effect)
    };
    let mut deciding: HashMap<i64, (Option<usize>, i64)> = HashMap::new();
    for (payment, effect, callback) in entries {
        let found = deciding.entry(payment).or_insert((None, callback));
        if rank(effect) >= found.0 {
            *found = (rank(effect), callback);
        }
    }
    let wanted = deciding.values().map(|(_, callback)| *callback);
    let query = callback::Entity::find().filter(callback::Column::Id.is_in(wanted));
    let bodies: HashMap<i64, callback::Model> =
        query.all(&db.orm).await?.into_iter().map(|row| (row.id, row)).collect();
    let of = |(payment, (_, callback)): (i64, (Option<usize>, i64))| {
        let row = bodies.get(&callback)?;
        let txids = row.txids.as_deref().unwrap_or_default().lines().map(str::to_owned).collect();
        let (foreign_id, address) = (row.foreign_id.clone(), row.address.clone());
        Some((payment, Told { body: row.body.clone(), foreign_id, address, txids }))
    };
    Ok(deciding.into_iter().filter_map(of).collect())
}

/// The callback about a payment that waits for someone, or for the database. Only ids that are numbers can be looked for.
pub async fn waiting(
    db: &Db,
    merchant: MerchantId,
    family: Family,
    ext_id: &str,
) -> Result<Option<Waiting>, StoreError> {
    use callback::Column;
    let Some(locality) = ext_id.parse::<i64>().ok().filter(|id| *id >= 0) else { return Ok(None) };
    let query = callback::Entity::find()
        .filter(Column::Locality.eq(locality))
        .filter(Column::MerchantId.eq(merchant.0))
        .filter(Column::Family.eq(family.code()))
        .filter(Column::ExtId.eq(ext_id))
        .filter(Column::State.gte(super::booking::State::Held.code()))
        .order_by_desc(Column::Id);
    let found: Option<(i64, Option<i16>)> =
        query.select_only().columns([Column::Id, Column::Reason]).into_tuple().one(&db.orm).await?;
    Ok(found.map(|(id, reason)| Waiting { callback: CallbackId(id), reason: reason.and_then(Reason::from_code) }))
}

/// Whether people booked the money of a payment by hand, instead of what its callback said.
pub async fn is_corrected(db: &Db, merchant: MerchantId, family: Family, ext_id: &str) -> Result<bool, StoreError> {
    use callback::Column;
    let Some(locality) = ext_id.parse::<i64>().ok().filter(|id| *id >= 0) else { return Ok(false) };
    let query = callback::Entity::find()
        .filter(Column::Locality.eq(locality))
        .filter(Column::MerchantId.eq(merchant.0))
        .filter(Column::Family.eq(family.code()))
        .filter(Column::ExtId.eq(ext_id))
        .filter(Column::Reason.eq(Reason::Corrected.code()));
    Ok(query.select_only().column(Column::Id).into_tuple::<i64>().one(&db.orm).await?.is_some())
}

/// Whether an operator decided that a callback books nothing.
pub async fn is_dismissed(db: &Db, callback: CallbackId) -> Result<bool, StoreError> {
    let row = callback::Entity::find_by_id(callback.0).one(&db.orm).await?;
    Ok(row.is_some_and(|row| row.reason == Some(Reason::Dismissed.code())))
}
