//! What is known when a call did not do what was asked: nothing was sent, the processor refused, or nobody can say.
//! Of an answer it tells no more than the processor's own short texts, and of a connection no address.

use std::error::Error;

use super::Answer;
use crate::processor::json::{self, Node};

/// Characters of the processor's texts that are repeated.
const TEXT_MAX: usize = 300;
/// Statuses that the processor is known to refuse with. Any other may come from something in between.
const REFUSALS: [u16; 5] = [400, 401, 403, 404, 422];

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No byte of it reached the processor.
    #[error("nothing was sent to the processor: {what}")]
    NotSent { what: String, timed_out: bool },
    /// The processor read it and did not do it.
    #[error("the processor refuses: {0}")]
    Refused(Refused),
    /// 429: turned away, unread as far as anyone knows.
    #[error("the processor wants fewer requests (429)")]
    Limited,
    /// It was sent, and may have been done.
    #[error("the processor may or may not have done it: {what}")]
    Unknown {
        what: String,
        timed_out: bool,
        /// Of an answer that is none of the API's.
        status: Option<u16>,
    },
}

/// Whether the same request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Nothing came of it.
    Safe,
    /// It would be refused again.
    Useless,
    /// It could be done twice; only reading tells.
    Unsafe,
}

/// A refusal, from any of the processor's envelopes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refused {
    pub status: u16,
    /// `bad_header_key`, `invalid_invoice_state`, `not_enough_balance`; validation has none.
    pub code: Option<String>,
    /// The text of a refusal that is about no field.
    pub text: Option<String>,
    /// (field, message), in the order of the body.
    pub fields: Vec<(String, String)>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.iter().cloned();
        let fields = self.fields.iter().map(|(field, message)| format!("{field}: {message}"));
        let parts: Vec<String> = code.chain(self.text.iter().cloned()).chain(fields).collect();
        write!(out, "{} ({})", parts.join("; "), self.status)
    }
}

impl Refused {
    /// The foreign id is in use. That may be by this very request, if something in between repeated it. Which envelope
    /// says so is documented for other endpoints only, so any word of it counts.
    pub fn is_about_the_foreign_id(&self) -> bool {
        let speaks = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], " ").contains("foreign id");
        self.code.as_deref().is_some_and(speaks)
            || self.text.as_deref().is_some_and(speaks)
            || self.fields.iter().any(|(field, message)| speaks(field) || speaks(message))
    }

    /// The key, the signature or the form of the call is refused: nothing is said about what was asked.
    pub fn is_about_the_call(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        matches!(self.status, 401 | 403) || code == "bad_content_format" || code.contains("_header_")
    }
}

impl Trouble {
    pub fn again(&self) -> Again {
        match self {
            Self::NotSent { .. } | Self::Limited => Again::Safe,
            Self::Refused(refused) if refused.is_about_the_foreign_id() => Again::Unsafe,
            Self::Refused(_) => Again::Useless,
            Self::Unknown { .. } => Again::Unsafe,
        }
    }

    pub fn not_sent(what: &str) -> Self {
        Self::NotSent { what: what.to_owned(), timed_out: false }
    }

    pub fn unknown(what: impl Into<String>) -> Self {
        Self::Unknown { what: what.into(), timed_out: false, status: None }
    }

    /// The error's own text would have the URL.
    pub(super) fn unanswered(error: &reqwest::Error) -> Self {
        let timed_out = error.is_timeout();
        let step = if error.is_connect() { "no connection" } else { "no whole answer" };
        let cause = cause(error).or_else(|| timed_out.then(|| "it took too long".to_owned()));
        let what = cause.map_or_else(|| step.to_owned(), |cause| format!("{step}: {cause}"));
        if error.is_connect() {
            Self::NotSent { what, timed_out }
        } else {
            Self::Unknown { what, timed_out, status: None }
        }
    }

    /// What an answer that is no success means.
    pub fn of(answer: &Answer) -> Self {
        let status = answer.status;
        if status == 429 {
            return Self::Limited;
        }
        let refused = REFUSALS.contains(&status).then(|| refusal(answer)).flatten();
        let what = format!("status {status}, and no answer of the processor's API");
        refused.map_or(Self::Unknown { what, timed_out: false, status: Some(status) }, Self::Refused)
    }
}

/// The system's own words, which have no address and no secret.
fn cause(error: &reqwest::Error) -> Option<String> {
    let mut source = error.source();
    let mut found = None;
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>().filter(|io| io.raw_os_error().is_some());
        let tls = error.downcast_ref::<rustls::Error>();
        found = io.map(ToString::to_string).or_else(|| tls.map(ToString::to_string)).or(found);
        source = error.source();
    }
    found
}

/// Reads `{"error","code"}`, `{"errors":{field: text}}` with or without `error_code`, and `{"errors":{"error","code"}}`.
fn refusal(answer: &Answer) -> Option<Refused> {
    let Ok(Node::Object(members)) = json::read(&answer.body) else { return None };
    let get = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, node)| node);
    let mut refused = Refused { status: answer.status, ..Refused::default() };
    refused.code = get("code").or_else(|| get("error_code")).and_then(text);
    refused.text = get("error").and_then(text);
    if let Some(Node::Object(errors)) = get("errors") {
        let is_special = errors.iter().any(|(key, _)| key == "error") && errors.iter().any(|(key, _)| key == "code");
        for (field, message) in errors {
            let message = text(message).unwrap_or_default();
            match &**field {
                "error" if is_special => refused.text = Some(message),
                "code" if is_special => refused.code = Some(message),
                _ => refused.fields.push((shortened(field), message)),
            }
        }
    }
    let is_understood = refused.text.is_some() || !refused.fields.is_empty();
    is_understood.then_some(refused)
}

/// A text, or the texts of a list.
fn text(node: &Node<'_>) -> Option<String> {
    match node {
        Node::Text(text) => Some(shortened(text)),
        Node::List(items) => Some(shortened(&items.iter().filter_map(text).collect::<Vec<_>>().join(" "))),
        Node::Number(token) => Some(shortened(token)),
        Node::Null | Node::Bool(_) | Node::Object(_) => None,
    }
}

fn shortened(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(TEXT_MAX).collect::<String>().trim().to_owned()
}
