//! Events as others are told them, newest first, and how far the broker has come.

use actix_web::{HttpRequest, web};
use askama::Template;
use serde_json::Value;

use super::show::{Badge, Dash, When};
use super::{Answer, Frame, html};
use crate::app::App;
use crate::domain::event::Event;
use crate::http::admin::query::{Params, since};
use crate::http::auth::Caller;
use crate::store::{cursor, events, merchants};

const ROWS: u64 = 50;

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
    let mut params = Params::parse(request.query_string(), &["before"])?;
    let (head, position) =
        (events::last_position(&app.db).await?, cursor::state(&app.db, cursor::RABBITMQ).await?.position);
    let before = params.position("before")?.unwrap_or(i64::MAX).min(head.saturating_add(1));
    let after = before.saturating_sub(1).saturating_sub(i64::try_from(ROWS).unwrap_or_default()).max(0);
    let names = merchants::all(&app.db).await?;
    let count = u64::try_from(before.saturating_sub(1).saturating_sub(after)).unwrap_or_default();
    let mut found = if count > 0 { events::after(&app.db, &names, after, count).await? } else { Vec::new() };
    found.reverse();
    let has_broker = !app.settings.broker.urls.is_empty();
    let page = List {
        frame: Frame::new(&app, &caller, "/events", "Events"),
        has_broker,
        is_blocked: app.metrics.publishing_blocked.get() > 0,
        pending: head.saturating_sub(position).max(0),
        position,
        head,
        rows: found.into_iter().map(|event| line(event, has_broker.then_some(position))).collect(),
        older: (after > 0).then(|| after.saturating_add(1)),
    };
    Ok(html(&page))
}

fn line(event: Event, published: Option<i64>) -> Line {
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
        customer: Dash(event.customer),
        currency: Dash(event.currency),
        amount: Dash(of("amount")),
        merchant: event.merchant,
        callback: of("callback_id"),
        state: Badge(state),
        id: event.id,
    }
}
