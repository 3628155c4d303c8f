//! How it is going: how far publishing has come, what was refused and what the ledger declined. Reads only.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::shape::{self, row};
use crate::app::App;
use crate::domain::event::rfc3339;
use crate::domain::reason::Reason;
use crate::http::error::ApiError;
use crate::store::{cursor, events};

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
