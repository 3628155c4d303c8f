//! The first page: whether callbacks come, whether they leave again, what waits for a person, and what is owed to whom.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::web;
use askama::Template;
use tokio::time::timeout;

use super::show::{Badge, Dash, Names, When, duration};
use super::traffic::{self, Minute};
use super::{Answer, Frame, html};
use crate::app::App;
use crate::domain::account::AccountKind;
use crate::domain::amount::Amount;
use crate::domain::ids::MerchantId;
use crate::domain::reconcile::Verdict;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::store::callbacks::{self, Filter, Summary};
use crate::store::reconcile::{self, Run};
use crate::store::{Kind, checks, cursor, discrepancies, events, ledger};

/// A ledger that was not checked for so long, and for five turns, is told.
const LATE_US: i64 = 600_000_000;
/// Rows of the live tail.
const TAIL: u64 = 15;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    tiles: Vec<Tile>,
    minutes: Vec<Minute>,
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
    /// What the processor said it holds, when it was last asked.
    theirs: Option<Amount>,
    verdict: Option<Badge>,
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
    let (mut tiles, minutes) = (tiles(&app).await?, traffic::minutes(&app));
    let runs = runs(&app).await?;
    tiles.push(reconciled(&app, &runs));
    tiles.push(checked(&app).await?);
    Ok(html(&Overview { frame, tiles, minutes, books: books(&app, &runs).await?, tail: lines(&app).await? }))
}

/// `GET /live/tail`: asked again and again by an open page.
pub(super) async fn tail(app: web::Data<App>) -> Answer {
    Ok(html(&Tail { tail: lines(&app).await? }))
}

async fn lines(app: &App) -> Result<Vec<Line>, ApiError> {
    let page = callbacks::list(&app.db, &Filter::default(), None, TAIL).await?;
    Ok(page.rows.into_iter().map(|row| line(row, Names::of(app))).collect())
}

fn line(row: Summary, names: Names) -> Line {
    Line {
        id: row.id.0,
        at: When(row.received_us),
        kind: Dash(row.kind),
        status: Dash(row.status),
        state: Badge(row.state.word()),
        customer: names.dash(row.customer.or(row.end_user_reference).or(row.foreign_id)),
        deliveries: row.deliveries,
    }
}

async fn tiles(app: &App) -> Result<Vec<Tile>, ApiError> {
    let counted = &app.metrics.callbacks;
    let open = callbacks::open_counts(&app.db).await?;
    let discrepancies = discrepancies::open_count(&app.db).await?;
    let tile = |label, value: u64, note: &str, href| Tile {
        label,
        value: value.to_string(),
        note: note.to_owned(),
        badge: None,
        href,
    };
    let latest = traffic::minutes(app).into_iter().next();
    let (taken, refused) = latest.map_or((0, 0), |minute| (minute.taken, minute.refused));
    let refused = format!("taken in the last minute, {refused} refused");
    let mut tiles = vec![
        tile("Callbacks a minute", taken, &refused, Some("/callbacks")),
        tile("Booked", counted.booked.get(), "callbacks, since this process started", Some("/callbacks?state=booked")),
        tile("To look at", discrepancies, "held, in suspense, or found by comparing", Some("/held")),
        tile("Held", open.held, "callbacks wait for a decision", Some("/callbacks?state=held")),
        tile("Failed", open.failed, "are tried again by themselves", Some("/callbacks?state=failed")),
        outbox(app).await?,
        broker(app),
    ];
    tiles.push(database(app).await);
    if let Some(look) = tiles.get_mut(2).filter(|_| discrepancies > 0) {
        look.badge = Some(Badge("attention"));
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
    let note = match app.db.kind {
        Kind::Sqlite => "SQLite",
        Kind::Postgres => "PostgreSQL",
    };
    Tile { label: "Database", value: value.to_owned(), note: note.to_owned(), badge: Some(badge), href: None }
}

/// The last reconciliation of each merchant that came to something, by the merchant's name.
async fn runs(app: &App) -> Result<BTreeMap<String, Run>, ApiError> {
    let mut runs = BTreeMap::new();
    for (id, name) in &app.names.0 {
        if let Some(run) = reconcile::last(&app.db, MerchantId(*id)).await? {
            runs.insert(name.clone(), run);
        }
    }
    Ok(runs)
}

fn reconciled(app: &App, runs: &BTreeMap<String, Run>) -> Tile {
    let label = "Last reconciliation";
    let configured = app.merchants().filter_map(|(_, name)| runs.get(name));
    let Some(oldest) = configured.map(|run| run.ended_us).min() else {
        let (value, note) = ("never".to_owned(), "the processor was not asked yet".to_owned());
        return Tile { label, value, note, badge: None, href: None };
    };
    let is_open = runs.values().flat_map(|run| &run.lines).any(|line| line.verdict == Verdict::Open);
    let age_us = (app.clock)().saturating_sub(oldest);
    let every_us = app.settings.reconcile.every_s.saturating_mul(1_000_000);
    let is_late = every_us > 0 && age_us > every_us.saturating_mul(3);
    let value = format!("{} ago", duration(age_us));
    let (note, word) = match (is_open, is_late) {
        (true, _) => ("somewhere the two sides differ", "attention"),
        (false, true) => ("not compared for three turns: the log says why", "late"),
        (false, false) => ("nothing that someone must look at", "ok"),
    };
    let badge = Some(Badge(word));
    Tile { label, value, note: note.to_owned(), badge, href: None }
}

/// What the ledger's checks of itself found last.
async fn checked(app: &App) -> Result<Tile, ApiError> {
    let kept = checks::kept(&app.db).await?;
    let label = "Checks of the ledger";
    let Some(latest) = kept.iter().map(|kept| kept.checked_us).max() else {
        let (value, note) = ("not yet".to_owned(), "a process that works in the background looks".to_owned());
        return Ok(Tile { label, value, note, badge: None, href: None });
    };
    let failing: Vec<_> = kept.iter().filter(|kept| !kept.is_fine).collect();
    let age_us = (app.clock)().saturating_sub(latest);
    let (value, note) = match failing.first() {
        None => ("all fine".to_owned(), format!("looked {} ago", duration(age_us))),
        Some(first) => (format!("{} failing", failing.len()), format!("{}: {}", first.check.word(), first.detail)),
    };
    let every_us = app.settings.checks.every_s.saturating_mul(1_000_000);
    let badge = Some(Badge(match failing.is_empty() {
        false => "attention",
        true if age_us > LATE_US.max(every_us.saturating_mul(5)) => "late",
        true => "ok",
    }));
    Ok(Tile { label, value, note, badge, href: None })
}

/// What customers have follows from the rest, because every currency adds up to zero: nobody's accounts are read.
async fn books(app: &App, runs: &BTreeMap<String, Run>) -> Result<Vec<Book>, ApiError> {
    let mut books: BTreeMap<(String, String), BTreeMap<AccountKind, Amount>> = BTreeMap::new();
    for row in ledger::of_merchants(&app.db).await? {
        books.entry((row.merchant, row.currency)).or_default().insert(row.kind, row.balance);
    }
    let book = |((merchant, currency), kinds): ((String, String), BTreeMap<AccountKind, Amount>)| {
        let of = |kind| kinds.get(&kind).copied().unwrap_or_default();
        let (processor, fees) = (of(AccountKind::Processor), of(AccountKind::Fees));
        let (suspense, exchange) = (of(AccountKind::Suspense), of(AccountKind::Exchange));
        let owned = processor.checked_add(fees).unwrap_or_default();
        let customers = owned.checked_sub(suspense).and_then(|rest| rest.checked_sub(exchange)).unwrap_or_default();
        let line = runs.get(&merchant).and_then(|run| run.lines.iter().find(|line| line.currency == currency));
        let (theirs, verdict) = (line.map(|line| line.sides.theirs), line.map(|line| Badge(line.verdict.word())));
        Book { merchant, currency, processor, fees, suspense, exchange, customers, theirs, verdict }
    };
    Ok(books.into_iter().map(book).collect())
}
