//! Requests that this process refused lately, each with its likely cause and what to do about it.

use actix_web::web;
use askama::Template;

use super::show::{Dash, When, words};
use super::{Answer, Frame, html};
use crate::app::App;
use crate::http::auth::Caller;

#[derive(Template)]
#[template(path = "rejected.html")]
struct Rejected {
    frame: Frame,
    rows: Vec<Line>,
}

struct Line {
    at: When,
    reason: String,
    cause: Dash,
    advice: Dash,
    peer: Dash,
    bytes: usize,
}

/// `GET /rejected`
pub(super) async fn list(caller: Caller, app: web::Data<App>) -> Answer {
    let rows = app.rejected.entries().into_iter().map(|entry| Line {
        at: When(entry.at_us),
        reason: words(entry.reason),
        cause: Dash(entry.cause.map(words)),
        advice: Dash(entry.advice.map(str::to_owned)),
        peer: Dash(entry.peer),
        bytes: entry.bytes,
    });
    let rows = rows.collect();
    Ok(html(&Rejected { frame: Frame::new(&app, &caller, "/rejected", "Rejected requests"), rows }))
}
