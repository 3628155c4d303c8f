//! Who asks: a bearer token of the settings, or a session that was opened with one. Tokens are compared by their SHA-256
//! in constant time, all of them, and never logged. What each route asks of its caller stands in the tables of routes.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tracing::warn;

use super::error::ApiError;
use super::session;
use crate::app::App;
use crate::config::{Role, Token};
use crate::store::audit_log::Actor;

/// What a client calls its request, and what the audit log keeps.
pub const REQUEST_ID: &str = "x-request-id";

/// Who asks: a handler of a route that needs a role may take it as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's name in the settings: who it is that asks, for the audit.
    pub name: String,
    pub role: Role,
    /// What whatever changes something must show, when a session asks; a bearer token can't be sent by accident.
    pub csrf: Option<String>,
    /// The request's name: the client's own, or one of ours.
    pub request_id: String,
}

impl Caller {
    /// Who it is, for the audit log.
    pub fn actor(&self) -> Actor {
        Actor { name: self.name.clone(), role: self.role.word(), request_id: self.request_id.clone() }
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Self>().cloned();
        ready(caller.ok_or(ApiError::Unauthorized { is_token_given: false }))
    }
}

/// Whose token or session the request has. A token that is wrong is not made good by a session.
pub(super) async fn caller(request: &HttpRequest) -> Result<Caller, ApiError> {
    let app = request.app_data::<web::Data<App>>().ok_or(ApiError::Unauthorized { is_token_given: false })?;
    if !request.headers().contains_key(AUTHORIZATION) {
        let caller = session::caller(request, app).await?;
        return caller.ok_or(ApiError::Unauthorized { is_token_given: false });
    }
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let (header, other) = (headers.next(), headers.next());
    let given = header.filter(|_| other.is_none()).and_then(|header| bearer(header.as_bytes()));
    let given = given.ok_or(ApiError::Unauthorized { is_token_given: false })?;
    let Some(token) = find(&app.tokens, given) else {
        app.metrics.tokens_refused.increment();
        let peer = request.peer_addr().map(|peer| peer.ip().to_string());
        warn!(peer, "Refused a bearer token that is none of ours");
        return Err(ApiError::Unauthorized { is_token_given: true });
    };
    Ok(Caller { name: token.name.clone(), role: token.role, csrf: None, request_id: request_id(request) })
}

/// The client's name of the request, if it is a plain one; else one that nobody else has.
pub fn request_id(request: &HttpRequest) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let is_plain = |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(is_plain).map_or_else(|| uuid::Uuid::from_u128(rand::random()).to_string(), str::to_owned)
}

/// The token of `Bearer <token>`; the scheme's case does not matter.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// The token it is; of several that are the same, the one that may most.
pub fn find<'t>(tokens: &'t [Token], given: &[u8]) -> Option<&'t Token> {
    let given = Sha256::digest(given);
    let mut found: Option<&Token> = None;
    for token in tokens {
        let is_same: Choice = Sha256::digest(token.secret.expose_secret()).as_slice().ct_eq(given.as_slice());
        if bool::from(is_same) && found.is_none_or(|found| token.role > found.role) {
            found = Some(token);
        }
    }
    found
}
