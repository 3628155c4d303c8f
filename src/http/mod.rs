//! The route tables, and the two servers that serve it. A handler extracts, calls, replies.

pub mod access;
pub mod admin;
pub mod auth;
pub mod body;
pub mod callbacks;
pub mod dropin;
pub mod error;
pub mod gateway;
pub mod health;
pub mod idempotent;
pub mod openapi;
pub mod page;
pub mod session;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App as Site, HttpServer, web};
use anyhow::Context;
use socket2::SockRef;

use self::access::{Needs, Route, mount};
use crate::app::App;

/// The public listener: callbacks and health, open to the processor.
pub static PUBLIC: &[Route] = &[
    Route::post("/callbacks/alphapo", Needs::Signature, || web::to(callbacks::receive)),
    Route::get("/api/v2/{path:.*}", Needs::Signature, || web::to(dropin::handle)),
    Route::post("/api/v2/{path:.*}", Needs::Signature, || web::to(dropin::handle)),
    Route::get("/livez", Needs::Nothing, || web::to(health::live)),
    Route::get("/readyz", Needs::Nothing, || web::to(health::ready)),
];

/// The admin listener beside its API; `/metrics` tells nothing about customers and needs no token.
pub static ADMIN: &[Route] = &[
    Route::get("/livez", Needs::Nothing, || web::to(health::live)),
    Route::get("/readyz", Needs::Nothing, || web::to(health::ready)),
    Route::get("/metrics", Needs::Nothing, || web::to(health::metrics)),
    Route::get("/openapi.json", Needs::Nothing, || web::to(openapi::serve)),
    Route::get("/docs", Needs::Nothing, || web::to(openapi::read)),
];

/// The routes of the public listener.
pub fn public_routes(cfg: &mut web::ServiceConfig) {
    mount(cfg, PUBLIC, "");
    cfg.configure(gateway::routes).default_service(web::to(health::nothing_here));
}

/// The routes of the admin listener: everything for people and their tools.
pub fn admin_routes(cfg: &mut web::ServiceConfig) {
    mount(cfg, ADMIN, "");
    cfg.configure(admin::routes).configure(page::routes);
}

/// Every route of the admin listener.
pub fn admin_table() -> impl Iterator<Item = &'static Route> {
    ADMIN.iter().chain(admin::ROUTES).chain(page::ROUTES)
}

/// Connections that may wait to be accepted. One beyond them is tried again by its client's kernel, a second later.
const CONNECTIONS_WAITING: i32 = 1024;

/// Takes an address, or says in one sentence why not.
pub fn bind(address: &str, setting: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            anyhow::anyhow!("{address} is taken by another program: stop it, or set {setting} to a free address")
        } else if error.kind() == std::io::ErrorKind::PermissionDenied {
            anyhow::anyhow!("{address} may not be used by this user: set {setting} to a port above 1023")
        } else {
            anyhow::Error::new(error).context(format!("{setting} = {address} can't be listened on"))
        }
    })?;
    // A second time, for a longer queue than std's.
    SockRef::from(&listener).listen(CONNECTIONS_WAITING).context("a listener that can't be given its queue")?;
    listener.set_nonblocking(true).context("a listener that can't be non-blocking")?;
    Ok(listener)
}

/// Serves `routes` until its handle stops it.
pub fn server(
    app: &Arc<App>,
    listener: TcpListener,
    workers: usize,
    routes: fn(&mut web::ServiceConfig),
) -> anyhow::Result<(Server, ServerHandle)> {
    let limits = &app.settings.limits;
    let data = web::Data::from(Arc::clone(app));
    let server = HttpServer::new(move || Site::new().app_data(data.clone()).configure(routes))
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(limits.shutdown_s)
        .client_request_timeout(Duration::from_millis(limits.head_timeout_ms))
        .keep_alive(Duration::from_secs(75))
        .listen(listener)?
        .run();
    let handle = server.handle();
    Ok((server, handle))
}
