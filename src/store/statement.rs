//! What moved accounts, newest first, with the balance after each entry: a customer's statement, and the postings of one
//! account. Reads only.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::entries::{self, Account, Entry, Posting};
use super::lines::{self, Line, Place, Range};
use super::{Db, StoreError, timeline};
use crate::domain::amount::Amount;
use crate::domain::ids::CustomerId;

/// A customer's accounts that one statement is made of, at most: two for each currency.
const ACCOUNTS_MAX: u64 = 1_000;

/// Which lines are meant. Nothing set means all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    pub since_us: Option<i64>,
    pub until_us: Option<i64>,
}

/// What one entry did to one account.
#[derive(Debug, Clone)]
pub struct StatementLine {
    pub place: Place,
    pub account: Account,
    /// Positive in the account's usual sense.
    pub change: Amount,
    /// Of the account, after the entry.
    pub balance: Amount,
    pub entry: Entry,
}

#[derive(Debug)]
pub struct Page {
    pub rows: Vec<StatementLine>,
    pub next: Option<Place>,
}

/// One posting, seen from one of its accounts.
#[derive(Debug, Clone)]
pub struct AccountPosting {
    pub posting: Posting,
    pub change: Amount,
    pub balance: Amount,
    pub entry: Entry,
}

/// Where a list of postings goes on: before this ordinal of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostingPlace {
    pub position: i64,
    pub ordinal: i16,
}

impl PostingPlace {
    /// The inverse of `Display`.
    pub fn parse(text: &str) -> Option<Self> {
        let (position, ordinal) = text.split_once('.')?;
        let position = position.parse().ok().filter(|position| *position >= 0)?;
        Some(Self { position, ordinal: ordinal.parse().ok().filter(|ordinal| *ordinal >= 0)? })
    }
}

impl std::fmt::Display for PostingPlace {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.position, self.ordinal)
    }
}

/// A page of a customer's statement, newest first.
pub async fn of_customer(
    db: &Db,
    customer: CustomerId,
    currency: Option<&str>,
    span: &Span,
    after: Option<Place>,
    limit: u64,
) -> Result<Page, StoreError> {
    let ids = accounts_of(db, customer, currency).await?;
    let range = range(db, span, after.unwrap_or(Place::END)).await?;
    let mut lines = lines::newest(db, &ids, range, limit.saturating_add(1)).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = lines.len() > most;
    lines.truncate(most);
    let next = lines.last().map(|line| line.place).filter(|_| is_more);
    let accounts = entries::accounts(db, ids.into_iter()).await?;
    let entries = entries_of(db, &lines).await?;
    let rows = lines.iter().map(|line| told(line, &accounts, &entries)).collect::<Result<_, _>>()?;
    Ok(Page { rows, next })
}

/// A page of an account's postings, newest first, and where to go on. `None`: there is no such account.
pub async fn of_account(
    db: &Db,
    account: i64,
    span: &Span,
    after: Option<PostingPlace>,
    limit: u64,
) -> Result<Option<(Vec<AccountPosting>, Option<PostingPlace>)>, StoreError> {
    if !entries::accounts(db, std::iter::once(account)).await?.contains_key(&account) {
        return Ok(None);
    }
    // The entry that the last page ended in is looked at again: it may have more postings.
    let before = after.map_or(Place::END, |after| Place { position: after.position, account: i64::MAX });
    let range = range(db, span, before).await?;
    // One entry more to know whether there is more, and one for that of the last page.
    let lines = lines::newest(db, &[account], range, limit.saturating_add(2)).await?;
    let entries = entries_of(db, &lines).await?;
    let mut rows = Vec::new();
    for line in &lines {
        let entry = entries.get(&line.place.position).ok_or_else(|| torn(line))?;
        let mut balance = line.balance;
        for posting in entry.postings.iter().rev() {
            let Some(change) = change(posting, account) else { continue };
            let (entry, posting) = (entry.clone(), posting.clone());
            rows.push(AccountPosting { posting, change, balance, entry });
            balance = balance.checked_sub(change).ok_or_else(|| torn(line))?;
        }
    }
    let place = |row: &AccountPosting| PostingPlace { position: row.entry.position, ordinal: row.posting.ordinal };
    if let Some(after) = after {
        rows.retain(|row| (row.entry.position, row.posting.ordinal) < (after.position, after.ordinal));
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = rows.len() > most;
    rows.truncate(most);
    let next = rows.last().map(place).filter(|_| is_more);
    Ok(Some((rows, next)))
}

/// The accounts of a customer, oldest first.
async fn accounts_of(db: &Db, customer: CustomerId, currency: Option<&str>) -> Result<Vec<i64>, StoreError> {
    use entity::account::{Column, Entity};
    let currency = currency.map(|currency| Column::Currency.eq(currency));
    let query = Entity::find().filter(Column::CustomerId.eq(customer.0)).filter(Condition::all().add_option(currency));
    let query = query.select_only().column(Column::Id).order_by_asc(Column::Id).limit(ACCOUNTS_MAX);
    Ok(query.into_tuple().all(&db.orm).await?)
}

async fn range(db: &Db, span: &Span, before: Place) -> Result<Range, StoreError> {
    let from_position = match span.since_us {
        Some(since_us) => timeline::position_before(db, since_us).await?.saturating_add(1),
        None => 0,
    };
    let before = match span.until_us {
        Some(until_us) => {
            let end = timeline::position_after(db, until_us).await?;
            Ord::min(before, Place { position: end, account: 0 })
        }
        None => before,
    };
    let since_us = span.since_us.unwrap_or(i64::MIN);
    Ok(Range { before, from_position, since_us, until_us: span.until_us.unwrap_or(i64::MAX) })
}

async fn entries_of(db: &Db, lines: &[Line]) -> Result<HashMap<i64, Entry>, StoreError> {
    let mut positions: Vec<i64> = lines.iter().map(|line| line.place.position).collect();
    positions.dedup();
    entries::at(db, &positions).await
}

fn told(
    line: &Line,
    accounts: &HashMap<i64, Account>,
    entries: &HashMap<i64, Entry>,
) -> Result<StatementLine, StoreError> {
    let (place, balance) = (line.place, line.balance);
    let entry = entries.get(&place.position).cloned().ok_or_else(|| torn(line))?;
    let account = accounts.get(&place.account).cloned().ok_or_else(|| torn(line))?;
    let mut sum = Amount::ZERO;
    for change in entry.postings.iter().filter_map(|posting| change(posting, place.account)) {
        sum = sum.checked_add(change).ok_or_else(|| torn(line))?;
    }
    Ok(StatementLine { place, account, change: sum, balance, entry })
}

/// What a posting does to an account, in the account's usual sense.
fn change(posting: &Posting, account: i64) -> Option<Amount> {
    let (side, is_debit) = if posting.debit.id == account {
        (&posting.debit, true)
    } else if posting.credit.id == account {
        (&posting.credit, false)
    } else {
        return None;
    };
    let grows = side.kind.grows_by_debit() == is_debit;
    Some(if grows { posting.amount } else { posting.amount.negated() })
}

fn torn(line: &Line) -> StoreError {
    let Place { position, account } = line.place;
    StoreError::Corrupt(format!("the line of account {account} at {position} has no entry that bears it out"))
}
