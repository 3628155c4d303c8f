//! The admin API under `/api`: its whole route table on one screen, with the role each route needs. Reads go to the
//! store; what changes the ledger is the booker's work.

pub mod board;
pub mod book_shape;
pub(in crate::http) mod books;
pub(in crate::http) mod callbacks;
pub mod csv;
mod events;
mod ledger;
mod operations;
mod outbound;
pub mod outgoing;
pub mod query;
pub mod redeliver;
pub mod replays;
pub mod resolution;
pub mod resolution_shape;
pub mod retire;
pub mod shape;

use actix_web::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::DefaultHeaders;
use actix_web::{HttpResponse, web};

use super::access::{APPROVER, CONSUMER, OPERATOR, Route, VIEWER, mount};
use super::error::ApiError;

pub static ROUTES: &[Route] = &[
    Route::get("/api/events", CONSUMER, || web::to(events::list)),
    Route::get("/api/events/stream", CONSUMER, || web::to(events::stream)),
    Route::get("/api/events/redeliveries", VIEWER, || web::to(redeliver::list)),
    Route::post("/api/events/redeliver", OPERATOR, || web::to(redeliver::ask)),
    Route::get("/api/callbacks", VIEWER, || web::to(callbacks::list)),
    Route::post("/api/callbacks/replay", OPERATOR, || web::to(callbacks::replay_filtered)),
    Route::get("/api/callbacks/{id}", VIEWER, || web::to(callbacks::show)),
    Route::post("/api/callbacks/{id}/replay", OPERATOR, || web::to(callbacks::replay_one)),
    Route::get("/api/replays", VIEWER, || web::to(replays::list)),
    Route::post("/api/replays", OPERATOR, || web::to(replays::ask)),
    Route::get("/api/replays/{id}", VIEWER, || web::to(replays::show)),
    Route::post("/api/replays/{id}/stop", OPERATOR, || web::to(replays::stop)),
    Route::get("/api/balances", VIEWER, || web::to(ledger::balances)),
    Route::get("/api/accounts", VIEWER, || web::to(books::accounts)),
    Route::get("/api/accounts/{id}/postings", VIEWER, || web::to(books::postings)),
    Route::get("/api/customers", VIEWER, || web::to(books::customers)),
    Route::get("/api/customers/{id}", VIEWER, || web::to(books::customer)),
    Route::get("/api/customers/{id}/statement", VIEWER, || web::to(books::statement)),
    Route::get("/api/payments", VIEWER, || web::to(books::payments)),
    Route::get("/api/payments/{id}", VIEWER, || web::to(books::payment)),
    Route::get("/api/discrepancies", VIEWER, || web::to(resolution::list)),
    Route::get("/api/discrepancies/{id}", VIEWER, || web::to(resolution::show)),
    Route::post("/api/discrepancies/{id}/resolve", OPERATOR, || web::to(resolution::resolve)),
    Route::post("/api/discrepancies/{id}/comments", OPERATOR, || web::to(resolution::comment)),
    Route::post("/api/discrepancies/{id}/owner", OPERATOR, || web::to(resolution::own)),
    Route::get("/api/proposals", VIEWER, || web::to(resolution::proposals)),
    Route::get("/api/proposals/{id}", VIEWER, || web::to(resolution::proposal)),
    Route::post("/api/proposals/{id}/approve", APPROVER, || web::to(resolution::approve)),
    Route::post("/api/proposals/{id}/refuse", OPERATOR, || web::to(resolution::refuse)),
    Route::get("/api/audit", VIEWER, || web::to(resolution::audit)),
    Route::get("/api/withdrawals", VIEWER, || web::to(outgoing::withdrawals)),
    Route::get("/api/withdrawals/{id}", VIEWER, || web::to(outgoing::one)),
    Route::get("/api/declined", VIEWER, || web::to(operations::declined)),
    Route::get("/api/addresses", VIEWER, || web::to(outgoing::addresses)),
    Route::post("/api/addresses/retire", OPERATOR, || web::to(retire::retire)),
    Route::get("/api/reconciliations", VIEWER, || web::to(board::list)),
    Route::post("/api/reconciliations", OPERATOR, || web::to(board::run)),
    Route::get("/api/reconciliations/{id}", VIEWER, || web::to(board::show)),
    Route::get("/api/exports", VIEWER, || web::to(board::exports)),
    Route::get("/api/exports/{id}", VIEWER, || web::to(board::export)),
    Route::get("/api/outbox", VIEWER, || web::to(operations::outbox)),
    Route::get("/api/checks", VIEWER, || web::to(operations::checks)),
    Route::get("/api/outages", VIEWER, || web::to(operations::outages)),
    Route::get("/api/outbound", VIEWER, || web::to(outbound::show)),
    Route::post("/api/outbound/stop", OPERATOR, || web::to(outbound::stop)),
    Route::post("/api/outbound/start", OPERATOR, || web::to(outbound::start)),
    Route::post("/api/withdrawals/{id}/refund", APPROVER, || web::to(outbound::refund)),
    Route::post("/api/withdrawals/{id}/conclude", APPROVER, || web::to(outbound::conclude)),
    Route::get("/api/rejected", VIEWER, || web::to(operations::rejected)),
];

pub fn routes(cfg: &mut web::ServiceConfig) {
    let headers = DefaultHeaders::new().add((CACHE_CONTROL, "no-store")).add((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    let api = web::scope("/api").wrap(headers).configure(|cfg| mount(cfg, ROUTES, "/api"));
    cfg.service(api.default_service(web::to(no_such_route)));
}

/// The answer to everything that is not in the table.
pub async fn no_such_route() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound("such route".to_owned()))
}
