//! Who may take a route of the gateway: the signature over the very request, its timestamp, that it was never taken
//! before, where it comes from, how often its key asks, and what the key may do. Every route passes here first.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, web};
use secrecy::SecretString;

use super::envelope::GatewayError;
use super::signature::{Signed, decode};
use crate::app::App;
use crate::config::gateway::{GatewayKey, Permission};
use crate::domain::ids::MerchantId;
use crate::domain::rate::Rate;
use crate::http::body::{self, Cut};

const KEY: &str = "x-cpg-key";
const TIMESTAMP: &str = "x-cpg-timestamp";
const SIGNATURE: &str = "x-cpg-signature";
const WRONG: GatewayError = GatewayError::Unauthorized("Invalid signature");

/// A request that was let in.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub key: Arc<GatewayKey>,
    pub merchant: MerchantId,
    pub body: Bytes,
}

impl FromRequest for Call {
    type Error = GatewayError;
    type Future = std::future::Ready<Result<Self, GatewayError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(request.extensions_mut().remove::<Self>().ok_or(WRONG))
    }
}

/// Lets a request in, and tells every caller who could prove who it is how much it may still ask.
pub(super) async fn admit(
    needs: Option<Permission>,
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut rate = None;
    let mut response = match enter(needs, &mut request, &mut rate).await {
        Ok(call) => {
            request.extensions_mut().insert(call);
            next.call(request).await?
        }
        Err(error) => request.error_response(error),
    };
    if let Some(Rate { limit, remaining, reset_s, .. }) = rate {
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("x-ratelimit-limit"), limit.into());
        headers.insert(HeaderName::from_static("x-ratelimit-remaining"), remaining.into());
        headers.insert(HeaderName::from_static("x-ratelimit-reset"), reset_s.into());
    }
    Ok(response)
}

async fn enter(
    needs: Option<Permission>,
    request: &mut ServiceRequest,
    rate: &mut Option<Rate>,
) -> Result<Call, GatewayError> {
    let app = request.app_data::<web::Data<App>>().cloned().ok_or(GatewayError::Unavailable("Starting"))?;
    let payload = request.take_payload();
    let body = body::read(request.headers(), payload, &app.settings.limits).await.map_err(|cut| match cut {
        Cut::TooLarge => GatewayError::TooLarge,
        Cut::TooSlow | Cut::Broken => GatewayError::TooSlow,
    })?;
    let now_us = (app.clock)();
    let (key, signature, until_us) = authenticate(request, &body, &app, now_us)?;
    from_where(request, &app, &key)?;
    let taken = app.rates.take(&key.name, key.rate_limit, now_us);
    *rate = Some(taken);
    if taken.is_exceeded {
        let cost_s = 60_i64.checked_div(i64::from(taken.limit)).unwrap_or(60);
        return Err(GatewayError::TooMany { retry_after_s: cost_s.max(1) });
    }
    if let Some(needs) = needs.filter(|needs| !key.permissions.contains(needs)) {
        return Err(GatewayError::Forbidden(format!("This key lacks the permission {}", needs.word())));
    }
    if !app.signatures.is_first(signature, until_us).await? {
        return Err(GatewayError::Unauthorized("Signature was used before: sign again, with a new timestamp"));
    }
    let merchant = app.names.0.iter().find(|(_, name)| **name == key.merchant).map(|(id, _)| MerchantId(*id));
    let merchant = merchant.ok_or(GatewayError::Unavailable("Temporarily unavailable"))?;
    Ok(Call { key, merchant, body: body.into() })
}

/// Whose request it is, its signature, and until when that signature could be taken again.
fn authenticate(
    request: &ServiceRequest,
    body: &[u8],
    app: &App,
    now_us: i64,
) -> Result<(Arc<GatewayKey>, [u8; 32], i64), GatewayError> {
    let headers = request.headers();
    let (key, timestamp, signature) = (sole(headers, KEY)?, sole(headers, TIMESTAMP)?, sole(headers, SIGNATURE)?);
    let (Some(key), Some(timestamp), Some(signature)) = (key, timestamp, signature) else {
        return Err(GatewayError::Unauthorized("Missing authentication headers"));
    };
    let found = app.settings.gateway.keys.iter().find(|known| known.key.as_bytes() == key.as_bytes());
    let uri = request.uri();
    let signed = Signed {
        timestamp: timestamp.to_str().map_err(|_unreadable| WRONG)?,
        method: request.method().as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        body,
    };
    let signature = decode(signature.as_bytes()).ok_or(WRONG)?;
    let Some(found) = found else {
        // The verdict is certain; what it costs must not tell whether a key exists.
        std::hint::black_box(signed.is_signed(&SecretString::from("nobody's secret"), &signature));
        return Err(WRONG);
    };
    if !signed.is_signed(&found.secret, &signature) {
        return Err(WRONG);
    }
    let at_s = whole_seconds(signed.timestamp).ok_or(GatewayError::Unauthorized("Timestamp is no unix time"))?;
    let tolerance_s = i64::try_from(app.settings.gateway.tolerance_s).unwrap_or(i64::MAX);
    if now_us.div_euclid(1_000_000).abs_diff(at_s) > app.settings.gateway.tolerance_s {
        return Err(GatewayError::Unauthorized("Timestamp is too far from the server's time"));
    }
    // Twice the tolerance: a replica whose clock is behind takes it for longer.
    let until_us = at_s.saturating_add(tolerance_s.saturating_mul(2)).saturating_mul(1_000_000);
    Ok((Arc::clone(found), signature, until_us))
}

/// Digits only: a sign or a blank would be another text with the same number.
fn whole_seconds(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A header that stands there once. Twice could be read in two ways; an empty one is none.
fn sole<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h HeaderValue>, GatewayError> {
    let mut all = headers.get_all(name);
    let first = all.next().filter(|value| !value.is_empty());
    if all.next().is_some() { Err(WRONG) } else { Ok(first) }
}

fn from_where(request: &ServiceRequest, app: &App, key: &GatewayKey) -> Result<(), GatewayError> {
    if key.ips.is_empty() {
        return Ok(());
    }
    let is_listed = client(request, app).is_some_and(|address| key.ips.iter().any(|network| network.has(address)));
    if is_listed { Ok(()) } else { Err(GatewayError::Forbidden("This address may not use this key".to_owned())) }
}

/// Where the request comes from: the last address of the chain that none of our own proxies has.
fn client(request: &ServiceRequest, app: &App) -> Option<IpAddr> {
    let is_proxy = |address: IpAddr| app.settings.gateway.proxies.iter().any(|network| network.has(address));
    let mut address = request.peer_addr()?.ip();
    let told: Vec<_> = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok()).collect();
    let told = told.join(",");
    let mut told = told.split(',').rev().map(str::trim).filter(|address| !address.is_empty());
    while is_proxy(address) {
        let Some(before) = told.next() else { break };
        // What can't be read is nobody's address.
        address = before.parse().ok()?;
    }
    Some(address)
}
