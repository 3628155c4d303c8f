//! Sessions of the page: a cookie that names a row of the database. The row ends with its idle time, its lifetime, its
//! token's secret or role in the settings, and with a logout. Whatever a session changes needs the session's own CSRF
//! token and a request from our own origin. It never keeps a token, and never trusts an id that it did not give out.

use actix_web::HttpRequest;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web::{self, Bytes};
use futures_util::stream;
use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::auth::Caller;
use super::error::ApiError;
use crate::app::App;
use crate::config::Token;
use crate::store::StoreError;
use crate::store::sessions::{self, Session};

/// How stale the time of the last use may be: not every click writes.
const TOUCH_US: i64 = 30_000_000;
const MINUTE_US: i64 = 60_000_000;
const CSRF_HEADER: &str = "x-csrf-token";
/// Pages ask these paths again by themselves: nobody has clicked.
const LIVE: &str = "/live/";

/// A random value that nobody guesses, in hex.
pub fn random() -> String {
    const_hex::encode(rand::rng().random::<[u8; 32]>())
}

/// Opens a session for whoever showed `token`: the value of `Set-Cookie`.
pub async fn open(app: &App, token: &Token) -> Result<HeaderValue, StoreError> {
    let (id, now_us) = (random(), (app.clock)());
    sessions::forget_before(&app.db, now_us.saturating_sub(idle_us(app))).await?;
    let session = Session {
        digest: digest(&id),
        token: token.name.clone(),
        role: token.role.word().to_owned(),
        proof: proof(&id, token),
        csrf: random(),
        created_us: now_us,
        seen_us: now_us,
    };
    sessions::add(&app.db, &session).await?;
    Ok(set_cookie(app, NAME, &id, None))
}

/// Ends the session of a request: the value of `Set-Cookie`.
pub async fn close(request: &HttpRequest, app: &App) -> Result<HeaderValue, StoreError> {
    if let Some(id) = cookie(request, app, NAME) {
        sessions::remove(&app.db, digest(&id)).await?;
    }
    Ok(set_cookie(app, NAME, "", Some(0)))
}

/// Whose session the request has.
pub(super) async fn caller(request: &HttpRequest, app: &App) -> Result<Option<Caller>, ApiError> {
    let Some(id) = cookie(request, app, NAME) else { return Ok(None) };
    let Some(session) = sessions::find(&app.db, digest(&id)).await? else { return Ok(None) };
    let now_us = (app.clock)();
    let age_us = now_us.saturating_sub(session.created_us);
    let unused_us = now_us.saturating_sub(session.seen_us);
    let lifetime_us = app.settings.page.session_hours.saturating_mul(MINUTE_US.saturating_mul(60));
    let token = app.tokens.iter().find(|token| token.name == session.token);
    let token = token.filter(|token| bool::from(proof(&id, token).ct_eq(&session.proof)));
    let Some(token) = token.filter(|_| age_us < lifetime_us && unused_us < idle_us(app)) else {
        sessions::remove(&app.db, session.digest).await?;
        return Ok(None);
    };
    if unused_us > TOUCH_US && !request.path().starts_with(LIVE) {
        sessions::touch(&app.db, session.digest, now_us).await?;
    }
    let request_id = super::auth::request_id(request);
    Ok(Some(Caller { name: token.name.clone(), role: token.role, csrf: Some(session.csrf), request_id }))
}

/// Refuses what the page itself did not send. The token comes in a header, or in the field `csrf` of a form, whose
/// bytes are put back for the handler.
pub(super) async fn check(request: &mut ServiceRequest, csrf: &str) -> Result<(), ApiError> {
    if !is_same_origin(request.headers()) {
        return Err(ApiError::Forged);
    }
    if let Some(given) = request.headers().get(CSRF_HEADER) {
        return if is_same(given.as_bytes(), csrf.as_bytes()) { Ok(()) } else { Err(ApiError::Forged) };
    }
    let body = request.extract::<Bytes>().await.map_err(|_too_long_or_cut_off| ApiError::TooLarge)?;
    let fields = web::Query::<Vec<(String, String)>>::from_query(std::str::from_utf8(&body).unwrap_or_default());
    let mut fields = fields.map(web::Query::into_inner).unwrap_or_default().into_iter();
    let given = fields.find(|(name, _)| name == "csrf").map(|(_, value)| value).unwrap_or_default();
    let whole = stream::once(std::future::ready(Ok(body)));
    request.set_payload(Payload::Stream { payload: Box::pin(whole) });
    if is_same(given.as_bytes(), csrf.as_bytes()) { Ok(()) } else { Err(ApiError::Forged) }
}

/// Whether our own page sent it, as far as the browser tells.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), _, _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        (None, Some(_), None) => false,
        (None, None, _) => true,
    }
}

/// Without telling by the time it takes how much of it is right.
pub(super) fn is_same(given: &[u8], expected: &[u8]) -> bool {
    !expected.is_empty() && bool::from(given.ct_eq(expected))
}

/// The cookie that names a session.
const NAME: &str = "tallyhook";
/// The cookie that belongs to a login form.
pub(super) const LOGIN_NAME: &str = "tallyhook-login";

/// With `Secure`, a prefix says so, and browsers then refuse the cookie from anybody else.
fn full_name(app: &App, name: &str) -> String {
    format!("{}{name}", if app.settings.page.is_cookie_secure { "__Host-" } else { "" })
}

pub(super) fn set_cookie(app: &App, name: &str, value: &str, max_age_s: Option<u32>) -> HeaderValue {
    let name = full_name(app, name);
    let secure = if app.settings.page.is_cookie_secure { "; Secure" } else { "" };
    let age = max_age_s.map(|age_s| format!("; Max-Age={age_s}")).unwrap_or_default();
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}");
    HeaderValue::from_str(&text).expect("names and hexadecimal values are fit for a header")
}

/// A cookie's value, if it is one that we may have given out.
pub(super) fn cookie(request: &HttpRequest, app: &App, name: &str) -> Option<String> {
    let name = full_name(app, name);
    let lines = request.headers().get_all(header::COOKIE).filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(found, _)| *found == name)?;
    (value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| value.to_owned())
}

fn idle_us(app: &App) -> i64 {
    app.settings.page.idle_minutes.saturating_mul(MINUTE_US)
}

fn digest(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

/// Keyed with the id, which is not stored: nobody can try tokens against it who has only the database.
fn proof(id: &str, token: &Token) -> [u8; 32] {
    let state = <Hmac<Sha256> as KeyInit>::new_from_slice(id.as_bytes()).expect("HMAC takes a key of any length");
    let said = state.chain_update(token.name.as_bytes()).chain_update([0]).chain_update(token.role.word().as_bytes());
    said.chain_update([0]).chain_update(token.secret.expose_secret().as_bytes()).finalize().into_bytes().into()
}
