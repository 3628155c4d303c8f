//! Stop 1: takes the raw bytes, checks the signature over exactly those, hands them to the booker, and answers once
//! they are on disk. It never parses before verifying, and never books.

use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, USER_AGENT};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use tracing::{debug, info, warn};

use super::body::{self, Cut};
use crate::app::{App, Rejection};
use crate::booker::{Incoming, Receipt, Refusal};
use crate::processor::signature::{Refused, Verified, likely_cause};
use crate::store::booking::State;

pub(super) const KEY: &str = "x-processing-key";
pub(super) const SIGNATURE: &str = "x-processing-signature";

/// `POST /callbacks/alphapo`
pub async fn receive(request: HttpRequest, payload: web::Payload, app: web::Data<App>) -> HttpResponse {
    let started = Instant::now();
    let body = match body::read(request.headers(), payload, &app.settings.limits).await {
        Ok(body) => body,
        Err(cut) => return cut_off(&cut, &request, &app),
    };
    let verified = match verify(request.headers(), &body, &app) {
        Ok(verified) => verified,
        Err(refused) => return reject(refused, &request, &body, &app),
    };
    let headers = kept_headers(&request);
    let incoming = Incoming::new(verified.merchant, verified.signature, headers, body, (app.clock)());
    let booked = app.booker.receive(incoming).await;
    app.metrics.callback_us.observe_time(started.elapsed());
    match booked {
        Ok(receipt) => {
            log(&receipt, app.merchant_name(verified.merchant));
            HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("OK\n")
        }
        Err(refusal) => unavailable(refusal, &app),
    }
}

/// Who signed these bytes, by the two headers.
pub(super) fn verify(headers: &HeaderMap, body: &[u8], app: &App) -> Result<Verified, Refused> {
    let (key, signature) = (sole(headers, KEY)?, sole(headers, SIGNATURE)?);
    app.keyring.verify(key, signature, body)
}

/// A header that stands there once. Twice could be read in two ways.
fn sole<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h [u8]>, Refused> {
    let mut all = headers.get_all(name);
    let first = all.next();
    if all.next().is_some() {
        Err(Refused::Ambiguous)
    } else {
        Ok(first.map(actix_web::http::header::HeaderValue::as_bytes))
    }
}

fn cut_off(cut: &Cut, request: &HttpRequest, app: &App) -> HttpResponse {
    let rejected = &app.metrics.rejected;
    let (status, counter, reason) = match cut {
        Cut::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, &rejected.too_large, "too_large"),
        Cut::TooSlow => (StatusCode::REQUEST_TIMEOUT, &rejected.too_slow, "too_slow"),
        Cut::Broken => (StatusCode::BAD_REQUEST, &rejected.too_slow, "broken_off"),
    };
    counter.increment();
    note(reason, None, request, 0, app);
    refusal(status, reason)
}

/// One answer for all causes: whoever guesses learns nothing. The cause goes to the log that operators see.
fn reject(refused: Refused, request: &HttpRequest, body: &[u8], app: &App) -> HttpResponse {
    note_refusal(refused, request, body, app);
    refusal(StatusCode::UNAUTHORIZED, "bad_signature")
}

/// Counts a refusal, and looks for its cause when there is time.
pub(super) fn note_refusal(refused: Refused, request: &HttpRequest, body: &[u8], app: &App) {
    app.metrics.rejected.of(refused).increment();
    let headers = request.headers();
    let raw = |name| headers.get(name).map(actix_web::http::header::HeaderValue::as_bytes);
    let cause =
        app.rejected.may_diagnose((app.clock)()).then(|| likely_cause(&app.keyring, raw(KEY), raw(SIGNATURE), body));
    note(refused.word(), cause.map(|cause| (cause.code(), cause.sentence())), request, body.len(), app);
}

fn note(
    reason: &'static str,
    cause: Option<(&'static str, &'static str)>,
    request: &HttpRequest,
    bytes: usize,
    app: &App,
) {
    let peer = request.peer_addr().map(|peer| peer.ip().to_string());
    let (cause, advice) = cause.unzip();
    if let Some(cause) = cause {
        warn!(reason, cause, body_bytes = bytes, peer, "Refused a request: {}", advice.unwrap_or_default());
    }
    app.rejected.add(Rejection { at_us: (app.clock)(), reason, cause, advice, peer, bytes });
}

fn unavailable(refused: Refusal, app: &App) -> HttpResponse {
    app.metrics.rejected.unavailable.increment();
    let code = match refused {
        Refusal::Busy => "busy",
        Refusal::Unavailable | Refusal::Refused | Refusal::NotConfigured => "database_unavailable",
    };
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, code);
    let soon = actix_web::http::header::HeaderValue::from_static("5");
    response.headers_mut().insert(actix_web::http::header::RETRY_AFTER, soon);
    response
}

fn refusal(status: StatusCode, code: &'static str) -> HttpResponse {
    let title = status.canonical_reason().unwrap_or_default();
    let problem = serde_json::json!({"type": "about:blank", "title": title, "status": status.as_u16(), "code": code});
    HttpResponse::build(status).insert_header((CONTENT_TYPE, "application/problem+json")).body(problem.to_string())
}

fn log(receipt: &Receipt, merchant: &str) {
    let (callback, state) = (receipt.id, receipt.state.word());
    let reason = receipt.reason.map(crate::domain::reason::Reason::word);
    match receipt.state {
        State::Booked | State::Ignored
            if reason.is_none() || receipt.state == State::Ignored || receipt.is_duplicate =>
        {
            debug!(%callback, merchant, state, reason, duplicate = receipt.is_duplicate, "Took callback {callback}");
        }
        State::Booked | State::Ignored => {
            info!(%callback, merchant, state, reason, "Booked callback {callback} to suspense");
        }
        State::Held => info!(%callback, merchant, state, reason, "Held callback {callback}"),
        State::Failed => warn!(%callback, merchant, state, reason, "Kept callback {callback}; it will be tried again"),
    }
}

/// The headers worth keeping beside a body, as JSON.
fn kept_headers(request: &HttpRequest) -> String {
    #[derive(Serialize)]
    struct Kept<'a> {
        #[serde(rename = "content-type", skip_serializing_if = "Option::is_none")]
        content_type: Option<&'a str>,
        #[serde(rename = "user-agent", skip_serializing_if = "Option::is_none")]
        user_agent: Option<&'a str>,
        #[serde(rename = "x-forwarded-for", skip_serializing_if = "Option::is_none")]
        forwarded_for: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    }
    let headers = request.headers();
    let text = |value: Option<&'_ actix_web::http::header::HeaderValue>| value.is_some_and(|v| v.len() <= 256);
    let get = |name: &str| headers.get(name).filter(|v| text(Some(*v))).and_then(|v| v.to_str().ok());
    let kept = Kept {
        content_type: get(CONTENT_TYPE.as_str()),
        user_agent: get(USER_AGENT.as_str()),
        forwarded_for: get("x-forwarded-for"),
        peer: request.peer_addr().map(|peer| peer.ip().to_string()),
    };
    serde_json::to_string(&kept).expect("strings always serialise")
}
