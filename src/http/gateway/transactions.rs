//! `GET /v1/transactions`, the journal as clients see it; and what happened to one deposit request.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::admit::Call;
use super::envelope::{self, GatewayError};
use super::input::fault;
use crate::app::App;
use crate::config::gateway::Listed;
use crate::domain::amount::Amount;
use crate::domain::claim::{is_pool, request_reference};
use crate::domain::customer::ReferenceKind;
use crate::domain::ids::MerchantId;
use crate::domain::payment::{Family, Phase, Status, phase};
use crate::processor::wire;
use crate::store::addresses::Request;
use crate::store::booking::State;
use crate::store::told::{self, Entry, Told};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 200;

/// A deposit to a request's address.
#[derive(Serialize)]
pub(super) struct Transaction {
    tx_hash: Option<String>,
    amount_decimal: Option<Amount>,
    confirmations: Option<i64>,
    status: &'static str,
    /// The processor does not tell.
    block_number: Option<i64>,
    detected_at: String,
    confirmed_at: Option<String>,
    /// What it was of, as the processor calls it: only compared.
    #[serde(skip)]
    code: Option<String>,
    #[serde(skip)]
    payment: String,
}

/// The deposits that a request may call its own.
pub(super) async fn of_request(app: &App, request: &Request) -> Result<Vec<Transaction>, GatewayError> {
    let merchant = MerchantId(request.merchant_id);
    let mut told = told::of_foreign_id(&app.db, merchant, &request.foreign_id).await?;
    if is_pool(&request.foreign_id) {
        // Several requests had the address: those of this one were booked for its own customer.
        let kind = ReferenceKind::ForeignId.code();
        let customer = told::customer(&app.db, merchant, kind, &request_reference(request.id)).await?;
        told.retain(|told| customer.is_some() && told.customer_id == customer);
    }
    let listed = &app.settings.gateway.networks;
    let listed = listed.iter().find(|row| row.currency == request.currency && row.network == request.network);
    let code = listed.map_or(request.code.as_str(), |listed| listed.code.as_str());
    let mut transactions: Vec<Transaction> = Vec::new();
    for told in &told {
        let Some(payment) = &told.ext_id else { continue };
        let now = transaction(told, payment);
        match transactions.iter_mut().find(|known| known.payment == *payment) {
            Some(known) => *known = later(known, now),
            None => transactions.push(now),
        }
    }
    transactions.retain(|one| one.code.as_deref().is_none_or(|its| its == code));
    Ok(transactions)
}

/// What two callbacks say of one payment: a final one counts, whichever came first.
fn later(known: &Transaction, now: Transaction) -> Transaction {
    let detected_at = known.detected_at.clone();
    if now.status == "pending" && known.status != "pending" {
        return Transaction {
            detected_at,
            tx_hash: known.tx_hash.clone(),
            confirmed_at: known.confirmed_at.clone(),
            code: known.code.clone(),
            payment: known.payment.clone(),
            ..*known
        };
    }
    Transaction { detected_at, ..now }
}

fn transaction(told: &Told, payment: &str) -> Transaction {
    let status = status(told);
    let at = envelope::moment(told.received_us);
    let body = told.body.as_deref();
    let terms = body.and_then(|body| wire::read(body).terms.ok());
    let part = terms.and_then(|terms| terms.parts.into_iter().find(|part| !part.is_exchange));
    Transaction {
        tx_hash: told.txids.as_deref().and_then(|txids| txids.lines().next()).map(str::to_owned),
        amount_decimal: part.as_ref().and_then(|part| part.amount),
        confirmations: body.and_then(confirmations),
        status,
        block_number: None,
        confirmed_at: (status == "confirmed").then(|| at.clone()),
        detected_at: at,
        code: part.and_then(|part| part.currency),
        payment: payment.to_owned(),
    }
}

/// `confirmed` is what was credited; what an operator must look at first is `held`.
fn status(told: &Told) -> &'static str {
    let phase = told.status.as_deref().and_then(Status::of).map(|status| phase(Family::Deposit, status));
    let is_booked = told.state != State::Held.code() && told.state != State::Failed.code();
    match phase {
        Some(Phase::InProgress) => "pending",
        Some(Phase::Confirmed) if is_booked && told.reason.is_none() => "confirmed",
        Some(Phase::Closed) if is_booked => "cancelled",
        Some(Phase::Confirmed | Phase::Closed | Phase::Unknown) | None => "held",
    }
}

/// As the processor spells it: a text or a number.
fn confirmations(body: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Body {
        transactions: Vec<Part>,
    }
    #[derive(Deserialize)]
    struct Part {
        confirmations: Option<serde_json::Value>,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    let told = body.transactions.into_iter().find_map(|part| part.confirmations)?;
    told.as_i64().or_else(|| told.as_str()?.parse().ok())
}

#[derive(Serialize)]
struct Line<'a> {
    id: i64,
    r#type: &'a str,
    status: &'a str,
    currency: Option<&'a str>,
    network: Option<&'a str>,
    amount_decimal: Option<Amount>,
    fee_decimal: Option<Amount>,
    tx_hash: Option<&'a str>,
    address: Option<&'a str>,
    user_identifier: Option<&'a str>,
    created_at: String,
}

/// `GET /v1/transactions?cursor=&limit=`: newest first.
pub(super) async fn list(call: Call, request: HttpRequest, app: web::Data<App>) -> Result<HttpResponse, GatewayError> {
    let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
    let query = query.map_err(|_broken| fault("query: Input should be URL-encoded"))?.into_inner();
    let find = |name: &str| query.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value);
    let number = |name: &str, otherwise: i64| match find(name).map(|text| text.parse::<i64>()) {
        None => Ok(otherwise),
        Some(Ok(number)) if number > 0 => Ok(number),
        Some(Ok(_)) => Err(fault(&format!("{name}: Input should be greater than 0"))),
        Some(Err(_)) => Err(fault(&format!("{name}: Input should be a valid integer"))),
    };
    let before = number("cursor", i64::MAX)?;
    let limit = usize::try_from(number("limit", 0)?).unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    let limit = if limit == 0 { LIMIT_DEFAULT } else { limit };
    let wanted = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let mut entries = told::entries(&app.db, call.merchant, before, wanted).await?;
    let has_more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().map(|entry| entry.position).filter(|_| has_more);
    let networks = &app.settings.gateway.networks;
    Ok(envelope::page(entries.iter().map(|entry| line(entry, networks)).collect(), next))
}

fn line<'a>(entry: &'a Entry, networks: &'a [Listed]) -> Line<'a> {
    let (kind, status) = entry.event.word().split_once('.').unwrap_or((entry.event.word(), ""));
    let (currency, network) = entry.currency.as_deref().map_or((None, None), |code| named(code, networks));
    Line {
        id: entry.position,
        r#type: kind,
        status,
        currency,
        network,
        amount_decimal: entry.amount,
        fee_decimal: entry.fee,
        tx_hash: entry.txid.as_deref(),
        address: entry.address.as_deref(),
        user_identifier: entry.customer.as_deref(),
        created_at: envelope::moment(entry.at_us),
    }
}

/// (currency, network) of one of the processor's codes; a code that is not in the settings is its own name.
pub(super) fn named<'a>(code: &'a str, networks: &'a [Listed]) -> (Option<&'a str>, Option<&'a str>) {
    match networks.iter().find(|listed| listed.code == code) {
        Some(listed) => (Some(listed.currency.as_str()), Some(listed.network.as_str())),
        None => (Some(code), None),
    }
}
