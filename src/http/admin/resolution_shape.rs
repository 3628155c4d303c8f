//! The JSON of discrepancies, proposals and the audit log.

use serde_json::{Value, json};

use super::shape::{self, Row, row};
use crate::domain::callback::Money;
use crate::domain::event::rfc3339;
use crate::domain::order::Order;
use crate::processor::wire;
use crate::store::audit_log::Entry;
use crate::store::callbacks::Detail;
use crate::store::discrepancies::{Listed, Note};
use crate::store::proposals::Proposal;

/// What `resolve` takes.
pub const ACTIONS: &str = "`action` must be one of assign (with `customer`), book_anyway, ignore, link (with \
    `payment`), correct (with `debit`, `credit`, `currency`, `amount` and, for a customer's account, `customer`), and \
    `note` says why";

/// What is shown of one discrepancy beside its line.
pub struct About {
    pub notes: Vec<Note>,
    pub proposals: Vec<Proposal>,
    pub callback: Option<Detail>,
    /// What the body says is at stake.
    pub claims: Option<Value>,
}

pub fn discrepancy(listed: &Listed) -> Row {
    let mut line = shape::discrepancy(&listed.discrepancy);
    let (currency, amount) = listed.money.clone().unzip();
    line.extend(row([
        ("kind", listed.kind().into()),
        ("currency", currency.into()),
        ("amount", amount.map(|amount| amount.to_string()).into()),
        ("owner", listed.owner.as_deref().into()),
    ]));
    line
}

pub fn discrepancy_detail(listed: &Listed, about: &About) -> Row {
    let mut whole = discrepancy(listed);
    whole.extend(row([
        ("notes", about.notes.iter().map(note).collect()),
        ("proposals", about.proposals.iter().map(proposal).collect()),
        ("callback", about.callback.as_ref().map(|detail| shape::callback(&detail.summary)).into()),
        ("claims", about.claims.clone().into()),
    ]));
    whole
}

/// What a body says was sent and received, or what our own reading found; nothing of one that can't be read.
pub fn claims(body: &[u8]) -> Option<Value> {
    if let Some(found) = found(body) {
        return Some(json!({ "found": found }));
    }
    let terms = wire::read(body).terms.ok()?;
    let money = |money: &Option<Money>| {
        money.as_ref().map(|money| json!({"currency": money.currency, "amount": money.amount.to_string()}))
    };
    Some(json!({"sent": money(&terms.sent), "received": money(&terms.received)}))
}

/// What a report of ours found.
pub fn found(body: &[u8]) -> Option<String> {
    match Order::parse(body)? {
        Order::Report(finding) => Some(finding.note),
        Order::Customer { .. }
        | Order::Withdrawal(_)
        | Order::Refund { .. }
        | Order::Assign { .. }
        | Order::Correct(_)
        | Order::Conclude { .. }
        | Order::Settle { .. } => None,
    }
}

fn note(note: &Note) -> Value {
    json!({"kind": note.kind.word(), "at": rfc3339(note.at_us), "who": note.who, "text": note.text})
}

pub fn proposal(proposal: &Proposal) -> Row {
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    row([
        ("id", proposal.id.to_string().into()),
        ("discrepancy_id", about(proposal.discrepancy)),
        ("withdrawal_id", about(proposal.withdrawal)),
        ("action", proposal.action.as_str().into()),
        ("params", parsed(&proposal.params)),
        ("moves", parsed(&proposal.moves)),
        ("note", proposal.note.as_str().into()),
        ("state", proposal.state.word().into()),
        ("needs_second", proposal.needs_second.into()),
        ("asked_by", proposal.asked_by.as_str().into()),
        ("asked_at", rfc3339(proposal.asked_us).into()),
        ("decided_by", proposal.decided_by.as_deref().into()),
        ("decided_at", proposal.decided_us.map(rfc3339).into()),
        ("ended_at", proposal.ended_us.map(rfc3339).into()),
        ("outcome", proposal.outcome.as_deref().into()),
    ])
}

fn about(id: i64) -> Value {
    Some(id).filter(|id| *id != 0).map(|id| id.to_string()).into()
}

pub fn deed(entry: &Entry) -> Row {
    row([
        ("id", entry.id.to_string().into()),
        ("at", rfc3339(entry.at_us).into()),
        ("who", entry.who.as_str().into()),
        ("role", entry.role.as_str().into()),
        ("action", entry.action.as_str().into()),
        ("subject", entry.subject.as_str().into()),
        ("before", entry.before.as_deref().into()),
        ("after", entry.after.as_deref().into()),
        ("request_id", entry.request_id.as_str().into()),
    ])
}
