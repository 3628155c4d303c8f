//! The first page: whether callbacks come, whether they leave again, what waits for a person, and what is owed to whom.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::web;
use askama::Template;
use tokio::time::timeout;

use super::show::{Badge, Dash, When, duration};
use super::{Answer, Frame, html};
use crate::app::App;
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::callbacks::{self, Filter, Summary};
use crate::store::{cursor, events, ledger};

/// Rows of the live tail.
const TAIL: u64 = 15;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    tiles: Vec<Tile>,
    books: Vec<Book>,
    tail: Vec<Line>,
}

#[derive(Template)]
#[template(path = "tail.html")]
struct Tail {
    tail: Vec<Line>,
}

/// One number, and whether someone must look.
struct Tile {
    label: &'static str,
    value: String,
    note: String,
    badge: Option<Badge>,
    href: Option<&'static str>,
}

/// What is owned and owed in a currency.
struct Book {
    merchant: String,
    currency: String,
    processor: Amount,
    fees: Amount,
    suspense: Amount,
    exchange: Amount,
    customers: Amount,
}

pub(super) struct Line {
    id: i64,
    at: When,
    kind: Dash,
    status: Dash,
    state: Badge,
    customer: Dash,
    deliveries: i64,
}

/// `GET /`
pub(super) async fn show(caller: Caller, app: web::Data<App>) -> Answer {
    let frame = Frame::new(&app, &caller, "/", "Overview");
    Ok(html(&Overview { frame, tiles: tiles(&app).await?, books: books(&app).await?, tail: lines(&app).await? }))
}

/// `GET /live/tail`: asked again and again by an open page.
pub(super) async fn tail(app: web::Data<App>) -> Answer {
    Ok(html(&Tail { tail: lines(&app).await? }))
}

async fn lines(app: &App) -> Result<Vec<Line>, ApiError> {
    let page = callbacks::list(&app.db, &Filter::default(), None, TAIL).await?;
    Ok(page.rows.into_iter().map(line).collect())
}

fn line(row: Summary) -> Line {
    Line {
        id: row.id.0,
        at: When(row.received_us),
        kind: Dash(row.kind),
        status: Dash(row.status),
        state: Badge(row.state.word()),
        customer: Dash(row.customer.or(row.end_user_reference).or(row.foreign_id)),
        deliveries: row.deliveries,
    }
}

async fn tiles(app: &App) -> Result<Vec<Tile>, ApiError> {
    let counted = &app.metrics.callbacks;
    let open = callbacks::open_counts(&app.db).await?;
    let tile = |label, value: u64, note: &str, href| Tile {
        label,
        value: value.to_string(),
        note: note.to_owned(),
        badge: None,
        href,
    };
    let mut tiles = vec![
        tile("Booked", counted.booked.get(), "callbacks, since this process started", Some("/callbacks?state=booked")),
        tile("Held", open.held, "wait for a decision", Some("/callbacks?state=held")),
        tile("Failed", open.failed, "are tried again by themselves", Some("/callbacks?state=failed")),
        outbox(app).await?,
        broker(app),
    ];
    tiles.push(database(app).await);
    if let Some(held) = tiles.get_mut(1).filter(|_| open.held > 0) {
        held.badge = Some(Badge("attention"));
    }
    Ok(tiles)
}

async fn outbox(app: &App) -> Result<Tile, ApiError> {
    let (label, href) = ("Oldest unpublished event", Some("/events"));
    if app.settings.broker.urls.is_empty() {
        let note = "without a broker, events are read over HTTP".to_owned();
        return Ok(Tile { label, value: "–".to_owned(), note, badge: None, href });
    }
    let position = cursor::state(&app.db, cursor::RABBITMQ).await?.position;
    let backlog = events::backlog(&app.db, position).await?;
    let age_us = backlog.oldest_us.map(|at_us| (app.clock)().saturating_sub(at_us));
    let value = age_us.map_or_else(|| "none".to_owned(), duration);
    let is_late = age_us.is_some_and(|age_us| age_us > 60_000_000);
    let badge = Some(Badge(if is_late { "late" } else { "ok" }));
    Ok(Tile { label, value, note: format!("{} wait for the broker", backlog.pending), badge, href })
}

fn broker(app: &App) -> Tile {
    let (value, badge) = match (app.settings.broker.urls.is_empty(), app.metrics.broker_connected.get()) {
        (true, _) => ("none", None),
        (false, 0) => ("disconnected", Some(Badge("attention"))),
        (false, _) => ("connected", Some(Badge("ok"))),
    };
    let note = "as this process sees it".to_owned();
    Tile { label: "Broker", value: value.to_owned(), note, badge, href: None }
}

async fn database(app: &App) -> Tile {
    let is_there = matches!(timeout(Duration::from_secs(2), app.db.ping()).await, Ok(Ok(())));
    let (value, badge) = if is_there { ("answers", Badge("ok")) } else { ("unreachable", Badge("attention")) };
    let note = format!("{:?}", app.db.kind);
    Tile { label: "Database", value: value.to_owned(), note, badge: Some(badge), href: None }
}

/// What customers have follows from the rest, because every currency adds up to zero: nobody's accounts are read.
async fn books(app: &App) -> Result<Vec<Book>, ApiError> {
    let mut books: BTreeMap<(String, String), BTreeMap<AccountKind, Amount>> = BTreeMap::new();
    for row in ledger::of_merchants(&app.db).await? {
        books.entry((row.merchant, row.currency)).or_default().insert(row.kind, row.balance);
    }
    let book = |((merchant, currency), kinds): (_, BTreeMap<AccountKind, Amount>)| {
        let of = |kind| kinds.get(&kind).copied().unwrap_or_default();
        let (processor, fees) = (of(AccountKind::Processor), of(AccountKind::Fees));
        let (suspense, exchange) = (of(AccountKind::Suspense), of(AccountKind::Exchange));
        let owned = processor.checked_add(fees).unwrap_or_default();
        let customers = owned.checked_sub(suspense).and_then(|rest| rest.checked_sub(exchange)).unwrap_or_default();
        Book { merchant, currency, processor, fees, suspense, exchange, customers }
    };
    Ok(books.into_iter().map(book).collect())
}
