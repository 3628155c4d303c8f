//! Who may: bearer tokens with roles. A handler takes the role it needs as an argument, so none can be forgotten half
//! way. Tokens are compared by their SHA-256 in constant time, all of them, and never logged.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, web};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::error::ApiError;
use crate::app::App;
use crate::config::{Role, Token};

macro_rules! callers {
    ($($(#[$doc:meta])* $name:ident, $role:expr, $word:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl FromRequest for $name {
            type Error = ApiError;
            type Future = Ready<Result<Self, ApiError>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                ready(role(request).and_then(|role| {
                    if role >= $role { Ok(Self) } else { Err(ApiError::Forbidden { needs: $word }) }
                }))
            }
        }
    )*};
}

callers! {
    /// May read the events.
    Consumer, Role::Consumer, "consumer";
    /// May read everything.
    Viewer, Role::Viewer, "viewer";
    /// May also have callbacks decided anew.
    Operator, Role::Operator, "operator";
}

/// The role of the request's token.
fn role(request: &HttpRequest) -> Result<Role, ApiError> {
    let app = request.app_data::<web::Data<App>>().ok_or(ApiError::Unauthorized { is_token_given: false })?;
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let (header, other) = (headers.next(), headers.next());
    let given = header.filter(|_| other.is_none()).and_then(|header| bearer(header.as_bytes()));
    let given = given.ok_or(ApiError::Unauthorized { is_token_given: false })?;
    find(&app.tokens, given).ok_or(ApiError::Unauthorized { is_token_given: true })
}

/// The token of `Bearer <token>`; the scheme's case does not matter.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

fn find(tokens: &[Token], given: &[u8]) -> Option<Role> {
    let given = Sha256::digest(given);
    let mut found = None;
    for token in tokens {
        let is_same: Choice = Sha256::digest(token.secret.expose_secret()).as_slice().ct_eq(given.as_slice());
        if bool::from(is_same) {
            found = found.max(Some(token.role));
        }
    }
    found
}
