//! The booking statements for SQLite: one writer, `BEGIN IMMEDIATE`, the same questions as multi-row `VALUES`.

use std::time::Duration;

use sqlx::query_builder::{QueryBuilder, Separated};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Executor as _, Row as _, Sqlite, SqliteConnection};

use super::sqlite_rare::write_rare;
use super::{
    AccountKey, FoundRow, Head, Key, ReferenceKey, Seen, StandingRow, StoreError, Writes, parse_amount, place,
};
use crate::domain::amount::Amount;
use crate::domain::ids::{AccountId, CallbackId, CustomerId};

/// How every connection to SQLite is opened: a commit is on disk when it returns, and a busy writer is waited for.
pub fn durable(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(false)
        .disable_statement_logging()
}

pub(super) async fn open(url: &str) -> Result<SqliteConnection, sqlx::Error> {
    let options: SqliteConnectOptions = url.parse()?;
    durable(options).connect().await
}

pub(super) async fn command(connection: &mut SqliteConnection, command: &'static str) -> Result<(), StoreError> {
    connection.execute(command).await?;
    Ok(())
}

pub(super) async fn begin(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    command(connection, "BEGIN IMMEDIATE").await
}

/// `WITH i(columns) AS (VALUES (0, …), (1, …), …) query`: the rows of a question, numbered in `ord`.
fn question<T>(
    columns: &'static str,
    rows: &[T],
    bind: impl Fn(&mut Separated<'_, Sqlite, &'static str>, &T),
    query: &'static str,
) -> QueryBuilder<Sqlite> {
    let mut builder = QueryBuilder::new("WITH i(ord, ");
    builder.push(columns).push(") AS (");
    let mut ordinal = 0_i64;
    builder.push_values(rows, |mut row, value| {
        row.push_bind(ordinal);
        ordinal = ordinal.saturating_add(1);
        bind(&mut row, value);
    });
    builder.push(") ").push(query);
    builder
}

pub(super) async fn look(
    connection: &mut SqliteConnection,
    keys: &[Key<'_>],
    references: &[ReferenceKey],
) -> Result<Seen, StoreError> {
    let (head, rows) = super::sqlite_batch::look(connection, keys).await?;
    let found = place(rows.iter().map(found_row).collect::<Result<_, _>>()?, keys.len())?;
    let customers = if references.is_empty() { Vec::new() } else { customers_of(connection, references).await? };
    Ok(Seen { head, found, customers })
}

fn found_row(row: &SqliteRow) -> Result<FoundRow, sqlx::Error> {
    Ok(FoundRow {
        ordinal: row.try_get(0)?,
        callback: row.try_get(1)?,
        payment: row.try_get(2)?,
        status: row.try_get(3)?,
        facts: row.try_get(4)?,
        customer: row.try_get(5)?,
        has_twin: row.try_get::<i64, _>(6)? != 0,
    })
}

async fn customers_of(
    connection: &mut SqliteConnection,
    keys: &[ReferenceKey],
) -> Result<Vec<(ReferenceKey, CustomerId)>, StoreError> {
    let mut query = question(
        "merchant, kind, value",
        keys,
        |row, key| {
            row.push_bind(key.merchant.0).push_bind(key.kind.code()).push_bind(key.value.clone());
        },
        "SELECT i.ord, r.customer_id FROM i
         JOIN customer_references r ON r.value = i.value AND r.kind = i.kind AND r.merchant_id = i.merchant",
    );
    let rows = query.build().persistent(false).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((nth(keys, row.try_get(0)?)?.clone(), CustomerId(row.try_get(1)?)))).collect()
}

pub(super) async fn accounts_of(
    connection: &mut SqliteConnection,
    keys: &[AccountKey],
) -> Result<Vec<(AccountKey, AccountId, Amount)>, StoreError> {
    let mut query = question(
        "merchant, kind, customer, currency",
        keys,
        |row, key| {
            row.push_bind(key.merchant.0).push_bind(key.kind.code());
            row.push_bind(key.customer.map_or(0, |id| id.0)).push_bind(key.currency.clone());
        },
        "SELECT i.ord, a.id, a.balance FROM i
         JOIN accounts a ON a.customer_id = i.customer AND a.currency = i.currency AND a.kind = i.kind
            AND a.merchant_id = i.merchant",
    );
    let rows = query.build().persistent(false).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let key = nth(keys, row.try_get(0)?)?;
            Ok((key.clone(), AccountId(row.try_get(1)?), parse_amount(row.try_get(2)?)?))
        })
        .collect()
}

pub(super) async fn standing(
    connection: &mut SqliteConnection,
    ids: &[CallbackId],
) -> Result<Vec<StandingRow>, StoreError> {
    let mut standing = Vec::with_capacity(ids.len());
    for id in ids {
        let row = sqlx::query_as::<_, StandingRow>(
            "SELECT c.id, c.state, c.reason, c.policy, coalesce(f.attempts, 0)
             FROM callbacks c LEFT JOIN failures f ON f.callback_id = c.id WHERE c.id = ?",
        );
        standing.extend(row.bind(id.0).fetch_optional(&mut *connection).await?);
    }
    Ok(standing)
}

fn nth<T>(keys: &[T], ordinal: i64) -> Result<&T, StoreError> {
    let key = usize::try_from(ordinal).ok().and_then(|ordinal| keys.get(ordinal));
    key.ok_or_else(|| StoreError::Corrupt("an ordinal that was not asked for".into()))
}

/// SQLite has one writer, and `begin` made it us: nobody can have booked since.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    writes: &Writes<'_>,
    (_before, after): (&Head, &Head),
    _is_locked: bool,
) -> Result<bool, StoreError> {
    write_rare(connection, writes).await?;
    if writes.decides_nothing() {
        return Ok(true);
    }
    super::sqlite_batch::write_batch(connection, writes, after).await?;
    Ok(true)
}

/// One multi-row insert, in chunks that stay below SQLite's 32,766 parameters: for what most batches have none of.
pub(super) async fn insert<T>(
    connection: &mut SqliteConnection,
    into: &'static str,
    rows: &[T],
    bind: impl Fn(&mut Separated<'_, Sqlite, &'static str>, &T),
    tail: &'static str,
) -> Result<(), StoreError> {
    for chunk in rows.chunks(1_000) {
        let mut builder = QueryBuilder::new("INSERT INTO ");
        builder.push(into).push(" ");
        builder.push_values(chunk, |mut row, value| bind(&mut row, value));
        builder.push(" ").push(tail);
        builder.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) async fn note_failure(
    connection: &mut SqliteConnection,
    id: CallbackId,
    error: &str,
    next_us: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO failures (callback_id, attempts, next_us, error) VALUES (?1, 1, ?2, ?3)
         ON CONFLICT (callback_id) DO UPDATE SET attempts = failures.attempts + 1, next_us = ?2, error = ?3",
    )
    .bind(id.0)
    .bind(next_us)
    .bind(error)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn forget_failures(connection: &mut SqliteConnection, ids: &[CallbackId]) -> Result<(), StoreError> {
    for id in ids {
        sqlx::query("DELETE FROM failures WHERE callback_id = ?").bind(id.0).execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) async fn add_merchants(connection: &mut SqliteConnection, names: &[String]) -> Result<(), StoreError> {
    for name in names {
        sqlx::query(
            "INSERT INTO merchants (id, name) SELECT (SELECT coalesce(max(id), 0) FROM merchants) + 1, ?1
             WHERE NOT EXISTS (SELECT 1 FROM merchants WHERE name = ?1)",
        )
        .bind(name.as_str())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
