//! What is asked before a batch, and its rows: one trip to SQLite's thread each, for up to 128 members.
//!
//! A statement of as many rows as there happen to be would be parsed anew for every batch, which took a quarter of
//! SQLite's time. These have room for a power of two, so that a handful of each is prepared once and kept; rows
//! that are not needed are null, and passed over.
//!
//! `OR FAIL`: the booker rolls the whole transaction back anyway, so SQLite need not keep each page as it was before
//! the statement.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Encode, Row as _, SqlSafeStr as _, SqlStr, Sqlite, SqliteConnection, Type};

use super::{Head, Key, StoreError, Writes, head_from};
use crate::domain::amount::Amount;
use crate::domain::journal::{Booked, Entry};
use crate::domain::reason::Reason;

/// A statement around its rows.
struct Part {
    before: &'static str,
    columns: usize,
    /// Rows for each member of a batch.
    each: usize,
    after: &'static str,
}

/// Statements that go together, with room for 4, 8, 16, 32, 64 and 128 members.
struct Script<const PARTS: usize> {
    first: &'static str,
    parts: [Part; PARTS],
    last: &'static str,
    texts: [OnceLock<SqlStr>; 6],
}

const LEAST_ROOM: usize = 4;
const MOST_ROOM: usize = 128;
const HEAD_COLUMNS: usize = 8;

static LOOK: Script<1> = Script {
    first: "SELECT position, turn, callback_id, payment_id, customer_id, account_id, retirements, hash
        FROM journal_head WHERE id = 1; ",
    parts: [Part {
        before: "WITH i(ord, merchant, locality, digest, family, ext, fingerprint) AS (",
        columns: 7,
        each: 1,
        after: ") SELECT i.ord, c.id, p.id, p.status, p.facts, p.customer_id,
            EXISTS (SELECT 1 FROM payments t WHERE t.fingerprint = i.fingerprint AND t.merchant_id = i.merchant
                AND NOT (t.family = i.family AND t.ext_id = i.ext)) AS twin
         FROM i
         LEFT JOIN callbacks c ON c.locality = i.locality AND c.digest = i.digest AND c.merchant_id = i.merchant
         LEFT JOIN payments p ON p.ext_id = i.ext AND p.family = i.family AND p.merchant_id = i.merchant
         WHERE i.ord IS NOT NULL AND (c.id IS NOT NULL OR p.id IS NOT NULL OR twin)",
    }],
    last: "",
    texts: [const { OnceLock::new() }; 6],
};

static WRITE: Script<6> = Script {
    first: "",
    parts: [
        Part {
            before: "INSERT OR FAIL INTO callbacks (id, merchant_id, family, state, reason, policy, entries, locality,
                turn, position, payment_id, customer_id, received_us, decided_us, digest, signature, type, status,
                ext_id, foreign_id, end_user_reference, address, txids, detail, headers, body, origin)
                SELECT * FROM (",
            columns: 27,
            each: 1,
            after: ") WHERE column1 IS NOT NULL; ",
        },
        Part {
            before: "INSERT OR FAIL INTO payments (id, merchant_id, family, status, facts, fingerprint, customer_id,
                ext_id) SELECT * FROM (",
            columns: 8,
            each: 1,
            after: ") WHERE column1 IS NOT NULL; ",
        },
        Part {
            before: "WITH i(status, facts, fingerprint, customer_id, id) AS (",
            columns: 5,
            each: 1,
            after: ") UPDATE OR FAIL payments SET status = i.status, facts = i.facts, fingerprint = i.fingerprint,
                customer_id = i.customer_id FROM i WHERE payments.id = i.id; ",
        },
        Part {
            before: "INSERT OR FAIL INTO journal (position, merchant_id, event, effect, reason, postings, subject,
                callback_id, payment_id, customer_id, at_us, hash, currency, amount, fee, balance_after)
                SELECT * FROM (",
            columns: 16,
            each: 1,
            after: ") WHERE column1 IS NOT NULL; ",
        },
        Part {
            before: "INSERT OR FAIL INTO postings (position, ordinal, debit_id, credit_id, amount) SELECT * FROM (",
            columns: 5,
            each: 2,
            after: ") WHERE column1 IS NOT NULL; ",
        },
        Part {
            before: "WITH i(id, balance) AS (",
            columns: 2,
            each: 3,
            after: ") UPDATE OR FAIL accounts SET balance = i.balance FROM i WHERE accounts.id = i.id; ",
        },
    ],
    last: "UPDATE journal_head SET position = ?, hash = ?, turn = ?, callback_id = ?, payment_id = ?, customer_id = ?,
        account_id = ? WHERE id = 1",
    texts: [const { OnceLock::new() }; 6],
};

impl<const PARTS: usize> Script<PARTS> {
    fn text(&self, room: usize) -> SqlStr {
        let size = room.trailing_zeros().saturating_sub(LEAST_ROOM.trailing_zeros());
        let text = usize::try_from(size).ok().and_then(|size| self.texts.get(size));
        text.map_or_else(|| self.write(room), |text| text.get_or_init(|| self.write(room)).clone())
    }

    fn write(&self, room: usize) -> SqlStr {
        let mut text = self.first.to_owned();
        for Part { before, columns, each, after } in &self.parts {
            let row = vec!["?"; *columns].join(",");
            let rows = vec![format!("({row})"); room.saturating_mul(*each)].join(",");
            write!(text, "{before}VALUES {rows}{after}").expect("a string takes what is written");
        }
        text.push_str(self.last);
        AssertSqlSafe(Arc::<str>::from(text)).into_sql_str()
    }
}

/// The least room that takes so many members.
fn room(members: usize) -> usize {
    members.next_power_of_two().clamp(LEAST_ROOM, MOST_ROOM)
}

/// What a script is given, in the order of its question marks.
struct Given(SqliteArguments);

impl Given {
    fn put<'t>(&mut self, value: impl Encode<'t, Sqlite> + Type<Sqlite>) -> &mut Self {
        self.0.add(value).expect("numbers, text and bytes can be written");
        self
    }

    /// The rows of a part, and nulls for what is left of its room.
    fn rows<T>(&mut self, part: &Part, room: usize, rows: &[T], put: impl Fn(&mut Self, &T)) {
        for row in rows {
            let before = self.0.len();
            put(self, row);
            // One too few would shift all that follow, and the nulls would hide it.
            assert_eq!(self.0.len(), before.saturating_add(part.columns), "a row is not what its statement takes");
        }
        let left = room.saturating_mul(part.each).saturating_sub(rows.len());
        for _ in 0..left.saturating_mul(part.columns) {
            self.put(None::<i64>);
        }
    }
}

/// The head, and a row for each key under which anything is stored.
pub(super) async fn look(
    connection: &mut SqliteConnection,
    keys: &[Key<'_>],
) -> Result<(Head, Vec<SqliteRow>), StoreError> {
    let mut head = None;
    let mut found = Vec::new();
    let numbered: Vec<_> = (0_i64..).zip(keys).collect();
    let mut rest = numbered.as_slice();
    loop {
        let room = room(rest.len());
        let [part] = &LOOK.parts;
        let mut given = Given(SqliteArguments::default());
        given.rows(part, room, take(&mut rest, room), |row, (ordinal, key)| {
            row.put(*ordinal).put(key.merchant.0).put(key.locality).put(key.digest.as_slice());
            row.put(key.family.code()).put(key.ext_id).put(key.fingerprint);
        });
        let mut rows = sqlx::query_with(LOOK.text(room), given.0).fetch_all(&mut *connection).await?.into_iter();
        // Each script tells the head; the first one's counts.
        let told = rows.next().filter(|row| row.len() == HEAD_COLUMNS);
        let told = told.ok_or_else(|| StoreError::Corrupt("there is no journal head".into()))?;
        let head = head.get_or_insert(told);
        found.extend(rows);
        if rest.is_empty() {
            return Ok((head_row(head)?, found));
        }
    }
}

fn head_row(row: &SqliteRow) -> Result<Head, StoreError> {
    let mut numbers = [0; 7];
    for (index, number) in numbers.iter_mut().enumerate() {
        *number = row.try_get(index)?;
    }
    head_from(numbers, row.try_get(7)?)
}

/// The arrivals, the ledger and the new head.
pub(super) async fn write_batch(
    connection: &mut SqliteConnection,
    writes: &Writes<'_>,
    after: &Head,
) -> Result<(), StoreError> {
    let postings: Vec<_> = numbered_postings(&writes.entries).collect();
    let (opened, paid): (Vec<_>, Vec<_>) = writes.payments.iter().partition(|payment| payment.is_new);
    let (mut arrivals, mut entries) = (writes.arrivals.as_slice(), writes.entries.as_slice());
    let (mut opened, mut paid) = (opened.as_slice(), paid.as_slice());
    let (mut postings, mut balances) = (postings.as_slice(), writes.balances.as_slice());
    let [callbacks_part, opened_part, paid_part, journal_part, postings_part, accounts_part] = &WRITE.parts;
    loop {
        let needed = [
            arrivals.len(),
            opened.len(),
            paid.len(),
            entries.len(),
            postings.len().div_ceil(postings_part.each),
            balances.len().div_ceil(accounts_part.each),
        ];
        let needed = needed.into_iter().max().unwrap_or_default();
        let room = room(needed);
        let mut given = Given(SqliteArguments::default());
        given.rows(callbacks_part, room, take(&mut arrivals, room), |row, (a, v)| {
            row.put(v.id.0).put(a.merchant.0).put(a.head.family().code()).put(v.state.code());
            row.put(v.reason.map(Reason::code)).put(v.policy).put(v.entries).put(a.locality).put(v.turn);
            row.put(v.position).put(v.payment.map(|id| id.0)).put(v.customer.map(|id| id.0)).put(a.received_us);
            row.put(v.decided_us).put(a.digest.as_slice()).put(a.signature.as_slice()).put(a.head.kind.as_deref());
            row.put(a.head.status.as_deref()).put(a.head.payment_id.as_deref()).put(a.head.foreign_id.as_deref());
            row.put(a.head.end_user_reference.as_deref()).put(a.head.address.as_deref());
            row.put(super::join_txids(a.head)).put(v.detail.as_deref()).put(a.headers).put(a.body);
            row.put(a.origin.code());
        });
        given.rows(opened_part, room, take(&mut opened, room), |row, payment| {
            row.put(payment.id.0).put(payment.merchant.0).put(payment.family.code()).put(payment.status.code());
            row.put(payment.facts).put(payment.fingerprint).put(payment.customer.map(|id| id.0));
            row.put(payment.ext_id.as_str());
        });
        given.rows(paid_part, room, take(&mut paid, room), |row, payment| {
            row.put(payment.status.code()).put(payment.facts).put(payment.fingerprint);
            row.put(payment.customer.map(|id| id.0)).put(payment.id.0);
        });
        let text = |amount: Option<Amount>| amount.map(|amount| amount.to_string());
        given.rows(journal_part, room, take(&mut entries, room), |row, (entry, hash)| {
            row.put(entry.position).put(entry.merchant.0).put(entry.event.code()).put(entry.effect.code());
            row.put(entry.reason.map(Reason::code)).put(i16::try_from(entry.postings.len()).unwrap_or(i16::MAX));
            row.put(entry.subject).put(entry.callback.0).put(entry.payment.map(|id| id.0));
            row.put(entry.customer.map(|id| id.0)).put(entry.at_us).put(hash.as_slice());
            row.put(entry.currency.as_deref()).put(text(entry.amount)).put(text(entry.fee));
            row.put(text(entry.balance_after));
        });
        let some = take(&mut postings, room.saturating_mul(postings_part.each));
        given.rows(postings_part, room, some, |row, (position, ordinal, posting)| {
            row.put(*position).put(*ordinal).put(posting.debit.0).put(posting.credit.0).put(posting.amount.to_string());
        });
        let some = take(&mut balances, room.saturating_mul(accounts_part.each));
        given.rows(accounts_part, room, some, |row, (id, balance)| {
            row.put(id.0).put(balance.to_string());
        });
        given.put(after.position).put(after.hash.as_slice()).put(after.turn).put(after.callback).put(after.payment);
        given.put(after.customer).put(after.account);
        sqlx::query_with(WRITE.text(room), given.0).execute(&mut *connection).await?;
        if needed <= room {
            return Ok(());
        }
    }
}

/// The first `most` of what is left.
fn take<'a, T>(rest: &mut &'a [T], most: usize) -> &'a [T] {
    let (some, others) = rest.split_at(most.min(rest.len()));
    *rest = others;
    some
}

/// Every posting of a batch with its place: (position, ordinal, posting).
fn numbered_postings(entries: &[(Entry, [u8; 32])]) -> impl Iterator<Item = (i64, i16, Booked)> {
    entries.iter().flat_map(|(entry, _)| {
        (1_i16..).zip(&entry.postings).map(|(ordinal, posting)| (entry.position, ordinal, *posting))
    })
}
