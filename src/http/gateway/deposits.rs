//! `POST /v1/deposit-addresses` and `GET /v1/deposit-requests/{id}`.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::admit::Call;
use super::envelope::{self, GatewayError};
use super::input::{Input, number};
use super::transactions::{self, Transaction};
use crate::app::App;
use crate::booker::OrderError;
use crate::domain::ids::MerchantId;
use crate::outbound::addresses::{By, Given, NoAddress, give};
use crate::store::addresses::{self, Request};
use crate::store::allocations::Asked;

#[derive(Serialize)]
struct Allocated<'a> {
    request_id: i64,
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    network: &'a str,
    currency: &'a str,
    contract_address: Option<&'a str>,
    user_identifier: Option<&'a str>,
    display_expires_at: String,
    created_at: String,
}

#[derive(Serialize)]
struct Status<'a> {
    request_id: i64,
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    network: &'a str,
    currency: &'a str,
    user_identifier: Option<&'a str>,
    status: &'static str,
    display_expires_at: String,
    created_at: String,
    transactions: Vec<Transaction>,
}

/// `POST /v1/deposit-addresses`
pub(super) async fn allocate(call: Call, app: web::Data<App>) -> Result<HttpResponse, GatewayError> {
    let mut input = Input::parse(&call.body)?;
    let asked = Asked {
        currency: input.text("currency", 1, 32),
        network: input.text("network", 1, 32),
        user_identifier: input.optional_text("user_identifier", 1, 256),
    };
    let idempotency_key = input.optional_text("idempotency_key", 1, 128);
    input.finish()?;
    let app = app.into_inner();
    // What has begun ends, also when the client hangs up: a claim that nobody fulfils would make the next one wait.
    let (own, merchant, key) = (Arc::clone(&app), call.merchant, Arc::clone(&call.key));
    let given = app.see_through(async move {
        let by = By { merchant, key: &key };
        give(&own, by, &asked, idempotency_key.as_deref()).await
    });
    let given = given.await.ok_or(GatewayError::Unavailable("Temporarily unavailable"))?;
    let Given { request, is_replayed, differing } = given?;
    let listed = &app.settings.gateway.networks;
    let listed = listed.iter().find(|row| row.currency == request.currency && row.network == request.network);
    let response = envelope::one(Allocated {
        request_id: request.id,
        address: &request.address,
        tag: request.tag.as_deref(),
        network: &request.network,
        currency: &request.currency,
        contract_address: listed.and_then(|listed| listed.contract.as_deref()),
        user_identifier: request.user_identifier.as_deref(),
        display_expires_at: envelope::moment(request.display_until_us),
        created_at: envelope::moment(request.created_us),
    });
    // The strict setting has been looked at before anything was done.
    envelope::repeat(response, is_replayed, &differing, false)
}

/// `GET /v1/deposit-requests/{id}`
pub(super) async fn show(call: Call, id: web::Path<String>, app: web::Data<App>) -> Result<HttpResponse, GatewayError> {
    let id = number("request_id", &id)?;
    let request = addresses::request(&app.db, id).await?;
    let request = request.filter(|request| MerchantId(request.merchant_id) == call.merchant);
    let request = request.ok_or(GatewayError::NotFound("Deposit request not found"))?;
    let transactions = transactions::of_request(&app, &request).await?;
    Ok(envelope::one(Status {
        request_id: request.id,
        address: &request.address,
        tag: request.tag.as_deref(),
        network: &request.network,
        currency: &request.currency,
        user_identifier: request.user_identifier.as_deref(),
        status: status(&request, (app.clock)()),
        display_expires_at: envelope::moment(request.display_until_us),
        created_at: envelope::moment(request.created_us),
        transactions,
    }))
}

fn status(request: &Request, now_us: i64) -> &'static str {
    if now_us < request.display_until_us {
        "active"
    } else if now_us < request.monitoring_until_us {
        "expired_for_display"
    } else {
        "expired"
    }
}

impl From<NoAddress> for GatewayError {
    fn from(why: NoAddress) -> Self {
        match why {
            NoAddress::NetworkNotFound => Self::NotFound("Network not found"),
            NoAddress::CurrencyNotFound => Self::NotFound("Currency not found"),
            NoAddress::NotEnabled => {
                Self::Forbidden("Deposits for this currency are not enabled for this account".to_owned())
            }
            NoAddress::Differs(what) => envelope::differs(&what),
            NoAddress::Processor(why) => {
                tracing::warn!(why, "The processor gave no address");
                Self::Upstream("No address available at the moment")
            }
            NoAddress::Busy => Self::Unavailable("Temporarily unavailable"),
            NoAddress::Order(error) => error.into(),
            NoAddress::Store(error) => Self::Store(error),
        }
    }
}

impl From<OrderError> for GatewayError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Refused(refusal) => Self::Refused(refusal),
            OrderError::Declined(reason) => Self::Declined(format!("Declined: {}", reason.word())),
            OrderError::NoSeal => Self::Unavailable("Temporarily unavailable"),
        }
    }
}
