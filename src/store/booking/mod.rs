//! The statements of the booking transaction, the same questions on both databases. Multi-row and written by hand:
//! a batch costs a handful of statements whatever its size, on SQLite for each 128 of its members. Only the booker calls
//! this.

pub mod own;
pub mod pool;
mod postgres;
mod postgres_batch;
mod postgres_rows;
pub mod retired;
pub mod sqlite;
mod sqlite_batch;
mod sqlite_rare;

use sqlx::Connection as _;

use super::{Kind, StoreError};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::callback::{Head as CallbackHead, Origin};
use crate::domain::customer::ReferenceKind;
use crate::domain::decide::{Policy, Waived};
use crate::domain::ids::{AccountId, CallbackId, CustomerId, MerchantId, PaymentId};
use crate::domain::journal::Entry;
use crate::domain::payment::{Family, Payment, Status};
use crate::domain::reason::Reason;

/// The journal's head: the last position, hash and number given out of each kind. Whoever locks it writes the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub position: i64,
    pub hash: [u8; 32],
    /// Counts decisions: two heads with the same turn are the same head.
    pub turn: i64,
    pub callback: i64,
    pub payment: i64,
    pub customer: i64,
    pub account: i64,
    /// How often addresses were given up: while it is 0, there is nothing to ask.
    pub retirements: i64,
}

/// By what a callback, its payment and its twin are found.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    pub merchant: MerchantId,
    pub locality: i64,
    pub digest: &'a [u8; 32],
    pub family: Family,
    pub ext_id: Option<&'a str>,
    pub fingerprint: Option<i64>,
}

/// What is stored under a [`Key`].
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub callback: Option<CallbackId>,
    pub payment: Option<Payment>,
    pub has_twin: bool,
}

/// The head, with what was stored at that moment.
#[derive(Debug)]
pub struct Seen {
    pub head: Head,
    /// Under each key, in their order.
    pub found: Vec<Found>,
    /// The customers that references point at.
    pub customers: Vec<(ReferenceKey, CustomerId)>,
}

/// What became of a callback. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Booked,
    Ignored,
    Held,
    Failed,
}

impl State {
    pub const ALL: [Self; 4] = [Self::Booked, Self::Ignored, Self::Held, Self::Failed];

    pub const fn code(self) -> i16 {
        match self {
            Self::Booked => 1,
            Self::Ignored => 2,
            Self::Held => 3,
            Self::Failed => 4,
        }
    }

    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::Ignored => "ignored",
            Self::Held => "held",
            Self::Failed => "failed",
        }
    }
}

/// What was decided about a callback: the part of its row that a later decision may change.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub id: CallbackId,
    pub state: State,
    pub reason: Option<Reason>,
    pub detail: Option<String>,
    pub policy: i16,
    /// How many journal entries, from which position.
    pub entries: i16,
    pub position: i64,
    pub turn: i64,
    pub payment: Option<PaymentId>,
    pub customer: Option<CustomerId>,
    pub decided_us: i64,
}

/// How a stored callback stands before it is decided anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub id: CallbackId,
    pub state: State,
    pub reason: Option<Reason>,
    /// What an operator let pass before.
    pub waived: Waived,
    /// How often booking it failed.
    pub attempts: i32,
}

/// Id, state, reason, policy and failed tries, as they are stored.
type StandingRow = (i64, i16, Option<i16>, i16, i32);

/// What arrived: the part of a callback's row that never changes.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    pub merchant: MerchantId,
    pub locality: i64,
    pub digest: &'a [u8; 32],
    pub origin: Origin,
    pub signature: &'a [u8; 64],
    pub head: &'a CallbackHead,
    pub headers: &'a str,
    pub body: &'a [u8],
    pub received_us: i64,
}

#[derive(Debug, Clone)]
pub struct PaymentRow {
    pub id: PaymentId,
    pub merchant: MerchantId,
    pub family: Family,
    pub ext_id: String,
    pub status: Status,
    pub facts: Option<i64>,
    pub fingerprint: Option<i64>,
    pub customer: Option<CustomerId>,
    pub is_new: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReferenceKey {
    pub merchant: MerchantId,
    pub kind: ReferenceKind,
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccountKey {
    pub merchant: MerchantId,
    pub kind: AccountKind,
    pub customer: Option<CustomerId>,
    pub currency: String,
}

#[derive(Debug, Clone)]
pub struct DiscrepancyRow {
    pub position: i64,
    pub merchant: MerchantId,
    pub reason: Reason,
    pub callback: CallbackId,
    pub payment: Option<PaymentId>,
    pub opened_us: i64,
}

/// All that one batch writes.
#[derive(Debug, Default)]
pub struct Writes<'a> {
    pub arrivals: Vec<(Arrival<'a>, Verdict)>,
    pub verdicts: Vec<Verdict>,
    pub redeliveries: Vec<CallbackId>,
    pub payments: Vec<PaymentRow>,
    pub customers: Vec<(CustomerId, MerchantId, String)>,
    pub references: Vec<(ReferenceKey, CustomerId)>,
    pub new_accounts: Vec<(AccountId, AccountKey, Amount)>,
    pub balances: Vec<(AccountId, Amount)>,
    pub entries: Vec<(Entry, [u8; 32])>,
    pub discrepancies: Vec<DiscrepancyRow>,
    /// Callbacks whose discrepancies are settled by this batch, and how.
    pub released: Vec<(CallbackId, &'static str)>,
    /// The journal's position before this batch: what it opens itself stays open.
    pub released_before: i64,
    pub new_withdrawals: Vec<own::NewWithdrawal>,
    pub turns: Vec<own::Turn>,
    /// Payments that got their customer after they were booked.
    pub owned: Vec<own::Owned>,
    /// Discrepancies that an order settles, and how.
    pub resolved: Vec<(i64, &'static str)>,
    /// What was not looked up: none of it may have a twin. Only `PostgreSQL` is asked without looking.
    pub presumed: Vec<Key<'a>>,
    pub now_us: i64,
}

impl Writes<'_> {
    /// Only repeats, and orders that were declined: the head stays where it is, and nobody looks whether it moved.
    pub const fn decides_nothing(&self) -> bool {
        self.arrivals.is_empty() && self.verdicts.is_empty() && self.references.is_empty()
    }

    /// Rows that most batches have none of: they take statements of their own.
    pub const fn has_rare(&self) -> bool {
        !(self.verdicts.is_empty() && self.discrepancies.is_empty() && self.released.is_empty() && !self.has_orders())
    }

    const fn has_orders(&self) -> bool {
        !(self.new_withdrawals.is_empty() && self.turns.is_empty() && self.owned.is_empty() && self.resolved.is_empty())
    }
}

/// The booker's connection. Dropping it, or an error on it, rolls back whatever was open.
pub enum Connection {
    Postgres(Box<sqlx::PgConnection>),
    Sqlite(Box<sqlx::SqliteConnection>),
}

macro_rules! on_both {
    ($self:ident.$name:ident($($arg:expr),*)) => {
        match $self {
            Self::Postgres(connection) => postgres::$name(connection, $($arg),*).await,
            Self::Sqlite(connection) => sqlite::$name(connection, $($arg),*).await,
        }
    };
}

impl Connection {
    pub(super) async fn open(kind: Kind, url: &str) -> Result<Self, StoreError> {
        Ok(match kind {
            Kind::Postgres => Self::Postgres(Box::new(postgres::open(url).await?)),
            Kind::Sqlite => Self::Sqlite(Box::new(sqlite::open(url).await?)),
        })
    }

    /// Begins a transaction and locks the head: from here on nobody else books until commit or roll-back.
    pub async fn begin(&mut self) -> Result<(), StoreError> {
        on_both!(self.begin())
    }

    /// The head, and what is stored under each key and reference at that moment.
    pub async fn look(&mut self, keys: &[Key<'_>], references: &[ReferenceKey]) -> Result<Seen, StoreError> {
        on_both!(self.look(keys, references))
    }

    /// The accounts that exist, with their balances.
    pub async fn accounts_of(
        &mut self,
        keys: &[AccountKey],
    ) -> Result<Vec<(AccountKey, AccountId, Amount)>, StoreError> {
        on_both!(self.accounts_of(keys))
    }

    /// What was decided about stored callbacks before. Asked under the lock, so that nobody decides in between.
    pub async fn standing(&mut self, ids: &[CallbackId]) -> Result<Vec<Standing>, StoreError> {
        let rows = on_both!(self.standing(ids))?;
        rows.into_iter()
            .map(|(id, state, reason, policy, attempts)| {
                let state = State::from_code(state)
                    .ok_or_else(|| StoreError::Corrupt(format!("callback {id}: state {state}")))?;
                let reason = reason.and_then(Reason::from_code);
                Ok(Standing { id: CallbackId(id), state, reason, waived: Policy::from_code(policy).waived, attempts })
            })
            .collect()
    }

    /// Writes everything and the new head, if nobody has booked since the head was `before`. Without the lock this is a
    /// transaction of its own; `false`: somebody was faster, and nothing is written.
    pub async fn write(
        &mut self,
        writes: &Writes<'_>,
        before: &Head,
        after: &Head,
        is_locked: bool,
    ) -> Result<bool, StoreError> {
        on_both!(self.write(writes, (before, after), is_locked))
    }

    /// Whether a batch may be booked without locking the head first. SQLite's transaction begins with its lock.
    pub const fn can_go_unlocked(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Keeps a callback that could not be booked, and when to try again.
    pub async fn note_failure(&mut self, id: CallbackId, error: &str, next_us: i64) -> Result<(), StoreError> {
        on_both!(self.note_failure(id, error, next_us))
    }

    /// Forgets that a callback failed.
    pub async fn forget_failures(&mut self, ids: &[CallbackId]) -> Result<(), StoreError> {
        on_both!(self.forget_failures(ids))
    }

    /// Adds merchants that are not there yet.
    pub async fn add_merchants(&mut self, names: &[String]) -> Result<(), StoreError> {
        on_both!(self.add_merchants(names))
    }

    pub async fn commit(&mut self) -> Result<(), StoreError> {
        on_both!(self.command("COMMIT"))
    }

    pub async fn roll_back(&mut self) -> Result<(), StoreError> {
        on_both!(self.command("ROLLBACK"))
    }

    /// Ends the connection in good order.
    pub async fn close(self) {
        let closed = match self {
            Self::Postgres(connection) => connection.close().await,
            Self::Sqlite(connection) => connection.close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "The booking connection was already gone");
        }
    }
}

/// What both databases return for one key that has anything.
struct FoundRow {
    ordinal: i64,
    callback: Option<i64>,
    payment: Option<i64>,
    status: Option<i16>,
    facts: Option<i64>,
    customer: Option<i64>,
    has_twin: bool,
}

fn place(rows: Vec<FoundRow>, keys: usize) -> Result<Vec<Found>, StoreError> {
    let mut found = vec![Found::default(); keys];
    for row in rows {
        let payment = match (row.payment, row.status) {
            (Some(id), Some(code)) => {
                let status = Status::from_code(code)
                    .ok_or_else(|| StoreError::Corrupt(format!("payment {id}: status {code}")))?;
                Some(Payment { id: PaymentId(id), status, facts: row.facts, customer: row.customer.map(CustomerId) })
            }
            _ => None,
        };
        let place = usize::try_from(row.ordinal).ok().and_then(|ordinal| found.get_mut(ordinal));
        let place = place.ok_or_else(|| StoreError::Corrupt("an ordinal that was not asked for".into()))?;
        *place = Found { callback: row.callback.map(CallbackId), payment, has_twin: row.has_twin };
    }
    Ok(found)
}

fn parse_amount(text: &str) -> Result<Amount, StoreError> {
    Amount::parse(text).map_err(|error| StoreError::Corrupt(format!("amount {text}: {error}")))
}

fn head_from(numbers: [i64; 7], hash: &[u8]) -> Result<Head, StoreError> {
    let hash = hash.try_into().map_err(|_other_length| StoreError::Corrupt("the head's hash is not 32 bytes".into()));
    let [position, turn, callback, payment, customer, account, retirements] = numbers;
    Ok(Head { position, hash: hash?, turn, callback, payment, customer, account, retirements })
}

/// The txids of a callback in one column, a line each.
pub(super) fn join_txids(head: &CallbackHead) -> Option<String> {
    (!head.txids.is_empty()).then(|| head.txids.join("\n"))
}
