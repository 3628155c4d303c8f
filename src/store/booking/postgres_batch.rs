//! The one statement that writes a batch on PostgreSQL: everything, or nothing if the head has moved.

use sqlx::postgres::{PgArguments, PgBindIterExt as _};
use sqlx::{Arguments as _, PgConnection};

use super::postgres_rows::{
    AccountRow, BalanceRow, CallbackRow, CustomerRow, EntryRow, KeyRow, PaymentsRow, ReferenceRow,
};
use super::{Head, StoreError, Writes};

const WRITE_BATCH: &str = "WITH head AS (
        UPDATE journal_head SET position = $2, hash = $3, turn = $4, callback_id = $5, payment_id = $6,
            customer_id = $7, account_id = $8 WHERE id = 1 AND turn = $1 AND NOT EXISTS (
                SELECT FROM unnest($19::booking_key[]) AS i JOIN payments t ON t.fingerprint = i.fingerprint
                    AND t.merchant_id = i.merchant_id AND NOT (t.family = i.family AND t.ext_id = i.ext_id))
        RETURNING 1),
    arrived AS (
        INSERT INTO callbacks (id, merchant_id, family, state, reason, policy, entries, locality, turn, position,
            payment_id, customer_id, received_us, decided_us, digest, signature, type, status, ext_id, foreign_id,
            end_user_reference, address, txids, detail, headers, body, origin)
        SELECT * FROM unnest($9::booking_callback[]) WHERE EXISTS (SELECT FROM head)),
    opened AS (
        INSERT INTO payments (id, merchant_id, family, status, facts, fingerprint, customer_id, ext_id)
        SELECT * FROM unnest($10::booking_payment[]) WHERE EXISTS (SELECT FROM head)),
    paid AS (
        UPDATE payments SET status = i.status, facts = i.facts, fingerprint = i.fingerprint, customer_id = i.customer_id
        FROM unnest($11::booking_payment[]) AS i
        WHERE payments.ext_id = i.ext_id AND payments.family = i.family AND payments.merchant_id = i.merchant_id
            AND EXISTS (SELECT FROM head)),
    entered AS (
        INSERT INTO journal (position, merchant_id, event, effect, reason, postings, subject, callback_id,
            payment_id, customer_id, at_us, hash, currency, amount, fee, balance_after, debits, credits, amounts)
        SELECT * FROM unnest($12::booking_entry[]) WHERE EXISTS (SELECT FROM head)),
    balanced AS (
        UPDATE accounts SET balance = i.balance FROM unnest($13::booking_balance[]) AS i
        WHERE accounts.id = i.id AND EXISTS (SELECT FROM head)),
    counted AS (
        INSERT INTO accounts (id, merchant_id, kind, customer_id, currency, balance)
        SELECT * FROM unnest($14::booking_account[]) WHERE EXISTS (SELECT FROM head)),
    named AS (
        INSERT INTO customers (id, merchant_id, name, opened_us)
        SELECT i.*, $15 FROM unnest($16::booking_customer[]) AS i WHERE EXISTS (SELECT FROM head)),
    referred AS (
        INSERT INTO customer_references (merchant_id, kind, value, customer_id)
        SELECT * FROM unnest($17::booking_reference[]) WHERE EXISTS (SELECT FROM head)),
    repeated AS (
        INSERT INTO redeliveries (callback_id, count, last_us)
        SELECT id, count(*), $15 FROM unnest($18::int8[]) AS i(id) WHERE EXISTS (SELECT FROM head) GROUP BY id
        ON CONFLICT (callback_id) DO UPDATE SET count = redeliveries.count + excluded.count, last_us = excluded.last_us)
    SELECT FROM head";

const PARAMETERS: usize = 19;
/// What a callback brings beside its body, in all tables.
const ROW_BYTES: usize = 2_000;

/// The arrivals and the ledger, all or nothing: `head` yields its row, and lets the others be written, only if nobody
/// has booked since `before` and what was presumed has no twin. Whoever comes second waits for the row, and then finds it
/// changed.
pub(super) async fn write_batch(
    connection: &mut PgConnection,
    writes: &Writes<'_>,
    before: &Head,
    after: &Head,
) -> Result<bool, StoreError> {
    let (opened, paid): (Vec<_>, Vec<_>) = writes.payments.iter().partition(|payment| payment.is_new);
    // Room for all of it, so that it is not moved each time it has doubled.
    let bytes: usize = writes.arrivals.iter().map(|(arrival, _)| arrival.body.len().saturating_add(ROW_BYTES)).sum();
    let mut arguments = PgArguments::default();
    arguments.reserve(PARAMETERS, bytes);
    let written = sqlx::query_with(WRITE_BATCH, arguments)
        .bind(before.turn)
        .bind(after.position)
        .bind(after.hash.as_slice())
        .bind(after.turn)
        .bind(after.callback)
        .bind(after.payment)
        .bind(after.customer)
        .bind(after.account)
        .bind(writes.arrivals.iter().map(CallbackRow).bind_iter())
        .bind(opened.into_iter().map(PaymentsRow).bind_iter())
        .bind(paid.into_iter().map(PaymentsRow).bind_iter())
        .bind(writes.entries.iter().map(EntryRow).bind_iter())
        .bind(writes.balances.iter().map(BalanceRow).bind_iter())
        .bind(writes.new_accounts.iter().map(AccountRow).bind_iter())
        .bind(writes.now_us)
        .bind(writes.customers.iter().map(CustomerRow).bind_iter())
        .bind(writes.references.iter().map(ReferenceRow).bind_iter())
        .bind(writes.redeliveries.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(writes.presumed.iter().map(KeyRow).bind_iter())
        .execute(connection)
        .await?;
    Ok(written.rows_affected() == 1)
}
