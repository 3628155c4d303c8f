//! What a caller is told when it can't be served: RFC 9457 problems with a stable `code`. Sources go to the log, once,
//! here; nothing internal goes out.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::booker::replay::ReplayError;
use crate::booker::{OrderError, Refusal};
use crate::domain::reason::Reason;
use crate::store::StoreError;

const RETRY_AFTER_S: &str = "2";

/// Why a request is answered with a problem.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("no bearer token, or not one of ours")]
    Unauthorized { is_token_given: bool },
    #[error("this token may not do that: it needs the role {needs}")]
    Forbidden { needs: &'static str },
    /// A session's request that its own page did not send.
    #[error("this did not come from a page of this session: load the page again and repeat what you did")]
    Forged,
    #[error("there is no {0}")]
    NotFound(String),
    #[error("this route does not take that method: {allow} only")]
    MethodNotAllowed { allow: String },
    /// The query or the body: what is wrong and what is allowed.
    #[error("{0}")]
    Invalid(String),
    /// Understood, but it makes no sense for what it is about.
    #[error("{0}")]
    Unfit(String),
    #[error("whoever asked can't be the one who lets it pass: another approver must")]
    SelfApproval,
    /// It was possible once, or will be: what it is about stands otherwise now.
    #[error("{detail}")]
    Conflict { code: &'static str, detail: String },
    #[error("the body is too long for this route")]
    TooLarge,
    /// An order of ours that changed nothing.
    #[error("the ledger declines this: {}", .0.word())]
    Declined(Reason),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The body of a problem.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: String,
}

impl From<ReplayError> for ApiError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Refused(refusal) => Self::Refused(refusal),
            ReplayError::Store(error) => Self::Store(error),
        }
    }
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Refused(refusal) => Self::Refused(refusal),
            OrderError::Declined(reason) => Self::Declined(reason),
            OrderError::NoSeal => Self::Invalid(error.to_string()),
        }
    }
}

impl ApiError {
    /// Status, code and title: a code never changes its meaning.
    pub(super) fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unauthorized { .. } => (StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized"),
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden", "Forbidden"),
            Self::Forged => (StatusCode::FORBIDDEN, "csrf", "Not From This Page"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found", "Not Found"),
            Self::MethodNotAllowed { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method Not Allowed")
            }
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request", "Invalid Request"),
            Self::Unfit(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unfit", "Unfit"),
            Self::SelfApproval => (StatusCode::FORBIDDEN, "self_approval", "Self-Approval"),
            Self::Conflict { code, .. } => (StatusCode::CONFLICT, code, "Conflict"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Content Too Large"),
            Self::Declined(reason) => (StatusCode::CONFLICT, reason.word(), "Declined"),
            Self::Refused(Refusal::Busy) => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy"),
            Self::Refused(Refusal::Unavailable) => unavailable(),
            Self::Refused(Refusal::Refused) => (StatusCode::CONFLICT, "database_refuses", "Database Refuses"),
            Self::Refused(Refusal::NotConfigured) => {
                (StatusCode::CONFLICT, "merchant_not_configured", "Merchant Not Configured")
            }
            Self::Store(error) if error.is_passing() => unavailable(),
            Self::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal Error"),
        }
    }

    /// For people; a fault of ours is not explained to callers.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Store(error) if error.is_passing() => Refusal::Unavailable.to_string(),
            Self::Store(_) => "something went wrong here; the log has the cause".to_owned(),
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Forged
            | Self::NotFound(_)
            | Self::MethodNotAllowed { .. }
            | Self::Invalid(_)
            | Self::Unfit(_)
            | Self::SelfApproval
            | Self::Conflict { .. }
            | Self::TooLarge
            | Self::Declined(_)
            | Self::Refused(_) => self.to_string(),
        }
    }

    /// The header that goes with a status.
    fn header(&self) -> Option<(actix_web::http::header::HeaderName, HeaderValue)> {
        let text = HeaderValue::from_static;
        match self {
            Self::Unauthorized { is_token_given: false } => {
                Some((WWW_AUTHENTICATE, text("Bearer realm=\"tallyhook\"")))
            }
            Self::Unauthorized { is_token_given: true } => {
                Some((WWW_AUTHENTICATE, text("Bearer realm=\"tallyhook\", error=\"invalid_token\"")))
            }
            Self::Forbidden { .. } => {
                Some((WWW_AUTHENTICATE, text("Bearer realm=\"tallyhook\", error=\"insufficient_scope\"")))
            }
            Self::MethodNotAllowed { allow } => Some((ALLOW, HeaderValue::from_str(allow).ok()?)),
            Self::Refused(_) => Some((RETRY_AFTER, text(RETRY_AFTER_S))),
            Self::Store(error) => error.is_passing().then(|| (RETRY_AFTER, text(RETRY_AFTER_S))),
            Self::Forged
            | Self::NotFound(_)
            | Self::Invalid(_)
            | Self::Unfit(_)
            | Self::SelfApproval
            | Self::Conflict { .. }
            | Self::Declined(_)
            | Self::TooLarge => None,
        }
    }
}

fn unavailable() -> (StatusCode, &'static str, &'static str) {
    (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", "Database Unavailable")
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.kind().0
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let (status, code, title) = self.kind();
        if let Self::Store(error) = self {
            let error: &dyn std::error::Error = error;
            if self.status_code() == StatusCode::SERVICE_UNAVAILABLE {
                tracing::warn!(error, "A request of the admin API must wait for the database");
            } else {
                tracing::error!(error, "A request of the admin API failed");
            }
        }
        let problem = Problem {
            r#type: format!("urn:tallyhook:problem:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: self.detail(),
        };
        let body = serde_json::to_vec(&problem).expect("strings and numbers always serialise");
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(header) = self.header() {
            response.insert_header(header);
        }
        response.body(body)
    }
}
