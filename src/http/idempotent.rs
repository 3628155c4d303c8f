//! `Idempotency-Key`: a POST of the admin API that is sent again under its key does nothing again and gets the first
//! answer. The key is claimed in the database before anything is done. What nobody knows the outcome of, because a
//! process died over it, is told so and never done a second time.

use actix_web::body::{BoxBody, MessageBody as _, to_bytes};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpResponse, web};
use futures_util::stream;
use sha2::{Digest, Sha256};

use super::auth::Caller;
use super::error::ApiError;
use crate::app::App;
use crate::booker::Refusal;
use crate::store::answers::{self, Answer, Claim, Earlier};

pub const KEY: &str = "idempotency-key";
pub const REPLAYED: &str = "idempotency-replayed";
/// Characters of a key.
pub const KEY_MAX: usize = 255;
/// A claim without an answer is under way for as long, by all that is likely.
const UNDER_WAY_US: i64 = 60_000_000;

/// The key of a request that has one and is of the API.
pub(super) fn key(request: &ServiceRequest) -> Result<Option<String>, ApiError> {
    if request.method() != Method::POST || !request.path().starts_with("/api/") {
        return Ok(None);
    }
    let mut keys = request.headers().get_all(KEY);
    let Some(key) = keys.next() else { return Ok(None) };
    let text = key.to_str().ok().filter(|key| (1..=KEY_MAX).contains(&key.len()) && key.is_ascii());
    let text = text.filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()) && keys.next().is_none());
    let wrong = || format!("`Idempotency-Key` must be given once, with 1 to {KEY_MAX} visible ASCII characters");
    Ok(Some(text.ok_or_else(|| ApiError::Invalid(wrong()))?.to_owned()))
}

/// Does what the request asks, unless it was done under this key before.
pub(super) async fn once(
    key: String,
    caller: &Caller,
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(app) = request.app_data::<web::Data<App>>().cloned() else { return next.call(request).await };
    let Ok(body) = request.extract::<Bytes>().await else { return Ok(request.error_response(ApiError::TooLarge)) };
    let digest = digest(&request, &body);
    request.set_payload(Payload::Stream { payload: Box::pin(stream::once(std::future::ready(Ok(body)))) });
    let claim = Claim { owner: caller.name.clone(), key, digest, at_us: (app.clock)() };
    match answers::claim(&app.db, &claim).await {
        Ok(None) => {}
        Ok(Some(earlier)) => return Ok(repeat(request, earlier, &claim)),
        Err(error) => return Ok(request.error_response(ApiError::Store(error))),
    }
    // Seen through also when whoever asked has hung up: that is when they come again.
    let (shared, head) = (app.clone(), request.request().clone());
    let work = async move {
        let response = next.call(request).await?;
        kept(&shared, &claim, response).await
    };
    match app.see_through_here(work).await {
        Some(done) => done,
        None => Ok(ServiceResponse::new(head, HttpResponse::from_error(ApiError::Refused(Refusal::Unavailable)))),
    }
}

/// The route and every byte of the body: another request under the same key is a mistake.
fn digest(request: &ServiceRequest, body: &[u8]) -> [u8; 32] {
    let state = Sha256::new().chain_update(request.path()).chain_update([0]).chain_update(request.query_string());
    state.chain_update([0]).chain_update(body).finalize().into()
}

fn repeat(request: ServiceRequest, earlier: Earlier, claim: &Claim) -> ServiceResponse<BoxBody> {
    let conflict = |code, detail: &str| ApiError::Conflict { code, detail: detail.to_owned() };
    if earlier.digest != claim.digest {
        let detail = "this idempotency key was used for another request; nothing was done";
        return request.error_response(conflict("idempotency_key_reused", detail));
    }
    let Some(answer) = earlier.answer else {
        let is_young = claim.at_us.saturating_sub(earlier.at_us) < UNDER_WAY_US;
        let error = if is_young {
            let detail = "the first request with this idempotency key is under way; ask again a little later";
            conflict("idempotency_in_progress", detail)
        } else {
            let detail = "the first request with this idempotency key came to no answer: look what came of it, and use \
                another key if it is still to be done";
            conflict("idempotency_unknown", detail)
        };
        return request.error_response(error);
    };
    let mut response = HttpResponse::build(StatusCode::from_u16(answer.status).unwrap_or_default());
    response.insert_header((HeaderName::from_static(REPLAYED), "true"));
    if let Some(kind) = answer.content_type {
        response.insert_header((CONTENT_TYPE, kind));
    }
    if let Some(location) = answer.location {
        response.insert_header((LOCATION, location));
    }
    request.into_response(response.body(answer.body))
}

/// Keeps the answer. One that says nothing was done gives the key back; a fault of ours leaves it open what was.
async fn kept(app: &App, claim: &Claim, response: ServiceResponse<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let refusal = response.response().error().and_then(|error| error.as_error::<ApiError>());
    let is_busy = matches!(refusal, Some(ApiError::Refused(Refusal::Busy)));
    let status = response.status();
    if status.is_server_error() {
        if is_busy {
            told(answers::release(&app.db, claim).await);
        }
        return Ok(response);
    }
    let (request, response) = response.into_parts();
    let (response, body) = response.into_parts();
    let body = to_bytes(body).await?;
    let text = |name: HeaderName| header(response.headers(), &name);
    let answer = Answer {
        status: status.as_u16(),
        content_type: text(CONTENT_TYPE),
        location: text(LOCATION),
        body: body.to_vec(),
    };
    told(answers::keep(&app.db, claim, &answer).await);
    Ok(ServiceResponse::new(request, response.set_body(body.boxed())))
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The caller has an answer either way; without its row, a repeat is told that the outcome is not known.
fn told(written: Result<(), crate::store::StoreError>) {
    if let Err(error) = written {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "An answer could not be kept under its idempotency key");
    }
}
