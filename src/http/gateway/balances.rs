//! `GET /v1/balances`: what the processor holds for the account; with `user_identifier`, what that customer has.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::admit::Call;
use super::envelope::{self, GatewayError};
use super::input::fault;
use super::transactions::named;
use crate::app::App;
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::customer::ReferenceKind;
use crate::outbound::addresses::reference;
use crate::store::told;

#[derive(Serialize)]
struct Account<'a> {
    currency: Option<&'a str>,
    network: Option<&'a str>,
    balance: Amount,
}

#[derive(Serialize)]
struct Customers<'a> {
    currency: Option<&'a str>,
    network: Option<&'a str>,
    available: Amount,
    held: Amount,
}

pub(super) async fn list(call: Call, request: HttpRequest, app: web::Data<App>) -> Result<HttpResponse, GatewayError> {
    let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
    let query = query.map_err(|_broken| fault("query: Input should be URL-encoded"))?.into_inner();
    let networks = &app.settings.gateway.networks;
    let Some((_, user)) = query.iter().find(|(name, _)| name == "user_identifier") else {
        let rows = told::balances(&app.db, call.merchant, 0).await?;
        let ours = rows.iter().filter(|(kind, ..)| *kind == AccountKind::Processor.code());
        let rows = ours.map(|(_, code, balance)| {
            let (currency, network) = named(code, networks);
            Account { currency, network, balance: *balance }
        });
        return Ok(envelope::many(rows.collect()));
    };
    let kind = ReferenceKind::EndUserReference.code();
    let customer = told::customer(&app.db, call.merchant, kind, &reference(user)).await?;
    let customer = customer.ok_or(GatewayError::NotFound("User not found"))?;
    let rows = told::balances(&app.db, call.merchant, customer).await?;
    let mut customers: Vec<(&str, Amount, Amount)> = Vec::new();
    for (kind, code, balance) in &rows {
        if !customers.iter().any(|(known, ..)| known == code) {
            customers.push((code, Amount::ZERO, Amount::ZERO));
        }
        let Some((_, available, held)) = customers.last_mut() else { continue };
        if *kind == AccountKind::Available.code() {
            *available = *balance;
        } else {
            *held = *balance;
        }
    }
    let row = |(code, available, held)| {
        let (currency, network) = named(code, networks);
        Customers { currency, network, available, held }
    };
    Ok(envelope::many(customers.into_iter().map(row).collect()))
}
