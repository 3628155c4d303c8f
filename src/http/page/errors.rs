//! What surrounds every page: headers that forbid browsers everything a page of ours does not need, and errors as pages
//! for people. Programs get the same errors as problems.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, web};
use askama::Template;

use super::frame::{Frame, encoded, html, see};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                   form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CSP),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::PERMISSIONS_POLICY, "camera=(), microphone=(), geolocation=(), payment=()"),
];

#[derive(Template)]
#[template(path = "error.html")]
struct Failure {
    frame: Frame,
    status: u16,
    detail: String,
    code: &'static str,
}

pub(super) async fn dress(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = next.call(request).await?;
    let error = response.response().error().and_then(|error| error.as_error::<ApiError>());
    if let Some(page) = error.and_then(|error| page(response.request(), error)) {
        response = response.into_response(page);
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

/// The error for a browser; `None` for a program.
fn page(request: &HttpRequest, error: &ApiError) -> Option<HttpResponse> {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_piece = request.headers().contains_key("hx-request");
    if !is_piece && !header(header::ACCEPT).is_some_and(|accept| accept.contains("text/html")) {
        return None;
    }
    let (status, code, title) = error.kind();
    if status == StatusCode::UNAUTHORIZED {
        let back = if request.method() == Method::GET && !is_piece { request.uri().to_string() } else { String::new() };
        let login = format!("/login?next={}", encoded(&back));
        let reload = (HeaderName::from_static("hx-redirect"), login.clone());
        return Some(if is_piece { HttpResponse::NoContent().insert_header(reload).finish() } else { see(&login) });
    }
    let caller = request.extensions().get::<Caller>().cloned();
    let frame = match (caller, request.app_data::<web::Data<App>>()) {
        (Some(caller), Some(app)) => Frame::new(app, &caller, "", title),
        (_, _) => Frame::outside(title),
    };
    let mut response = html(&Failure { frame, status: status.as_u16(), detail: error.detail(), code });
    *response.status_mut() = status;
    Some(response)
}
