//! Withdrawals and addresses that were asked for through us: lists, and one withdrawal with its bytes. Reads only.

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::books::known_merchant;
use super::query::Params;
use super::shape::{self, Row, row};
use crate::app::App;
use crate::domain::event::rfc3339;
use crate::http::error::ApiError;
use crate::store::outgoing::{self, ADDRESS_STATES, Address, Detail, Filter, WITHDRAWAL_STATES, Withdrawal};

type Answer = Result<HttpResponse, ApiError>;

/// `GET /api/withdrawals`
pub(super) async fn withdrawals(request: HttpRequest, app: web::Data<App>) -> Answer {
    let (filter, after, limit) = asked(&request, &app, &WITHDRAWAL_STATES).await?;
    let page = outgoing::withdrawals(&app.db, &filter, after, limit).await?;
    let rows = page.rows.iter().map(withdrawal).collect();
    Ok(HttpResponse::Ok().json(shape::page(rows, page.next.map(|next| next.to_string()))))
}

/// `GET /api/withdrawals/{id}`
pub(super) async fn one(id: web::Path<String>, app: web::Data<App>) -> Answer {
    let none = || ApiError::NotFound(format!("withdrawal {id}"));
    let number = id.parse().map_err(|_not_a_number| none())?;
    let found = outgoing::withdrawal(&app.db, number).await?.ok_or_else(none)?;
    Ok(HttpResponse::Ok().json(detail(&found)))
}

/// `GET /api/addresses`
pub(super) async fn addresses(request: HttpRequest, app: web::Data<App>) -> Answer {
    let (filter, after, limit) = asked(&request, &app, &ADDRESS_STATES).await?;
    let page = outgoing::addresses(&app.db, &filter, after, limit).await?;
    let rows = page.rows.iter().map(address).collect();
    Ok(HttpResponse::Ok().json(shape::page(rows, page.next.map(|next| next.to_string()))))
}

async fn asked(request: &HttpRequest, app: &App, states: &[&str]) -> Result<(Filter, Option<i64>, u64), ApiError> {
    let mut params = Params::parse(request.query_string(), &["merchant", "state", "q", "after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let merchant = known_merchant(&mut params, app).await?;
    let state = params.take("state").map(|word| {
        let code = outgoing::code(states, &word);
        code.ok_or_else(|| ApiError::Invalid(format!("`state` must be one of {}", states.join(", "))))
    });
    Ok((Filter { merchant, state: state.transpose()?, q: params.take("q") }, after, limit))
}

pub fn withdrawal(withdrawal: &Withdrawal) -> Row {
    row([
        ("id", withdrawal.id.to_string().into()),
        ("merchant", withdrawal.merchant.as_str().into()),
        ("foreign_id", withdrawal.foreign_id.as_str().into()),
        ("state", withdrawal.state.into()),
        ("customer", withdrawal.customer.as_ref().map(|(_, name)| name.as_str()).into()),
        ("customer_id", withdrawal.customer.as_ref().map(|(id, _)| id.to_string()).into()),
        ("currency", withdrawal.currency.as_str().into()),
        ("amount", withdrawal.amount.to_string().into()),
        ("currency_to", withdrawal.currency_to.as_deref().into()),
        ("address", withdrawal.address.as_str().into()),
        ("tag", withdrawal.tag.as_deref().into()),
        ("api", withdrawal.api.into()),
        ("payment", withdrawal.payment.map(|id| id.to_string()).into()),
        ("processor_id", withdrawal.processor_id.as_deref().into()),
        ("error", withdrawal.error.as_deref().into()),
        ("attempts", withdrawal.attempts.into()),
        ("requested_at", rfc3339(withdrawal.requested_us).into()),
        ("sent_at", withdrawal.sent_us.map(rfc3339).into()),
        ("next_attempt_at", withdrawal.next_us.map(rfc3339).into()),
        ("closed_at", withdrawal.closed_us.map(rfc3339).into()),
    ])
}

/// A withdrawal with what was sent and what came back: the fields of its line, and more.
pub fn detail(detail: &Detail) -> Row {
    let mut whole = withdrawal(&detail.withdrawal);
    whole.extend(row([
        ("request", STANDARD.encode(&detail.request).into()),
        ("answer", detail.answer.as_ref().map(|answer| STANDARD.encode(answer)).into()),
        ("encoding", "base64".into()),
    ]));
    whole
}

pub fn address(address: &Address) -> Row {
    row([
        ("id", address.id.to_string().into()),
        ("merchant", address.merchant.as_str().into()),
        ("state", address.state.into()),
        ("network", address.network.as_str().into()),
        ("currency", address.currency.as_str().into()),
        ("address", address.address.as_deref().into()),
        ("tag", address.tag.as_deref().into()),
        ("user_identifier", address.user_identifier.as_deref().into()),
        ("foreign_id", address.foreign_id.as_str().into()),
        ("error", address.failure.as_deref().into()),
        ("free_at", address.free_us.map(rfc3339).into()),
        ("retired_at", address.retired_us.map(rfc3339).into()),
    ])
}
