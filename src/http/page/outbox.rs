//! Events as others are told them, newest first, how far the broker has come, and publishing some of them again.

use actix_web::{HttpRequest, web};
use askama::Template;
use serde::Deserialize;
use serde_json::Value;

use super::show::{Badge, Dash, Names, When};
use super::{Answer, Form, Frame, html, see};
use crate::app::App;
use crate::config::Role;
use crate::domain::event::Event;
use crate::http::admin::query::{Params, since};
use crate::http::admin::redeliver::{MOST, Stretch, carry, has_broker, stretch};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::redelivery::{self, Redelivery};
use crate::store::{cursor, events, merchants};

const ROWS: u64 = 50;
/// Redeliveries that are shown.
const AGAIN_ROWS: u64 = 10;

#[derive(Template)]
#[template(path = "events.html")]
struct List {
    frame: Frame,
    has_broker: bool,
    is_blocked: bool,
    pending: i64,
    position: i64,
    head: i64,
    rows: Vec<Line>,
    older: Option<i64>,
    may_redeliver: bool,
    most: i64,
    is_asked: bool,
    again: Vec<Again>,
}

/// What was asked to be published again.
struct Again {
    at: When,
    by: String,
    reason: String,
    first: i64,
    last: i64,
    done: i64,
    events: i64,
    state: Badge,
}

/// The question before it is done.
#[derive(Template)]
#[template(path = "redeliver.html")]
struct Sure {
    frame: Frame,
    first: i64,
    last: i64,
    events: i64,
    reason: String,
}

struct Line {
    position: i64,
    at: When,
    event: &'static str,
    customer: Dash,
    currency: Dash,
    amount: Dash,
    merchant: String,
    callback: Option<String>,
    state: Badge,
    id: String,
}

/// `GET /events`
pub(super) async fn list(caller: Caller, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["before", "done"])?;
    let (is_asked, may_redeliver) = (params.take("done").is_some(), caller.role >= Role::Operator);
    let (head, position) =
        (events::last_position(&app.db).await?, cursor::state(&app.db, cursor::RABBITMQ).await?.position);
    let before = params.position("before")?.unwrap_or(i64::MAX).min(head.saturating_add(1));
    let after = before.saturating_sub(1).saturating_sub(i64::try_from(ROWS).unwrap_or_default()).max(0);
    let names = merchants::all(&app.db).await?;
    let count = u64::try_from(before.saturating_sub(1).saturating_sub(after)).unwrap_or_default();
    let mut found = if count > 0 { events::after(&app.db, &names, after, count).await? } else { Vec::new() };
    found.reverse();
    let has_broker = has_broker(&app);
    let again = redelivery::list(&app.db, None, AGAIN_ROWS).await?.rows;
    let page = List {
        frame: Frame::new(&app, &caller, "/events", "Events"),
        has_broker,
        is_blocked: app.metrics.publishing_blocked.get() > 0,
        pending: head.saturating_sub(position).max(0),
        position,
        head,
        rows: found.into_iter().map(|event| line(event, has_broker.then_some(position), Names::of(&app))).collect(),
        older: (after > 0).then(|| after.saturating_add(1)),
        may_redeliver,
        most: MOST,
        is_asked,
        again: again.into_iter().map(told).collect(),
    };
    Ok(html(&page))
}

fn told(asked: Redelivery) -> Again {
    Again {
        at: When(asked.asked_us),
        first: asked.first,
        last: asked.last,
        done: asked.position.saturating_sub(asked.first).saturating_add(1),
        events: asked.events(),
        state: Badge(asked.state()),
        by: asked.by,
        reason: asked.reason,
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    from: String,
    to: String,
    reason: String,
    is_sure: bool,
}

/// `POST /events/redeliver`: first it says how many, then it does it.
pub(super) async fn redeliver(caller: Caller, Form(wanted): Form<Wanted>, app: web::Data<App>) -> Answer {
    let Wanted { from, to, reason, is_sure } = wanted;
    let to = Some(to.trim()).filter(|to| !to.is_empty());
    let stretch = stretch(&app.db, has_broker(&app), (&from, to)).await?;
    if is_sure {
        carry(&app, &caller, stretch, reason).await?;
        return Ok(see("/events?done=redeliver"));
    }
    if reason.trim().is_empty() {
        return Err(ApiError::Invalid("Nothing was done: say why the events are to be published again.".to_owned()));
    }
    let frame = Frame::new(&app, &caller, "/events", "Publish again");
    let Stretch { first, last } = stretch;
    Ok(html(&Sure { frame, first, last, events: stretch.events(), reason }))
}

fn line(event: Event, published: Option<i64>, names: Names) -> Line {
    let told: Value = serde_json::from_slice(&event.body).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let data = told.get("data").cloned().unwrap_or_default();
    let of = |name: &str| data.get(name).and_then(&text);
    let at_us = told.get("time").and_then(text).and_then(|time| since(&time, 0).ok()).unwrap_or_default();
    let state = match published {
        None => "ready",
        Some(position) if position >= event.position => "published",
        Some(_) => "waiting",
    };
    Line {
        position: event.position,
        at: When(at_us),
        event: event.event.word(),
        customer: names.dash(event.customer),
        currency: Dash(event.currency),
        amount: Dash(of("amount")),
        merchant: event.merchant,
        callback: of("callback_id"),
        state: Badge(state),
        id: event.id,
    }
}
