//! The pages of customers: the list, and one with balances, references and the statement.

use actix_web::{HttpRequest, web};
use askama::Template;

use super::frame::{Answer, Frame, encoded, html, query_of};
use super::show::{Names, When, words};
use crate::app::App;
use crate::domain::amount::Amount;
use crate::domain::ids::CustomerId;
use crate::http::admin::query::{Params, moment};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::customers;
use crate::store::ledger::Balance;
use crate::store::lines::Place;
use crate::store::statement::{self, Span, StatementLine};

const PAGE: u64 = 50;

#[derive(Template)]
#[template(path = "customers.html")]
struct Customers {
    frame: Frame,
    q: String,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    id: i64,
    name: String,
    merchant: String,
    at: When,
}

#[derive(Template)]
#[template(path = "customer.html")]
struct One {
    frame: Frame,
    id: CustomerId,
    merchant: String,
    opened: When,
    accounts: Vec<Account>,
    /// The kind, and the value as it is and as a query has it.
    references: Vec<(String, (String, String))>,
    currency: String,
    since: String,
    until: String,
    csv: String,
    lines: Vec<Line>,
    next: Option<String>,
}

struct Account {
    id: i64,
    kind: &'static str,
    currency: String,
    balance: Amount,
}

struct Line {
    at: When,
    event: &'static str,
    kind: &'static str,
    sign: &'static str,
    change: String,
    balance: Amount,
    currency: String,
    payment: Option<(i64, String)>,
    callback: i64,
}

/// `GET /customers`
pub(super) async fn list(caller: Caller, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["q", "after"])?;
    let after = params.position("after")?;
    let q = params.take("q").unwrap_or_default();
    let wanted = Some(q.trim()).filter(|q| !q.is_empty());
    let page = customers::list(&app.db, None, wanted, after, PAGE).await?;
    let next = page.next.map(|next| format!("/customers{}", query_of(&[("q", &q), ("after", &next.to_string())])));
    let names = Names::of(&app);
    let row = |customer: customers::Customer| Row {
        id: customer.id.0,
        name: names.show(customer.name),
        merchant: customer.merchant,
        at: When(customer.opened_us),
    };
    let frame = Frame::new(&app, &caller, "/customers", "Customers");
    Ok(html(&Customers { frame, q, rows: page.rows.into_iter().map(row).collect(), next }))
}

/// `GET /customers/{id}`
pub(super) async fn show(caller: Caller, id: web::Path<String>, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["currency", "since", "until", "after"])?;
    let after = params.take("after").map(|text| {
        Place::parse(&text).ok_or_else(|| ApiError::Invalid("`after` must be the cursor of an earlier page".into()))
    });
    let after = after.transpose()?;
    let mut text = |name: &str| params.take(name).unwrap_or_default();
    let (currency, since, until) = (text("currency"), text("since"), text("until"));
    let none = || ApiError::NotFound(format!("customer {id}"));
    let number = id.parse().map_err(|_not_a_number| none())?;
    let detail = customers::get(&app.db, CustomerId(number)).await?.ok_or_else(none)?;
    let at = |name: &str, text: &str| {
        let given = Some(text.trim()).filter(|text| !text.is_empty());
        given.map(|text| moment(name, text, (app.clock)())).transpose().map_err(ApiError::Invalid)
    };
    let span = Span { since_us: at("since", &since)?, until_us: at("until", &until)? };
    let only = Some(currency.trim()).filter(|currency| !currency.is_empty());
    let page = statement::of_customer(&app.db, detail.customer.id, only, &span, after, PAGE).await?;
    let chosen = [("currency", currency.as_str()), ("since", since.as_str()), ("until", until.as_str())];
    let next = page.next.map(|next| {
        let next = next.to_string();
        format!("/customers/{number}{}", query_of(&[chosen.as_slice(), &[("after", next.as_str())]].concat()))
    });
    let names = Names::of(&app);
    let reference = |(kind, value): (crate::domain::customer::ReferenceKind, String)| {
        // What is not shown must not stand in an address either.
        let query = if names.is_short { String::new() } else { encoded(&value) };
        (words(kind.word()), (names.show(value), query))
    };
    let mut accounts: Vec<_> = detail.accounts.into_iter().map(account).collect();
    accounts.sort_by(|one, other| (&one.currency, one.kind).cmp(&(&other.currency, other.kind)));
    Ok(html(&One {
        frame: Frame::new(&app, &caller, "/customers", &format!("Customer {}", names.show(detail.customer.name))),
        id: detail.customer.id,
        merchant: detail.customer.merchant,
        opened: When(detail.customer.opened_us),
        accounts,
        references: detail.references.into_iter().map(reference).collect(),
        csv: format!("/customers/{number}/statement.csv{}", query_of(&chosen)),
        lines: page.rows.into_iter().map(line).collect(),
        currency,
        since,
        until,
        next,
    }))
}

fn account(balance: Balance) -> Account {
    let Balance { id, kind, currency, balance, .. } = balance;
    Account { id, kind: kind.name(), currency, balance }
}

fn line(line: StatementLine) -> Line {
    let is_less = line.change.units() < 0;
    Line {
        at: When(line.entry.at_us),
        event: line.entry.event.word(),
        kind: line.account.kind.name(),
        sign: if is_less { "minus" } else { "plus" },
        change: if is_less { line.change.to_string() } else { format!("+{}", line.change) },
        balance: line.balance,
        currency: line.account.currency,
        payment: line.entry.payment.map(|(id, _, name)| (id, name)),
        callback: line.entry.callback.0,
    }
}
