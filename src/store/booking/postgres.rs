//! The booking statements for PostgreSQL: arrays through `UNNEST`, one round trip each.

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection, Row as _};

use super::{
    AccountKey, Arrival, Found, FoundRow, Head, Key, ReferenceKey, StoreError, Verdict, Writes, head_from,
    parse_amount, place,
};
use crate::domain::amount::Amount;
use crate::domain::ids::{AccountId, CallbackId, CustomerId};

/// A replica that is stuck gives the head back after 5 s. Plans are made once and always go by the indexes:
/// a plan made while the tables were small must not scan them when they have grown.
const SESSION: [(&str, &str); 8] = [
    ("statement_timeout", "5s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("synchronous_commit", "on"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

pub(super) async fn open(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options: PgConnectOptions = url.parse()?;
    options.application_name("tallyhook booker").options(SESSION).disable_statement_logging().connect().await
}

pub(super) async fn command(connection: &mut PgConnection, command: &'static str) -> Result<(), StoreError> {
    connection.execute(sqlx::raw_sql(command)).await?;
    Ok(())
}

pub(super) async fn begin(connection: &mut PgConnection) -> Result<Head, StoreError> {
    // One simple query, one round trip. In text form, as simple queries are.
    let row = connection
        .fetch_one(sqlx::raw_sql(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT position::text, turn::text, callback_id::text, payment_id::text, customer_id::text, \
             account_id::text, encode(hash, 'hex') FROM journal_head WHERE id = 1 FOR UPDATE",
        ))
        .await?;
    let mut numbers = [0; 6];
    for (index, number) in numbers.iter_mut().enumerate() {
        let text: &str = row.try_get(index)?;
        *number = text.parse().map_err(|_| StoreError::Corrupt(format!("the head holds {text}")))?;
    }
    let hash: &str = row.try_get(6)?;
    let hash = const_hex::decode(hash).map_err(|_| StoreError::Corrupt("the head's hash".into()))?;
    head_from(numbers, &hash)
}

pub(super) async fn find(connection: &mut PgConnection, keys: &[Key<'_>]) -> Result<Vec<Found>, StoreError> {
    let rows = sqlx::query(
        "SELECT i.ord - 1, c.id, p.id, p.status, p.facts, p.customer_id, coalesce(t.twin, false)
         FROM unnest($1::int2[], $2::int8[], $3::bytea[], $4::int2[], $5::text[], $6::int8[])
              WITH ORDINALITY AS i(merchant, locality, digest, family, ext, fingerprint, ord)
         LEFT JOIN callbacks c ON c.locality = i.locality AND c.digest = i.digest AND c.merchant_id = i.merchant
         LEFT JOIN payments p ON p.ext_id = i.ext AND p.family = i.family AND p.merchant_id = i.merchant
         LEFT JOIN LATERAL (SELECT true AS twin FROM payments t WHERE t.fingerprint = i.fingerprint
              AND t.merchant_id = i.merchant AND NOT (t.family = i.family AND t.ext_id = i.ext) LIMIT 1) t ON true
         WHERE c.id IS NOT NULL OR p.id IS NOT NULL OR t.twin",
    )
    .bind(keys.iter().map(|key| key.merchant.0).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.locality).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.digest.as_slice()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.family.code()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.ext_id).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.fingerprint).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    place(rows.iter().map(found_row).collect::<Result<_, _>>()?, keys.len())
}

fn found_row(row: &PgRow) -> Result<FoundRow, sqlx::Error> {
    Ok(FoundRow {
        ordinal: row.try_get(0)?,
        callback: row.try_get(1)?,
        payment: row.try_get(2)?,
        status: row.try_get(3)?,
        facts: row.try_get(4)?,
        customer: row.try_get(5)?,
        has_twin: row.try_get(6)?,
    })
}

pub(super) async fn customers_of(
    connection: &mut PgConnection,
    keys: &[ReferenceKey],
) -> Result<Vec<(ReferenceKey, CustomerId)>, StoreError> {
    let rows = sqlx::query(
        "SELECT i.ord - 1, r.customer_id
         FROM unnest($1::int2[], $2::int2[], $3::text[]) WITH ORDINALITY AS i(merchant, kind, value, ord)
         JOIN customer_references r ON r.value = i.value AND r.kind = i.kind AND r.merchant_id = i.merchant",
    )
    .bind(keys.iter().map(|key| key.merchant.0).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.kind.code()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.value.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let key = nth(keys, row.try_get(0)?)?;
            Ok((key.clone(), CustomerId(row.try_get(1)?)))
        })
        .collect()
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
) -> Result<Vec<(i64, i16, i32)>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    Ok(sqlx::query_as(
        "SELECT c.id, c.state, coalesce(f.attempts, 0) FROM callbacks c LEFT JOIN failures f ON f.callback_id = c.id
         WHERE c.id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?)
}

fn nth<T>(keys: &[T], ordinal: i64) -> Result<&T, StoreError> {
    let key = usize::try_from(ordinal).ok().and_then(|ordinal| keys.get(ordinal));
    key.ok_or_else(|| StoreError::Corrupt("an ordinal that was not asked for".into()))
}

pub(super) async fn write(connection: &mut PgConnection, writes: &Writes<'_>, head: &Head) -> Result<(), StoreError> {
    write_rare(connection, writes).await?;
    if writes.decides_nothing() {
        return Ok(());
    }
    write_arrivals(connection, &writes.arrivals).await?;
    write_ledger(connection, writes, head).await
}

async fn write_arrivals(connection: &mut PgConnection, arrivals: &[(Arrival<'_>, Verdict)]) -> Result<(), StoreError> {
    if arrivals.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($arrival:ident, $verdict:ident => $value:expr) => {
            arrivals.iter().map(|($arrival, $verdict)| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "INSERT INTO callbacks (id, merchant_id, family, state, reason, policy, entries, locality, turn, position,
            payment_id, customer_id, received_us, decided_us, digest, signature, type, status, ext_id, foreign_id,
            end_user_reference, address, txids, detail, headers, body)
         SELECT * FROM unnest($1::int8[], $2::int2[], $3::int2[], $4::int2[], $5::int2[], $6::int2[], $7::int2[],
            $8::int8[], $9::int8[], $10::int8[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::bytea[],
            $16::bytea[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[],
            $24::text[], $25::text[], $26::bytea[])",
    )
    .bind(column!(_a, v => v.id.0))
    .bind(column!(a, _v => a.merchant.0))
    .bind(column!(a, _v => a.head.family().code()))
    .bind(column!(_a, v => v.state.code()))
    .bind(column!(_a, v => v.reason.map(|reason| reason.code())))
    .bind(column!(_a, v => v.policy))
    .bind(column!(_a, v => v.entries))
    .bind(column!(a, _v => a.locality))
    .bind(column!(_a, v => v.turn))
    .bind(column!(_a, v => v.position))
    .bind(column!(_a, v => v.payment.map(|id| id.0)))
    .bind(column!(_a, v => v.customer.map(|id| id.0)))
    .bind(column!(a, _v => a.received_us))
    .bind(column!(_a, v => v.decided_us))
    .bind(column!(a, _v => a.digest.as_slice()))
    .bind(column!(a, _v => a.signature.as_slice()))
    .bind(column!(a, _v => a.head.kind.as_deref()))
    .bind(column!(a, _v => a.head.status.as_deref()))
    .bind(column!(a, _v => a.head.payment_id.as_deref()))
    .bind(column!(a, _v => a.head.foreign_id.as_deref()))
    .bind(column!(a, _v => a.head.end_user_reference.as_deref()))
    .bind(column!(a, _v => a.head.address.as_deref()))
    .bind(column!(a, _v => super::join_txids(a.head)))
    .bind(column!(_a, v => v.detail.as_deref()))
    .bind(column!(a, _v => a.headers))
    .bind(column!(a, _v => a.body))
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_ledger(connection: &mut PgConnection, writes: &Writes<'_>, head: &Head) -> Result<(), StoreError> {
    macro_rules! column {
        ($rows:expr, $row:pat => $value:expr) => {
            $rows.iter().map(|$row| $value).collect::<Vec<_>>()
        };
    }
    let text = |amount: Option<Amount>| amount.map(|amount| amount.to_string());
    let (payments, entries) = (&writes.payments, &writes.entries);
    let postings: Vec<_> = super::numbered_postings(entries).collect();
    sqlx::query(
        "WITH pay AS (
            INSERT INTO payments (id, merchant_id, family, status, facts, fingerprint, customer_id, ext_id)
            SELECT * FROM unnest($1::int8[], $2::int2[], $3::int2[], $4::int2[], $5::int8[], $6::int8[], $7::int8[], $8::text[])
            ON CONFLICT (id) DO UPDATE SET status = excluded.status, facts = excluded.facts,
                fingerprint = excluded.fingerprint, customer_id = excluded.customer_id),
         jou AS (
            INSERT INTO journal (position, merchant_id, event, effect, reason, postings, subject, callback_id,
                payment_id, customer_id, at_us, hash, currency, amount, fee, balance_after)
            SELECT * FROM unnest($9::int8[], $10::int2[], $11::int2[], $12::int2[], $13::int2[], $14::int2[], $15::int8[],
                $16::int8[], $17::int8[], $18::int8[], $19::int8[], $20::bytea[], $21::text[], $22::text[]::numeric[],
                $23::text[]::numeric[], $24::text[]::numeric[])),
         pos AS (
            INSERT INTO postings (position, ordinal, debit_id, credit_id, amount)
            SELECT * FROM unnest($25::int8[], $26::int2[], $27::int8[], $28::int8[], $29::text[]::numeric[])),
         bal AS (
            UPDATE accounts SET balance = i.balance FROM unnest($30::int8[], $31::text[]::numeric[]) AS i(id, balance)
            WHERE accounts.id = i.id)
         UPDATE journal_head SET position = $32, hash = $33, turn = $34, callback_id = $35, payment_id = $36,
            customer_id = $37, account_id = $38 WHERE id = 1",
    )
    .bind(column!(payments, row => row.id.0))
    .bind(column!(payments, row => row.merchant.0))
    .bind(column!(payments, row => row.family.code()))
    .bind(column!(payments, row => row.status.code()))
    .bind(column!(payments, row => row.facts))
    .bind(column!(payments, row => row.fingerprint))
    .bind(column!(payments, row => row.customer.map(|id| id.0)))
    .bind(column!(payments, row => row.ext_id.as_str()))
    .bind(column!(entries, (entry, _) => entry.position))
    .bind(column!(entries, (entry, _) => entry.merchant.0))
    .bind(column!(entries, (entry, _) => entry.event.code()))
    .bind(column!(entries, (entry, _) => entry.effect.code()))
    .bind(column!(entries, (entry, _) => entry.reason.map(|reason| reason.code())))
    .bind(column!(entries, (entry, _) => i16::try_from(entry.postings.len()).unwrap_or(i16::MAX)))
    .bind(column!(entries, (entry, _) => entry.subject))
    .bind(column!(entries, (entry, _) => entry.callback.0))
    .bind(column!(entries, (entry, _) => entry.payment.map(|id| id.0)))
    .bind(column!(entries, (entry, _) => entry.customer.map(|id| id.0)))
    .bind(column!(entries, (entry, _) => entry.at_us))
    .bind(column!(entries, (_, hash) => hash.as_slice()))
    .bind(column!(entries, (entry, _) => entry.currency.as_deref()))
    .bind(column!(entries, (entry, _) => text(entry.amount)))
    .bind(column!(entries, (entry, _) => text(entry.fee)))
    .bind(column!(entries, (entry, _) => text(entry.balance_after)))
    .bind(column!(postings, (position, _, _) => *position))
    .bind(column!(postings, (_, ordinal, _) => *ordinal))
    .bind(column!(postings, (_, _, posting) => posting.debit.0))
    .bind(column!(postings, (_, _, posting) => posting.credit.0))
    .bind(column!(postings, (_, _, posting) => text(Some(posting.amount))))
    .bind(column!(writes.balances, (id, _) => id.0))
    .bind(column!(writes.balances, (_, balance) => text(Some(*balance))))
    .bind(head.position)
    .bind(head.hash.as_slice())
    .bind(head.turn)
    .bind(head.callback)
    .bind(head.payment)
    .bind(head.customer)
    .bind(head.account)
    .execute(connection)
    .await?;
    Ok(())
}

/// What most batches have none of: each its own statement, only when there is something to write.
async fn write_rare(connection: &mut PgConnection, writes: &Writes<'_>) -> Result<(), StoreError> {
    if !writes.verdicts.is_empty() {
        write_verdicts(connection, &writes.verdicts).await?;
    }
    if !writes.customers.is_empty() || !writes.references.is_empty() {
        write_customers(connection, writes).await?;
    }
    if !writes.new_accounts.is_empty() {
        sqlx::query(
            "INSERT INTO accounts (id, merchant_id, kind, customer_id, currency, balance)
             SELECT * FROM unnest($1::int8[], $2::int2[], $3::int2[], $4::int8[], $5::text[], $6::text[]::numeric[])",
        )
        .bind(writes.new_accounts.iter().map(|(id, _, _)| id.0).collect::<Vec<_>>())
        .bind(writes.new_accounts.iter().map(|(_, key, _)| key.merchant.0).collect::<Vec<_>>())
        .bind(writes.new_accounts.iter().map(|(_, key, _)| key.kind.code()).collect::<Vec<_>>())
        .bind(writes.new_accounts.iter().map(|(_, key, _)| key.customer.map_or(0, |id| id.0)).collect::<Vec<_>>())
        .bind(writes.new_accounts.iter().map(|(_, key, _)| key.currency.as_str()).collect::<Vec<_>>())
        .bind(writes.new_accounts.iter().map(|(_, _, balance)| balance.to_string()).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    if !writes.redeliveries.is_empty() {
        sqlx::query(
            "INSERT INTO redeliveries (callback_id, count, last_us)
             SELECT id, count(*), $2 FROM unnest($1::int8[]) AS i(id) GROUP BY id
             ON CONFLICT (callback_id) DO UPDATE SET count = redeliveries.count + excluded.count, last_us = excluded.last_us",
        )
        .bind(writes.redeliveries.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(writes.now_us)
        .execute(&mut *connection)
        .await?;
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
        .bind(verdict.reason.map(|reason| reason.code()))
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
    }
    Ok(())
}

async fn write_customers(connection: &mut PgConnection, writes: &Writes<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO customers (id, merchant_id, name, opened_us)
         SELECT id, merchant, name, $4 FROM unnest($1::int8[], $2::int2[], $3::text[]) AS i(id, merchant, name)",
    )
    .bind(writes.customers.iter().map(|(id, _, _)| id.0).collect::<Vec<_>>())
    .bind(writes.customers.iter().map(|(_, merchant, _)| merchant.0).collect::<Vec<_>>())
    .bind(writes.customers.iter().map(|(_, _, name)| name.as_str()).collect::<Vec<_>>())
    .bind(writes.now_us)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO customer_references (merchant_id, kind, value, customer_id)
         SELECT * FROM unnest($1::int2[], $2::int2[], $3::text[], $4::int8[])",
    )
    .bind(writes.references.iter().map(|(key, _)| key.merchant.0).collect::<Vec<_>>())
    .bind(writes.references.iter().map(|(key, _)| key.kind.code()).collect::<Vec<_>>())
    .bind(writes.references.iter().map(|(key, _)| key.value.as_str()).collect::<Vec<_>>())
    .bind(writes.references.iter().map(|(_, id)| id.0).collect::<Vec<_>>())
    .execute(connection)
    .await?;
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
            "UPDATE discrepancies SET resolved_us = $2, resolution = 'decided anew'
             WHERE callback_id = ANY($1) AND resolved_us IS NULL AND position <= $3",
        )
        .bind(writes.released.iter().map(|id| id.0).collect::<Vec<_>>())
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
