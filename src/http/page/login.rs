//! Logging in with a token of the settings, and out again. Wrong tokens cost time: each peer, and all together, must
//! wait longer after each one. What was typed is kept nowhere.

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::frame::{Answer, Form, Frame, html, see};
use crate::app::App;
use crate::config::Role;
use crate::http::{auth, session};
use crate::store::sessions::{self, Failures};

/// The peer that stands for all of them.
const EVERYBODY: &str = "*";
/// Wrong logins that cost nothing yet: of one peer, and of all.
const FREE: i64 = 4;
const FREE_OF_ALL: i64 = 50;
/// The first wait; each further wrong login doubles it.
const WAIT_S: i64 = 5;
const WAIT_S_MAX: i64 = 900;
/// Wrong logins are forgotten after so long without another.
const FORGET_US: i64 = 3_600_000_000;
/// How long a login form may stand open.
const FORM_S: u32 = 3_600;

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    frame: Frame,
    csrf: String,
    next: String,
    trouble: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    next: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Given {
    token: String,
    csrf: String,
    next: String,
}

/// `GET /login`
pub(super) async fn ask(asked: web::Query<Asked>, app: web::Data<App>) -> Answer {
    Ok(form(&app, &asked.next, StatusCode::OK, None))
}

/// `POST /login`
pub(super) async fn enter(request: HttpRequest, Form(given): Form<Given>, app: web::Data<App>) -> Answer {
    let again = |status, trouble: String| Ok(form(&app, &given.next, status, Some(trouble)));
    let cookie = session::cookie(&request, &app, session::LOGIN_NAME).unwrap_or_default();
    let is_ours = session::is_same(given.csrf.as_bytes(), cookie.as_bytes());
    if !is_ours || !session::is_same_origin(request.headers()) {
        return again(StatusCode::BAD_REQUEST, "This form was out of date. Please try again.".to_owned());
    }
    let (peer, now_us) = (peer(&request), (app.clock)());
    let of_peer = recent(sessions::failures(&app.db, &peer).await?, now_us);
    let of_all = recent(sessions::failures(&app.db, EVERYBODY).await?, now_us);
    let wait_us = left_us(of_peer, FREE, now_us).max(left_us(of_all, FREE_OF_ALL, now_us));
    if wait_us > 0 {
        let wait_s = wait_us.saturating_add(999_999).div_euclid(1_000_000);
        let trouble = format!("Too many wrong tokens. Please try again in {wait_s} s.");
        let mut answer = form(&app, &given.next, StatusCode::TOO_MANY_REQUESTS, Some(trouble));
        answer.headers_mut().insert(RETRY_AFTER, wait_s.into());
        return Ok(answer);
    }
    // Counted before it is looked at: whoever asks many times at once is not let off.
    for who in [peer.as_str(), EVERYBODY] {
        sessions::count_failure(&app.db, who, now_us, now_us.saturating_sub(FORGET_US)).await?;
    }
    let Some(token) = auth::find(&app.tokens, given.token.trim().as_bytes()) else {
        tracing::warn!(peer, "A login with a wrong token");
        return again(StatusCode::UNAUTHORIZED, "That is not one of our tokens.".to_owned());
    };
    sessions::forgive(&app.db, &peer, EVERYBODY, of_peer.map_or(0, |failures| failures.count).saturating_add(1))
        .await?;
    if token.role < Role::Viewer {
        let trouble = "That token may only read events; the page needs a viewer's, an operator's or an approver's.";
        return again(StatusCode::FORBIDDEN, trouble.to_owned());
    }
    tracing::info!(peer, token = token.name, role = token.role.word(), "Logged in");
    let mut answer = see(inside(&given.next));
    answer.headers_mut().append(SET_COOKIE, session::open(&app, token).await?);
    answer.headers_mut().append(SET_COOKIE, session::set_cookie(&app, session::LOGIN_NAME, "", Some(0)));
    Ok(answer)
}

/// `POST /logout`
pub(super) async fn leave(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut answer = see("/login");
    answer.headers_mut().append(SET_COOKIE, session::close(&request, &app).await?);
    Ok(answer)
}

/// A form with a value that its cookie has as well: no other site can make a browser send both.
fn form(app: &App, next: &str, status: StatusCode, trouble: Option<String>) -> HttpResponse {
    let csrf = session::random();
    let cookie = session::set_cookie(app, session::LOGIN_NAME, &csrf, Some(FORM_S));
    let page = Login { frame: Frame::outside("Log in"), csrf, next: inside(next).to_owned(), trouble };
    let mut answer = html(&page);
    *answer.status_mut() = status;
    answer.headers_mut().append(SET_COOKIE, cookie);
    answer
}

/// Only ever to a page of ours: browsers read `//host` and `/\host` as another host.
fn inside(next: &str) -> &str {
    let is_ours = next.starts_with('/') && !next.starts_with("//") && next.bytes().all(|byte| byte.is_ascii_graphic());
    if is_ours && !next.contains('\\') { next } else { "/" }
}

/// Whoever owns one address of IPv6 owns 2^64 of them.
fn peer(request: &HttpRequest) -> String {
    match request.peer_addr().map(|address| address.ip().to_canonical()) {
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Some(IpAddr::V4(address)) => address.to_string(),
        None => "unknown".to_owned(),
    }
}

fn recent(failures: Option<Failures>, now_us: i64) -> Option<Failures> {
    failures.filter(|failures| failures.last_us > now_us.saturating_sub(FORGET_US))
}

/// How long to wait still.
fn left_us(failures: Option<Failures>, free: i64, now_us: i64) -> i64 {
    let Some(failures) = failures else { return 0 };
    let Ok(over) = u32::try_from(failures.count.saturating_sub(free)) else { return 0 };
    if over == 0 {
        return 0;
    }
    let wait_s = 2_i64.saturating_pow(over.saturating_sub(1)).saturating_mul(WAIT_S).min(WAIT_S_MAX);
    failures.last_us.saturating_add(wait_s.saturating_mul(1_000_000)).saturating_sub(now_us).max(0)
}
