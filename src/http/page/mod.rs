//! The page on the admin listener: HTML made here, complete without JavaScript. It shows what the store knows and hands
//! what people decide to the booker; it never writes by itself, and asks no other host for anything.
//!
//! To add a page:
//!
//! 1. `templates/payments.html`: `{% extends "layout.html" %}` and `{% block content %}…{% endblock %}`. Tables stand in
//!    `<div class="scroll" tabindex="0" role="group" aria-label="…">`; ids get `class="mono"`, amounts `class="num"`.
//! 2. `payments.rs`: `#[derive(Template)] #[template(path = "payments.html")] struct Payments { frame: Frame, rows: … }`.
//!    The fields of rows are texts, or the types of [`show`]: `When`, `Badge`, `Dash`, `Raw`. Everything else is escaped.
//! 3. `pub(super) async fn list(caller: Caller, app: web::Data<App>) -> Answer` ends with
//!    `Ok(html(&Payments { frame: Frame::new(&app, &caller, "/payments", "Payments"), rows }))`. An `ApiError` becomes a
//!    page by itself.
//! 4. A line in [`ROUTES`] with the role it needs (and one in `tests/it/access.rs`), and one in [`NAV`].
//! 5. A form that changes something: `method="post"`, and `{{ frame.csrf() }}` inside. The route refuses it otherwise;
//!    the handler takes `Form<T>`. Answer with [`see`], so that reloading does not repeat it.

mod assets;
mod audit;
mod callbacks;
mod customers;
mod errors;
mod frame;
mod held;
mod login;
mod outbox;
mod outgoing;
mod overview;
mod payments;
mod proposals;
mod reconciliation;
mod rejected;
mod replays;
mod resolving;
mod retiring;
pub mod show;
mod story;
mod traffic;
mod why;

use actix_web::middleware::from_fn;
use actix_web::web;

use frame::{Answer, Form, Frame, encoded, html, query_of, see};

use super::access::{APPROVER, Needs, OPERATOR, Route, VIEWER, mount};
use super::admin::books;
use super::error::ApiError;

pub static ROUTES: &[Route] = &[
    Route::get("/", VIEWER, || web::to(overview::show)),
    Route::get("/login", Needs::Nothing, || web::to(login::ask)),
    Route::post("/login", Needs::Nothing, || web::to(login::enter)),
    Route::post("/logout", VIEWER, || web::to(login::leave)),
    Route::get("/live/tail", VIEWER, || web::to(overview::tail)),
    Route::get("/live/traffic", VIEWER, || web::to(traffic::series)),
    Route::get("/callbacks", VIEWER, || web::to(callbacks::list)),
    Route::get("/callbacks/{id}", VIEWER, || web::to(callbacks::show)),
    Route::get("/callbacks/{id}/body", VIEWER, || web::to(callbacks::body)),
    Route::post("/callbacks/{id}/replay", OPERATOR, || web::to(callbacks::decide)),
    Route::get("/events", VIEWER, || web::to(outbox::list)),
    Route::post("/events/redeliver", OPERATOR, || web::to(outbox::redeliver)),
    Route::get("/held", VIEWER, || web::to(held::list)),
    Route::get("/held/{id}", VIEWER, || web::to(held::show)),
    Route::post("/held/{id}/resolve", OPERATOR, || web::to(resolving::resolve)),
    Route::post("/held/{id}/comments", OPERATOR, || web::to(resolving::comment)),
    Route::post("/held/{id}/owner", OPERATOR, || web::to(resolving::own)),
    Route::get("/reconciliation", VIEWER, || web::to(reconciliation::show)),
    Route::post("/reconciliation/run", OPERATOR, || web::to(reconciliation::run)),
    Route::get("/proposals", VIEWER, || web::to(proposals::list)),
    Route::post("/proposals/{id}/approve", APPROVER, || web::to(proposals::approve)),
    Route::post("/proposals/{id}/refuse", OPERATOR, || web::to(proposals::refuse)),
    Route::get("/replays", VIEWER, || web::to(replays::list)),
    Route::get("/replays/{id}", VIEWER, || web::to(replays::show)),
    Route::post("/replays/{id}/stop", OPERATOR, || web::to(replays::stop)),
    Route::get("/audit", VIEWER, || web::to(audit::list)),
    Route::get("/rejected", VIEWER, || web::to(rejected::list)),
    Route::get("/payments", VIEWER, || web::to(payments::list)),
    Route::get("/payments/{id}", VIEWER, || web::to(payments::show)),
    Route::get("/customers", VIEWER, || web::to(customers::list)),
    Route::get("/customers/{id}", VIEWER, || web::to(customers::show)),
    Route::get("/customers/{id}/statement.csv", VIEWER, || web::to(books::statement)),
    Route::get("/withdrawals", VIEWER, || web::to(outgoing::withdrawals)),
    Route::get("/addresses", VIEWER, || web::to(outgoing::addresses)),
    Route::get("/addresses/retire", OPERATOR, || web::to(retiring::ask)),
    Route::post("/addresses/retire", OPERATOR, || web::to(retiring::retire)),
    Route::get("/assets/{hash}/{name}", Needs::Nothing, || web::to(assets::serve)),
];

/// The navigation: where to, and what it is called.
const NAV: &[(&str, &str)] = &[
    ("/", "Overview"),
    ("/callbacks", "Callbacks"),
    ("/payments", "Payments"),
    ("/customers", "Customers"),
    ("/withdrawals", "Withdrawals"),
    ("/addresses", "Addresses"),
    ("/held", "Held and discrepancies"),
    ("/reconciliation", "Reconciliation"),
    ("/proposals", "Proposals"),
    ("/events", "Events"),
    ("/replays", "Replays"),
    ("/rejected", "Rejected requests"),
    ("/audit", "Audit log"),
];

/// Where a file is that pages load.
pub(super) fn asset(name: &str) -> String {
    assets::url(name)
}

/// Mounted last: it answers every path that nobody else did.
pub fn routes(cfg: &mut web::ServiceConfig) {
    let pages = web::scope("").wrap(from_fn(errors::dress)).configure(|cfg| mount(cfg, ROUTES, ""));
    cfg.service(pages.default_service(web::to(nothing_here)));
}

async fn nothing_here() -> Answer {
    Err(ApiError::NotFound("such page".to_owned()))
}
