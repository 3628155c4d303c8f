//! `POST /v1/withdrawals` and `GET /v1/withdrawals/{id}`. The money is set aside before anything goes out, and the name
//! that the processor knows the withdrawal by follows from the idempotency key: a repeat can't be a second payout.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::admit::Call;
use super::envelope::{self, GatewayError};
use super::input::{Input, number};
use super::transactions::named;
use super::{listed, name_of_request};
use crate::app::App;
use crate::booker::OrderError;
use crate::domain::amount::Amount;
use crate::domain::customer::ReferenceKind;
use crate::domain::ids::MerchantId;
use crate::domain::order::{Api, Withdrawal};
use crate::domain::reason::Reason;
use crate::outbound::addresses::reference;
use crate::outbound::withdrawals::{self, Fate, Outgoing, send};
use crate::processor::client::{NewWithdrawal, Trouble};
use crate::store::payouts::{self, Payout};
use crate::store::withdrawals::State;

#[derive(Serialize)]
struct Shown<'a> {
    withdrawal_id: i64,
    status: &'a str,
    currency: Option<&'a str>,
    network: Option<&'a str>,
    amount_decimal: Amount,
    to_address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    user_identifier: Option<&'a str>,
    tx_hash: Option<&'a str>,
    created_at: String,
}

/// What a client asks for.
struct Asked {
    code: String,
    amount: Amount,
    to_address: String,
    tag: Option<String>,
    user: String,
}

/// `POST /v1/withdrawals`
pub(super) async fn create(call: Call, app: web::Data<App>) -> Result<HttpResponse, GatewayError> {
    let mut input = Input::parse(&call.body)?;
    let (currency, network) = (input.text("currency", 1, 32), input.text("network", 1, 32));
    let amount = input.amount("amount");
    let to_address = input.text("to_address", 10, 512);
    let tag = input.optional_text("tag", 1, 255);
    let user = input.optional_text("user_identifier", 1, 256);
    let idempotency_key = input.optional_text("idempotency_key", 1, 128);
    input.finish()?;
    let code = listed(&app, &currency, &network)?.code.clone();
    // A rule and not a field's: whose balance pays must be said.
    let user = user.ok_or_else(|| declined("user_identifier is required: it names whose balance pays"))?;
    let asked = Asked { code, amount, to_address, tag, user };
    let foreign_id = name_of_request(&call, idempotency_key.as_deref());
    if let Some(payout) = payouts::named(&app.db, call.merchant, &foreign_id).await? {
        return repeat(&app, &payout, &asked);
    }
    let app = app.into_inner();
    match place(&app, call.merchant, &foreign_id, &asked).await? {
        Some((id, fate)) => sent(&app, call.merchant, &foreign_id, (id, asked), fate).await,
        // Somebody asked under the same key a moment ago.
        None => repeat(&app, &known(&app, call.merchant, &foreign_id).await?, &asked),
    }
}

/// `GET /v1/withdrawals/{id}`
pub(super) async fn one(call: Call, id: web::Path<String>, app: web::Data<App>) -> Result<HttpResponse, GatewayError> {
    let id = number("withdrawal_id", &id)?;
    let payout = payouts::by_id(&app.db, call.merchant, id).await?;
    Ok(show(&app, &payout.ok_or(GatewayError::NotFound("Withdrawal not found"))?))
}

/// Sets the money aside and sends the withdrawal, whose number it answers. `None`: it was requested before.
async fn place(
    app: &Arc<App>,
    merchant: MerchantId,
    foreign_id: &str,
    asked: &Asked,
) -> Result<Option<(i64, Fate)>, GatewayError> {
    let customer = reference(&asked.user);
    let request = NewWithdrawal {
        currency: asked.code.clone(),
        amount: asked.amount,
        convert_to: None,
        address: asked.to_address.clone(),
        tag: asked.tag.clone(),
        foreign_id: foreign_id.to_owned(),
        end_user_reference: Some(customer.clone()),
    }
    .body();
    let withdrawal = Withdrawal {
        foreign_id: foreign_id.to_owned(),
        customer: Some((ReferenceKind::EndUserReference, customer)),
        currency: asked.code.clone(),
        amount: asked.amount,
        currency_to: None,
        address: asked.to_address.clone(),
        tag: asked.tag.clone(),
        api: Api::Gateway,
        request_sha256: const_hex::encode(Sha256::digest(&request)),
        request,
    };
    let placed = match withdrawals::place(app, merchant, withdrawal).await {
        Ok(placed) if placed.is_duplicate => return Ok(None),
        Ok(placed) => placed,
        Err(OrderError::Declined(Reason::ForeignIdTaken)) => return Ok(None),
        Err(OrderError::Declined(Reason::InsufficientBalance)) => return Err(declined("Insufficient balance")),
        Err(OrderError::Declined(Reason::UnknownCustomer)) => return Err(declined("Insufficient balance")),
        Err(error) => return Err(error.into()),
    };
    let outgoing = Outgoing {
        id: placed.id,
        merchant,
        foreign_id: foreign_id.to_owned(),
        path: "/withdrawal/crypto".to_owned(),
        headers: None,
    };
    let fate = send(app, outgoing).await.unwrap_or_else(|error| {
        warn!(withdrawal = placed.id, error = %error, "The database was gone while a withdrawal went out");
        Fate::Unknown { trouble: Trouble::unknown("the database could not be reached"), answer: None }
    });
    Ok(Some((placed.id, fate)))
}

/// Once it may have gone out, nothing asks the client to come again: without an idempotency key that would be another.
async fn sent(
    app: &App,
    merchant: MerchantId,
    foreign_id: &str,
    (id, asked): (i64, Asked),
    fate: Fate,
) -> Result<HttpResponse, GatewayError> {
    let state = match fate {
        Fate::Refused(answer) => return Err(declined(&Trouble::of(&answer).to_string())),
        Fate::Stopped => return Err(GatewayError::Unavailable("Withdrawals are stopped at the moment")),
        Fate::Taken { .. } => State::Pending,
        Fate::Unknown { .. } | Fate::Elsewhere => State::Unknown,
    };
    let stored = payouts::named(&app.db, merchant, foreign_id).await.ok().flatten();
    Ok(show(
        app,
        &stored.unwrap_or_else(|| Payout {
            id,
            state: state.code(),
            currency: asked.code,
            amount: asked.amount,
            address: asked.to_address,
            tag: asked.tag,
            customer: Some(asked.user),
            requested_us: (app.clock)(),
            txid: None,
        }),
    ))
}

async fn known(app: &App, merchant: MerchantId, foreign_id: &str) -> Result<Payout, GatewayError> {
    let payout = payouts::named(&app.db, merchant, foreign_id).await?;
    payout.ok_or(GatewayError::Unavailable("Temporarily unavailable"))
}

fn repeat(app: &App, payout: &Payout, asked: &Asked) -> Result<HttpResponse, GatewayError> {
    let differing: Vec<_> = [
        ("currency", payout.currency != asked.code),
        ("amount", payout.amount != asked.amount),
        ("to_address", payout.address != asked.to_address),
        ("tag", payout.tag != asked.tag),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect();
    envelope::repeat(show(app, payout), true, &differing, app.settings.gateway.strict_idempotency)
}

fn show(app: &App, payout: &Payout) -> HttpResponse {
    let (currency, network) = named(&payout.currency, &app.settings.gateway.networks);
    envelope::one(Shown {
        withdrawal_id: payout.id,
        status: State::from_code(payout.state).map_or("unknown", State::word),
        currency,
        network,
        amount_decimal: payout.amount,
        to_address: &payout.address,
        tag: payout.tag.as_deref(),
        user_identifier: payout.customer.as_deref(),
        tx_hash: payout.txid.as_deref(),
        created_at: envelope::moment(payout.requested_us),
    })
}

fn declined(why: &str) -> GatewayError {
    GatewayError::Declined(why.to_owned())
}
