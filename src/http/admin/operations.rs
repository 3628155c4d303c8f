//! How it is going: how far publishing has come, what was refused and what the ledger declined. Reads only.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::query::Params;
use super::shape::{self, Row, row};
use crate::app::App;
use crate::domain::event::rfc3339;
use crate::domain::outage::{Outlook, Span, outlook};
use crate::domain::reason::Reason;
use crate::http::error::ApiError;
use crate::store::checks::{self as checked, Kept};
use crate::store::outages::Outage;
use crate::store::{cursor, events, outages as kept};

/// `GET /api/outbox`: without a broker nothing is pending, whatever the cursor says.
pub(super) async fn outbox(app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let cursor = cursor::state(&app.db, cursor::RABBITMQ).await?;
    let head = events::last_position(&app.db).await?;
    let owner = Some(cursor.owner).filter(|owner| !owner.is_empty());
    let has_broker = !app.settings.broker.urls.is_empty();
    let pending = head.saturating_sub(cursor.position).max(0);
    Ok(HttpResponse::Ok().json(json!({
        "broker": has_broker,
        "position": cursor.position.to_string(),
        "head": head.to_string(),
        "pending": if has_broker { pending } else { 0 },
        "owner": owner,
        "leased_until": owner.as_ref().map(|_| rfc3339(cursor.until_us)),
        "blocked": app.metrics.publishing_blocked.get() > 0,
    })))
}

/// `GET /api/checks`
pub(super) async fn checks(app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let check = |kept: Kept| {
        row([
            ("name", kept.check.word().into()),
            ("ok", kept.is_fine.into()),
            ("detail", kept.detail.into()),
            ("checked_at", rfc3339(kept.checked_us).into()),
            ("changed_at", rfc3339(kept.changed_us).into()),
        ])
    };
    let rows = checked::kept(&app.db).await?.into_iter().map(check).collect();
    Ok(HttpResponse::Ok().json(shape::page(rows, None)))
}

/// `GET /api/outages`: a cursor is the moment at which an outage began.
pub(super) async fn outages(request: HttpRequest, app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::parse(request.query_string(), &["after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let found = kept::list(&app.db, after.unwrap_or(i64::MAX), limit).await?;
    let is_more = u64::try_from(found.len()).is_ok_and(|rows| rows == limit);
    let next = found.last().filter(|_| is_more).map(|outage| outage.span.from_us.to_string());
    let mut rows = Vec::with_capacity(found.len());
    for outage in found {
        let around = kept::around(&app.db, outage.span).await?;
        rows.push(told(outage, &outlook(outage.span, &around), (app.clock)()));
    }
    Ok(HttpResponse::Ok().json(shape::page(rows, next)))
}

fn told(outage: Outage, outlook: &Outlook, now_us: i64) -> Row {
    let span = |span: Span| json!({"from": rfc3339(span.from_us), "to": rfc3339(span.to_us)});
    let repeats = outlook
        .repeats
        .iter()
        .map(|repeat| json!({"attempt": repeat.attempt, "first": span(repeat.first), "back": span(repeat.back)}));
    row([
        ("from", rfc3339(outage.span.from_us).into()),
        ("to", rfc3339(outage.span.to_us).into()),
        ("seconds", outage.span.length_us().div_euclid(1_000_000).into()),
        ("repeats_until", rfc3339(outlook.until_us).into()),
        ("repeating", (now_us < outlook.until_us).into()),
        ("repeats", repeats.collect()),
        ("lost", outlook.lost.iter().copied().map(span).collect()),
        ("told_at", outage.told_us.map(rfc3339).into()),
    ])
}

/// `GET /api/rejected`: the last requests that this process refused, newest first.
pub(super) async fn rejected(app: web::Data<App>) -> HttpResponse {
    let rows = app.rejected.entries().iter().map(shape::rejection).collect();
    HttpResponse::Ok().json(shape::page(rows, None))
}

/// `GET /api/declined`: the last withdrawals that the ledger declined here, newest first. They left nothing behind.
pub(super) async fn declined(app: web::Data<App>) -> HttpResponse {
    let rows = app.booker.declined.entries().into_iter().map(|order| {
        row([
            ("at", rfc3339(order.at_us).into()),
            ("merchant", app.merchant_name(order.merchant).into()),
            ("foreign_id", order.foreign_id.into()),
            ("customer", order.customer.into()),
            ("currency", order.currency.into()),
            ("amount", order.amount.to_string().into()),
            ("api", order.api.word().into()),
            ("reason", order.reason.map(Reason::word).into()),
        ])
    });
    HttpResponse::Ok().json(shape::page(rows.collect(), None))
}
