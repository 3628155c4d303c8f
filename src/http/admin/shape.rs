//! The JSON that others read, in one place: the API and the command line give the same rows. Ids and amounts are
//! strings, absent values null, times RFC 3339 with `Z`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::app::Rejection;
use crate::booker::replay::{Account, Change, Diff};
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::decide::{Credit, Policy, UnknownCustomer};
use crate::domain::event::{Event, rfc3339};
use crate::domain::reason::Reason;
use crate::store::callbacks::{Detail, Discrepancy, Failure, Summary, Transfer};
use crate::store::ledger::Balance;

pub type Row = Map<String, Value>;

/// `{"data":[…],"next":…}`
pub fn page(rows: Vec<Row>, next: Option<String>) -> Value {
    json!({"data": rows, "next": next})
}

/// One event after another, as the queue has them, and where to go on from.
pub fn event_page(events: &[Event], next: i64) -> Vec<u8> {
    let mut page = b"{\"data\":[".to_vec();
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            page.push(b',');
        }
        page.extend_from_slice(&event.body);
    }
    page.extend_from_slice(format!("],\"next\":\"{next}\"}}").as_bytes());
    page
}

/// Fields in their order.
pub(super) fn row<const N: usize>(fields: [(&str, Value); N]) -> Row {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn word(reason: Option<Reason>) -> Value {
    reason.map(Reason::word).into()
}

pub fn callback(summary: &Summary) -> Row {
    row([
        ("id", summary.id.to_string().into()),
        ("merchant", summary.merchant.as_str().into()),
        ("type", summary.kind.as_deref().into()),
        ("status", summary.status.as_deref().into()),
        ("state", summary.state.word().into()),
        ("reason", word(summary.reason)),
        ("payment_id", summary.payment_id.as_deref().into()),
        ("foreign_id", summary.foreign_id.as_deref().into()),
        ("end_user_reference", summary.end_user_reference.as_deref().into()),
        ("customer", summary.customer.as_deref().into()),
        ("deliveries", summary.deliveries.into()),
        ("received_at", rfc3339(summary.received_us).into()),
    ])
}

/// A callback with all that came of it: the fields of its line, and more.
pub fn detail(detail: &Detail) -> Row {
    let mut whole = callback(&detail.summary);
    let headers = serde_json::from_str(&detail.headers).unwrap_or_else(|_| Value::from(detail.headers.as_str()));
    whole.extend(row([
        ("address", detail.address.as_deref().into()),
        ("txids", detail.txids.as_slice().into()),
        ("last_delivery_at", rfc3339(detail.last_delivery_us).into()),
        ("headers", headers),
        ("body", detail.body.as_ref().map(|body| STANDARD.encode(body)).into()),
        ("body_encoding", "base64".into()),
        ("digest", const_hex::encode(&detail.digest).into()),
        ("signature", const_hex::encode(&detail.signature).into()),
        ("decision", decision(detail)),
        ("transfers", detail.transfers.iter().map(transfer).collect()),
        ("events", detail.events.iter().map(event).collect()),
        ("failure", detail.failure.as_ref().map(failure).into()),
        ("discrepancies", detail.discrepancies.iter().map(discrepancy).collect()),
    ]));
    whole
}

fn decision(detail: &Detail) -> Value {
    let policy = Policy::from_code(detail.policy);
    let credit = match policy.credit {
        Credit::Gross => "gross",
        Credit::Net => "net",
    };
    let unknown_customer = match policy.unknown_customer {
        UnknownCustomer::Open => "open",
        UnknownCustomer::Suspense => "suspense",
    };
    json!({
        "state": detail.summary.state.word(),
        "reason": word(detail.summary.reason),
        "detail": detail.detail,
        "policy": {"credit": credit, "unknown_customer": unknown_customer},
        "decided_at": rfc3339(detail.decided_us),
    })
}

fn transfer(transfer: &Transfer) -> Value {
    let postings = transfer.postings.iter().map(|posting| {
        let (debit, credit) = (posting.debit_customer.as_deref(), posting.credit_customer.as_deref());
        posting_row((posting.debit, debit), (posting.credit, credit), &posting.currency, posting.amount)
    });
    json!({
        "id": transfer.position.to_string(),
        "effect": transfer.key.to_string(),
        "event": transfer.event,
        "reason": word(transfer.reason),
        "currency": transfer.currency,
        "amount": transfer.amount,
        "fee": transfer.fee,
        "booked_at": rfc3339(transfer.at_us),
        "postings": postings.collect::<Vec<_>>(),
    })
}

/// A posting: the account debited and the one credited, each with its customer where it is one's.
fn posting_row(
    debit: (AccountKind, Option<&str>),
    credit: (AccountKind, Option<&str>),
    currency: &str,
    amount: Amount,
) -> Value {
    let side = |(kind, customer): (AccountKind, Option<&str>)| json!({"kind": kind.name(), "customer": customer});
    json!({"debit": side(debit), "credit": side(credit), "currency": currency, "amount": amount})
}

/// The event itself; its stored columns always make JSON.
pub fn event(event: &Event) -> Value {
    serde_json::from_slice(&event.body).unwrap_or_default()
}

fn failure(failure: &Failure) -> Value {
    json!({
        "attempts": failure.attempts,
        "error": failure.error,
        "next_attempt_at": rfc3339(failure.next_us),
    })
}

pub fn discrepancy(discrepancy: &Discrepancy) -> Row {
    row([
        ("id", discrepancy.id.to_string().into()),
        ("merchant", discrepancy.merchant.as_str().into()),
        ("reason", discrepancy.reason.word().into()),
        ("callback_id", discrepancy.callback.to_string().into()),
        ("payment_id", discrepancy.payment_id.as_deref().into()),
        ("opened_at", rfc3339(discrepancy.opened_us).into()),
        ("resolved_at", discrepancy.resolved_us.map(rfc3339).into()),
        ("resolution", discrepancy.resolution.as_deref().into()),
    ])
}

pub fn balance(balance: &Balance) -> Row {
    row([
        ("merchant", balance.merchant.as_str().into()),
        ("kind", balance.kind.name().into()),
        ("customer", balance.customer.as_deref().into()),
        ("currency", balance.currency.as_str().into()),
        ("balance", balance.balance.to_string().into()),
    ])
}

/// The money diff: each callback before and after, and what changes altogether.
pub fn diff(diff: &Diff, is_dry_run: bool, next: Option<String>) -> Value {
    json!({
        "dry_run": is_dry_run,
        "data": diff.changes.iter().map(change).collect::<Vec<_>>(),
        "balances": diff.balances.iter().map(|(account, by)| balance_change(account, *by)).collect::<Vec<_>>(),
        "pruned": diff.pruned.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "refused": diff.refused.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>(),
        "next": next,
    })
}

pub fn change(change: &Change) -> Row {
    let before = &change.before;
    let postings = change.postings.iter().map(|moved| {
        let (debit, credit) = (moved.debit.customer.as_deref(), moved.credit.customer.as_deref());
        let (debit, credit) = ((moved.debit.kind, debit), (moved.credit.kind, credit));
        posting_row(debit, credit, &moved.debit.currency, moved.amount)
    });
    row([
        ("id", before.id.to_string().into()),
        ("merchant", before.merchant.as_str().into()),
        ("type", before.kind.as_deref().into()),
        ("status", before.status.as_deref().into()),
        ("payment_id", before.payment_id.as_deref().into()),
        ("before", json!({"state": before.state.word(), "reason": word(before.reason)})),
        ("after", json!({"state": change.state.word(), "reason": word(change.reason)})),
        ("changed", (!change.is_unchanged).into()),
        ("postings", postings.collect()),
    ])
}

pub fn balance_change(account: &Account, by: Amount) -> Row {
    row([
        ("merchant", account.merchant.as_str().into()),
        ("kind", account.kind.name().into()),
        ("customer", account.customer.as_deref().into()),
        ("currency", account.currency.as_str().into()),
        ("change", by.to_string().into()),
    ])
}

pub fn rejection(rejection: &Rejection) -> Row {
    row([
        ("at", rfc3339(rejection.at_us).into()),
        ("reason", rejection.reason.into()),
        ("cause", rejection.cause.into()),
        ("advice", rejection.advice.into()),
        ("peer", rejection.peer.as_deref().into()),
        ("body_bytes", rejection.bytes.into()),
    ])
}
