//! Reconciliation: its runs, the exports that were imported, and running it now.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::query::Params;
use super::shape::{self, Row, row};
use crate::app::App;
use crate::domain::event::rfc3339;
use crate::domain::ids::MerchantId;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::outbound::board;
use crate::store::exports::{self, Export};
use crate::store::reconcile::{self, Line, Run};

type Answer = Result<HttpResponse, ApiError>;

/// `GET /api/reconciliations`
pub(super) async fn list(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let runs = reconcile::runs(&app.db, after.unwrap_or(i64::MAX), limit).await?;
    let is_full = u64::try_from(runs.len()).is_ok_and(|count| count == limit);
    let next = runs.last().filter(|_| is_full).map(|run| run.began_us.to_string());
    Ok(HttpResponse::Ok().json(shape::page(runs.iter().map(|run| told(&app, run)).collect(), next)))
}

/// `GET /api/reconciliations/{id}`
pub(super) async fn show(id: web::Path<String>, app: web::Data<App>) -> Answer {
    let none = || ApiError::NotFound(format!("reconciliation {id}"));
    let (merchant, began_us) = id.split_once('-').ok_or_else(none)?;
    let merchant = merchant.parse().map_err(|_not_a_number| none())?;
    let began_us = began_us.parse().map_err(|_not_a_number| none())?;
    let run = reconcile::get(&app.db, MerchantId(merchant), began_us).await?.ok_or_else(none)?;
    Ok(HttpResponse::Ok().json(told(&app, &run)))
}

/// `POST /api/reconciliations`: begins a run; its outcome is in the list.
pub(super) async fn run(caller: Caller, app: web::Data<App>) -> Answer {
    begin(&app, &caller).await?;
    Ok(HttpResponse::Accepted().json(json!({ "state": "running" })))
}

/// Begins a run in the background.
pub(in crate::http) async fn begin(app: &web::Data<App>, caller: &Caller) -> Result<(), ApiError> {
    let detail = || "a run is under way already: its outcome will be in the list".to_owned();
    let turn = board::take_turn(app).await?;
    let turn = turn.ok_or_else(|| ApiError::Conflict { code: "already_running", detail: detail() })?;
    let (inner, by) = (app.clone(), caller.name.clone());
    // Whatever goes wrong is logged there, and kept with the run.
    app.set_going(async move { drop(board::run(&inner, turn, &by).await) });
    Ok(())
}

/// `GET /api/exports`
pub(super) async fn exports(request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let found = exports::list(&app.db, after.unwrap_or(i64::MAX), limit).await?;
    let is_full = u64::try_from(found.len()).is_ok_and(|count| count == limit);
    let next = found.last().filter(|_| is_full).map(|export| export.id.to_string());
    let mut rows = Vec::with_capacity(found.len());
    for export in &found {
        rows.push(imported(&app, export).await?);
    }
    Ok(HttpResponse::Ok().json(shape::page(rows, next)))
}

/// `GET /api/exports/{id}`: what it was, and its rows that did not plainly match.
pub(super) async fn export(id: web::Path<String>, request: HttpRequest, app: web::Data<App>) -> Answer {
    let mut params = Params::parse(request.query_string(), &["after", "limit"])?;
    let (limit, after) = (params.limit()?, params.position("after")?);
    let none = || ApiError::NotFound(format!("export {id}"));
    let number = id.parse().map_err(|_not_a_number| none())?;
    let found = exports::get(&app.db, number).await?.ok_or_else(none)?;
    let rows = exports::rows(&app.db, number, after.unwrap_or_default(), None, limit).await?;
    let is_full = u64::try_from(rows.len()).is_ok_and(|count| count == limit);
    let next = rows.last().filter(|_| is_full).map(|row| row.ordinal.to_string());
    let mut whole = imported(&app, &found).await?;
    whole.extend(row([
        ("data", Value::Array(rows.iter().map(|row| Value::Object(export_row(row))).collect())),
        ("next", next.into()),
    ]));
    Ok(HttpResponse::Ok().json(whole))
}

fn told(app: &App, run: &Run) -> Row {
    let lines = run.lines.iter().map(|line| Value::Object(line_of(line))).collect();
    row([
        ("id", format!("{}-{}", run.merchant.0, run.began_us).into()),
        ("merchant", app.merchant_name(run.merchant).into()),
        ("began_at", rfc3339(run.began_us).into()),
        ("ended_at", rfc3339(run.ended_us).into()),
        ("asked_by", run.asked_by.as_str().into()),
        ("error", run.error.as_deref().into()),
        ("lines", Value::Array(lines)),
    ])
}

fn line_of(line: &Line) -> Row {
    row([
        ("currency", line.currency.as_str().into()),
        ("verdict", line.verdict.word().into()),
        ("ours", line.sides.ours.to_string().into()),
        ("theirs", line.sides.theirs.to_string().into()),
        ("in_flight", line.sides.in_flight.to_string().into()),
        ("difference", line.sides.difference().map(|amount| amount.to_string()).into()),
        ("since", line.since_us.map(rfc3339).into()),
        ("discrepancy", line.discrepancy.map(|id| id.to_string()).into()),
    ])
}

async fn imported(app: &App, export: &Export) -> Result<Row, ApiError> {
    let counts = export.counts;
    Ok(row([
        ("id", export.id.to_string().into()),
        ("merchant", app.merchant_name(export.merchant).into()),
        ("file", export.file.as_str().into()),
        ("sha256", const_hex::encode(export.sha256).into()),
        ("asked_by", export.asked_by.as_str().into()),
        ("began_at", rfc3339(export.began_us).into()),
        ("ended_at", export.ended_us.map(rfc3339).into()),
        ("from", rfc3339(export.from_us).into()),
        ("until", rfc3339(export.until_us).into()),
        ("rows", export.rows.into()),
        ("payments", export.payments.into()),
        ("matched", counts.matched.into()),
        ("missing_here", counts.missing_here.into()),
        ("missing_there", counts.missing_there.into()),
        ("amounts", counts.amounts.into()),
        ("fees", counts.fees.into()),
        ("statuses", counts.statuses.into()),
        ("duplicates", counts.duplicates.into()),
        ("open", exports::open_rows(&app.db, export.id).await?.into()),
    ]))
}

fn export_row(found: &exports::Row) -> Row {
    let amount = |amount: Option<crate::domain::amount::Amount>| amount.map(|amount| amount.to_string());
    row([
        ("ordinal", found.ordinal.to_string().into()),
        ("line", found.line.into()),
        ("result", found.verdict.word().into()),
        ("how", found.how.map(crate::domain::pairing::How::word).into()),
        ("state", found.state.word().into()),
        ("type", found.family.name().into()),
        ("payment_id", found.ext_id.as_str().into()),
        ("currency", found.currency.as_str().into()),
        ("theirs", amount(found.theirs).into()),
        ("ours", amount(found.ours).into()),
        ("their_fee", amount(found.their_fee).into()),
        ("our_fee", amount(found.our_fee).into()),
        ("their_status", found.their_status.as_deref().into()),
        ("our_status", found.our_status.map(crate::domain::payment::Status::word).into()),
        ("note", found.note.as_deref().into()),
        ("payment", found.payment.map(|id| id.0.to_string()).into()),
        ("callback", found.callback.map(|id| id.0.to_string()).into()),
        ("discrepancy", found.discrepancy.map(|id| id.to_string()).into()),
    ])
}
