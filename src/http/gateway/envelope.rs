//! What the gateway answers: one envelope for all that went well, one for all that did not. Sources of faults go to the
//! log, once, here; nothing internal goes out.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::booker::Refusal;
use crate::domain::event::rfc3339;
use crate::store::StoreError;

/// Why a request got no answer of the other kind.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// 401
    #[error("{0}")]
    Unauthorized(&'static str),
    /// 403
    #[error("{0}")]
    Forbidden(String),
    /// 404
    #[error("{0}")]
    NotFound(&'static str),
    #[error("Method Not Allowed")]
    MethodNotAllowed { allow: String },
    /// 409
    #[error("{0}")]
    Conflict(String),
    /// 422: what is wrong with each field.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// 400: the request is right, and can't be done.
    #[error("{0}")]
    Declined(String),
    #[error("Rate limit exceeded")]
    TooMany { retry_after_s: i64 },
    #[error("Request body too large")]
    TooLarge,
    #[error("Request body came too slowly")]
    TooSlow,
    /// 502: the processor's fault; asking again is safe.
    #[error("{0}")]
    Upstream(&'static str),
    /// 503
    #[error("{0}")]
    Unavailable(&'static str),
    #[error("Temporarily unavailable")]
    Refused(#[from] Refusal),
    #[error("Internal error")]
    Store(#[from] StoreError),
}

#[derive(Serialize)]
struct Failure<'a> {
    success: bool,
    message: &'a str,
}

#[derive(Serialize)]
struct One<T> {
    success: bool,
    message: &'static str,
    data: T,
}

#[derive(Serialize)]
struct Many<T> {
    success: bool,
    message: &'static str,
    data: Vec<T>,
    data_count: usize,
}

#[derive(Serialize)]
struct Page<T> {
    success: bool,
    message: &'static str,
    data: Vec<T>,
    data_count: usize,
    next_cursor: Option<i64>,
    has_more: bool,
}

/// ISO 8601 with microseconds, UTC written as an offset.
pub fn moment(at_us: i64) -> String {
    rfc3339(at_us).replace('Z', "+00:00")
}

/// One thing.
pub fn one<T: Serialize>(data: T) -> HttpResponse {
    HttpResponse::Ok().json(One { success: true, message: "OK", data })
}

/// All there are.
pub fn many<T: Serialize>(data: Vec<T>) -> HttpResponse {
    let data_count = data.len();
    HttpResponse::Ok().json(Many { success: true, message: "OK", data, data_count })
}

/// Some of them, and where to go on.
pub fn page<T: Serialize>(data: Vec<T>, next_cursor: Option<i64>) -> HttpResponse {
    let (data_count, has_more) = (data.len(), next_cursor.is_some());
    HttpResponse::Ok().json(Page { success: true, message: "OK", data, data_count, next_cursor, has_more })
}

/// An answer that may have been given before: how that is said, and what differs from the first time. When the setting
/// is strict, a repeat that differs is refused.
pub fn repeat(
    mut answer: HttpResponse,
    is_replayed: bool,
    differing: &[&str],
    is_strict: bool,
) -> Result<HttpResponse, GatewayError> {
    if !is_replayed {
        return Ok(answer);
    }
    let names = differing.join(",");
    if is_strict && !names.is_empty() {
        return Err(differs(differing));
    }
    let headers = answer.headers_mut();
    headers.insert(HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));
    if let Some(names) = HeaderValue::from_str(&names).ok().filter(|names| !names.is_empty()) {
        headers.insert(HeaderName::from_static("idempotency-mismatch"), names);
    }
    Ok(answer)
}

/// 409: the idempotency key was used for something else.
pub fn differs(what: &[&str]) -> GatewayError {
    GatewayError::Conflict(format!("Idempotency key was used with another {}", what.join(", ")))
}

impl GatewayError {
    fn retry_after_s(&self) -> Option<i64> {
        match self {
            Self::TooMany { retry_after_s } => Some(*retry_after_s),
            Self::Unavailable(_) | Self::Refused(_) | Self::Upstream(_) => Some(2),
            Self::Store(error) => error.is_passing().then_some(2),
            Self::Unauthorized(_)
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::MethodNotAllowed { .. }
            | Self::Conflict(_)
            | Self::Invalid(_)
            | Self::Declined(_)
            | Self::TooLarge
            | Self::TooSlow => None,
        }
    }

    fn log(&self) {
        if let Self::Store(error) = self {
            let error: &dyn std::error::Error = error;
            if self.status_code() == StatusCode::SERVICE_UNAVAILABLE {
                tracing::warn!(error, "A request of the gateway must wait for the database");
            } else {
                tracing::error!(error, "A request of the gateway failed");
            }
        }
    }
}

impl ResponseError for GatewayError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Declined(_) => StatusCode::BAD_REQUEST,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
            Self::Unavailable(_) | Self::Refused(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(error) if error.is_passing() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.log();
        let is_passing = matches!(self, Self::Store(error) if error.is_passing());
        let message = if is_passing { "Temporarily unavailable".to_owned() } else { self.to_string() };
        let mut response = HttpResponse::build(self.status_code());
        if let Some(seconds) = self.retry_after_s() {
            response.insert_header((RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if let Self::MethodNotAllowed { allow } = self {
            response.insert_header((ALLOW, allow.as_str()));
        }
        response.json(Failure { success: false, message: &message })
    }
}
