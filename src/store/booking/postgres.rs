//! The booking statements for PostgreSQL: rows through `UNNEST`, one round trip each.

use sqlx::postgres::{PgBindIterExt as _, PgConnectOptions, PgRow};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection, Row as _};

use super::postgres_batch::write_batch;
use super::postgres_rows::KeyRow;
use super::{
    AccountKey, FoundRow, Head, Key, ReferenceKey, Seen, StandingRow, State, StoreError, Verdict, Writes, head_from,
    parse_amount, place,
};
use crate::domain::amount::Amount;
use crate::domain::ids::{AccountId, CallbackId, CustomerId};
use crate::store::BY_INDEX;

/// A replica that is stuck gives the head back after 5 s.
const SESSION: [(&str, &str); 5] = [
    ("statement_timeout", "5s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("synchronous_commit", "on"),
    ("jit", "off"),
];

pub(super) async fn open(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options: PgConnectOptions = url.parse()?;
    let options = options.application_name("tallyhook booker").options(SESSION).options(BY_INDEX);
    options.disable_statement_logging().connect().await
}

pub(super) async fn command(connection: &mut PgConnection, command: &'static str) -> Result<(), StoreError> {
    connection.execute(sqlx::raw_sql(command)).await?;
    Ok(())
}

/// One simple query, one round trip.
pub(super) async fn begin(connection: &mut PgConnection) -> Result<(), StoreError> {
    command(connection, "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT FROM journal_head WHERE id = 1 FOR UPDATE").await
}

/// The head and everything else in one statement, so of one moment: as long as the head stays, all of it stays.
/// What references point at has a number below zero.
const LOOK: &str = "SELECT h.position, h.turn, h.callback_id, h.payment_id, h.customer_id, h.account_id, h.retirements,
            h.hash, f.ord, f.callback_id, f.payment_id, f.status, f.facts, f.customer_id, f.twin
     FROM journal_head h LEFT JOIN LATERAL (
        SELECT i.ord - 1 AS ord, c.id AS callback_id, p.id AS payment_id, p.status, p.facts, p.customer_id,
               coalesce(t.twin, false) AS twin
        FROM unnest($1::booking_key[]) WITH ORDINALITY AS i(merchant, locality, digest, family, ext, fingerprint, ord)
        LEFT JOIN callbacks c ON c.locality = i.locality AND c.digest = i.digest AND c.merchant_id = i.merchant
        LEFT JOIN payments p ON p.ext_id = i.ext AND p.family = i.family AND p.merchant_id = i.merchant
        LEFT JOIN LATERAL (SELECT true AS twin FROM payments t WHERE t.fingerprint = i.fingerprint
             AND t.merchant_id = i.merchant AND NOT (t.family = i.family AND t.ext_id = i.ext) LIMIT 1) t ON true
        WHERE c.id IS NOT NULL OR p.id IS NOT NULL OR t.twin
        UNION ALL
        SELECT -i.ord, NULL, NULL, NULL, NULL, r.customer_id, false
        FROM unnest($2::int2[], $3::int2[], $4::text[]) WITH ORDINALITY AS i(merchant, kind, value, ord)
        JOIN customer_references r ON r.value = i.value AND r.kind = i.kind AND r.merchant_id = i.merchant) f ON true
     WHERE h.id = 1";

pub(super) async fn look(
    connection: &mut PgConnection,
    keys: &[Key<'_>],
    references: &[ReferenceKey],
) -> Result<Seen, StoreError> {
    let rows = sqlx::query(LOOK)
        .bind(keys.iter().map(KeyRow).bind_iter())
        .bind(references.iter().map(|key| key.merchant.0).collect::<Vec<_>>())
        .bind(references.iter().map(|key| key.kind.code()).collect::<Vec<_>>())
        .bind(references.iter().map(|key| key.value.as_str()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let first = rows.first().ok_or_else(|| StoreError::Corrupt("there is no journal head".into()))?;
    let mut numbers = [0; 7];
    for (index, number) in numbers.iter_mut().enumerate() {
        *number = first.try_get(index)?;
    }
    let head = head_from(numbers, first.try_get(7)?)?;
    let (mut found, mut customers) = (Vec::new(), Vec::new());
    for row in &rows {
        match row.try_get::<Option<i64>, _>(8)? {
            Some(reference @ ..0) => {
                let ordinal = reference.saturating_neg().saturating_sub(1);
                customers.push((nth(references, ordinal)?.clone(), CustomerId(row.try_get(13)?)));
            }
            Some(ordinal) => found.push(found_row(row, ordinal)?),
            None => {}
        }
    }
    Ok(Seen { head, found: place(found, keys.len())?, customers })
}

fn found_row(row: &PgRow, ordinal: i64) -> Result<FoundRow, sqlx::Error> {
    Ok(FoundRow {
        ordinal,
        callback: row.try_get(9)?,
        payment: row.try_get(10)?,
        status: row.try_get(11)?,
        facts: row.try_get(12)?,
        customer: row.try_get(13)?,
        has_twin: row.try_get(14)?,
    })
}

pub(super) async fn accounts_of(
    connection: &mut PgConnection,
    keys: &[AccountKey],
) -> Result<Vec<(AccountKey, AccountId, Amount)>, StoreError> {
    let rows = sqlx::query(
        "SELECT i.ord - 1, a.id, a.balance::text
         FROM unnest($1::int2[], $2::int2[], $3::int8[], $4::text[])
              WITH ORDINALITY AS i(merchant, kind, customer, currency, ord)
         JOIN accounts a ON a.customer_id = i.customer AND a.currency = i.currency AND a.kind = i.kind
              AND a.merchant_id = i.merchant",
    )
    .bind(keys.iter().map(|key| key.merchant.0).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.kind.code()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.customer.map_or(0, |id| id.0)).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.currency.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let key = nth(keys, row.try_get(0)?)?;
            Ok((key.clone(), AccountId(row.try_get(1)?), parse_amount(row.try_get(2)?)?))
        })
        .collect()
}

pub(super) async fn standing(
    connection: &mut PgConnection,
    ids: &[CallbackId],
) -> Result<Vec<StandingRow>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    Ok(sqlx::query_as(
        "SELECT c.id, c.state, c.reason, c.policy, coalesce(f.attempts, 0)
         FROM callbacks c LEFT JOIN failures f ON f.callback_id = c.id WHERE c.id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?)
}

fn nth<T>(keys: &[T], ordinal: i64) -> Result<&T, StoreError> {
    let key = usize::try_from(ordinal).ok().and_then(|ordinal| keys.get(ordinal));
    key.ok_or_else(|| StoreError::Corrupt("an ordinal that was not asked for".into()))
}

pub(super) async fn write(
    connection: &mut PgConnection,
    writes: &Writes<'_>,
    (before, after): (&Head, &Head),
    is_locked: bool,
) -> Result<bool, StoreError> {
    if writes.decides_nothing() {
        write_redeliveries(connection, writes).await?;
        return Ok(true);
    }
    // Without rare rows the whole batch is one statement, and its commit comes with it.
    let is_alone = is_locked || !writes.has_rare();
    if !is_alone {
        command(connection, "BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    }
    let is_first = write_batch(connection, writes, before, after).await?;
    if is_first {
        write_rare(connection, writes).await?;
    }
    if !is_alone {
        command(connection, if is_first { "COMMIT" } else { "ROLLBACK" }).await?;
    }
    Ok(is_first)
}

/// A batch of repeats only: nothing is decided, so the head stays.
async fn write_redeliveries(connection: &mut PgConnection, writes: &Writes<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO redeliveries (callback_id, count, last_us)
         SELECT id, count(*), $2 FROM unnest($1::int8[]) AS i(id) GROUP BY id
         ON CONFLICT (callback_id) DO UPDATE SET count = redeliveries.count + excluded.count, last_us = excluded.last_us",
    )
    .bind(writes.redeliveries.iter().map(|id| id.0).collect::<Vec<_>>())
    .bind(writes.now_us)
    .execute(connection)
    .await?;
    Ok(())
}

/// What most batches have none of: each its own statement, only when there is something to write.
async fn write_rare(connection: &mut PgConnection, writes: &Writes<'_>) -> Result<(), StoreError> {
    if !writes.verdicts.is_empty() {
        write_verdicts(connection, &writes.verdicts).await?;
    }
    if writes.has_orders() {
        super::own::write_postgres(connection, writes).await?;
    }
    write_discrepancies(connection, writes).await
}

async fn write_verdicts(connection: &mut PgConnection, verdicts: &[Verdict]) -> Result<(), StoreError> {
    for verdict in verdicts {
        sqlx::query(
            "UPDATE callbacks SET state = $2, reason = $3, detail = $4, policy = $5, entries = $6, position = $7,
                turn = $8, payment_id = $9, customer_id = $10, decided_us = $11 WHERE id = $1",
        )
        .bind(verdict.id.0)
        .bind(verdict.state.code())
        .bind(verdict.reason.map(crate::domain::reason::Reason::code))
        .bind(verdict.detail.as_deref())
        .bind(verdict.policy)
        .bind(verdict.entries)
        .bind(verdict.position)
        .bind(verdict.turn)
        .bind(verdict.payment.map(|id| id.0))
        .bind(verdict.customer.map(|id| id.0))
        .bind(verdict.decided_us)
        .execute(&mut *connection)
        .await?;
        if verdict.state == State::Held {
            // It may be held for another reason than before.
            sqlx::query("UPDATE discrepancies SET reason = $2 WHERE callback_id = $1 AND resolved_us IS NULL")
                .bind(verdict.id.0)
                .bind(verdict.reason.map(crate::domain::reason::Reason::code))
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

async fn write_discrepancies(connection: &mut PgConnection, writes: &Writes<'_>) -> Result<(), StoreError> {
    if !writes.discrepancies.is_empty() {
        let rows = &writes.discrepancies;
        sqlx::query(
            "INSERT INTO discrepancies (position, merchant_id, reason, callback_id, payment_id, opened_us)
             SELECT * FROM unnest($1::int8[], $2::int2[], $3::int2[], $4::int8[], $5::int8[], $6::int8[])",
        )
        .bind(rows.iter().map(|row| row.position).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.merchant.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.reason.code()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.callback.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.payment.map(|id| id.0)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.opened_us).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    if !writes.released.is_empty() {
        sqlx::query(
            "UPDATE discrepancies d SET resolved_us = $3, resolution = i.how
             FROM unnest($1::int8[], $2::text[]) AS i(id, how)
             WHERE d.callback_id = i.id AND d.resolved_us IS NULL AND d.position <= $4",
        )
        .bind(writes.released.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
        .bind(writes.released.iter().map(|(_, how)| *how).collect::<Vec<_>>())
        .bind(writes.now_us)
        .bind(writes.released_before)
        .execute(connection)
        .await?;
    }
    Ok(())
}

pub(super) async fn note_failure(
    connection: &mut PgConnection,
    id: CallbackId,
    error: &str,
    next_us: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO failures (callback_id, attempts, next_us, error) VALUES ($1, 1, $2, $3)
         ON CONFLICT (callback_id) DO UPDATE SET attempts = failures.attempts + 1, next_us = $2, error = $3",
    )
    .bind(id.0)
    .bind(next_us)
    .bind(error)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn forget_failures(connection: &mut PgConnection, ids: &[CallbackId]) -> Result<(), StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    sqlx::query("DELETE FROM failures WHERE callback_id = ANY($1)").bind(ids).execute(connection).await?;
    Ok(())
}

pub(super) async fn add_merchants(connection: &mut PgConnection, names: &[String]) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO merchants (id, name)
         SELECT (SELECT coalesce(max(id), 0) FROM merchants) + row_number() OVER (), name FROM unnest($1::text[]) AS i(name)
         WHERE NOT EXISTS (SELECT 1 FROM merchants m WHERE m.name = i.name)",
    )
    .bind(names)
    .execute(connection)
    .await?;
    Ok(())
}
