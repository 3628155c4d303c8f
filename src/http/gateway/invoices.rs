//! `POST /v1/invoices` and `GET /v1/invoices/{id}`.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::admit::Call;
use super::envelope::{self, GatewayError};
use super::input::{Input, number};
use super::transactions::named;
use super::{listed, name_of_request};
use crate::app::App;
use crate::domain::amount::Amount;
use crate::outbound::addresses::reference;
use crate::outbound::invoices::{Made, NoInvoice, make};
use crate::processor::client::NewInvoice;
use crate::store::invoices::{self, Invoice, Wanted};

#[derive(Serialize)]
struct Shown<'a> {
    invoice_id: i64,
    url: Option<&'a str>,
    status: &'a str,
    currency: Option<&'a str>,
    network: Option<&'a str>,
    amount_decimal: Amount,
    user_identifier: &'a str,
    created_at: String,
}

/// `POST /v1/invoices`
pub(super) async fn create(call: Call, app: web::Data<App>) -> Result<HttpResponse, GatewayError> {
    let mut input = Input::parse(&call.body)?;
    let currency = input.text("currency", 1, 32);
    let network = input.optional_text("network", 1, 32);
    let amount = input.amount("amount");
    let user = input.text("user_identifier", 1, 256);
    let title = input.text("title", 1, 50);
    let description = input.optional_text("description", 1, 1000);
    let email_user = input.text("email", 3, 255);
    let url_success = input.text("success_url", 8, 2000);
    let url_failed = input.text("fail_url", 8, 2000);
    let timer = input.flag("timer");
    let idempotency_key = input.optional_text("idempotency_key", 1, 128);
    input.finish()?;
    // Without a network it is a currency that has none: EUR.
    let code = match network {
        Some(network) => listed(&app, &currency, &network)?.code.clone(),
        None => currency,
    };
    let foreign_id = name_of_request(&call, idempotency_key.as_deref());
    let asked = NewInvoice {
        timer,
        title,
        currency: code.clone(),
        amount,
        foreign_id: foreign_id.clone(),
        end_user_reference: reference(&user),
        url_success,
        url_failed,
        email_user,
        description,
        ..NewInvoice::default()
    };
    let wanted = Wanted {
        merchant: call.merchant,
        foreign_id: &foreign_id,
        user_identifier: &user,
        currency: &code,
        amount,
        now_us: (app.clock)(),
    };
    let Made { invoice, is_replayed } = make(&app, &wanted, &asked).await?;
    let shown = show(&app, &invoice).await?;
    envelope::repeat(shown, is_replayed, &invoice.differing(&wanted), app.settings.gateway.strict_idempotency)
}

/// `GET /v1/invoices/{id}`
pub(super) async fn one(call: Call, id: web::Path<String>, app: web::Data<App>) -> Result<HttpResponse, GatewayError> {
    let id = number("invoice_id", &id)?;
    let invoice = invoices::by_id(&app.db, call.merchant, id).await?;
    show(&app, &invoice.ok_or(GatewayError::NotFound("Invoice not found"))?).await
}

async fn show(app: &App, invoice: &Invoice) -> Result<HttpResponse, GatewayError> {
    let status = invoices::last_status(&app.db, invoice.merchant, &invoice.foreign_id).await?;
    let (currency, network) = named(&invoice.currency, &app.settings.gateway.networks);
    Ok(envelope::one(Shown {
        invoice_id: invoice.id,
        url: invoice.url.as_deref(),
        status: status.as_deref().unwrap_or("created"),
        currency,
        network,
        amount_decimal: invoice.amount,
        user_identifier: &invoice.user_identifier,
        created_at: envelope::moment(invoice.created_us),
    }))
}

impl From<NoInvoice> for GatewayError {
    fn from(why: NoInvoice) -> Self {
        match why {
            NoInvoice::Refused(why) => Self::Declined(why),
            NoInvoice::Unknown(why) => {
                tracing::warn!(why, "It is not known whether an invoice was made");
                Self::Upstream("Outcome unknown: ask again with the same idempotency key")
            }
            NoInvoice::Lost => {
                let why = "The invoice was made, and where it is paid was lost: use another idempotency key";
                Self::Conflict(why.to_owned())
            }
            NoInvoice::Differs(differing) => envelope::differs(&differing),
            NoInvoice::Order(error) => error.into(),
            NoInvoice::Store(error) => Self::Store(error),
        }
    }
}
