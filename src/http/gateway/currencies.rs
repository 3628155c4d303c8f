//! `GET /v1/currencies`: what can be asked for, from the settings.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::admit::Call;
use super::envelope;
use crate::app::App;
use crate::config::gateway::{GatewayKey, Listed};

#[derive(Serialize)]
struct Currency<'a> {
    currency: &'a str,
    network: &'a str,
    contract_address: Option<&'a str>,
    deposits_enabled: bool,
}

pub(super) async fn list(call: Call, app: web::Data<App>) -> HttpResponse {
    envelope::many(app.settings.gateway.networks.iter().map(|listed| row(listed, &call.key)).collect())
}

fn row<'a>(listed: &'a Listed, key: &GatewayKey) -> Currency<'a> {
    Currency {
        currency: &listed.currency,
        network: &listed.network,
        contract_address: listed.contract.as_deref(),
        deposits_enabled: key.may_deposit(listed),
    }
}
