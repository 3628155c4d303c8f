//! What most batches have none of, on SQLite: new customers and accounts, repeats, discrepancies, later verdicts.

use sqlx::SqliteConnection;

use super::sqlite::insert;
use super::{State, StoreError, Verdict, Writes};

/// What most batches have none of.
pub(super) async fn write_rare(connection: &mut SqliteConnection, writes: &Writes<'_>) -> Result<(), StoreError> {
    for verdict in &writes.verdicts {
        write_verdict(connection, verdict).await?;
    }
    let now_us = writes.now_us;
    insert(
        connection,
        "customers (id, merchant_id, name, opened_us)",
        &writes.customers,
        |row, (id, merchant, name)| {
            row.push_bind(id.0).push_bind(merchant.0).push_bind(name.clone()).push_bind(now_us);
        },
        "",
    )
    .await?;
    insert(
        connection,
        "customer_references (merchant_id, kind, value, customer_id)",
        &writes.references,
        |row, (key, id)| {
            row.push_bind(key.merchant.0).push_bind(key.kind.code()).push_bind(key.value.clone()).push_bind(id.0);
        },
        "",
    )
    .await?;
    insert(
        connection,
        "accounts (id, merchant_id, kind, customer_id, currency, balance)",
        &writes.new_accounts,
        |row, (id, key, balance)| {
            row.push_bind(id.0).push_bind(key.merchant.0).push_bind(key.kind.code());
            row.push_bind(key.customer.map_or(0, |id| id.0)).push_bind(key.currency.clone());
            row.push_bind(balance.to_string());
        },
        "",
    )
    .await?;
    insert(
        connection,
        "redeliveries (callback_id, count, last_us)",
        &writes.redeliveries,
        |row, id| {
            row.push_bind(id.0).push_bind(1_i64).push_bind(now_us);
        },
        "ON CONFLICT (callback_id) DO UPDATE SET count = redeliveries.count + 1, last_us = excluded.last_us",
    )
    .await?;
    if writes.has_orders() {
        super::own::write_sqlite(connection, writes).await?;
    }
    write_discrepancies(connection, writes).await
}

async fn write_discrepancies(connection: &mut SqliteConnection, writes: &Writes<'_>) -> Result<(), StoreError> {
    insert(
        connection,
        "discrepancies (position, merchant_id, reason, callback_id, payment_id, opened_us)",
        &writes.discrepancies,
        |row, discrepancy| {
            row.push_bind(discrepancy.position).push_bind(discrepancy.merchant.0);
            row.push_bind(discrepancy.reason.code()).push_bind(discrepancy.callback.0);
            row.push_bind(discrepancy.payment.map(|id| id.0)).push_bind(discrepancy.opened_us);
        },
        "",
    )
    .await?;
    for (id, how) in &writes.released {
        sqlx::query(
            "UPDATE discrepancies SET resolved_us = ?, resolution = ?
             WHERE callback_id = ? AND resolved_us IS NULL AND position <= ?",
        )
        .bind(writes.now_us)
        .bind(*how)
        .bind(id.0)
        .bind(writes.released_before)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn write_verdict(connection: &mut SqliteConnection, verdict: &Verdict) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE callbacks SET state = ?, reason = ?, detail = ?, policy = ?, entries = ?, position = ?, turn = ?,
            payment_id = ?, customer_id = ?, decided_us = ? WHERE id = ?",
    )
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
    .bind(verdict.id.0)
    .execute(&mut *connection)
    .await?;
    if verdict.state == State::Held {
        sqlx::query("UPDATE discrepancies SET reason = ? WHERE callback_id = ? AND resolved_us IS NULL")
            .bind(verdict.reason.map(crate::domain::reason::Reason::code))
            .bind(verdict.id.0)
            .execute(connection)
            .await?;
    }
    Ok(())
}
