//! Reads everything there is, in order and from one snapshot, so that `audit` can derive it anew. Writes nothing.

use std::collections::HashMap;

use sqlx::Connection as _;

use super::booking::own::{ELSEWHERE, FAILED, SETTLED};
use super::booking::{State, sqlite::durable};
use super::{Db, Kind, StoreError};
use crate::domain::amount::Amount;
use crate::domain::callback::Origin;
use crate::domain::event::EventType;
use crate::domain::ids::{AccountId, CallbackId, CustomerId, MerchantId, PaymentId};
use crate::domain::journal::{Booked, Effect, Entry};
use crate::domain::reason::Reason;

/// A stored callback with its decision.
#[derive(Debug)]
pub struct Stored {
    pub id: i64,
    pub merchant: MerchantId,
    pub origin: Origin,
    pub state: State,
    pub reason: Option<Reason>,
    pub policy: i16,
    pub entries: i16,
    pub position: i64,
    pub turn: i64,
    pub payment: Option<i64>,
    pub digest: Vec<u8>,
    pub signature: Vec<u8>,
    /// `None` once pruned.
    pub body: Option<Vec<u8>>,
    pub ext_id: Option<String>,
    pub foreign_id: Option<String>,
    pub end_user_reference: Option<String>,
}

/// A journal entry with its hash and its callback's digest.
#[derive(Debug)]
pub struct Journaled {
    pub entry: Entry,
    pub hash: Vec<u8>,
    pub digest: Vec<u8>,
}

/// An account as it stands.
#[derive(Debug)]
pub struct Account {
    pub id: AccountId,
    pub merchant: MerchantId,
    pub kind: i16,
    pub customer: i64,
    pub currency: String,
    pub balance: Amount,
}

/// A withdrawal's row: what its order said, and how it ended.
#[derive(Debug)]
pub struct WithdrawalRow {
    pub id: i64,
    pub merchant: MerchantId,
    pub foreign_id: String,
    pub currency: String,
    pub amount: String,
    pub address: String,
    pub tag: Option<String>,
    pub request: Vec<u8>,
    pub is_settled: bool,
    pub is_failed: bool,
}

/// What an entry's callback calls the payment.
#[derive(Debug)]
pub struct Named {
    pub kind: Option<String>,
    pub ext_id: Option<String>,
    pub foreign_id: Option<String>,
}

impl Named {
    /// `deposit/2686563`; a withdrawal that has no number of the processor's yet goes by the merchant's name of it.
    pub fn payment(&self) -> Option<String> {
        let id = self.ext_id.as_deref().or(self.foreign_id.as_deref())?;
        Some(format!("{}/{id}", self.kind.as_deref().unwrap_or("unknown")))
    }
}

/// One snapshot of the whole ledger.
pub enum Snapshot {
    Postgres(Box<sqlx::PgConnection>),
    Sqlite(Box<sqlx::SqliteConnection>),
}

type CallbackRow = (
    i64,
    i16,
    i16,
    Option<i16>,
    i16,
    i16,
    i64,
    i64,
    Option<i64>,
    Vec<u8>,
    Vec<u8>,
    Option<Vec<u8>>,
    Option<String>,
    Option<String>,
    Option<String>,
    i16,
);
type JournalRow = (
    i64,
    i16,
    i16,
    i16,
    Option<i16>,
    i64,
    i64,
    Option<i64>,
    Option<i64>,
    i64,
    Vec<u8>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Vec<u8>,
);

macro_rules! rows {
    ($self:ident, $row:ty, $sql:expr $(, $bind:expr)*) => {
        match $self {
            Self::Postgres(connection) => {
                sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_all(connection.as_mut()).await?
            }
            Self::Sqlite(connection) => {
                sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_all(connection.as_mut()).await?
            }
        }
    };
}

impl Snapshot {
    /// Begins a read-only transaction that sees one moment, however long it takes.
    pub async fn begin(db: &Db) -> Result<Self, StoreError> {
        Ok(match db.kind {
            Kind::Postgres => {
                let mut connection = sqlx::PgConnection::connect(&db.url).await?;
                sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await?;
                Self::Postgres(Box::new(connection))
            }
            Kind::Sqlite => {
                let options: sqlx::sqlite::SqliteConnectOptions = db.url.parse()?;
                let mut connection = sqlx::SqliteConnection::connect_with(&durable(options)).await?;
                sqlx::query("BEGIN").execute(&mut connection).await?;
                Self::Sqlite(Box::new(connection))
            }
        })
    }

    /// The head's position and hash.
    pub async fn head(&mut self) -> Result<(i64, Vec<u8>), StoreError> {
        let rows = rows!(self, (i64, Vec<u8>), "SELECT position, hash FROM journal_head WHERE id = 1");
        rows.into_iter().next().ok_or_else(|| StoreError::Corrupt("there is no journal head".into()))
    }

    /// Which decision each callback got last, in the order of their ids.
    pub async fn turns(&mut self) -> Result<Vec<(i64, i64)>, StoreError> {
        Ok(rows!(self, (i64, i64), "SELECT id, turn FROM callbacks ORDER BY id"))
    }

    /// Every customer reference: merchant, kind, value, customer.
    pub async fn references(&mut self) -> Result<Vec<(i16, i16, String, i64)>, StoreError> {
        Ok(rows!(
            self,
            (i16, i16, String, i64),
            "SELECT merchant_id, kind, value, customer_id FROM customer_references"
        ))
    }

    /// Every account.
    pub async fn accounts(&mut self) -> Result<Vec<Account>, StoreError> {
        let rows = rows!(
            self,
            (i64, i16, i16, i64, String, String),
            "SELECT id, merchant_id, kind, customer_id, currency, CAST(balance AS text) FROM accounts ORDER BY id"
        );
        rows.into_iter()
            .map(|(id, merchant, kind, customer, currency, balance)| {
                let balance = amount(&balance)?;
                Ok(Account { id: AccountId(id), merchant: MerchantId(merchant), kind, customer, currency, balance })
            })
            .collect()
    }

    /// The withdrawals that were requested through us, after `after`.
    pub async fn withdrawals(&mut self, after: i64, limit: i64) -> Result<Vec<WithdrawalRow>, StoreError> {
        type Row = (i64, i16, String, String, String, String, Option<String>, Vec<u8>, i16);
        let rows = rows!(
            self,
            Row,
            "SELECT id, merchant_id, foreign_id, currency, CAST(amount AS text), address, tag, request, state
             FROM withdrawals WHERE id > $1 AND api <> $2 ORDER BY id LIMIT $3",
            after,
            ELSEWHERE,
            limit
        );
        let row = |(id, merchant, foreign_id, currency, amount_text, address, tag, request, state): Row| {
            let amount = amount(&amount_text)?.to_string();
            let (is_settled, is_failed) = (state == SETTLED, state == FAILED);
            let merchant = MerchantId(merchant);
            Ok(WithdrawalRow {
                id,
                merchant,
                foreign_id,
                currency,
                amount,
                address,
                tag,
                request,
                is_settled,
                is_failed,
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// Every customer's name.
    pub async fn customers(&mut self) -> Result<Vec<(i64, String)>, StoreError> {
        Ok(rows!(self, (i64, String), "SELECT id, name FROM customers"))
    }

    /// What the callbacks of a stretch of the journal call their payments.
    pub async fn named(&mut self, after: i64, last: i64) -> Result<HashMap<i64, Named>, StoreError> {
        let rows = rows!(
            self,
            (i64, Option<String>, Option<String>, Option<String>),
            "SELECT j.position, c.type, c.ext_id, c.foreign_id FROM journal j JOIN callbacks c ON c.id = j.callback_id
             WHERE j.position > $1 AND j.position <= $2",
            after,
            last
        );
        let named = |(position, kind, ext_id, foreign_id)| (position, Named { kind, ext_id, foreign_id });
        Ok(rows.into_iter().map(named).collect())
    }

    /// The callbacks after `after`, in the order of their ids.
    pub async fn callbacks(&mut self, after: i64, limit: i64) -> Result<Vec<Stored>, StoreError> {
        let rows = rows!(
            self,
            CallbackRow,
            "SELECT id, merchant_id, state, reason, policy, entries, position, turn, payment_id, digest, signature,
                body, ext_id, foreign_id, end_user_reference, origin FROM callbacks WHERE id > $1 ORDER BY id LIMIT $2",
            after,
            limit
        );
        rows.into_iter().map(stored).collect()
    }

    /// The journal after `after`, in order, with its postings.
    pub async fn journal(&mut self, after: i64, limit: i64) -> Result<Vec<Journaled>, StoreError> {
        let rows = rows!(
            self,
            JournalRow,
            "SELECT j.position, j.merchant_id, j.event, j.effect, j.reason, j.subject, j.callback_id, j.payment_id,
                j.customer_id, j.at_us, j.hash, j.currency, CAST(j.amount AS text), CAST(j.fee AS text),
                CAST(j.balance_after AS text), c.digest
             FROM journal j JOIN callbacks c ON c.id = j.callback_id
             WHERE j.position > $1 ORDER BY j.position LIMIT $2",
            after,
            limit
        );
        let last = rows.last().map_or(after, |row| row.0);
        let postings = rows!(
            self,
            (i64, i64, i64, String),
            "SELECT position, debit_id, credit_id, CAST(amount AS text) FROM postings
             WHERE position > $1 AND position <= $2 ORDER BY position, ordinal",
            after,
            last
        );
        let mut postings = postings.into_iter().peekable();
        let mut journal = Vec::with_capacity(rows.len());
        for row in rows {
            let mut booked = Vec::new();
            while let Some((_, debit, credit, units)) = postings.next_if(|posting| posting.0 <= row.0) {
                booked.push(Booked { debit: AccountId(debit), credit: AccountId(credit), amount: amount(&units)? });
            }
            journal.push(journaled(row, booked)?);
        }
        if postings.next().is_some() {
            return Err(StoreError::Corrupt(format!("postings after position {after} belong to no entry")));
        }
        Ok(journal)
    }
}

fn stored(row: CallbackRow) -> Result<Stored, StoreError> {
    let (id, merchant, state, reason, policy, entries, position, turn, payment, digest, signature, body, ..) = row;
    let corrupt = |what: &str| StoreError::Corrupt(format!("callback {id}: {what}"));
    Ok(Stored {
        id,
        merchant: MerchantId(merchant),
        origin: Origin::from_code(row.15).ok_or_else(|| corrupt("its origin"))?,
        state: State::from_code(state).ok_or_else(|| corrupt("its state"))?,
        reason: reason.map(|code| Reason::from_code(code).ok_or_else(|| corrupt("its reason"))).transpose()?,
        policy,
        entries,
        position,
        turn,
        payment,
        digest,
        signature,
        body,
        ext_id: row.12,
        foreign_id: row.13,
        end_user_reference: row.14,
    })
}

fn journaled(row: JournalRow, postings: Vec<Booked>) -> Result<Journaled, StoreError> {
    let position = row.0;
    let corrupt = |what: &str| StoreError::Corrupt(format!("journal entry {position}: {what}"));
    let money = |text: Option<String>| text.as_deref().map(amount).transpose();
    let entry = Entry {
        position,
        merchant: MerchantId(row.1),
        event: EventType::from_code(row.2).ok_or_else(|| corrupt("its event"))?,
        effect: Effect::from_code(row.3).ok_or_else(|| corrupt("its effect"))?,
        reason: row.4.map(|code| Reason::from_code(code).ok_or_else(|| corrupt("its reason"))).transpose()?,
        subject: row.5,
        callback: CallbackId(row.6),
        payment: row.7.map(PaymentId),
        customer: row.8.map(CustomerId),
        at_us: row.9,
        currency: row.11,
        amount: money(row.12)?,
        fee: money(row.13)?,
        balance_after: money(row.14)?,
        postings,
    };
    Ok(Journaled { entry, hash: row.10, digest: row.15 })
}

pub(super) fn amount(text: &str) -> Result<Amount, StoreError> {
    Amount::parse(text).map_err(|error| StoreError::Corrupt(format!("amount {text}: {error}")))
}
