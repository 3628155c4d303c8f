//! The pages of payments: the list, and one with what happened to it.

use actix_web::{HttpRequest, web};
use askama::Template;

use super::frame::{Answer, Frame, html, query_of};
use super::show::{Badge, Dash, Names, When, words};
use crate::app::App;
use crate::domain::payment::{Family, Status};
use crate::http::admin::books;
use crate::http::admin::query::Params;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::callbacks::Summary;
use crate::store::entries::{Account, Entry};
use crate::store::payments::{self, Payment};

const PAGE: u64 = 50;
const PARAMS: [&str; 4] = ["q", "type", "status", "after"];

#[derive(Template)]
#[template(path = "payments.html")]
struct Payments {
    frame: Frame,
    q: String,
    kind: String,
    status: String,
    types: Vec<&'static str>,
    statuses: Vec<&'static str>,
    rows: Vec<Row>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "payment.html")]
struct One {
    frame: Frame,
    row: Row,
    entries: Vec<Happened>,
    callbacks: Vec<Line>,
}

struct Row {
    id: i64,
    payment_id: String,
    at: Option<When>,
    merchant: String,
    kind: &'static str,
    status: String,
    effect: Option<Badge>,
    customer: Option<(i64, String)>,
    amount: Dash,
    currency: Dash,
}

struct Happened {
    at: When,
    effect: Badge,
    event: &'static str,
    reason: Option<String>,
    callback: i64,
    postings: Vec<Posting>,
}

struct Posting {
    debit: String,
    credit: String,
    amount: String,
    currency: String,
}

struct Line {
    id: i64,
    at: When,
    kind: Dash,
    status: Dash,
    state: Badge,
    reason: Dash,
    deliveries: i64,
}

/// `GET /payments`
pub(super) async fn list(caller: Caller, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &PARAMS)?;
    let after = params.position("after")?;
    let mut text = |name: &str| params.take(name).unwrap_or_default();
    let (q, kind, status) = (text("q"), text("type"), text("status"));
    let filter = payments::Filter {
        merchant: None,
        family: Some(&kind).filter(|word| !word.is_empty()).map(|word| books::family(word)).transpose()?,
        status: Some(&status).filter(|word| !word.is_empty()).map(|word| books::status(word)).transpose()?,
        q: Some(q.trim().to_owned()).filter(|q| !q.is_empty()),
    };
    let page = payments::list(&app.db, &filter, after, PAGE).await?;
    let next = page.next.map(|next| {
        let next = next.to_string();
        format!("/payments{}", query_of(&[("q", &q), ("type", &kind), ("status", &status), ("after", &next)]))
    });
    Ok(html(&Payments {
        frame: Frame::new(&app, &caller, "/payments", "Payments"),
        types: Family::ALL.iter().map(|family| family.name()).collect(),
        statuses: Status::ALL.iter().map(|status| status.word()).collect(),
        rows: page.rows.into_iter().map(|payment| row(payment, Names::of(&app))).collect(),
        q,
        kind,
        status,
        next,
    }))
}

/// `GET /payments/{id}`
pub(super) async fn show(caller: Caller, id: web::Path<String>, app: web::Data<App>) -> Answer {
    let none = || ApiError::NotFound(format!("payment {id}"));
    let number = id.parse().map_err(|_not_a_number| none())?;
    let detail = payments::get(&app.db, number).await?.ok_or_else(none)?;
    let title = format!("Payment {}", detail.payment.payment_id);
    Ok(html(&One {
        frame: Frame::new(&app, &caller, "/payments", &title),
        row: row(detail.payment, Names::of(&app)),
        entries: detail.entries.iter().map(|entry| happened(entry, Names::of(&app))).collect(),
        callbacks: detail.callbacks.into_iter().map(line).collect(),
    }))
}

fn row(payment: Payment, names: Names) -> Row {
    let last = payment.last.as_ref();
    Row {
        id: payment.id,
        at: last.map(|entry| When(entry.at_us)),
        kind: payment.family.name(),
        status: words(payment.status.word()),
        effect: last.map(|entry| Badge(entry.effect.word())),
        amount: Dash(last.and_then(|entry| entry.amount).map(|amount| amount.to_string())),
        currency: Dash(last.and_then(|entry| entry.currency.clone())),
        payment_id: payment.payment_id,
        merchant: payment.merchant,
        customer: payment.customer.map(|(id, name)| (id, names.show(name))),
    }
}

fn happened(entry: &Entry, names: Names) -> Happened {
    let posting = |posting: &crate::store::entries::Posting| Posting {
        debit: named(&posting.debit, names),
        credit: named(&posting.credit, names),
        amount: posting.amount.to_string(),
        currency: posting.debit.currency.clone(),
    };
    Happened {
        at: When(entry.at_us),
        effect: Badge(entry.effect.word()),
        event: entry.event.word(),
        reason: entry.reason.map(|reason| words(reason.word())),
        callback: entry.callback.0,
        postings: entry.postings.iter().map(posting).collect(),
    }
}

fn named(account: &Account, names: Names) -> String {
    names.account(account.kind.name(), account.customer.as_deref())
}

fn line(summary: Summary) -> Line {
    Line {
        id: summary.id.0,
        at: When(summary.received_us),
        kind: Dash(summary.kind),
        status: Dash(summary.status),
        state: Badge(summary.state.word()),
        reason: Dash(summary.reason.map(|reason| words(reason.word()))),
        deliveries: summary.deliveries,
    }
}
