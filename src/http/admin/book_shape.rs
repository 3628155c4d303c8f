//! The JSON of payments, customers, accounts and statements, as the API and the command line give it.

use serde_json::{Value, json};

use super::shape::{Row, balance, callback, row};
use crate::domain::customer::ReferenceKind;
use crate::domain::event::rfc3339;
use crate::store::customers::{self, Customer};
use crate::store::entries::{self, Entry};
use crate::store::ledger::Balance;
use crate::store::payments::{self, Payment};
use crate::store::statement::{AccountPosting, StatementLine};

/// The columns of a statement, in order: as CSV and as a table.
pub const STATEMENT: &[&str] = &[
    "at",
    "event",
    "kind",
    "currency",
    "change",
    "balance",
    "type",
    "payment_id",
    "reason",
    "account",
    "position",
    "callback_id",
];

pub fn payment(payment: &Payment) -> Row {
    let last = payment.last.as_ref();
    row([
        ("id", payment.id.to_string().into()),
        ("merchant", payment.merchant.as_str().into()),
        ("type", payment.family.name().into()),
        ("payment_id", payment.payment_id.as_str().into()),
        ("status", payment.status.word().into()),
        ("customer", payment.customer.as_ref().map(|(_, name)| name.as_str()).into()),
        ("customer_id", payment.customer.as_ref().map(|(id, _)| id.to_string()).into()),
        ("effect", last.map(|entry| entry.effect.word()).into()),
        ("currency", last.and_then(|entry| entry.currency.as_deref()).into()),
        ("amount", last.and_then(|entry| entry.amount).map(|amount| amount.to_string()).into()),
        ("fee", last.and_then(|entry| entry.fee).map(|fee| fee.to_string()).into()),
        ("at", last.map(|entry| rfc3339(entry.at_us)).into()),
    ])
}

/// A payment with its entries and its callbacks: the fields of its line, and more.
pub fn payment_detail(detail: &payments::Detail) -> Row {
    let mut whole = payment(&detail.payment);
    whole.extend(row([
        ("entries", detail.entries.iter().map(entry).collect()),
        ("callbacks", detail.callbacks.iter().map(callback).collect()),
    ]));
    whole
}

/// A journal entry with its postings.
pub fn entry(entry: &Entry) -> Row {
    row([
        ("position", entry.position.to_string().into()),
        ("at", rfc3339(entry.at_us).into()),
        ("event", entry.event.word().into()),
        ("effect", entry.effect.word().into()),
        ("reason", entry.reason.map(crate::domain::reason::Reason::word).into()),
        ("currency", entry.currency.as_deref().into()),
        ("amount", entry.amount.map(|amount| amount.to_string()).into()),
        ("fee", entry.fee.map(|fee| fee.to_string()).into()),
        ("callback_id", entry.callback.to_string().into()),
        ("postings", entry.postings.iter().map(posting).collect()),
    ])
}

fn posting(posting: &entries::Posting) -> Value {
    json!({
        "debit": side(&posting.debit),
        "credit": side(&posting.credit),
        "currency": posting.debit.currency,
        "amount": posting.amount,
    })
}

fn side(account: &entries::Account) -> Value {
    json!({"account": account.id.to_string(), "kind": account.kind.name(), "customer": account.customer})
}

pub fn customer(customer: &Customer) -> Row {
    row([
        ("id", customer.id.to_string().into()),
        ("merchant", customer.merchant.as_str().into()),
        ("name", customer.name.as_str().into()),
        ("opened_at", rfc3339(customer.opened_us).into()),
    ])
}

/// A customer with references and accounts: the fields of the line, and more.
pub fn customer_detail(detail: &customers::Detail) -> Row {
    let mut whole = customer(&detail.customer);
    let reference = |(kind, value): &(ReferenceKind, String)| json!({"kind": kind.word(), "value": value});
    let is_cut = u64::try_from(detail.references.len()).is_ok_and(|shown| shown >= customers::SHOWN_MAX);
    whole.extend(row([
        ("references", detail.references.iter().map(reference).collect()),
        ("references_cut", is_cut.into()),
        ("accounts", detail.accounts.iter().map(account).collect()),
    ]));
    whole
}

/// A balance with the number of its account.
pub fn account(account: &Balance) -> Row {
    let mut whole = row([("id", account.id.to_string().into())]);
    whole.extend(balance(account));
    whole
}

/// What one entry did to one account.
pub fn statement_line(line: &StatementLine) -> Row {
    let entry = &line.entry;
    row([
        ("at", rfc3339(entry.at_us).into()),
        ("event", entry.event.word().into()),
        ("kind", line.account.kind.name().into()),
        ("currency", line.account.currency.as_str().into()),
        ("change", line.change.to_string().into()),
        ("balance", line.balance.to_string().into()),
        ("type", entry.payment.as_ref().map(|(_, family, _)| family.name()).into()),
        ("payment_id", entry.payment.as_ref().map(|(.., id)| id.as_str()).into()),
        ("reason", entry.reason.map(crate::domain::reason::Reason::word).into()),
        ("account", line.account.id.to_string().into()),
        ("position", entry.position.to_string().into()),
        ("callback_id", entry.callback.to_string().into()),
    ])
}

/// A posting seen from one of its accounts.
pub fn account_posting(row_of: &AccountPosting) -> Row {
    let AccountPosting { posting, change, balance, entry } = row_of;
    row([
        ("id", format!("{}.{}", entry.position, posting.ordinal).into()),
        ("at", rfc3339(entry.at_us).into()),
        ("event", entry.event.word().into()),
        ("debit", side(&posting.debit)),
        ("credit", side(&posting.credit)),
        ("currency", posting.debit.currency.as_str().into()),
        ("amount", posting.amount.to_string().into()),
        ("change", change.to_string().into()),
        ("balance", balance.to_string().into()),
        ("type", entry.payment.as_ref().map(|(_, family, _)| family.name()).into()),
        ("payment_id", entry.payment.as_ref().map(|(.., id)| id.as_str()).into()),
        ("callback_id", entry.callback.to_string().into()),
    ])
}
