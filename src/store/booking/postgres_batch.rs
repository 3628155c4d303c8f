//! The one statement that writes a batch on PostgreSQL: everything, or nothing if the head has moved.

use sqlx::PgConnection;

use super::{Head, StoreError, Writes};
use crate::domain::amount::Amount;

const WRITE_BATCH: &str = "WITH head AS (
        UPDATE journal_head SET position = $59, hash = $60, turn = $61, callback_id = $62, payment_id = $63,
            customer_id = $64, account_id = $65 WHERE id = 1 AND turn = $1 RETURNING 1),
    arrived AS (
        INSERT INTO callbacks (id, merchant_id, family, state, reason, policy, entries, locality, turn, position,
            payment_id, customer_id, received_us, decided_us, digest, signature, type, status, ext_id, foreign_id,
            end_user_reference, address, txids, detail, headers, body, origin)
        SELECT * FROM unnest($2::int8[], $3::int2[], $4::int2[], $5::int2[], $6::int2[], $7::int2[], $8::int2[], $9::int8[],
            $10::int8[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[], $16::bytea[],
            $17::bytea[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[],
            $24::text[], $25::text[], $26::text[], $27::bytea[], $75::int2[]
        ) WHERE EXISTS (SELECT FROM head)),
    opened AS (
        INSERT INTO payments (id, merchant_id, family, status, facts, fingerprint, customer_id, ext_id)
        SELECT * FROM unnest($28::int8[], $29::int2[], $30::int2[], $31::int2[], $32::int8[], $33::int8[], $34::int8[],
            $35::text[]) WHERE EXISTS (SELECT FROM head)),
    entered AS (
        INSERT INTO journal (position, merchant_id, event, effect, reason, postings, subject, callback_id,
            payment_id, customer_id, at_us, hash, currency, amount, fee, balance_after)
        SELECT * FROM unnest($36::int8[], $37::int2[], $38::int2[], $39::int2[], $40::int2[], $41::int2[], $42::int8[],
            $43::int8[], $44::int8[], $45::int8[], $46::int8[], $47::bytea[], $48::text[],
            $49::text[]::numeric[], $50::text[]::numeric[], $51::text[]::numeric[]
        ) WHERE EXISTS (SELECT FROM head)),
    posted AS (
        INSERT INTO postings (position, ordinal, debit_id, credit_id, amount)
        SELECT * FROM unnest($52::int8[], $53::int2[], $54::int8[], $55::int8[], $56::text[]::numeric[]
        ) WHERE EXISTS (SELECT FROM head)),
    balanced AS (
        UPDATE accounts SET balance = i.balance
        FROM unnest($57::int8[], $58::text[]::numeric[]) AS i(id, balance) WHERE accounts.id = i.id AND EXISTS (SELECT FROM head)),
    paid AS (
        UPDATE payments SET status = i.status, facts = i.facts, fingerprint = i.fingerprint, customer_id = i.customer
        FROM unnest($66::text[], $67::int2[], $68::int2[], $69::int2[], $70::int8[], $71::int8[], $72::int8[])
            AS i(ext, family, merchant, status, facts, fingerprint, customer)
        WHERE payments.ext_id = i.ext AND payments.family = i.family AND payments.merchant_id = i.merchant
            AND EXISTS (SELECT FROM head)),
    repeated AS (
        INSERT INTO redeliveries (callback_id, count, last_us)
        SELECT id, count(*), $74 FROM unnest($73::int8[]) AS i(id) WHERE EXISTS (SELECT FROM head) GROUP BY id
        ON CONFLICT (callback_id) DO UPDATE SET count = redeliveries.count + excluded.count, last_us = excluded.last_us)
    SELECT FROM head";

/// The arrivals and the ledger, all or nothing: `head` yields its row, and lets the others be written, only if nobody
/// has booked since `before`. Whoever comes second waits for the row, and then finds it changed.
#[expect(clippy::too_many_lines, reason = "one statement with a line for each of its parameters")]
pub(super) async fn write_batch(
    connection: &mut PgConnection,
    writes: &Writes<'_>,
    before: &Head,
    after: &Head,
) -> Result<bool, StoreError> {
    macro_rules! column {
        ($rows:expr, $row:pat => $value:expr) => {
            $rows.iter().map(|$row| $value).collect::<Vec<_>>()
        };
    }
    let text = |amount: Option<Amount>| amount.map(|amount| amount.to_string());
    let (arrivals, entries) = (&writes.arrivals, &writes.entries);
    let (opened, paid): (Vec<_>, Vec<_>) = writes.payments.iter().partition(|payment| payment.is_new);
    let postings: Vec<_> = super::numbered_postings(entries).collect();
    let written = sqlx::query(WRITE_BATCH)
        .bind(before.turn)
        .bind(column!(arrivals, (_, v) => v.id.0))
        .bind(column!(arrivals, (a, _) => a.merchant.0))
        .bind(column!(arrivals, (a, _) => a.head.family().code()))
        .bind(column!(arrivals, (_, v) => v.state.code()))
        .bind(column!(arrivals, (_, v) => v.reason.map(crate::domain::reason::Reason::code)))
        .bind(column!(arrivals, (_, v) => v.policy))
        .bind(column!(arrivals, (_, v) => v.entries))
        .bind(column!(arrivals, (a, _) => a.locality))
        .bind(column!(arrivals, (_, v) => v.turn))
        .bind(column!(arrivals, (_, v) => v.position))
        .bind(column!(arrivals, (_, v) => v.payment.map(|id| id.0)))
        .bind(column!(arrivals, (_, v) => v.customer.map(|id| id.0)))
        .bind(column!(arrivals, (a, _) => a.received_us))
        .bind(column!(arrivals, (_, v) => v.decided_us))
        .bind(column!(arrivals, (a, _) => a.digest.as_slice()))
        .bind(column!(arrivals, (a, _) => a.signature.as_slice()))
        .bind(column!(arrivals, (a, _) => a.head.kind.as_deref()))
        .bind(column!(arrivals, (a, _) => a.head.status.as_deref()))
        .bind(column!(arrivals, (a, _) => a.head.payment_id.as_deref()))
        .bind(column!(arrivals, (a, _) => a.head.foreign_id.as_deref()))
        .bind(column!(arrivals, (a, _) => a.head.end_user_reference.as_deref()))
        .bind(column!(arrivals, (a, _) => a.head.address.as_deref()))
        .bind(column!(arrivals, (a, _) => super::join_txids(a.head)))
        .bind(column!(arrivals, (_, v) => v.detail.as_deref()))
        .bind(column!(arrivals, (a, _) => a.headers))
        .bind(column!(arrivals, (a, _) => a.body))
        .bind(column!(opened, row => row.id.0))
        .bind(column!(opened, row => row.merchant.0))
        .bind(column!(opened, row => row.family.code()))
        .bind(column!(opened, row => row.status.code()))
        .bind(column!(opened, row => row.facts))
        .bind(column!(opened, row => row.fingerprint))
        .bind(column!(opened, row => row.customer.map(|id| id.0)))
        .bind(column!(opened, row => row.ext_id.as_str()))
        .bind(column!(entries, (entry, _) => entry.position))
        .bind(column!(entries, (entry, _) => entry.merchant.0))
        .bind(column!(entries, (entry, _) => entry.event.code()))
        .bind(column!(entries, (entry, _) => entry.effect.code()))
        .bind(column!(entries, (entry, _) => entry.reason.map(crate::domain::reason::Reason::code)))
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
        .bind(after.position)
        .bind(after.hash.as_slice())
        .bind(after.turn)
        .bind(after.callback)
        .bind(after.payment)
        .bind(after.customer)
        .bind(after.account)
        .bind(column!(paid, row => row.ext_id.as_str()))
        .bind(column!(paid, row => row.family.code()))
        .bind(column!(paid, row => row.merchant.0))
        .bind(column!(paid, row => row.status.code()))
        .bind(column!(paid, row => row.facts))
        .bind(column!(paid, row => row.fingerprint))
        .bind(column!(paid, row => row.customer.map(|id| id.0)))
        .bind(column!(writes.redeliveries, id => id.0))
        .bind(writes.now_us)
        .bind(column!(arrivals, (a, _) => a.origin.code()))
        .execute(connection)
        .await?;
    Ok(written.rows_affected() == 1)
}
