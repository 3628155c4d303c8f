//! The signed client: exact bytes out, exact bytes back, and what is known when no answer comes. It never sends twice,
//! never follows a redirect, never reads more than its cap, and tells no secret, no signature and no body.

mod answer;
mod calls;
mod request;
mod trouble;

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};

use super::signature::sign;
use crate::config::{Alphapo, Merchant};

pub use answer::{Account, Address, Currency, Exchanged, Invoice, Pair, Placed, Quote, Side, operation_id};
pub use request::{Instant, NewAddress, NewExchange, NewInvoice, NewWithdrawal, Subject, Trade, Want};
pub use reqwest::Method;
pub use trouble::{Again, Refused, Trouble};

/// The processor's spelling of its headers.
pub const KEY: &str = "X-Processing-Key";
pub const SIGNATURE: &str = "X-Processing-Signature";

/// A longer answer is cut off, and counts as none.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Shorter than any server's patience, so that a request is rarely written to a connection that is being closed.
const IDLE: Duration = Duration::from_secs(5);

/// What a merchant signs with.
#[derive(Clone)]
pub struct Credentials {
    key: String,
    secret: SecretString,
}

impl From<&Merchant> for Credentials {
    fn from(merchant: &Merchant) -> Self {
        Self { key: merchant.key.clone(), secret: merchant.secret.clone() }
    }
}

/// Whose they are, and nothing more.
impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// The two headers that sign these bytes, and the one that names their form.
    pub fn headers(&self, body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("Content-Type", b"application/json".to_vec()),
            (KEY, self.key.clone().into_bytes()),
            (SIGNATURE, sign(&self.secret, body).into_bytes()),
        ]
    }
}

/// A request, as it goes over the wire.
pub struct Exact<'a> {
    pub method: Method,
    /// Below the base URL: begins with a slash, ends with its query.
    pub path: &'a str,
    pub headers: Vec<(&'a str, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// An answer, as it came over the wire.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<Vec<u8>>,
    pub retry_after: Option<Vec<u8>>,
    pub body: Vec<u8>,
}

/// Never the body.
impl fmt::Debug for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Answer").field("status", &self.status).field("bytes", &self.body.len()).finish()
    }
}

/// The settings give no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("alphapo.proxy is no URL of a proxy")]
    Proxy,
    #[error("no HTTP client can be made: are the system's certificates installed (Debian: ca-certificates)?")]
    Client,
}

/// One for all merchants: their credentials come with each call.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Needs a TLS provider, which the binary installs first.
    pub fn try_new(settings: &Alphapo) -> Result<Self, Unusable> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tallyhook/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_title_case_headers()
            .pool_idle_timeout(IDLE)
            .connect_timeout(Duration::from_millis(settings.connect_timeout_ms))
            .timeout(Duration::from_millis(settings.timeout_ms));
        let proxy = settings.proxy.expose_secret();
        if !proxy.is_empty() {
            builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(|_its_text_has_the_url| Unusable::Proxy)?);
        }
        let http = builder.build().map_err(|_its_text_may_have_the_url| Unusable::Client)?;
        Ok(Self { http, base_url: settings.base_url.clone() })
    }

    /// Sends exactly these bytes, once. Any status is an answer.
    pub async fn send(&self, request: Exact<'_>) -> Result<Answer, Trouble> {
        let url = format!("{}{}", self.base_url, request.path);
        let mut builder = self.http.request(request.method, url).body(request.body);
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        // A request that can't be built, for a header that none can carry, is not sent.
        let built = builder.build().map_err(|_its_text_has_the_url| Trouble::not_sent("it can't be written"))?;
        let mut response = self.http.execute(built).await.map_err(|error| Trouble::unanswered(&error))?;
        let header = |headers: &HeaderMap, name| headers.get(name).map(|value| value.as_bytes().to_vec());
        let mut answer = Answer {
            status: response.status().as_u16(),
            content_type: header(response.headers(), CONTENT_TYPE),
            retry_after: header(response.headers(), RETRY_AFTER),
            body: Vec::new(),
        };
        while let Some(chunk) = response.chunk().await.map_err(|error| Trouble::unanswered(&error))? {
            if answer.body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
                return Err(Trouble::unknown("the answer is longer than 4 MiB"));
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    /// Signs these bytes and sends them.
    pub async fn call(&self, by: &Credentials, method: Method, path: &str, body: Vec<u8>) -> Result<Answer, Trouble> {
        let headers = by.headers(&body);
        self.send(Exact { method, path, headers, body }).await
    }
}
