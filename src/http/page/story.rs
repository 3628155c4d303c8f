//! A callback's story: what arrived and whether it is proven, what was decided and why, what moved, what was told. Times
//! are when we did it; the processor's own are in its body.

use super::show::{Badge, Dash, Names, When, duration, words};
use super::why;
use crate::app::App;
use crate::domain::callback::Origin;
use crate::domain::decide::{Credit, Policy, UnknownCustomer};
use crate::domain::event::{Event, EventType};
use crate::domain::ids::MerchantId;
use crate::http::error::ApiError;
use crate::store::callbacks::{Detail, Transfer};
use crate::store::cursor;

pub(super) struct Story {
    pub id: i64,
    pub merchant: String,
    pub kind: Dash,
    pub status: Dash,
    pub state: Badge,
    pub reason: Option<String>,
    pub why: Option<&'static str>,
    pub detail: Option<String>,
    pub payment: Dash,
    pub foreign_id: Dash,
    pub end_user_reference: Dash,
    pub customer: Dash,
    pub address: Dash,
    pub txids: Vec<String>,
    pub deliveries: i64,
    pub digest: String,
    pub signature: String,
    pub verdict: Verdict,
    pub policy: String,
    pub steps: Vec<Step>,
    pub headers: Vec<(String, String)>,
    pub pretty: Option<String>,
    pub raw: Option<String>,
    /// Whether the body is not shown because it names the customer.
    pub is_hidden: bool,
    /// Whether its bytes can be had as a file.
    pub may_load: bool,
    pub body_bytes: usize,
}

/// What the signature says, looked at again now.
pub(super) struct Verdict {
    pub badge: Badge,
    pub text: &'static str,
}

/// One line of the timeline.
pub(super) struct Step {
    pub at: When,
    pub what: String,
    pub note: Option<String>,
    pub badge: Option<Badge>,
    pub postings: Vec<Line>,
}

pub(super) struct Line {
    pub debit: String,
    pub credit: String,
    pub currency: String,
    pub amount: String,
}

pub(super) async fn tell(app: &App, detail: Detail) -> Result<Story, ApiError> {
    let verdict = verdict(app, &detail);
    let published = match app.settings.broker.urls.is_empty() {
        true => None,
        false => Some(cursor::state(&app.db, cursor::RABBITMQ).await?.position),
    };
    let names = Names::of(app);
    let steps = steps(&detail, published, names);
    let is_kept = detail.body.is_some();
    let body_bytes = detail.body.as_ref().map_or(0, Vec::len);
    let body = detail.body.filter(|_| !names.is_short);
    let row = detail.summary;
    Ok(Story {
        id: row.id.0,
        merchant: row.merchant,
        kind: Dash(row.kind),
        status: Dash(row.status),
        state: Badge(row.state.word()),
        reason: row.reason.map(|reason| words(reason.word())),
        why: row.reason.map(why::sentence),
        detail: detail.detail,
        payment: Dash(row.payment_id),
        foreign_id: names.dash(row.foreign_id),
        end_user_reference: names.dash(row.end_user_reference),
        customer: names.dash(row.customer),
        address: Dash(detail.address),
        txids: detail.txids,
        deliveries: row.deliveries,
        digest: const_hex::encode(&detail.digest),
        signature: const_hex::encode(&detail.signature),
        verdict,
        policy: policy(detail.policy),
        steps,
        headers: headers(&detail.headers),
        pretty: body.as_deref().and_then(|body| std::str::from_utf8(body).ok()).map(pretty),
        raw: body.as_deref().map(|body| String::from_utf8_lossy(body).into_owned()),
        is_hidden: is_kept && names.is_short,
        may_load: is_kept,
        body_bytes,
    })
}

fn verdict(app: &App, detail: &Detail) -> Verdict {
    let Some(body) = &detail.body else {
        return Verdict { badge: Badge("unknown"), text: "The body is pruned, so nothing can be checked again." };
    };
    let merchant =
        app.names.0.iter().find(|(_, name)| **name == detail.summary.merchant).map(|(id, _)| MerchantId(*id));
    let proves = |origin: &Origin| {
        merchant.is_some_and(|merchant| app.keyring.proves(merchant, *origin, &detail.signature, body))
    };
    let (badge, text) = match Origin::ALL.into_iter().find(proves) {
        Some(Origin::Callback) => ("valid", "Signed by AlphaPo over exactly these bytes: checked again just now."),
        Some(Origin::Reconcile) => ("valid", "The processor's answer to our question, sealed by us: checked just now."),
        Some(Origin::Order) => ("valid", "An order of our own, sealed by us: checked again just now."),
        None => ("invalid", "It fits none of the secrets configured now. Was the secret it was signed with removed?"),
    };
    Verdict { badge: Badge(badge), text }
}

fn steps(detail: &Detail, published: Option<i64>, names: Names) -> Vec<Step> {
    let row = &detail.summary;
    let plain = |at_us: i64, what: &str| Step {
        at: When(at_us),
        what: what.to_owned(),
        note: None,
        badge: None,
        postings: Vec::new(),
    };
    let mut steps = vec![plain(row.received_us, "Received, signature verified, stored")];
    let mut decided = plain(detail.decided_us, "Decided");
    decided.badge = Some(Badge(row.state.word()));
    decided.note = row.reason.map(|reason| why::sentence(reason).to_owned());
    steps.push(decided);
    steps.extend(detail.transfers.iter().map(|transfer| moved(transfer, names)));
    steps.extend(detail.events.iter().map(|event| told(event, detail, published)));
    if row.deliveries > 1 {
        let again = format!("Last delivered again, {} deliveries in all: booked once", row.deliveries);
        steps.push(plain(detail.last_delivery_us, &again));
    }
    if let Some(failure) = &detail.failure {
        let mut step = plain(failure.next_us, "Next attempt");
        step.note = Some(format!("After {} failed attempts. The last error: {}", failure.attempts, failure.error));
        step.badge = Some(Badge("failed"));
        steps.push(step);
    }
    for open in &detail.discrepancies {
        let mut step = plain(open.opened_us, &format!("Discrepancy {}: {}", open.id, words(open.reason.word())));
        step.badge = Some(Badge(if open.resolved_us.is_some() { "resolved" } else { "open" }));
        step.note = match (open.resolved_us, &open.resolution) {
            (Some(at_us), resolution) => Some(format!(
                "Resolved after {}. {}",
                duration(at_us.saturating_sub(open.opened_us)),
                resolution.as_deref().unwrap_or_default()
            )),
            (None, _) => None,
        };
        steps.push(step);
    }
    steps.sort_by_key(|step| step.at.0);
    steps
}

fn moved(transfer: &Transfer, names: Names) -> Step {
    let postings = transfer.postings.iter().map(|posting| Line {
        debit: names.account(posting.debit.name(), posting.debit_customer.as_deref()),
        credit: names.account(posting.credit.name(), posting.credit_customer.as_deref()),
        currency: posting.currency.clone(),
        amount: posting.amount.to_string(),
    });
    Step {
        at: When(transfer.at_us),
        what: format!("Posted as {}", transfer.key),
        note: Some(format!("Journal entry {}", transfer.position)),
        badge: None,
        postings: postings.collect(),
    }
}

fn told(event: &Event, detail: &Detail, published: Option<i64>) -> Step {
    let booked = detail.transfers.iter().find(|transfer| transfer.position == event.position);
    let (badge, note) = match published {
        None => ("ready", "There is no broker: it is read over HTTP."),
        Some(position) if position >= event.position => ("published", "The broker confirmed it."),
        Some(_) => ("waiting", "It waits for the broker."),
    };
    Step {
        at: When(booked.map_or(detail.decided_us, |transfer| transfer.at_us)),
        what: format!("Told as {}, sequence {}", EventType::word(event.event), event.position),
        note: Some(note.to_owned()),
        badge: Some(Badge(badge)),
        postings: Vec::new(),
    }
}

fn policy(code: i16) -> String {
    let policy = Policy::from_code(code);
    let credit = match policy.credit {
        Credit::Gross => "the merchant bears the fees",
        Credit::Net => "the customer bears the fees",
    };
    let unknown = match policy.unknown_customer {
        UnknownCustomer::Open => "a first deposit opens its customer",
        UnknownCustomer::Suspense => "an unknown customer's money waits",
    };
    format!("{credit}; {unknown}")
}

fn headers(kept: &str) -> Vec<(String, String)> {
    let kept: serde_json::Value = serde_json::from_str(kept).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    kept.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// The same tokens on lines of their own: only blanks between them change, so no number loses a digit.
fn pretty(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_mul(2));
    let (mut level, mut is_text, mut is_escaped) = (0_usize, false, false);
    let mut letters = text.chars().filter(|letter| *letter != '\r').peekable();
    let line = |out: &mut String, level: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", level.min(40)));
    };
    while let Some(letter) = letters.next() {
        if is_text {
            out.push(letter);
            (is_text, is_escaped) = (letter != '"' || is_escaped, letter == '\\' && !is_escaped);
            continue;
        }
        match letter {
            '{' | '[' => {
                out.push(letter);
                while letters.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(close) = letters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    level = level.saturating_add(1);
                    line(&mut out, level);
                }
            }
            '}' | ']' => {
                level = level.saturating_sub(1);
                line(&mut out, level);
                out.push(letter);
            }
            ',' => {
                out.push(',');
                line(&mut out, level);
            }
            ':' => out.push_str(": "),
            _ if letter.is_ascii_whitespace() => {}
            _ => {
                out.push(letter);
                is_text = letter == '"';
            }
        }
    }
    out
}
