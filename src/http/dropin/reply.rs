//! What is said to a merchant's client: the processor's answer untouched, or our own words in the processor's envelopes.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::json;

use crate::booker::OrderError;
use crate::processor::asked::Wrong;
use crate::processor::client::{Answer, Trouble};
use crate::store::StoreError;

const RETRY_AFTER_S: &str = "5";

/// What is said without, or instead of, an answer of the processor.
#[derive(Debug)]
pub(super) enum Said {
    NoKey,
    BadKey,
    NoSignature,
    BadSignature,
    BadFormat,
    TooLarge,
    TooSlow,
    /// One field, in the envelope of validation.
    Wrong(Wrong),
    /// Nothing was sent: we could not write down what it leads to.
    Unavailable,
    /// Nothing was sent: outgoing money is stopped.
    Stopped,
    /// No answer came.
    Trouble(Trouble),
}

impl From<Wrong> for Said {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<Trouble> for Said {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<StoreError> for Said {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = format!("{:#}", anyhow::Error::new(error)), "A request could not be written down");
        Self::Unavailable
    }
}

impl From<OrderError> for Said {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Refused(_) | OrderError::NoSeal => {}
            OrderError::Declined(reason) => tracing::error!(reason = reason.word(), "An order was declined"),
        }
        Self::Unavailable
    }
}

/// The processor's answer, byte for byte.
pub(super) fn untouched(answer: Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    for (name, value) in [(CONTENT_TYPE, answer.content_type), (RETRY_AFTER, answer.retry_after)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(&value).ok()) {
            response.insert_header((name, value));
        }
    }
    response.body(answer.body)
}

/// Our own words.
pub(super) fn said(said: &Said) -> HttpResponse {
    let (status, code, text) = match said {
        Said::NoKey => (403, "required_header_key", "No key header"),
        Said::BadKey => (403, "bad_header_key", "Bad key header"),
        Said::NoSignature => (403, "required_header_signature", "No signature header"),
        Said::BadSignature => (403, "bad_header_signature", "Bad signature header"),
        Said::BadFormat => (400, "bad_content_format", "Bad content format"),
        Said::TooLarge => (413, "body_too_large", "The request's body is too large"),
        Said::TooSlow => (408, "body_too_slow", "The request's body did not arrive"),
        Said::Unavailable => (503, "unavailable", "Nothing was sent to the processor: try again later"),
        Said::Stopped => (503, "outbound_stopped", "Nothing was sent to the processor: outgoing payments are stopped"),
        Said::Trouble(trouble) => return no_answer(trouble),
        Said::Wrong(wrong) => {
            let mut errors = serde_json::Map::new();
            errors.insert(wrong.field.to_owned(), wrong.message.as_str().into());
            return HttpResponse::BadRequest().json(json!({ "errors": errors }));
        }
    };
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY));
    if status == 503 {
        response.insert_header((RETRY_AFTER, RETRY_AFTER_S));
    }
    response.json(json!({ "error": text, "code": code }))
}

fn no_answer(trouble: &Trouble) -> HttpResponse {
    let (timed_out, code, text) = match trouble {
        Trouble::NotSent { timed_out, .. } => {
            (*timed_out, "processor_unreachable", "Nothing was sent: the processor can't be reached")
        }
        Trouble::Unknown { timed_out, .. } => {
            (*timed_out, "processor_no_answer", "The processor gave no answer: the outcome is unknown")
        }
        // These come with an answer, which is returned instead.
        Trouble::Refused(_) | Trouble::Limited => (false, "processor_no_answer", "The processor gave no answer"),
    };
    let status = if timed_out { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
    HttpResponse::build(status).json(json!({ "error": text, "code": code }))
}
