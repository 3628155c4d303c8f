//! The pages of what was asked for through us: withdrawals and addresses.

use actix_web::{HttpRequest, web};
use askama::Template;

use super::frame::{Answer, Frame, html, query_of};
use super::show::{Badge, Dash, Names, When, words};
use crate::app::App;
use crate::booker::declined::DeclinedOrder;
use crate::config::Role;
use crate::domain::amount::Amount;
use crate::http::admin::query::Params;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::outgoing::{self, ADDRESS_STATES, Filter, WITHDRAWAL_STATES};

const PAGE: u64 = 50;

#[derive(Template)]
#[template(path = "withdrawals.html")]
struct Withdrawals {
    frame: Frame,
    chosen: Chosen,
    rows: Vec<Withdrawal>,
    next: Option<String>,
    declined: Vec<Declined>,
}

#[derive(Template)]
#[template(path = "addresses.html")]
struct Addresses {
    frame: Frame,
    may_retire: bool,
    chosen: Chosen,
    rows: Vec<Address>,
    next: Option<String>,
}

/// The form as it was sent.
struct Chosen {
    q: String,
    state: String,
    states: &'static [&'static str],
}

struct Withdrawal {
    foreign_id: String,
    at: When,
    merchant: String,
    state: Badge,
    customer: Option<(i64, String)>,
    amount: Amount,
    currency: String,
    address: String,
    payment: Option<i64>,
    error: Dash,
}

/// What was asked for and left nothing behind.
struct Declined {
    at: When,
    merchant: String,
    foreign_id: String,
    reason: Dash,
    customer: Dash,
    amount: Amount,
    currency: String,
    api: String,
}

struct Address {
    address: Dash,
    merchant: String,
    state: Badge,
    network: String,
    currency: String,
    user: Dash,
    foreign_id: String,
    error: Dash,
}

/// `GET /withdrawals`
pub(super) async fn withdrawals(caller: Caller, request: HttpRequest, app: web::Data<App>) -> Answer {
    let (chosen, filter, after) = chosen(&request, &WITHDRAWAL_STATES)?;
    let page = outgoing::withdrawals(&app.db, &filter, after, PAGE).await?;
    let next = page.next.map(|next| chosen.next("/withdrawals", next));
    let names = Names::of(&app);
    let row = |found: outgoing::Withdrawal| Withdrawal {
        at: When(found.requested_us),
        state: Badge(found.state),
        foreign_id: found.foreign_id,
        merchant: found.merchant,
        customer: found.customer.map(|(id, name)| (id, names.show(name))),
        amount: found.amount,
        currency: found.currency,
        address: found.address,
        payment: found.payment,
        error: Dash(found.error),
    };
    let frame = Frame::new(&app, &caller, "/withdrawals", "Withdrawals");
    let rows = page.rows.into_iter().map(row).collect();
    let declined = app.booker.declined.entries().into_iter().map(|order| declined(&app, order)).collect();
    Ok(html(&Withdrawals { frame, chosen, rows, next, declined }))
}

fn declined(app: &App, order: DeclinedOrder) -> Declined {
    Declined {
        at: When(order.at_us),
        merchant: app.merchant_name(order.merchant).to_owned(),
        foreign_id: order.foreign_id,
        reason: Dash(order.reason.map(|reason| words(reason.word()))),
        customer: Names::of(app).dash(order.customer),
        amount: order.amount,
        currency: order.currency,
        api: words(order.api.word()),
    }
}

/// `GET /addresses`
pub(super) async fn addresses(caller: Caller, request: HttpRequest, app: web::Data<App>) -> Answer {
    let (chosen, filter, after) = chosen(&request, &ADDRESS_STATES)?;
    let page = outgoing::addresses(&app.db, &filter, after, PAGE).await?;
    let next = page.next.map(|next| chosen.next("/addresses", next));
    let names = Names::of(&app);
    let row = |found: outgoing::Address| Address {
        address: Dash(found.address),
        state: Badge(found.state),
        merchant: found.merchant,
        network: found.network,
        currency: found.currency,
        user: names.dash(found.user_identifier),
        foreign_id: names.show(found.foreign_id),
        error: Dash(found.failure),
    };
    let frame = Frame::new(&app, &caller, "/addresses", "Addresses");
    let may_retire = caller.role >= Role::Operator;
    Ok(html(&Addresses { frame, may_retire, chosen, rows: page.rows.into_iter().map(row).collect(), next }))
}

fn chosen(request: &HttpRequest, states: &'static [&'static str]) -> Result<(Chosen, Filter, Option<i64>), ApiError> {
    let mut params = Params::parse(request.query_string(), &["q", "state", "after"])?;
    let after = params.position("after")?;
    let (q, state) = (params.take("q").unwrap_or_default(), params.take("state").unwrap_or_default());
    let code = Some(&state).filter(|state| !state.is_empty()).map(|state| {
        let code = outgoing::code(states, state);
        code.ok_or_else(|| ApiError::Invalid(format!("`state` must be one of {}", states.join(", "))))
    });
    let wanted = Some(q.trim().to_owned()).filter(|q| !q.is_empty());
    let filter = Filter { merchant: None, state: code.transpose()?, q: wanted };
    Ok((Chosen { q, state, states }, filter, after))
}

impl Chosen {
    fn next(&self, path: &str, next: i64) -> String {
        format!("{path}{}", query_of(&[("q", &self.q), ("state", &self.state), ("after", &next.to_string())]))
    }
}
